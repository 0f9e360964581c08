"""Verdicts: whether what a paper claims was found, with the numbers it is judged by and their Monte-Carlo errors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from cellfree_sim.results.formats import mean_and_error

Word = Literal["holds", "does not hold", "cannot hold", "undecided"]
ERRORS = 2.0  # standard errors that a number must be away from zero, to say anything; more where seeds are few
SURE = "with 95 % confidence"  # what that means
ONE_SEED = "With one seed, errors are those of the test drops alone, without the scatter of training"


@dataclass(frozen=True)
class Number:
    """A measured quantity.

    Attributes:
        what: which one, in words.
        value: its mean.
        error: the standard error of the mean; 0 where it is exact, NaN where it is not known.
        unit: for example bit/s/Hz.
        seeds: by whose scatter the error is known; 0 where it is that of many realisations.
        one_training: whether the error lacks the scatter of training, because one seed was trained.
    """

    what: str
    value: float
    error: float = 0.0
    unit: str = "bit/s/Hz"
    seeds: int = 0
    one_training: bool = False

    @property
    def known(self) -> bool:
        """Whether both the value and its error are."""
        return math.isfinite(self.value) and math.isfinite(self.error)

    @property
    def errors_needed(self) -> float:
        """Standard errors that it must be away from zero: `ERRORS`, or what Student's t has for as many seeds.

        >>> [round(Number("gain", 1.0, 0.1, seeds=seeds).errors_needed, 2) for seeds in (0, 2, 3, 1000)]
        [2.0, 13.97, 4.53, 2.0]
        """
        if self.seeds < 2:
            return ERRORS
        from scipy.special import stdtrit

        return -float(stdtrit(self.seeds - 1, _LEVEL))

    @property
    def sign(self) -> int:
        """1 or -1 where the value is above or below zero by more than `errors_needed` standard errors, else 0.

        >>> Number("gain", 1.0, 0.4).sign, Number("gain", 1.0, 0.6).sign, Number("gain", math.nan).sign
        (1, 0, 0)
        >>> Number("gain", 1.0, 0.4, seeds=2).sign
        0
        """
        if not self.known:
            return 0
        bound = self.errors_needed * self.error
        return int(self.value > bound) - int(self.value < -bound)

    @property
    def chance(self) -> float:
        """Probability that chance alone takes a number so far below zero, or farther; 1 where it is not known.

        >>> round(Number("gain", -1.0, 0.5).chance, 4), round(Number("gain", -1.0, 1.0, seeds=2).chance, 4)
        (0.0228, 0.25)
        """
        if not self.known:
            return 1.0
        if self.error == 0:
            return float(self.value >= 0)
        at = self.value / self.error
        if self.seeds < 2:
            return _below(at)
        from scipy.special import stdtr

        return float(stdtr(self.seeds - 1, at))

    def changed(self, what: str, *, times: float = 1.0, plus: float = 0.0, unit: str = "") -> Number:
        """Another quantity that follows from it: `times` its value, and `plus`.

        >>> str(Number("loss", 2.0, 0.1).changed("5 % minus the loss", times=-0.01, plus=0.05))
        '5 % minus the loss: 0.0300 ± 0.0010'
        """
        return replace(self, what=what, value=times * self.value + plus, error=abs(times) * self.error, unit=unit)

    def __str__(self) -> str:
        exact = f"{self.value:.4g}".replace("-", "\N{MINUS SIGN}")
        value = exact if self.error == 0 else mean_and_error(self.value, self.error)
        return f"{self.what}: {value} {self.unit}".rstrip()


@dataclass(frozen=True)
class Verdict:
    """What became of one claim.

    Attributes:
        claim: in the paper's sense, one sentence.
        verdict: "holds" and "does not hold" with 95 % confidence; "cannot hold" where the paper's own formulas
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


