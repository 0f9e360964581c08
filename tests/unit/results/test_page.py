"""A page is one file that asks for nothing, says in words what it shows, and escapes what it is given."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
from collections import Counter
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from cellfree_sim.results.analysis import load_run
from cellfree_sim.results.cells import numbers
from cellfree_sim.results.figures import style, training
from cellfree_sim.results.figures.dark import DARK, PAPER, on_dark
from cellfree_sim.results.figures.draw import source_of
from cellfree_sim.results.figures.interactive import embed
from cellfree_sim.results.page import Note, Page, Section, html
from cellfree_sim.results.report_tables import Row, Table


@pytest.fixture(scope="module")
def soup(reported: Any) -> BeautifulSoup:
    return BeautifulSoup(reported.report_path.read_text(encoding="utf-8"), "html.parser")


@pytest.fixture(scope="module")
def small() -> BeautifulSoup:
    """A page with a table that is hard to sort and to read back."""
    rows = [
        Row(["<i>a</i>", "1,200 ± 3", "–"]),
        Row(["=SUM(A1)", "−7.5 ± 0.25", "91.4 %"]),
        Row(["all", "2", "5 %"], total=True),
    ]
    table = Table("Rates & <more>", ["name", "rate", "share"], rows)
    return BeautifulSoup(html(Page("a </script><b>", ["x"], [Section("One", [table, Note("<u>")])] * 2)), "html.parser")


def test_the_policy_of_the_page_allows_its_own_scripts_and_nothing_else(soup: BeautifulSoup) -> None:
    policy = soup.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]  # type: ignore[index]
    rules = {name: values for name, *values in (rule.split() for rule in str(policy).split(";"))}
    scripts = [script.string for script in soup.find_all("script") if script.get("type") is None]
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts if s}
    assert set(rules["script-src"]) == hashes and len(hashes) == 2
    assert rules["default-src"] == ["'none'"] and rules["img-src"] == ["data:"]
    assert not re.search(r"\beval\(|innerHTML|document\.write|new Function", "".join(s for s in scripts if s))
    assert not [each for each in soup.find_all(True) if any(name.startswith("on") for name in each.attrs)]


def test_ids_are_unique_and_every_reference_leads_to_one(soup: BeautifulSoup) -> None:
    ids = Counter(str(each["id"]) for each in soup.find_all(id=True))
    assert set(ids.values()) == {1}
    inside = {str(each["href"])[1:] for each in soup.find_all(href=re.compile("^#"))}
    inside |= {
        found
        for each in soup.find_all(True)
        for value in each.attrs.values()
        for found in re.findall(r"url\(#([^)]*)\)", str(value))
    }
    inside |= {str(each["aria-labelledby"]) for each in soup.find_all(attrs={"aria-labelledby": True})}
    assert inside and inside <= set(ids)


def test_pictures_say_in_words_what_they_show(soup: BeautifulSoup) -> None:
    pictures = soup.find_all("svg")
    assert len(pictures) == 6
    for picture in pictures:
        label = soup.find(id=picture["aria-labelledby"])
        assert label is not None and len(label.get_text()) > 20
        assert "'<b>&\"net', seed 7" in picture.get_text()
    assert all(each.get("alt") for each in soup.find_all("img"))


def test_tables_are_whole(soup: BeautifulSoup) -> None:
    tables = soup.find_all("table")
    assert len(tables) >= 7
    for table in tables:
        assert table.caption and table.thead and table.tbody
        heads = table.thead.find_all("th")
        assert all(head["scope"] == "col" and head.get_text() for head in heads)
        assert {
            len(row.find_all("td")) for part in (table.tbody, table.tfoot) if part for row in part.find_all("tr")
        } == {len(heads)}


def test_cells_are_sorted_by_their_numbers_and_saved_as_numbers(small: BeautifulSoup) -> None:
    table = small.find("table")
    keys = [[cell.get("data-key") for cell in row.find_all("td")] for row in table.tbody.find_all("tr")]  # type: ignore[union-attr]
    assert keys == [[None, "1200.0", None], [None, "-7.5", "91.4"]]
    assert [row.td.get_text() for row in table.tfoot.find_all("tr")] == ["all"]  # type: ignore[union-attr]
    saved = small.find("a", attrs={"download": "a-script-b-rates-more.csv"})
    text = unquote(str(saved["href"]).partition(",")[2])  # type: ignore[index]
    assert list(csv.reader(io.StringIO(text))) == [
        ["name", "rate", "rate ±", "share (%)"],
        ["<i>a</i>", "1200", "3", ""],
        ["'=SUM(A1)", "-7.5", "0.25", "91.4"],
        ["all", "2", "", "5"],
    ]


def test_markup_is_shown_and_not_obeyed(small: BeautifulSoup) -> None:
    assert not small.find_all(["i", "b", "u", "more"])
    assert "a </script><b>" in small.h1.get_text()  # type: ignore[union-attr]
    assert [head["id"] for head in small.find_all("h2")] == ["one", "one-2"]


def test_saved_tables_hold_what_the_page_shows(soup: BeautifulSoup) -> None:
    for card in soup.find_all("div", class_="card"):
        if not card.table:
            continue
        link = card.find("a", download=True)
        saved = pd.read_csv(io.StringIO(unquote(str(link["href"]).partition(",")[2])), dtype=str, keep_default_na=False)
        shown = [[cell.get_text() for cell in row.find_all("td")] for row in card.table.find_all("tr")[1:]]
        assert len(saved) == len(shown)
        for place, head in enumerate(card.table.thead.find_all("th")):
            column = next(name for name in saved.columns if name.removesuffix(" (%)") == head.get_text())
            for told, cell in zip(saved[column], shown, strict=True):
                number = numbers(cell[place])
                if number and not cell[place].startswith("<") and told not in ("", cell[place]):
                    assert float(told) == number[0]


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize(
    "colour", [*(each for each in DARK if each not in ("#ffffff", style.GRID.lower())), "#06283d", "#8fbee0"]
)
def test_colours_can_be_seen_on_a_dark_page(colour: str) -> None:
    assert (luminance(on_dark(colour)) + 0.05) / (luminance(PAPER) + 0.05) >= 3


def test_a_readout_holds_what_is_drawn(run_folder: Any) -> None:
    run = load_run(run_folder.path)
    with style.journal():
        figure = training.draw(run)
        assert figure is not None
        style.lay_out(figure)
        svg, readout, dark = embed(figure, "training")
    metrics = pd.read_parquet(run_folder.path / "metrics.parquet")
    curves = {curve["name"]: curve for curve in readout["curves"]}
    own = metrics[metrics["phase"] == "training"]
    (line,) = (data for data in curves["training batch"]["data"] if data["kind"] == "line")
    assert line["x"] == own["step"].tolist()
    np.testing.assert_allclose(line["y"], own["sum_rate"], rtol=1e-5)
    panel = readout["panels"][line["panel"]]
    assert panel["labels"] == ["training step", "sum rate (bit/s/Hz)"]
    # the curve's own path in the SVG begins where the readout's scales put its first point
    place = list(curves).index("training batch")
    path = BeautifulSoup(svg, "html.parser").find(id=f"training--{place}--0").path["d"]  # type: ignore[union-attr,index]
    x, y = (float(each) for each in re.findall(r"-?[\d.]+", str(path))[:2])
    left, top, right, bottom = panel["box"]
    (x_low, x_high), (y_low, y_high) = panel["x"], panel["y"]
    assert x == pytest.approx(left + (line["x"][0] - x_low) / (x_high - x_low) * (right - left), abs=0.05)
    assert y == pytest.approx(bottom + (line["y"][0] - y_low) / (y_high - y_low) * (top - bottom), abs=0.05)
    assert set(re.findall(r"var\((--k\w+)", svg)) == set(dark)


def test_a_figure_says_of_which_run_it_is_and_whether_that_was_done(run_folder: Any) -> None:
    assert source_of(load_run(run_folder.path)) == "synthetic, seed 7"
    run_folder.write_summary({**run_folder.summary(), "status": "interrupted", "name": "a$b"})
    assert source_of(load_run(run_folder.path)) == r"a\$b, seed 7, interrupted"
