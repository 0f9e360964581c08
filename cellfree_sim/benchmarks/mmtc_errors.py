"""Errors of the detectors of massive access beside each other and a genie, on 100 000 decisions each: on request only.

100 devices of which a tenth is active, one bit, 16 antennas, pilots of 40 and of 20 samples; five sets of pilots with
200 frames each, the same for all detectors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellfree_sim.threads import one_torch_thread

if TYPE_CHECKING:
    from cellfree_sim.uplink import StateRates

ON_REQUEST = True
LENGTHS = (40, 20)
SEEDS = (1, 2, 3, 4, 5)
FRAMES = 200
DETECTORS: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("genie", {}, {}),
    ("all-zero", {}, {}),
    ("amp", {}, {}),
    ("amp", {"onsager": "matrix"}, {}),
    ("amp", {"damping": 0.3}, {}),
    ("amp", {"damping": 0.3, "prior": True}, {}),
    ("amp-section", {}, {}),
    ("covariance", {}, {}),
    ("covariance", {"threshold": "quarter"}, {}),
    ("covariance", {"threshold": "ratio"}, {}),
    ("map-cd", {}, {}),
    ("map-cd", {"start": "both"}, {}),
    ("omp", {}, {}),
    ("amp-section", {}, {"gains": "estimated", "gain_error_db": 3.0}),
    ("map-cd", {}, {"gains": "estimated", "gain_error_db": 3.0}),
    ("amp-section", {}, {"gains": "unknown"}),
    ("covariance", {"threshold": "ratio"}, {"gains": "unknown"}),
    ("map-cd", {}, {"gains": "unknown"}),
    ("genie", {}, {"stations": 4}),
    ("amp-section", {}, {"stations": 4}),
    ("map-cd", {}, {"stations": 4}),
)
"""Detector, its options, and what of the problem is changed."""


def run(quick: bool) -> list[dict[str, Any]]:
    """See `cellfree_sim.benchmarks`: rates of wrong states; the ratio is that to the genie of the same problem.

    Further keys: decisions, standard_error, missed, false_alarms, data (see `StateRates`).
    """
    seeds, frames = (SEEDS[:1], 64) if quick else (SEEDS, FRAMES)
    rows: list[dict[str, Any]] = []
    with one_torch_thread():
        for length in LENGTHS:
            bounds: dict[bool, float] = {}
            for name, options, changes in DETECTORS:
                rates = measured(name, options, {"pilot_length": length, **changes}, seeds, frames)
                spread = "stations" in changes
                if name == "genie":
                    bounds[spread] = rates.ser.value
                chosen = ", ".join(f"{key} {value}" for key, value in {**options, **changes}.items())
                row = {
                    "case": f"L={length}: {name}" + (f" ({chosen})" if chosen else ""),
                    "value": rates.ser.value,
                    "unit": "SER",
                    "decisions": rates.ser.trials,
                    "standard_error": rates.ser.standard_error,
                    "missed": rates.missed.value,
                    "false_alarms": rates.false_alarms.value,
                    "data": rates.data.value,
                }
                if bounds[spread]:
                    row |= {"ratio": rates.ser.value / bounds[spread], "against": "genie"}
                rows.append(row)
    return rows


def measured(
    name: str, options: dict[str, Any], changes: dict[str, Any], seeds: tuple[int, ...], frames: int
) -> StateRates:
    """Rates of a detector over several sets of pilots, each with frames of its own."""
    from cellfree_sim.detection import create_detector
    from cellfree_sim.detection.mmtc.bounds import Genie
    from cellfree_sim.uplink import MmtcProblem, state_error_rates

    total: StateRates | None = None
    for seed in seeds:
        problem = MmtcProblem(pilot_seed=seed, **changes)
        detector = Genie(problem) if name == "genie" else create_detector(name, problem, **options)
        rates = state_error_rates(problem, detector, frames_max=frames, target_errors=None, seed=seed)
        total = rates if total is None else total + rates
    assert total is not None
    return total
