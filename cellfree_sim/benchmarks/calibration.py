"""How far the detectors are from what is known: published error rates, closed forms, and other programs.

Each row is a symbol error rate of ours, with its standard error (by the design effect: users of a slot err together),
and the rate that it should be; `z` is their difference in the standard errors that it would have if both were one,
those of a published rate (10^7 slots, rounded) among them. All detectors see the same slots of a point. Closed forms
are those of zero-forcing with independent Rayleigh fading, and of any detector with one user (of maximum-ratio
combining). Beside Sionna's detectors, on the same slots, the difference is paired.

With 100 000 slots for each point it takes about half an hour of one core, most of it semidefinite relaxation.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import DetectorError
from cellfree_sim.threads import one_torch_thread

if TYPE_CHECKING:
    from cellfree_sim.detection import Detector
    from cellfree_sim.uplink import MimoProblem

ON_REQUEST = True
SEED = 5
SLOTS, QUICK_SLOTS = 100_000, 2000
TRAINED_OTHERWISE = frozenset({"re-mimo", "detnet"})  # networks of other sizes than the published ones
BRANCHES, ONE_USER_DB = 4, 8.0
ZERO_FORCING = ((16, 8, 14.0), (64, 32, 14.0))
ONE_USER = ("mf", "zf", "lmmse", "vblast", "zf-pic", "mmse-pic", "oamp", "ep", "kbest", "sphere")
SIONNA: tuple[tuple[str, dict[str, Any], str, dict[str, Any]], ...] = (
    ("lmmse", {}, "sionna-lmmse", {}),
    ("ep", {"iterations": 10, "damping": 0.9}, "sionna-ep", {}),
    ("kbest", {"survivors": 64}, "sionna-kbest", {}),
)


def run(quick: bool) -> list[dict[str, Any]]:
    """See `cellfree_sim.benchmarks`: rates, over the ones that they should be.

    Further keys: expected, standard_error, z, slots, errors.
    """
    with one_torch_thread():
        slots = QUICK_SLOTS if quick else SLOTS
        return [*against_published(slots), *against_closed_forms(slots), *against_sionna(slots // 10)]


def against_published(slots: int) -> Iterator[dict[str, Any]]:
    """All published points of detectors that there are here, with so many slots each."""
    from cellfree_sim.detection import create_detector
    from cellfree_sim.detection.published import N_RX, ROUNDING, published

    for point in published():
        problem = point.problem()
        if point.detector in TRAINED_OTHERWISE:
            continue
        try:
            detector = create_detector(point.detector, problem, **point.options)
        except DetectorError:  # it has no trained weights for this problem
            continue
        channel = f"receive correlation {point.correlation:g}" if point.correlation else "i.i.d."
        case = f"{point.detector}, {N_RX} x {point.n_tx}, {channel}, {point.snr_db:g} dB"
        yield _row(case, detector, point.snr_db, slots, point.ser, "published", ROUNDING, point.trials)


def against_closed_forms(slots: int) -> Iterator[dict[str, Any]]:
    """Zero-forcing over Rayleigh fading, and every detector with one user."""
    from cellfree_sim.detection import create_detector
    from cellfree_sim.uplink import MimoProblem

    for n_rx, n_tx, snr_db in ZERO_FORCING:
        problem = MimoProblem(n_rx, n_tx)
        expected = zero_forcing_ser(problem, snr_db)
        case = f"zf, {n_rx} x {n_tx}, i.i.d., {snr_db:g} dB"
        yield _row(case, create_detector("zf", problem), snr_db, slots, expected, "closed form")
    problem = MimoProblem(BRANCHES, 1)
    expected = zero_forcing_ser(problem, ONE_USER_DB)
    for name in ONE_USER:
        case = f"{name}, {BRANCHES} x 1, i.i.d., {ONE_USER_DB:g} dB"
        yield _row(case, create_detector(name, problem), ONE_USER_DB, slots, expected, "closed form")


def against_sionna(slots: int) -> Iterator[dict[str, Any]]:
    """Ours and Sionna's on the same slots; nothing where Sionna is not installed."""
    import torch

    from cellfree_sim.detection import create_detector
    from cellfree_sim.uplink import MimoProblem

    problem, snr_db = MimoProblem(32, 12), 11.0
    for name, options, other, theirs in SIONNA:
        try:
            pair = create_detector(name, problem, **options), create_detector(other, problem, **theirs)
        except DetectorError:
            return
        generator, counts = torch.Generator().manual_seed(SEED), []
        for start in range(0, slots, 1000):
            batch = problem.sample(min(1000, slots - start), snr_db, generator=generator)
            found = [one(batch.y, batch.h, batch.noise_variance).messages != batch.messages for one in pair]
            counts.append(torch.stack([wrong.double().mean(dim=-1) for wrong in found]))
        rates = torch.cat(counts, dim=-1)
        gap = rates[0] - rates[1]
        error = gap.std().item() / math.sqrt(slots)
        ours, expected = rates.mean(dim=-1).tolist()
        yield {
            "case": f"{name}, 32 x 12, i.i.d., {snr_db:g} dB",
            "value": ours,
            "unit": "SER",
            "ratio": ours / expected if expected else math.nan,
            "against": f"{other}, paired",
            "expected": expected,
            "standard_error": error,
            "z": (ours - expected) / error if error else 0.0,
            "slots": slots,
            "errors": round(ours * slots * problem.n_tx),
        }


