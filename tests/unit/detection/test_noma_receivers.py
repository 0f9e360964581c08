"""NOMA receivers, all that are registered: against enumeration in NumPy, against each other, and published figures."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from cellfree_sim.detection import create_detector, list_detectors, plain_noma
from cellfree_sim.detection.noma.algorithms.common import Code
from cellfree_sim.detection.noma.algorithms.exhaustive import log_marginals
from cellfree_sim.detection.noma.algorithms.gaussian import Coordinates
from cellfree_sim.detection.noma.algorithms.message_passing import RealCoordinates
from cellfree_sim.errors import DetectorError
from cellfree_sim.scenario.extensions import NOMA_DETECTORS
from cellfree_sim.uplink import Codebook, NomaProblem, noma_error_rates

UNEQUAL = (0.8, 0.8, 0.8, 0.4, 0.4, 0.4)
MIXED = (1, 1, 1, 2, 2, 2)
OURS = [name for name in list_detectors("noma") if not getattr(NOMA_DETECTORS.type_of(name), "learned", False)]
BLIND = [name for name in OURS if not getattr(NOMA_DETECTORS.type_of(name), "told", False)]
ANY_CODE = ["ml", "kbest", "ep", "pda"]
PLAIN = [("mmse", {}), *(("mmse-sic", {"order": order}) for order in ("sinr", "power", "reliability"))]


def slots(problem, count, snr_db, seed=1):
    return problem.sample(count, snr_db, generator=torch.Generator().manual_seed(seed))


def answers(problem, batch):
    """What was sent, silence as the last answer."""
    return torch.where(batch.active, batch.messages, max(problem.counts))


def wrong(name, problem, batch, **options):
    """Wrong answers of each frame."""
    found = create_detector(name, problem, **options)(batch.y, batch.h, batch.noise_variance).messages
    return (found != answers(problem, batch)).sum(-1).double()


def exact(problem, batch):
    """ln P of each answer by enumeration in NumPy, float64 [S, N, A]."""
    words = problem.book.codewords.astype(complex)
    if problem.silence:
        words = np.concatenate([words, np.zeros_like(words[:, :1])], axis=1)
    g = batch.h.numpy()[:, :, None] * np.tile(words, (1, 1, problem.antennas))
    prior, noise = problem.log_prior.double().numpy(), batch.noise_variance.tolist()
    y = batch.y.numpy().astype(complex)
    with np.errstate(divide="ignore"):
        return np.log([plain_noma.posterior(*frame, prior) for frame in zip(y, g, noise, strict=True)])


SMALL = [
    NomaProblem(3, 2, (1, 2, 1), (0.3, 0.9, 0.5), "flat", "wbe"),
    NomaProblem(3, 2, (1, 2, 2), None, "rayleigh", "random", antennas=2),
    NomaProblem(3, 4, (2, 1, 2), 0.6, "rayleigh", "scma", received_power_db=(0.0, -3.0, 2.0)),
    NomaProblem(3, 2, 2, 1.0, "awgn", "grassmannian", energy="resources"),
]


@pytest.mark.parametrize("problem", SMALL)
@pytest.mark.parametrize(("name", "options"), [("ml", {}), ("kbest", {"survivors": 200})])
def test_the_posterior_is_that_of_enumeration(problem, name, options):
    """K-best is exact, too, where it keeps all paths."""
    batch = slots(problem, 40, 8.0)
    found = create_detector(name, problem, **options)(batch.y, batch.h, batch.noise_variance).logits.numpy()
    expected = exact(problem, batch)
    likely = expected > -15
    assert np.array_equal(np.isneginf(found), np.broadcast_to(np.isneginf(problem.log_prior.numpy()), found.shape))
    assert np.allclose(found[likely], expected[likely], atol=2e-3)
    assert (found[~likely] < -10).all()


@pytest.mark.parametrize("name", ["mpa", "ep", "pda", "mmse-sic"])
def test_iterative_receivers_decide_nearly_as_enumeration_does(name):
    """Six users on four resources at 14 dB, messages and silence; the bound on disagreement is the receiver's own."""
    codebook, allowed = ("scma", 0.002) if name == "mpa" else ("wbe", 0.04)
    problem = NomaProblem(4, 4, (1, 1, 2, 2), UNEQUAL[1:5], "rayleigh", codebook)
    batch = slots(problem, 2000, 14.0)
    args = batch.y, batch.h, batch.noise_variance
    best = create_detector("ml", problem)(*args).messages
    assert (create_detector(name, problem)(*args).messages != best).float().mean() < allowed


