"""Self-supervised losses against (11) to (13) in plain arithmetic, their branch points, and (16) by hand."""

from __future__ import annotations

import math

import pytest
import torch

from cellfree_sim.downlink import losses

POINTS = [-1e4, -25.0, -3.0, -1.0001, -1.0, -0.9999, -0.4, 0.0, 0.05, 0.11, 0.2, 1.0, 40.0]


def at(loss, x, *options):
    """Value and slope of a loss at x, in float64."""
    point = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    value = loss(point, *options)
    (slope,) = torch.autograd.grad(value, point)
    return value.item(), slope.item()


@pytest.mark.parametrize("x", POINTS)
@pytest.mark.parametrize("x1", [-1.0, -0.25, -4.0])
def test_nfl_is_11(x, x1):
    value, slope = (x / x1**2 - 1 / x1, 1 / x1**2) if x >= x1 else (-1 / x, 1 / x**2)
    assert at(losses.nfl, x, x1) == pytest.approx((value, slope), rel=1e-12, abs=1e-15)
    tangent = value - 1 / x1 if x >= x1 else value
    assert at(losses.nfl_tangent, x, x1) == pytest.approx((tangent, slope), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("x", POINTS)
@pytest.mark.parametrize("x2", [0.0, -2.0, 1.5])
def test_el_is_12(x, x2):
    value, slope = (math.exp(x2) * (x + 1 - x2), math.exp(x2)) if x >= x2 else (math.exp(x), math.exp(x))
    assert at(losses.el, x, x2) == pytest.approx((value, slope), rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("x", POINTS)
@pytest.mark.parametrize("x3", [0.11, 1.0])
def test_huber_is_13(x, x3):
    far = abs(x) >= x3
    value, slope = (abs(x) - x3 / 2, math.copysign(1, x)) if far else (x**2 / (2 * x3), x / x3)
    assert at(losses.huber, x, x3) == pytest.approx((value, slope), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("x", [x for x in POINTS if x != 0])
def test_the_negative_fraction_is_24(x):
    assert at(losses.negative_fraction, x) == pytest.approx((-1 / x, 1 / x**2), rel=1e-12)
    if x < -1:
        assert at(losses.negative_fraction, x) == pytest.approx(at(losses.nfl, x), rel=1e-12)


def test_the_negative_fraction_is_not_finite_at_its_pole():
    assert not losses.negative_fraction(torch.zeros(1)).isfinite().any()


@pytest.mark.parametrize("x1", [-1.0, -0.25, -4.0])
def test_nfl_as_printed_jumps_at_x1_and_its_tangent_version_does_not(x1):
    step = 1e-9
    below, above = at(losses.nfl, x1 - step, x1)[0], at(losses.nfl, x1, x1)[0]
    assert below == pytest.approx(-1 / x1, rel=1e-6) and above == 0.0
    below, above = at(losses.nfl_tangent, x1 - step, x1), at(losses.nfl_tangent, x1, x1)
    assert below == pytest.approx(above, rel=1e-6)


@pytest.mark.parametrize(("loss", "edge"), [(losses.el, -2.0), (losses.el, 0.0), (losses.huber, 0.11)])
def test_el_and_huber_are_smooth_where_their_branches_meet(loss, edge):
    assert at(loss, edge - 1e-9, edge) == pytest.approx(at(loss, edge, edge), abs=1e-7)


def test_el_with_x2_zero_is_the_exponential_on_negative_arguments():
    x = torch.linspace(-30, -1e-6, 200, dtype=torch.float64)
    torch.testing.assert_close(losses.el(x, 0.0), x.exp(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("loss", [losses.nfl, losses.nfl_tangent, losses.el, losses.huber])
def test_losses_and_slopes_are_finite_in_single_precision_far_out(loss):
    x = torch.tensor([-3e4, -100.0, -1.0, 0.0, 0.11, 100.0, 3e4], requires_grad=True)
    value = loss(x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    assert value.dtype == torch.float32 and value.shape == x.shape
    assert value.isfinite().all() and slope.isfinite().all()


@pytest.mark.parametrize("x1", [0.0, 1.0])
def test_nfl_needs_a_negative_x1(x1):
    for loss in (losses.nfl, losses.nfl_tangent):
        with pytest.raises(ValueError, match=f"must be negative, found {x1:g}"):
            loss(torch.zeros(1), x1)


@pytest.mark.parametrize("x3", [0.0, -0.5])
def test_huber_needs_a_positive_x3(x3):
    with pytest.raises(ValueError, match=f"must be positive, found {x3:g}"):
        losses.huber(torch.zeros(1), x3)


def test_joint_loss_is_16():
    """K = 3: (4 / 0.5^2 + 1 / 1^2 + 6 / 2^2) / 3 + log(0.5 x 1 x 2) = 18.5 / 3; and 0 + 3 log 0.1."""
    tasks = torch.tensor([[4.0, 1.0, 6.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    beta = torch.tensor([[0.5, 1.0, 2.0], [0.1, 0.1, 0.1]], dtype=torch.float64)
    expected = torch.tensor([18.5 / 3, 3 * math.log(0.1)], dtype=torch.float64)
    torch.testing.assert_close(losses.joint_loss(tasks, beta), expected, rtol=1e-12, atol=0)


def test_the_best_weights_of_16_are_known():
    """d/d beta of L / (K beta^2) + log beta is zero at beta = sqrt(2 L / K)."""
    tasks = torch.tensor([[0.5, 2.0, 8.0]], dtype=torch.float64)
    beta = (2 * tasks / 3).sqrt().requires_grad_()
    (slope,) = torch.autograd.grad(losses.joint_loss(tasks, beta).sum(), beta)
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (0, "the objective is nan"),
        (1, "the rate of user 0 is nan"),
        (3, "the rate of user 2 is nan"),
        (4, "the power of station 0 is nan"),
        (5, "the power of station 1 is nan"),
    ],
)
@pytest.mark.parametrize("realisations", [None, 3])
def test_divergence_names_the_task(task, words, realisations):
    """I = 3, B = 2."""
    tasks = torch.zeros(6) if realisations is None else torch.zeros(realisations, 6)
    assert losses.divergence(tasks, users=3) is None
    tasks[..., task] = math.nan
    assert losses.divergence(tasks, users=3) == f"the loss of {words}"


def test_divergence_of_one_realisation_is_enough():
    tasks = torch.zeros(4, 6, requires_grad=True) + 1e30
    tasks[2, 1] = -math.inf
    assert losses.divergence(tasks, users=3) == "the loss of the rate of user 0 is -inf"
