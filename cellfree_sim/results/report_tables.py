"""The tables of the report, as text cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from cellfree_sim.results.analysis import (
    TIME_PARTS,
    Outcome,
    RunData,
    bytes_by,
    bytes_by_station,
    hops,
    round_times,
    sent_again,
    setting,
    stations_of,
)
from cellfree_sim.results.formats import algorithm_label, count, mean_and_error, percent, signed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

ROWS_SHOWN = 40


class Row(NamedTuple):
    """Cells of a row; a strong one stands out, and one of totals stays below however the others are sorted."""

    cells: list[str]
    strong: bool = False
    total: bool = False


class Table(NamedTuple):
    """A table and what has to be said under it.

    With layout "words" all cells are text, and long ones may take several lines; with "tight" long heads may; with
    "wrap" any cell may.
    """

    title: str
    columns: list[str]
    rows: list[Row]
    note: str = ""
    layout: str = ""


def balanced(run: RunData) -> bool | None:
    """Whether every frame sent was received or is known to be lost; None while the books are open."""
    stated = setting(run.summary, "backhaul", "balanced")
    if (run.backhaul["status"] == "unmatched").any():
        return False
    return stated if isinstance(stated, bool) else None


def rates_table(run: RunData, found: Sequence[Outcome]) -> Table | None:
    """How each algorithm did on the test realisations."""
    if not found:
        return None
    learned = algorithm_label(run.algorithm)
    rows = [
        Row(
            [
                algorithm_label(outcome.algorithm),
                mean_and_error(outcome.sum_rate, outcome.sum_rate_se),
                percent(outcome.satisfied),
                mean_and_error(outcome.difference, outcome.difference_se, signed_mean=True),
                str(outcome.realisations),
            ],
            strong=outcome.learned,
        )
        for outcome in found
    ]
    columns = ["algorithm", "sum rate (bit/s/Hz)", "users ≥ r_min", f"{learned} minus it, paired", "realisations"]
    note = (
        "± is the standard error of the mean. Every algorithm decides on the same realisations; beams above the power "
        "budget are scaled down to it."
    )
    return Table("Test", columns, rows, note)


def traffic_tables(run: RunData) -> list[Table]:
    """Bytes by kind (with totals), by link, and by station."""
    frames = run.first_attempts
    if frames.empty:
        return []
    counts = frames["kind"].value_counts()
    kinds = bytes_by(frames, "kind")
    rows = [
        Row([str(kind), f"{counts[str(kind)]:,}", f"{int(sizes.sum()):,}", *(megabytes(size) for size in sizes)])
        for kind, sizes in kinds.iterrows()
    ]
    totals = kinds.sum()
    rows.append(
        Row(["total", f"{len(frames):,}", f"{int(totals.sum()):,}", *(megabytes(size) for size in totals)], True, True)
    )
    columns = ["kind", "frames", "bytes", *(f"{purpose} (MB)" for purpose in kinds.columns)]
    by_kind = Table("Frames by kind", columns, rows, _books_note(run))
    return [by_kind, _link_table(frames), _station_traffic(frames)]


def _books_note(run: RunData) -> str:
    state = {
        True: "The books balance: every frame that was sent is in its receiver's book, or in the list of lost ones.",
        False: "The books do not balance.",
        None: "The books were not closed.",
    }[balanced(run)]
    again = sent_again(run)
    extra = (
        f" {count(again.frames, 'frame')} ({megabytes(again.bytes)} MB) sent again, not in the totals."
        if again.frames
        else ""
    )
    return f"Bytes are lengths of frames on the wire; 1 MB is 10⁶ bytes. {state}{extra}"


def _link_table(frames: pd.DataFrame) -> Table:
    links = bytes_by(hops(frames), "link")
    rows = [
        Row([str(link).replace(">", " → "), *(megabytes(size) for size in sizes), megabytes(sizes.sum())])
        for link, sizes in links.iloc[:ROWS_SHOWN].iterrows()
    ]
    rest = links.iloc[ROWS_SHOWN:]
    if len(rest):
        rows.append(
            Row(
                [f"{len(rest)} others", *(megabytes(s) for s in rest.sum()), megabytes(rest.to_numpy().sum())],
                total=True,
            )
        )
    return Table("By link and direction (MB)", ["link", *links.columns, "total"], rows)


def _station_traffic(frames: pd.DataFrame) -> Table:
    stations = bytes_by_station(frames)
    rows = [
        Row([str(name), megabytes(entry["sent"]), megabytes(entry["received"])])
        for name, entry in stations.iloc[:ROWS_SHOWN].iterrows()
    ]
    rest = stations.iloc[ROWS_SHOWN:].sum()
    if len(stations) > ROWS_SHOWN:
        others = [f"{len(stations) - ROWS_SHOWN} others", megabytes(rest["sent"]), megabytes(rest["received"])]
        rows.append(Row(others, total=True))
    total = stations.sum()
    rows.append(Row(["total", megabytes(total["sent"]), megabytes(total["received"])], True, True))
    return Table("By station (MB)", ["station", "sent", "received"], rows)


def time_table(run: RunData) -> Table | None:
    """Simulated time of training by what it went into."""
    times = round_times(run.metrics)
    whole = float(times.to_numpy().sum())
    if not whole > 0:
        return None
    names = {"compute_s": "compute", "queue_s": "waiting in queues", "transfer_s": "transfer and latency"}
    rows = [
        Row(
            [
                names[part],
                f"{1e3 * times[part].mean():.4g}",
                f"{times[part].sum():.4g}",
                percent(times[part].sum() / whole),
            ]
        )
        for part in TIME_PARTS
    ]
    rows.append(Row(["round", f"{1e3 * whole / len(times):.4g}", f"{whole:.4g}", percent(1.0)], True, True))
    note = "On the critical path: the station that each round waited for. Measurement takes no simulated time."
    return Table("Simulated time of training", ["part", "mean per round (ms)", "total (s)", "share"], rows, note)


def station_table(run: RunData) -> Table | None:
    """Where the stations stand and what they have."""
    stations = [node for node in run.nodes if node.get("kind") != "user"]
    if not stations:
        return None
    devices, states = _devices(run), _states(run, stations)
    looks = any(station.get("azimuth_deg") for station in stations)
    rows = [
        Row(
            [
                str(station["id"]),
                f"({station['x_m']:.6g}, {station['y_m']:.6g}, {station['z_m']:.6g})",
                *([signed(station["azimuth_deg"], "g") if "azimuth_deg" in station else "–"] if looks else []),
                f"{station['antennas']}" if station.get("antennas") else "–",
                signed(station["power_dbm"], "g") if station.get("power_dbm") is not None else "–",
                f"{station['mec_flop_per_s'] / 1e9:,.6g}" if station.get("mec_flop_per_s") else "–",
                devices.get(str(station["id"]), "–"),
                *([states.get(str(station["id"]), "active")] if states else []),
            ]
        )
        for station in stations[:ROWS_SHOWN]
    ]
    if len(stations) > ROWS_SHOWN:
        rows.append(Row([f"{len(stations) - ROWS_SHOWN} others", *[""] * (5 + bool(states) + looks)], total=True))
    columns = [
        "station",
        "position (m)",
        *(["azimuth (°)"] if looks else []),
        "antennas",
        "power (dBm)",
        "MEC (GFLOP/s)",
        "device",
        *(["state"] if states else []),
    ]
    return Table("Stations", columns, rows)


def _states(run: RunData, stations: list[dict[str, Any]]) -> dict[str, str]:
    """What became of the stations that are not simply active since the start; empty where all are."""
    states: dict[str, list[str]] = {}
    for event in run.happened:
        if event["event"] in ("inject_sbs", "remove_sbs", "drop"):
            word = {"inject_sbs": "injected", "remove_sbs": "removed", "drop": "dropped"}[event["event"]]
            for name in stations_of(event):
                states.setdefault(name, []).append(f"{word} at step {event['at_step']}")
    for station in stations:
        name, status = str(station["id"]), station.get("status", "active")
        gone = any(part.startswith(("removed", "dropped")) for part in states.get(name, []))
        if status == "isolated" or (status == "removed" and not gone):
            states.setdefault(name, []).append(status)
        elif status == "active" and not station.get("learns", True):
            states.setdefault(name, []).append("executes only")
    return {name: ", ".join(parts) for name, parts in states.items()}


def _devices(run: RunData) -> dict[str, str]:
    """The device each station's tensors were on, where the summary says so."""
    stations = run.summary.get("stations", [])
    return {
        str(entry["name"]): str(entry["device"]) for entry in stations if isinstance(entry, dict) and "device" in entry
    }


def version_table(run: RunData) -> Table | None:
    """Versions of what the run was made with."""
    versions = run.summary.get("versions")
    if not isinstance(versions, dict) or not versions:
        return None
    return Table("Versions", ["software", "version"], [Row([str(k), str(v)]) for k, v in versions.items()])


def megabytes(size: float) -> str:
    """Bytes as megabytes.

    >>> megabytes(151_218), megabytes(90), megabytes(0)
    ('0.151', '<0.001', '0')
    """
    return "0" if size == 0 else "<0.001" if size < 500 else f"{size / 1e6:,.3f}"
