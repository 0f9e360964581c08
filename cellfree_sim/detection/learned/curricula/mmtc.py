"""Training for mMTC: see `MmtcTraining`."""

from __future__ import annotations

from typing import Any

from cellfree_sim.detection.learned.curricula import base
from cellfree_sim.scenario.training import MmtcTraining
from cellfree_sim.seeds import generator
from cellfree_sim.uplink.mmtc import MmtcProblem
from cellfree_sim.uplink.problem import Batch

KEYS = (
    *("devices", "bits", "pilot_length", "antennas", "activity", "pilots", "pilot_seed", "gains", "gain_error_db"),
    *("positions", "power", "power_dbm", "stations", "ring_km"),
)
"""Options of the problem that a training section has."""
TRAINED_WITH = {"known": ("known",), "estimated": ("estimated", "unknown", "known"), "unknown": ("unknown",)}
"""Gains that a network must have been trained with to be taken unasked, best first, by those of the receiver."""
NUMBERS_IN_A_BATCH = 2**18
"""Frames times the numbers of all pilots, in a batch of a training that nobody described."""
NEAR = {"devices": 2.0, "pilot_length": 1.25, "antennas": 2.0, "activity": 2.0}
"""The factor by which sizes may differ from those that it was trained with."""


class Curriculum(base.Curriculum[MmtcTraining, MmtcProblem]):
    """See `base.Curriculum`."""

    def problem(self) -> MmtcProblem:
        """See `base.Curriculum.problem`."""
        return MmtcProblem(**{key: getattr(self.training, key) for key in KEYS})

    def slots(self, seed: int, iteration: int) -> Batch:
        """See `base.Curriculum.slots`."""
        import torch

        numpy = generator(seed, "detector", "slots", iteration)
        source = torch.Generator().manual_seed(int(numpy.integers(1 << 62)))
        return self.problem().sample(self.training.batch, generator=source)

    def serves(self, problem: MmtcProblem) -> bool:
        """See `base.Curriculum.serves`."""
        return self.misfit(problem) is None

    def misfit(self, problem: MmtcProblem) -> str | None:
        """See `base.Curriculum.misfit`. Sizes that do not shape the weights may differ a little."""
        made = self.training
        if made.gains not in TRAINED_WITH[problem.gains]:
            return f"found gains {problem.gains}; allowed: {made.gains}"
        for key in ("bits", *sorted(made.detector.sizes)):
            found, expected = getattr(problem, key), getattr(made, key)
            if found != expected:
                return f"found {key} {found}; allowed: {expected}"
        for key, factor in NEAR.items():
            found, expected = _mean(getattr(problem, key)), getattr(made, key)
            if not expected / factor <= found <= expected * factor:
                return f"found {key} {found:g}; allowed: {expected / factor:g} to {expected * factor:g}"
        return None

    def unusable(self, problem: MmtcProblem) -> tuple[str, Any, Any] | None:
        """See `base.Curriculum.unusable`."""
        for key in sorted(self.training.detector.sizes):
            found, expected = getattr(problem, key), getattr(self.training, key)
            if found != expected:
                return key, found, expected
        return None

    def distance(self, problem: MmtcProblem) -> tuple[float, ...]:
        """See `base.Curriculum.distance`."""
        made = self.training
        sizes = ("pilot_length", "antennas", "devices", "activity")
        rank = TRAINED_WITH[problem.gains].index(made.gains)
        return (rank, *(abs(1 - _mean(getattr(problem, key)) / getattr(made, key)) for key in sizes))

    def facts(self) -> dict[str, str]:
        """See `base.Curriculum.facts`."""
        made = self.training
        sizes = f"{made.devices} devices, {made.pilot_length} samples, {made.antennas} antennas"
        if made.stations > 1:
            sizes += f" at {made.stations} stations"
        return {"problem": f"{made.bits} bit, {made.pilots} pilots", "sizes": sizes, "channel": f"{made.gains} gains"}

    def makes(self, detector: Any, problem: MmtcProblem) -> bool:
        """See `base.Curriculum.makes`."""
        network = self.training.detector
        wanted, ours = detector.architecture(), network.architecture()
        other = any(ours.get(key) != wanted[key] for key in detector.model_fields_set & set(wanted))
        return network.name == detector.name and not other and self.misfit(problem) is None

    @staticmethod
    def default(detector: Any, problem: MmtcProblem, users: int) -> MmtcTraining:
        """See `base.Curriculum.default`: on the problem itself, with fewer frames in a batch where they are large."""
        options = {key: getattr(problem, key) for key in KEYS}
        options["activity"] = _mean(problem.activity)
        batch = NUMBERS_IN_A_BATCH // (problem.devices * problem.per_device * problem.pilot_length)
        how = {**options, "batch": min(max(batch, 2), 32), **detector.recipe}
        return MmtcTraining(detector={"name": detector.name, **detector.architecture()}, **how)

    @staticmethod
    def in_words(problem: MmtcProblem) -> str:
        """See `base.Curriculum.in_words`."""
        sizes = f"devices {problem.devices}, bits {problem.bits}, pilot_length {problem.pilot_length}"
        return f"{sizes}, antennas {problem.antennas} at {problem.stations} stations, {problem.gains} gains"


def _mean(value: Any) -> float:
    """One number for all devices, or the mean over them."""
    return sum(value) / len(value) if isinstance(value, tuple) else float(value)
