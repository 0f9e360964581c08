"""A page that needs nothing but itself: what reports are made of, and how it becomes one HTML file.

Everything is in the file: style, script, figures (vectors in the page; PNG and PDF to be saved), tables (CSV to be
saved). A policy in its head forbids it to load anything, and to run any script but its own. Without the script it is
the same page, only that nothing can be switched, sorted or pointed at.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from urllib.parse import quote

from cellfree_sim.results.cells import csv_text, sort_keys
from cellfree_sim.results.figures.dark import DARK
from cellfree_sim.results.report_tables import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cellfree_sim.results.figures import Figure


class Tile(NamedTuple):
    """A headline number."""

    label: str
    value: str
    more: str


class Note(NamedTuple):
    """A paragraph; a soft one is in small print."""

    text: str
    soft: bool = False


class Figures(NamedTuple):
    """Figures side by side, as far as the page is wide enough."""

    figures: Sequence[Figure]


class Beside(NamedTuple):
    """Tables side by side, as far as the page is wide enough."""

    tables: Sequence[Table]


class Listing(NamedTuple):
    """Text to be shown as it stands, folded up."""

    title: str
    text: str


class Links(NamedTuple):
    """Files that lie beside the page, as (name, address relative to it), and a sentence about them."""

    lead: str
    targets: Sequence[tuple[str, str]]
    tail: str = ""


class Picture(NamedTuple):
    """A figure that is there as a PNG file only; it is shown on white in either theme."""

    name: str
    caption: str
    png: bytes

    @property
    def width_px(self) -> int:
        """Of a screen, for a picture of 200 dots per inch: from the PNG's own head."""
        return int.from_bytes(self.png[16:20], "big") * 3 // 4


class Claim(NamedTuple):
    """A claim and what became of it: `word` in the colour of `tone` ("good", "bad" or "open"), and the numbers."""

    word: str
    tone: str
    text: str
    reason: str
    numbers: Sequence[str] = ()


class Claims(NamedTuple):
    """Claims below each other."""

    claims: Sequence[Claim]


Block: TypeAlias = Table | Beside | Figures | Picture | Claims | Note | Listing | Links


class Section(NamedTuple):
    """A part of the page that its table of contents names."""

    title: str
    blocks: Sequence[Block]


class Page(NamedTuple):
    """A page.

    Attributes:
        title: its heading; `status` stands beside it, in green where it is `good`.
        facts: what it is about, in a line.
        warnings: what a reader has to know before believing the numbers.
    """

    title: str
    facts: Sequence[str]
    sections: Sequence[Section]
    status: str = ""
    good: bool = True
    tiles: Sequence[Tile] = ()
    warnings: Sequence[str] = ()


def html(page: Page) -> str:
    """The page as one file."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("cellfree_sim.results"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    source = {name: _source(environment, name) for name in ("page.css", "theme.js", "page.js")}
    blocks = [block for section in page.sections for block in section.blocks]
    figures = [figure for block in blocks if isinstance(block, Figures) for figure in block.figures]
    environment.tests |= {name: _is(kind) for name, kind in _KINDS.items()}
    environment.filters |= {"table": _table, "slug": slug, "download": _download}
    return environment.get_template("page.html.j2").render(
        page=page,
        css=source["page.css"],
        scripts=[source["theme.js"], source["page.js"]],
        script_hashes=[_hash(source[name]) for name in ("theme.js", "page.js")],
        dark=_dark(figures),
        readouts={figure.name: figure.readout for figure in figures},
        anchors=_anchors([section.title for section in page.sections]),
    )


_KINDS: dict[str, type] = {
    "a_table": Table, "beside": Beside, "figures": Figures, "a_note": Note, "a_listing": Listing, "links": Links,
    "a_picture": Picture, "claims": Claims,
}  # fmt: skip


def _is(kind: type) -> Any:
    return lambda block: isinstance(block, kind)


def _source(environment: Any, name: str) -> str:
    """The text of a style sheet or script as it stands, without any template in it."""
    return str(environment.loader.get_source(environment, name)[0])


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _dark(figures: Iterable[Figure]) -> dict[str, str]:
    """Colours on a dark page of all that figures hold, under the variables that stand for them."""
    found = {f"--k{colour[1:]}": dark for colour, dark in DARK.items()}
    for figure in figures:
        found |= figure.dark
    return dict(sorted(found.items()))


def slug(title: str) -> str:
    """A title as part of an address or a file name.

    >>> slug("By link and direction (MB)"), slug("'<b>&\\"net'")
    ('by-link-and-direction-mb', 'b-net')
    """
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "part"


def _anchors(titles: Sequence[str]) -> list[str]:
    """An id for each section; no two alike."""
    found: list[str] = []
    for title in titles:
        name, number = slug(title), 2
        while name in found:
            name, number = f"{slug(title)}-{number}", number + 1
        found.append(name)
    return found


class _Cell(NamedTuple):
    text: str
    key: float | None  # to sort by; None for words, and where there is nothing
    words: bool


def _table(table: Table) -> dict[str, Any]:
    """What the template needs of a table: cells with what they are sorted by, and the whole as CSV."""
    body = [row for row in table.rows if not row.total]
    keys = [sort_keys([row.cells[place] for row in body]) for place in range(len(table.columns))]
    return {
        "title": table.title,
        "note": table.note,
        "layout": table.layout,
        "sortable": len(body) > 1,
        "heads": [(name, "words" if keys[place] is None else "number") for place, name in enumerate(table.columns)],
        "body": [(row.strong, list(_cells(row.cells, keys, at))) for at, row in enumerate(body)],
        "foot": [(row.strong, list(_cells(row.cells, keys, None))) for row in table.rows if row.total],
        "csv": csv_text(table.columns, [row.cells for row in table.rows]),
        "file": f"{slug(table.title)}.csv",
    }


def _cells(cells: Sequence[str], keys: Sequence[list[float | None] | None], row: int | None) -> Iterator[_Cell]:
    for text, column in zip(cells, keys, strict=True):
        yield _Cell(text, None if column is None or row is None else column[row], column is None)


def _download(content: str | bytes, kind: str) -> str:
    """Content as an address that holds it."""
    if isinstance(content, str):
        return f"data:{kind};charset=utf-8,{quote(content)}"
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
