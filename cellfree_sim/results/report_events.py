"""What happened to the network while it ran, as tables of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellfree_sim.results.analysis import RunData, sent_again, stations_of
from cellfree_sim.results.formats import count
from cellfree_sim.results.report_tables import Row, Table, megabytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EVENTS_SHOWN = 200
WAYS_SHOWN = 40
WHAT = {
    "inject_sbs": "injected",
    "remove_sbs": "removed",
    "restart": "failed, restarted",
    "drop": "failed, dropped",
    "cut_link": "link cut",
    "slow_link": "link slowed",
    "restore_link": "link restored",
    "swap_detector": "detector swapped",
    "fail_service": "service failed, restarted",
    "set_activity": "users send otherwise",
    "retrain": "training began",
    "retrained": "service trained anew",
}
NEW_STATISTICS = (
    " Where the policy has batch normalisation, the statistics of a copied model are estimated anew on the training "
    "channels of the new station; its weights are those of the donor."
)


def events_table(run: RunData) -> Table | None:
    """Each event with its consequence, in the order in which they happened; None where nothing did."""
    if not run.events:
        return None
    joined = {injection["station"]: injection for injection in run.injections}
    rows = [
        Row([str(event["at_step"]), _what(event), _where(event), _outcome(event, joined)])
        for event in run.events[:EVENTS_SHOWN]
    ]
    if len(run.events) > EVENTS_SHOWN:
        rows.append(Row(["", f"{len(run.events) - EVENTS_SHOWN} others", "", "in summary.json"], total=True))
    note = (
        "Steps are training rounds done when it happened (for a service: those that its burst belongs to). Sum rates "
        "are means over the validation realisations, in "
        "bit/s/Hz."
    )
    return Table("Events", ["step", "what", "station, link or service", "consequence"], rows, note, layout="words")


def in_words(event: Mapping[str, Any]) -> tuple[str, str, str]:
    """What happened, to which station, link or service, and what it led to; while a run goes on, too.

    >>> in_words({"event": "cut_link", "at_step": 3, "link": ["mbs", "sbs-1"], "isolated": ["sbs-1"]})
    ('link cut', 'mbs–sbs-1', 'isolated, taking no part: sbs-1')
    """
    return _what(event), _where(event), _outcome(event, {})


def injections_table(run: RunData) -> Table | None:
    """The stations that were injected, whose models they took over, and what they brought; None without any."""
    if not run.injections:
        return None
    columns = [
        *("station", "step", "position (m)", "nearest", "donor", "transfer", "after", "model moved (bytes)"),
        *("sum rate before", "sum rate just after", "sum rate at the end", "wall time (s)", "simulated time (ms)"),
    ]
    rows = [
        Row(
            [
                injection["station"],
                str(injection["at_step"]),
                "({:.6g}, {:.6g})".format(*injection["position"]),
                injection["nearest"],
                injection["donor"] or "–",
                injection["transfer"],
                injection["after"],
                f"{injection['transfer_bytes']:,}",
                *(_rate(injection.get(f"sum_rate_{when}")) for when in ("before", "after", "end")),
                f"{injection['seconds']:.3g}",
                f"{1e3 * injection['simulated_seconds']:.4g}",
            ]
        )
        for injection in run.injections
    ]
    note = (
        "Sum rates in bit/s/Hz on the validation realisations: before and just after at the same step, in the network "
        "without the station and with it; at the end, at the last validation, whatever else happened in between. Times "
        "to its first decision: wall time from the request, simulated time from the round boundary."
    )
    copied = any(injection["donor"] for injection in run.injections)
    return Table("Injections", columns, rows, note + (NEW_STATISTICS if copied else ""), layout="tight")


def losses_table(run: RunData) -> Table | None:
    """Frames that were dropped or sent again, by kind and way; None where all went well."""
    again = sent_again(run)
    frames = run.backhaul[(run.backhaul["status"] == "dropped") | (run.backhaul["attempt"] > 0)]
    if frames.empty and not again.frames:
        return None
    rows = []
    ways = list(frames.groupby(["kind", "path"], sort=True))
    for (kind, path), own in ways[:WAYS_SHOWN]:
        lost, more = own[own["status"] == "dropped"]["bytes"], own[own["attempt"] > 0]["bytes"]
        rows.append(_loss_row(str(kind), str(path).replace(">", " → "), *_size(lost), *_size(more)))
    if ways[WAYS_SHOWN:]:
        others = frames[~frames.set_index(["kind", "path"]).index.isin([key for key, _ in ways[:WAYS_SHOWN]])]
        lost, more = others[others["status"] == "dropped"]["bytes"], others[others["attempt"] > 0]["bytes"]
        rest = _loss_row(f"{len(ways) - WAYS_SHOWN} others", "", *_size(lost), *_size(more))
        rows.append(rest._replace(total=True))
    if again.repeated_frames:
        rows.append(_loss_row("all", "rounds done again", 0, 0, again.repeated_frames, again.repeated_bytes))
    lost = frames.loc[frames["status"] == "dropped", "bytes"]
    total = _loss_row("total", "", *_size(lost), again.frames, again.bytes)
    columns = ["kind", "way", "dropped", "dropped (bytes)", "sent again", "sent again (bytes)"]
    note = (
        "A frame that met a cut link before its sender knew was dropped, and sent again over another path, where there "
        "was one. Rounds done again after a restart send their frames again; the totals of the run hold each frame "
        "once."
    )
    return Table("Frames dropped and sent again", columns, [*rows, total._replace(strong=True, total=True)], note)


def _loss_row(kind: str, way: str, lost: int, lost_bytes: int, again: int, again_bytes: int) -> Row:
    return Row([kind, way, *(f"{number:,}" for number in (lost, lost_bytes, again, again_bytes))])


def _size(sizes: Any) -> tuple[int, int]:
    return len(sizes), int(sizes.sum())


def _what(event: Mapping[str, Any]) -> str:
    return f"{event['event']} refused" if "refused" in event else WHAT.get(event["event"], event["event"])


def _where(event: Mapping[str, Any]) -> str:
    if "service" in event:
        return str(event["service"]) + (f" at {event['station']}" if event.get("station") else "")
    return "–".join(event["link"]) if "link" in event else ", ".join(stations_of(event)) or "–"


def _outcome(event: Mapping[str, Any], joined: Mapping[str, Mapping[str, Any]]) -> str:
    """What an event led to, in a sentence."""
    if "refused" in event:
        return f"did not happen: {event['refused']}"
    if event["event"] == "inject_sbs":
        return _joined(event, joined.get(event["station"]))
    tell = _TELL.get(event["event"])
    return tell(event) if tell else ""


def _joined(event: Mapping[str, Any], injection: Mapping[str, Any] | None) -> str:
    model = f"the model of {event['donor']}" if event.get("donor") else "a model of its own"
    if injection is None:
        return f"joined with {model}"
    moved = f" ({megabytes(injection['transfer_bytes'])} MB)" if injection["transfer_bytes"] else ""
    return f"joined with {model}{moved}; {_before_after(injection)}"


def _before_after(record: Mapping[str, Any]) -> str:
    return f"sum rate {_rate(record['sum_rate_before'])} before, {_rate(record['sum_rate_after'])} just after"


def _restarted(event: Mapping[str, Any]) -> str:
    rounds = event["at_step"] - event["from_step"]
    again = f", {count(rounds, 'round')} done again" if rounds else ""
    return (
        f"from step {event['at_step']} back to step {event['from_step']}{again}; recovered in {event['seconds']:.3g} s"
    )


def _isolation(event: Mapping[str, Any]) -> str:
    if "isolated" not in event:
        return "every station that takes part keeps a path"
    if not event["isolated"]:
        return "no station is isolated any more"
    return f"isolated, taking no part: {', '.join(event['isolated'])}"


def _slowed(event: Mapping[str, Any]) -> str:
    return f"{bit_rate(event['capacity_bps'])}, {1e3 * event['latency_s']:g} ms from here on"


def _restored(event: Mapping[str, Any]) -> str:
    return "as it was built" + (f"; {_isolation(event)}" if "isolated" in event else "")


def bit_rate(bits_per_s: float) -> str:
    """Bits per second with a prefix.

    >>> bit_rate(1e6), bit_rate(2.5e9), bit_rate(300)
    ('1 Mbit/s', '2.5 Gbit/s', '300 bit/s')
    """
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if bits_per_s >= factor:
            return f"{bits_per_s / factor:.4g} {prefix}bit/s"
    return f"{bits_per_s:.4g} bit/s"


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


_TELL: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "remove_sbs": _before_after,
    "restart": _restarted,
    "drop": lambda event: f"went on without: {event['reason']}",
    "cut_link": _isolation,
    "slow_link": _slowed,
    "restore_link": _restored,
    "swap_detector": lambda event: f"detects with {event['detector']} from burst {event['at_burst']} on",
    "fail_service": lambda event: f"before burst {event['at_burst']}; its requests were answered again",
    "set_activity": lambda event: f"from burst {event['at_burst']} on; receivers are not told",
    "retrain": lambda event: f"from burst {event['at_burst']} to {event['ready_at_burst']}, while it served",
    "retrained": lambda event: (
        f"detects with {event['detector']} from burst {event['at_burst']} on"
        + (", and users were assigned new codebooks" if "codebook" in event else "")
    ),
}
