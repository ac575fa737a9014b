/* The keyboard. */

function step(list, by) {
  if (!list.length) return;
  const here = list.findIndex(
    (one) => one === document.activeElement || one.contains(document.activeElement),
  );
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

function leaveAll() {
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
  Escape: leaveAll,
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
