"use strict";

/* The page's one script. The rows and cards are in the page already: this filters, sorts and groups
   them, opens details, and keeps what was chosen. The whole state stands in the URL's hash. */

// -- data and elements ----------------------------------------------------------------------------

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
  return Number.isInteger(value) ? value.toLocaleString("en") : String(Number(value.toPrecision(4)));
}

const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

// -- the state, as the URL has it -----------------------------------------------------------------

const GROUPINGS = ["change", "file", "status", "nothing"];
const state = { q: "", group: "change", sort: "", open: new Set(), tick: new Set(), theme: "", mark: "" };
let checks = [];
let run = {};
const rows = [];

function readHash() {
  const found = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  const numbers = (name) =>
    new Set((found.get(name) || "").split(",").filter(Boolean).map(Number).filter((n) => n in rows));
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

// -- the filter -----------------------------------------------------------------------------------

const TOKEN =
  /(!?)(?:(status|cause|stream|leaf|test|golden|file|change):(?!:))?(?:"([^"]*)"|((?:(?!\s).)+))/gu;

/** ``cause:draws !test:slow`` -> [{not, key, wanted}]; a comma is an or. */
function parse(query) {
  return [...query.matchAll(TOKEN)].map(([, not, key, quoted, plain]) => ({
    not: not === "!",
    key: key || "",
    wanted: (quoted === undefined ? plain.split(",") : [quoted])
      .filter(Boolean)
      .map((text) => matcher(text, ["status", "cause", "stream", "change"].includes(key))),
  }));
}

/** A glob is of the whole; other texts of the whole for words, and of any part for paths. */
function matcher(text, whole) {
  const small = text.toLowerCase();
  if (!/[*?]/.test(text)) {
    return whole ? (value) => value.toLowerCase() === small : (value) => value.toLowerCase().includes(small);
  }
  const pattern = small.replace(/[.+^${}()|[\]\\]/g, "\\$&").replace(/\*/g, ".*").replace(/\?/g, ".");
  const expression = new RegExp(`^${pattern}$`, "su");
  return (value) => expression.test(value.toLowerCase());
}

function values(check, key) {
  if (key === "file") return [check.test.split("::")[0]];
  if (key === "change") return [String(check.change)];
  if (key) return [check[key]].flat();
  return [check.test, check.golden, check.status, ...check.cause];
}

function matches(check, terms) {
  return terms.every(
    ({ not, key, wanted }) =>
      not !== values(check, key).some((value) => wanted.some((match) => match(value))),
  );
}

function filter() {
  const terms = parse(state.q);
  let shown = 0;
  for (const [n, row] of rows.entries()) {
    const hidden = !matches(checks[n], terms);
    row.line.hidden = hidden;
    if (row.detail) row.detail.hidden = hidden;
    shown += !hidden;
  }
  for (const body of all("#checks tbody")) {
    const count = all("tr[data-n]:not([hidden])", body).length;
    body.hidden = count === 0;
    const told = body.querySelector(".group .count");
    if (told) told.textContent = count.toLocaleString("en");
  }
  const every = counted(rows.length, "check");
  byId("shown").textContent = shown === rows.length ? every : `${shown.toLocaleString("en")} of ${every}`;
  chips();
}

/** Each chip tells how many of the checks that are shown it is true of. */
function chips() {
  const tokens = state.q.split(/\s+/);
  const seen = checks.filter((_, n) => !rows[n].line.hidden);
  for (const chip of all(".chip")) {
    const token = chip.dataset.token;
    const terms = parse(token);
    chip.setAttribute("aria-pressed", String(tokens.includes(token)));
    chip.querySelector(".count").textContent = seen.filter((c) => matches(c, terms)).length;
  }
}

function search(query) {
  state.q = query.trim();
  if (byId("query").value.trim() !== state.q) byId("query").value = state.q;
  filter();
  writeHash();
}

function toggleToken(token) {
  const tokens = state.q.split(/\s+/).filter(Boolean);
  search((tokens.includes(token) ? tokens.filter((t) => t !== token) : [...tokens, token]).join(" "));
}

// -- order and groups -----------------------------------------------------------------------------

const ORDERS = {
  check: (n) => checks[n].test,
  status: (n) => rows[n].status,
  leaves: (n) => checks[n].leaf.length || -1 / (1 + checks[n].leaves),
  headroom: (n) => (checks[n].status === "different" ? -1 : (checks[n].headroom ?? 2)),
};

