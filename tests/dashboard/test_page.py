"""The page in a real browser: what people see, press and are protected from."""

import re

import pytest

from lora_qd.dashboard.report import write_report
from tests.dashboard.live import serving
from tests.dashboard.made_up import MadeUpRun

HOSTILE = (
    "</script><script>window.broken = 1</script>",
    '<img src="http://evil.example/x.png" onerror="window.broken = 1">',
    "\x1b[31m\x00 txt\u202egnp.exe",
)
"""Names of skills, and what a model answers."""


@pytest.fixture
def live(tmp_path, page):
    """A run under way and its live page, open."""
    run = MadeUpRun(tmp_path / "run").add(40)
    with run.directory.lock(), serving(run) as (url, _):
        page.goto(url)
        page.wait_for_selector("figure svg")
        yield run, page


def fact(page, label):
    return page.locator("dl div", has_text=label).locator("dd").inner_text()


def cells(page, skill):
    figure = page.locator(
        "figure", has=page.get_by_role("heading", name=skill, exact=True)
    )
    figure.scroll_into_view_if_needed()
    return figure.locator("[role=gridcell]")


def test_the_page_loads_from_this_machine_only_and_without_errors(live, seen):
    _, page = live
    assert page.get_by_role("heading", name="Archives").is_visible()
    assert "running" in page.locator("header").inner_text()
    assert seen.errors == []
    assert seen.hosts == {"127.0.0.1"}


def test_a_child_that_is_added_is_shown(live, seen):
    run, page = live
    before = cells(page, "code").count()
    assert fact(page, "Children").startswith("32 of")
    run.add(200)
    page.get_by_text("232 of 10,000").wait_for()
    page.wait_for_function(
        "n => document.querySelectorAll('[role=gridcell]').length > n", arg=before
    )
    assert cells(page, "code").count() > before
    assert seen.errors == []


def test_a_cell_shows_its_member_its_parents_and_its_answers(live, seen):
    _, page = live
    cells(page, "code").last.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("heading", name=re.compile("^Member ")).wait_for()
    assert "mean score" in dialog.inner_text()
    dialog.get_by_role("button", name="code", exact=True).click()
    dialog.get_by_text("answer 3").wait_for()
    assert "wrong" in dialog.inner_text() or "1" in dialog.inner_text()
    parent = dialog.get_by_role("button", name=re.compile(r"^(\d{5}-|merge-|expert-)"))
    if parent.count():
        name = parent.first.inner_text()
        parent.first.click()
        dialog.get_by_role("heading", name=f"Member {name}").wait_for()
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    assert seen.errors == []


def test_cells_are_reached_by_keyboard(live):
    _, page = live
    cells(page, "code").first.focus()
    first = page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("ArrowRight")
    second = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert first
    assert second != first
    page.keyboard.press("Enter")
    page.get_by_role("dialog").get_by_role("heading").first.wait_for()
    assert page.get_by_role("dialog").is_visible()


def test_an_open_member_stays_while_children_come(live):
    run, page = live
    cells(page, "code").last.click()
    heading = page.get_by_role("dialog").get_by_role("heading").first
    before = heading.inner_text()
    run.add(100)
    page.wait_for_function("() => document.body.textContent.includes('132 of 10,000')")
    assert heading.inner_text() == before


def test_a_server_that_ends_is_said_and_what_was_shown_stays(tmp_path, page):
    run = MadeUpRun(tmp_path / "run").add(40)
    with serving(run) as (url, _):
        page.goto(url)
        page.wait_for_selector("figure svg")
        assert not page.get_by_text("connection lost").is_visible()
    page.get_by_text(re.compile("connection lost", re.IGNORECASE)).wait_for()
    assert page.locator("figure svg").count() > 0


class HostilePrompts:
    """Questions of strangers."""

    def of(self, config, skill, split):
        return {f"{skill}-{i}": f"prompt {' '.join(HOSTILE)}" for i in range(4)}, ""


def test_what_a_model_wrote_is_text(tmp_path, page, seen):
    """Scripts, HTML and control characters, in answers, names and prompts."""
    run = MadeUpRun(tmp_path / "run", names=HOSTILE, answer=" ".join(HOSTILE)).add(30)
    with serving(run, HostilePrompts()) as (url, _):
        page.goto(url)
        page.wait_for_selector("figure svg")
        page.locator("[role=gridcell]").first.scroll_into_view_if_needed()
        page.locator("[role=gridcell]").first.click()
        dialog = page.get_by_role("dialog")
        dialog.locator("button", has_text="script").first.click()
        dialog.locator("pre").first.wait_for()
        prompt, answer = (dialog.locator("pre").nth(i).inner_text() for i in range(2))
        assert prompt.startswith("prompt ")
        for shown in (prompt, answer):
            assert HOSTILE[0] in shown
            assert "\\u202e" in shown
        assert "\u202e" not in page.locator("body").inner_text()
        assert page.evaluate("window.broken") is None
        assert page.locator("img").count() == 0
    assert seen.errors == []
    assert seen.hosts == {"127.0.0.1"}


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_works_offline_at_every_width(tmp_path, page, seen, width, scheme):
    run = MadeUpRun(tmp_path / "run", 4, names=(*HOSTILE, "code"), budget=100)
    path = write_report(run.add(109).finish().directory.path, has_pictures=False)
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(path.as_uri())
    page.wait_for_selector("figure svg")
    for figure in page.locator("figure").all():
        figure.scroll_into_view_if_needed()
        assert figure.locator("svg, table").first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("window.broken") is None
    assert seen.errors == []
    assert seen.hosts == set()


def test_a_member_is_looked_up_in_a_report(tmp_path, page, seen):
    run = MadeUpRun(tmp_path / "run", budget=40).add(48).finish()
    path = write_report(run.directory.path, has_pictures=False)
    page.goto(path.as_uri())
    cells(page, "code").last.click()
    dialog = page.get_by_role("dialog")
    assert "loraqd export" in dialog.inner_text()
    assert "holds a cell of" in dialog.inner_text()
    assert seen.errors == []


def test_a_charts_numbers_come_as_a_table_and_as_csv(tmp_path, page):
    run = MadeUpRun(tmp_path / "run", budget=40).add(48)
    path = write_report(run.directory.path, has_pictures=True)
    page.goto(path.as_uri())
    figure = page.locator(
        "figure", has=page.get_by_role("heading", name="Where tokens went")
    )
    figure.get_by_text("Numbers").click()
    assert "generated" in figure.locator("table").inner_text()
    with page.expect_download() as saved:
        figure.get_by_role("button", name="CSV").click()
    assert saved.value.suggested_filename == "tokens.csv"
    written = (path.parent / "tokens.csv").read_text()
    assert saved.value.path().read_text().split() == written.split()


@pytest.mark.parametrize("num", [0, 1, 2, 3, 8, 9])
def test_a_run_that_has_just_begun_gives_a_page(tmp_path, page, seen, num):
    run = MadeUpRun(tmp_path / "run").add(num)
    page.goto(write_report(run.directory.path, has_pictures=False).as_uri())
    assert page.get_by_role("heading", name="run").first.is_visible()
    assert "loraqd" in page.locator("main").inner_text()
    assert seen.errors == []