def _row(
    case: str,
    detector: Detector,
    snr_db: float,
    slots: int,
    expected: float,
    against: str,
    error: float = 0.0,
    trials: float = math.inf,
) -> dict[str, Any]:
    """What is expected has an `error`, and was itself measured with so many `trials`."""
    from cellfree_sim.uplink import MimoProblem, error_rates

    problem = detector.problem
    assert isinstance(problem, MimoProblem)
    batch = 1000 if problem.n_tx > 1 else 20_000
    rate = error_rates(problem, detector, snr_db, slots_max=slots, target_errors=None, seed=SEED, batch=batch).ser
    # Where both are measurements of `expected`, and users of a slot err together in both alike.
    scatter = math.sqrt(expected * (1 - expected) * rate.design_effect * (1 / rate.trials + 1 / trials))
    return {
        "case": case,
        "value": rate.value,
        "unit": "SER",
        "ratio": rate.value / expected,
        "against": against,
        "expected": expected,
        "standard_error": rate.standard_error,
        "z": (rate.value - expected) / math.hypot(scatter, error),
        "slots": slots,
        "errors": rate.errors,
    }


def zero_forcing_ser(problem: MimoProblem, snr_db: float) -> float:
    """Symbol error rate of zero-forcing with square QAM and independent Rayleigh fading: exact.

    A user's signal-to-noise ratio after zero-forcing is SNR / N times a Gamma variable of R - N + 1 degrees (Winters,
    Salz and Gitlin, 1994); with one user that is maximum-ratio combining of R branches.

    >>> from cellfree_sim.uplink import MimoProblem
    >>> round(zero_forcing_ser(MimoProblem(1, 1, constellation="qpsk"), 20.0), 5)
    0.00895
    """
    from scipy import integrate, special

    shape = problem.n_rx - problem.n_tx + 1
    mean = 10 ** (snr_db / 10) / problem.n_tx
    size = len(problem.constellation)
    rate = _qam_ser(size)

    def weighted(x: float) -> float:
        return float(rate(mean * x) * math.exp((shape - 1) * math.log(x) - x - special.gammaln(shape)))

    ends = special.gammaincinv(shape, [1e-12, 0.5]), special.gammainccinv(shape, 1e-15)
    parts = (0.0, *ends[0], ends[1])
    return sum(
        float(integrate.quad(weighted, low, high, limit=200, epsabs=1e-14, epsrel=1e-10)[0])
        for low, high in itertools.pairwise(parts)
    )


def _qam_ser(size: int) -> Callable[[float], float]:
    """Symbol error rate of square QAM of `size` points without fading, by its signal-to-noise ratio (linear)."""
    root = math.sqrt(size)

    def rate(snr: float) -> float:
        axis = (1 - 1 / root) * math.erfc(math.sqrt(1.5 * snr / (size - 1)))
        return 1 - (1 - axis) ** 2

    return rate
