"""Pilot sets of many devices as one linear operator S [L, N Q], so that detectors never need S itself.

Device n has the Q pilots s_(n,0) … s_(n,Q-1), the columns n Q … n Q + Q - 1 of S, each of unit norm. Operators act on
the last axis, which lies together in memory: x [..., N Q] gives (S x) [..., L], r [..., L] gives (S^H r) [..., N Q].

Shape letters: N devices, Q pilots of a device, L samples of a pilot.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor

from cellfree_sim.errors import UserError
from cellfree_sim.seeds import integer

PilotKind = Literal["gaussian", "dft"]
MAX_DENSE = 2**27
"""Entries of a matrix of pilots that is written out: a gigabyte in complex64."""


class Pilots(ABC):
    """The pilots of all devices.

    Attributes:
        devices: N.
        per_device: Q.
        length: L.
    """

    def __init__(self, devices: int, per_device: int, length: int) -> None:
        self.devices, self.per_device, self.length = devices, per_device, length

    @property
    def count(self) -> int:
        """All pilots, N Q."""
        return self.devices * self.per_device

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """S x, complex64 [..., L], of x [..., N Q]."""

    @abstractmethod
    def adjoint(self, r: Tensor) -> Tensor:
        """S^H r, complex64 [..., N Q], of r [..., L]."""

    @abstractmethod
    def columns(self, index: Tensor) -> Tensor:
        """The pilots with the numbers `index` int64 [...], n Q + q: complex64 [..., L]."""

    @abstractmethod
    def to(self, device: torch.device | str) -> Pilots:
        """The same pilots on another device."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where they are."""

    def dense(self) -> Tensor:
        """All pilots, complex64 [N, Q, L]; UserError where they are too many to be written out."""
        check_dense(self.devices, self.per_device, self.length)
        every = torch.arange(self.count, device=self.device)
        return self.columns(every).reshape(self.devices, self.per_device, self.length)


class GaussianPilots(Pilots):
    """Pilots with entries drawn from CN(0, 1), each scaled to unit norm, written out as a matrix.

    >>> pilots = GaussianPilots(3, 2, 4, seed=1)
    >>> pilots.forward(torch.ones(5, 6, dtype=torch.complex64)).shape, pilots.dense().shape
    (torch.Size([5, 4]), torch.Size([3, 2, 4]))
    """

    def __init__(self, devices: int, per_device: int, length: int, seed: int) -> None:
        super().__init__(devices, per_device, length)
        check_dense(devices, per_device, length)
        generator = torch.Generator().manual_seed(integer(seed, "pilots"))
        drawn = torch.view_as_complex(torch.randn(self.count, length, 2, generator=generator))
        self._set(drawn / torch.linalg.vector_norm(drawn, dim=-1, keepdim=True))

    def _set(self, rows: Tensor) -> None:
        self._rows = rows  # S^T [N Q, L]
        self._conjugate = rows.T.conj().resolve_conj().contiguous()  # [L, N Q]

    def forward(self, x: Tensor) -> Tensor:
        """See `Pilots.forward`."""
        return x @ self._rows

    def adjoint(self, r: Tensor) -> Tensor:
        """See `Pilots.adjoint`."""
        return r @ self._conjugate

    def columns(self, index: Tensor) -> Tensor:
        """See `Pilots.columns`."""
        return self._rows[index]

    def to(self, device: torch.device | str) -> GaussianPilots:
        """See `Pilots.to`."""
        moved = object.__new__(GaussianPilots)
        Pilots.__init__(moved, self.devices, self.per_device, self.length)
        moved._set(self._rows.to(device))
        return moved

    @property
    def device(self) -> torch.device:
        """See `Pilots.device`."""
        return self._rows.device


class DftPilots(Pilots):
    """L random rows of the DFT of N Q points, each column turned by a random phase: O(N Q) numbers, and fast.

    S_(l,j) = exp(-2 pi i k_l j / (N Q)) exp(i phi_j) / sqrt(L), with different k_l; S x and S^H r are a Fourier
    transform each.

    >>> pilots = DftPilots(50, 2, 40, seed=1)
    >>> one = torch.zeros(100, dtype=torch.complex64)
    >>> one[7] = 1
    >>> torch.allclose(pilots.forward(one), pilots.columns(torch.tensor(7)), atol=1e-6)
    True
    """

    def __init__(self, devices: int, per_device: int, length: int, seed: int) -> None:
        super().__init__(devices, per_device, length)
        if length > self.count:
            raise UserError(f"pilot_length: found {length}; allowed: up to {self.count} (devices x pilots) with 'dft'")
        generator = torch.Generator().manual_seed(integer(seed, "pilots"))
        self._frequencies = torch.randperm(self.count, generator=generator)[:length].sort().values
        angles = torch.rand(self.count, generator=generator, dtype=torch.float64) * (2 * math.pi)
        self._phases = torch.polar(torch.full_like(angles, length**-0.5), angles).to(torch.complex64)

    def forward(self, x: Tensor) -> Tensor:
        """See `Pilots.forward`."""
        spectrum: Tensor = torch.fft.fft(x * self._phases)
        return spectrum.index_select(-1, self._frequencies)

    def adjoint(self, r: Tensor) -> Tensor:
        """See `Pilots.adjoint`."""
        spectrum = r.new_zeros(*r.shape[:-1], self.count).index_copy(-1, self._frequencies, r)
        matched: Tensor = torch.fft.ifft(spectrum, norm="forward")
        return matched * self._phases.conj()

    def columns(self, index: Tensor) -> Tensor:
        """See `Pilots.columns`."""
        turns = (index.unsqueeze(-1) * self._frequencies) % self.count
        angle = turns.double() * (-2 * math.pi / self.count)
        return torch.polar(torch.ones_like(angle), angle).to(torch.complex64) * self._phases[index].unsqueeze(-1)

    def to(self, device: torch.device | str) -> DftPilots:
        """See `Pilots.to`."""
        moved = object.__new__(DftPilots)
        Pilots.__init__(moved, self.devices, self.per_device, self.length)
        moved._frequencies, moved._phases = self._frequencies.to(device), self._phases.to(device)
        return moved

    @property
    def device(self) -> torch.device:
        """See `Pilots.device`."""
        return self._phases.device


@functools.lru_cache(maxsize=16)
def pilots_of(kind: PilotKind, devices: int, per_device: int, length: int, seed: int) -> Pilots:
    """The pilots that follow from a seed, made once and shared."""
    made = GaussianPilots if kind == "gaussian" else DftPilots
    return made(devices, per_device, length, seed)


def check_dense(devices: int, per_device: int, length: int) -> None:
    """UserError where pilots are too many to be written out."""
    entries = devices * per_device * length
    if entries > MAX_DENSE:
        raise UserError(
            f"pilots: found {devices} x {per_device} x {length} = {entries} numbers to write out; "
            f"allowed: up to {MAX_DENSE}; 'dft' pilots need none written out"
        )
