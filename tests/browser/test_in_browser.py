"""The page in a real browser: what a reader does with it, by mouse and by keyboard alone."""

import shlex

import pytest
from trees import FOLDER, Tree, cause, leaf, model

from pytest_nnxrng.command.artifact import read
from pytest_nnxrng.command.entry import main
from pytest_nnxrng.page.assemble import write
from pytest_nnxrng.page.subject import Run

NET = "test_net check 1"


def drawn(tree):
    found = read("nnx-report", tree.report)
    return write(Run("nnx-report", tree.report, tree.root, found.checks, found.run))


def test_it_is_read_without_a_script(run, opened):
    page = opened(run.page, java_script_enabled=False)
    assert page.inner_text("h1") == "4 of 8 goldens moved, by 1 change; 2 are not explained"
    first = page.locator(".card").first.inner_text()
    assert "2 more keys are drawn from params by norm (Linear)" in first
    assert "model.py:8" in first
    assert "nnxrng accept nnx-report --cause" in first
    assert page.locator("#checks tr[data-n]:visible").count() == 8
    assert page.locator(".link.moved").first.is_visible()
    assert not page.locator("#filter").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(run, opened, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe")
    page = opened(run.page, "#open=1,3&tick=1", color_scheme=scheme)
    page.wait_for_selector("tr.detail canvas")
    # Its own script is no part of the page, whose policy would not let it run.
    found = axe.Axe().run(page.page)
    told = [
        (v["id"], [n["html"][:200] for n in v["nodes"][:3]]) for v in found.response["violations"]
    ]
    assert told == []


def test_it_is_filtered_and_the_url_keeps_it(run, opened):
    page = opened(run.page)
    page.fill("#query", "cause:draws")
    page.counts("1 of 8 checks")
    assert page.shown() == [NET]
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.input_value("#query") == "cause:draws"
    assert page.shown() == [NET]
    page.fill("#query", "leaf:*.kernel !status:matched")
    page.counts("1 of 8 checks")
    page.fill("#query", "")
    page.counts("8 checks")
    page.click('.chip[data-token="status:rounded"]')
    assert {text.split("[")[0] for text in page.shown()} == {"test_wave"}
    assert page.get_attribute('.chip[data-token="status:rounded"]', "aria-pressed") == "true"
    assert page.inner_text('.chip[data-token="status:different"] .count') == "0"
    assert page.hash() == "#q=status:rounded"


def test_a_hash_that_is_followed_is_the_state(run, opened):
    page = opened(run.page)
    page.evaluate("location.hash = '#q=test:edited&group=status&theme=dark'")
    page.counts("2 of 8 checks")
    assert page.input_value("#grouping") == "status"
    assert page.get_attribute("html", "data-theme") == "dark"


def test_a_check_opens_with_its_leaves_and_a_draw_marks_its_leaf(run, opened):
    page = opened(run.page, "#q=test:test_net")
    page.click(f".opener:has-text('{NET}')")
    page.wait_for_selector("tr.detail .leaf")
    detail = page.locator("tr.detail").first
    assert "norm.kernel" in detail.inner_text()
    assert "Environment: as recorded in the golden." in detail.inner_text()
    detail.locator(".draw[data-where=now][data-leaves='two.kernel']").click()
    marked = detail.locator(".leaf.marked")
    assert marked.get_attribute("data-leaf") == "two.kernel"
    assert marked.locator("canvas").count() == 3  # golden, now, difference
    assert marked.locator("canvas").first.get_attribute("aria-label").startswith("golden: ")
    assert page.locator("#change-1 .source.marked").count() == 1
    page.reload()
    page.wait_for_selector(".leaf.marked canvas")


def test_what_matches_shows_how_much_of_its_tolerance_is_used(run, opened):
    page = opened(run.page)
    page.click("th[data-sort=headroom] button")
    page.select_option("#grouping", "nothing")
    assert page.shown()[0].startswith("test_wave")
    assert page.get_attribute("th[data-sort=headroom]", "aria-sort") == "descending"
    page.locator("#checks .opener").first.click()
    assert "of its tolerance, and has" in page.inner_text("tr.detail")


def test_what_is_ticked_is_accepted_and_nothing_else(run, opened, tmp_path, monkeypatch, capsys):
    page = opened(run.page)
    page.locator(".card", has_text="draws").locator("input[type=checkbox]").check()
    assert page.inner_text("#chosen") == "2 goldens"  # the model, and the output that follows
    model_and_output = page.inner_text("#command")
    page.click("#clear")
    assert not page.locator("#choice").is_visible()
    page.locator("tr[data-n] input[aria-label='choose test_edited[1]']").check()
    one = page.inner_text("#command")
    with page.expect_download() as saved:
        page.click("#download")
    saved.value.save_as(tmp_path / "approvals.json")
    monkeypatch.chdir(run.root)
    approved = f"nnxrng accept nnx-report --from {tmp_path}/approvals.json"
    for command, goldens in ((model_and_output, 2), (one, 1), (approved, 1)):
        assert main([*shlex.split(command)[1:], "--dry-run"]) == 1
        told = capsys.readouterr().out
        assert f"Would write {goldens} golden" in told
        assert ("test_edited[1]" in told) == (goldens == 1)
        assert "test_edited[0]" not in told


def test_the_keyboard_alone_does_it_all(run, opened):
    page = opened(run.page)
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#keys").is_visible()
    page.keyboard.press("/")
    page.keyboard.type("test:test_net")
    page.counts("2 of 8 checks")
    page.keyboard.press("Tab")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_selector("tr.detail .draw")
    page.keyboard.press("a")
    assert page.inner_text("#chosen") == "1 golden"
    page.locator("tr.detail .draw[tabindex]").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("tr.detail .leaf.marked, tr.detail .draw.marked").count() > 0
    page.keyboard.press("]")
    assert page.evaluate("document.activeElement.id") == "change-1"
    page.keyboard.press("Escape")
    assert len(page.shown()) == 8
    assert page.locator("tr.detail").count() == 0


@pytest.mark.parametrize("width", [360, 1600])
def test_no_width_is_too_narrow(run, opened, width):
    page = opened(run.page, "#open=1,3", viewport={"width": width, "height": 700})
    page.wait_for_selector("tr.detail canvas")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_hostile_names_stay_text(opened, tmp_path):
    tree, name = Tree(tmp_path), '</template></script><img src=x onerror="alert(1)">'
    tree.golden()
    leaves = model(extra=(leaf(name, [[1.0, 2.0]], ("params#3",)),))
    row = {**cause(word="added", text=f"{name}<b>", leaves=[name]), "place": f"{name}:3"}
    static = {"module": name, "attribute": "<i>", "expected": name, "obtained": None}
    more = {"test": f"tests/test_a.py::test_a[{name}]", "modules": [static], "notes": [name]}
    differs = {"leaf": name, "kinds": ["added"], "rng": False, "expected": None, "tied": None}
    form = {"type": name, "dtype": name, "shape": [1, 2], "draws": ["params#3"]}
    differs |= {"obtained": form, "numbers": None}
    tree.obtained(leaves=leaves, causes=[row], differences=[differs], **more)
    page = opened(drawn(tree), "#open=0")
    page.wait_for_selector("tr.detail .leaf")
    assert page.locator("img, h1 b, tr.detail i").count() == 0
    assert page.locator("script").count() == 1
    assert name in page.inner_text("tr.detail")
    assert name in page.inner_text(".opener")


def test_a_thousand_checks_open_and_filter(opened, tmp_path):
    tree = Tree(tmp_path)
    tree.golden()
    tree.obtained()
    for n in range(1000):
        tree.rows.append(
            {
                "test": f"tests/test_b.py::test_b[{n}]",
                "golden": f"{FOLDER}/test_b[{n}].1.json",
                "status": "matched",
                "failed": False,
                "leaves": 1,
            }
        )
    tree.written()
    path = drawn(tree)
    assert path.stat().st_size < 2_000_000
    page = opened(path, "#q=test:b[77")
    assert page.inner_text("#shown") == "11 of 1,001 checks"
