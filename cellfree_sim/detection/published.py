"""Published symbol error rates of MIMO detectors: what ours are calibrated against, and what figures show beside them.

They are those of Pratik, Rao and Welling, "RE-MIMO: Recurrent and Permutation Equivariant Neural MIMO Detection"
(2020), from the files that its figures 7 and 10 were drawn from: 64 antennas, 16-QAM, 10^7 slots for each. Names are
ours: what the figures call "MMSE" and "V-BLAST" is `mmse-as-published` and `zf-pic`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cellfree_sim.uplink.mimo import MimoProblem

N_RX = 64
SLOTS = 10_000_000
ROUNDING = 1e-5 / 12**0.5
"""Standard deviation of a published rate from having been rounded to five decimals."""


@dataclass(frozen=True)
class Published:
    """The symbol error rate of a detector at one point.

    Attributes:
        detector: name in the registry.
        n_tx: users.
        correlation: of neighbouring receive antennas; 0 for independent ones.
        snr_db: SNR.
        ser: symbol error rate.
    """

    detector: str
    n_tx: int
    correlation: float
    snr_db: float
    ser: float

    @property
    def trials(self) -> int:
        """Symbols that its rate is the mean of: it has a Monte-Carlo error of its own.

        >>> point = Published("zf-pic", 16, 0.0, 9.0, 0.02981)
        >>> f"{(point.ser * (1 - point.ser) / point.trials) ** 0.5:.1g}"  # if symbols of a slot erred independently
        '1e-05'
        """
        return SLOTS * self.n_tx

    @property
    def options(self) -> dict[str, Any]:
        """Options of the detector with which it is what was published."""
        return {"as_published": True} if self.detector == "amp" else {}

    def problem(self) -> MimoProblem:
        """What was measured."""
        from cellfree_sim.uplink.mimo import MimoProblem

        correlated = "receive" if self.correlation else "none"
        return MimoProblem(N_RX, self.n_tx, correlation=self.correlation, correlated=correlated)  # type: ignore[arg-type]


_INDEPENDENT = {  # 16 users, by SNR: rows in the order of the SNRs
    "mmse-as-published": (0.04360, 0.00973, 0.00105),
    "amp": (0.02463, 0.00356, 0.00037),
    "zf-pic": (0.02981, 0.00391, 0.00020),
    "oampnet2": (0.02422, 0.00331, 0.00020),
    "re-mimo": (0.02593, 0.00360, 0.00023),
    "sdr": (0.03161, 0.00538, 0.00036),
    "detnet": (0.03455, 0.00676, 0.00066),
}
_SNRS_DB = (9.0, 11.0, 13.0)
_CORRELATED = {  # receive correlation 0.7, by users and SNR
    (16, 12.0): {"oampnet2": 0.00286, "re-mimo": 0.00233},
    (16, 14.0): {"oampnet2": 0.00023, "re-mimo": 0.00013},
    (32, 16.0): {"oampnet2": 0.00337, "re-mimo": 0.00231},
}


def published(*, correlation: float | None = None, n_tx: int | None = None) -> Iterator[Published]:
    """All published points, or those of one correlation and number of users.

    >>> [point.ser for point in published(correlation=0.7, n_tx=32)]
    [0.00337, 0.00231]
    """
    for detector, rates in _INDEPENDENT.items():
        for snr_db, ser in zip(_SNRS_DB, rates, strict=True):
            if correlation in (None, 0.0) and n_tx in (None, 16):
                yield Published(detector, 16, 0.0, snr_db, ser)
    for (users, snr_db), by_detector in _CORRELATED.items():
        for detector, ser in by_detector.items():
            if correlation in (None, 0.7) and n_tx in (None, users):
                yield Published(detector, users, 0.7, snr_db, ser)
