"""Who drew which key: insertions, removals and swaps are told once, with the line that draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import pytest
from flax import nnx

from pytest_nnxrng.trace.source import place_of

from .conftest import Bench, words
from .test_mutations import seeded

List: Any = getattr(nnx, "List", list)  # flax 0.11.0 has none


class Block(nnx.Module):
    """Three layers; ``change`` says what is done to each block."""

    def __init__(self, change: str, *, rngs: nnx.Rngs) -> None:
        if change == "swap":
            self.b = nnx.Linear(4, 4, rngs=rngs)
            self.a = nnx.Linear(4, 4, rngs=rngs)
        else:
            self.a = nnx.Linear(4, 4, rngs=rngs)
        if change in ("extra", "both"):
            self.extra = nnx.LayerNorm(4, rngs=rngs)
        if change != "swap":
            self.b = nnx.Linear(4, 4, use_bias=change != "no bias", rngs=rngs)
        if change not in ("no c", "replaced"):
            self.c = nnx.Linear(4, 4, rngs=rngs)
        if change == "both":
            self.last = nnx.Dropout(0.1, rngs=rngs)
        if change == "loose":
            rngs.params()
        if change == "replaced":
            self.c2 = nnx.MultiHeadAttention(2, 4, rngs=rngs, decode=False)


class Net(nnx.Module):
    def __init__(self, change: str, blocks: int = 3, *, rngs: nnx.Rngs) -> None:
        self.blocks = List([Block(change, rngs=rngs) for _ in range(blocks)])
        self.head = nnx.Linear(4, 2, rngs=rngs)


class Scanned(nnx.Module):
    """The blocks as one stack, whose keys are split from a draw."""

    def __init__(self, change: str, *, rngs: nnx.Rngs) -> None:
        @nnx.split_rngs(splits=3)
        @nnx.vmap
        def stack(rngs: nnx.Rngs) -> Block:
            return Block(change, rngs=rngs)

        self.blocks = stack(rngs)
        self.head = nnx.Linear(4, 2, rngs=rngs)


def shared(seed: int = 0) -> nnx.Rngs:
    return nnx.Rngs(seed)


def told(bench: Bench, then: Any, now: Any, rngs: Any = seeded) -> Any:
    """What becomes of a golden of ``then`` when it is held against ``now``."""
    bench.write(lambda snapshot: snapshot.check_init(then[0], *then[1:], rngs=rngs()))
    found = bench.causes(lambda snapshot: snapshot.check_init(now[0], *now[1:], rngs=rngs()))[0]
    return [f"{cause.word}: {cause.text}" for cause in found]


HERE = place_of(__file__, 1).partition(":")[0]


def line(text: str) -> int:
    """The number of the first line of this file that has ``text``."""
    lines = Path(__file__).read_text().splitlines()
    return 1 + next(i for i, found in enumerate(lines) if text in found)


IN_EACH = "in each of blocks.0 to blocks.2"
TOLD = [
    (
        "",
        "extra",
        f"draws: 2 more keys are drawn from `params` by extra (LayerNorm) {IN_EACH}: 9 leaves "
        f"moved (see {HERE}:{line('self.extra =')}: self.extra = nnx.LayerNorm(4, "
        "rngs=rngs))",
    ),
    ("extra", "", f"draws: 2 fewer keys are drawn from `params` without extra {IN_EACH}: 9 leaves"),
    (
        "",
        "swap",
        f"draws: keys are drawn from `params` in another order (a after b {IN_EACH}): 6 leaves",
    ),
    (
        "",
        "no bias",
        f"draws: 1 fewer key is drawn from `params` by b {IN_EACH}: 8 leaves moved",
    ),
    (
        "no bias",
        "",
        f"draws: 1 more key is drawn from `params` by b (Linear) {IN_EACH}: 8 leaves moved (see "
        f"{HERE}:{line('self.b = nnx.Linear(4, 4, use')}: self.b = nnx.Linear",
    ),
    ("", "no c", f"draws: 2 fewer keys are drawn from `params` without c {IN_EACH}: 5 leaves"),
    (
        "",
        "loose",
        "draws: 1 more key is drawn from `params` by blocks.0 to blocks.2 (Block): 7 leaves moved "
        f"(see {HERE}:{line('    rngs.params()')}: rngs.params())",
    ),
]


@pytest.mark.parametrize(("then", "now", "expected"), TOLD)
def test_one_change_of_every_block_is_one_cause(
    bench: Bench, then: str, now: str, expected: str
) -> None:
    found = [line for line in told(bench, (Net, then), (Net, now)) if line.startswith("draws")]
    assert len(found) == 1, found
    assert found[0].startswith(expected)


def test_two_changes_of_every_block_are_two_causes(bench: Bench) -> None:
    found = told(bench, (Net, ""), (Net, "both"), shared)
    assert [line.partition(":")[0] for line in found] == ["added", "draws", "draws"]
    assert "by extra (LayerNorm) in each of" in found[1]
    assert "1 more key is drawn from `default` by last (Dropout) in each of" in found[2]


def test_a_thousand_draws_are_one_cause(bench: Bench) -> None:
    found = told(bench, (Net, "", 32), (Net, "extra", 32))
    assert [line.partition(":")[0] for line in found] == ["added", "draws"]
    assert "in each of blocks.0 to blocks.31" in found[1]


def test_another_layer_in_its_place(bench: Bench) -> None:
    found = told(bench, (Net, ""), (Net, "replaced"))
    draws = [line for line in found if line.startswith("draws")]
    assert len(draws) == 1, found
    assert draws[0].startswith(
        "draws: 6 more keys are drawn from `params` by c2 (MultiHeadAttention) in"
    )
    assert "which stands where the golden has c: " in draws[0]


def test_a_layer_more_at_the_end_of_a_list(bench: Bench) -> None:
    found = told(bench, (Net, "", 3), (Net, "", 4))
    assert [line.partition(":")[0] for line in found] == ["added", "draws"]
    assert "6 more keys are drawn from `params` by blocks.3 (Block): head.kernel" in found[1]


def test_a_layer_in_a_stack(bench: Bench) -> None:
    found = told(bench, (Scanned, ""), (Scanned, "extra"))
    draws = [line for line in found if line.startswith("draws")]
    assert len(draws) == 1, found
    assert "2 more keys are drawn from `params#0` by blocks.extra (LayerNorm): 2 lea" in draws[0]


def test_keys_before_the_build_and_within_it(bench: Bench) -> None:
    def later() -> nnx.Rngs:
        rngs = seeded()
        rngs.params()
        return rngs

    bench.write(lambda snapshot: snapshot.check_init(Net, "", rngs=seeded()))
    found = bench.causes(lambda snapshot: snapshot.check_init(Net, "extra", rngs=later()))[0]
    texts = [cause.text for cause in found if cause.word == "draws"]
    assert len(texts) == 2, texts
    assert texts[0].startswith("1 more key had been drawn from `params` before this build began")
    assert "10 leaves" in texts[0]
    assert "extra (LayerNorm)" in texts[1]


def test_an_initializer_that_takes_no_key_any_more_moves_none(bench: Bench) -> None:
    def build(change: bool, rngs: nnx.Rngs) -> Any:
        init = nnx.initializers.zeros_init() if change else nnx.initializers.normal()
        first = nnx.Linear(4, 4, kernel_init=init, rngs=rngs)
        if change:
            rngs.params()
        return nnx.Sequential(first, nnx.Linear(4, 4, rngs=rngs))

    bench.write(lambda snapshot: snapshot.check_init(build, False, rngs=seeded()))
    found = bench.causes(lambda snapshot: snapshot.check_init(build, True, rngs=seeded()))[0]
    assert words(found) == {"initializer", "draws"}
    (draws,) = [cause for cause in found if cause.word == "draws"]
    assert draws.text.startswith("1 more key is drawn from `params` by the model itself: layers.1")
    assert draws.text.endswith("rngs.params())")


def test_a_renamed_layer_and_a_new_one(bench: Bench) -> None:
    def build(name: str, extra: bool, rngs: nnx.Rngs) -> nnx.Module:
        model = nnx.Module()
        setattr(model, name, nnx.Linear(4, 5, rngs=rngs))
        if extra:
            model.norm = nnx.LayerNorm(5, rngs=rngs)
        model.out = nnx.Linear(5, 6, rngs=rngs)
        return model

    bench.write(lambda snapshot: snapshot.check_init(build, "one", False, rngs=seeded()))
    found = bench.causes(lambda snapshot: snapshot.check_init(build, "two", True, rngs=seeded()))[0]
    assert words(found) == {"renamed", "added", "draws"}
    assert any("2 more keys are drawn from `params` by norm (LayerNorm)" in c.text for c in found)


def test_goldens_without_owners_are_told_by_counts(bench: Bench, monkeypatch: Any) -> None:
    from pytest_nnxrng.trace import build

    with monkeypatch.context() as old:
        old.setattr(build, "compact", lambda names: [])
        bench.write(lambda snapshot: snapshot.check_init(Net, "", 1, rngs=seeded()))
    found = bench.causes(lambda snapshot: snapshot.check_init(Net, "extra", 1, rngs=seeded()))[0]
    texts = [cause.text for cause in found if cause.word == "draws"]
    assert texts[0].startswith("2 more keys are drawn from `params` before blocks.0.b.kernel: 3 le")


def test_an_unknown_count_is_no_number(bench: Bench) -> None:
    def build(loop: bool, extra: bool, rngs: nnx.Rngs) -> Any:
        if extra:
            rngs.params()
        if loop:
            jax.lax.while_loop(lambda n: n < 2, lambda n: n + 1, 0)
            rngs.params.count[...] = jax.lax.while_loop(
                lambda n: n < rngs.params.count[...] + 2, lambda n: n + 1, rngs.params.count[...]
            )
        return nnx.Linear(4, 4, rngs=rngs)

    for then, now in ((True, False), (False, True)):
        bench.write(lambda snapshot, of=then: snapshot.check_init(build, of, False, rngs=seeded()))
        found = bench.causes(
            lambda snapshot, of=now: snapshot.check_init(build, of, False, rngs=seeded())
        )[0]
        assert found
        assert not any(len(part) > 6 for c in found for part in c.text.split() if part.isdigit())
    bench.write(lambda snapshot: snapshot.check_init(build, True, False, rngs=seeded()))
    found = bench.causes(lambda snapshot: snapshot.check_init(build, True, True, rngs=seeded()))[0]
    assert "initializer" not in words(found), found
