"""``rngs=nnx.Rngs(0)`` as a default argument: the second build in a process is another one."""

from __future__ import annotations

from projects import Project

MODEL = """
from flax import nnx

class Inner(nnx.Module):
    def __init__(self, *, rngs=nnx.Rngs(0)):
        self.linear = nnx.Linear(4, 4, rngs=rngs)

class Outer(nnx.Module):
    def __init__(self, *, rngs):
        self.first = nnx.Linear(4, 4, rngs=rngs)
        self.inner = Inner()

class Careful(nnx.Module):
    def __init__(self, *, rngs):
        self.inner = Inner(rngs=rngs)
"""
TEST = """
from traps import Outer, Careful

def test_outer(rngs, nnx_snapshot):
    nnx_snapshot.check_init(Outer, rngs=rngs)
"""
NAMED = (
    "the default of the argument rngs of Inner.__init__ (traps.py:4) is one nnx.Rngs for all calls"
)


def test_an_update_names_the_argument(project: Project):
    project.write({"traps.py": MODEL}).test(TEST)
    project.update().came_to(failed=1).says("the build does not repeat itself", NAMED[1:])


def test_a_check_that_passes_warns_and_one_that_fails_names_it(project: Project):
    project.write({"traps.py": MODEL.replace("Inner()", "Inner(rngs=nnx.Rngs(0))")}).test(TEST)
    project.made()
    project.write({"traps.py": MODEL})
    project.run().came_to(passed=1).says("MutableDefaultWarning", NAMED)
    project.run("-W", "error::pytest_nnxrng.MutableDefaultWarning").came_to(failed=1)
    project.change(
        "tests/test_model.py",
        "    nnx_snapshot",
        "    from traps import Inner\n    Inner()\n    nnx_snapshot",
    )
    run = project.run().came_to(failed=1)
    run.says("nondeterministic: two builds in this process give different models: ", NAMED)
    run.does_not_say("to accept:", "To write or accept")  # no update would write it
    run.does_not_say("MutableDefaultWarning")


def test_a_default_that_was_not_drawn_from_is_no_matter(project: Project):
    project.write({"traps.py": MODEL}).test(TEST.replace("(Outer", "(Careful")).made()
    project.run("-W", "error").came_to(passed=1)


def test_a_build_without_its_rngs_is_checked_and_told_of_the_default(project: Project):
    project.write({"traps.py": MODEL}).test(
        """
        from traps import Inner

        def test_it(nnx_snapshot):
            nnx_snapshot.check_init(Inner)
        """
    ).made()
    project.run().came_to(passed=1).says("MutableDefaultWarning", NAMED)


def test_a_build_that_differs_is_told_of_its_own_default_too(project: Project):
    project.write({"traps.py": MODEL}).test(
        TEST.replace("Outer", "Inner").replace(", rngs=rngs", "")
    )
    project.made()
    project.change("traps.py", "rngs=nnx.Rngs(0)", "rngs=nnx.Rngs(1)")
    project.run().came_to(failed=1).says("seed: ", "MutableDefaultWarning", NAMED)


def test_a_global_is_drawn_from_by_other_tests_too(project: Project):
    project.test(
        """
        from flax import nnx

        RNGS = nnx.Rngs(0)

        def build():
            return nnx.Linear(4, 4, rngs=RNGS)

        def test_it(nnx_snapshot):
            nnx_snapshot.check_init(build)
        """
    )
    project.update().came_to(failed=1).says("the build does not repeat itself")
    assert not list(project.path.rglob("*.json"))


def test_so_is_a_function_that_is_told_apart_from_its_rngs(project: Project):
    project.write({"traps.py": MODEL}).test(
        """
        from flax import nnx

        def build(rngs=nnx.Rngs(0)):
            return nnx.Linear(4, 4, rngs=rngs)

        def test_it(nnx_snapshot):
            nnx_snapshot.check_init(build)
        """
    ).made()
    project.run().came_to(passed=1).says(
        "MutableDefaultWarning", "the default of the argument rngs of build (test_model.py:3)"
    )
