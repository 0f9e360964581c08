"""The report of a run: one HTML file that needs nothing but itself, made from the run folder's files alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cellfree_sim.results import page, report_events, report_uplink
from cellfree_sim.results import report_tables as tables
from cellfree_sim.results.analysis import (
    Outcome,
    RunData,
    load_run,
    number,
    outcomes,
    sent_again,
    setting,
    thermal_noise_dbm,
)
from cellfree_sim.results.figures import draw_figures
from cellfree_sim.results.files import write_atomically
from cellfree_sim.results.formats import algorithm_label, count, mean_and_error, percent, signed
from cellfree_sim.results.page import Tile
from cellfree_sim.results.uplink import service_records, symbols_in_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cellfree_sim.results.figures import Figure
    from cellfree_sim.results.uplink import ServiceRecord

PAPER_NOISE_DBM = -26.0
RECEIVER_NOISE_FIGURE_DB = 15.0  # generous: what is above thermal noise by more than this is no receiver's noise
SCALAR_BYTES = 4  # a float32


def build_report(folder: Path | str) -> Path:
    """Draw the figures of a run and write its report.html, from the files in `folder`; equal files give equal reports.

    Works for a run that is done, was interrupted, or still goes on: what is not there yet is left out.

    Returns:
        Path of the report.

    Raises:
        RunFolderError: `folder` is no run folder, a file in it is damaged, or it cannot be written.
    """
    run = load_run(folder)
    figures = draw_figures(run)
    write_atomically(run.files.report_path, _html(run, figures))
    return run.files.report_path


def _html(run: RunData, figures: Sequence[Figure]) -> str:
    found = outcomes(run)
    services = service_records(run)
    return page.html(
        page.Page(
            title=run.name,
            status=_status(run),
            good=_status(run) == "done",
            facts=_facts(run),
            tiles=_tiles(run, found, services),
            warnings=warnings(run),
            sections=_sections(run, {figure.name: figure for figure in figures}, found, services),
        )
    )


def _sections(
    run: RunData, drawn: Mapping[str, Figure], found: Sequence[Outcome], services: Sequence[ServiceRecord]
) -> list[page.Section]:
    """The parts of the page; those with nothing in them are left out."""

    def figures(*names: str) -> page.Figures | None:
        there = [drawn[name] for name in names if name in drawn]
        return page.Figures(there) if there else None

    rates = tables.rates_table(run, found) or page.Note("The run ended before its test; no held-out rates.", soft=True)
    uplink: list[page.Block | None] = [
        report_uplink.error_table(services),
        figures("error-rates"),
        report_uplink.states_table(services),
        report_uplink.services_table(services),
        figures("state-errors", "error-rate-bytes", "latency", "services"),
    ]
    accounting = accounting_note(run)
    tabled = tables.traffic_tables(run)
    traffic: list[page.Block | None] = [
        tabled[0] if tabled else page.Note("No frame was recorded.", soft=True),
        page.Note(accounting) if accounting else None,
        figures("backhaul"),
        page.Beside(tabled[1:]) if tabled else None,
        report_events.losses_table(run),
    ]
    again: list[page.Block | None] = [
        page.Listing("Scenario, every default written out", run.scenario_text),
        tables.version_table(run),
        page.Links(
            "Data beside this file:",
            [(name, name) for name in run.files.data_files()],
            "The command cellfree report, with the name of this folder, makes the figures and this page again.",
        ),
    ]
    parts: list[tuple[str, list[page.Block | None]]] = [
        ("Rates on held-out realisations", [rates, figures("training", "paired", "rates")] if run.has_downlink else []),
        ("Uplink and edge services", uplink if services else []),
        ("What happened to the network", [report_events.events_table(run), report_events.injections_table(run)]),
        ("Backhaul", traffic),
        (
            "Network and simulated time",
            [figures("topology", "simulated-time"), tables.time_table(run), tables.station_table(run)],
        ),
        ("How to get this again", again),
    ]
    kept = [(title, [block for block in blocks if block is not None]) for title, blocks in parts]
    return [page.Section(title, blocks) for title, blocks in kept if blocks]


def _status(run: RunData) -> str:
    return str(run.summary.get("status") or "unfinished")


def _facts(run: RunData) -> list[str]:
    """What the run was, in a line."""
    facts = [algorithm_label(run.algorithm)] if run.has_downlink else []
    scheme = setting(run.scenario, "downlink", "loss_scheme")
    if scheme and run.has_downlink:
        facts.append(f"loss scheme {scheme['name'] if isinstance(scheme, dict) else scheme}")
    stations = [node for node in run.nodes if node.get("kind") == "sbs"]
    users = number(run.scenario, "network", "users", "count")
    if stations:
        facts.append(_stations(run, stations))
    if users:
        facts.append(count(int(users), "user"))
    model = setting(run.scenario, "channel", "model")
    if model:
        facts.append(str(model["name"] if isinstance(model, dict) else model))
    summary = run.summary
    bursts = setting(run.scenario, "uplink", "bursts")
    if bursts:
        facts.append(count(int(bursts), "burst"))
    if "steps" in summary and run.has_downlink:
        facts.append(count(int(summary["steps"]), "training step"))
    if "engine" in summary:
        facts.append(f"{summary['engine']} engine")
    if "seed" in summary:
        facts.append(f"seed {summary['seed']}")
    if summary.get("wall_seconds") is not None:
        facts.append(f"{summary['wall_seconds']:.1f} s of wall time")
    return facts


def _stations(run: RunData, stations: Sequence[Mapping[str, Any]]) -> str:
    """How many there were at first, and at the end where that is another number."""
    came = {event["station"] for event in run.happened if event["event"] == "inject_sbs"}
    first = sum(station["id"] not in came for station in stations)
    last = sum(station.get("status", "active") in ("active", "isolated") for station in stations)
    return count(first, "small base station") + (f" at first, {last} at the end" if last != first else "")


def _tiles(run: RunData, found: Sequence[Outcome], services: Sequence[ServiceRecord]) -> list[Tile]:
    tiles = []
    learned = next((outcome for outcome in found if outcome.learned), None)
    if learned is not None:
        more = f"bit/s/Hz, mean of {learned.realisations} realisations"
        tiles.append(Tile("sum rate", mean_and_error(learned.sum_rate, learned.sum_rate_se), more))
        if learned.satisfied is not None:
            tiles.append(
                Tile("users at or above r_min", percent(learned.satisfied), f"r_min = {run.min_rate:g} bit/s/Hz")
            )
        for outcome in [outcome for outcome in found if not outcome.learned and math.isfinite(outcome.difference)][:2]:
            gain = mean_and_error(outcome.difference, outcome.difference_se, signed_mean=True)
            tiles.append(
                Tile(f"against {algorithm_label(outcome.algorithm)}", gain, "bit/s/Hz, paired, ± standard error")
            )
    tiles += _uplink_tiles(services)
    frames = run.first_attempts
    if not frames.empty:
        books = {True: "books balanced", False: "books do not balance", None: "books not closed"}[tables.balanced(run)]
        tiles.append(
            Tile("backhaul", f"{frames['bytes'].sum() / 1e6:.1f} MB", f"{count(len(frames), 'frame')}, {books}")
        )
    if run.summary.get("simulated_seconds") is not None:
        tiles.append(Tile("simulated time", f"{run.summary['simulated_seconds']:.3g} s", "compute, queue and transfer"))
    return tiles


def _uplink_tiles(services: Sequence[ServiceRecord]) -> list[Tile]:
    """The best error rate at the highest SNR, and the shortest latency."""
    rated = [(each.rates["ser"][-1].value, each) for each in services if each.snr_db]
    rated = [(value, each) for value, each in rated if math.isfinite(value)]
    if not rated:
        return []
    value, best = min(rated, key=lambda pair: pair[0])
    at, high = f"{best.name}, at {signed(best.snr_db[-1], 'g')} dB", best.rates["ser"][-1].high
    shown, more = f"{value:.3g}", at
    if value == 0 and math.isfinite(high):
        shown, more = f"≤ {high:.2g}", f"95 %, no error seen; {at}"
    tiles = [Tile(f"lowest {symbols_in_words(services)} error rate", shown, more)]
    quickest = min(services, key=lambda each: each.latency_p99_s if math.isfinite(each.latency_p99_s) else math.inf)
    if math.isfinite(quickest.latency_p99_s):
        latency = f"{report_uplink.milliseconds(quickest.latency_p99_s)} ms"
        tiles.append(Tile("shortest 99 % latency", latency, f"{quickest.name}, simulated"))
    return tiles


def warnings(run: RunData) -> list[str]:
    """What a reader has to know before believing the numbers."""
    found = []
    if _status(run) != "done":
        reason = f" ({run.summary['error']})" if run.summary.get("error") else ""
        found.append(f"The run is {_status(run)}, not done{reason}: these are the numbers it had come to.")
    if tables.balanced(run) is False:
        unmatched = setting(run.summary, "backhaul", "unmatched") or []
        named = f": {'; '.join(str(name) for name in unmatched[:3])}" if unmatched else ""
        found.append(f"The books of the backhaul do not balance, {count(len(unmatched), 'frame')} unmatched{named}.")
    policy = setting(run.scenario, "downlink", "policy")
    untrained = not (isinstance(policy, dict) and policy.get("trained"))
    if run.has_downlink and untrained and number(run.scenario, "downlink", "epochs") == 0:
        found.append(
            "Nothing was learned (downlink.epochs is 0, and no trained policy was named): the policy is random."
        )
    lost = run.backhaul[run.backhaul["status"] == "dropped"]
    again = sent_again(run).frames
    if len(lost) or again:
        found.append(f"{count(len(lost), 'frame')} dropped, {again:,} sent again; totals count first attempts.")
    found += [
        f"At step {event['at_step']} {event['event']} did not happen: {event['refused']}"
        for event in run.events
        if "refused" in event
    ]
    found += [
        f"From step {event['at_step']} on the run went without {', '.join(event['stations'])}: {event['reason']}"
        for event in run.events
        if event["event"] == "drop"
    ]
    tested = run.metrics[run.metrics["phase"] == "test"]
    if not tested.empty and float(tested["power_violation"].iloc[-1]) > 1e-3:
        excess = percent(float(tested["power_violation"].iloc[-1]))
        found.append(
            f"A station exceeded its power by up to {excess}; rates are those after scaling down to the budget."
        )
    found += [
        f"Service {each.name} refused {each.refused:,} of {count(each.requests, 'request')}, because its queue "
        "was full or its detector cannot serve them (run.log has the reason); they are in no error rate."
        for each in service_records(run)
        if each.refused
    ]
    noise = noise_warning(run) if run.has_downlink else None
    return [*found, noise] if noise else found


def noise_warning(run: RunData) -> str | None:
    """A line if the scenario's noise power is none that a receiver in that bandwidth has."""
    noise, bandwidth = number(run.scenario, "radio", "noise_dbm"), number(run.scenario, "radio", "bandwidth_hz")
    if noise is None or not bandwidth:
        return None
    subcarriers = number(run.scenario, "radio", "subcarriers") or 1.0
    whole, each = thermal_noise_dbm(bandwidth), thermal_noise_dbm(bandwidth / subcarriers)
    if each - 0.5 <= noise <= whole + RECEIVER_NOISE_FIGURE_DB:
        return None
    source = " is the value printed in the paper's Table I;" if noise == PAPER_NOISE_DBM else ":"
    return (
        f"Noise of {signed(noise, 'g')} dBm{source} thermal noise at 290 K is {signed(whole, '.1f')} dBm "
        f"in {bandwidth / 1e6:g} MHz and {signed(each, '.1f')} dBm in one of {subcarriers:.0f} subcarriers. "
        "Compare orderings, not absolute rates."
    )


def accounting_note(run: RunData) -> str | None:
    """What the paper's scalar loss broadcast would take, beside what differentiating that loss elsewhere needs."""
    frames = run.first_attempts
    feedback = frames[(frames["kind"] == "loss_feedback") & (frames["phase"] == "training")]
    if feedback.empty:
        return None
    return (
        f"Algorithm 2 of the paper returns the joint loss to each station as one number: {len(feedback):,} numbers of "
        f"{SCALAR_BYTES} bytes, {SCALAR_BYTES * len(feedback):,} bytes in all. A number cannot be differentiated in "
        "another process; the feedback from which each station can update its network took "
        f"{feedback['bytes'].sum():,} bytes."
    )
