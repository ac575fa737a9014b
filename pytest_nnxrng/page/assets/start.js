/* The start: rows and cards that are in the page already come to life. */

function adopt() {
  for (const body of all("#checks tbody")) {
    const head = body.querySelector(".group th");
    const label = head ? head.firstChild.textContent.trim() : "";
    labels.push(label);
    for (const line of all("tr[data-n]", body)) rows[Number(line.dataset.n)] = rowOf(line, label);
  }
  for (const head of all("#checks th[data-sort]")) {
    head.replaceChildren(
      el("button", { type: "button", click: () => sortBy(head.dataset.sort) }, head.textContent),
    );
  }
}

function rowOf(line, group) {
  const n = Number(line.dataset.n);
  const test = line.querySelector(".test");
  const button = el("button", {
    type: "button",
    class: "opener",
    "aria-expanded": "false",
    click: () => toggle(n),
  });
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
    card
      .querySelector(".actions")
      .prepend(el("label", {}, box, ` Choose ${mine.length === 1 ? "it" : `all ${mine.length}`}`));
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
  checks.push(...(await inflate("index")));
  Object.assign(run, await inflate("run"));
  adopt();
  addBoxes();
  for (const map of all(".keymap")) wire(map);
  for (const part of all(".js")) part.hidden = false;
  listen();
  show();
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
}

start();
