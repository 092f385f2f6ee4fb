// The lines of a chat: bubbles, files, cards, and what one can do with each.

import { byId, initialOf, make, post, webUrl } from "./common.js";
import { about } from "./composer.js";

const GAP_MS = 10 * 60 * 1000;
const EMOJI = ["👍", "❤️", "😆", "😮", "😢", "😡"];
/** What is drawn, by mid: the element, and what it was drawn from. */
const drawn = new Map();

const belongs = (one, other) => one && other && one.from === other.from && Math.abs(one.at_ms - other.at_ms) < GAP_MS;

export function drawLines(path, view) {
  view.lines.forEach((line, at) => drawLine(path, view, line, view.lines[at - 1], view.lines[at + 1]));
}

function drawLine(path, view, line, before, after) {
  let known = drawn.get(line.mid);
  if (!known) {
    if (!before || line.at_ms - before.at_ms > GAP_MS) byId("talk").append(make("div", { className: "day" }, when(line.at_ms)));
    const stack = make("div", { className: "stack" });
    const avatar = make("span", { className: "avatar small", "aria-hidden": "true" }, initialOf(view.page.name));
    const element = make("div", { title: new Date(line.at_ms).toLocaleString(), "data-mid": line.mid }, line.from === "page" ? avatar : null, stack);
    known = { element, stack, from: "" };
    drawn.set(line.mid, known);
    byId("talk").append(element);
  }
  const { mark, ...words } = line;
  const from = JSON.stringify(words);
  if (from !== known.from) {
    known.from = from;
    known.stack.replaceChildren(...quote(view, line), ...content(path, line), ...reactions(line), ...edited(line));
    known.element.querySelector(".acts")?.remove();
    if (!line.is_unsent) known.element.append(actions(path, line));
    const both = [line.page_reaction, line.own_reaction].filter(Boolean).join("");
    if (both) known.element.dataset.reaction = both;
    else delete known.element.dataset.reaction;
  }
  known.element.className = `line ${line.from}${belongs(before, line) ? "" : " first"}${belongs(line, after) ? "" : " last"}`;
}

function when(ms) {
  const at = new Date(ms);
  const time = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return at.toDateString() === new Date().toDateString() ? time : `${at.toLocaleDateString([], { day: "numeric", month: "short" })}, ${time}`;
}

/** A line in a few words. */
const brief = (line) => (line.is_unsent ? "Message unsent" : (line.text ?? line.attachment?.payload?.text ?? line.attachment?.payload?.elements?.[0]?.title ?? "Attachment"));

function quote(view, line) {
  const answered = line.reply_to && view.lines.find((it) => it.mid === line.reply_to);
  if (!answered) return [];
  const who = answered.from === "page" ? view.page.name : "you";
  return [make("p", { className: "quote", dir: "auto" }, make("b", {}, `Answer to ${who}`), brief(answered))];
}

const reactions = (line) => [line.page_reaction, line.own_reaction].filter(Boolean).map((emoji, at) => make("span", { className: "reaction", title: at === 0 && line.page_reaction ? "The Page" : "You" }, emoji));
const edited = (line) => (line.edits > 0 && !line.is_unsent ? [make("small", { className: "edited" }, "Edited")] : []);

/** Answer, react, and for one's own: edit, unsend. */
function actions(path, line) {
  const act = (name, icon, press) => {
    const button = make("button", { type: "button", className: "act", "aria-label": name, title: name }, icon);
    button.addEventListener("click", press);
    return button;
  };
  const react = make("details", { className: "react" }, make("summary", { "aria-label": "React", title: "React" }, "☺"),
    make("span", { className: "emoji" }, ...EMOJI.map((emoji) => act(`React with ${emoji}`, emoji, () => {
      react.open = false;
      post(`${path}/react`, { mid: line.mid, emoji: line.own_reaction === emoji ? null : emoji });
    }))));
  const own = line.from === "person" ? [
    line.attachment ? null : act("Edit", "✎", () => about("edit", line.mid, line.text)),
    act("Unsend", "⌫", () => post(`${path}/unsend`, { mid: line.mid })),
  ] : [];
  return make("span", { className: "acts" }, act("Answer", "↩", () => about("answer", line.mid, brief(line))), react, ...own);
}

function content(path, line) {
  if (line.is_unsent) return [make("div", { className: "bubble gone" }, "You unsent a message")];
  if (!line.attachment) return [bubble(line.text ?? "")];
  const { type, payload } = line.attachment;
  if (type === "template") return [template(path, payload)];
  const url = webUrl(payload?.url);
  if (!url) return [bubble(`[${type}]`)];
  const name = decodeURIComponent(new URL(url).pathname.split("/").pop());
  if (type === "image") return [make("img", { className: "media", src: url, alt: name || "Picture", onload: () => { byId("lines").scrollTop = byId("lines").scrollHeight; } })];
  if (type === "video") return [make("video", { src: url, controls: true })];
  if (type === "audio") return [make("audio", { src: url, controls: true })];
  return [make("div", { className: "card" }, make("a", { className: "button", href: url, target: "_blank", rel: "noopener noreferrer" }, `📎 ${name || "Open file"}`))];
}

const ONLY_EMOJI = /^(?:\p{Extended_Pictographic}|\p{Emoji_Modifier}|\p{Regional_Indicator}|\u200d|\ufe0f|\s){1,14}$/u;
const bubble = (text) => make("div", { className: ONLY_EMOJI.test(text) ? "bubble big" : "bubble", dir: "auto" }, ...linked(text));

/** Web addresses in a text can be followed. */
function linked(text) {
  return text.split(/(https?:\/\/[^\s<>"]+[^\s<>".,;:!?)\]])/i).map((part, at) => (at % 2 === 1 ? make("a", { href: part, target: "_blank", rel: "noopener noreferrer" }, part) : part));
}

function template(path, payload) {
  if (Array.isArray(payload.elements)) {
    return make("div", { className: "cards", tabIndex: 0, role: "group", "aria-label": "Cards" }, ...payload.elements.map((it) => card(path, it.title, it.subtitle, it.image_url, it.buttons)));
  }
  if (payload.text || payload.title) return card(path, payload.text ?? payload.title, payload.subtitle, payload.image_url, payload.buttons, !payload.title);
  return bubble(`[${payload.template_type} template]`);
}

function card(path, title, subtitle, image, buttons, isPlain) {
  const words = make("div", { className: "words", dir: "auto" }, isPlain ? title : make("strong", {}, title ?? ""), subtitle ? make("small", {}, subtitle) : null);
  const picture = webUrl(image) ? make("img", { src: image, alt: "" }) : null;
  return make("div", { className: "card" }, picture, words, ...(buttons ?? []).map((it) => cardButton(path, it)));
}

function cardButton(path, button) {
  const link = button.type === "phone_number" ? `tel:${button.payload}` : webUrl(button.url);
  const label = button.title ?? { account_link: "Log in", account_unlink: "Log out" }[button.type] ?? button.type;
  if (link) return make("a", { className: "button", href: link, target: "_blank", rel: "noopener noreferrer" }, label);
  const element = make("button", { type: "button", className: "button" }, label);
  element.addEventListener("click", () => post(`${path}/postback`, { title: label, payload: button.payload ?? "" }));
  return element;
}
