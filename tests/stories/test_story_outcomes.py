"""When a test fails, what it shows first, and which outcomes write a golden."""

from __future__ import annotations

import pytest
from projects import Project


def test_all_checks_are_made_before_the_test_fails(project: Project):
    project.test("""
        import jax.numpy as jnp

        def test_three(nnx_snapshot):
            nnx_snapshot.check(jnp.float32(SCALE * 1), "one")
            nnx_snapshot.check(jnp.float32(2), "two")
            nnx_snapshot.check(jnp.float32(SCALE * 3), "three")
            print("the body ran to its end")

        SCALE = 1
    """).made()
    project.change("tests/test_model.py", "SCALE = 1", "SCALE = 2")
    run = project.run().came_to(failed=1)
    run.says("test_three.one.json", "test_three.three.json", "the body ran to its end")
    run.does_not_say("test_three.two.json")
    assert run.text.index("test_three.one.json") < run.text.index("test_three.three.json")
    assert run.text.count("to accept: ") == 1, "one command for the test"
    assert run.figures == "1 matched, 2 changed."


def test_an_exception_comes_first_and_the_mismatches_in_a_section(project: Project):
    project.test("""
        import jax.numpy as jnp

        def test_raises(nnx_snapshot):
            nnx_snapshot.check(jnp.float32(1), "moved")
            assert 1 + 1 == 3, "the body's own complaint"
    """).run().came_to(failed=1)
    run = project.run().came_to(failed=1)
    run.says("the body's own complaint", "test_raises.moved.json")
    assert run.text.index("the body's own complaint") < run.text.index("test_raises.moved.json")
    assert any(line.strip("- ") == "nnx_snapshot" for line in run.lines), "a section of its own"
    assert all("AssertionError: the body's own" in line for line in run.failures)


def test_a_check_in_a_fixtures_set_up_belongs_to_the_test(project: Project):
    project.test("""
        import pytest
        from models import MLP

        @pytest.fixture
        def model(rngs, nnx_snapshot):
            return nnx_snapshot.check_init(MLP, 2, 3, 2, rngs=rngs)

        def test_one(model, nnx_snapshot):
            print("the body ran")
            nnx_snapshot.check(model, "again")

        def test_two(model):
            pass
    """)
    run = project.run().came_to(failed=2).says("the body ran")
    assert run.figures == "0 matched, 3 missing."
    project.update().came_to(passed=2)
    assert project.manifests() == {"test_one.1.json", "test_one.again.json", "test_two.1.json"}
    project.run().came_to(passed=2)


NOTHING_WRITTEN = {
    "fails": ("failed", "assert False"),
    "raises": ("failed", "raise RuntimeError"),
    "skips": ("skipped", "pytest.skip('no')"),
    "imports": ("skipped", "pytest.importorskip('no_such_module_here')"),
    "fails by pytest": ("failed", "pytest.fail('no')"),
    "xfails": ("xfailed", "pytest.xfail('no')"),
}


@pytest.mark.parametrize("word", NOTHING_WRITTEN)
def test_an_update_writes_nothing_for_a_test_that_does_not_pass(project: Project, word: str):
    outcome, last = NOTHING_WRITTEN[word]
    body = """
        import jax.numpy as jnp, pytest

        def test_it(nnx_snapshot):
            nnx_snapshot.check(jnp.float32(1), "before")
            nnx_snapshot.check(jnp.arange(3.0), "also before")
            pass
    """
    project.test(body).change("tests/test_model.py", "    pass", f"    {last}")
    project.update().came_to(**{outcome: 1})
    assert project.goldens() == {}
    project.change("tests/test_model.py", last, "pass").made()
    goldens = project.goldens()
    project.change("tests/test_model.py", "    pass", f"    {last}")
    project.change("tests/test_model.py", "float32(1)", "float32(2)")
    project.update().came_to(**{outcome: 1})
    assert project.goldens() == goldens


