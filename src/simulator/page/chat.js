// One chat, as the person sees it.

import { byId, initialOf, make, post, webUrl } from "./common.js";
import { setUpComposer } from "./composer.js";
import { drawLines } from "./lines.js";

let path = "";
let view = null;
let typingEnds = 0;

export function showChat(where) {
  path = where;
  byId("nobody").hidden = true;
  byId("talking").hidden = false;
  document.addEventListener("visibilitychange", markRead);
  byId("get-started").addEventListener("click", () => post(`${path}/postback`, { title: "Get Started", payload: "GET_STARTED" }));
  setUpComposer(path);
}

export function drawChat(news) {
  // Whoever reads further up is not pulled down, unless there is something new at the end.
  const box = byId("lines");
  const isNew = view?.lines.length !== news.lines.length || view.typing_ms === 0 && news.typing_ms > 0;
  view = news;
  const { page, person, lines } = view;
  document.title = `${person.name} → ${page.name} – Messenger simulator`;
  for (const id of ["page-initial", "empty-initial", "typing-initial"]) byId(id).textContent = initialOf(page.name);
  byId("page-name").textContent = byId("empty-name").textContent = page.name;
  byId("as").textContent = `You are ${person.name}`;
  byId("empty").hidden = lines.length > 0;
  drawLines(path, view);
  drawMark(lines);
  drawTyping();
  drawChips();
  if (isNew) box.scrollTop = box.scrollHeight;
  markRead();
}

function drawMark(lines) {
  document.querySelector(".mark")?.remove();
  const last = lines.findLast((it) => it.from === "person");
  if (last) document.querySelector(`[data-mid="${CSS.escape(last.mid)}"] .stack`)?.append(make("div", { className: "mark" }, last.mark));
}

function drawTyping() {
  const isTyping = view.typing_ms > 0;
  byId("typing").hidden = !isTyping;
  clearTimeout(typingEnds);
  if (isTyping) typingEnds = setTimeout(() => { byId("typing").hidden = true; }, view.typing_ms);
}

let offered = "";

function drawChips() {
  const now = JSON.stringify(view.offered);
  if (now === offered) return;
  offered = now;
  const { email, phone } = view.person;
  const chips = view.offered.map((it) => {
    // Messenger shows the person's own address or number, and nothing when it has none.
    const title = { user_email: email, user_phone_number: phone }[it.content_type] ?? (it.content_type === "text" ? it.title : null);
    if (title === null || title === undefined) return null;
    const icon = webUrl(it.image_url) ? make("img", { src: it.image_url, alt: "" }) : { user_email: "✉️", user_phone_number: "📞" }[it.content_type];
    const chip = make("button", { type: "button", className: "chip" }, icon, make("span", { dir: "auto" }, title));
    chip.addEventListener("click", () => {
      byId("chips").replaceChildren();
      byId("text").focus();
      post(`${path}/tap`, it.content_type === "text" ? { title: it.title, payload: it.payload ?? "" } : { title: it.content_type, payload: title });
    });
    return chip;
  });
  byId("chips").replaceChildren(...chips.filter(Boolean));
}

function markRead() {
  if (document.visibilityState !== "visible" || !view) return;
  const last = view.lines.findLast((it) => it.from === "page");
  if (!last || last.at_ms <= view.read_ms) return;
  view.read_ms = last.at_ms;
  post(`${path}/read`, {}).catch(() => {});
}
