"""Running networks from outside: ``cellfree inject``, ``remove``, ``status``, ``pause``, ``continue`` and ``stop``."""

from __future__ import annotations

import json
import math
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellfree_sim.cli.commands import Commands, add_json, check_choice
from cellfree_sim.cli.terminal import DONE, complain, flat, show, table
from cellfree_sim.errors import UserError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from cellfree_sim.results.runs import RunStatus

TRANSFERS = ("nearest", "farthest", "random", "none")
AFTERWARDS = ("fine-tune", "execute")
_WHICH = "its folder or name (default: the one that is running)"
SHOWN_STATIONS = ("name", "status", "step", "sum_rate", "load", "node", "device", "cpus", "gpus", "pid")
_HEADS = {"name": "station", "sum_rate": "rate, bit/s/Hz"}

_INJECT_EPILOG = """\
examples:
  cellfree inject --position 75,75                           into the run that is running below ./runs
  cellfree inject --position 75,75 --name east --run runs/quickstart-20250101T120000Z
  cellfree inject --position 95,95 --azimuth -135            with antennas that look back at the centre
  cellfree inject --position 75,75 --after execute           use the copied model as it is
  cellfree inject --position 75,75 --transfer none           start from a model that knows nothing
  cellfree inject --position 75,75 --address 10.0.0.5:6379 --run quickstart-20250101T120000Z

It returns when the station has joined and decided for the first time. The network never stops for it.
"""
_REMOVE_EPILOG = """\
examples:
  cellfree remove sbs-1
  cellfree remove sbs-1 --run quickstart-20250101T120000Z --json

Its users are served by the other stations from the next round on.
"""
_STATUS_EPILOG = """\
examples:
  cellfree status
  cellfree status --run runs/quickstart-20250101T120000Z     its stations and what happened to them, too
  cellfree status --address 10.0.0.5:6379 --json             the runs on a cluster, from any machine

A run that vanished (its process was killed) goes on with: cellfree run --resume DIR
"""
_PAUSE_EPILOG = """\
examples:
  cellfree pause
  cellfree pause quickstart-20250101T120000Z

It returns when the run holds: nothing is computed, and its state is saved. Stations can join and leave meanwhile.
Go on with: cellfree continue
"""
_CONTINUE_EPILOG = """\
examples:
  cellfree continue
  cellfree continue quickstart-20250101T120000Z

What was interrupted or killed goes on with: cellfree run --resume DIR
"""
_STOP_EPILOG = """\
examples:
  cellfree stop
  cellfree stop quickstart-20250101T120000Z
"""


def add_to(commands: Commands) -> None:
    """Add the commands."""
    inject = commands.add("inject", _inject, "add a station to a running network", _INJECT_EPILOG)
    inject.add_argument("--position", metavar="X,Y", required=True, help="where it stands, metres, inside the area")
    inject.add_argument("--name", metavar="NAME", help="its name (default: the next sbs-<n>)")
    inject.add_argument(
        "--azimuth", metavar="DEG", help="where its antennas look, from the x axis (default: as the scenario says)"
    )
    inject.add_argument(
        "--transfer", metavar="|".join(TRANSFERS), default="nearest", help="whose model it gets (default nearest)"
    )
    inject.add_argument(
        "--after", metavar="|".join(AFTERWARDS), default="fine-tune", help="train it on, or use it as it came"
    )
    _add_which(inject)
    add_json(inject)

    remove = commands.add("remove", _remove, "take a station out of a running network", _REMOVE_EPILOG)
    remove.add_argument("station", metavar="SBS", help="its name, as 'cellfree status --run NAME' shows it")
    _add_which(remove)
    add_json(remove)

    status = commands.add("status", _status, "show how runs are doing, and their stations", _STATUS_EPILOG)
    status.add_argument("--run", metavar="NAME", help="only this one: its folder, or its name below ./runs")
    _add_address(status)
    add_json(status)

    for name, handler, help_text, epilog in (
        ("pause", _pause, "hold a run at the next round boundary", _PAUSE_EPILOG),
        ("continue", _continue, "let a run go on that is paused", _CONTINUE_EPILOG),
    ):
        command = commands.add(name, handler, help_text, epilog)
        command.add_argument("run", metavar="RUN", nargs="?", help=_WHICH)
        _add_address(command)

    stop = commands.add("stop", _stop, "end a run at the next round boundary, as Ctrl-C would", _STOP_EPILOG)
    stop.add_argument("run", metavar="RUN", nargs="?", help=_WHICH)
    _add_address(stop)


