"""Whether an uplink fits the rest of its scenario: stations that there are, and something left over for training."""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING

import numpy as np

from cellfree_sim.registry import MisfitError
from cellfree_sim.scenario.parts import MBS_NAME
from cellfree_sim.scenario.suggest import did_you_mean, listed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.scenario.uplink import Activity, Service, Uplink

UNREADABLE = (
    *(OSError, ValueError, EOFError, RuntimeError, MemoryError),  # RuntimeError: encrypted, or packed in another way
    *(zipfile.BadZipFile, zlib.error, struct.error),
)
"""What reading a damaged .npz may raise."""
MOST_USERS = 4096
"""In a request: queues hold requests, and a scenario in which everybody is active must not take all memory."""
HARMLESS_EVENTS = ("fail_sbs", "fail_mbs")  # a process comes back; the network stays as it is


def check_uplink(scenario: Scenario) -> None:
    """`MisfitError` where the section `uplink`, if there is one, does not fit the scenario."""
    uplink = scenario.uplink
    if uplink is None:
        return
    for index, event in enumerate(scenario.events):
        if event.action not in HARMLESS_EVENTS:
            raise MisfitError(
                ("events", index),
                f"found {event.action} in a scenario with an uplink, whose network cannot change; allowed: "
                f"{listed(HARMLESS_EVENTS)}",
                because=("uplink",),
            )
    if scenario.on_failure == "drop":
        raise MisfitError(
            ("on_failure",),
            "found 'drop' in a scenario with an uplink, whose stations cannot leave; allowed: restart, abort",
            because=("uplink",),
        )
    users = scenario.network.users.count
    _check_activity(uplink.activity, ("uplink", "activity"), users)
    for index, happening in enumerate(uplink.events):
        if happening.set_activity is not None:
            _check_activity(happening.set_activity, ("uplink", "events", index, "set_activity"), users)
    try:
        uplink.check_fit(users, scenario.radio.subcarriers)
    except MisfitError as error:
        raise MisfitError(("uplink", *error.key), str(error), because=error.because) from None
    _check_stations(scenario, uplink)
    _check_shares(scenario)
    _check_frames(scenario, uplink)
    if scenario.steps:
        _check_rest_for_training(scenario, uplink)


def services_share(scenario: Scenario, station: str) -> float:
    """Share of the MEC server of a station, or of the MBS, that its edge services may use.

    Those of centralized cooperation compute at the MBS, all others at the stations that take part, and those of
    soft_fusion at both.
    """
    services = scenario.uplink.services if scenario.uplink else []
    return sum(
        each.mec_share
        for each in services
        if station in service_hosts(scenario, each) or (station == MBS_NAME and each.cooperation == "soft_fusion")
    )


def uplink_link_share(scenario: Scenario) -> float:
    """Share of each backhaul link's capacity that is the uplink's: all of it where nothing else is sent."""
    if scenario.uplink is None:
        return 0.0
    return scenario.uplink.backhaul_share if scenario.downlink.algorithm.learns else 1.0


def service_hosts(scenario: Scenario, service: Service) -> list[str]:
    """Where the processes of a service run."""
    if service.cooperation == "centralized":
        return [MBS_NAME]
    return scenario.station_names if service.stations == "all" else list(service.stations)


