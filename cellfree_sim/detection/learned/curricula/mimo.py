"""Training for MIMO: see `MimoTraining`."""

from __future__ import annotations

from typing import Any

from cellfree_sim.detection.learned.curricula import base
from cellfree_sim.scenario.training import MimoTraining
from cellfree_sim.seeds import generator
from cellfree_sim.uplink.mimo import MimoProblem
from cellfree_sim.uplink.problem import Batch

DRAWS = 8
"""Correlations and SNRs in a batch."""
NEAR = 0.0501
"""A detector also serves correlations that differ by so much from those that it was trained with."""


class Curriculum(base.Curriculum[MimoTraining, MimoProblem]):
    """See `base.Curriculum`."""

    def problem(self) -> MimoProblem:
        """See `base.Curriculum.problem`: the first number of users, and the first correlation."""
        return self._problem(self.training.n_tx[0], self.training.correlation[0])

    def slots(self, seed: int, iteration: int) -> Batch:
        """See `base.Curriculum.slots`."""
        import torch

        training = self.training
        numpy = generator(seed, "detector", "slots", iteration)
        weights = [users / sum(training.n_tx) for users in training.n_tx]
        users = int(numpy.choice(training.n_tx, p=weights))
        low, high = training.snr_range_db(users)
        source = torch.Generator().manual_seed(int(numpy.integers(1 << 62)))
        parts = []
        for draw in range(DRAWS):
            count = len(range(draw, training.batch, DRAWS))
            rho, snr_db = float(numpy.choice(training.correlation)), float(numpy.uniform(low, high))
            if count:
                parts.append(self._problem(users, rho).sample(count, snr_db, generator=source))
        names = ("y", "h", "h_known", "noise_variance", "messages", "active")
        return Batch(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    def serves(self, problem: MimoProblem) -> bool:
        """See `base.Curriculum.serves`: the number of antennas is the one that it was trained with."""
        return self.training.n_rx == problem.n_rx and self.misfit(problem) is None

    def misfit(self, problem: MimoProblem) -> str | None:
        """See `base.Curriculum.misfit`. The number of antennas counts where it shapes the weights, and nowhere else."""
        made = self.training
        given = problem.options()
        sizes = {"n_rx"} & made.detector.sizes
        for key in ("constellation", *sizes, "channel", "correlated"):
            if given[key] != getattr(made, key):
                return f"found {key} {given[key]}; allowed: {getattr(made, key)}"
        for key, around in (("n_tx", 0), ("correlation", NEAR)):
            trained = getattr(made, key)
            low, high = min(trained), max(trained)
            if not low - around <= given[key] <= high + around:
                return f"found {key} {given[key]:g}; allowed: {low:g}" + (f" to {high:g}" if high > low else "")
        return None

    def unusable(self, problem: MimoProblem) -> tuple[str, Any, Any] | None:
        """See `base.Curriculum.unusable`."""
        made = self.training
        for key in ("constellation", *sorted(made.detector.sizes)):
            found = problem.options()[key]
            expected = made.n_tx[0] if key == "n_tx" else getattr(made, key)
            if found != expected:
                return key, found, expected
        return None

    def distance(self, problem: MimoProblem) -> tuple[float, ...]:
        """See `base.Curriculum.distance`."""
        made = self.training
        return (
            float(problem.n_tx not in made.n_tx),
            min(abs(problem.correlation - one) for one in made.correlation),
            abs(problem.csi_error - made.csi_error),
            len(made.n_tx) + len(made.correlation),
        )

    def facts(self) -> dict[str, str]:
        """See `base.Curriculum.facts`."""
        made = self.training
        channel = "i.i.d." if made.channel == "rayleigh" else "no fading"
        if made.correlated != "none":
            channel = f"{made.correlated} correlation {base.spread(made.correlation)}"
        sizes = f"{made.n_rx} antennas, {base.spread(made.n_tx)} users"
        return {"problem": made.constellation, "sizes": sizes, "channel": channel}

    def makes(self, detector: Any, problem: MimoProblem) -> bool:
        """See `base.Curriculum.makes`."""
        made = self.training
        network = made.detector
        theirs = (network.name, made.constellation, made.n_rx)
        if theirs != (detector.name, problem.modulation, problem.n_rx):
            return False
        wanted, ours = detector.architecture(), network.architecture()
        if any(ours[key] != wanted[key] for key in detector.model_fields_set & set(wanted)):
            return False
        return problem.n_tx in made.n_tx if "n_tx" in network.sizes else problem.n_tx <= max(made.n_tx)

    @staticmethod
    def default(detector: Any, problem: MimoProblem, users: int) -> MimoTraining:
        """See `base.Curriculum.default`: on independent Rayleigh channels, all numbers of users that may be active."""
        most = min(users, problem.n_rx)
        return MimoTraining(
            detector={"name": detector.name, **detector.architecture()},
            n_rx=problem.n_rx,
            n_tx=[problem.n_tx] if "n_tx" in detector.sizes else list(range(1, most + 1)),
            constellation=problem.modulation,
        )

    @staticmethod
    def in_words(problem: MimoProblem) -> str:
        """See `base.Curriculum.in_words`."""
        fading: str = problem.channel
        if problem.correlated != "none":
            fading += f" with {problem.correlated} correlation {problem.correlation:g}"
        return f"n_rx {problem.n_rx}, n_tx {problem.n_tx}, {problem.modulation}, {fading}"

    def _problem(self, users: int, correlation: float) -> MimoProblem:
        made = self.training
        return MimoProblem(
            n_rx=made.n_rx,
            n_tx=users,
            constellation=made.constellation,
            channel=made.channel,
            correlation=correlation,
            correlated=made.correlated,
            csi_error=made.csi_error,
        )
