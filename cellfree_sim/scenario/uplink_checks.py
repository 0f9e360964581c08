"""Whether an uplink fits the rest of its scenario: stations that there are, and something left over for training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellfree_sim.registry import MisfitError
from cellfree_sim.scenario.parts import MBS_NAME
from cellfree_sim.scenario.suggest import did_you_mean, listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.scenario.uplink import Service, Uplink

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
    _check_stations(scenario, uplink)
    if scenario.steps:
        _check_rest_for_training(scenario, uplink)


def services_share(scenario: Scenario, station: str) -> float:
    """Share of the MEC server of a station, or of the MBS, that its edge services may use.

    Those of centralized cooperation run beside the MBS, all others beside the stations that take part.
    """
    services = scenario.uplink.services if scenario.uplink else []
    return sum(each.mec_share for each in services if station in service_hosts(scenario, each))


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
