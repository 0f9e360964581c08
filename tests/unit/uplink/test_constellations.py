"""Constellations against the formulas of TS 38.211 and the meaning of a Gray code."""

from __future__ import annotations

import math

import pytest
import torch

from cellfree_sim.errors import UserError
from cellfree_sim.scenario.uplink_mimo import BITS
from cellfree_sim.uplink.constellations import constellation

EVERY = pytest.mark.parametrize("name", list(BITS))


@EVERY
def test_points_have_unit_power_and_lie_on_a_square_grid(name):
    made = constellation(name)
    size = 2 ** BITS[name]
    assert made.points.dtype == torch.complex64 and made.points.shape == (size,)
    assert made.points.abs().double().square().mean().item() == pytest.approx(1, abs=1e-6)
    side = math.isqrt(size)
    grid = torch.arange(-side + 1, side, 2) / math.sqrt(2 * (size - 1) / 3)
    assert torch.allclose(made.levels, grid, atol=1e-6)
    wanted = torch.cartesian_prod(grid, grid)
    points = torch.view_as_real(made.points)
    assert torch.cdist(wanted.double(), points.double()).min(dim=1).values.max() < 1e-6


@EVERY
def test_labels_are_the_bits_of_the_message_and_neighbours_differ_in_one(name):
    made = constellation(name)
    weights = 2 ** torch.arange(BITS[name] - 1, -1, -1)
    assert (made.bits.long() @ weights).tolist() == list(range(2 ** BITS[name]))
    distance = (made.points[:, None] - made.points[None, :]).abs()
    neighbours = (distance > 0) & (distance < 1.01 * distance[distance > 1e-6].min())
    flips = (made.bits[:, None] != made.bits[None, :]).sum(-1)
    assert (flips[neighbours] == 1).all()
    assert neighbours.sum() == 4 * math.isqrt(2 ** BITS[name]) * (math.isqrt(2 ** BITS[name]) - 1)


def test_the_mapping_is_that_of_38_211():
    for b, point in zip(constellation("qam64").bits.tolist(), constellation("qam64").points.tolist(), strict=True):
        real = (1 - 2 * b[0]) * (4 - (1 - 2 * b[2]) * (2 - (1 - 2 * b[4])))
        imaginary = (1 - 2 * b[1]) * (4 - (1 - 2 * b[3]) * (2 - (1 - 2 * b[5])))
        assert point == pytest.approx(complex(real, imaginary) / math.sqrt(42), abs=1e-6)


def test_an_unknown_name_is_refused_with_what_was_meant():
    with pytest.raises(UserError, match=r"^constellation: found 'qam6'; allowed: qpsk, .*; did you mean 'qam64'\?$"):
        constellation("qam6")
