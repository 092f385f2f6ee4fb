// Where the person writes: texts, answers, corrections, files.

import { byId, notice, post } from "./common.js";

/** What the text belongs to: `answer` or `edit`, and which message. */
let subject = null;

/** The next text answers a message, or replaces it. */
export function about(what, mid, words) {
  subject = { what, mid };
  byId("about-what").textContent = what === "edit" ? "Edit" : "Answer to";
  byId("about-text").textContent = what === "edit" ? "" : words;
  byId("about").hidden = false;
  if (what === "edit") {
    byId("text").value = words;
    byId("text").dispatchEvent(new Event("input"));
  }
  byId("text").focus();
}

function drop() {
  subject = null;
  byId("about").hidden = true;
}

export function setUpComposer(path) {
  const text = byId("text");
  const fit = () => {
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight}px`;
    const isEmpty = !text.value.trim();
    byId("thumb").hidden = !isEmpty;
    byId("plane").toggleAttribute("hidden", isEmpty);
    byId("send").setAttribute("aria-label", isEmpty ? "Send a thumbs up" : "Send");
  };
  const send = (words) => {
    const now = subject;
    text.value = "";
    drop();
    fit();
    const sent = now?.what === "edit" ? post(`${path}/edit`, { mid: now.mid, text: words }) : post(`${path}/say`, { text: words, reply_to: now?.mid });
    sent.catch(() => { if (!text.value) { text.value = words; fit(); } });
  };
  text.addEventListener("input", fit);
  text.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && subject) return drop();
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (text.value.trim()) send(text.value);
  });
  byId("about-drop").addEventListener("click", () => { drop(); text.focus(); });
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    send(text.value.trim() ? text.value : "👍");
    text.focus();
  });

  // Files are picked, pasted or dropped anywhere.
  const upload = async (files) => {
    for (const file of files) {
      const type = file.type || "application/octet-stream";
      const answer = await fetch(`${path}/upload?${new URLSearchParams({ name: file.name })}`, { method: "POST", headers: { "content-type": type }, body: file }).catch(() => null);
      if (!answer?.ok) return notice(answer?.status === 413 ? "Files may have up to 25 MB." : "The file was not sent.");
    }
    notice("");
  };
  byId("attach").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", async () => {
    const files = [...byId("file").files];
    byId("file").value = "";
    await upload(files);
  });
  text.addEventListener("paste", (event) => {
    if (!event.clipboardData?.files.length || event.clipboardData.types.includes("text/plain")) return;
    event.preventDefault();
    void upload([...event.clipboardData.files]);
  });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    void upload([...(event.dataTransfer?.files ?? [])]);
  });
  text.focus();
}
