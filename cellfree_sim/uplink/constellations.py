"""Square QAM constellations with Gray labels."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellfree_sim.uplink.checks import one_of

if TYPE_CHECKING:
    from torch import Tensor

BITS = {"qpsk": 2, "qam16": 4, "qam64": 6, "qam256": 8}
"""Bits of a symbol of each constellation."""


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

    one_of("constellation", name, BITS)
    count = BITS[name]
    message = torch.arange(2**count)
    bits = (message.unsqueeze(-1) >> torch.arange(count - 1, -1, -1)) & 1
    axes = [_amplitude(bits[:, start::2]) for start in (0, 1)]
    scale = 1 / math.sqrt(2 * (2**count - 1) / 3)  # odd integers have the mean power (M - 1) / 3 on each axis
    real, imaginary = (axis.double() * scale for axis in axes)
    return Constellation(
        name=name,
        points=torch.complex(real, imaginary).to(torch.complex64),
        bits=bits.to(torch.uint8),
        levels=torch.unique(real).float(),
    )


def _amplitude(bits: Tensor) -> Tensor:
    """Odd integers by the Gray code of 38.211: a(b) = (1 - 2 b_0) (2^(k-1) - a(b_1 … b_(k-1))), a(b_0) = 1 - 2 b_0."""
    sign = 1 - 2 * bits[:, 0]
    rest = bits[:, 1:]
    return sign * (2 ** rest.shape[1] - _amplitude(rest)) if rest.shape[1] else sign
