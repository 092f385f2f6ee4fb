// Pages, the people who write to them, and the switches for what goes wrong.

import { byId, initialOf, make, post } from "./common.js";

/** What the next send, or the Page from now on, meets: shown name and the simulator's name. */
const NEXT_FAULTS = [
  ["Refuse next send", "refuse_next"],
  ["Throttle for a minute", "throttle_next"],
  ["Slow next send", "slow_next"],
  ["Lose next send", "lose_next"],
  ["Break after next send", "drop_next"],
  ["500 on next send", "hiccup_next"],
  ["502 on next send", "gateway_next"],
  ["Refuse next upload", "refuse_upload"],
];

for (const box of document.querySelectorAll("[data-option]")) {
  box.addEventListener("change", () => post("/api/options", { [box.dataset.option]: box.checked }));
}

let drawn = "";

export function drawList(known, chosen) {
  for (const box of document.querySelectorAll("[data-option]")) box.checked = known.options[box.dataset.option];
  const now = JSON.stringify(known.pages);
  // Nothing is drawn anew under somebody who is typing a new person, and nothing without need.
  if (now === drawn || document.activeElement?.closest(".new form")) return;
  drawn = now;
  const open = new Set([...document.querySelectorAll("details[open]")].map((it) => it.dataset.key));
  const focused = document.activeElement?.dataset.key;
  byId("pages").replaceChildren(...known.pages.map((page) => pageBox(page, chosen, open)));
  if (focused) document.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

/** A switch that says what pressing it does, and whether it is on. */
function lever(key, label, isOn, press) {
  const button = make("button", { type: "button", className: "plain", textContent: label, "data-key": key });
  if (isOn !== undefined) button.setAttribute("aria-pressed", String(isOn));
  button.addEventListener("click", press);
  return button;
}

function pageBox(page, chosen, open) {
  const fault = (label, name, isOn) => lever(`${page.id}-${name.replace(/^(revive|kill|answer|hang|hide|show)_?/, "")}`, label, isOn, () => post(`/api/pages/${page.id}/faults`, name));
  const badges = [
    page.is_token_dead && "token dead", page.is_hanging && "hanging", !page.is_installed && "app not installed",
    page.hides_conversations && "conversations hidden", page.faults > 0 && `${page.faults} fault${page.faults > 1 ? "s" : ""} waiting`,
  ].filter(Boolean).map((text) => make("span", { className: "badge", textContent: text }));
  const title = make("div", {}, make("h2", {}, page.name, ...badges), make("p", {}, `Page ${page.id}`));
  const faults = make("div", { className: "strip" },
    fault(page.is_token_dead ? "Revive token" : "Kill token", page.is_token_dead ? "revive_token" : "kill_token", page.is_token_dead),
    fault(page.is_hanging ? "Answer again" : "Hang", page.is_hanging ? "answer" : "hang", page.is_hanging),
    fault(page.hides_conversations ? "Show conversations" : "Hide conversations", page.hides_conversations ? "show_conversations" : "hide_conversations", page.hides_conversations),
    ...NEXT_FAULTS.map(([label, name]) => fault(label, name)));
  return make("section", { className: "box" },
    make("header", {}, make("span", { className: "avatar", "aria-hidden": "true" }, initialOf(page.name)), title),
    ...page.people.map((person) => personRow(page, person, chosen)),
    newPerson(page, open),
    fold(`faults-${page.id}`, "Faults", open, faults));
}

function fold(key, name, open, ...inside) {
  return make("details", { className: "fold", open: open.has(key), "data-key": key }, make("summary", {}, name), ...inside);
}

function personRow(page, person, chosen) {
  const picture = make("span", { className: "avatar" }, make("img", { src: `/pictures/${person.psid}`, alt: "" }));
  const about = person.last || [person.email, person.phone].filter(Boolean).join(" · ") || "No messages yet";
  const unread = person.unread > 0 ? make("span", { className: "unread" }, String(person.unread), make("span", { className: "unseen" }, " unread")) : null;
  const words = make("span", { className: "grow" }, make("b", { dir: "auto" }, person.name), make("small", { dir: "auto" }, about));
  const link = make("a", { href: `/chat/${page.id}/${person.psid}`, "data-key": person.psid }, picture, words, unread);
  if (person.psid === chosen) link.setAttribute("aria-current", "page");
  const path = `/api/chats/${page.id}/${person.psid}`;
  return make("div", { className: "person-row" }, link,
    lever(`window-${person.psid}`, person.is_window_closed ? "Window closed" : "Close window", person.is_window_closed, () => post(`${path}/window`, { is_closed: !person.is_window_closed })),
    lever(`profile-${person.psid}`, person.is_profile_hidden ? "Profile hidden" : "Hide profile", person.is_profile_hidden, () => post(`${path}/person`, { is_profile_hidden: !person.is_profile_hidden })));
}

function newPerson(page, open) {
  const field = (label, name, more) => make("label", {}, label, make("input", { name, ...more }));
  const form = make("form", {},
    field("First name", "first_name", { required: true, autocomplete: "off" }), field("Last name", "last_name", { autocomplete: "off" }),
    field("E-mail", "email", { type: "email", autocomplete: "off" }), field("Phone", "phone", { type: "tel", autocomplete: "off" }),
    make("button", { className: "main" }, "Add and chat"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { psid } = await post(`/api/pages/${page.id}/people`, Object.fromEntries(new FormData(form)));
    location.href = `/chat/${page.id}/${psid}`;
  });
  const details = fold(`new-${page.id}`, "Add a person", open, form);
  details.classList.add("new");
  return details;
}
