"""``cellfree sweep``: the points of a scenario with a sweep, or a link, and one table and figure of them."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cellfree_sim.cli.commands import Commands
from cellfree_sim.cli.running import ended_like_ctrl_c
from cellfree_sim.cli.scenarios import note
from cellfree_sim.cli.studies import add_options, any_done, not_done, options_of
from cellfree_sim.cli.terminal import DONE, FAILED, complain, flat, show, table
from cellfree_sim.errors import UserError

if TYPE_CHECKING:
    import argparse

    from cellfree_sim.scenario import ScenarioSource
    from cellfree_sim.studies.results import Results

_EPILOG = """\
examples:
  cellfree sweep sweep-stations                              an example that comes with the package, two minutes
  cellfree sweep my-sweep.yaml --dry-run                     its points, and which of them are done; nothing is run
  cellfree sweep my-sweep.yaml --seeds 1,2,3

The scenario's key sweep says what is varied:
  sweep:
    cases: {dense: {downlink.policy: dense}, set: {downlink.policy: set}}
    grid: {network.sbs.count: [2, 3, 4]}
    seeds: [1, 2]
    quick: {set: {downlink.epochs: 5}, seeds: [1]}

Every case runs at every combination of the grid with every seed, as many side by side as the cluster has CPUs, each in
DIR/points, named by content. Ctrl-C ends it with a table of what is done; the same command goes on. The figure (PNG,
PDF) has a numeric key of the grid on its x axis, and means over seeds with bars of two standard errors.
"""


def add_to(commands: Commands) -> None:
    """Add the command."""
    sweep = commands.add("sweep", _sweep, "run a scenario with a sweep, write one table and figure", _EPILOG)
    sweep.add_argument("scenario", metavar="SCENARIO", help="a YAML file with a sweep, or the name of a shipped one")
    sweep.add_argument("--dry-run", action="store_true", help="print the points and which are done, and run nothing")
    add_options(sweep, "full")


def _sweep(arguments: argparse.Namespace) -> int:
    from cellfree_sim.scenario import find_scenario, read_scenario
    from cellfree_sim.studies.reproduce import SweepInterrupt, run_sweep

    path = find_scenario(arguments.scenario)
    source = replace(read_scenario(path), announce=note)
    if not {"sweep", "link"} & set(source.root.value):
        raise UserError(f"{flat(str(path))}: has no sweep; run it with: cellfree run {flat(arguments.scenario)}")
    options = options_of(arguments)
    if arguments.dry_run:
        return _dry_run(source, options)
    try:
        with ended_like_ctrl_c(), redirect_stdout(sys.stderr):
            results = run_sweep(source, path.stem, **options)
    except SweepInterrupt as stop:
        if any_done(stop.results):
            _tell(stop.results, options, path.stem)
        raise
    _tell(results, options, path.stem)
    return DONE if any_done(results) else FAILED


def _dry_run(source: ScenarioSource, options: dict[str, Any]) -> int:
    """Print the points."""
    from cellfree_sim.results.formats import count
    from cellfree_sim.studies.reproduce import plan_sweep
    from cellfree_sim.studies.sweeps.text import planned

    what = {name: options[name] for name in ("scale", "out", "seeds", "overrides")}
    rows = planned(plan_sweep(source, **what))
    left = sum(row[-1] not in ("done", "diverged", "the same run as above") for row in rows[1:])
    show("\n".join([table(rows), "", f"{count(len(rows) - 1, 'point')}, {left} to run"]))
    return DONE


def _tell(results: Results, options: dict[str, Any], name: str) -> None:
    """Write the figure, and print the table of means and where the files are."""
    from cellfree_sim.results.figures import style
    from cellfree_sim.studies import links
    from cellfree_sim.studies.reproduce import failures_of, study_folder
    from cellfree_sim.studies.sweeps import figure, text

    folder = study_folder(options["out"], name, options["scale"])
    files = [["table", str(folder / "table.csv")]]
    with style.journal():
        drawn = figure.draw(results) if any_done(results) else None
        if drawn is not None:
            files.insert(0, ["figure", str(style.save(drawn, folder, name))])
    for left_out in links.notes(results):
        complain(flat(left_out), kind="note: ")
    is_link = results.ended[0].point.scenario.link is not None
    rows = links.rows(results) if is_link else text.rows(results)
    show("\n".join([table(rows), *not_done(failures_of(results)), "", table(files)]))
