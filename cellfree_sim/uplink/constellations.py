"""Square QAM constellations with Gray labels."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellfree_sim.scenario.uplink_mimo import BITS
from cellfree_sim.uplink.checks import one_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Constellation:
    """M points of average power 1, the message m standing for the bits of m, most significant first.

    The mapping is that of 3GPP TS 38.211, 5.1 (and of Sionna): even bits choose the real part, odd bits the imaginary
    part, each by a Gray code, so that neighbouring points differ in one bit.

    Attributes:
        name: as in `BITS`.
        points: complex64 [M].
        bits: labels, uint8 [M, K].
        levels: values of the real part (the same as those of the imaginary part), ascending, float32 [sqrt(M)].
    """

    name: str
    points: Tensor
    bits: Tensor
    levels: Tensor


@functools.cache
def constellation(name: str) -> Constellation:
    """The constellation called `name`; it is shared, do not write to it.

    >>> constellation("qpsk").points.numpy().round(3).tolist()
    [(0.7070000171661377+0.7070000171661377j), (0.7070000171661377-0.7070000171661377j), \
(-0.7070000171661377+0.7070000171661377j), (-0.7070000171661377-0.7070000171661377j)]
    """
    import torch

    points = torch.from_numpy(qam_points(name).copy())
    message = torch.arange(len(points))
    bits = (message.unsqueeze(-1) >> torch.arange(BITS[name] - 1, -1, -1)) & 1
    return Constellation(name, points, bits.to(torch.uint8), levels=torch.unique(points.real))


@functools.cache
def qam_points(name: str) -> NDArray[np.complex64]:
    """The points of the constellation called `name`, complex64 [M], without torch; shared, and not to be written to."""
    one_of("constellation", name, BITS)
    count = BITS[name]
    bits = (np.arange(2**count)[:, None] >> np.arange(count - 1, -1, -1)) & 1
    scale = 1 / math.sqrt(2 * (2**count - 1) / 3)  # odd integers have the mean power (M - 1) / 3 on each axis
    points = ((_amplitude(bits[:, 0::2]) + 1j * _amplitude(bits[:, 1::2])) * scale).astype(np.complex64)
    points.flags.writeable = False
    return points


def _amplitude(bits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Odd integers by the Gray code of 38.211: a(b) = (1 - 2 b_0) (2^(k-1) - a(b_1 … b_(k-1))), a(b_0) = 1 - 2 b_0."""
    sign = 1 - 2 * bits[:, 0]
    rest = bits[:, 1:]
    return sign * (2 ** rest.shape[1] - _amplitude(rest)) if rest.shape[1] else sign
