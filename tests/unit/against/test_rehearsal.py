"""A run on other code that was not on other code, or did not come to its end, proves nothing."""

import pytest

from pytest_nnxrng.against import apart, imports, rehearsal
from pytest_nnxrng.against.imports import Ledger
from pytest_nnxrng.run.settings import BadSetting


@pytest.fixture
def side(tmp_path):
    made = rehearsal.Side(None, None, tmp_path)
    (made.goldens / "tests").mkdir(parents=True)
    (made.goldens / "tests" / "a.json").write_text("{}", encoding="utf-8")
    yield made
    made.folder.remove()


def test_a_module_of_the_present_code_is_not_the_revision_s(side):
    side._refuse(Ledger(ran=["a"]))
    with pytest.raises(BadSetting, match=r"the module models came from /here/models\.py"):
        side._refuse(Ledger(ran=["a"], foreign={"models": "/here/models.py"}))


@pytest.mark.parametrize("code", [3, 4, -9])
def test_a_run_that_did_not_come_to_its_end_is_no_baseline(side, tmp_path, monkeypatch, code):
    monkeypatch.setattr(imports, "read_ledger", lambda folder: Ledger(ran=["a"]))
    given = rehearsal.Given((), tmp_path, None, tmp_path, (), (), (), "__nnx_snapshots__")
    tests = rehearsal.tests_of(given, tmp_path)
    monkeypatch.setattr(apart, "run", lambda *_: (1, "1 failed"))
    assert side._run(given, tests) == Ledger(ran=["a"])
    monkeypatch.setattr(apart, "run", lambda *_: (code, "INTERNALERROR"))
    with pytest.raises(BadSetting, match=rf"ended with code {code} before its end"):
        side._run(given, tests)