@pytest.mark.parametrize(("name", "options"), PLAIN)
def test_linear_receivers_decide_as_plain_numpy_does(name, options):
    """An inverse for each user and stage there, one posterior that is conditioned here."""
    problem = NomaProblem(6, 4, MIXED, UNEQUAL, "flat", "musa", received_power_db=(3.0, 2.0, 1.0, 0.0, -1.0, -2.0))
    batch = slots(problem, 150, 15.0)
    other = plain_noma.detect(name, problem, batch.y, batch.h, batch.noise_variance, **options)
    mine = create_detector(name, problem, **options)(batch.y, batch.h, batch.noise_variance).messages
    assert (mine.numpy() == other).mean() > 0.998


def test_message_passing_decides_as_plain_numpy_does():
    problem = NomaProblem(6, 4, MIXED, None, "rayleigh", "scma")
    batch = slots(problem, 15, 10.0)
    other = plain_noma.detect("mpa", problem, batch.y, batch.h, batch.noise_variance)
    assert np.array_equal(create_detector("mpa", problem)(batch.y, batch.h, batch.noise_variance).messages, other)


def test_message_passing_is_exact_on_a_tree():
    """User 0 on the first resource, user 1 on both, user 2 on the second: no loop."""
    a = 1 / math.sqrt(2)
    words = [
        [[1, 0], [-1, 0], [1j, 0], [-1j, 0]],
        [[a, a], [-a, -a], [a, -a], [-a, a]],
        [[0, 1], [0, 1j], [0, -1], [0, -1j]],
    ]
    problem = NomaProblem(3, 2, 2, 0.7, "flat", Codebook(words))
    batch = slots(problem, 60, 6.0)
    found = create_detector("mpa", problem)(batch.y, batch.h, batch.noise_variance).logits.numpy()
    assert np.allclose(found, exact(problem, batch), atol=1e-3)


@pytest.mark.parametrize(("channel", "snr_db"), [("awgn", 3.0), ("rayleigh", 8.0)])
def test_message_passing_loses_less_than_a_tenth_of_a_decibel(channel, snr_db):
    """Five iterations beside exhaustive MAP with 0.1 dB less, for the common sparse codebook, on the same frames."""
    problem = NomaProblem(6, 4, MIXED, None, channel, "scma", energy="resources")
    batch = slots(problem, 20000, snr_db)
    weaker = slots(problem, 20000, snr_db - 0.1)
    gap = wrong("mpa", problem, batch) - wrong("ml", problem, weaker)
    assert gap.mean() < 2 * gap.std() / math.sqrt(len(gap))


