"""``python -m tests.planted [-k WORD]``: defects, planted one at a time; fast tests must catch each.

Each makes the plugin accept what it must not, or damage what it must not, in one line of a copy of
the package. The tests beside it run on that copy and have to fail. A defect that survives shows a
hole in the tests. A line that is no longer there is an error: plant it anew.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.stories.forks import Forks

ROOT = Path(__file__).parents[1]


class Plant(NamedTuple):
    """The defect, in which module of the package, what takes the place of what, who catches it."""

    what: str
    module: str
    old: str
    new: str
    tests: str


COMPARE, GOLDEN = "tests/unit/compare", "tests/unit/golden"
GAP = f"{COMPARE}/test_gap.py"
SKETCH, TRACE = "tests/unit/leaf/test_sketch.py", "tests/unit/trace"
FAULTS, STATIC = "tests/faults", "tests/unit/nnx/test_static.py tests/stories/test_story_static.py"
SAME, ACCEPT = "tests/unit/check/test_same.py", "tests/unit/command/test_accept.py"
AGAINST, PRUNE = "tests/stories/test_story_against.py", "tests/stories/test_story_partial_runs.py"
CALLS = "tests/stories/test_story_calls.py tests/causes/test_calls.py"
PLANTS = (
    # -- two arrays
    Plant("any NaN will do for infinity", "compare/numbers.py",
          "alike = both | (np.isnan(p64) & np.isnan(q64)) | (p64 == q64)",
          "alike = both | (~np.isfinite(p64) & ~np.isfinite(q64))", COMPARE),
    Plant("non-finite elements do not count", "compare/numbers.py",
          "if self.nonfinite or self.worst is None or self.changed:",
          "if self.worst is None or self.changed:", COMPARE),
    Plant("what the sketch proves does not count", "compare/numbers.py",
          "if self.nonfinite or self.worst is None or self.changed:",
          "if self.nonfinite or self.worst is None:", COMPARE),
    Plant("the last block is not compared", "compare/numbers.py",
          "for start in range(0, x.size, _BLOCK):",
          "for start in range(0, max(1, x.size - _BLOCK), _BLOCK):", COMPARE),
    Plant("imaginary parts are not compared", "compare/numbers.py",
          "x, y = a.reshape(-1).view(real), b.reshape(-1).view(real)",
          "x, y = a.real.reshape(-1).copy(), b.real.reshape(-1).copy()", COMPARE),
    Plant("a tolerance twice as wide", "compare/numbers.py",
          "return self.worst <= self.allowed", "return self.worst <= 2 * self.allowed", COMPARE),
    Plant("exact allows rounding", "compare/numbers.py",
          "allowed=-1.0 if tolerance.exact and differing else float(np.max(allowed)),",
          "allowed=float(np.max(allowed)),", COMPARE),
    Plant("integers round", "compare/numbers.py",
          "        worst=float(gap[at]),\n", "        worst=0.0,\n", COMPARE),
    Plant("exact is not exact", "compare/tolerance.py",
          "if self.exact or not is_inexact(dtype):\n            return 0.0",
          "if not is_inexact(dtype):\n            return 0.0", COMPARE),
    Plant("a float64 has the tolerance of float32", "compare/tolerance.py",
          '"float64": 1e-12,', '"float64": 1e-5,', COMPARE),
    Plant("weights have the tolerance across platforms", "compare/tolerance.py",
          'if kind != "init" and then.get("platform")', 'if then.get("platform")',
          COMPARE),
    Plant("masks are everybody's scale", "compare/tolerance.py",
          "return self.of(dtype) * scale.of(golden) + self.atol",
          "return self.of(dtype) * scale.largest + self.atol", COMPARE),
    # -- two sets of leaves
    Plant("shapes are not compared", "compare/differences.py",
          'for name in ("type", "shape", "dtype") if', 'for name in ("type", "dtype") if', COMPARE),
    Plant("dtypes are not compared", "compare/differences.py",
          'for name in ("type", "shape", "dtype") if', 'for name in ("type", "shape") if', COMPARE),
    Plant("a leaf that is gone is not missed", "compare/differences.py",
          'result.differences.append(Difference(path, ("removed",), expected=old[path]))', "pass",
          COMPARE),
    Plant("a new leaf is not seen", "compare/differences.py",
          'result.differences.append(Difference(path, ("added",), obtained=new[path]))', "pass",
          COMPARE),
    Plant("aliases are not compared", "compare/differences.py",
          "if old.get(p) != new.get(p))", "if False)", COMPARE),
    Plant("a golden without elements is rounding", "compare/differences.py",
          "if numbers is None or not numbers.is_rounding:",
          "if numbers is not None and not numbers.is_rounding:", COMPARE),
    Plant("spots are not compared", "compare/differences.py",
          "if numbers is not None and numbers.differing and not numbers.is_rounding:",
          "if False:", COMPARE),
    Plant("another key of a stream is the same key", "compare/differences.py",
          'return any(draw.partition("#")[0] in rekeyed for draw in new.draws)', "return False",
          COMPARE),
    # -- sketches
    Plant("NaNs may move", "compare/estimate.py",
          "if (a.nonfinite, a.nonfinite_digest) != (b.nonfinite, b.nonfinite_digest):",
          "if a.nonfinite != b.nonfinite:", f"{COMPARE} {SKETCH}"),
    Plant("extremes are not compared", "compare/estimate.py",
          "    elif moved.any():\n        reason", "    elif False:\n        reason",
          f"{COMPARE} {SKETCH}"),
    Plant("energy is not compared", "compare/estimate.py",
          "> math.sqrt(finite) * t + stored:", "> math.inf:", f"{COMPARE} {SKETCH}"),
    Plant("peaks are not looked for", "compare/estimate.py",
          "> 6 * t + 8 * sigma + stored:", "> math.inf:", f"{COMPARE} {SKETCH}"),
    Plant("few that changed are not looked for", "compare/estimate.py",
          "> few + stored:", "> math.inf:", f"{COMPARE} {SKETCH}"),
    # -- policy
    Plant("an unstable build passes", "golden/policy.py",
          "if not (repeats and agrees):", "if not repeats and not agrees:", f"{GOLDEN}/test_policy.py"),
    Plant("a missing golden passes", "golden/policy.py",
          "fails=not good and not accepted and not moving,",
          "fails=not good and not accepted and not moving and status is not Status.MISSING,",
          f"{GOLDEN}/test_policy.py"),
    Plant("a failing test writes", "golden/policy.py",
          "may = not left and outcome in (Outcome.PENDING, Outcome.PASSED)", "may = not left",
          f"{GOLDEN}/test_policy.py"),
    Plant("a locked golden is written over", "golden/policy.py",
          "accepted = mode.update and status is not Status.LOCKED", "accepted = mode.update",
          f"{GOLDEN}/test_policy.py"),
    Plant("update-only accepts one cause of several", "golden/policy.py",
          "bool(causes) and mode.only.issuperset(causes)", "not mode.only.isdisjoint(causes)",
          f"{GOLDEN}/test_policy.py"),
    Plant("prune takes what may be defined", "golden/policy.py",
          "return Use.UNKNOWN if lives else Use.GONE", "return Use.GONE",
          f"{GOLDEN}/test_policy.py {GOLDEN}/test_inventory.py"),
    Plant("prune runs in part of a suite", "golden/policy.py",
          "if not reasons:\n        return None", "if len(reasons) < 2:\n        return None",
          f"{GOLDEN}/test_policy.py"),
    # -- reading
    Plant("stored values need not be those of the digest", "golden/values.py",
          "if digest(values) != leaf.digest:", "if False:", f"{GOLDEN}/test_manifest.py"),
    Plant("values that are missing are not missed", "golden/values.py",
          "        except FileNotFoundError:\n            if self._is_replaced():",
          "        except FileNotFoundError:\n            return None\n            if self._is_replaced():",
          f"{GOLDEN}/test_store.py"),
    Plant("contradictions are read", "golden/manifest.py",
          "if wrong := contradiction(leaf):", "if wrong := '':", f"{GOLDEN}/test_consistency.py"),
    Plant("no deviation is too small", "golden/consistency.py",
          "if math.isfinite(furthest) and", "if False and", f"{GOLDEN}/test_consistency.py"),
    Plant("devices are read", "golden/inventory.py",
          "if not stat.S_ISREG(found.st_mode):", "if stat.S_ISDIR(found.st_mode):",
          f"{GOLDEN}/test_manifest.py"),
    # -- writing
    Plant("shapes are no part of the name of values", "golden/store.py",
          r"\0{list(leaf.shape)}\0", r"\0", f"{FAULTS} {GOLDEN}/test_store.py"),
    Plant("the manifest comes before its values", "golden/store.py",
          "                self._put_values(directory, stem)\n                self._put_manifest(directory, stem)\n",
          "                self._put_manifest(directory, stem)\n                self._put_values(directory, stem)\n",
          FAULTS),
    Plant("no sync before the manifest", "golden/store.py",
          "folder_to_disk(directory)  # before a manifest that names it", "pass", FAULTS),
    Plant("no sync of the manifest", "golden/store.py", "file_to_disk(manifest)", "pass", FAULTS),
    Plant("no sync before old values go", "golden/store.py",
          "folder_to_disk(directory)  # before the values of the manifest that it replaces go",
          "pass", FAULTS),
    Plant("prune takes the values first", "golden/inventory.py",
          "        path.unlink()\n        folder_to_disk(path.parent)\n",
          "        [v.unlink() for v in values_files(path.parent, stem)]\n        path.unlink()\n",
          FAULTS),
    Plant("killed runs' files stay", "golden/stale.py",
          "            take_away(path)\n            if not", "            if not", FAULTS),
    Plant("a living process's files go", "golden/stale.py",
          "return not _alive(int(made[1]))", "return True", f"{GOLDEN}/test_stale.py"),
    # -- derivations
    Plant("counts are no part of a draw", "trace/fingerprint.py",
          "atoms = [(*atom, link) if is_key(atom) else atom for atom in key.atoms]",
          "atoms = [(*atom, 0) if is_key(atom) else atom for atom in key.atoms]", TRACE),
    Plant("constants are no part of an initializer", "trace/fingerprint.py",
          "return self._constant(literal.val, equation, literal.aval)",
          "return self._constant(np.zeros_like(literal.val), equation, literal.aval)", TRACE),
    Plant("what is impure is proven", "trace/derivation.py",
          "proven=all(atom[0] != IMPURE and UNKNOWN not in atom for atom in value.atoms),",
          "proven=True,", TRACE),
    Plant("a numpy array is proven", "trace/derivation.py",
          "proven = array.ndim == 0", "proven = True", TRACE),
    # -- causes
    Plant("a build that does not repeat itself is explained", "why/diagnose.py",
          "if not evidence.repeats:", "if False:", "tests/unit/why tests/causes/test_streams.py"),
    Plant("a changed value is explained by its shape alone", "why/diagnose.py",
          'if moved and {"shape", "dtype"}.isdisjoint(d.kinds):', "if moved:",
          "tests/unit/why tests/causes/test_mutations.py"),
    Plant("what nothing explains is left out", "why/diagnose.py",
          "left = [d for d in open_ if d.path not in explained]", "left = []",
          "tests/unit/why tests/causes/test_mutations.py"),

    # -- structure and sides
    Plant("a sharding that was asked for is not compared", "compare/differences.py",
          "if sharding and (old.sharding != new.sharding or moved(old.placed, new.placed)):",
          "if False:", COMPARE),
    Plant("modules may change", "compare/differences.py",
          "return not (self.differences or self.static)", "return not self.differences",
          f"{COMPARE} {STATIC}"),
    Plant("True is 1 where an attribute is", "compare/differences.py",
          "        return old is new\n", "        return bool(old) == bool(new)\n", COMPARE),
    Plant("an attribute that is new is not seen", "compare/differences.py",
          "names = old.keys() & new.keys() if lenient else old.keys() | new.keys()",
          "names = old.keys()", COMPARE),
    Plant("an attribute that is gone is not seen", "compare/differences.py",
          "names = old.keys() & new.keys() if lenient else old.keys() | new.keys()",
          "names = new.keys()", COMPARE),
    Plant("another initializer is the same", "compare/differences.py",
          "if old.draws != new.draws or (fingerprints and old.initializer != new.initializer):",
          "if old.draws != new.draws:", COMPARE),
    Plant("spots outweigh the sketch", "compare/gap.py",
          "changed=found.changed or not spots.is_rounding,", "changed=not spots.is_rounding,",
          GAP),
    Plant("the sketch outweighs the spots", "compare/gap.py",
          "changed=found.changed or not spots.is_rounding,", "changed=found.changed,",
          GAP),
    Plant("what is set aside may move", "compare/gap.py",
          "if golden.count != ours.count or max(map(abs, ends)) > allowed:",
          "if golden.count != ours.count:", GAP),
    Plant("what is set aside has no sketch", "compare/gap.py",
          'return a.form != b.form or judge(a, b, math.ldexp(allowed, -a.shift)).kind == "changed"',
          "return False", GAP),
    Plant("slabs: non-finite elements are forgotten", "compare/gap.py",
          "nonfinite=merged.nonfinite + found.nonfinite,", "nonfinite=0,",
          "tests/property/test_slab_properties.py tests/unit/leaf/test_passes.py"),
    Plant("slabs: the last one decides", "compare/gap.py",
          "if found.differing and _tells_more(found, merged):", "if found.differing:",
          "tests/property/test_slab_properties.py tests/unit/leaf/test_passes.py"),
    # -- digests
    Plant("the rest of a strided array is not digested", "leaf/digest.py",
          "    if filled:\n        yield", "    if filled and size < 1 << 18:\n        yield",
          "tests/unit/leaf tests/property/test_artifact_properties.py"),
    Plant("all bits of a narrow dtype but one are digested", "leaf/digest.py",
          "raw & np.uint8(mask)", "raw & np.uint8(mask >> 1)", "tests/unit/leaf"),
    # -- goldens that are read
    Plant("spots need not lie between the extremes", "golden/consistency.py",
          "        or _wrong_spots(leaf)\n", "", f"{GOLDEN}/test_consistency.py"),
    Plant("a leaf without values needs no sketch", "golden/consistency.py",
          "else _no_sketch(leaf))", 'else "")', f"{GOLDEN}/test_consistency.py"),
    Plant("stored values need not be those of the row", "golden/values.py",
          "if wrong := told_otherwise(leaf, values):", 'if wrong := "":',
          f"{GOLDEN}/test_consistency.py"),
    Plant("a sketch of another size is read", "golden/manifest.py",
          "if sketch.size != math.prod(shape) * parts:", "if False:",
          f"{GOLDEN}/test_manifest.py"),
    Plant("values of another file are read", "golden/manifest.py",
          r'r"[^./\\:\0\n][^/\\:\0\n]{0,240}\.[0-9a-f]{8}\.safetensors"',
          r'r".{1,240}\.[0-9a-f]{8}\.safetensors"', f"{GOLDEN}/test_manifest.py"),
    Plant("fingerprints of another scheme compare", "golden/execution.py",
          "if scheme != SCHEME:", "if scheme > SCHEME + 99:", f"{GOLDEN}/test_execution.py"),
    # -- references
    Plant("the notes of a reference do not count", "check/same.py",
          "return self.comparison.matches and not self.notes", "return self.comparison.matches",
          f"{GOLDEN}/test_reference.py"),
    Plant("a value is only held against what the other has", "check/same.py",
          "theirs_flat, notes = _flat(expected, options), ()",
          "theirs_flat, notes = _flat(expected, options), ()\n"
          "    theirs_flat = Flat(tuple(x for x in theirs_flat.leaves if x.path in ours.by_path()), {})",
          SAME),
    # -- accept
    Plant("a golden of another test is accepted", "golden/relocate.py",
          "owner.check) != shared:", "owner.check) == '':", ACCEPT),
    Plant("values that are not whole are accepted", "golden/relocate.py",
          "            leaf.read()\n", "            pass\n", ACCEPT),
    Plant("another run's page approves", "command/accept.py",
          "if approved and proposal.digest != approved[proposal.target]:", "if False:",
          f"{ACCEPT} tests/unit/command/test_approvals.py"),
    Plant("what is refused does not stop the rest", "command/accept.py",
          "stop = bool(refused) and not args.keep_going", "stop = False", ACCEPT),
    Plant("a tree that changed meanwhile is written over", "command/accept.py",
          "if fingerprint(proposal.source) != proposal.digest or _moved(proposal, root):",
          "if fingerprint(proposal.source) != proposal.digest:", ACCEPT),
    Plant("one cause of several selects", "command/proposal.py",
          "numbers.issuperset(proposal.changes)", "not numbers.isdisjoint(proposal.changes)",
          f"{ACCEPT} tests/unit/command/test_pending.py"),
    Plant("another commit's golden is written over", "command/proposal.py",
          "if here == against and (check.golden == target or not path.exists()):",
          "if check.golden == target or not path.exists():", ACCEPT),
    Plant("two reports may disagree", "command/proposal.py",
          "if len(digests) > 1:", "if len(digests) > 2:",
          f"{ACCEPT} tests/unit/command/test_merge.py"),
    Plant("what no update would write is accepted", "command/proposal.py",
          "if withheld := next((check.withheld for _, check in group if check.withheld), \"\"):",
          'if withheld := "":', ACCEPT),
    Plant("links lead out of a report", "command/artifact.py",
          "        if path.is_symlink():\n", "        if False:\n",
          f"{ACCEPT} tests/unit/command tests/property/test_artifact_properties.py"),
    Plant("paths lead out of a report", "command/artifact.py",
          'path.is_absolute() or ".." in path.parts or not path.parts',
          "path.is_absolute() or not path.parts",
          f"{ACCEPT} tests/unit/command tests/property/test_artifact_properties.py"),
    # -- another revision, pruning
    Plant("against another revision nothing fails", "golden/policy.py",
          "return Decision(fails=not good and status is not Status.MISSING, writes=False)",
          "return Decision(fails=status is Status.UNREADABLE, writes=False)",
          f"{GOLDEN}/test_policy.py"),
    Plant("the present code stands for the revision's", "against/rehearsal.py",
          "        if found.foreign:\n", "        if False:\n", "tests/unit/against/test_rehearsal.py"),
    Plant("another interpreter's run may have failed", "against/rehearsal.py",
          "_ENDED = (0, 1, 2, 5)", "_ENDED = (0, 1, 2, 3, 4, 5)", "tests/unit/against/test_rehearsal.py"),
    Plant("nothing that was compared is a pass", "hooks/session.py",
          "if session.exitstatus == pytest.ExitCode.OK and nothing:", "if False:", AGAINST),
    Plant("prune where goldens are missing", "hooks/session.py",
          "        if missing:\n            troubles", "        if False:\n            troubles", PRUNE),
    Plant("prune what lies behind a link", "golden/inventory.py",
          "        if through_a_link(folder, rootdir):\n            continue",
          "        if False:\n            continue", f"{GOLDEN}/test_inventory.py"),
    Plant("prune a file that collected nothing", "golden/inventory.py",
          "        if existing and collected is None:\n",
          "        if False:\n", f"{GOLDEN}/test_inventory.py"),
    Plant("values that may be on their way go", "golden/stale.py",
          "if name not in used and (whole or stem in whose):", "if name not in used:",
          f"{GOLDEN}/test_stale.py"),
    Plant("values go whose manifest cannot be read", "golden/stale.py",
          "        return  # nobody knows what that one names", "        used = set()",
          f"{GOLDEN}/test_stale.py"),
    Plant("a temporary folder of a dead process stays", "golden/stale.py",
          "            path.unlink(missing_ok=True)\n        temporary.rmdir()", "            pass",
          f"{GOLDEN}/test_stale.py"),
    Plant("a folder is emptied behind a link", "golden/stale.py",
          "if temporary.is_symlink() or not temporary.is_dir():",
          "if not temporary.is_dir():", f"{GOLDEN}/test_stale.py"),
    Plant("values are made under another's name", "golden/store.py",
          'made = folder / "values"', 'made = directory / "values"', FAULTS),
    Plant("any spread will do for any deviation", "golden/consistency.py",
          "    if furthest < _UNDERFLOW:", "    if True:",
          f"{GOLDEN}/test_consistency.py"),
    # -- calls
    Plant("what a call does to its model is not checked", "trace/observed.py",
          'return {**found, "state": _tree(state)} if state else found', "return found", CALLS),
    Plant("gradients are not checked", "trace/observed.py",
          'found = {"output": out[0], "gradients": out[1]}', 'found = {"output": out[0]}', CALLS),
    Plant("of a training run its last step alone is checked", "trace/observed.py",
          "        return found\n\n    def first", "        return found[-1:]\n\n    def first", CALLS),
    Plant("a call's options may be its model's", "check/invoke.py",
          "if k in OPTIONS and k not in taken}", "if k in OPTIONS}", CALLS),
)  # fmt: skip

TESTS = [path for plant in PLANTS for path in plant.tests.split()]


def _bounded() -> None:
    """A defect may read without end; what is started from here inherits the limits."""
    if os.name == "posix":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (6 << 30, 6 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (900, 900))


def survives(plant: Plant, work: Path, forks: Forks) -> str:
    """ "" for a defect that the tests caught, else what became of them."""
    copy = work / "copy"
    for name in ("pytest_nnxrng", "tests", "docs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy / name)
    try:
        module = copy / "pytest_nnxrng" / plant.module
        text = module.read_text(encoding="utf-8")
        if plant.old and text.count(plant.old) != 1:
            return f"is planted nowhere: {plant.module} has {text.count(plant.old)} such lines"
        if plant.old:
            module.write_text(text.replace(plant.old, plant.new), encoding="utf-8")
        os.environ["PYTHONPATH"] = str(copy)
        options = ("-x", "-q", "-p", "no:cacheprovider", f"--basetemp={work / 'tmp'}")
        code, out, errors = forks.run([*options, *plant.tests.split()], copy)
        if code == 1:
            return ""
        return f"survives (pytest ended with {code}: {[*out, *errors][-1:]})"
    finally:
        shutil.rmtree(copy)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-k", default="", help="defects whose words hold this alone")
    chosen = parser.parse_args().k
    alive = []
    _bounded()
    control = Plant("nothing", "plugin.py", "", "", " ".join(dict.fromkeys(TESTS)))
    with tempfile.TemporaryDirectory(prefix="planted-") as work:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = f"{work}/bytecode"
        forks = Forks(os.environ)
        if not chosen and not survives(control, Path(work), forks):
            print("the tests fail without any defect: what they catch tells nothing")
            return 2
        plants = [plant for plant in PLANTS if chosen in f"{plant.what} {plant.module}"]
        if not plants:
            parser.error(f"no defect has {chosen!r} in its words")
        for plant in plants:
            told = survives(plant, Path(work), forks)
            print(f"{plant.module}: {plant.what}: {told or 'caught'}", flush=True)
            alive += [plant.what] if told else []
    print(f"{len(alive)} survive" if alive else "none survives")
    return int(bool(alive))


if __name__ == "__main__":
    sys.exit(main())
