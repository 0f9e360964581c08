"""The protocol of detectors: soft and hard answers, options, and what wrong input gets."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from pydantic import Field

from cellfree_sim.detection import Detection, Detector, DetectorOptions, create_detector, list_detectors
from cellfree_sim.errors import DetectorError
from cellfree_sim.registry import Registry
from cellfree_sim.scenario import extensions
from cellfree_sim.uplink import MimoProblem

PROBLEM = MimoProblem(4, 2)


class Correlator(DetectorOptions):
    """Matched filter: scores -|x_hat - x|^2 / damping."""

    name: Literal["correlator"] = "correlator"
    damping: float = Field(1.0, gt=0, le=10)
    overloaded = False

    def build(self, problem):
        def detect(y, h, noise_variance):
            estimate = (h.mH @ y.unsqueeze(-1)) / h.abs().square().sum(1).unsqueeze(-1)
            return Detection.of(-(estimate - problem.constellation).abs().square() / self.damping)

        return detect


@pytest.fixture(autouse=True)
def _only_one(monkeypatch):
    extensions.DETECTORS.names()  # whose modules register with it when they are first imported
    registry = Registry("detector", "cellfree_sim.detection.mimo")
    registry.register(Correlator)
    monkeypatch.setitem(extensions.REGISTRIES, "mimo_detectors", registry)


@pytest.fixture
def batch():
    return PROBLEM.sample(6, 20.0, generator=torch.Generator().manual_seed(1))


def test_a_detector_is_created_by_name_with_options(batch):
    made = create_detector("correlator", PROBLEM, damping=2.0)
    assert isinstance(made, Detector) and made.name == "correlator" and made.options.damping == 2.0
    assert repr(made) == "Detector(Correlator(name='correlator', damping=2.0))"
    found = made(batch.y, batch.h, batch.noise_variance)
    assert found.logits.shape == (6, 2, 16) and found.logits.dtype == torch.float32 and found.soft
    assert torch.allclose(found.logits.exp().sum(-1), torch.ones(6, 2))
    assert found.messages.shape == (6, 2) and found.messages.dtype == torch.int64
    assert not found.logits.requires_grad
    assert torch.equal(made(batch.y, batch.h, 0.1).logits, found.logits)
    assert list_detectors() == ["correlator"]


def test_no_slots_get_no_answers(batch):
    found = create_detector("correlator", PROBLEM)(batch.y[:0], batch.h[:0], batch.noise_variance[:0])
    assert found.logits.shape == (0, 2, 16) and found.messages.shape == (0, 2)
    assert found.llrs(PROBLEM.bits).shape == (0, 2, 4)


def test_bit_ratios_are_those_of_the_summed_probabilities():
    scores = torch.randn(3, 2, 16, generator=torch.Generator().manual_seed(2))
    found = Detection.of(scores)
    bits = PROBLEM.bits
    probability = found.logits.double().exp()
    for k in range(4):
        one = probability[..., bits[:, k] == 1].sum(-1)
        assert torch.allclose(found.llrs(bits)[..., k].double(), (one / (1 - one)).log(), atol=1e-5)


def test_bit_ratios_of_a_certain_answer_are_infinite_and_not_nan():
    scores = torch.full((1, 1, 4), float("-inf"))
    scores[..., 2] = 0
    assert Detection.of(scores).llrs(MimoProblem(1, 1, "qpsk").bits).tolist() == [[[float("inf"), float("-inf")]]]


def test_hard_decisions_vote():
    decisions = [torch.tensor([[3, 0]]), torch.tensor([[3, 1]]), torch.tensor([[5, 1]])]
    votes = [Detection.hard(each, 16) for each in decisions]
    assert not votes[0].soft and torch.isfinite(votes[0].logits).all()
    assert torch.allclose(votes[0].logits.exp().sum(-1), torch.ones(1, 2))
    assert all(torch.equal(vote.messages, each) for vote, each in zip(votes, decisions, strict=True))
    assert sum(vote.logits for vote in votes).argmax(-1).tolist() == [[3, 1]]
    assert (votes[0].llrs(PROBLEM.bits)[0, 0] > 0).tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("corelator", {}, "detector: found 'corelator'; allowed: correlator; did you mean 'correlator'?"),
        (7, {}, "detector: found 7; allowed: correlator"),
        (
            "correlator",
            {"dampin": 1.0},
            "detector 'correlator': unknown option 'dampin'; allowed: damping; did you mean 'damping'?",
        ),
        ("correlator", {"damping": 0}, "detector 'correlator': damping: found 0; allowed: greater than 0"),
        ("correlator", {"damping": "a"}, "detector 'correlator': damping: found 'a'; allowed: a valid number"),
    ],
)
def test_wrong_names_and_options_are_one_line(name, options, text):
    with pytest.raises(DetectorError) as error:
        create_detector(name, PROBLEM, **options)
    assert str(error.value) == text


def spoilt(values, number):
    values = values.clone()
    values[2] = number
    return values


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda y, h, n: (y.numpy(), h, n), "y: found ndarray; expected a complex64 tensor [slots, antennas]"),
        (lambda y, h, n: (y.to(torch.complex128), h, n), "y: found complex128 [6, 4]; expected a complex64 tensor"),
        (lambda y, h, n: (y[0], h, n), "y: found complex64 [4]; expected a complex64 tensor [slots, antennas]"),
        (
            lambda y, h, n: (y, h[0], n),
            "h: found complex64 [4, 2]; expected a complex64 tensor [slots, antennas, users]",
        ),
        (lambda y, h, n: (y, h, n.double()), "noise_variance: found float64 [6]; expected a float32 tensor [slots]"),
        (lambda y, h, n: (y, h, "x"), "noise_variance: found str; expected a float32 tensor [slots]"),
        (lambda y, h, n: (y, h.to("meta"), n), "h: found on meta; expected on cpu, where y is"),
        (
            lambda y, h, n: (y, h.mT.contiguous(), n),
            "found y [6, 4], h [6, 2, 4], noise_variance [6]; expected y [S, R]",
        ),
        (lambda y, h, n: (y, h, n[:5]), "found y [6, 4], h [6, 4, 2], noise_variance [5]; expected y [S, R]"),
        (lambda y, h, n: (y, h[..., :0], n), "h: found [6, 4, 0]; expected at least one antenna and one user"),
        (
            lambda y, h, n: (y[:, :1], h[:, :1], n),
            "h: found 2 users and 1 antennas; expected at most one user per antenna",
        ),
        (lambda y, h, n: (spoilt(y, float("nan")), h, n), "y: found a value that is not finite; expected finite"),
        (lambda y, h, n: (y, spoilt(h, float("-inf")), n), "h: found a value that is not finite; expected finite"),
        (lambda y, h, n: (y, h, spoilt(n, 0.0)), "noise_variance: found 0; expected positive numbers"),
        (lambda y, h, n: (y, h, -1), "noise_variance: found -1; expected positive numbers"),
        (lambda y, h, n: (y, 0 * h, n), "gave what is not a number; its input may be degenerate"),
    ],
)
def test_wrong_input_is_refused_in_one_line_and_the_next_is_answered(batch, change, text):
    made = create_detector("correlator", PROBLEM)
    with pytest.raises(DetectorError) as error:
        made(*change(batch.y, batch.h, batch.noise_variance))
    assert str(error.value).startswith(f"detector 'correlator': {text}") and "\n" not in str(error.value)
    assert len(made(batch.y, batch.h, batch.noise_variance).logits) == 6


def test_failing_linear_algebra_is_one_line(batch, monkeypatch):
    made = create_detector("correlator", PROBLEM)
    monkeypatch.setattr(made, "_algorithm", lambda y, h, n: Detection.of(torch.linalg.cholesky(-torch.eye(2))))
    with pytest.raises(DetectorError, match="its linear algebra failed; its input may be degenerate"):
        made(batch.y, batch.h, batch.noise_variance)