@pytest.mark.parametrize("name", [name for name in BLIND if name != "mpa"])
def test_a_single_user_has_the_exact_posterior(name):
    problem = NomaProblem(1, 3, 2, 0.4, "rayleigh", "random")
    batch = slots(problem, 50, 3.0)
    found = create_detector(name, problem)(batch.y, batch.h, batch.noise_variance).logits.numpy()
    assert np.allclose(found, exact(problem, batch), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", BLIND)
@pytest.mark.parametrize("snr_db", [-20.0, 60.0, 150.0])
def test_extreme_noise_and_users_out_of_reach_give_finite_answers(name, snr_db):
    problem = NomaProblem(6, 4, 2, 0.5, "flat", "scma" if name == "mpa" else "wbe")
    batch = slots(problem, 20, snr_db)
    h = batch.h.clone()
    h[:10, 2] = 0
    h[5:, 1] = h[5:, 0]
    logits = create_detector(name, problem)(batch.y, h, batch.noise_variance).logits
    assert logits.isfinite().all()
    if snr_db < 0:  # nothing is known but how often users send
        assert torch.allclose(logits[:10, 2].exp(), problem.log_prior[2].exp().expand(10, -1), atol=0.02)


@pytest.mark.parametrize("name", ["ml", "kbest"])
def test_one_user_much_stronger_than_noise_hides_no_other(name):
    """100 dB above the noise, the others 20: decisions as by enumeration in double precision, but for a few."""
    problem = NomaProblem(3, 2, 2, 0.5, "flat", received_power_db=(80.0, 0.0, 0.0))
    batch = slots(problem, 100, 20.0)
    found = create_detector(name, problem)(batch.y, batch.h, batch.noise_variance).messages
    assert (found.numpy() != exact(problem, batch).argmax(-1)).mean() < 0.02


@pytest.mark.parametrize("name", [name for name in BLIND if name not in ("mf", "mmse")])
def test_without_noise_to_speak_of_nothing_is_mistaken(name):
    """Four users on four resources; cancellation decides its first users amid the others, so it is given fewer."""
    users = 2 if name == "mmse-sic" else 4
    problem = NomaProblem(users, 4, 1, None, "rayleigh", "scma" if name == "mpa" else "wbe")
    batch = slots(problem, 300, 40.0)
    assert wrong(name, problem, batch).mean() < 0.01


def test_published_bit_error_rates_of_the_signatures_setting():
    """Flat fading at 20 dB, users active with 0.8 and 0.4, QPSK, WBE: within 3.5 standard errors, 12 000 frames.

    Independent figures: matched filter 0.10, MMSE 0.066, SIC by SINR 1.17e-2 and by reliability 9.2e-3, K-best with 16
    survivors 4.8e-3 and MAP 4.7e-3; their own errors are taken for 3 % and 5 %.
    """
    problem = NomaProblem(6, 4, 2, UNEQUAL, "flat", "wbe")
    expected = (("mf", {}, 0.103, 0.03), ("mmse", {}, 0.066, 0.03), ("mmse-sic", {"order": "sinr"}, 1.17e-2, 0.05),
                ("mmse-sic", {}, 9.2e-3, 0.05), ("kbest", {}, 4.8e-3, 0.05))  # fmt: skip
    for name, options, published, spread in expected:
        ber = noma_error_rates(
            problem, create_detector(name, problem, **options), 20.0, frames_max=12000, target_errors=None
        ).ber
        assert abs(ber.value - published) < 3.5 * math.hypot(ber.standard_error, spread * published), (name, ber.value)


def test_published_block_error_rates_of_the_sparse_codebook():
    """Rates of 1 and 2 bits, 4 units of energy: 1.3e-2 / 2.4e-2 in AWGN at 2 dB, 5.5e-3 / 1.5e-2 in fading at 8 dB."""
    for channel, snr_db, low, high in (("awgn", 2.0, 1.3e-2, 2.4e-2), ("rayleigh", 8.0, 5.5e-3, 1.5e-2)):
        problem = NomaProblem(6, 4, MIXED, None, channel, "scma", energy="resources")
        found = noma_error_rates(problem, create_detector("mpa", problem), snr_db, frames_max=16000, target_errors=None)
        for rate, published in ((1, low), (2, high)):
            bler = found.bler_by_rate[rate]
            assert abs(bler.value - published) < 3.5 * math.hypot(bler.standard_error, 0.05 * published), bler.value


def test_order_of_merit():
    """On the same frames: k-best is exhaustive MAP within 5 %, and each of the others is worse than the next."""
    problem = NomaProblem(6, 4, 2, UNEQUAL, "flat", "wbe")
    batch = slots(problem, 6000, 20.0)
    ladder = [("mf", {}), ("mmse", {}), ("mmse-sic", {"order": "power"}), ("mmse-sic", {"order": "sinr"}),
              ("mmse-sic", {"order": "reliability"}), ("kbest", {})]  # fmt: skip
    found = [wrong(name, problem, batch, **options) for name, options in ladder]
    for worse, better in itertools.pairwise(found):
        gap = worse - better
        assert gap.mean() > 2 * gap.std() / math.sqrt(len(gap))
    few = slots(problem, 2000, 20.0, seed=2)
    ratio = wrong("kbest", problem, few).sum() / wrong("ml", problem, few).sum()
    assert 0.95 < ratio < 1.05
    for name in ("ep", "pda"):
        assert wrong(name, problem, few).mean() < 0.5 * wrong("mmse", problem, few).mean()


def test_an_oracle_knows_who_is_active_and_floors_where_more_are_than_resources():
    """P(more than 4 of the users active) = 0.205; its bit error rate is 2.6e-2 at 20 dB by an independent figure."""
    problem = NomaProblem(6, 4, 2, UNEQUAL, "flat", "wbe")
    oracle = create_detector("oracle-ls", problem)
    rates = noma_error_rates(problem, oracle, 20.0, frames_max=12000, target_errors=None)
    assert rates.missed.value == rates.false_alarms.value == 0
    assert abs(rates.ber.value - 2.6e-2) < 3.5 * math.hypot(rates.ber.standard_error, 0.03 * 2.6e-2)
    batch = slots(problem, 4000, 60.0)
    few = batch.active.sum(-1) <= 4
    h = batch.h * batch.active.unsqueeze(-1)
    right = (oracle(batch.y, h, batch.noise_variance).messages == answers(problem, batch)).all(-1)
    assert 1 - few.float().mean() == pytest.approx(0.205, abs=0.025)
    assert right[few].float().mean() > 0.99 and right[~few].float().mean() < 0.9


def test_gradients_of_the_exact_posterior_are_those_of_differences():
    """In float64, by the codewords of three users with silence, at places where both are finite."""
    generator = torch.Generator().manual_seed(4)
    y = torch.randn(3, 2, dtype=torch.complex128, generator=generator)
    words = torch.randn(3, 3, 3, 2, dtype=torch.complex128, generator=generator).requires_grad_()
    noise = torch.tensor([0.5, 0.8, 0.3], dtype=torch.float64, requires_grad=True)
    prior = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.6, 0.3], [0.5, 0.5, 0.0]], dtype=torch.float64).log()

    def loss(words, noise):
        return log_marginals(y, words, noise, prior)[:, :, :2].sum(dim=(1, 2))

    assert torch.autograd.gradcheck(loss, (words, noise))


