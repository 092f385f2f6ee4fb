// What both halves of the page share.

export const byId = (id) => document.getElementById(id);

/** An element with properties, attributes (`aria-…`, `data-…`, `role`, `dir`) and children; texts are always texts. */
export function make(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (/^(aria-|data-|role$|dir$)/.test(name)) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((it) => it !== null && it !== undefined && it !== ""));
  return element;
}

export const initialOf = (name) => [...(name || "?").trim()][0]?.toUpperCase() ?? "?";

/** Only web addresses become links and pictures. */
export const webUrl = (url) => (typeof url === "string" && /^https?:\/\//i.test(url) ? url : null);

export function notice(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
}

/** Tells the simulator; its answer, if it has one. */
export async function post(path, body) {
  try {
    const answer = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(String(answer.status));
    return answer.status === 201 ? await answer.json() : null;
  } catch (error) {
    notice(error.message === "409" ? "Messenger does not allow that any more." : "The simulator did not take that. Is it still running?");
    throw error;
  }
}
