"""Verdicts: whether what a paper claims was found, with the numbers it is judged by and their Monte-Carlo errors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from cellfree_sim.results.formats import mean_and_error

Word = Literal["holds", "does not hold", "cannot hold", "undecided"]
ERRORS = 2.0  # standard errors that a number must be away from zero, to say anything


@dataclass(frozen=True)
class Number:
    """A measured quantity.

    Attributes:
        what: which one, in words.
        value: its mean.
        error: the standard error of the mean; 0 where it is exact, NaN where it is not known.
        unit: for example bit/s/Hz.
    """

    what: str
    value: float
    error: float = 0.0
    unit: str = "bit/s/Hz"

    @property
    def sign(self) -> int:
        """1 or -1 where the value is above or below zero by more than `ERRORS` standard errors, else 0.

        >>> Number("gain", 1.0, 0.4).sign, Number("gain", 1.0, 0.6).sign, Number("gain", math.nan).sign
        (1, 0, 0)
        """
        if not math.isfinite(self.value) or not math.isfinite(self.error):
            return 0
        return (self.value > ERRORS * self.error) - (self.value < -ERRORS * self.error)

    def __str__(self) -> str:
        exact = f"{self.value:.4g}".replace("-", "\N{MINUS SIGN}")
        value = exact if self.error == 0 else mean_and_error(self.value, self.error)
        return f"{self.what}: {value} {self.unit}".rstrip()


@dataclass(frozen=True)
class Verdict:
    """What became of one claim.

    Attributes:
        claim: in the paper's sense, one sentence.
        verdict: "holds" and "does not hold" beyond two standard errors; "cannot hold" where the paper's own formulas
            exclude it, whatever is measured; else "undecided".
        reason: one sentence.
        numbers: what it was judged by.
    """

    claim: str
    verdict: Word
    reason: str
    numbers: Sequence[Number] = ()

    def least_sure(self, most: int) -> list[Number]:
        """The numbers in their order, without the largest, in standard errors, where there are more than `most`."""
        kept = sorted(range(len(self.numbers)), key=lambda index: _in_errors(self.numbers[index]))[:most]
        return [self.numbers[index] for index in sorted(kept)]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "numbers": [asdict(number) for number in self.numbers]}


def positive(claim: str, numbers: Iterable[Number], because: str = "") -> Verdict:
    """The claim that every one of `numbers` is above zero.

    It holds where all are, by more than two standard errors; it does not where one is below zero by as much.

    >>> positive("A beats B.", [Number("A - B", 1.0, 0.1)]).verdict
    'holds'
    >>> positive("A beats B.", [Number("A - B", 1.0, 0.1), Number("A - B, large", -1.0, 0.1)]).reason
    '1 of 2 are against it; clearest: A - B, large: −1.00 ± 0.10 bit/s/Hz'
    """
    found = tuple(numbers)
    against = [number for number in found if number.sign < 0]
    unsure = [number for number in found if number.sign == 0]
    exact = all(number.error == 0 for number in found)
    surely = "" if exact else " by more than two standard errors"
    one = len(found) == 1
    word: Word
    if against:
        word = "does not hold"
        clearest = min(against, key=_in_errors)
        reason = (
            f"below zero{surely}" if one else f"{len(against)} of {len(found)} are against it; clearest: {clearest}"
        )
    elif unsure or not found:
        word = "undecided"
        what = "within two standard errors of zero, or not measured"
        reason = what if one or not found else f"{len(unsure)} of {len(found)} are {what}"
    else:
        word = "holds"
        least = min(found, key=(lambda number: number.value) if exact else _in_errors)
        reason = f"above zero{surely}" if one else f"all {len(found)} are above zero{surely}; least: {least}"
    return Verdict(claim, word, f"{reason}. {because}" if because else reason, found)


def cannot_hold(claim: str, reason: str, numbers: Iterable[Number] = ()) -> Verdict:
    """A claim that the paper's own formulas exclude; `numbers` show it."""
    return Verdict(claim, "cannot hold", reason, tuple(numbers))


def _in_errors(number: Number) -> float:
    if not math.isfinite(number.value):
        return -math.inf
    return number.value / number.error if number.error > 0 else math.copysign(math.inf, number.value)
