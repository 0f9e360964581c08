"""The likelihood kept up to date beside determinants and inverses, and what coordinate ascent must have reached."""

from __future__ import annotations

import pytest
import torch

from cellfree_sim.detection.mmtc.algorithms.covariance import Setting, ascend, genie, relaxed, relaxed_ratios
from cellfree_sim.detection.mmtc.algorithms.denoiser import GainGrid, Prior
from cellfree_sim.detection.mmtc.algorithms.enumeration import enumerated, joint_log_posterior, joint_states
from cellfree_sim.detection.mmtc.algorithms.likelihood import Field
from cellfree_sim.uplink import MmtcProblem

SMALL = MmtcProblem(devices=4, pilot_length=3, antennas=4, activity=0.3)
SPREAD = SMALL.changed(stations=2)


def setting_of(problem, count, seed=1):
    batch = problem.sample(count, generator=torch.Generator().manual_seed(seed))
    grid = GainGrid.known(batch.h)
    return Setting.of(batch.y, batch.noise_variance, problem.operator, grid, Prior.of(problem)), batch


def assert_same(one, two):
    for name in ("inverse", "filtered", "gram", "energy"):
        a, b = getattr(one, name), getattr(two, name)
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-8 * b.abs().max()), name


@pytest.mark.parametrize("problem", [SMALL, SPREAD, SMALL.changed(bits=2)])
def test_a_field_that_is_changed_is_that_which_is_made_anew(problem):
    setting, _ = setting_of(problem, 5)
    field = Field.silent(setting.received, setting.pilots, setting.noise)
    gains = torch.zeros_like(field.gram.real[..., 0])
    assert_same(field, Field.of(setting.received, setting.pilots, setting.noise, gains)[0])
    generator = torch.Generator().manual_seed(2)
    for _ in range(6):
        index = torch.randint(gains[0, 0].numel(), (5,), generator=generator)
        at = index[:, None, None].expand(-1, gains.shape[1], 1)
        now = gains.flatten(2).gather(-1, at)
        amount = 100 * torch.rand(now.shape, generator=generator, dtype=now.dtype) - 0.5 * now
        gains = gains.flatten(2).scatter_add(-1, at, amount).reshape(gains.shape)
        field.add(index, amount.squeeze(-1))
    assert_same(field, Field.of(setting.received, setting.pilots, setting.noise, gains)[0])


