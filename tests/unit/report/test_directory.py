"""Room is made for a report: what an earlier one wrote goes, and nothing else."""

import pytest

from pytest_nnxrng.golden.inventory import REPORT_MARK
from pytest_nnxrng.report.machine import BY, prepare, within
from pytest_nnxrng.run.settings import BadSetting

HEAD = '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
OURS = f'{HEAD}<meta name="generator" content="{BY}">'


@pytest.fixture
def report(tmp_path):
    """What an earlier report wrote."""
    (tmp_path / "report.json").write_text(f'{{"by": "{BY}"}}')
    (tmp_path / "index.html").write_text(OURS)
    for name in ("obtained", "models"):
        (tmp_path / name).mkdir()
        (tmp_path / name / REPORT_MARK).touch()
        (tmp_path / name / "old").touch()
    (tmp_path / "mine.txt").touch()
    return tmp_path


def test_an_earlier_report_makes_room(report):
    prepare(report)
    assert sorted(path.name for path in report.iterdir()) == ["mine.txt", "report.json"]


@pytest.mark.parametrize("name", ["index.html", "models", "obtained", "report.json"])
def test_a_link_is_refused(report, tmp_path_factory, name):
    there = tmp_path_factory.mktemp("elsewhere") / name
    (report / name).rename(there)
    (report / name).symlink_to(there)
    with pytest.raises(BadSetting, match=f"{name} is a link"):
        prepare(report)
    assert there.exists()


@pytest.mark.parametrize("name", ["models", "obtained"])
def test_a_folder_without_our_mark_is_refused(report, name):
    (report / name / REPORT_MARK).unlink()
    with pytest.raises(BadSetting, match=f"{name} was not written by --nnx-report"):
        prepare(report)
    assert (report / name / "old").exists()


def test_a_page_of_another_tool_is_refused(report):
    (report / "index.html").write_text("<!doctype html><title>coverage</title>")
    with pytest.raises(BadSetting, match=r"index\.html was not written by --nnx-report"):
        prepare(report)
    assert (report / "obtained" / "old").exists()


def test_the_page_that_we_write_is_known_as_ours(tmp_path):
    from pytest_nnxrng.page.assemble import write
    from pytest_nnxrng.page.subject import Run

    write(Run("r", tmp_path, tmp_path, ()))
    prepare(tmp_path)
    assert not (tmp_path / "index.html").exists()


def test_what_lies_above_the_root_stays_in_the_folder(tmp_path):
    assert within(tmp_path / "a.json", tmp_path / "b").as_posix() == "__parent__/a.json"
