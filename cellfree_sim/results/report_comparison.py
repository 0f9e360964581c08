"""Several runs against each other: a page, its figures, and the numbers as JSON, in a folder of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import RunFolderError
from cellfree_sim.results import comparison_tables as tables
from cellfree_sim.results import page
from cellfree_sim.results.comparison import (
    Contender,
    changed_network,
    contenders,
    differences,
    error_difference,
    other_channels,
    other_drops,
    other_problem,
    rate_difference,
)
from cellfree_sim.results.figures import comparison as figures
from cellfree_sim.results.figures import style
from cellfree_sim.results.figures.draw import ENDINGS, make_folder, publish, shortened
from cellfree_sim.results.files import read_json, write_atomically, write_json
from cellfree_sim.results.report_tables import Table, balanced
from cellfree_sim.results.run_folder import RunFolder, free_folder
from cellfree_sim.results.runs import COMPARISON

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cellfree_sim.results.analysis import RunData
    from cellfree_sim.results.figures import Figure

PLANS = (
    (
        "learning",
        figures.draw_learning,
        "Sum rate on the validation split against the training step, with the 95 % confidence interval of the mean "
        "over its realisations; stars are test means with theirs.",
    ),
    (
        "rates",
        figures.draw_rates,
        "Rates on the held-out test realisations: empirical distribution functions, with pointwise 95 % confidence "
        "bands that count only realisations as independent, not the users of one.",
    ),
    (
        "paired",
        figures.draw_paired,
        "Sum rate gained over the first run on the same test realisation: every dot is one realisation, the diamond "
        "the mean with its 95 % confidence interval.",
    ),
    (
        "error-rates",
        figures.draw_errors,
        "Error rates of the edge services, a colour for each run, a mark and dash for each service, with 95 % "
        "intervals; curves are moved a little aside. A hollow mark is the upper end of the interval where nothing went "
        "wrong.",
    ),
    ("bytes", figures.draw_bytes, "Bytes on the wire, first attempts only."),
)


def build_comparison(runs: Sequence[RunData], out: Path | None, now: datetime) -> Path:
    """Compare runs, the first with each of the others.

    Args:
        runs: two or more, done or not.
        out: a folder that is new, empty, or holds an earlier comparison, which is replaced; by default
            ``runs/comparison-<UTC stamp>``.
        now: names the default folder; with its time zone.

    Returns:
        Path of report.html; beside it are comparison.json and figures/.

    Raises:
        UserError: they are too few or too many, or one is there twice.
        RunFolderError: a run's file is damaged, or `out` is taken or cannot be written. Nothing was changed.
    """
    compared = contenders(runs)
    folder = out if out is not None else free_folder("comparison", now)
    _check(folder)
    numbers, content = _numbers(compared), _sections_but_figures(compared)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"{folder}: cannot be written: {error.strerror or error}") from error
    drawn = _draw(compared, make_folder(folder / "figures"))
    write_json(folder / COMPARISON, numbers)
    made = page.Page(
        title=f"Comparison of {len(compared)} runs",
        facts=[each.label for each in compared],
        warnings=remarks(compared),
        sections=_sections(content, drawn),
    )
    write_atomically(folder / "report.html", page.html(made))
    return folder / "report.html"


def read_remarks(folder: Path) -> list[str]:
    """The remarks of a comparison that is in `folder`."""
    return list(read_json(folder / COMPARISON).get("remarks", []))


def _check(folder: Path) -> None:
    """Refuse a folder that holds something else."""
    try:
        if folder.exists() and not folder.is_dir():
            raise RunFolderError(f"--out: {folder} is a file; allowed: a new or empty folder")
        if folder.is_dir() and any(folder.iterdir()) and not (folder / COMPARISON).is_file():
            what = "is the folder of a run" if RunFolder(folder).log_path.is_file() else "is not empty"
            raise RunFolderError(f"--out: {folder} {what}; allowed: a new or empty folder, or an earlier comparison")
    except OSError as error:
        raise RunFolderError(f"{folder}: cannot be read: {error.strerror or error}") from error


def _draw(compared: Sequence[Contender], folder: Path) -> dict[str, Figure]:
    seeds = sorted({str(each.seed) for each in compared if each.seed is not None})
    said = f", seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}" if 0 < len(seeds) <= 3 else ""
    scenarios = list(dict.fromkeys(each.run.name for each in compared))
    source = f"{shortened(', '.join(scenarios))}{said}".replace("$", r"\$")
    drawn = {}
    for name, draw, caption in PLANS:
        with style.journal():
            figure = draw(compared)
            if figure is not None:
                drawn[name] = publish(figure, name, caption, source, folder)
                continue
        for ending in ENDINGS:
            (folder / f"{name}.{ending}").unlink(missing_ok=True)
    return drawn


def remarks(compared: Sequence[Contender]) -> list[str]:
    """What a reader has to know before comparing: runs that are not done, not alike, or not tested on the same."""
    first, *others = compared
    found = [
        f"{each.label} is {each.status}, not done: its numbers are those it had come to."
        for each in compared
        if each.status != "done"
    ]
    found += [f"The books of {each.label} do not balance." for each in compared if balanced(each.run) is False]
    for other in others:
        kinds = [(each.run.has_downlink, bool(each.services)) for each in (first, other)]
        if not any(mine and its for mine, its in zip(*kinds, strict=True)):
            found.append(
                f"{other.label} and {first.label} have nothing in common: one has a downlink, the other an uplink."
            )
            continue
        problem = other_problem(first.run, other.run)
        if problem:
            found.append(
                f"{other.label} had another problem to solve than {first.label} ({tables.named(problem)}): "
                "their numbers stand side by side, and no difference is taken."
            )
            continue
        learned = first.run.has_downlink and other.run.has_downlink
        channels = (other_channels if learned else other_drops)(first.run, other.run)
        if channels:
            because = "another seed" if channels == ["seed"] else tables.named(channels)
            found.append(
                f"{other.label} was tested on other realisations than {first.label} ({because}): "
                "differences are those of two independent means, and less sure than paired ones."
            )
        elif learned and rate_difference(first, other).how == "not paired":
            reasons = rate_difference(first, other).reasons
            found.append(f"{other.label} and {first.label} are not paired: {tables.named(reasons)}.")
        if learned and changed_network(first.run, other.run):
            found.append(
                f"{other.label} ended with other stations than {first.label}: each is tested as it was at its end."
            )
    return found


def _sections_but_figures(compared: Sequence[Contender]) -> dict[str, list[Table]]:
    found: dict[str, list[Table | None]] = {
        "runs": [tables.runs_table(compared), tables.differences_table(compared)],
        "downlink": [
            tables.rates_table(compared),
            tables.rate_differences_table(compared),
            tables.algorithms_table(compared),
        ],
        "uplink": [
            tables.errors_table(compared),
            tables.error_differences_table(compared),
            tables.services_table(compared),
        ],
        "backhaul": [tables.bytes_table(compared)],
    }
    return {part: [table for table in own if table is not None] for part, own in found.items()}


def _sections(tabled: dict[str, list[Table]], drawn: dict[str, Figure]) -> list[page.Section]:
    def figures_of(*names: str) -> list[page.Block]:
        there = [drawn[name] for name in names if name in drawn]
        return [page.Figures(there)] if there else []

    files = [COMPARISON, *(f"figures/{name}.pdf" for name in drawn)]
    beside: list[page.Block] = [
        page.Links(
            "Data beside this file:",
            [(name, name) for name in files],
            "The command cellfree report, with the folders of these runs, makes this page again.",
        )
    ]
    parts: list[tuple[str, list[page.Block]]] = [
        ("What is compared", [*tabled["runs"]]),
        ("Rates on held-out realisations", [*tabled["downlink"], *figures_of("learning", "paired", "rates")]),
        ("Uplink and edge services", [*tabled["uplink"], *figures_of("error-rates")]),
        ("Backhaul", [*tabled["backhaul"], *figures_of("bytes")]),
        ("How to get this again", beside),
    ]
    return [page.Section(title, blocks) for title, blocks in parts if blocks]


def _numbers(compared: Sequence[Contender]) -> dict[str, Any]:
    """What the page says, as JSON."""
    first, *others = compared
    rates = {other.label: rate_difference(first, other)._asdict() for other in others if first.run.has_downlink}
    errors = {
        other.label: {
            record.name: error_difference(first, other, record.name)._asdict()
            for record in first.services
            if record.name in {each.name for each in other.services}
        }
        for other in others
    }
    return {
        "runs": [
            {
                "label": each.label,
                "folder": str(each.run.folder),
                "name": each.run.name,
                "seed": each.seed,
                "status": each.status,
                "sum_rate": each.learned.sum_rate if each.learned else None,
                "sum_rate_error": each.learned.sum_rate_se if each.learned else None,
                "min_rate_satisfied": each.learned.satisfied if each.learned else None,
                "bytes": int(each.run.first_attempts["bytes"].sum()),
            }
            for each in compared
        ],
        "first": first.label,
        "differences": differences([each.run for each in compared]),
        "sum_rate_minus_first": rates,
        "error_rate_minus_first": {label: found for label, found in errors.items() if found},
        "remarks": remarks(compared),
    }