function layout() {
  const [by, down] = [state.sort.replace("-", ""), state.sort.startsWith("-")];
  const numbers = rows.map((_, n) => n);
  const key = ORDERS[by];
  if (key) {
    const sign = down ? -1 : 1;
    numbers.sort((a, b) => sign * (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0) || a - b);
  }
  const groups = new Map();
  if (state.group === "change") for (const label of labels) groups.set(label, []);
  for (const n of numbers) {
    const label = groupOf(n);
    if (!groups.has(label)) groups.set(label, []);
    groups.get(label).push(n);
  }
  const ordered = [...groups].filter(([, found]) => found.length);
  if (state.group === "file") ordered.sort(([a], [b]) => (a < b ? -1 : 1));
  for (const body of all("#checks tbody")) body.remove();
  for (const [label, found] of ordered) byId("checks").append(bodyOf(label, found));
  for (const head of all("#checks th[data-sort]")) {
    const sorted = head.dataset.sort === by;
    if (sorted) head.setAttribute("aria-sort", down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
  byId("grouping").value = state.group;
}

const labels = [];
function groupOf(n) {
  if (state.group === "file") return checks[n].test.split("::")[0];
  if (state.group === "status") return rows[n].status;
  return state.group === "change" ? rows[n].group : "";
}

function bodyOf(label, found) {
  const body = el("tbody");
  if (label) {
    const head = el("th", { colspan: 5, scope: "rowgroup" }, printable(label), " ", el("span", { class: "count" }));
    body.append(el("tr", { class: "group" }, head));
  }
  for (const n of found) body.append(rows[n].line, ...(rows[n].detail ? [rows[n].detail] : []));
  return body;
}

function sortBy(by) {
  const first = by === "headroom" || by === "leaves" ? `-${by}` : by;
  const second = first.startsWith("-") ? by : `-${by}`;
  state.sort = state.sort === first ? second : state.sort === second ? "" : first;
  layout();
  filter();
  writeHash();
}

// -- details --------------------------------------------------------------------------------------

async function toggle(n, open = !state.open.has(n)) {
  const row = rows[n];
  if (open) state.open.add(n);
  else state.open.delete(n);
  row.button.setAttribute("aria-expanded", String(open));
  if (!open) {
    row.detail?.remove();
    row.detail = null;
  } else if (!row.detail) {
    row.detail = el("tr", { class: "detail" }, el("td", { colspan: 5 }, "Loading"));
    row.line.after(row.detail);
    const told = byId(`data-check-${n}`) ? await explained(n) : matching(checks[n]);
    if (row.detail) row.detail.firstChild.replaceChildren(...told);
    remark();
  }
  writeHash();
}

/** A check that matches: how near it came to its tolerance. */
function matching(check) {
  const told = [`${printable(check.golden)}: ${counted(check.leaves, "leaf").replace("leafs", "leaves")}`];
  if (check.rounded) told.push(`${check.rounded} of them match by rounding`);
  if (check.headroom) {
    const left = Math.max(0, 1 - check.headroom);
    told.push(
      `the worst, ${printable(check.worst)}, takes ${Math.round(100 * check.headroom)} % of its ` +
        `tolerance, and has ${Math.round(100 * left)} % left`,
    );
  } else told.push("all bits are those of the golden, or what was compared of it agrees");
  return [el("p", {}, `${told.join("; ")}.`)];
}

async function explained(n) {
  const [check, told] = [checks[n], await inflate(`check-${n}`)];
  const parts = [el("p", { class: "quiet" }, printable(check.golden))];
  for (const text of [...told.lacks, told.withheld].filter(Boolean)) {
    parts.push(el("p", {}, `Not shown, or not to be accepted: ${printable(text)}.`));
  }
  for (const cause of told.causes) parts.push(causeOf(cause, check));
  if (told.modules.length) parts.push(modulesOf(told.modules));
  if (told.environment) parts.push(environmentOf(told.environment));
  if (told.map !== null) parts.push(await mapOf(told.map));
  parts.push(el("h4", {}, leavesTold(told)));
  for (const [at, leaf] of told.leaves.entries()) parts.push(leafOf(leaf, at < 1));
  if (told.more) parts.push(el("p", {}, `and ${told.more.toLocaleString("en")} more leaves, in report.json`));
  for (const note of told.notes) parts.push(el("p", { class: "quiet" }, printable(note)));
  return parts;
}

function leavesTold(told) {
  const alike = told.alike ? `; ${told.alike.toLocaleString("en")} match` : "";
  return `Leaves: ${(told.leaves.length + told.more).toLocaleString("en")} differ or are new${alike}`;
}

function causeOf(cause, check) {
  const known = cause.evidence ? el("span", { class: "quiet" }, ` (${printable(cause.evidence)})`) : "";
  const text = `: ${printable(cause.text)}`;
  return el("p", { "data-place": cause.place ? check.change : null }, el("strong", {}, cause.word), text, known);
}

function modulesOf(rowsOf) {
  const items = rowsOf.map((row) => {
    const [was, now] = [row.expected, row.obtained].map((value) => JSON.stringify(value));
    return el("li", {}, printable(`${row.module}.${row.attribute}: golden ${was}, now ${now}`));
  });
  return el("details", { open: items.length < 6 }, el("summary", {}, `Modules: ${counted(items.length, "attribute")} not as in the golden`), el("ul", {}, items));
}

function environmentOf(changes) {
  if (!changes.length) return el("p", { class: "quiet" }, "Environment: as recorded in the golden.");
  const lines = changes.map((cells) => el("tr", {}, cells.map((cell) => el("td", {}, printable(cell)))));
  const head = ["environment", "golden", "now"].map((text) => el("th", { scope: "col" }, text));
  return el("table", { class: "small" }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, lines));
}

async function mapOf(at) {
  const parsed = new DOMParser().parseFromString(await inflate(`map-${at}`), "text/html");
  const map = document.adoptNode(parsed.body.firstElementChild);
  wire(map);
  return el("details", { open: true }, el("summary", {}, "Key map"), map);
}

function leafOf(leaf, open) {
  const [old, now] = leaf.forms;
  const what = old && now && old.what !== now.what ? `${old.what} → ${now.what}` : (now || old)?.what || "";
  const drawn = [old, now].map((form) => (form?.draws ?? []).join(", "));
  const from = drawn[0] !== drawn[1] ? `${drawn[0] || "–"} → ${drawn[1] || "–"}` : drawn[0];
  const kinds = leaf.kinds.join(", ") || "new";
  const summary = el(
    "summary",
    {},
    el("code", {}, printable(leaf.path || "the value")),
    ` ${printable(what)} `,
    el("span", { class: "quiet" }, printable([kinds, from].filter(Boolean).join("; "))),
  );
  const made = el("details", { class: "leaf", open, "data-leaf": leaf.path }, summary);
  const fill = () => {
    if (made.open && made.childElementCount === 1) made.append(...valuesOf(leaf));
  };
  made.addEventListener("toggle", fill);
  fill();
  return made;
}

function valuesOf(leaf) {
  const parts = [];
  const numbers = leaf.numbers;
  if (numbers) parts.push(el("p", {}, numbersTold(numbers)));
  parts.push(statisticsOf(leaf.statistics));
  const pictures = [...(leaf.heat ? heatOf(leaf) : []), leaf.histogram ? histogramOf(leaf.histogram) : null];
  parts.push(el("div", { class: "pictures" }, pictures));
  if (leaf.worst) parts.push(worstOf(leaf.worst, numbers));
  for (const text of leaf.absent || []) parts.push(el("p", { class: "quiet" }, `Not shown: ${printable(text)}.`));
  return parts.filter(Boolean);
}

function numbersTold(numbers) {
  const told = [`${number(numbers.differing)} of ${number(numbers.total)} ${numbers.spots ? "spots" : "elements"} differ`];
  if (numbers.sketched) told.push(numbers.sketched);
  else if (numbers.worst !== null) {
    told.push(`by ${number(numbers.worst)} at most, where ${number(Math.max(0, numbers.allowed))} is allowed`);
  }
  if (numbers.nonfinite) told.push(`${number(numbers.nonfinite)} of them not finite on one side`);
  return printable(told.join(", "));
}

function statisticsOf([old, now]) {
  const names = [...new Set([...Object.keys(old || {}), ...Object.keys(now || {})])];
  if (!names.length) return null;
  const line = (label, side) =>
    el("tr", {}, el("th", { scope: "row" }, label), names.map((name) => el("td", {}, side ? number(side[name] ?? "–") : "–")));
  const heads = ["", ...names].map((text) => (text ? el("th", { scope: "col" }, text) : el("td")));
  const lines = [old ? line("golden", old) : null, now ? line("now", now) : null];
  return el("table", { class: "small" }, el("thead", {}, el("tr", {}, heads)), el("tbody", {}, lines));
}

function worstOf(found, numbers) {
  if (!found.length) return null;
  const allowed = numbers ? `, ${number(Math.max(0, numbers.allowed))} allowed` : "";
  const heads = ["index", "golden", "now", "apart", "ULP"].map((text) => el("th", { scope: "col" }, text));
  const lines = found.map((cells) => el("tr", {}, cells.map((cell) => el("td", {}, cell === null ? "–" : number(cell)))));
  return el(
    "table",
    { class: "small" },
    el("caption", {}, `Furthest apart${allowed}`),
    el("thead", {}, el("tr", {}, heads)),
    el("tbody", {}, lines),
  );
}

// -- pictures -------------------------------------------------------------------------------------

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
// From dark to light, so that they are told apart without colour, too.
const VALUES = [[48, 18, 89], [55, 89, 140], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
const APART = [[10, 10, 25], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];

function colour(level, ramp) {
  const at = (level / 63) * (ramp.length - 1);
  const [low, share] = [Math.min(Math.floor(at), ramp.length - 2), at - Math.min(Math.floor(at), ramp.length - 2)];
  return ramp[low].map((part, i) => Math.round(part + share * (ramp[low + 1][i] - part)));
}

function heatOf(leaf) {
  const heat = leaf.heat;
  const range = `${number(heat.low)} (dark) to ${number(heat.high)} (light)`;
  const found = [];
  for (const name of ["golden", "now"]) {
    if (heat[name]) {
      const sampled = heat[`${name}_sampled`] ? "; a cell is the mean of its area" : "";
      found.push(picture(name, heat[name], heat[`${name}_rows`], VALUES, `${range}${sampled}`));
    }
  }
  if (heat.apart) {
    const sampled = heat.now_sampled ? "; a cell is the largest of its area" : "";
    found.push(picture("difference", heat.apart, heat.now_rows, APART, `0 (dark) to ${number(heat.most)} (light)${sampled}`));
  }
  return found;
}

function picture(name, cells, lines, ramp, told) {
  const wide = cells.length / lines;
  const canvas = el("canvas", { width: wide, height: lines, role: "img", "aria-label": `${name}: ${told}` });
  const context = canvas.getContext("2d");
  const image = context.createImageData(wide, lines);
  for (let at = 0; at < cells.length; at += 1) {
    const level = LETTERS.indexOf(cells[at]);
    // What is not finite is a hole.
    if (level >= 0) image.data.set([...colour(level, ramp), 255], 4 * at);
  }
  context.putImageData(image, 0, 0);
  const scale = Math.max(4, Math.min(14, Math.floor(200 / Math.max(wide, lines))));
  canvas.style.width = `${Math.max(scale * wide, 24)}px`;
  canvas.style.height = `${Math.max(scale * lines, 24)}px`;
  return el("figure", { class: "picture" }, el("figcaption", {}, el("strong", {}, name), " ", told), canvas);
}

function svg(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function histogramOf({ low, high, golden, now }) {
  const [wide, tall] = [240, 90];
  const most = Math.max(1, ...(golden || []), ...(now || []));
  const steps = (counts) => {
    const step = wide / counts.length;
    const tops = counts.map((count, i) => `L${i * step} ${tall - (tall * count) / most}h${step}`);
    return `M0 ${tall}${tops.join("")}L${wide} ${tall}`;
  };
  const told = `histogram from ${number(low)} to ${number(high)}`;
  const made = svg("svg", { viewBox: `0 -2 ${wide} ${tall + 4}`, width: wide, height: tall, class: "histogram", role: "img", "aria-label": told });
  if (golden) made.append(svg("path", { d: `${steps(golden)}z`, class: "golden" }));
  if (now) made.append(svg("path", { d: steps(now), class: "now" }));
  const names = [golden ? "golden: filled" : "", now ? "now: line" : ""].filter(Boolean).join(", ");
  return el("figure", { class: "picture" }, el("figcaption", {}, `${told} (${names})`), made);
}

// -- a draw marks what it became ------------------------------------------------------------------

function wire(map) {
  for (const draw of all(".draw[data-leaves]", map)) {
    draw.setAttribute("tabindex", "0");
    draw.setAttribute("role", "button");
    draw.setAttribute("aria-pressed", "false");
    draw.setAttribute("aria-label", draw.querySelector("title").textContent);
  }
}

function choose(draw) {
  const chosen = draw.dataset.leaves;
  state.mark = state.mark === chosen ? "" : chosen;
  remark();
  writeHash();
}

function remark() {
  const wanted = new Set(state.mark ? state.mark.split("\n") : []);
  const changes = new Set(checks.filter((c) => c.leaf.some((leaf) => wanted.has(leaf))).map((c) => String(c.change)));
  for (const draw of all(".draw[data-leaves]")) {
    const on = draw.dataset.leaves.split("\n").some((leaf) => wanted.has(leaf));
    draw.classList.toggle("marked", on);
    draw.setAttribute("aria-pressed", String(on));
  }
  for (const leaf of all(".leaf")) {
    const on = wanted.has(leaf.dataset.leaf);
    leaf.classList.toggle("marked", on);
    if (on) leaf.open = true;
  }
  for (const source of all(".card .source")) {
    source.classList.toggle("marked", changes.has(source.closest(".card").dataset.change));
  }
  for (const cause of all("[data-place]")) cause.classList.toggle("marked", changes.has(cause.dataset.place));
}

// -- choosing what to accept ----------------------------------------------------------------------

const acceptable = (n) => Boolean(checks[n].target);

function tick(numbers, on) {
  for (const n of numbers) {
    if (on) state.tick.add(n);
    else state.tick.delete(n);
  }
  showTicks();
  writeHash();
}

function ofChange(change) {
  return checks.map((_, n) => n).filter((n) => acceptable(n) && String(checks[n].change) === change);
}

function showTicks() {
  for (const [n, row] of rows.entries()) if (row.tick) row.tick.checked = state.tick.has(n);
  for (const box of all(".card input[type=checkbox]")) {
    const mine = ofChange(box.closest(".card").dataset.change);
    const ticked = mine.filter((n) => state.tick.has(n)).length;
    box.checked = ticked === mine.length;
    box.indeterminate = ticked > 0 && ticked < mine.length;
  }
  byId("choice").hidden = state.tick.size === 0;
  const goldens = new Set([...state.tick].map((n) => checks[n].target));
  byId("chosen").textContent = counted(goldens.size, "golden");
  byId("command").textContent = command(goldens);
}

const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`);

/** What accepts just the goldens that are chosen: by changes where these are all of theirs. */
function command(goldens) {
  const start = `nnxrng accept ${quoted(run.name)}`;
  const ids = new Set([...state.tick].flatMap((n) => checks[n].ids));
  const covered = checks.filter((check) => check.target && check.ids.every((id) => ids.has(id)));
  if (new Set(covered.map((check) => check.target)).size === goldens.size) return `${start} --cause ${[...ids].join(",")}`;
  if (goldens.size > 3) return `${start} --from approvals.json`;
  const globs = [...goldens].map((golden) => `--golden ${quoted(golden.replace(/[[*?]/g, "[$&]"))}`);
  return `${start} ${globs.join(" ")}`;
}

function approvals() {
  const approved = new Map([...state.tick].map((n) => [checks[n].target, checks[n].digest]));
  const found = [...approved].sort(([a], [b]) => (a < b ? -1 : 1));
  const document = { by: run.by, format: 1, approved: found.map(([golden, digest]) => ({ golden, digest })) };
  return `${JSON.stringify(document, null, 1)}\n`;
}

function download() {
  const url = URL.createObjectURL(new Blob([approvals()], { type: "application/json" }));
  el("a", { href: url, download: "approvals.json" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

async function copy(command = byId("command"), button = byId("copy")) {
  try {
    await navigator.clipboard.writeText(command.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(command);
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

// -- keys -----------------------------------------------------------------------------------------

function step(list, by) {
  if (!list.length) return;
  const here = list.findIndex((one) => one === document.activeElement || one.contains(document.activeElement));
  const next = here < 0 ? (by > 0 ? 0 : list.length - 1) : Math.min(Math.max(here + by, 0), list.length - 1);
  list[next].focus();
  list[next].scrollIntoView({ block: "nearest" });
}

const openers = () => all("#checks tr[data-n]:not([hidden]) .opener");
const cards = () => all(".card");

function tickHere() {
  const line = document.activeElement.closest?.("tr[data-n]");
  const card = document.activeElement.closest?.(".card");
  (line || card)?.querySelector("input[type=checkbox]")?.click();
}

function theme() {
  const dark = state.theme ? state.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  state.theme = dark ? "light" : "dark";
  document.documentElement.dataset.theme = state.theme;
  writeHash();
}

function escape() {
  search("");
  for (const n of [...state.open]) toggle(n, false);
  byId("query").blur();
}

function byHeadroom() {
  state.group = "nothing";
  sortBy("headroom");
}

const KEYS = {
  "/": () => byId("query").focus(),
  j: () => step(openers(), 1),
  k: () => step(openers(), -1),
  "[": () => step(cards(), -1),
  "]": () => step(cards(), 1),
  a: tickHere,
  s: byHeadroom,
  c: () => state.tick.size && copy(),
  x: () => state.tick.size && download(),
  t: theme,
  Escape: escape,
  "?": () => byId("keys").showModal(),
};

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("keys").open) return;
  const draw = event.target.closest?.(".draw[data-leaves]");
  if (draw && (event.key === "Enter" || event.key === " ")) {
    event.preventDefault();
    choose(draw);
    return;
  }
  const typing = event.target.matches?.("input[type=search], select, textarea");
  if (typing && event.key !== "Escape") return;
  const act = KEYS[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
}

// -- the start ------------------------------------------------------------------------------------

function adopt() {
  for (const body of all("#checks tbody")) {
    const head = body.querySelector(".group th");
    const label = head ? head.firstChild.textContent.trim() : "";
    labels.push(label);
    for (const line of all("tr[data-n]", body)) rows[Number(line.dataset.n)] = rowOf(line, label);
  }
  for (const head of all("#checks th[data-sort]")) {
    head.replaceChildren(el("button", { type: "button", click: () => sortBy(head.dataset.sort) }, head.textContent));
  }
}

function rowOf(line, group) {
  const n = Number(line.dataset.n);
  const test = line.querySelector(".test");
  const button = el("button", { type: "button", class: "opener", "aria-expanded": "false", click: () => toggle(n) });
  test.before(button);
  button.append(test, " ", line.querySelector(".name"));
  let box = null;
  if (acceptable(n)) {
    const label = `choose ${test.textContent}`;
    box = el("input", { type: "checkbox", "aria-label": label, change: () => tick([n], box.checked) });
    button.before(box, " ");
  }
  return { line, button, group, tick: box, detail: null, status: line.querySelector(".status").textContent };
}

function addBoxes() {
  for (const card of cards()) {
    const mine = ofChange(card.dataset.change);
    if (!mine.length) continue;
    const box = el("input", { type: "checkbox", change: () => tick(mine, box.checked) });
    card.querySelector(".actions").prepend(el("label", {}, box, ` Choose ${mine.length === 1 ? "it" : `all ${mine.length}`}`));
  }
}

function show() {
  readHash();
  if (state.theme) document.documentElement.dataset.theme = state.theme;
  byId("query").value = state.q;
  for (const [n, row] of rows.entries()) if (row.detail && !state.open.has(n)) toggle(n, false);
  layout();
  filter();
  showTicks();
  remark();
  for (const n of state.open) toggle(n, true);
}

function listen() {
  let waiting = 0;
  byId("query").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => search(byId("query").value), 80);
  });
  byId("filter").addEventListener("submit", (event) => event.preventDefault());
  byId("grouping").addEventListener("change", (event) => {
    state.group = event.target.value;
    layout();
    filter();
    writeHash();
  });
  byId("help").addEventListener("click", KEYS["?"]);
  byId("theme").addEventListener("click", theme);
  byId("copy").addEventListener("click", () => copy());
  byId("download").addEventListener("click", download);
  byId("clear").addEventListener("click", () => tick([...state.tick], false));
  document.addEventListener("keydown", pressed);
  document.addEventListener("click", clicked);
  addEventListener("hashchange", () => location.hash !== written && location.hash.includes("=") && show());
}

function clicked(event) {
  const { target } = event;
  const token = target.closest(".chip")?.dataset.token;
  if (token) toggleToken(token);
  const query = target.closest("[data-query]")?.dataset.query;
  if (query) {
    search(query);
    byId("all").scrollIntoView();
  }
  if (target.matches(".copy")) copy(target.previousElementSibling, target);
  const draw = target.closest(".draw[data-leaves]");
  if (draw) choose(draw);
  const link = target.closest('a[href^="#"]');
  if (link) {
    // The hash is the page's state: a link inside of the page leaves it alone.
    event.preventDefault();
    const there = byId(link.getAttribute("href").slice(1));
    there.scrollIntoView();
    there.focus?.({ preventScroll: true });
  }
}

async function start() {
  if (!byId("checks")) return;
  [checks, run] = await Promise.all([inflate("index"), inflate("run")]);
  adopt();
  addBoxes();
  for (const map of all(".keymap")) wire(map);
  for (const part of all(".js")) part.hidden = false;
  listen();
  show();
  document.documentElement.dataset.ready = "true";
}

start();
