"""The numbers of a run as `summary.json` holds them; its keys are a contract, written down in the README."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from cellfree_sim.backhaul.ledger import Books

TRAINING_PHASES = ("training", "sharing")
MEASUREMENT_PHASES = ("validation", "test")


def rate_summary(rates: Mapping[str, NDArray[np.float64]], algorithm: str, min_rate_bps_hz: float) -> dict[str, Any]:
    """Sum rates on the test realisations, of the algorithm and (under `baselines`) of each reference.

    Args:
        rates: per-user rates [realisation, user] in bit/s/Hz; every algorithm on the same realisations.
        algorithm: the key of `rates` that was learned.
        min_rate_bps_hz: r_min.

    Returns:
        `sum_rate` is a mean over realisations, `sum_rate_std` their standard deviation, `sum_rate_error` the standard
        error of the mean; a baseline's `difference` is learned minus baseline, paired over realisations, with its
        standard error.

    >>> import numpy as np
    >>> rates = {"dmtssl": np.array([[1.0, 2.0], [3.0, 2.0]]), "zf": np.array([[1.0, 1.0], [0.0, 4.0]])}
    >>> summary = rate_summary(rates, "dmtssl", 0.5)
    >>> summary["sum_rate"], summary["baselines"]["zf"]["difference"], summary["baselines"]["zf"]["min_rate_satisfied"]
    (4.0, 1.0, 0.75)
    """
    own = rates[algorithm].sum(axis=1)

    def one(name: str) -> dict[str, float]:
        sums = rates[name].sum(axis=1)
        return {
            "sum_rate": float(sums.mean()),
            "sum_rate_std": _std(sums),
            "sum_rate_error": _std(sums) / math.sqrt(len(sums)),
            "min_rate_satisfied": float((rates[name] >= min_rate_bps_hz).mean()),
        }

    baselines = {}
    for name in rates:
        if name != algorithm:
            gap = own - rates[name].sum(axis=1)
            error = _std(gap) / math.sqrt(len(gap))
            baselines[name] = {**one(name), "difference": float(gap.mean()), "difference_error": error}
    return {**one(algorithm), "baselines": baselines}


def backhaul_summary(books: Books, *, training_steps: int, execution_bytes_per_realisation: float) -> dict[str, Any]:
    """Bytes and frames of a run, from its reconciled books.

    `training_bytes` and `per_step_bytes` leave out what was sent only to measure (`measurement_bytes`) and to set up.
    `air_bytes` are those of users' frames, which cross no link of the backhaul: they are part of `bytes`.
    """
    totals = books.totals()
    by_phase = totals["by_phase"]
    training = sum(by_phase.get(phase, 0) for phase in TRAINING_PHASES)
    return {
        **totals,
        "per_step_bytes": training / training_steps if training_steps else 0.0,
        "training_bytes": training,
        "uplink_bytes": by_phase.get("uplink", 0) - totals["by_class"].get("air", 0),
        "air_bytes": totals["by_class"].get("air", 0),
        "measurement_bytes": sum(by_phase.get(phase, 0) for phase in MEASUREMENT_PHASES),
        "execution_bytes_per_realisation": execution_bytes_per_realisation,
        "balanced": books.balanced,
        "unmatched": books.unmatched,
    }


def _std(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan
