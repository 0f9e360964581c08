"""Where stations run: one placement group per station, so that each has its CPUs and its share of a GPU to itself.

What a scenario asks for is first held against what the cluster has, by arithmetic, because Ray does not refuse a
group it can never place: it lets it wait for ever.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import ResourceShortError

if TYPE_CHECKING:
    from cellfree_sim.scenario.schema import Scenario, Share

RESERVE_TIMEOUT_S = 5  # Ray takes whole seconds only


@dataclass(frozen=True)
class Seat:
    """What one station takes from the cluster: logical CPUs and GPUs."""

    station: str
    cpus: float
    gpus: float

    @property
    def bundle(self) -> dict[str, float]:
        """Its placement-group bundle; Ray wants at least one resource in it."""
        resources = {"CPU": self.cpus, "GPU": self.gpus}
        return {name: amount for name, amount in resources.items() if amount > 0} or {"CPU": 0.001}


def plan_seats(scenario: Scenario, mbs: str, resources: Mapping[str, float]) -> list[Seat]:
    """Seats of MBS and SBSs on a cluster with `resources` (as `ray.cluster_resources()` counts them).

    ``gpus: auto`` shares the GPUs that are there: each SBS takes 1/k of one, with k the least that makes all fit.

    Raises:
        ResourceShortError: the cluster can never hold them; the text says what was asked and what there is.
    """
    placement = scenario.placement
    names = scenario.station_names
    gpus_left = resources.get("GPU", 0.0) - _fixed(placement.mbs)
    sbs_gpus = _auto_share(gpus_left, len(names)) if placement.sbs.gpus == "auto" else float(placement.sbs.gpus)
    mbs_gpus = 0.0 if placement.mbs.gpus == "auto" else float(placement.mbs.gpus)
    seats = [Seat(mbs, placement.mbs.cpus, mbs_gpus), *(Seat(name, placement.sbs.cpus, sbs_gpus) for name in names)]
    for kind, asked in (("CPU", sum(s.cpus for s in seats)), ("GPU", sum(s.gpus for s in seats))):
        there = resources.get(kind, 0.0)
        if asked > there + 1e-9:
            raise ResourceShortError(
                f"placement asks for {asked:g} {kind}s (1 MBS and {len(names)} SBSs), the cluster has {there:g}; "
                f"lower placement.mbs.{kind.lower()}s or placement.sbs.{kind.lower()}s, or join a larger cluster"
            )
    return seats


def demanded_cpus(scenario: Scenario) -> float:
    """Logical CPUs that all stations of a scenario ask for together."""
    return scenario.placement.mbs.cpus + len(scenario.station_names) * scenario.placement.sbs.cpus


def reserve(seat: Seat, strategy: str, namespace: str) -> Any:
    """A placement group for `seat`, reserved. Create the actor only after this returns: on a group that is not ready it
    would hang.

    Raises:
        ResourceShortError: the resources are not free within a few seconds.
    """
    import ray
    from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group

    group = placement_group([seat.bundle], strategy=strategy, name=f"{namespace}/{seat.station}")
    if group.wait(RESERVE_TIMEOUT_S):
        return group
    state = placement_group_table(group)["stats"]["scheduling_state"]
    remove_placement_group(group)
    available: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    free = {name: available.get(name, 0.0) for name in seat.bundle}
    raise ResourceShortError(
        f"{seat.station}: no room for {seat.bundle} in {RESERVE_TIMEOUT_S} s ({state}); free: {free}"
    )


def _fixed(share: Share) -> float:
    return 0.0 if share.gpus == "auto" else float(share.gpus)


def _auto_share(gpus: float, stations: int) -> float:
    whole = math.floor(gpus + 1e-9)
    return 1.0 / math.ceil(stations / whole) if whole >= 1 else 0.0
