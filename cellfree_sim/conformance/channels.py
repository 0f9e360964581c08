"""Channel models: shape, what they depend on, and their power beside what they declare."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellfree_sim.channel.base import ChannelRequest
from cellfree_sim.conformance.checks import Run, Subject, expect, needs
from cellfree_sim.network import UserDrops
from cellfree_sim.scenario.schema import Antennas, Radio

DROPS, USERS = 24, 3


def request(drops: int = DROPS, **changes: Any) -> ChannelRequest:
    """Users at random in 100 m around a station in the middle."""
    random = np.random.default_rng(11)
    ground = random.random((drops, USERS, 2)) * 100
    positions_m = np.concatenate([ground, np.full((drops, USERS, 1), 1.5)], axis=-1)
    settings: dict[str, Any] = {
        "station": "sbs-0",
        "station_index": 0,
        "stations": 1,
        "site_m": (50.0, 50.0, 25.0),
        "antennas": Antennas(),
        "user_antennas": 2,
        "radio": Radio(subcarriers=3),
        "users": UserDrops(positions_m, np.zeros((drops, USERS), dtype=bool), np.zeros((drops, USERS))),
        "split": "train",
        "first_realisation": 0,
        "seed": 5,
    }
    return ChannelRequest(**(settings | changes))


def _generated(subject: Subject, asked: ChannelRequest) -> NDArray[np.complex64]:
    found: NDArray[np.complex64] = subject.options.generate(asked)
    return found


def _plain(subject: Subject) -> NDArray[np.complex64]:
    """The channels of the plain request, made once."""
    if "channels" not in subject.cache:
        subject.cache["channels"] = _generated(subject, request())
    found: NDArray[np.complex64] = subject.cache["channels"]
    return found


def _shapes(subject: Subject) -> str | None:
    for asked in (
        request(),
        request(2, antennas=Antennas(rows=1, columns=1), user_antennas=1, radio=Radio(subcarriers=1)),
        request(1, antennas=Antennas(rows=2, columns=4), user_antennas=3, radio=Radio(subcarriers=5)),
    ):
        found = _plain(subject) if len(asked.users.indoor) == DROPS else _generated(subject, asked)
        fits = isinstance(found, np.ndarray) and found.shape == asked.shape and found.dtype == np.complex64
        kind = f"{found.dtype} {[*found.shape]}" if isinstance(found, np.ndarray) else type(found).__name__
        expect(fits, f"found {kind}; expected complex64 {[*asked.shape]}, [R, N, T, I, r]")
        expect(np.isfinite(found).all(), "found values that are not finite")
    return None


def _by_the_seed(subject: Subject) -> str | None:
    first = _plain(subject)
    before = np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002
    second = _generated(subject, request())
    after = np.random.get_state()[1]  # type: ignore[index]  # noqa: NPY002
    expect(np.array_equal(first, second), "the same request gave two results; draw from request.seed alone")
    expect(np.array_equal(before, after), "moves NumPy's own generator; use numpy.random.default_rng(request.seed)")
    return None


def _other_seed(subject: Subject) -> str | None:
    other = _generated(subject, request(seed=6))
    expect(not np.array_equal(_plain(subject), other), "another seed gave the same channels")
    return None


def _stations_apart(subject: Subject) -> str | None:
    """With its own seed a station's channels depend on no other station, and are independent of those of others."""
    more = _generated(subject, request(stations=4))
    expect(np.array_equal(_plain(subject), more), "other stations in the network change the channels of this one")
    other = _generated(subject, request(station="sbs-1", seed=77))
    a, b = (each.reshape(-1).astype(complex) for each in (_plain(subject), other))
    power = math.sqrt(float((np.abs(a) ** 2).sum() * (np.abs(b) ** 2).sum()))
    together = abs(complex((a.conj() * b).sum())) / power
    most = 5 / math.sqrt(DROPS)
    expect(together < most, f"two stations at one place have channels with a correlation of {together:.2f}")
    return None


def _realisations_differ(subject: Subject) -> str | None:
    found = _plain(subject).reshape(DROPS, -1)
    for index in range(1, DROPS):
        expect(not np.array_equal(found[0], found[index]), f"realisations 0 and {index} are equal")
    fixed = request()
    users = fixed.users
    same_place = UserDrops(
        np.repeat(users.positions_m[:1], DROPS, axis=0), np.repeat(users.indoor[:1], DROPS, 0), users.indoor_depth
    )
    found = _generated(subject, request(users=same_place)).reshape(DROPS, -1)
    expect(not np.array_equal(found[0], found[1]), "realisations with users at the same places are equal: no fading")
    return None


def _inputs_kept(subject: Subject) -> str | None:
    asked = request()
    before = asked.users.positions_m.copy()
    _generated(subject, asked)
    expect(np.array_equal(before, asked.users.positions_m), "changes the positions that it is given")
    return None


def _tells_progress(subject: Subject) -> str | None:
    told: list[tuple[int, int]] = []
    subject.options.generate(request(4), lambda done, total: told.append((done, total)))
    if not told:
        return "it tells no progress"
    rising = all(a[0] <= b[0] for a, b in itertools.pairwise(told))
    expect(rising and told[-1] == (4, 4), f"told {told}; expected up to (4, 4)")
    return None


def _power(subject: Subject) -> str | None:
    gain_db = 10 * np.log10((np.abs(_plain(subject).astype(complex)) ** 2).mean())
    expect(gain_db < 0, f"the mean path gain is {gain_db:.1f} dB; a channel gives no power: expected below 0 dB")
    return f"mean path gain {gain_db:.1f} dB at up to 75 m"


def _declared(subject: Subject) -> str | None:
    """Over many drops, mean |H|^2 over what `mean_gains` says of the same users."""
    drops = 200 if subject.quick else 2000
    asked = request(drops)
    declared = subject.options.mean_gains(asked)
    needs(declared is not None, "it declares no mean gains (mean_gains)")
    expect(declared.shape == (drops, USERS), f"mean_gains: found {[*declared.shape]}; expected {[drops, USERS]}")
    expect((declared > 0).all() and np.isfinite(declared).all(), "mean_gains: found values that are no gains")
    power = (np.abs(_generated(subject, asked).astype(complex)) ** 2).mean(axis=(1, 2, 4))
    ratio = power / declared
    mean, error = float(ratio.mean()), float(ratio.std() / math.sqrt(ratio.size))
    remark = f"mean |H|^2 over it {mean:.3f} +- {error:.3f}"
    expect(abs(mean - 1) < 5 * error + 0.01, f"{remark}; expected 1")
    return remark


CHECKS: dict[str, Run] = {
    "channels have their shape and are finite": _shapes,
    "they follow from the request": _by_the_seed,
    "another seed gives others": _other_seed,
    "stations do not influence each other": _stations_apart,
    "realisations differ": _realisations_differ,
    "requests stay as they were": _inputs_kept,
    "progress ends at the last realisation": _tells_progress,
    "power is lost, not gained": _power,
    "power is what mean_gains declares": _declared,
}
