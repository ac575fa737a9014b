/* A draw that is chosen marks its leaf, its values and its source line. */

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
  const changes = new Set(
    checks.filter((c) => c.leaf.some((leaf) => wanted.has(leaf))).flatMap((c) => c.change),
  );
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
  for (const cause of all("[data-place]")) {
    cause.classList.toggle(
      "marked",
      cause.dataset.place.split(" ").some((one) => changes.has(one)),
    );
  }
}
