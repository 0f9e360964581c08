"""Schemes measured side by side at single links: a problem (with its code, say) and a detector each, on equal frames.

All schemes of a point see the same activity, messages, channels and noise, whatever their codes make of them. One that
has made as many errors as wanted gets no more frames; two are compared on the frames that both got, pair by pair.

Shape letters: S frames.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

    from cellfree_sim.uplink.problem import Batch, Problem

Row = dict[str, Any]
Counted: TypeAlias = "dict[str, tuple[Tensor, Tensor]]"
"""Errors and trials of each frame, float64 [S] each, by the name of the rate."""
Count: TypeAlias = "Callable[[Scheme, Batch, Any], Counted]"
"""Function of a scheme, frames and what its detector found (a `Detection`)."""


@dataclass(frozen=True, eq=False)
class Scheme:
    """What is measured under one label.

    Attributes:
        problem: what is sent; all problems of a point draw the same numbers in the same order.
        detector: function of (y, h as the receiver knows it, noise variance).
        learned: whether detector or code was trained.
        trained_otherwise: in what it was not trained for the problem, or nothing.
        told: function of (frames) for bounds that are told the truth; called in place of the detector.
    """

    problem: Problem
    detector: Callable[..., Any]
    learned: bool = False
    trained_otherwise: str = ""
    told: Callable[[Batch], Any] | None = None


def measure(
    schemes: Mapping[str, Scheme],
    snr_db: float | None,
    *,
    seed: int,
    frames_max: int,
    target_errors: int | None,
    batch: int,
    count: Count,
    primary: str,
) -> list[Row]:
    """One row for each scheme at one SNR, or, where it is None, at the powers that the problem has (0 in the rows).

    Keys: algorithm, learned, trained_otherwise, snr_db, slots (frames), errors (of the `primary` rate, which also says
    when a scheme has made enough of them), cpu_us_per_slot; each rate r of `count` as r and r_error (from the scatter
    of the ratio over frames); and for each other scheme x `r minus x` and `r minus x, error` on the frames that both
    got (not for rates of single users, which have ``_user_`` in their names). For the primary rate, it is also
    `minus x`, as in `cellfree_sim.studies.link`.
    """
    import torch

    from cellfree_sim.seeds import integer

    generator = torch.Generator().manual_seed(integer(seed, "schemes", repr(snr_db)))
    found: dict[str, dict[str, list[Tensor]]] = {label: {} for label in schemes}
    errors, seconds = dict.fromkeys(schemes, 0.0), dict.fromkeys(schemes, 0.0)
    waiting, done = dict.fromkeys(schemes), 0
    while done < frames_max and waiting:
        now = min(batch, frames_max - done)
        before, drawn = generator.get_state(), {}
        for label in list(waiting):
            scheme = schemes[label]
            if id(scheme.problem) not in drawn:
                generator.set_state(before)
                drawn[id(scheme.problem)] = scheme.problem.sample(now, snr_db, generator=generator)  # type: ignore[arg-type]
            frames = drawn[id(scheme.problem)]
            start = time.process_time()
            detection = (
                scheme.told(frames)
                if scheme.told is not None
                else scheme.detector(frames.y, frames.h_known, frames.noise_variance)
            )
            seconds[label] += time.process_time() - start
            for rate, pair in count(scheme, frames, detection).items():
                found[label].setdefault(rate, []).append(torch.stack(pair))
            errors[label] += float(found[label][primary][-1][0].sum())
            if target_errors is not None and errors[label] >= target_errors:
                del waiting[label]
        done += now
    joined = {label: {rate: torch.cat(parts, dim=1) for rate, parts in of.items()} for label, of in found.items()}
    return [
        {
            "algorithm": label,
            "learned": schemes[label].learned,
            "trained_otherwise": schemes[label].trained_otherwise,
            "snr_db": 0.0 if snr_db is None else float(snr_db),
            "slots": rates[primary].shape[1],
            "errors": round(errors[label]),
            "cpu_us_per_slot": 1e6 * seconds[label] / rates[primary].shape[1],
            **_values(rates),
            **_differences(label, joined, primary),
        }
        for label, rates in joined.items()
    ]


def _values(rates: Mapping[str, Tensor]) -> Row:
    row: Row = {}
    for rate, (errors, trials) in rates.items():
        row[rate], row[f"{rate}_error"] = _ratio(errors, trials)
    return row


def _differences(label: str, joined: Mapping[str, Mapping[str, Tensor]], primary: str) -> Row:
    row: Row = {}
    for other, theirs in joined.items():
        if other == label:
            continue
        for rate, (errors, trials) in joined[label].items():
            if "_user_" in rate:
                continue
            both = min(len(errors), theirs[rate].shape[1])
            gap, error = _ratio(errors[:both] - theirs[rate][0, :both], trials[:both])
            row[f"{rate} minus {other}"], row[f"{rate} minus {other}, error"] = gap, error
            if rate == primary:
                row[f"minus {other}"], row[f"minus {other}, error"] = gap, error
    return row


def _ratio(errors: Tensor, trials: Tensor) -> tuple[float, float]:
    """sum e / sum n, and its standard error from the scatter of e - r n over frames; NaN without trials.

    >>> import torch
    >>> value, error = _ratio(torch.tensor([1.0, 0, 0, 1]).double(), torch.ones(4).double())
    >>> value, round(error, 4)
    (0.5, 0.2887)
    """
    total = trials.sum().item()
    if not total:
        return math.nan, math.nan
    rate = errors.sum().item() / total
    if len(trials) < 2:
        return rate, math.nan
    scatter = (errors - rate * trials).std().item()
    return rate, math.sqrt(len(trials)) * scatter / total