@pytest.mark.parametrize("codebook", ["wbe", "scma", "random"])
@pytest.mark.parametrize("kind", [Coordinates, RealCoordinates])
def test_coordinates_are_another_way_to_write_the_codewords(codebook, kind):
    code = Code.of(NomaProblem(6, 4, MIXED, UNEQUAL, codebook=codebook))
    made = kind(code)
    words = (made.values.to(torch.complex64) @ made.basis) + made.mean.unsqueeze(1)
    real = code.log_prior > -1e29
    assert torch.allclose(words[real], code.words[real], atol=1e-5)
    weight = code.log_prior.exp()
    assert torch.allclose((weight.unsqueeze(-1) * made.values).sum(1).abs(), torch.zeros(()), atol=1e-5)
    power = (weight.unsqueeze(-1) * made.values.abs().square()).sum(1)
    assert torch.allclose(power, (made.basis.abs().sum(-1) > 0).float(), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "problem", "text"),
    [
        (
            "mmse",
            NomaProblem(6, 4, codebook="scma"),
            "codebook 'scma', whose codewords are no signature times a symbol",
        ),
        ("mpa", NomaProblem(7, 4, 2), "16384 combinations of messages on one resource of the codebook 'wbe'"),
        ("ml", NomaProblem(12, 8, 2), "16777216 combinations of 12 users' messages; allowed: at most 4194304"),
        ("mmse-sik", NomaProblem(6, 4), "detector: found 'mmse-sik'; allowed: "),
    ],
)
def test_a_receiver_that_does_not_fit_is_refused_in_one_line(name, problem, text):
    with pytest.raises(DetectorError, match=text) as error:
        create_detector(name, problem)
    assert "\n" not in str(error.value)


def test_wrong_options_and_inputs_are_refused():
    problem = NomaProblem(6, 4)
    with pytest.raises(DetectorError, match="order: found 'snr'; allowed: 'sinr', 'power' or 'reliability'"):
        create_detector("mmse-sic", problem, order="snr")
    with pytest.raises(DetectorError, match="unknown option 'survivor'; allowed: survivors"):
        create_detector("kbest", problem, survivor=3)
    batch = slots(problem, 3, 10.0)
    detector = create_detector("kbest", problem)
    with pytest.raises(DetectorError, match="h: found 5 users; expected 6, as the codebook has"):
        detector(batch.y, batch.h[:, :5], batch.noise_variance)
    with pytest.raises(DetectorError, match="y: found a value that is not finite"):
        detector(batch.y * math.nan, batch.h, batch.noise_variance)
    with pytest.raises(DetectorError, match="noise_variance: found 0; expected positive numbers"):
        detector(batch.y, batch.h, 0.0)
