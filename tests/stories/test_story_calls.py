"""A call of a model, from its first golden to the module that computes otherwise."""

from __future__ import annotations

import json

from projects import Project

NET = """
import jax
import jax.numpy as jnp
from flax import nnx

class Block(nnx.Module):
    def __init__(self, *, rngs):
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.up = nnx.Linear(4, 8, rngs=rngs)
        self.down = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, x):
        return x + self.down(nnx.relu(self.up(self.norm(x))))

class Net(nnx.Module):
    def __init__(self, *, rngs):
        self.first = Block(rngs=rngs)
        self.second = Block(rngs=rngs)

    def __call__(self, x):
        return self.second(self.first(x))
"""

TEST = """
import jax.numpy as jnp
from net import Net

def test_forward(rngs, nnx_snapshot):
    y = nnx_snapshot.check_call(Net(rngs=rngs), jnp.ones((2, 4)) * jnp.arange(2.0)[:, None])
    assert y.shape == (2, 4)
"""

OTHERWISE = "first, second compute otherwise: relu -> tanh (net.py:12)"


def test_a_call_from_its_golden_to_the_line_that_changed(project: Project) -> None:
    project.write({"net.py": NET, "tests/test_net.py": TEST})
    project.run().came_to(failed=1).says("test_forward.1: the golden is missing")
    project.run("--nnx-update-snapshots").came_to(passed=1).says("1 written")
    golden = project.path / "tests/__nnx_snapshots__/test_net/test_forward.1.json"
    calls = json.loads(golden.read_text(encoding="utf-8"))["calls"]
    assert list(calls["outputs"])[:4] == ["first.norm", "first.up", "first.down", "first"]
    assert calls["computations"]["BatchNorm"]["attributes"]["momentum"] == 0.99
    project.run().came_to(passed=1).says("1 matched")
    project.change("net.py", "nnx.relu", "jnp.tanh")
    run = project.run("--nnx-update-only=draws").came_to(failed=1)
    run.says("test_forward.1: computation: Block computes otherwise: relu -> tanh (net.py:12)")
    run.says(f"why computation: {OTHERWISE} output state.second.norm.{{mean,var}}")
    project.run("--nnx-update-only=computation").came_to(passed=1)
    project.run().came_to(passed=1)


IDLE = """
    import jax
    import jax.numpy as jnp
    from flax import nnx

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.used = nnx.Linear(4, 4, rngs=rngs)
            self.twice = nnx.Linear(4, 4, rngs=rngs)
            self.norm = nnx.BatchNorm(4, rngs=rngs)
            self.idle = nnx.Linear(4, 4, rngs=rngs)
            self.halved = nnx.Linear(4, 4, rngs=rngs)

        def __call__(self, x):
            @nnx.jit
            def apply(layer, x):
                return layer(x)

            self.idle(x)
            x = apply(self.twice, apply(self.used, x))
            return self.norm(x @ self.halved.kernel[...])
"""


def test_a_change_has_its_line_once_and_the_same_id_wherever_it_stands(project: Project):
    project.write({"net.py": NET, "tests/test_net.py": TEST}).made()
    project.change("net.py", "nnx.relu", "nnx.tanh")
    found = []
    for _ in range(2):
        run = project.run("--nnx-report=out").came_to(failed=1)
        told = " ".join(run.summary)
        assert told.count("net.py:") == 1, told
        (finding,) = json.loads((project.path / "out/report.json").read_text())["findings"]
        found.append((finding["id"], finding["place"]))
        project.change("net.py", "import jax\n", "import jax\n\n")
    assert found[0][0] == found[1][0]
    assert found[0][1] != found[1][1]


def test_what_a_call_has_no_use_for_is_told_when_its_golden_is_written(project: Project):
    project.write({"nets.py": IDLE}).test("""
        import jax.numpy as jnp
        from nets import Net

        def test_it(rngs, nnx_snapshot):
            nnx_snapshot.check_call(Net(rngs), jnp.ones((2, 4)))
    """)
    run = project.update().came_to(passed=1)
    run.says("UnusedLeafWarning: halved.bias, idle.bias, idle.kernel: nothing that this call gives")
    project.run().came_to(passed=1).does_not_say("UnusedLeafWarning")
    project.change("nets.py", "self.idle(x)", "x += self.idle(x) + self.halved.bias[...]")
    project.update().came_to(passed=1).does_not_say("UnusedLeafWarning")
