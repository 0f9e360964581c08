"""Properties of the losses for any argument and parameter: order, slopes, branch points, and the bound of (16)."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cellfree_sim.downlink import losses

whatever_the_time = settings(deadline=None)
arguments = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20).map(
    lambda values: torch.tensor(sorted(values), dtype=torch.float64)
)


@whatever_the_time
@given(arguments, st.floats(-100, -0.01))
def test_nfl_tangent_is_positive_increasing_and_convex(x, x1):
    check_shape(lambda at: losses.nfl_tangent(at, x1), x)


@whatever_the_time
@given(arguments, st.floats(-10, 5))
def test_el_is_positive_increasing_and_convex(x, x2):
    check_shape(lambda at: losses.el(at, x2), x)


@whatever_the_time
@given(arguments, st.floats(-100, -0.01))
def test_printed_nfl_is_the_tangent_version_lowered_by_its_jump(x, x1):
    lowered = losses.nfl_tangent(x, x1) - (x >= x1).double() * (-1 / x1)
    torch.testing.assert_close(losses.nfl(x, x1), lowered, rtol=1e-9, atol=1e-9 / x1**2)


@whatever_the_time
@given(arguments, st.floats(0.01, 100))
def test_huber_is_even_and_between_the_parabola_and_the_absolute_value(x, x3):
    value = losses.huber(x, x3)
    assert torch.equal(value, losses.huber(-x, x3))
    assert (value >= 0).all()
    assert (value <= x.abs()).all() and (value >= x.abs() - x3 / 2 - 1e-12 * x.abs()).all()
    assert (value <= x.square() / (2 * x3) * (1 + 1e-12)).all()


@whatever_the_time
@given(
    st.lists(st.tuples(st.floats(1e-3, 1e3), st.floats(0.01, 1.01)), min_size=1, max_size=12),
)
def test_joint_loss_never_falls_below_its_value_at_the_best_weights(pairs):
    """sum_k 1/2 + log(2 L_k / K) / 2, from d/d beta = 0 at beta_k^2 = 2 L_k / K."""
    tasks, beta = (torch.tensor(column, dtype=torch.float64)[None] for column in zip(*pairs, strict=True))
    bound = sum(0.5 + 0.5 * math.log(2 * task / len(pairs)) for task, _ in pairs)
    assert float(losses.joint_loss(tasks, beta)) >= bound - 1e-9 * abs(bound) - 1e-9


def check_shape(loss, x):
    x = x.clone().requires_grad_()
    value = loss(x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    value = value.detach()
    assert (value >= 0).all() and (slope >= 0).all()
    assert (value.diff() >= -1e-9 * value[1:].abs()).all()
    assert (slope.diff() >= -1e-9 * slope[1:]).all()
    tangents = value[:, None] + slope[:, None] * (x.detach()[None, :] - x.detach()[:, None])
    assert (value[None, :] >= tangents - 1e-9 * (1 + tangents.abs() + value[:, None].abs())).all()