def with_negative_positions(argv: Sequence[str]) -> list[str]:
    """`argv`, with numbers that begin with a minus tied to their option; the parser would take them for other options.

    >>> with_negative_positions(["inject", "--position", "-5,75", "--json"])
    ['inject', '--position=-5,75', '--json']
    """
    tied = list(argv)
    for index, word in reversed(list(enumerate(argv))):
        if re.match(r"-[\d.]", word) and index and argv[index - 1] in ("--position", "--azimuth"):
            tied[index - 1 : index + 1] = [f"{argv[index - 1]}={word}"]
    return tied


def position(text: str) -> list[float]:
    """X and Y of ``--position``, metres.

    >>> position("75, 12.5")
    [75.0, 12.5]

    Raises:
        UserError: it is not two numbers.
    """
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        x = y = math.nan
    if not (math.isfinite(x) and math.isfinite(y)):
        raise UserError(f"--position: found '{flat(text)}'; allowed: X,Y in metres, such as 75,75")
    return [x, y]


def azimuth(text: str) -> float:
    """Degrees of ``--azimuth``.

    >>> azimuth("-45")
    -45.0

    Raises:
        UserError: it is no number from -360 to 360.
    """
    try:
        degrees = float(text)
    except ValueError:
        degrees = math.nan
    if not -360 <= degrees <= 360:
        raise UserError(f"--azimuth: found '{flat(text)}'; allowed: degrees from the x axis, -360 to 360")
    return degrees


def _add_which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", metavar="NAME", help=_WHICH)
    _add_address(parser)


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--address", metavar="ADDR", help="look on the Ray cluster at this address (default: below ./runs)"
    )


def _inject(arguments: argparse.Namespace) -> int:
    check_choice("--transfer", arguments.transfer, TRANSFERS)
    check_choice("--after", arguments.after, AFTERWARDS)
    record = _order(
        arguments,
        {
            "command": "inject",
            "position_m": position(arguments.position),
            "name": arguments.name,
            "azimuth_deg": None if arguments.azimuth is None else azimuth(arguments.azimuth),
            "transfer": arguments.transfer,
            "after": arguments.after,
        },
    )
    show(json.dumps(record, indent=2) if arguments.json else _injection(record))
    return DONE


def _remove(arguments: argparse.Namespace) -> int:
    record = _order(arguments, {"command": "remove", "station": arguments.station})
    text = f"{record['station']} left after step {record['at_step']}; sum rate {_rates(record)}"
    show(json.dumps(record, indent=2) if arguments.json else text)
    return DONE


def _order(arguments: argparse.Namespace, request: dict[str, Any]) -> dict[str, Any]:
    """What the run answers to `request`."""
    from cellfree_sim.control import reach

    with redirect_stdout(sys.stderr), reach(arguments.run, arguments.address) as run:
        return run.command(request)


def _injection(record: Mapping[str, Any]) -> str:
    """An injection record, for people."""
    x, y = record["position"]
    model = "its own, untrained"
    if record["donor"] is not None:
        model = f"of {record['donor']}: {record['model_bytes']:,} bytes, {record['transfer_bytes']:,} on the wire"
    wall, simulated = f"{record['seconds']:.2f} s after the command", f"{record['simulated_seconds']:.3g} s simulated"
    facts = [
        ["nearest", str(record["nearest"])],
        ["model", model],
        ["sum rate", _rates(record)],
        ["first decision", f"{wall}, {simulated}"],
    ]
    return f"{record['station']} at ({x:g}, {y:g}) m joined after step {record['at_step']}\n\n{table(facts)}"


def _rates(record: Mapping[str, Any]) -> str:
    before, after = (_number(record[f"sum_rate_{when}"]) for when in ("before", "after"))
    return f"{before} bit/s/Hz before, {after} just after"


def _number(rate: float | None) -> str:
    return "unknown" if rate is None else f"{rate:.2f}"


def _status(arguments: argparse.Namespace) -> int:
    from cellfree_sim.control import look

    with redirect_stdout(sys.stderr):
        runs = look(arguments.run, arguments.address)
    if arguments.json:
        show(json.dumps([run.as_dict() for run in runs], indent=2))
    elif runs:
        show("\n\n".join([_overview(runs), *(_details(runs[0]) if arguments.run is not None else [])]))
    else:
        where = "below ./runs" if arguments.address is None else f"on the cluster at {flat(arguments.address)}"
        complain(f"no run {where}", kind="")
    return DONE


