"""Numbers and names as people read them."""

from __future__ import annotations

import math


def signed(value: float, form: str) -> str:
    """Number with a minus sign of the width of a plus.

    >>> signed(-26.0, "g")
    '−26'
    """
    return format(value, form).replace("-", "\N{MINUS SIGN}")


def mean_and_error(mean: float, error: float, *, signed_mean: bool = False) -> str:
    """Mean ± standard error, to two digits of the error and at least two decimals; a dash where there is none.

    >>> mean_and_error(21.904, 0.118), mean_and_error(-0.0521, 0.0084), mean_and_error(0.5, math.nan, signed_mean=True)
    ('21.90 ± 0.12', '−0.0521 ± 0.0084', '+0.50')
    """
    if not math.isfinite(mean):
        return "–"
    decimals = min(max(1 - math.floor(math.log10(error)), 2), 6) if math.isfinite(error) and error > 0 else 2
    text = signed(mean, f"{'+' if signed_mean else ''}.{decimals}f")
    return f"{text} ± {error:.{decimals}f}" if math.isfinite(error) else text


def percent(share: float | None) -> str:
    """Share in per cent.

    >>> percent(0.914), percent(None)
    ('91.4 %', '–')
    """
    return "–" if share is None or not math.isfinite(share) else f"{100 * share:.1f} %"


def count(number: int, noun: str) -> str:
    """A number of things.

    >>> count(1, "frame"), count(2000, "frame")
    ('1 frame', '2,000 frames')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def amount(megabytes: float) -> str:
    """Megabytes with three digits that count.

    >>> amount(0.00045), amount(1.234), amount(12.34), amount(1234.5)
    ('0.00045', '1.23', '12.3', '1,234')
    """
    if megabytes >= 100:
        return f"{megabytes:,.0f}"
    return f"{megabytes:.1f}" if megabytes >= 10 else f"{megabytes:.2f}" if megabytes >= 0.1 else f"{megabytes:.2g}"


def byte_size(size: float) -> str:
    """Bytes with three digits that count, in the unit that fits.

    >>> byte_size(450), byte_size(1_234), byte_size(83_800_000), byte_size(1.2e9), byte_size(999_999)
    ('450 B', '1.23 kB', '83.8 MB', '1.20 GB', '1.00 MB')
    """
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= 0.9995 * factor:
            return f"{size / factor:,.{0 if size >= 99.95 * factor else 1 if size >= 9.995 * factor else 2}f} {unit}"
    return f"{size:.0f} B"


def duration(seconds: float, *, roughly: bool = False) -> str:
    """How long, with two digits that count; `roughly` in whole minutes, for what is only an estimate.

    >>> duration(12.3), duration(500), duration(9000), duration(150, roughly=True)
    ('12 s', '8.3 min', '2.5 h', '3 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60 + 0.001:.0f} min" if roughly else f"{seconds / 60:.1f} min"


def algorithm_label(algorithm: str) -> str:
    """Name of an algorithm as a paper prints it.

    >>> algorithm_label("gsa-zf"), algorithm_label("dmtssl"), algorithm_label("ascent")
    ('GSA-ZF', 'DMTSSL', 'ascent')
    """
    acronyms = {"dmtssl", "cmtssl", "datl", "gsa", "gsa2", "rsa", "zf", "wmmse", "mmse", "mrt"}
    return "-".join(part.upper() if part in acronyms else part for part in algorithm.split("-"))
