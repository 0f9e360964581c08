"""A user's best receive combiner, from one station's channel: R receive antennas become one effective antenna."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_TINY = 1e-30


class CombinedLinks(NamedTuple):
    """Links seen through their best combiners p; the leading axes are those of the channel.

    Attributes:
        effective: u = H p, [..., T] complex; |u|^2 is the largest eigenvalue.
        combiner: p, [..., R] complex, unit norm.
        eigenvalue: largest eigenvalue of H^H H, [...] real.
        gram: H^H H, [..., R, R] complex.
    """

    effective: Tensor
    combiner: Tensor
    eigenvalue: Tensor
    gram: Tensor


def combine_links(links: Tensor) -> CombinedLinks:
    """Combine each link H [..., T, R] along p, the dominant eigenvector of H^H H.

    The phase of an eigenvector is arbitrary, but signals that several stations send to one user add up only as far as
    the stations agree on one. Here p has a real, non-negative first entry: beams along u arrive in phase at the user's
    first antenna, whichever station sends them, without any exchange between stations.

    >>> links = torch.tensor([[0.0 + 0j, 3j]])          # one transmit antenna; only the second receive antenna hears it
    >>> combined = combine_links(links)
    >>> combined.combiner.abs(), combined.eigenvalue
    (tensor([0., 1.]), tensor(9.))
    """
    gram = links.mH @ links
    r = links.shape[-1]
    if r == 1:
        combiner, eigenvalue = torch.ones_like(gram[..., 0]), gram[..., 0, 0].real
    elif r == 2:
        combiner, eigenvalue = _dominant_of_two(gram)
    else:
        values, vectors = torch.linalg.eigh(gram)
        first = vectors[..., 0, -1]
        combiner, eigenvalue = vectors[..., -1] * unit_phase(first).conj().unsqueeze(-1), values[..., -1]
    effective = (links @ combiner.unsqueeze(-1)).squeeze(-1)
    return CombinedLinks(effective, combiner, eigenvalue, gram)


def _dominant_of_two(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Dominant eigenvector and eigenvalue of 2 x 2 Hermitian matrices [[a, c], [c*, d]].

    With h = (a - d) / 2 and s = sqrt(h^2 + |c|^2), the eigenvector is (s + h, c*), or in proportion
    (|c|, (s - h) c* / |c|); the one without cancellation is taken.
    """
    a, d, c = gram[..., 0, 0].real, gram[..., 1, 1].real, gram[..., 0, 1]
    half, size = (a - d) / 2, c.abs()
    root = torch.hypot(half, size)
    first = torch.where(half >= 0, root + half, size)
    second = torch.where(half >= 0, size, root - half)
    norm = torch.hypot(first, second)
    silent = norm <= 0
    first, second = first / (norm + _TINY) + silent, second / (norm + _TINY)
    combiner = torch.stack([first.to(c.dtype), second * unit_phase(c).conj()], -1)
    return combiner, (a + d) / 2 + root


def unit_phase(value: Tensor) -> Tensor:
    """e^(j arg value) of each entry of a complex tensor; 1 where the entry is 0.

    >>> unit_phase(torch.tensor([-2.0 + 0j, 0j]))
    tensor([-1.+0.j,  1.+0.j])
    """
    size = value.abs()
    return torch.where(size > 0, value / size.clamp_min(_TINY), torch.ones_like(value))
