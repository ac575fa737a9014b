/* What is ticked, and the command and the file that accept just that. */

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
  return checks.map((_, n) => n).filter((n) => acceptable(n) && checks[n].change.includes(change));
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
  if (new Set(covered.map((check) => check.target)).size === goldens.size)
    return `${start} --cause ${[...ids].join(",")}`;
  if (goldens.size > 3) return `${start} --from approvals.json`;
  const globs = [...goldens].map((golden) => `--golden ${quoted(golden)}`);
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