@pytest.mark.parametrize(
    ("marks", "body", "outcomes"),
    [
        ("@pytest.mark.xfail", "assert False", {"xfailed": 1}),
        ("@pytest.mark.xfail", "pass", {"xpassed": 1}),
        ("@pytest.mark.xfail(strict=True)", "pass", {"failed": 1}),
        ("@pytest.mark.skip", "pass", {"skipped": 1}),
        ("@pytest.mark.usefixtures('broken')", "pass", {"errors": 1}),
        ("@pytest.mark.usefixtures('skipping')", "pass", {"skipped": 1}),
    ],
)
def test_marks_that_keep_an_update_from_writing(
    project: Project, marks: str, body: str, outcomes: dict[str, int]
):
    project.test(f"""
        import jax.numpy as jnp, pytest

        @pytest.fixture
        def checked(nnx_snapshot):
            nnx_snapshot.check(jnp.float32(0), "in set-up")

        @pytest.fixture
        def broken(checked):
            raise RuntimeError

        @pytest.fixture
        def skipping(checked):
            pytest.skip("not here")

        {marks}
        def test_it(nnx_snapshot):
            nnx_snapshot.check(jnp.float32(1))
            {body}
    """)
    project.update().came_to(**outcomes)
    assert project.goldens() == {}


def test_a_mismatch_is_what_an_xfail_may_expect(project: Project):
    project.test("""
        import jax.numpy as jnp, pytest

        @pytest.mark.xfail(raises=AssertionError, strict=True)
        def test_it(nnx_snapshot):
            nnx_snapshot.check(jnp.float32(1))
    """)
    project.run().came_to(xfailed=1)


def test_a_failed_subtest_counts_as_failed(project: Project):
    if not hasattr(pytest, "Subtests"):
        pytest.skip("this pytest has no subtests")
    project.test("""
        import jax.numpy as jnp, pytest

        def test_it(nnx_snapshot, subtests):
            nnx_snapshot.check(jnp.float32(1), "before")
            for number in range(3):
                with subtests.test(number=number):
                    nnx_snapshot.check(jnp.float32(number), f"in-{number}")
                    assert number != BAD
            nnx_snapshot.check(jnp.float32(2), "after")

        BAD = 1
    """)
    assert project.update().ret == 1
    assert project.goldens() == {}
    project.change("tests/test_model.py", "BAD = 1", "BAD = 9")
    assert project.update().ret == 0
    assert len(project.manifests()) == 5
    assert project.run().ret == 0
    project.change("tests/test_model.py", "float32(number)", "float32(number + 1)")
    run = project.run()
    assert run.ret == 1
    run.says("test_it.in-0.json", "test_it.in-1.json", "test_it.in-2.json")


def test_methods_of_unittest(project: Project):
    project.test("""
        import unittest
        import jax.numpy as jnp, pytest
        from models import MLP

        class TestNet(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def _fixtures(self, rngs, nnx_snapshot):
                self.rngs, self.snapshot = rngs, nnx_snapshot

            def test_passes(self):
                model = self.snapshot.check_init(MLP, 2, 3, 2, rngs=self.rngs)
                self.snapshot.check(model(jnp.ones((1, 2))), "output")

            def test_fails(self):
                self.snapshot.check(jnp.float32(1))
                self.assertEqual(1, 2)

            def test_skips(self):
                self.snapshot.check(jnp.float32(1))
                self.skipTest("no")

            @unittest.expectedFailure
            def test_expected(self):
                self.snapshot.check(jnp.float32(1))
                self.fail("as expected")

            @unittest.expectedFailure
            def test_unexpected(self):
                self.snapshot.check(jnp.float32(1))

        @pytest.mark.usefixtures("checked")
        class TestUses(unittest.TestCase):
            def test_raises(self):
                raise ValueError("the method's own")

        @pytest.fixture
        def checked(nnx_snapshot):
            nnx_snapshot.check(jnp.float32(1))
    """)
    run = project.update().came_to(passed=1, failed=3, skipped=1, xfailed=1)
    run.says("the method's own")
    assert len(project.manifests()) == 2
    assert all(name.startswith("TestNet.test_passes") for name in project.manifests())
    project.run("-k", "passes").came_to(passed=1)
    project.change("tests/test_model.py", "jnp.ones((1, 2))", "jnp.zeros((1, 2)) - 1")
    project.run("-k", "passes").came_to(failed=1).says("  leaves ")


