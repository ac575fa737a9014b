/* What a row opens: causes, environment, key map, leaves. */

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
  if (told.model) {
    const href = told.model.split("/").map(encodeURIComponent).join("/");
    parts.push(el("p", {}, el("a", { href }, "The model as NNX displays it"), " (a file beside this page)"));
  }
  parts.push(el("h3", { class: "quiet" }, leavesTold(told)));
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
  return el(
    "p",
    { "data-place": cause.place ? check.change.join(" ") : null },
    el("strong", {}, cause.word),
    text,
    known,
  );
}

function modulesOf(rowsOf) {
  const items = rowsOf.map((row) => {
    const [was, now] = [row.expected, row.obtained].map((value) => JSON.stringify(value));
    return el("li", {}, printable(`${row.module}.${row.attribute}: golden ${was}, now ${now}`));
  });
  return el(
    "details",
    { open: items.length < 6 },
    el("summary", {}, `Modules: ${counted(items.length, "attribute")} not as in the golden`),
    el("ul", {}, items),
  );
}

function environmentOf(changes) {
  if (!changes.length) return el("p", { class: "quiet" }, "Environment: as recorded in the golden.");
  const lines = changes.map((cells) =>
    el(
      "tr",
      {},
      cells.map((cell) => el("td", {}, printable(cell))),
    ),
  );
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
  for (const text of leaf.absent || [])
    parts.push(el("p", { class: "quiet" }, `Not shown: ${printable(text)}.`));
  return parts.filter(Boolean);
}

function numbersTold(numbers) {
  const told = [
    `${number(numbers.differing)} of ${number(numbers.total)} ${numbers.spots ? "spots" : "elements"} differ`,
  ];
  if (numbers.sketched) told.push(numbers.sketched);
  else if (numbers.worst !== null) {
    told.push(
      `by ${number(numbers.worst)} at most, where ${number(Math.max(0, numbers.allowed))} is allowed`,
    );
  }
  if (numbers.nonfinite) told.push(`${number(numbers.nonfinite)} of them not finite on one side`);
  return printable(told.join(", "));
}

function statisticsOf([old, now]) {
  const names = [...new Set([...Object.keys(old || {}), ...Object.keys(now || {})])];
  if (!names.length) return null;
  const line = (label, side) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, label),
      names.map((name) => el("td", {}, side ? number(side[name] ?? "–") : "–")),
    );
  const heads = ["", ...names].map((text) => (text ? el("th", { scope: "col" }, text) : el("td")));
  const lines = [old ? line("golden", old) : null, now ? line("now", now) : null];
  return el("table", { class: "small" }, el("thead", {}, el("tr", {}, heads)), el("tbody", {}, lines));
}

function worstOf(found, numbers) {
  if (!found.length) return null;
  const allowed = numbers ? `, ${number(Math.max(0, numbers.allowed))} allowed` : "";
  const heads = ["index", "golden", "now", "apart", "ULP"].map((text) => el("th", { scope: "col" }, text));
  const lines = found.map((cells) =>
    el(
      "tr",
      {},
      cells.map((cell) => el("td", {}, cell === null ? "–" : number(cell))),
    ),
  );
  return el(
    "table",
    { class: "small" },
    el("caption", {}, `Furthest apart${allowed}`),
    el("thead", {}, el("tr", {}, heads)),
    el("tbody", {}, lines),
  );
}
