"""What the files of a run mean: every column of its tables and every key of its summary, with unit and meaning.

The manual prints these tables, and a test holds them against the tables' own columns and against summaries of runs. In
paths, ``*`` stands for any name (a station, a service, a kind of message) and ``[]`` for the entries of a list.
"""

from __future__ import annotations

from typing import NamedTuple


class Meaning(NamedTuple):
    """Unit ("" where it has none) and meaning of a number or text."""

    unit: str
    words: str


FILES: dict[str, str] = {
    "scenario.yaml": "the scenario with every default written out; what `--resume` goes on with",
    "summary.json": "the numbers of the run",
    "metrics.parquet": "one row per training round and measurement",
    "backhaul.parquet": "one row per frame",
    "rates.parquet": "one row per algorithm, held-out realisation and user",
    "uplink.parquet": "one row per burst and service, where there is an uplink",
    "topology.json": "the network graph, in networkx' node-link form",
    "report.html": "all of it for people, in one file",
    "figures/": "each figure as PNG and PDF",
    "checkpoints/": "states of all stations to go on from, in step with tables and books",
    "detectors/": "learned detectors that were trained by this run, where no file fitted",
    "run.log": "what happened when, UTC",
    "run.json": "while it runs: process, cluster address, namespace, token file (mode 0600)",
    "progress.json": "while it runs: how far it is, and its stations",
}

METRICS: dict[str, Meaning] = {
    "phase": Meaning("", "training, validation or test"),
    "step": Meaning("", "training rounds that are done"),
    "joint_loss": Meaning("", "joint loss of the batch that the step learned from; NaN where nothing was trained"),
    "sum_rate": Meaning("bit/s/Hz", "of the batch or split, summed over users and subcarriers, mean over realisations"),
    "sum_rate_error": Meaning("bit/s/Hz", "standard error of that mean; NaN for a single realisation"),
    "min_rate_satisfied": Meaning("share", "of users and realisations that reach min_rate_bps_hz"),
    "power_violation": Meaning(
        "share", "largest excess of a station over its power budget, relative to it, before projection"
    ),
    "simulated_s": Meaning("s", "simulated time at the end of the round"),
    "compute_s": Meaning("s", "of the round's simulated time: computing"),
    "queue_s": Meaning("s", "of the round's simulated time: waiting in front of links"),
    "transfer_s": Meaning("s", "of the round's simulated time: transmission and latency"),
    "bytes": Meaning("bytes", "of all frames to and from the coordinator so far, on the wire"),
    "wall_s": Meaning("s", "wall time since the coordinator came up"),
}
BACKHAUL: dict[str, Meaning] = {
    "phase": Meaning(
        "", "what the frame was for: setup, training, sharing, validation, test, execution, control, uplink"
    ),
    "step": Meaning("", "training round the frame belongs to; of an uplink frame the burst"),
    "sequence": Meaning("", "number of the frame in its sender's book"),
    "kind": Meaning("", "kind of message"),
    "link_class": Meaning("", "backhaul, air or control"),
    "sender": Meaning("", "name of the station that sent it"),
    "receiver": Meaning("", "name of the station that it is for"),
    "path": Meaning("", "stations from sender to receiver, joined by >"),
    "bytes": Meaning("bytes", "length of the frame on the wire"),
    "payload_bytes": Meaning("bytes", "of them: the raw numbers of its arrays"),
    "sent_s": Meaning("s", "simulated time at which it was handed to the first link"),
    "arrival_s": Meaning("s", "simulated time at which it arrived; NaN where it was dropped"),
    "queue_s": Meaning("s", "of the way: waiting in front of links"),
    "transfer_s": Meaning("s", "of the way: transmission and latency"),
    "attempt": Meaning("", "0, or the number of the retransmission"),
    "status": Meaning("", "delivered, or dropped"),
}
RATES: dict[str, Meaning] = {
    "algorithm": Meaning("", "the learned one, or a reference"),
    "realisation": Meaning("", "number of the held-out realisation; the same for all algorithms"),
    "user": Meaning("", "number of the user"),
    "rate": Meaning("bit/s/Hz", "of this user, summed over subcarriers"),
}
UPLINK: dict[str, Meaning] = {
    "burst": Meaning("", "number of the burst, from 0"),
    "service": Meaning("", "name of the edge service"),
    "detector": Meaning("", "with which it detected this burst; empty where nobody did"),
    "cooperation": Meaning("", "local, soft_fusion or centralized"),
    "snr_db": Meaning("dB", "that power control aimed at"),
    "drop": Meaning("", "number of the users' drop"),
    "users": Meaning("", "that were to be decided"),
    "slots": Meaning("", "slots of the burst that were decided"),
    "symbols": Meaning("", "decided symbols; where users may be silent: states, silence included"),
    "symbol_errors": Meaning("", "of them: wrong"),
    "bits": Meaning("", "decided bits"),
    "bit_errors": Meaning("", "of them: wrong"),
    "blocks": Meaning("", "what a user sends in a burst is a block: those decided"),
    "block_errors": Meaning("", "of them: with an error"),
    "active": Meaning("", "symbols that were sent"),
    "missed": Meaning("", "of them: taken for silence"),
    "false_alarms": Meaning("", "silences taken for messages"),
    "undecided": Meaning("", "users that should have been decided, and were not"),
    "requests": Meaning("", "stations' requests to the service"),
    "refused": Meaning("", "of them: refused by the queue, or by the detector"),
    "bytes": Meaning("bytes", "on the backhaul, for this service"),
    "flops": Meaning("FLOP", "that the detection took"),
    "started_s": Meaning("s", "simulated time at which the burst had been heard"),
    "decided_s": Meaning("s", "simulated time of its last decision; NaN where there was none"),
    "latency_s": Meaning("s", "decided_s minus started_s"),
    "queue_s": Meaning("s", "of the latency: in queues of services"),
    "compute_s": Meaning("s", "of the latency: computing"),
    "backhaul_s": Meaning("s", "of the latency: on the backhaul"),
}
TABLES: dict[str, dict[str, Meaning]] = {
    "metrics": METRICS,
    "backhaul": BACKHAUL,
    "rates": RATES,
    "uplink": UPLINK,
}


