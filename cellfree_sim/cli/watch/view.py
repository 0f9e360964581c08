"""What the screen of ``cellfree watch`` shows: lines of a given width, as many as there is room for.

name · status · phase          progress        head, always
curves                                          one line each
stations │ links                                side by side where there is room
services, events                                what room is left
keys, or what is asked                          foot, always
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from cellfree_sim.cli.live import event_row
from cellfree_sim.results.live_display import sparkline
from cellfree_sim.results.observer import known

if TYPE_CHECKING:
    from cellfree_sim.results.runs import RunStatus

KEYS = (("i", "inject"), ("r", "remove"), ("p", "pause"), ("s", "stop"), ("q", "quit"), ("?", "help"))
HELP = (
    "i  inject a station at X,Y (metres)",
    "r  remove a station: choose with the arrows, or type its name",
    "p  pause at the next round, or let it go on",
    "s  stop the run at the next round; it is saved, and can be resumed",
    "q  quit, as Ctrl-C does; the run goes on",
    "arrows  move through tables that are longer than the screen",
    "",
    "rate   bit/s/Hz that a station serves, at the last validation",
    "load   share of simulated time in which its server computes",
    "wait   longest wait in front of a link, simulated; used: share of its time",
)
SIDE_BY_SIDE = 100  # columns from which on tables stand beside each other
MOST_EVENTS = 4
STALE_S = 6.0
STATUS_STYLE = {"running": "green", "paused": "yellow", "starting": "cyan", "done": "green"}
_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_ASCII_BARS = ".:-=+*#%@"


@dataclass(frozen=True)
class Column:
    """A column of a table: its head, its cells, whether they are numbers, and how soon it goes where room is short.

    Those with the highest `expendable` go first; 0 stays.
    """

    head: str
    cells: Sequence[str]
    right: bool = False
    expendable: int = 0


def lines_of(status: RunStatus, width: int, height: int, *, first: int = 0, utf8: bool = True) -> list[Text]:
    """The picture of a run, `height` lines of at most `width` columns; tables that are cut begin with row `first`."""
    found = head(status, width, utf8=utf8)
    left = height - len(found)
    curves = curves_of(status, width, utf8=utf8)[: max(0, min(left // 6, 4))]
    found += curves
    left -= len(curves)
    found += _tables(status, width, left, first)
    return [_cut(line, width) for line in found[:height]]


def head(status: RunStatus, width: int, *, utf8: bool = True) -> list[Text]:
    """Name, status, phase and progress; then what it earns and costs."""
    first = Text.assemble((status.run, "bold"), "  ", (status.status, STATUS_STYLE.get(status.status, "red")))
    if status.status == "starting":
        first.append("  its processes come up", "cyan")
    elif status.lives and status.phase is not None:
        first.append(f"  {status.phase}", "cyan")
    age_s = time.time() - status.told_at if status.told_at is not None else 0.0
    if status.status == "running" and age_s > STALE_S:
        first.append(f"  no news for {age_s:.0f} s", "yellow")
    numbers = [f"sum rate {status.sum_rate:.2f} bit/s/Hz"] if known(status.sum_rate) else []
    if status.bytes:
        factor, unit = _unit([status.bytes])
        numbers.append(f"{status.bytes / factor:.1f} {unit}")
    flow = sum(float(link["bytes_per_s"]) for link in status.links)
    if flow:
        factor, unit = _unit([flow])
        numbers.append(f"{flow / factor:.2f} {unit}/s")
    if status.simulated_s:
        numbers.append(f"{status.simulated_s:.3g} s simulated")
    found = [first, *_bars(status, width, utf8=utf8)]
    between = "  ·  " if utf8 else "  "
    while len(numbers) > 1 and cell_len(between.join(numbers)) > width:
        numbers.pop()
    return [*found, Text(between.join(numbers), "dim")] if numbers else found


def curves_of(status: RunStatus, width: int, *, utf8: bool = True) -> list[Text]:
    """Validation, loss, and error rates as bars, each with its last value."""
    validation, training = status.curves.get("validation") or {}, status.curves.get("training") or {}
    curves = [
        ("sum rate", validation.get("sum_rate"), "{:.2f}", "green"),
        ("joint loss", training.get("joint_loss"), "{:.4g}", "cyan"),
    ]
    served = (status.curves.get("uplink") or {}).items()
    curves += [(f"SER {name}", points.get("ser"), "{:.3g}", "magenta") for name, points in served]
    shown = [(name, [v for v in values or [] if known(v)], form, style) for name, values, form, style in curves]
    shown = [each for each in shown if len(each[1]) > 1]
    names = min(max((cell_len(name) for name, *_ in shown), default=0), max(width // 4, 4))
    found = []
    for name, values, form, style in shown:
        last = form.format(values[-1])
        room = width - names - cell_len(last) - 2
        bars = spark(values, room, utf8=utf8) if room > 3 else ""
        found.append(Text.assemble((set_cell_size(name, names), "dim"), " ", (bars, style), " ", last))
    return found


def spark(values: Sequence[float], width: int, *, utf8: bool = True) -> str:
    """A whole curve as at most `width` bars, each the mean of its part.

    >>> spark([1.0, 1.0, 2.0, 2.0, 3.0, 3.0], 3), spark([1.0, 2.0, 3.0], 9, utf8=False)
    ('▁▅█', '.+@')
    """
    count = min(width, len(values))
    bounds = [len(values) * index // count for index in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(bounds)]
    if utf8:
        return sparkline(means, width)
    low, high = min(means), max(means)
    return "".join(_ASCII_BARS[round((m - low) / ((high - low) or 1.0) * (len(_ASCII_BARS) - 1))] for m in means)


def table_lines(columns: Sequence[Column], width: int, height: int, first: int = 0) -> list[Text]:
    """A table with its head, at most so wide and high, from row `first` on where not all have room.

    Columns go where there is no room, and rows that are not shown are counted.
    """
    kept = [column for column in columns if any(column.cells)]
    if not kept or height < 1:
        return []
    sizes = {column.head: max(cell_len(text) for text in (column.head, *column.cells)) for column in kept}
    while len(kept) > 1 and sum(sizes[column.head] + 2 for column in kept) - 2 > width:
        last = max(kept, key=lambda column: column.expendable)
        if not last.expendable:
            break
        kept.remove(last)
    rows = len(kept[0].cells)
    shown = rows if rows < height else max(height - 2, 0)
    start = min(first, rows - shown)
    found = [_row([column.head for column in kept], kept, sizes, "dim")]
    found += [_row([column.cells[index] for column in kept], kept, sizes, "") for index in range(start, start + shown)]
    if shown < rows and height > 1:
        found.append(Text(f"{rows - shown} more (arrows)", "dim"))
    return found[:height]


def stations_of(status: RunStatus) -> list[Column]:
    """Stations with step, rate, load and device."""
    stations = status.stations
    states = ["" if each.get("status") == "active" else str(each.get("status", "")) for each in stations]
    if status.channels:
        made = [status.channels.get(each["name"]) for each in stations]
        states = ["" if pair is None else f"{pair[0]}/{pair[1]}" for pair in made]
    return [
        Column("station", [str(each["name"]) for each in stations]),
        Column("channels" if status.channels else "", states),
        Column("step", [_number(each.get("step"), "{:d}") for each in stations], right=True, expendable=2),
        Column("rate", [_number(each.get("sum_rate"), "{:.2f}") for each in stations], right=True),
        Column("load", [_share(each.get("load")) for each in stations], right=True, expendable=1),
        Column("device", [str(each.get("device") or "") for each in stations], expendable=3),
        Column("node", [str(each.get("node") or "") for each in stations], expendable=4),
    ]


def links_of(status: RunStatus) -> list[Column]:
    """Links with what they carry, and how long frames wait."""
    links = status.links
    flow, flow_unit = _unit([each["bytes_per_s"] for each in links])
    size, size_unit = _unit([each["bytes"] for each in links])
    return [
        Column("link", [f"{each['a']}-{each['b']}" for each in links]),
        Column("", ["" if each["up"] else "cut" for each in links]),
        Column(f"{flow_unit}/s", [_number(each["bytes_per_s"] / flow, "{:.2f}") for each in links], right=True),
        Column(size_unit, [_number(each["bytes"] / size, "{:.1f}") for each in links], right=True, expendable=3),
        Column("wait, ms", [_number(1e3 * each["queue_s"], "{:.3g}") for each in links], right=True, expendable=1),
        Column("used", [_share(each["utilisation"]) for each in links], right=True, expendable=2),
    ]


def services_of(status: RunStatus) -> list[Column]:
    """Edge services with latency and error rate."""
    each_of = status.services
    return [
        Column("service", [str(each["name"]) for each in each_of]),
        Column("detector", [str(each.get("detector") or "") for each in each_of], expendable=4),
        Column("SER", [_number(each.get("ser"), "{:.3g}") for each in each_of], right=True),
        Column("latency, ms", [_number(each.get("latency_ms"), "{:.3g}") for each in each_of], right=True),
        Column("p99", [_number(each.get("latency_p99_ms"), "{:.3g}") for each in each_of], right=True, expendable=1),
        Column("requests", [_number(each.get("requests"), "{:d}") for each in each_of], right=True, expendable=3),
        Column("refused", [_number(each.get("refused"), "{:d}") for each in each_of], right=True, expendable=2),
    ]


def foot(width: int, *, paused: bool) -> Text:
    """The keys; their letters alone where the words have no room."""
    words = [(key, "continue" if paused and word == "pause" else word) for key, word in KEYS]
    long = Text("  ").join(Text.assemble((key, "bold"), f" {word}") for key, word in words)
    return long if long.cell_len <= width else Text(" ").join(Text(key, "bold") for key, _ in words)


def _bars(status: RunStatus, width: int, *, utf8: bool) -> list[Text]:
    """How far training, bursts, or channels are."""
    pairs = []
    if status.channels:
        made, wanted = (sum(pair) for pair in zip(*status.channels.values(), strict=True))
        pairs.append(("channels", made, wanted))
    if status.steps:
        pairs.append(("step", status.step or 0, status.steps))
    if status.bursts:
        pairs.append(("burst", status.burst or 0, status.bursts))
    full, empty = ("━", "─") if utf8 else ("#", "-")
    found = []
    for name, done, total in pairs:
        text = f"{name} {done}/{total}"
        room = min(width - len(text) - 1, 60)
        filled = round(max(room, 0) * min(done / max(total, 1), 1.0))
        bar = Text.assemble((full * filled, "green"), (empty * (room - filled), "dim")) if room > 4 else Text()
        found.append(Text.assemble(text, " ", bar))
    return found


def _tables(status: RunStatus, width: int, height: int, first: int) -> list[Text]:
    """Stations, links, services and events: each what it needs, as long as there is room."""
    wide = width >= SIDE_BY_SIDE
    tables = [stations_of(status), links_of(status), services_of(status)]
    wanted = [1 + len(table[0].cells) if table[0].cells else 0 for table in tables]
    events = [event_row(event) for event in status.events][::-1]
    wanted.append(min(len(events), MOST_EVENTS) and 1 + min(len(events), MOST_EVENTS))
    if wide:  # the first two share their lines
        wanted[:2] = [max(wanted[:2])]
    blocks_wanted = sum(want > 0 for want in wanted)
    gap = 1 if sum(wanted) + blocks_wanted <= height else 0  # they stand apart where all of them have room
    heights = _shared(wanted, height - gap * blocks_wanted)
    if wide:
        half = (width - 3) // 2
        left, right = (table_lines(table, half, heights[0], first) for table in tables[:2])
        blocks = [_beside(left, right, half), table_lines(tables[2], width, heights[1], first)]
    else:
        blocks = [table_lines(table, width, room, first) for table, room in zip(tables, heights, strict=False)]
    blocks.append(_events(events, heights[-1]))
    return [line for block in blocks if block for line in (*([Text()] * gap), *block)]


def _shared(wanted: Sequence[int], height: int) -> list[int]:
    """Lines for each block: all that it wants, or a fair part; two at least, as long as there are two.

    >>> _shared([4, 4, 0, 5], 20), _shared([9, 9, 0, 5], 12), _shared([4, 4, 3, 5], 3)
    ([4, 4, 0, 5], [4, 4, 0, 4], [3, 0, 0, 0])
    """
    given = [0] * len(wanted)
    for index, want in enumerate(wanted):
        if want and height - sum(given) >= 2:
            given[index] = min(want, 2)
    while sum(given) < height and any(have < want for have, want in zip(given, wanted, strict=True) if have):
        for index, want in enumerate(wanted):
            if 0 < given[index] < want and sum(given) < height:
                given[index] += 1
    return given


def _events(events: Sequence[Sequence[str]], height: int) -> list[Text]:
    if height < 2:
        return []
    lines = [Text.assemble((f"{step:>6}", "dim"), f"  {what}  ", (details, "dim")) for step, what, details in events]
    return [Text("  step  event, the last one first", "dim"), *lines][:height]


def _beside(left: Sequence[Text], right: Sequence[Text], half: int) -> list[Text]:
    found = []
    for index in range(max(len(left), len(right))):
        line = (_cut(left[index], half) if index < len(left) else Text()).copy()
        line.pad_right(max(half - line.cell_len, 0) + 3)
        found.append(line.append_text(right[index]) if index < len(right) else line)
    return found


def _row(cells: Sequence[str], columns: Sequence[Column], sizes: Mapping[str, int], style: str) -> Text:
    padded = []
    for cell, column in zip(cells, columns, strict=True):
        missing = " " * (sizes[column.head] - cell_len(cell))
        padded.append(missing + cell if column.right else cell + missing)
    return Text("  ".join(padded).rstrip(), style)


def _cut(line: Text, width: int) -> Text:
    if line.cell_len > width:
        line = line.copy()
        line.truncate(width, overflow="crop")
    return line


def _number(value: Any, form: str) -> str:
    return form.format(value) if known(value) else ""


def _unit(sizes_bytes: Sequence[float]) -> tuple[float, str]:
    """The unit in which the largest of several sizes has few digits.

    >>> _unit([0, 250_000.0]), _unit([3e9]), _unit([])
    ((1000.0, 'kB'), (1000000000.0, 'GB'), (1000000.0, 'MB'))
    """
    largest = max(sizes_bytes, default=0)
    if not largest:
        return 1e6, "MB"
    return next(((factor, name) for factor, name in _UNITS if largest >= factor), _UNITS[-1])


def _share(value: Any) -> str:
    return f"{100 * value:.0f} %" if known(value) else ""
