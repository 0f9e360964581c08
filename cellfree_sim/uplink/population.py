"""Who sends what in which burst: a function of the scenario alone, so that every process can tell.

Users are numbered over the whole network. What a user does in a burst depends on the scenario's seed, the burst and the
user's number, and not on how users are spread over groups: user n has a place of its own in the stream of the burst.
Torch-free, as all that runs where users are.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cellfree_sim import seeds
from cellfree_sim.errors import UserError
from cellfree_sim.scenario.parts import GROUP_PREFIX
from cellfree_sim.scenario.uplink_checks import UNREADABLE

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.scenario.uplink import Activity, Uplink


class Transmissions(NamedTuple):
    """What was sent in a burst: numbers of the active users, int32 [I] ascending, and messages, int64 [S, I]."""

    users: NDArray[np.int32]
    messages: NDArray[np.int64]


def section(scenario: Scenario) -> Uplink:
    """The section `uplink` of a scenario that has one."""
    assert scenario.uplink is not None, "a scenario without an uplink has no users that send"
    return scenario.uplink


def snr_db_of(uplink: Uplink, burst: int) -> float:
    """SNR that power control aims at in a burst: the entries of `snr_db` in turn."""
    return uplink.snr_db[burst % len(uplink.snr_db)]


def drop_of(uplink: Uplink, burst: int) -> int:
    """The drop of the users in a burst: all SNRs in turn on one drop, then all on the next, so that they compare."""
    return burst // len(uplink.snr_db) % uplink.realisations


def sent_at_s(uplink: Uplink, burst: int) -> float:
    """Simulated time at which a burst begins, seconds."""
    return burst * uplink.interval_s


def heard_at_s(uplink: Uplink, burst: int) -> float:
    """Simulated time at which the last slot of a burst has been received, seconds."""
    return sent_at_s(uplink, burst) + uplink.slots * uplink.slot_s


def group_names(scenario: Scenario) -> list[str]:
    """Names of the groups that host the users: users-0, users-1, …"""
    count, size = scenario.network.users.count, section(scenario).users_per_group
    return [f"{GROUP_PREFIX}{index}" for index in range(-(-count // size))]


def group_members(scenario: Scenario, index: int) -> range:
    """Numbers of the users of a group."""
    count, size = scenario.network.users.count, section(scenario).users_per_group
    return range(index * size, min((index + 1) * size, count))


def transmissions(scenario: Scenario, burst: int, members: range | None = None) -> Transmissions:
    """What `members` (all users by default) send in a burst: who is active, and their messages.

    It is never sent: whoever measures draws it again.
    """
    users = _active(scenario, burst, range(scenario.network.users.count) if members is None else members)
    return Transmissions(users, _messages(scenario, burst, users))


def activity_at(uplink: Uplink, burst: int) -> Activity:
    """Who sends in a burst, as the last event has it that changed that; -1: as it is before any event."""
    changed = [event for event in uplink.events if event.set_activity is not None and event.at_burst <= burst]
    last = max(changed, key=lambda event: event.at_burst, default=None)
    return uplink.activity if last is None or last.set_activity is None else last.set_activity


def activity_probabilities(scenario: Scenario, members: range, burst: int = -1) -> NDArray[np.float64]:
    """Probability that each of `members` sends in a burst, float64 [members]; see `activity_at`."""
    activity = activity_at(section(scenario), burst)
    mean = np.full(len(members), activity.probability)
    if activity.by_user is not None:
        mean = np.array(activity.by_user)[np.arange(members.start, members.stop) % len(activity.by_user)]
    if activity.spread == 0:
        return mean
    place = _uniform(seeds.stream(scenario.seed, "uplink", "probability"), members)
    own: NDArray[np.float64] = mean * (1 + activity.spread * (2 * place - 1))
    return own


def activity_prior(scenario: Scenario, burst: int = -1) -> NDArray[np.float64]:
    """How often each user sends as things are in a burst, float64 [users]; see `activity_at`."""
    users, activity = scenario.network.users.count, activity_at(section(scenario), burst)
    if activity.trace is not None:
        return np.asarray(_read_trace(activity.trace, users).mean(axis=0))
    return activity_probabilities(scenario, range(users), burst)


def mean_active(scenario: Scenario) -> float:
    """Number of users that send in a burst, mean over all bursts."""
    users, activity = scenario.network.users.count, section(scenario).activity
    if activity.trace is None and activity.by_user is None:
        return users * activity.probability
    return float(activity_prior(scenario).sum())


def _active(scenario: Scenario, burst: int, members: range) -> NDArray[np.int32]:
    """Numbers of the active users among `members`, int32 [I] ascending."""
    trace = activity_at(section(scenario), burst).trace
    if trace is not None:
        table = _read_trace(trace, scenario.network.users.count)
        active = table[burst % len(table), members.start : members.stop]
    else:
        draws = _uniform(seeds.stream(scenario.seed, "uplink", "activity", burst), members)
        active = draws < activity_probabilities(scenario, members, burst)
    return (np.flatnonzero(active) + members.start).astype(np.int32)


def _messages(scenario: Scenario, burst: int, users: NDArray[np.int32]) -> NDArray[np.int64]:
    """Uniform messages, int64 [S, I]: user n has the numbers n S … n S + S - 1 of the burst's stream."""
    uplink = section(scenario)
    if len(users) == 0:
        return np.empty((uplink.slots, 0), np.int64)
    bits = np.random.PCG64(seeds.stream(scenario.seed, "uplink", "messages", burst))
    draw, at = np.random.Generator(bits), 0
    numbers = np.empty((len(users), uplink.slots))
    for row, user in zip(numbers, users.tolist(), strict=True):
        bits.advance(user * uplink.slots - at)
        draw.random(out=row)
        at = (user + 1) * uplink.slots
    messages: NDArray[np.int64] = np.floor(numbers.T * 2 ** uplink.bits_of(users)).astype(np.int64)
    return messages


def _uniform(stream: np.random.SeedSequence, members: range) -> NDArray[np.float64]:
    """The numbers in [0, 1) of a stream at the places of `members`."""
    bits = np.random.PCG64(stream)
    bits.advance(members.start)
    return np.random.Generator(bits).random(len(members))


@functools.lru_cache(maxsize=4)
def _read_trace(path: Path, users: int) -> NDArray[np.bool_]:
    """Who is active in each burst of a trace, bool [bursts, users]. UserError where the file is no such thing."""
    where = f"uplink.activity.trace: {path}"
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile) or "active" not in file:
                raise UserError(f"{where}: found no array `active`; allowed: .npz with `active`, bool [bursts, users]")
            active: NDArray[np.bool_] = file["active"]
    except UNREADABLE as error:
        if isinstance(error, UserError):
            raise
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{where}: cannot be read as .npz: {reason}") from None
    if active.dtype != np.bool_ or active.ndim != 2 or len(active) == 0 or active.shape[1] != users:
        raise UserError(f"{where}: found `active` {active.dtype} {[*active.shape]}; allowed: bool [bursts, {users}]")
    return active