def test_the_inverse_is_the_inverse():
    setting, _ = setting_of(SPREAD, 3)
    gains = 50 * torch.rand(3, 2, 4, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    field, value = Field.of(setting.received, setting.pilots, setting.noise, gains)
    rows = setting.pilots.flatten(0, 1)
    for frame in range(3):
        total = 0.0
        for station in range(2):
            covariance = (rows.T * gains[frame, station].flatten()) @ rows.conj() + torch.eye(3)
            y = setting.received[frame, station]
            assert torch.allclose(field.inverse[frame, station], torch.linalg.inv(covariance), atol=1e-10)
            sample = torch.einsum("la,ka->lk", y, y.conj())
            fit = torch.trace(torch.linalg.solve(covariance, sample)).real
            total -= 2 * torch.logdet(covariance).real + fit
        assert value[frame].item() == pytest.approx(total.item(), rel=1e-9)


@pytest.mark.parametrize("problem", [SMALL, SPREAD])
def test_the_genie_is_what_enumeration_says_when_all_others_are_known(problem):
    setting, batch = setting_of(problem, 20)
    told = genie(setting, batch.messages).log_softmax(-1)
    joint = joint_states(4, 3)
    score = joint_log_posterior(setting, joint)  # [S, 81]
    place = 3 ** torch.arange(3, -1, -1)
    for device in range(4):
        changed = batch.messages.unsqueeze(1).repeat(1, 3, 1)
        changed[:, :, device] = torch.arange(3)
        expected = score.gather(-1, (changed * place).sum(-1)).log_softmax(-1)
        assert torch.allclose(told[:, device], expected, atol=1e-7)


def test_enumeration_adds_up_and_the_genie_makes_fewer_errors():
    setting, batch = setting_of(SMALL, 400)
    exact = enumerated(setting)
    assert torch.allclose(
        exact.logsumexp(-1), exact.logsumexp(-1)[:, :1].expand(-1, 4)
    )  # the evidence, from each device
    wrong = exact.argmax(-1) != batch.messages
    better = genie(setting, batch.messages).argmax(-1) != batch.messages
    assert better.sum() < wrong.sum()
    believed = 1 - exact.softmax(-1).amax(-1)  # a posterior knows how often it is wrong
    spread = (believed * (1 - believed)).sum().sqrt()
    assert abs(believed.sum() - wrong.sum()) < 4 * spread


@pytest.mark.parametrize("problem", [SMALL, SPREAD])
def test_ascent_ends_where_no_single_change_helps_and_mostly_at_the_top(problem):
    setting, batch = setting_of(problem, 200)
    end = ascend(setting, torch.zeros_like(batch.messages), steps=100)
    score = joint_log_posterior(setting, joint_states(4, 3))
    place = 3 ** torch.arange(3, -1, -1)
    reached = score.gather(-1, (end.choices * place).sum(-1, keepdim=True)).squeeze(-1)
    shift = (reached - end.value).mean()
    assert torch.allclose(reached, end.value + shift, atol=1e-6)
    for device in range(4):
        for state in range(3):
            other = end.choices.clone()
            other[:, device] = state
            assert (score.gather(-1, (other * place).sum(-1, keepdim=True)).squeeze(-1) <= reached + 1e-6).all()
    assert (reached >= score.amax(-1) - 1e-6).float().mean() > 0.8
    again = ascend(setting, joint_states(4, 3)[score.argmax(-1)], steps=100)
    assert torch.allclose(again.value + shift, score.amax(-1), atol=1e-6)  # the top is an end
    assert (end.better(again).value >= end.value).all()


def test_relaxed_gains_are_a_maximum():
    """By the gradient of the likelihood, which must be 0 where gains are positive, and not above 0 elsewhere."""
    problem = MmtcProblem(devices=8, pilot_length=6, antennas=6, activity=0.3)
    setting, batch = setting_of(problem, 6)
    gains, field = relaxed(setting, steps=5000, tolerance=1e-9)
    assert (gains >= 0).all()
    free = gains.clone().requires_grad_()
    rows = setting.pilots.flatten(0, 1)
    covariance = (rows.T * free.flatten(2)[:, 0, None]) @ rows.conj() + torch.eye(6)
    sample = setting.received[:, 0] @ setting.received[:, 0].mH
    value = -6 * torch.logdet(covariance).real - torch.linalg.solve(covariance, sample).diagonal(
        dim1=-2, dim2=-1
    ).real.sum(-1)
    (slope,) = torch.autograd.grad(value.sum(), free)
    worth = slope * (gains + 1)  # of a relative change
    assert worth[gains > 0].abs().max() < 1e-2 and slope.max() < 1e-2
    assert_same(field, Field.of(setting.received, setting.pilots, setting.noise, gains)[0])
    ratios = relaxed_ratios(setting, gains, field)[..., 0]
    for device in (0, 5):
        rest = gains.clone()
        rest[:, :, device] = 0
        base = Field.of(setting.received, setting.pilots, setting.noise, rest)[1]
        for pilot in range(2):
            more = rest.clone()
            more[:, 0, device, pilot] = batch.h[:, device]
            with_it = Field.of(setting.received, setting.pilots, setting.noise, more)[1]
            assert torch.allclose(ratios[:, device, pilot], with_it - base, rtol=1e-5, atol=1e-5)


def test_unknown_gains_are_chosen_with_the_states():
    """On a grid of three gains no single change of a pilot or gain is better than the end of ascent."""
    setting, batch = setting_of(SMALL, 30)
    values = setting.grid.values * torch.tensor([0.3, 1.0, 3.0])
    grid = GainGrid(values, torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64).log())
    setting = Setting(setting.received, setting.noise, setting.pilots, grid, setting.prior)
    end = ascend(setting, torch.zeros_like(batch.messages), steps=100)
    for device in range(4):
        for choice in range(7):
            other = end.choices.clone()
            other[:, device] = choice
            assert (setting.field(other)[1] <= end.value + 1e-6).all()
    chance = end.scores.softmax(-1)
    states = torch.stack([chance[..., 0], chance[..., 1:4].sum(-1), chance[..., 4:].sum(-1)], dim=-1)
    assert torch.allclose(setting.logits(end.scores).softmax(-1), states)
