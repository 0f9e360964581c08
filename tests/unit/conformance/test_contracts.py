"""Everything that is registered, and every documented example, keeps the contract of its kind; what breaks it is told.

The checks are those of ``cellfree check-extension``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cellfree_sim.conformance import Subject, checked, checks_of
from cellfree_sim.conformance.checks import result_of
from cellfree_sim.scenario.extensions import REGISTRIES
from cellfree_sim.scenario.outside import Importer

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples" / "extensions"
SMALL: dict[str, dict[str, Any]] = {
    **{name: {"layers": 3} for name in ("oampnet", "oampnet2", "mmnet", "epnet", "detnet", "amp-net")},
    **{name: {"layers": 2} for name in ("pda-net", "dl-mampnet", "cov-net")},
    **{name: {"layers": 2, "width": 16} for name in ("mul-vae", "e2e")},
    "re-mimo": {"blocks": 2, "width": 16},
    "fcnn": {"widths": (32,)},
    "ascent": {"steps": 20},
    "wmmse": {"iterations": 20},
}
FROM_FILES = {"trace", "edges", "file", "trained"}  # they say nothing without one; each has tests of its own
REGISTERED = [(kind, name) for kind, each in REGISTRIES.items() for name in each.names() if name not in FROM_FILES]


def broken(results: Any) -> list[str]:
    return [f"{each.name}: {each.reason}" for each in results if each.status == "fail"]


@pytest.mark.parametrize(("kind", "name"), REGISTERED)
def test_what_is_registered_keeps_its_contract(kind: str, name: str) -> None:
    results = checked(kind, REGISTRIES[kind].create(name, **SMALL.get(name, {})))
    assert broken(results) == []
    refused = [each for each in results if each.status == "left out" and "refuses the problem" in each.reason]
    assert not refused


@pytest.mark.parametrize(
    ("kind", "reference"),
    [
        ("mimo_detectors", "my_detector:Jacobi"),
        ("mimo_detectors", "my_network:Unfolded"),
        ("channel_models", "my_channels:TwoRay"),
        ("loss_schemes", "my_losses:Fair"),
        ("policies", "my_policies:MatchedShares"),
    ],
)
def test_examples_keep_their_contract(kind: str, reference: str) -> None:
    option = Importer(EXAMPLES).resolve(REGISTRIES[kind], reference)
    results = checked(kind, option())
    assert broken(results) == []
    assert sum(each.status == "pass" for each in results) >= 10


MUTANTS = '''
"""Extensions that break their contract, each in one way."""
from typing import ClassVar
import numpy as np
import torch
from cellfree_sim.channel.base import ChannelModel
from cellfree_sim.channel.models.rayleigh import Rayleigh
from cellfree_sim.detection.detector import Detection
from cellfree_sim.detection.mimo.linear import Lmmse, MatchedFilter
from cellfree_sim.downlink.policies.set import Set
from cellfree_sim.downlink.references.mrt import MaximumRatio
from cellfree_sim.downlink.schemes.penalty import Penalty

class _Changed(Lmmse):
    """It changes an answer or a question."""
    def build(self, problem):
        plain = Lmmse().build(problem)
        return lambda y, h, n: self.change(plain, y, h, n)

class Unnormalised(_Changed):
    def change(self, plain, y, h, n):
        return Detection(plain(y, h, n).logits + 1)

class Together(_Changed):
    def change(self, plain, y, h, n):
        return plain(y, h, n.mean() * 30 * torch.ones_like(n) if len(n) > 1 else n)

class InPlace(_Changed):
    def change(self, plain, y, h, n):
        y *= 1.01
        return plain(y, h, n)

class Random(_Changed):
    def change(self, plain, y, h, n):
        return Detection.of(plain(y, h, n).logits + torch.randn(()) * torch.arange(4.0))

class InOrder(_Changed):
    def change(self, plain, y, h, n):
        users = torch.linspace(0.1, 2, h.shape[2])[:, None]
        return Detection.of(plain(y, h, n).logits * users)

class Wrong(_Changed):
    def change(self, plain, y, h, n):
        return Detection.of(-plain(y, h, n).logits.clamp_min(-20))

class NotFinite(_Changed):
    def change(self, plain, y, h, n):
        return Detection(plain(y, h, n).logits.masked_fill(n[:, None, None] < 1e-4, -float("inf")))

class Doubled(Rayleigh):
    """Of another power than it says."""
    def generate(self, request, progress=None):
        return 2 * super().generate(request, progress)

class Unseeded(Rayleigh):
    """By the global generator."""
    def generate(self, request, progress=None):
        return super().generate(request) * np.complex64(1 + 1e-3 * np.random.rand())

class Frozen(Rayleigh):
    """The same in all realisations."""
    def generate(self, request, progress=None):
        made = super().generate(request, progress)
        made[:] = made[:1]
        return made

class Precise(Rayleigh):
    """Of another type."""
    def generate(self, request, progress=None):
        return super().generate(request, progress).astype(complex)

class Neighbours(Rayleigh):
    """By the number of stations."""
    def generate(self, request, progress=None):
        return super().generate(request, progress) * np.complex64(1 / request.stations)

class Detached(Penalty):
    """No gradient of powers."""
    def evaluate(self, rates, excess_power, beta, min_rate, weights=None):
        return super().evaluate(rates, excess_power.detach(), beta, min_rate, weights)

class Averaged(Penalty):
    """One number for a batch."""
    def evaluate(self, rates, excess_power, beta, min_rate, weights=None):
        joint, tasks = super().evaluate(rates, excess_power, beta, min_rate, weights)
        return joint.mean(), tasks

class Mixed(Penalty):
    """A realisation sees the others."""
    def evaluate(self, rates, excess_power, beta, min_rate, weights=None):
        joint, tasks = super().evaluate(rates, excess_power, beta, min_rate, weights)
        return joint + rates.mean(), tasks

class Upside(Penalty):
    """Rate costs."""
    def evaluate(self, rates, excess_power, beta, min_rate, weights=None):
        joint, tasks = super().evaluate(rates, excess_power, beta, min_rate, weights)
        return joint + 3 * rates.sum(-1), tasks

class _Wrapped(Set):
    """A network around another one."""
    def build(self, shape, seed):
        network, change, plain = super().build(shape, seed), self.change, None
        plain = network.forward
        network.forward = lambda channel: change(network, plain(channel), channel)
        return network

class Loud(_Wrapped):
    def change(self, network, outputs, channel):
        return outputs._replace(beams=1.1 * outputs.beams)

class Soft(_Wrapped):
    def change(self, network, outputs, channel):
        return outputs._replace(allocation=0.9 * outputs.allocation)

class Crowd(_Wrapped):
    def change(self, network, outputs, channel):
        return outputs._replace(beams=outputs.beams * (1 - 0.5 * (len(channel) > 1)))

class Deaf(_Wrapped):
    def change(self, network, outputs, channel):
        return outputs._replace(beams=outputs.beams.detach(), allocation=outputs.allocation.detach())

class Louder(MaximumRatio):
    """Over its budget."""
    def solve(self, channel, *, min_rate, seed):
        beams, allocation = super().solve(channel, min_rate=min_rate, seed=seed)
        return 1.5 * beams, allocation
'''
BROKEN = {
    "mimo_detectors": {
        "Unnormalised": "answers are log-probabilities of each user",
        "Together": "slots do not influence each other",
        "InPlace": "it repeats itself and changes nothing",
        "Random": "it repeats itself and changes nothing",
        "InOrder": "the order of users does not matter",
        "Wrong": "no more errors than the simplest detector",
        "NotFinite": "extreme SNR and degenerate channels have finite answers",
    },
    "channel_models": {
        "Doubled": "power is what mean_gains declares",
        "Unseeded": "they follow from the request",
        "Frozen": "realisations differ",
        "Precise": "channels have their shape and are finite",
        "Neighbours": "stations do not influence each other",
    },
    "loss_schemes": {
        "Detached": "gradients are those of differences",
        "Averaged": "one loss for each realisation, and 1 + I + B tasks",
        "Mixed": "realisations do not influence each other",
        "Upside": "more rate and less violation never cost",
    },
    "policies": {
        "Loud": "beams keep the power budget",
        "Soft": "allocation is 0 or 1 in evaluation, between in training",
        "Crowd": "realisations do not influence each other",
        "Deaf": "gradients reach every layer",
    },
    "references": {"Louder": "beams keep the budget, allocation is 0 or 1"},
}


@pytest.fixture(scope="module")
def mutants(tmp_path_factory: pytest.TempPathFactory) -> Importer:
    folder = tmp_path_factory.mktemp("mutants")
    (folder / "mutants_of_test.py").write_text(MUTANTS)
    return Importer(folder)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in BROKEN.items() for name in names])
def test_what_breaks_its_contract_is_found(kind: str, name: str, mutants: Importer) -> None:
    option = mutants.resolve(REGISTRIES[kind], f"mutants_of_test:{name}")
    named = {check.name: check for check in checks_of(kind)}
    result = result_of(named[BROKEN[kind][name]], Subject(kind, option()))
    assert result.status == "fail" and result.reason and "\n" not in result.reason


def test_a_detector_that_sees_what_was_sent_is_too_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """An oracle: the slots that are made carry their messages."""
    from cellfree_sim.conformance import problems
    from cellfree_sim.detection.detector import Detection, DetectorOptions
    from cellfree_sim.scenario.extensions import DETECTORS

    sent: list[torch.Tensor] = []
    plain = problems.slots

    def slots(*given: Any, **options: Any) -> Any:
        batch = plain(*given, **options)
        sent.append(batch.messages)
        return batch

    class Oracle(DetectorOptions):
        def build(self, problem: Any) -> Any:
            return lambda y, h, n: Detection.hard(sent[-1], len(problem.constellation))

    monkeypatch.setattr(problems, "slots", slots)
    named = {check.name: check for check in checks_of("mimo_detectors")}
    result = result_of(named["no fewer errors than the best there can be"], Subject("mimo_detectors", Oracle()))
    assert result.status == "fail" and "does it see what was sent?" in result.reason
    assert DETECTORS.fits(Oracle)


def test_the_yardstick_is_the_best_there_is() -> None:
    """Symbols of the largest posterior against those of the sphere decoder, which finds the likeliest vector."""
    from cellfree_sim.conformance import problems
    from cellfree_sim.detection import create_detector

    problem = problems.tiny("mimo")
    batch = problems.slots(problem, 3000)
    best = problems.errors(problems.best(problem, batch), problem, batch)
    sphere = create_detector("sphere", problem)(batch.y, batch.h, batch.noise_variance)
    gap = problems.errors(sphere, problem, batch) - best
    assert 0 <= float(gap.mean()) < 0.02
    alone = create_detector("ep", problem.changed(n_tx=1))
    one = problems.slots(problem.changed(n_tx=1), 500)
    exact = problems.best(problem.changed(n_tx=1), one).messages
    assert np.mean((alone(one.y, one.h, one.noise_variance).messages == exact).numpy()) > 0.998
