"""All studies below a folder on one page: ``<out>/summary.html`` for people, ``<out>/summary.md`` for repositories.

Both are made from what is there (`verdict.json`, figures), so that an interrupted `cellfree reproduce all` has them,
too, and anybody can make them anew. The HTML page holds its figures; links lead to the files beside it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from cellfree_sim.results.files import write_atomically
from cellfree_sim.results.formats import count, duration
from cellfree_sim.results.page import Block, Claim, Claims, Links, Note, Page, Picture, Section, Tile, html
from cellfree_sim.results.report_tables import Row, Table
from cellfree_sim.studies.reproduce import failure_of, last_verdicts, study_folder
from cellfree_sim.studies.study import list_studies
from cellfree_sim.studies.verdicts import Number, Verdict, Word

if TYPE_CHECKING:
    from cellfree_sim.studies.study import Study

WORDS: tuple[Word, ...] = get_args(Word)
TONES = {"holds": "good", "does not hold": "bad", "cannot hold": "bad", "undecided": "open"}
MOST_NUMBERS = 8
_FILES = ("PNG", "PDF", "table (CSV)", "verdicts (JSON)")


@dataclass(frozen=True)
class Entry:
    """A study, as far as it is there.

    Attributes:
        content: its `verdict.json`; empty where it was not run, or where that is damaged.
        trouble: why it has no verdicts, or why the last attempt failed; empty where all is well.
        folder: with its files, relative to the page.
        png: its figure; None where there is none.
    """

    study: Study
    content: Mapping[str, Any]
    trouble: str
    folder: str
    png: bytes | None

    @property
    def paper(self) -> str:
        """The paper it belongs to."""
        return self.study.name.partition("/")[0]

    @property
    def verdicts(self) -> list[Verdict]:
        """One for each claim."""
        return [_verdict(each) for each in self.content.get("verdicts", ())]

    @property
    def command(self) -> str:
        """What makes it anew."""
        departures = "".join(f" {each}" for each in self.content.get("departures", ()))
        return f"cellfree reproduce {self.study.name} --scale {self.content.get('scale', '')}{departures}".rstrip()

    @property
    def files(self) -> list[tuple[str, str]]:
        """Names and addresses of its files."""
        stem = self.study.name.rpartition("/")[2]
        names = (f"{stem}.png", f"{stem}.pdf", "table.csv", "verdict.json")
        return [(label, f"{self.folder}/{name}") for label, name in zip(_FILES, names, strict=True)]


def write_summary(out: Path, scale: str) -> Path:
    """Write both pages of the studies of a scale below `out`; the path of the HTML page.

    Raises:
        RunFolderError: they cannot be written.
    """
    entries = [_entry(study, out, scale) for study in list_studies()]
    write_atomically(out / "summary.md", markdown(entries, scale))
    write_atomically(out / "summary.html", html(page(entries, scale)))
    return out / "summary.html"


def _entry(study: Study, out: Path, scale: str) -> Entry:
    folder = study_folder(out, study.name, scale)
    content = last_verdicts(study, out).get(scale, {})
    damaged = str(content["damaged"]) if "damaged" in content else ""
    try:
        png: bytes | None = (folder / f"{study.name.rpartition('/')[2]}.png").read_bytes()
    except OSError:
        png = None
    trouble = failure_of(folder) or damaged
    return Entry(study, {} if damaged else content, trouble, f"{study.name}/{scale}", png)


def page(entries: Sequence[Entry], scale: str) -> Page:
    """The page as blocks."""
    there = [entry for entry in entries if entry.content]
    words = Counter(verdict.verdict for entry in there for verdict in entry.verdicts)
    claims = sum(words.values())
    tiles = [Tile(word, str(words[word]), f"of {count(claims, 'claim')}") for word in WORDS]
    tiles.append(Tile("studies", f"{len(there)} of {len(entries)}", "run at this scale"))
    tiles.append(
        Tile("computing", duration(sum(_number(entry, "cpu_seconds") for entry in there)), "CPU time of all points")
    )
    sections = [Section("Verdicts", [_by_paper(entries), _by_study(entries)])]
    sections += [Section(entry.study.name, list(_blocks(entry))) for entry in entries if entry.content or entry.trouble]
    whole = len(there) == len(entries)
    return Page(
        "Papers reproduced",
        [f"scale {scale}", count(len(there), "study").replace("studys", "studies"), *_dates(there)],
        sections,
        status="complete" if whole else "incomplete",
        good=whole,
        tiles=tiles,
        warnings=[f"{entry.study.name}: {entry.trouble}" for entry in entries if entry.trouble],
    )


def _blocks(entry: Entry) -> Iterator[Block]:
    if not entry.content:
        yield Note(f"Not done: {entry.trouble}")
        return
    yield Note(entry.study.title)
    if entry.content.get("departures"):
        yield Note(f"Not the study's own, but {' '.join(entry.content['departures'])}.")
    if entry.png is not None:
        yield Picture(entry.study.name, _caption(entry), entry.png)
    claims = [
        Claim(verdict.verdict, TONES[verdict.verdict], verdict.claim, verdict.reason, _numbers(verdict))
        for verdict in entry.verdicts
    ]
    yield Claims(claims) if claims else Note("No claims are judged here.", soft=True)
    failed = entry.content.get("failed") or []
    if failed:
        yield Note(f"{count(len(failed), 'point')} not done: {'; '.join(failed)}", soft=True)
    yield Links("Files:", entry.files, f"Again: {entry.command}")


def _caption(entry: Entry) -> str:
    content = entry.content
    seeds = [str(seed) for seed in content.get("seeds", ())]
    parts = [f"seed{'' if len(seeds) == 1 else 's'} {', '.join(seeds)}", count(int(_number(entry, "points")), "point")]
    parts += [f"{duration(_number(entry, 'cpu_seconds'))} of CPU time", str(content.get("at", ""))[:10]]
    return f"{entry.study.name}, scale {content.get('scale', '')}: " + ", ".join(part for part in parts if part)


def _numbers(verdict: Verdict) -> list[str]:
    shown = verdict.least_sure(MOST_NUMBERS)
    more = len(verdict.numbers) - len(shown)
    return [str(number) for number in shown] + ([f"and {more} more, in verdict.json"] if more else [])


def _by_paper(entries: Sequence[Entry]) -> Table:
    rows = []
    for paper in dict.fromkeys(entry.paper for entry in entries):
        own = [entry for entry in entries if entry.paper == paper]
        rows.append(Row([paper, *_counts(own), _seconds(own)]))
    rows.append(Row(["all", *_counts(entries), _seconds(entries)], strong=True, total=True))
    return Table("By paper", ["paper", "studies run", *WORDS, "CPU-s"], rows)


def _by_study(entries: Sequence[Entry]) -> Table:
    rows = []
    for entry in entries:
        words = Counter(verdict.verdict for verdict in entry.verdicts)
        cells = [str(words[word] or "") for word in WORDS] if entry.content else [""] * len(WORDS)
        state = "run" if entry.content and not entry.trouble else "failed" if entry.trouble else "not run"
        rows.append(Row([entry.study.name, state, *cells, _seconds([entry])]))
    return Table("By study", ["study", "state", *WORDS, "CPU-s"], rows)


def _counts(entries: Sequence[Entry]) -> list[str]:
    words = Counter(verdict.verdict for entry in entries for verdict in entry.verdicts)
    return [f"{sum(bool(entry.content) for entry in entries)} of {len(entries)}", *(str(words[word]) for word in WORDS)]


def _seconds(entries: Sequence[Entry]) -> str:
    found = sum(_number(entry, "cpu_seconds") for entry in entries if entry.content)
    return f"{found:,.0f}" if found else ""


def markdown(entries: Sequence[Entry], scale: str) -> str:
    """The same for repositories: verdicts by paper, then each study with its figure, claims and command."""
    table = _by_paper(entries)
    lines = [f"# Papers reproduced, scale {scale}", "", f"| {' | '.join(table.columns)} |"]
    lines.append(f"| --- |{' ---: |' * (len(table.columns) - 1)}")
    lines += [f"| {' | '.join(row.cells)} |" for row in table.rows]
    for entry in entries:
        if not entry.content and not entry.trouble:
            continue
        lines += ["", f"## {entry.study.name}", ""]
        if not entry.content:
            lines.append(f"Not done: {entry.trouble}")
            continue
        lines += [entry.study.title, ""]
        if entry.png is not None:
            lines += [f"![{entry.study.name}]({entry.files[0][1]})", ""]
        lines += [f"- **{each.verdict}**: {each.claim} *{each.reason}*" for each in entry.verdicts]
        links = ", ".join(f"[{name}]({target})" for name, target in entry.files[1:])
        lines += ["", f"{_caption(entry)}. {links}. `{entry.command}`"]
    return "\n".join(lines) + "\n"


def _verdict(content: Mapping[str, Any]) -> Verdict:
    numbers = [Number(**{**each, **_with_nan(each)}) for each in content.get("numbers", ())]
    word: Word = next((each for each in WORDS if each == content["verdict"]), "undecided")
    return Verdict(str(content.get("claim", "")), word, str(content.get("reason", "")), numbers)


def _with_nan(number: Mapping[str, Any]) -> dict[str, float]:
    """JSON has no NaN: where a value or an error is not known, null stands there."""
    return {key: math.nan if number.get(key) is None else float(number[key]) for key in ("value", "error")}


def _number(entry: Entry, key: str) -> float:
    value = entry.content.get(key)
    return float(value) if isinstance(value, int | float) else 0.0


def _dates(entries: Sequence[Entry]) -> list[str]:
    days = sorted({str(entry.content.get("at", ""))[:10] for entry in entries} - {""})
    return [days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"] if days else []
