/* The query box, the chips, and the table's order and groups. */

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
  const pattern = small
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replace(/\*/g, ".*")
    .replace(/\?/g, ".");
  const expression = new RegExp(`^${pattern}$`, "su");
  return (value) => expression.test(value.toLowerCase());
}

function values(check, key) {
  if (key === "file") return [check.test.split("::")[0]];
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

const ORDERS = {
  check: (n) => checks[n].test,
  status: (n) => rows[n].status,
  leaves: (n) => checks[n].leaf.length || -1 / (1 + checks[n].leaves),
  headroom: (n) => (checks[n].status === "different" ? -1 : (checks[n].headroom ?? 2)),
};

let laid = "change ";

/** Put the rows in their groups and order, unless they stand so already. */
function layout() {
  byId("grouping").value = state.group;
  if (laid === `${state.group} ${state.sort}`) return;
  laid = `${state.group} ${state.sort}`;
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
    const head = el(
      "th",
      { colspan: 5, scope: "rowgroup" },
      printable(label),
      " ",
      el("span", { class: "count" }),
    );
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
