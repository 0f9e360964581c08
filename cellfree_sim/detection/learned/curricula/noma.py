"""Training for NOMA: see `NomaTraining`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cellfree_sim.detection.learned.curricula import base
from cellfree_sim.errors import DetectorError
from cellfree_sim.scenario.training import NomaTraining
from cellfree_sim.seeds import generator
from cellfree_sim.uplink.noma import NomaProblem, superposed
from cellfree_sim.uplink.problem import Batch
from cellfree_sim.uplink.trained_files import CODEBOOK

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cellfree_sim.detection.learned.base import Learned

DRAWS = 8
"""SNRs in a batch, one from each part of their range."""
KEYS = ("users", "resources", "rates", "activity", "channel", "antennas", "energy", "csi_error")
"""Options of the problem that a training section has."""
DEPTH = 4
"""Output t of a network counts t^DEPTH: what comes early must not decide in haste."""
SAME = 1e-3
"""Codewords of unit energy that differ by less are the same."""
UNLEARNED = "repetition"
"""Stands for a codebook that is still to be learned."""


class Curriculum(base.Curriculum[NomaTraining, NomaProblem]):
    """See `base.Curriculum`."""

    @property
    def learns_code(self) -> bool:
        """Whether the codebook is learned, too."""
        return bool(getattr(self.training.codebook, "learned", False))

    def problem(self, times: int = 1) -> NomaProblem:
        """See `base.Curriculum.problem`; with so many `times` the users and resources."""
        given = {key: getattr(self.training, key) for key in KEYS}
        for key in ("rates", "activity"):
            if isinstance(given[key], list):
                given[key] = tuple(given[key]) * times
        given.update(users=self.training.users * times, resources=self.training.resources * times)
        return NomaProblem(**given, codebook=UNLEARNED if self.learns_code else self.training.codebook)

    def slots(self, seed: int, iteration: int) -> Batch:
        """See `base.Curriculum.slots`. Where the codebook is learned, nothing is sent yet: y is the noise."""
        import torch

        training = self.training
        numpy = generator(seed, "detector", "slots", iteration)
        source = torch.Generator().manual_seed(int(numpy.integers(1 << 62)))
        problem = self.problem(training.repeated[iteration % len(training.repeated)])
        low, high = training.snr_db
        draws = DRAWS if high > low else 1
        edges = low + (np.arange(draws) + numpy.uniform(size=draws)) * (high - low) / draws
        counts = [len(range(draw, training.batch, draws)) for draw in range(draws)]
        parts = [
            problem.sample(count, float(snr_db), generator=source)
            for count, snr_db in zip(counts, edges, strict=True)
            if count
        ]
        names = ("y", "h", "h_known", "noise_variance", "messages", "active")
        slots = Batch(*(torch.cat([getattr(part, name) for part in parts]) for name in names))
        if self.learns_code:
            return replace(slots, y=slots.y - superposed(problem.codebook, slots.h, slots.messages))
        return slots

    def trainee(self, options: Learned) -> nn.Module:
        """See `base.Curriculum.trainee`: the whole link."""
        from cellfree_sim.detection.noma.networks.link import Link
        from cellfree_sim.detection.noma.networks.transmitters import transmitter

        problem, training = self.problem(), self.training
        quick = training.code_learning_rate / training.learning_rate
        code = transmitter(training.codebook, problem, quick) if self.learns_code else None
        return Link(code, options.network(problem))  # type: ignore[arg-type]

    def learn(self, options: Learned, trainee: Any, slots: Batch) -> tuple[Tensor, Tensor]:
        """See `Learned.learn`."""
        import torch

        from cellfree_sim.detection.noma.networks import losses
        from cellfree_sim.detection.noma.networks.words import Words

        training = self.training
        words = None
        if training.repeated != [1]:
            problem = self.problem(slots.messages.shape[1] // training.users)
            words = Words.of(problem.codebook.to(slots.y.device), problem.log_prior.to(slots.y.device))
        heard = trainee(slots, words)
        last = heard.scores[-1]
        errors = losses.squared_errors(last, heard.sent, heard.words)
        if training.loss == "mse":
            loss = errors.sum()
        else:
            weights = torch.arange(1, len(heard.scores) + 1, device=last.device).float().pow(DEPTH)
            each = [
                losses.prioritised(losses.user_entropies(scores, heard.sent), training.gamma, training.loss)
                for scores in heard.scores
            ]
            loss = (torch.stack(each) * weights).sum() / weights.sum()
        if training.fairness != "none":
            weight = torch.as_tensor(training.fairness_weight, device=last.device).expand(training.users)
            weight = weight.repeat(len(errors) // training.users)
            loss = loss + losses.unfairness(errors, training.fairness, heard.words.activity, weight)
        return loss, (last.detach().argmax(dim=-1) != heard.sent).float().mean()

    def learned(self, trainee: Any) -> dict[str, Tensor]:
        """See `base.Curriculum.learned`: the receiver, and the codebook where one of them needs the other.

        Encoders are left out: whatever they are, the codebook is what they say.
        """
        import torch

        kept = dict(trainee.bound.state_dict())
        if self.learns_code or not self.training.detector.any_code:
            kept[CODEBOOK] = torch.view_as_real(trainee.codebook().detach())
        return kept

    def serves(self, problem: NomaProblem) -> bool:
        """See `base.Curriculum.serves`."""
        return self.misfit(problem) is None

    def misfit(self, problem: NomaProblem) -> str | None:
        """See `base.Curriculum.misfit`. Receivers that serve any codebook serve any number of users, too."""
        made = self.problem()
        if self.training.detector.any_code:
            if problem.channel != made.channel:
                return f"found channel {problem.channel}; allowed: {made.channel}"
            if problem.silence != made.silence:
                return f"found activity {problem.activity}; allowed: {made.activity}"
            return None
        different = self.unusable(problem)
        if different is None:
            for key in ("rates", "activity", "channel", "energy"):
                found, allowed = getattr(problem, key), getattr(made, key)
                if found != allowed:
                    different = key, found, allowed
        return None if different is None else f"found {different[0]} {different[1]}; allowed: {different[2]}"

    def unusable(self, problem: NomaProblem) -> tuple[str, Any, Any] | None:
        """See `base.Curriculum.unusable`."""
        if self.training.detector.any_code:
            return None
        made = self.problem()
        for key in ("users", "resources", "antennas", "counts", "silence"):
            found, allowed = getattr(problem, key), getattr(made, key)
            if found != allowed:
                return key, found, allowed
        if not self._is_its_own(problem):
            return "codebook", f"'{problem.book.name}'", "the one that it learned with, {name: trained, file: …}"
        return None

    def distance(self, problem: NomaProblem) -> tuple[float, ...]:
        """See `base.Curriculum.distance`."""
        made = self.problem()
        return (
            float(not self._is_its_own(problem)),
            float(problem.users not in [made.users * times for times in self.training.repeated]),
            float(problem.activity != made.activity),
            float(problem.rates != made.rates),
        )

    def facts(self) -> dict[str, str]:
        """See `base.Curriculum.facts`."""
        made = self.training
        users = base.spread([made.users * times for times in made.repeated])
        resources = base.spread([made.resources * times for times in made.repeated])
        rates = made.rates if isinstance(made.rates, list) else [made.rates]
        return {
            "problem": f"{base.spread(rates)} bits, {made.codebook.name}",
            "sizes": f"{users} users, {resources} resources",
            "channel": made.channel,
        }

    def makes(self, detector: Any, problem: NomaProblem) -> bool:
        """See `base.Curriculum.makes`."""
        network = self.training.detector
        wanted, ours = detector.architecture(), network.architecture()
        if network.name != detector.name or any(
            ours[key] != wanted[key] for key in detector.model_fields_set & set(wanted)
        ):
            return False
        return not self.learns_code and self.misfit(problem) is None

    @staticmethod
    def default(detector: Any, problem: NomaProblem, users: int) -> NomaTraining:
        """See `base.Curriculum.default`: on the codebook of the problem, at all SNRs from 0 to 25 dB."""
        from cellfree_sim.uplink.codebook import Codebook

        if isinstance(problem.design, Codebook):
            found = f"found the codebook '{problem.book.name}', which is in no file"
            raise DetectorError(f"detector '{detector.name}': {found}; allowed: one that has a name, or a file")
        options = {key: getattr(problem, key) for key in KEYS}
        for key in ("rates", "activity"):
            options[key] = None if options[key] is None else list(options[key])
        code = problem.design.model_dump(mode="json")
        if getattr(problem.design, "learned", False):
            raise DetectorError(
                f"detector '{detector.name}': found the codebook '{problem.design.name}', which learns together with a "
                "receiver; allowed: a checkpoint, or {name: trained, file: …}"
            )
        return NomaTraining(detector={"name": detector.name, **detector.architecture()}, codebook=code, **options)

    @staticmethod
    def in_words(problem: NomaProblem) -> str:
        """See `base.Curriculum.in_words`."""
        rates = base.spread(list(problem.rates))
        users = f"{problem.users} users of {rates} bits on {problem.resources} resources"
        return f"{users}, {problem.channel}, codebook '{problem.book.name}'"

    def _is_its_own(self, problem: NomaProblem) -> bool:
        """Whether the codebook is the one that was learned, or is to be learned on."""
        if self.weights is None:
            return not self.learns_code and self.problem().book == problem.book
        parts = self.weights.get(CODEBOOK)
        if parts is None:
            return False
        own, words = parts[..., 0] + 1j * parts[..., 1], problem.book.codewords
        return own.shape == words.shape and bool(np.abs(own - words).max() <= SAME * problem.book.energy**0.5)