def judged(claim: str, word: Word, reason: str, numbers: Iterable[Number] = (), because: str = "") -> Verdict:
    """A verdict whose reason says, too, where the scatter of training is not in the errors; `because` stands between.

    >>> judged("A beats B.", "holds", "it does", [Number("A - B", 1.0, 0.1, one_training=True)]).reason
    'it does. With one seed, errors are those of the test drops alone, without the scatter of training'
    """
    found = tuple(numbers)
    lacking = ONE_SEED if any(number.one_training for number in found) else ""
    return Verdict(claim, word, ". ".join(part for part in (reason, because, lacking) if part), found)


def positive(claim: str, numbers: Iterable[Number], because: str = "") -> Verdict:
    """The claim that every one of `numbers` is above zero.

    It holds where each of them is, with 95 % confidence: two standard errors, or more of them where an error is known
    from a few seeds only (`Number.errors_needed`). It does not where at least one is below zero: with that confidence
    for all numbers together (Holm's correction), as one among many is below zero by two standard errors soon.

    >>> positive("A beats B.", [Number("A - B", 1.0, 0.1)]).verdict
    'holds'
    >>> positive("A beats B.", [Number("A - B", 1.0, 0.1), Number("A - B, large", -1.0, 0.1)]).reason
    '1 of 2 are against it with 95 % confidence (Holm); clearest: A - B, large: −1.00 ± 0.10 bit/s/Hz'
    """
    found = tuple(numbers)
    against = surely_below(found)
    alone = [number for number in found if number.sign < 0]
    unsure = [number for number in found if number.sign <= 0]
    exact = all(number.error == 0 for number in found)
    one = len(found) == 1
    surely = "" if exact else f" {SURE}"
    word: Word
    if against:
        word = "does not hold"
        how = "" if exact else f"{surely} (Holm)"
        clearest = min(against, key=_in_errors)
        reason = (
            f"below zero{surely}"
            if one
            else f"{len(against)} of {len(found)} are against it{how}; clearest: {clearest}"
        )
    elif unsure or not found:
        word = "undecided"
        what = "too near to zero for its error, or not measured"
        reason = what if one or not found else f"{len(unsure)} of {len(found)} are {what.replace('its', 'their')}"
        if alone:
            reason += f"; by itself below zero, but not as one of {len(found)}: {min(alone, key=_in_errors)}"
        elif few := [number for number in unsure if number.known and abs(number.value) > ERRORS * number.error]:
            worst = max(few, key=lambda number: number.errors_needed)
            reason += f"; {worst.seeds} seeds scatter, and leave {worst.errors_needed:.2g} standard errors to be needed"
    else:
        word = "holds"
        least = min(found, key=(lambda number: number.value) if exact else _in_errors)
        reason = f"above zero{surely}" if one else f"all {len(found)} are above zero{surely}; least: {least}"
    return judged(claim, word, reason, found, because)


def surely_below(numbers: Sequence[Number]) -> list[Number]:
    """Those that are below zero with 95 % confidence for all together, by Holm's correction; unknown ones count not.

    >>> [number.what for number in surely_below([Number("a", -2.2), Number("b", -2.2, 1.0), Number("c", 3.0, 1.0)])]
    ['a']
    """
    measured = [index for index, number in enumerate(numbers) if number.known]
    chance = [number.chance for number in numbers]
    below = set[int]()
    for rank, index in enumerate(sorted(measured, key=lambda index: chance[index])):
        if chance[index] * (len(measured) - rank) >= _LEVEL:
            break
        below.add(index)
    return [number for index, number in enumerate(numbers) if index in below]


def cannot_hold(claim: str, reason: str, numbers: Iterable[Number] = ()) -> Verdict:
    """A claim that the paper's own formulas exclude; `numbers` show it."""
    return judged(claim, "cannot hold", reason, numbers)


def _below(at: float) -> float:
    """The normal distribution."""
    return math.erfc(-at / math.sqrt(2)) / 2


_LEVEL = _below(-ERRORS)  # of one side


def _in_errors(number: Number) -> float:
    """How far it is from zero, in the errors that it needs."""
    if not math.isfinite(number.value):
        return -math.inf
    bound = number.errors_needed * number.error
    return number.value / bound if bound > 0 else math.copysign(math.inf, number.value)