def _overview(runs: Sequence[RunStatus]) -> str:
    heads = ["run", "status", "engine", "step", "burst", "stations", "sum rate, bit/s/Hz", "MB moved", "process"]
    rows = [heads]
    for run in runs:
        step = "" if run.step is None else f"{run.step}" + (f"/{run.steps}" if run.steps else "")
        stations = str(run.active_stations) if run.stations else ""
        rate = "" if run.sum_rate is None else f"{run.sum_rate:.2f}"
        moved = "" if run.bytes is None else f"{run.bytes / 1e6:.1f}"
        place = " on ".join(str(each) for each in (run.pid, run.host) if each is not None)
        burst = "" if run.bursts is None else f"{run.burst or 0}/{run.bursts}"
        rows.append([run.run, run.status, run.engine or "", step, burst, stations, rate, moved, place])
    empty = [] if any(run.bursts is not None for run in runs) else [heads.index("burst")]
    return table([[cell for index, cell in enumerate(row) if index not in empty] for row in rows])


def _details(run: RunStatus) -> list[str]:
    """The stations and services of a run, and what happened to them."""
    found = []
    if run.stations:
        keys = [key for key in SHOWN_STATIONS if any(station.get(key) not in (None, "") for station in run.stations)]
        rows = [[_cell(key, station.get(key)) for key in keys] for station in run.stations]
        found.append(table([[_HEADS.get(key, key) for key in keys], *rows]))
    if run.links:
        rows = [["link", "", "MB", "MB/s", "longest wait, ms", "used"]]
        for each in run.links:
            state = "" if each["up"] else "cut"
            flow, wait = f"{each['bytes_per_s'] / 1e6:.2f}", f"{1e3 * each['queue_s']:.3g}"
            used = _cell("load", each["utilisation"])
            rows.append([f"{each['a']}-{each['b']}", state, f"{each['bytes'] / 1e6:.1f}", flow, wait, used])
        found.append(table([row if any(each[1] for each in rows) else [row[0], *row[2:]] for row in rows]))
    if run.services:
        rows = [["service", "SER so far", "latency of the last burst, ms"]]
        for each in run.services:
            ser, latency = each.get("ser"), each.get("latency_ms")
            shown = ["" if ser is None else f"{ser:.3g}", "" if latency is None else f"{latency:.3g}"]
            rows.append([str(each["name"]), *shown])
        found.append(table(rows))
    if run.events:
        found.append(table([["after step", "event", ""], *(event_row(event) for event in run.events)]))
    return found


def _cell(key: str, value: Any) -> str:
    if value is None:
        return ""
    if key == "load":
        return f"{100 * value:.0f} %"
    return f"{value:.2f}" if key == "sum_rate" else str(value)


def event_row(event: Mapping[str, Any]) -> list[str]:
    """After which step, what, and the details of an event.

    >>> event_row({"event": "inject_sbs", "at_step": 27, "station": "sbs-3", "donor": "sbs-1"})
    ['27', 'inject_sbs', 'station sbs-3, donor sbs-1']
    """
    details = [f"{key} {_plain(value)}" for key, value in event.items() if key not in ("event", "at_step")]
    return [str(event.get("at_step", "")), str(event.get("event", "")), ", ".join(details)]


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(_plain(each) for each in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _pause(arguments: argparse.Namespace) -> int:
    record = _order(arguments, {"command": "pause"})
    hint = "go on with: cellfree continue" + (f" {flat(arguments.run)}" if arguments.run else "")
    show(f"paused after step {record['at_step']}; {hint}" if record["paused"] else "goes on: another command said so")
    return DONE


def _continue(arguments: argparse.Namespace) -> int:
    record = _order(arguments, {"command": "continue"})
    show(f"goes on after step {record['at_step']}")
    return DONE


def _stop(arguments: argparse.Namespace) -> int:
    from cellfree_sim.control import stop

    with redirect_stdout(sys.stderr):
        ended = stop(arguments.run, arguments.address)
    folder = Path(ended.folder)
    there = "" if ended.host is None else f"on {ended.host} "
    saved = bool(there) or (folder / "checkpoints").is_dir()
    hint = f"{there}go on with: cellfree run --resume {folder}" if saved else "nothing was saved yet"
    show(f"{ended.run}: {ended.status} after step {ended.step}; {hint}")
    return DONE