def _rates(of: str) -> dict[str, Meaning]:
    """The numbers that the learned algorithm and each baseline have."""
    return {
        f"{of}.sum_rate": Meaning("bit/s/Hz", "mean over held-out realisations, after projection to the power budget"),
        f"{of}.sum_rate_std": Meaning("bit/s/Hz", "standard deviation over realisations"),
        f"{of}.sum_rate_error": Meaning("bit/s/Hz", "standard error of the mean"),
        f"{of}.min_rate_satisfied": Meaning("share", "of users and realisations that reach min_rate_bps_hz"),
    }


def _error_rate(name: str, words: str) -> dict[str, Meaning]:
    """An error rate and its interval, a list over SNRs each."""
    path = f"uplink.services[].{name}"
    return {
        path: Meaning("share", f"{words}, one for each SNR; null where nothing was decided"),
        f"{path}_low": Meaning("share", "lower end of its 95 % interval"),
        f"{path}_high": Meaning("share", "upper end of its 95 % interval"),
    }


SUMMARY: dict[str, Meaning] = {
    "name": Meaning("", "of the scenario"),
    "seed": Meaning("", "of the scenario"),
    "engine": Meaning("", "ray or inline"),
    "status": Meaning("", "done, interrupted or failed"),
    "error": Meaning("", "why it failed; absent where it did not"),
    "steps": Meaning("", "training rounds that were done"),
    "wall_seconds": Meaning("s", "from the start of the command to the end of the measurement"),
    "simulated_seconds": Meaning("s", "simulated time of the whole run"),
    "versions.*": Meaning("", "of this package, Python and the libraries that numbers depend on"),
    "stations[].name": Meaning("", "of the station"),
    "stations[].pid": Meaning("", "of its process"),
    "stations[].device": Meaning("", "cpu, or the CUDA device that torch really used"),
    "stations[].node": Meaning("", "of the Ray cluster (engine ray)"),
    "stations[].cpus": Meaning("", "reserved for it (engine ray)"),
    "stations[].gpus": Meaning("", "reserved for it (engine ray)"),
    "stations[].status": Meaning("", "active, isolated, removed, …"),
    "events[].event": Meaning("", "what happened: the key of the scenario's event, or drop, or a recovery"),
    "events[].*": Meaning("", "what belongs to it: at_step, station, bytes, seconds, …"),
    "downlink.algorithm": Meaning("", "that learned"),
    "downlink.loss_scheme": Meaning("", "that it learned with"),
    "downlink.loss_scheme_at_end.*": Meaning("", "weights of a scheme that adapts them, at the end"),
    "downlink.policy": Meaning("", "policy network"),
    "downlink.trained": Meaning("", "the trained policy that it began with, or null"),
    "downlink.feedback": Meaning("", "cut_gradient or global_outputs"),
    "downlink.flops.*": Meaning("FLOP", "counted, of one decision for one realisation, by station"),
    "downlink.parameters.*": Meaning("", "numbers that are learned, by station"),
    **_rates("downlink"),
    "downlink.power_violation": Meaning(
        "share", "largest excess of a station over its power budget, relative to it, before projection"
    ),
    **_rates("downlink.baselines.*"),
    "downlink.baselines.*.difference": Meaning("bit/s/Hz", "learned minus baseline, paired over realisations"),
    "downlink.baselines.*.difference_error": Meaning("bit/s/Hz", "its standard error"),
    "downlink.injection[].station": Meaning("", "name of the injected station"),
    "downlink.injection[].position": Meaning("m", "x and y"),
    "downlink.injection[].nearest": Meaning("", "the station nearest to it"),
    "downlink.injection[].donor": Meaning("", "whose model it took over, or null"),
    "downlink.injection[].transfer": Meaning("", "as asked: nearest, farthest, random or none"),
    "downlink.injection[].after": Meaning("", "fine-tune or execute"),
    "downlink.injection[].at_step": Meaning("", "training rounds done when it was admitted"),
    "downlink.injection[].transfer_bytes": Meaning("bytes", "of the frames that carried the model"),
    "downlink.injection[].model_bytes": Meaning("bytes", "of the parameters in them"),
    "downlink.injection[].sum_rate_before": Meaning("bit/s/Hz", "on validation realisations, without it"),
    "downlink.injection[].sum_rate_after": Meaning("bit/s/Hz", "on the same, just after it was admitted"),
    "downlink.injection[].sum_rate_end": Meaning("bit/s/Hz", "on the same, at the end of the run"),
    "downlink.injection[].seconds": Meaning("s", "wall time from the request to its first decision"),
    "downlink.injection[].simulated_seconds": Meaning("s", "simulated time of the same"),
    "uplink.problem": Meaning("", "mimo, noma or mmtc"),
    "uplink.constellation": Meaning("", "of all users (mimo)"),
    "uplink.codebook": Meaning("", "that users send with (noma)"),
    "uplink.resources": Meaning("", "samples of a codeword (noma)"),
    "uplink.fading": Meaning("", "flat, or of each resource its own (noma)"),
    "uplink.bits": Meaning("", "that a device sends by its choice of a pilot (mmtc)"),
    "uplink.pilot_length": Meaning("", "samples of a pilot (mmtc)"),
    "uplink.pilots": Meaning("", "how pilots are made (mmtc)"),
    "uplink.gains": Meaning("", "what stations know of path gains (mmtc)"),
    "uplink.activity": Meaning("share", "of the bursts in which a device sends, mean over devices (mmtc)"),
    "uplink.users": Meaning("", "number of users"),
    "uplink.bursts": Meaning("", "bursts that are over"),
    "uplink.slots": Meaning("", "slots of these"),
    "uplink.simulated_seconds": Meaning("s", "simulated time of the last decision"),
    "uplink.services[].name": Meaning("", "of the service"),
    "uplink.services[].detector": Meaning("", "in use at the end"),
    "uplink.services[].detectors[]": Meaning("", "all that served"),
    "uplink.services[].cooperation": Meaning("", "local, soft_fusion or centralized"),
    "uplink.services[].cluster": Meaning("", "stations that serve a user, or null for all"),
    "uplink.services[].stations[]": Meaning("", "that take part"),
    "uplink.services[].precision": Meaning("", "of its frames' arrays"),
    "uplink.services[].snr_db[]": Meaning("dB", "that power control aimed at, in turn"),
    **_error_rate("ser", "symbol error rate; where users may be silent, of their states"),
    **_error_rate("ber", "bit error rate"),
    **_error_rate("bler", "block error rate: a block is what a user sends in a burst"),
    **_error_rate("missed_detection", "where users may be silent: active ones taken for silent"),
    **_error_rate("false_alarm", "where users may be silent: silent ones taken for active"),
    **{f"uplink.services[].{key}": UPLINK[key] for key in ("symbols", "symbol_errors", "bits", "bit_errors", "blocks")},
    **{f"uplink.services[].{key}": UPLINK[key] for key in ("block_errors", "active", "missed", "false_alarms")},
    **{f"uplink.services[].{key}": UPLINK[key] for key in ("undecided", "requests", "refused", "bytes", "slots")},
    "uplink.services[].flops": UPLINK["flops"],
    "uplink.services[].bytes_per_slot": Meaning("bytes", "on the backhaul, per decided slot"),
    "uplink.services[].slots_per_second": Meaning("1/s", "decided slots per simulated second"),
    "uplink.services[].latency_ms_p50": Meaning("ms", "median of the simulated latency, to 0.3 %"),
    "uplink.services[].latency_ms_p99": Meaning("ms", "99th percentile of the simulated latency, to 0.3 %"),
    "uplink.services[].latency_ms": Meaning("ms", "mean simulated latency: the sum of the next three"),
    "uplink.services[].queue_ms": Meaning("ms", "mean time in queues"),
    "uplink.services[].compute_ms": Meaning("ms", "mean time of computing"),
    "uplink.services[].backhaul_ms": Meaning("ms", "mean time on the backhaul"),
    "uplink.services[].by_station.*.requests": Meaning("", "at this station"),
    "uplink.services[].by_station.*.refused": Meaning("", "at this station"),
    "uplink.services[].by_station.*.utilisation": Meaning("share", "of its share of the MEC server, in simulated time"),
    "backhaul.frames": Meaning("", "first attempts, of all stations"),
    "backhaul.bytes": Meaning("bytes", "of these, on the wire; those of users' frames included"),
    "backhaul.retransmissions.frames": Meaning("", "frames that were sent again"),
    "backhaul.retransmissions.bytes": Meaning("bytes", "of these"),
    "backhaul.dropped.frames": Meaning("", "frames that were lost on a cut link"),
    "backhaul.dropped.bytes": Meaning("bytes", "of these"),
    "backhaul.by_kind.*": Meaning("bytes", "by kind of message"),
    "backhaul.by_phase.*": Meaning("bytes", "by phase"),
    "backhaul.by_class.*": Meaning("bytes", "by link class"),
    "backhaul.by_link.*": Meaning("bytes", "that crossed each link and direction, as from>to"),
    "backhaul.by_station.*.sent": Meaning("bytes", "by this station"),
    "backhaul.by_station.*.received": Meaning("bytes", "by this station"),
    "backhaul.per_step_bytes": Meaning("bytes", "training bytes per training round"),
    "backhaul.training_bytes": Meaning("bytes", "of training and sharing"),
    "backhaul.uplink_bytes": Meaning("bytes", "of the uplink's frames between stations"),
    "backhaul.air_bytes": Meaning("bytes", "of users' frames, which cross no link of the backhaul; part of bytes"),
    "backhaul.measurement_bytes": Meaning("bytes", "of validation and test, which a real network would not send"),
    "backhaul.execution_bytes_per_realisation": Meaning("bytes", "that a decision for one realisation costs"),
    "backhaul.balanced": Meaning("", "whether every frame that was sent was received or dropped"),
    "backhaul.unmatched[]": Meaning("", "the frames that were not, by name"),
}
