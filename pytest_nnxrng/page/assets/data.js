"use strict";

/* Reading the page's data, making elements, and the state that the URL's hash keeps. */

const byId = (id) => document.getElementById(id);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

/** The JSON of a template: deflated, in letters that cannot be markup. */
async function inflate(name) {
  const text = byId(`data-${name}`).content.textContent;
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

/** An element; children that are no elements become text. */
function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat(9).filter((child) => child !== null && child !== ""));
  return made;
}

/** A text as it is shown: what could steer the reader's eye is written out. */
function printable(text) {
  return String(text).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (sign) =>
    sign === "\n" ? sign : `\\u{${sign.codePointAt(0).toString(16)}}`,
  );
}

function number(value) {
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en");
  const small = Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6;
  return small ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

const GROUPINGS = ["change", "file", "status", "nothing"];
const state = { q: "", group: "change", sort: "", open: new Set(), tick: new Set(), theme: "", mark: "" };
const checks = [];
const run = {};
const rows = [];

function readHash() {
  const found = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  const numbers = (name) =>
    new Set(
      (found.get(name) || "")
        .split(",")
        .filter(Boolean)
        .map(Number)
        .filter((n) => n in rows),
    );
  state.q = found.get("q") || "";
  state.group = GROUPINGS.includes(found.get("group")) ? found.get("group") : "change";
  state.sort = found.get("sort") || "";
  state.theme = ["light", "dark"].includes(found.get("theme")) ? found.get("theme") : "";
  state.mark = found.get("mark") || "";
  state.open = numbers("open");
  state.tick = new Set([...numbers("tick")].filter((n) => checks[n].target));
}

let written = "";
function writeHash() {
  const parts = new URLSearchParams();
  if (state.q) parts.set("q", state.q);
  if (state.group !== "change") parts.set("group", state.group);
  if (state.sort) parts.set("sort", state.sort);
  if (state.theme) parts.set("theme", state.theme);
  if (state.mark) parts.set("mark", state.mark);
  if (state.open.size) parts.set("open", [...state.open].sort((a, b) => a - b).join(","));
  if (state.tick.size) parts.set("tick", [...state.tick].sort((a, b) => a - b).join(","));
  written = parts.size ? `#${parts}` : "";
  history.replaceState(null, "", written || location.pathname + location.search);
}