def test_a_subtest_of_unittest_that_fails_counts_as_failed(project: Project):
    project.test("""
        import unittest
        import jax.numpy as jnp, pytest

        class TestNet(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def _fixtures(self, nnx_snapshot):
                self.snapshot = nnx_snapshot

            def test_it(self):
                self.snapshot.check(jnp.float32(1))
                with self.subTest("a"):
                    assert False
    """)
    if not hasattr(pytest, "Subtests"):
        pytest.skip("this pytest does not see unittest's subtests")
    assert project.update().ret == 1
    assert project.goldens() == {}


def test_a_teardown_error_does_not_undo_a_write(project: Project):
    project.test("""
        import jax.numpy as jnp, pytest

        @pytest.fixture
        def breaks_later():
            yield
            raise RuntimeError("in teardown")

        def test_it(breaks_later, nnx_snapshot):
            nnx_snapshot.check(jnp.float32(1))
    """)
    run = project.update().came_to(passed=1, errors=1).says("in teardown")
    assert project.manifests() == {"test_it.1.json"}
    assert run.figures == "0 matched, 1 written."
    run = project.run().came_to(passed=1, errors=1)
    assert run.figures == "1 matched."


def test_a_rerun_drops_the_attempt_before_it(project: Project):
    pytest.importorskip("pytest_rerunfailures")
    project.write({"attempt.txt": "0"}).test("""
        from pathlib import Path
        import jax.numpy as jnp

        def test_flaky(nnx_snapshot):
            file = Path(__file__).parent.parent / "attempt.txt"
            attempt = int(file.read_text())
            file.write_text(str(attempt + 1))
            nnx_snapshot.check(jnp.float32(attempt), "value")
            if attempt == 0:
                nnx_snapshot.check(jnp.float32(1), "first only")
            assert attempt >= 2
    """)
    run = project.update("--reruns", "3").came_to(passed=1, rerun=2)
    assert project.manifests() == {"test_flaky.value.json"}
    assert run.figures == "0 matched, 1 written."
    golden = project.golden("test_flaky.value.json").read_text("utf-8")
    assert '"value": 2' in golden
    project.write({"attempt.txt": "1"})
    run = project.run("--reruns", "3").came_to(passed=1, rerun=1)
    assert run.figures == "1 matched."


def test_unnamed_checks_in_a_loop_are_numbered_and_their_line_named(project: Project):
    project.test("""
        import jax.numpy as jnp

        def test_loop(nnx_snapshot):
            for number in range(3):
                nnx_snapshot.check(jnp.float32(SCALE * number))

        SCALE = 1
    """).made()
    assert project.manifests() == {f"test_loop.{n}.json" for n in (1, 2, 3)}
    project.change("tests/test_model.py", "SCALE = 1", "SCALE = 2")
    run = project.run().came_to(failed=1)
    run.says("test_model.py:5")
    assert run.figures == "1 matched, 2 changed."


def test_numpy_written_to_after_the_check_is_checked_as_it_was(project: Project):
    project.test("""
        import numpy as np

        def test_it(nnx_snapshot):
            array = np.zeros(3, np.float32)
            nnx_snapshot.check(array)
            array += 1
    """).made()
    assert '"constant": 0' in project.golden("test_it.1.json").read_text("utf-8")
    project.run().came_to(passed=1)


@pytest.mark.parametrize("how", ["raise KeyboardInterrupt", "pytest.exit('enough')"])
def test_an_interrupted_update_leaves_nothing_behind(project: Project, how: str):
    body = """
        import jax.numpy as jnp, pytest

        def test_it(nnx_snapshot):
            nnx_snapshot.check(jnp.arange({}))
            {}
    """
    project.test(body.format("7.0", "pass")).made()
    goldens = project.goldens()
    project.test(body.format("9.0", how)).run_apart("--nnx-update-snapshots")
    assert project.goldens() == goldens
