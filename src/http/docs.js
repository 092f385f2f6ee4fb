// Shows /openapi.json: doors by group with parameters, bodies and answers, then the schemas. Texts are only ever set as text.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((it) => it !== null && it !== undefined));
  return made;
}

// The type of a schema in a few words, with links to the named ones.
function type(schema) {
  if (!schema || schema === true) return "anything";
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return element("a", { href: `#schema-${name}` }, name);
  }
  const several = schema.oneOf || schema.anyOf || schema.allOf;
  if (several) {
    const span = element("span");
    several.forEach((it, n) => span.append(n ? (schema.allOf ? " & " : " | ") : "", type(it)));
    return span;
  }
  if (schema.enum) return schema.enum.map((it) => JSON.stringify(it)).join(" | ");
  const types = [].concat(schema.type || "anything");
  if (types.includes("array")) return element("span", {}, "list of ", type(schema.items), types.includes("null") ? " | null" : "");
  return types.join(" | ") + (schema.format ? ` (${schema.format})` : "");
}

function limits(schema) {
  const names = { minimum: "≥", maximum: "≤", minLength: "length ≥", maxLength: "length ≤", minItems: "items ≥", maxItems: "items ≤", pattern: "like" };
  const found = Object.entries(names).filter(([key]) => schema[key] !== undefined).map(([key, sign]) => `${sign} ${schema[key]}`);
  if (schema.default !== undefined) found.push(`default ${JSON.stringify(schema.default)}`);
  if (schema.example !== undefined) found.push(`e.g. ${JSON.stringify(schema.example)}`);
  return found.join(", ");
}

function table(head, rows) {
  const header = element("tr", {}, ...head.map((it) => element("th", {}, it)));
  return element("table", {}, header, ...rows.map((cells) => element("tr", {}, ...cells.map((it) => element("td", {}, it ?? "")))));
}

function fields(schema) {
  if (!schema.properties) return element("p", {}, type(schema));
  const required = schema.required || [];
  return table(
    ["field", "type", "about"],
    Object.entries(schema.properties).map(([name, it]) => [
      element("span", {}, element("code", {}, name), required.includes(name) ? " *" : ""),
      type(it),
      element("span", {}, it.description || "", " ", element("span", { class: "soft" }, limits(it))),
    ]),
  );
}

function door(path, method, it) {
  const summary = element("summary", {}, element("span", { class: `method ${method}` }, method.toUpperCase()), " ", element("code", {}, path), " ", it.summary || "");
  const shown = element("details", { class: "door" }, summary);
  shown.dataset.words = `${method} ${path} ${it.summary || ""} ${it.description || ""}`.toLowerCase();
  if (it.description) shown.append(element("p", {}, it.description));
  if (!(it.security || []).length) shown.append(element("p", { class: "soft" }, "Needs no credentials."));
  if ((it.parameters || []).length) {
    const rows = it.parameters.map((p) => [
      element("span", {}, element("code", {}, p.name), p.required ? " *" : ""),
      p.in,
      type(p.schema),
      element("span", {}, p.description || "", " ", element("span", { class: "soft" }, limits(p.schema || {}))),
    ]);
    shown.append(table(["parameter", "in", "type", "about"], rows));
  }
  for (const [kind, body] of Object.entries((it.requestBody || {}).content || {})) {
    shown.append(element("p", {}, "Body ", element("code", {}, kind), ": ", type(body.schema)));
  }
  const answers = Object.entries(it.responses || {}).map(([status, answer]) => {
    const [kind, body] = Object.entries(answer.content || {})[0] || [];
    return [status, answer.description || "", body ? type(body.schema) : "", element("span", { class: "soft" }, kind || "")];
  });
  shown.append(table(["answer", "when", "body", ""], answers));
  return shown;
}

function show(api) {
  document.getElementById("about").replaceChildren(api.info.description || "", " Version ", api.info.version, " · ", element("a", { href: "/openapi.json" }, "openapi.json"));
  const groups = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((it) => item[it])) {
      const group = (item[method].tags || ["other"])[0];
      groups.set(group, [...(groups.get(group) || []), door(path, method, item[method])]);
    }
  }
  const doors = document.getElementById("doors");
  for (const [group, shown] of groups) {
    const id = `group-${group.replace(/\W+/g, "-")}`;
    document.getElementById("groups").append(element("a", { href: `#${id}` }, group), " ");
    doors.append(element("section", { id }, element("h2", {}, group), ...shown));
  }
  for (const [name, schema] of Object.entries((api.components || {}).schemas || {}).sort(([a], [b]) => a.localeCompare(b))) {
    const shown = element("details", { id: `schema-${name}` }, element("summary", {}, element("code", {}, name), " ", schema.description || ""), fields(schema));
    (schema.oneOf || []).filter((it) => it.properties).forEach((it) => shown.append(fields(it)));
    shown.append(element("details", {}, element("summary", {}, "JSON"), element("pre", {}, JSON.stringify(schema, null, 2))));
    document.getElementById("schemas").append(shown);
  }
  openNamed();
}

// A link to a schema opens it.
function openNamed() {
  const named = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named && named.tagName === "DETAILS") named.open = true;
  if (named) named.scrollIntoView();
}

window.addEventListener("hashchange", openNamed);
document.getElementById("filter").addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/\s+/);
  for (const shown of document.querySelectorAll(".door")) shown.hidden = !words.every((it) => shown.dataset.words.includes(it));
  for (const group of document.querySelectorAll("#doors section")) group.hidden = !group.querySelector(".door:not([hidden])");
});

fetch("/openapi.json")
  .then((answer) => answer.json())
  .then(show)
  .catch((error) => document.getElementById("about").append(` failed: ${error.message}`));
