"""A page of a report in a real browser: tables are sorted, curves tell their values, and it is dark where asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser_support import NARROW, Visitor

from cellfree_sim.results import page as pages
from cellfree_sim.results.figures import style
from cellfree_sim.results.figures.draw import publish
from cellfree_sim.results.report_tables import Row, Table

pytestmark = pytest.mark.browser
ROWS = [["sbs-10", "−5.38 ± 0.18", "0.0 %"], ["sbs-2", "1,200 ± 3", "–"], ["SBS-1", "+16.4 ± 0.4", "97.5 %"]]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of a page with a table that is hard to sort, and a figure of two curves, one of them with a band."""
    folder = tmp_path_factory.mktemp("report")
    with style.journal():
        figure, axes = style.new_figure(style.COLUMN_IN, 2.4)
        axes.plot([0, 10, 20], [1.0, 4.0, 2.0], color=style.BLUE, label="first")
        axes.plot([0, 10, 20], [2.0, 3.0, 5.0], color=style.VERMILION, label="second")
        style.band(axes, [0, 10, 20], [1.5, 2.5, 4.5], [2.5, 3.5, 5.5], "second", style.VERMILION)
        axes.set_xlabel("training step")
        axes.legend()
        drawn = publish(figure, "curves", "Two curves, of which the second has an interval.", "made up, seed 1", folder)
    table = Table(
        "Rates", ["station", "rate", "share"], [*(Row(cells) for cells in ROWS), Row(["total", "9", "–"], total=True)]
    )
    sections = [pages.Section("Numbers", [table]), pages.Section("Curves", [pages.Figures([drawn])])]
    (folder / "report.html").write_text(pages.html(pages.Page("Report", ["made up"], sections)), encoding="utf-8")
    return (folder / "report.html").as_uri()


def first_column(page: Any) -> list[str]:
    return list(page.locator("table td:first-child").all_inner_texts())


def test_tables_are_sorted_by_what_cells_are_worth(visitor: Visitor, report: str) -> None:
    page = visitor.visit(report)
    heads = page.locator("th")
    page.get_by_role("button", name="rate").click()
    assert first_column(page) == ["sbs-2", "SBS-1", "sbs-10", "total"]
    assert [heads.nth(place).get_attribute("aria-sort") for place in range(3)] == ["none", "descending", "none"]
    page.keyboard.press("Enter")
    assert first_column(page) == ["sbs-10", "SBS-1", "sbs-2", "total"]
    page.get_by_role("button", name="share").press("Space")  # what is empty stays below, either way
    assert first_column(page) == ["SBS-1", "sbs-10", "sbs-2", "total"]
    page.keyboard.press("Space")
    assert first_column(page) == ["sbs-10", "SBS-1", "sbs-2", "total"]
    page.get_by_role("button", name="station").click()
    assert first_column(page) == ["SBS-1", "sbs-2", "sbs-10", "total"]


POINT = """(svg) => {  // where the curve's own path has its second point, on the screen
  const numbers = svg.querySelector("[id^='curves--0--'] path").getAttribute("d").match(/-?[\\d.]+/g).map(Number);
  const at = new DOMPoint(numbers[2], numbers[3]).matrixTransform(svg.getScreenCTM());
  return [at.x, at.y];
}"""


def test_curves_tell_values_under_the_pointer_and_can_be_switched_off(visitor: Visitor, report: str) -> None:
    page = visitor.visit(report)
    drawing = page.locator("#curves--card svg")
    drawing.scroll_into_view_if_needed()
    x, y = drawing.evaluate(POINT)
    page.mouse.move(x + 2, y + 30)
    told = page.locator(".readout")
    assert told.inner_text().splitlines() == ["training step: 10", "first: 4", "second: 3 [2.5, 3.5]"]
    entry = page.get_by_role("button", name="show second")
    entry.click()
    assert entry.get_attribute("aria-pressed") == "false"
    assert not page.locator("[id^='curves--1--']").first.is_visible()
    page.mouse.move(x + 2, y + 30)
    assert told.inner_text().splitlines() == ["training step: 10", "first: 4"]
    entry.press("Enter")
    assert page.locator("[id^='curves--1--']").first.is_visible()
    drawing.focus()
    page.keyboard.press("ArrowRight")
    assert told.inner_text().splitlines()[0] == "training step: 20"
    page.get_by_role("button", name="Enlarge").click()
    page.get_by_role("button", name="Zoom in").click()
    assert float(page.locator("dialog svg").get_attribute("viewBox").split()[2]) == pytest.approx(0.7 * 252, rel=1e-3)
    page.keyboard.press("Escape")
    assert page.locator("#curves--card svg").get_attribute("viewBox").split()[2] == "252"


def colour_of_text(page: Any) -> str:
    return str(page.locator("#curves--card svg text").first.evaluate("(text) => getComputedStyle(text).fill"))


def test_a_page_is_dark_where_asked_to_be_and_remembers_it(visitor: Visitor, report: str) -> None:
    page = visitor.visit(report, viewport=NARROW, color_scheme="dark")
    page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")
    dark = colour_of_text(page)
    page.get_by_role("button", name="Theme: auto").click()
    light = colour_of_text(page)
    assert light != dark
    page.reload()
    page.get_by_role("button", name="Theme: light").click()
    assert colour_of_text(page) == dark
    page.emulate_media(media="print")  # paper is white, whatever the theme
    assert colour_of_text(page) == light
    assert not page.locator("nav").is_visible()


def test_without_its_script_it_is_the_same_page(visitor: Visitor, report: str, tmp_path: Path) -> None:
    page = visitor.visit(report, java_script_enabled=False)
    assert page.locator("#curves--card svg").is_visible()
    assert first_column(page) == [*(cells[0] for cells in ROWS), "total"]
    with page.expect_download() as saved:
        page.get_by_role("link", name="CSV").click()
    assert saved.value.suggested_filename == "report-rates.csv"
    assert Path(saved.value.path()).read_text().splitlines()[1] == "sbs-10,-5.38,0.18,0.0"
