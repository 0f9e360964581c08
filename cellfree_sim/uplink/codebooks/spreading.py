"""Codebooks that spread symbols by signatures: BPSK for users of one bit, QPSK for two, and so on."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from cellfree_sim.scenario.extensions import CODEBOOKS
from cellfree_sim.uplink.codebook import Codebook, CodebookOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Spreading(CodebookOptions):
    """A codebook that is signatures times symbols."""

    @abstractmethod
    def signatures(self, users: int, resources: int, activity: tuple[float, ...] | None) -> NDArray[np.complex128]:
        """Signatures [N, K] of unit norm."""

    def design(
        self, users: int, resources: int, rates: tuple[int, ...], activity: tuple[float, ...] | None
    ) -> Codebook:
        """See `CodebookOptions.design`."""
        return Codebook.spread(self.signatures(users, resources, activity), rates, self.name)


@CODEBOOKS.register
class WelchBoundEquality(Spreading):
    """Modified chirp sequences, which meet Welch's bound: least total interference where all users always send."""

    name: Literal["wbe"] = "wbe"

    def signatures(self, users: int, resources: int, activity: tuple[float, ...] | None) -> NDArray[np.complex128]:
        """See `Spreading.signatures`."""
        from cellfree_sim.uplink.signatures import modified_chirp

        return modified_chirp(users, resources)


@CODEBOOKS.register
class QuantisedWelch(Spreading):
    """Modified chirp sequences whose parts are rounded to integers."""

    name: Literal["quantised-wbe"] = "quantised-wbe"
    levels: int = Field(2, ge=1, le=1000, description="Q: parts are whole numbers from -Q to Q, before normalisation")

    def signatures(self, users: int, resources: int, activity: tuple[float, ...] | None) -> NDArray[np.complex128]:
        """See `Spreading.signatures`."""
        from cellfree_sim.uplink.signatures import modified_chirp, quantised

        return quantised(modified_chirp(users, resources), self.levels)


@CODEBOOKS.register
class Musa(Spreading):
    """Multi-user shared access: complex codes with parts -1, 0 and 1 of low correlation, without regard to activity."""

    name: Literal["musa"] = "musa"
    starts: int = Field(100, ge=1, le=100_000, description="of the search for codes of low correlation")
    seed: int = Field(1, ge=0, le=2**31 - 1, description="of the search")

    def signatures(self, users: int, resources: int, activity: tuple[float, ...] | None) -> NDArray[np.complex128]:
        """See `Spreading.signatures`."""
        from cellfree_sim.uplink.signatures import searched

        equal = [1.0] * users
        return searched(users, resources, levels=1, activity=equal, starts=self.starts, seed=self.seed)


@CODEBOOKS.register
class Searched(Spreading):
    """Integers from -Q to Q of least weighted cross-correlation for the users' activity, by coordinate search."""

    name: Literal["searched"] = "searched"
    levels: int = Field(2, ge=1, le=100, description="Q: parts are whole numbers from -Q to Q, before normalisation")
    starts: int = Field(200, ge=1, le=100_000, description="random starts of the search")
    seed: int = Field(1, ge=0, le=2**31 - 1, description="of the starts")

    def signatures(self, users: int, resources: int, activity: tuple[float, ...] | None) -> NDArray[np.complex128]:
        """See `Spreading.signatures`."""
        from cellfree_sim.uplink.signatures import searched

        p = activity or [1.0] * users
        return searched(users, resources, levels=self.levels, activity=p, starts=self.starts, seed=self.seed)


@CODEBOOKS.register
class Grassmannian(Spreading):
    """Signatures whose largest correlation is as small as a numerical search makes it."""

    name: Literal["grassmannian"] = "grassmannian"
    seed: int = Field(1, ge=0, le=2**31 - 1, description="of the start of the search")

    def signatures(self, users: int, resources: int, activity: tuple[float, ...] | None) -> NDArray[np.complex128]:
        """See `Spreading.signatures`."""
        from cellfree_sim.uplink.signatures import packed

        return packed(users, resources, self.seed)


@CODEBOOKS.register
class Random(Spreading):
    """Random directions."""

    name: Literal["random"] = "random"
    seed: int = Field(1, ge=0, le=2**31 - 1, description="of the directions")

    def signatures(self, users: int, resources: int, activity: tuple[float, ...] | None) -> NDArray[np.complex128]:
        """See `Spreading.signatures`."""
        from cellfree_sim.uplink.signatures import random_signatures

        return random_signatures(users, resources, self.seed)


@CODEBOOKS.register
class Repetition(Spreading):
    """The symbol itself on every resource, the same for all users: only their channels tell them apart."""

    name: Literal["repetition"] = "repetition"

    def signatures(self, users: int, resources: int, activity: tuple[float, ...] | None) -> NDArray[np.complex128]:
        """See `Spreading.signatures`."""
        return np.full((users, resources), 1 / np.sqrt(resources), dtype=np.complex128)