def bursts_due(scenario: Scenario, step: int) -> int:
    """Bursts that are over when training step `step` is: spread evenly over all steps, all of them at the end.

    >>> from cellfree_sim.scenario.schema import Scenario
    >>> scenario = Scenario.model_validate({"uplink": {"bursts": 100}})  # of 150 steps
    >>> [bursts_due(scenario, step) for step in (0, 1, 75, 150)]
    [0, 1, 50, 100]
    """
    if scenario.uplink is None:
        return 0
    bursts, steps = scenario.uplink.bursts, scenario.steps
    return -(-bursts * step // steps) if steps else bursts


def burst_step(scenario: Scenario, burst: int) -> int:
    """Training steps done when burst `burst` begins, as `bursts_due` spreads them."""
    return burst * scenario.steps // scenario.uplink.bursts if scenario.uplink else 0


def _check_stations(scenario: Scenario, uplink: Uplink) -> None:
    names = scenario.station_names
    for index, service in enumerate(uplink.services):
        if service.stations == "all":
            continue
        key = ("uplink", "services", index, "stations")
        if not service.stations:
            raise MisfitError(key, "found an empty list; allowed: all, or names of stations")
        for place, name in enumerate(service.stations):
            _check_name((*key, place), name, names)
            if name in service.stations[:place]:
                raise MisfitError((*key, place), f"found '{name}' for a second time; allowed: each station once")
    for index, event in enumerate(uplink.events):
        failing = event.fail_service
        if failing is not None and failing.station is not None:
            service = uplink.services[uplink.service_names.index(failing.service)]
            hosts = service_hosts(scenario, service)
            _check_name(("uplink", "events", index, "fail_service", "station"), failing.station, hosts)


def _check_shares(scenario: Scenario) -> None:
    for name in (MBS_NAME, *scenario.station_names):
        share = services_share(scenario, name)
        if share > 1 + 1e-9:
            raise MisfitError(
                ("uplink", "services"), f"found mec_share {share:g} in all at {name}; allowed: at most 1 in all"
            )


def _check_frames(scenario: Scenario, uplink: Uplink) -> None:
    """Frames that are certain to be too long, because everybody is always active."""
    from cellfree_sim.scenario.schema import REAL_BYTES

    if not uplink.activity.always:
        return
    users = scenario.network.users.count
    least = 8 * uplink.slots * min(users, uplink.users_per_group)
    messages = int(2 ** uplink.bits_of(np.arange(users)).max()) + uplink.silence
    what, because = "a burst of one group of users", "users_per_group"
    for service in uplink.services:
        everybody = service.cluster is None or service.cluster >= len(service_hosts(scenario, service))
        if service.cooperation == "soft_fusion" and everybody and users <= MOST_USERS:
            soft = math.ceil(REAL_BYTES[service.precision] * uplink.slots * users * messages)
            if soft > least:
                least, what, because = soft, "the log-probabilities of a burst", "services"
    if least > scenario.backhaul.max_frame_bytes:
        raise MisfitError(
            ("backhaul", "max_frame_bytes"),
            f"found {scenario.backhaul.max_frame_bytes}; allowed: more than {least}, {what} (or lower uplink.slots)",
            because=("uplink", because),
        )


def _check_activity(activity: Activity, key: tuple[str | int, ...], users: int) -> None:
    if activity.by_user is not None and len(activity.by_user) > users:
        found = f"found {len(activity.by_user)} values; allowed: at most one for each of {users} users"
        raise MisfitError((*key, "by_user"), found, because=("network", "users", "count"))
    if activity.trace is not None:
        _check_trace(activity.trace, (*key, "trace"), users)


def _check_trace(path: Path, key: tuple[str | int, ...], users: int) -> None:
    """The shape of a trace, from its header: its content is read when it is needed."""
    from numpy.lib import format as npy

    try:
        with zipfile.ZipFile(path) as archive, archive.open("active.npy") as file:
            read = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read(file)
    except KeyError:
        wanted = f"allowed: .npz with `active`, bool [bursts, {users}]"
        raise MisfitError(key, f"{path}: found no array `active`; {wanted}") from None
    except UNREADABLE as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise MisfitError(key, f"{path}: cannot be read as .npz: {reason}") from None
    if dtype.name != "bool" or len(shape) != 2 or shape[0] == 0 or shape[1] != users:
        raise MisfitError(key, f"{path}: found `active` {dtype} {[*shape]}; allowed: bool [bursts, {users}]")


def _check_rest_for_training(scenario: Scenario, uplink: Uplink) -> None:
    if uplink.backhaul_share == 1:
        raise MisfitError(
            ("uplink", "backhaul_share"),
            "found 1, which leaves nothing of the backhaul to training; allowed: below 1",
            because=("downlink", "epochs"),
        )
    for name in (MBS_NAME, *scenario.station_names):
        if services_share(scenario, name) > 1 - 1e-9:
            raise MisfitError(
                ("uplink", "services"),
                f"found mec_share 1 in all at {name}, which leaves nothing to training; allowed: below 1",
                because=("downlink", "epochs"),
            )


def _check_name(key: tuple[str | int, ...], name: str, allowed: Sequence[str]) -> None:
    if name not in allowed:
        raise MisfitError(key, f"found '{name}'; allowed: {listed(allowed)}{did_you_mean(name, allowed)}")
