"""Outputs of a model that a fixture made, and that another test of the run checked."""

from __future__ import annotations

import pytest
from projects import Project

FIXTURE = """
import jax.numpy as jnp
import pytest
from flax import nnx
from models import MLP

@pytest.fixture(scope="SCOPE")
def model(rngs_factory):
    return MLP(4, 8, 3, rngs=rngs_factory())
"""

TESTS = (
    FIXTURE
    + """
def test_weights(model, nnx_snapshot):
    nnx_snapshot.check(model)

def test_output(model, nnx_snapshot):
    nnx_snapshot.check(model(jnp.ones((1, 4))), "output")
"""
)
RESEEDED = ("tests/test_model.py", "rngs_factory()", "rngs_factory(7)")
# What moves the output alone.
TANH = ("models.py", "nnx.relu(self", "nnx.tanh(self")
WHERE = "where check_call(model, ...) in place of check(model(...)) tells which module"
ACTIVATED = "why forward: the model matches in test_weights, its output does not: the value"
FOLLOWS = "why follows: the model that test_weights checked before differs: the value"


def made(project: Project, text: str, scope: str = "module") -> Project:
    return project.test(text.replace("SCOPE", scope)).made()


@pytest.mark.parametrize("scope", ["module", "function"])
def test_an_output_follows_from_a_model_that_another_test_checked(project: Project, scope: str):
    made(project, TESTS, scope).change(*RESEEDED)
    run = project.run().came_to(failed=2)
    run.says(FOLLOWS, "1 follows: not judged").does_not_say("unknown")
    project.run("--nnx-update-only=seed,follows").came_to(passed=2)


@pytest.mark.parametrize("scope", ["module", "function"])
def test_a_forward_pass_that_moved_beside_a_model_that_matches(project: Project, scope: str):
    made(project, TESTS, scope).change(*TANH)
    project.run().came_to(passed=1, failed=1).says(ACTIVATED, WHERE).does_not_say("unknown")


def test_nothing_is_said_of_a_model_that_no_test_of_the_run_has_checked(project: Project):
    made(project, TESTS).change(*RESEEDED)
    run = project.run("-k", "test_output").came_to(failed=1)
    run.says("why unknown").does_not_say("follows", "forward")


def test_a_model_of_other_weights_is_another_model(project: Project):
    text = TESTS.replace(
        "def test_output(model, nnx_snapshot)",
        """@pytest.fixture
def other(rngs_factory):
    return MLP(4, 8, 3, rngs=rngs_factory(5))

def test_output(other, nnx_snapshot)""",
    ).replace("check(model(", "check(other(")
    made(project, text).change("tests/test_model.py", "rngs_factory(5)", "rngs_factory(6)")
    run = project.run().came_to(passed=1, failed=1)
    run.says("why unknown").does_not_say("follows", "forward")


TWO = """
@pytest.fixture(scope="module")
def teacher(rngs_factory):
    return MLP(4, 8, 3, rngs=rngs_factory(5))

def test_weights(model, nnx_snapshot):
    nnx_snapshot.check(model)

def test_teacher(teacher, nnx_snapshot):
    nnx_snapshot.check(teacher)

def test_loss(model, teacher, nnx_snapshot):
    x = jnp.ones((1, 4))
    nnx_snapshot.check(((model(x) - teacher(x)) ** 2))
"""


def test_of_several_models_all_must_have_been_checked(project: Project):
    made(project, FIXTURE + TWO).change(*TANH)
    run = project.run().came_to(passed=2, failed=1)
    run.says("why forward: the model matches in test_weights, test_teacher, its output does not")
    run = project.run("-k", "weights or loss").came_to(passed=1, failed=1)
    run.says("why unknown").does_not_say("forward")


def test_of_several_models_one_that_moved_is_no_proof(project: Project):
    made(project, FIXTURE + TWO).change(*RESEEDED)
    run = project.run().came_to(passed=1, failed=2)
    run.says("why unknown").does_not_say("follows", "forward")


def test_a_model_that_was_trained_since_is_likely_the_cause(project: Project):
    text = TESTS.replace(
        'nnx_snapshot.check(model(jnp.ones((1, 4))), "output")',
        "model.layer1.kernel[...] = model.layer1.kernel[...] * 2\n"
        '    nnx_snapshot.check(model(jnp.ones((1, 4))), "output")',
    )
    made(project, text).change(*RESEEDED)
    run = project.run().came_to(failed=2)
    run.says(
        "why follows: likely: the model that test_weights checked before differs; its state has "
        "moved since that check"
    )
    run = project.run("--nnx-update-only=seed,follows").came_to(failed=1, passed=1)


def test_a_test_of_another_file_is_named_with_it(project: Project):
    fixture, _, tests = TESTS.replace("SCOPE", "session").partition("\ndef test_weights")
    project.write({"tests/conftest.py": fixture})
    weights, _, output = tests.partition("\ndef test_output")
    project.test(f"def test_weights{weights}", "tests/test_a.py")
    project.test(f"import jax.numpy as jnp\ndef test_output{output}", "tests/test_b.py").made()
    project.change("tests/conftest.py", "rngs_factory()", "rngs_factory(7)")
    run = project.run().came_to(failed=2)
    run.says("why follows: the model that tests/test_a.py::test_weights checked before differs")


def test_of_models_that_differ_in_an_activation_each_has_its_own_check(project: Project):
    text = """
    import jax.numpy as jnp
    import pytest
    from flax import nnx
    from net import Net

    @pytest.fixture(scope="class", params=["relu", "tanh"])
    def model(request, rngs_factory):
        return Net(request.param, rngs=rngs_factory())

    class TestNet:
        def test_weights(self, model, nnx_snapshot):
            nnx_snapshot.check(model)

        def test_output(self, model, nnx_snapshot):
            nnx_snapshot.check(model(jnp.arange(-2.0, 2.0)[None]))
    """
    net = """
    from flax import nnx

    ACTIVATIONS = {"relu": nnx.relu, "tanh": nnx.tanh}

    class Net(nnx.Module):
        def __init__(self, name, *, rngs):
            self.linear = nnx.Linear(4, 4, rngs=rngs)
            self.act = ACTIVATIONS[name]

        def __call__(self, x):
            return self.act(self.linear(x))
    """
    project.write({"net.py": net}).test(text).made()
    project.change("net.py", '"tanh": nnx.tanh', '"tanh": nnx.sigmoid')
    run = project.run().came_to(passed=2, failed=2)
    run.says("why follows: the model that TestNet::test_weights[tanh] checked before differs")
    run.does_not_say("unknown", "forward")


def test_a_state_of_gradients_follows_too(project: Project):
    text = TESTS.replace(
        'nnx_snapshot.check(model(jnp.ones((1, 4))), "output")',
        "loss = lambda model: model(jnp.ones((1, 4))).sum()\n"
        '    nnx_snapshot.check(nnx.grad(loss)(model), "grads")',
    )
    made(project, text).change(*RESEEDED)
    run = project.run().came_to(failed=2)
    run.says("why follows: the model that test_weights checked before differs: ")
