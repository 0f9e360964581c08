"""Where stations run: one placement group per station, so that each has its CPUs and its share of a GPU to itself.

    find_seats ─► reserve, for each station        at start
    find_seat  ─► reserve                          injected, or after its node was lost

A group is one bundle on the node that was chosen for it, and Ray never moves it: where a node is lost, its groups stay
without a place, and their stations are given new seats.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from agents.cluster import cluster_nodes, settled
from agents.packing import Node, Seat
from agents.plan import Plan, dry_run, plan_table
from agents.seats import plan_seats, seat_for, without
from agents.shortage import nodes_text
from cellfree_sim.errors import ResourceShortError

if TYPE_CHECKING:
    from cellfree_sim.scenario.schema import Scenario

__all__ = [
    "Node",
    "Plan",
    "Seat",
    "cluster_nodes",
    "dry_run",
    "find_seat",
    "find_seats",
    "plan_seats",
    "plan_table",
    "reserve",
    "seat_for",
]

RESERVE_TIMEOUT_S = 3  # Ray takes whole seconds only
NODE_LABEL = "ray.io/node-id"


def find_seats(scenario: Scenario, mbs: str, stations: Sequence[str]) -> list[Seat]:
    """Seats for all stations on the cluster as it is now, see `plan_seats`.

    Raises:
        ResourceShortError: not all can be seated.
    """
    return settled(lambda nodes: plan_seats(scenario, mbs, stations, nodes))


def find_seat(scenario: Scenario, name: str, taken: Sequence[Seat], *, planned: Sequence[Seat] | None = None) -> Seat:
    """A seat for one more station on the cluster as it is now, see `seat_for`.

    `planned` are seats, among those that are taken, that are yet to be reserved after a failure; where it is given,
    only nodes count that answer, whatever Ray believes of them.

    Raises:
        ResourceShortError: there is none.
    """
    return settled(lambda nodes: seat_for(scenario, name, without(nodes, planned or ()), taken), trust=planned is None)


def reserve(seat: Seat, namespace: str) -> Any:
    """A placement group for `seat` on its node, reserved. Create the actor only after this returns: on a group that is
    not ready it would hang.

    Raises:
        ResourceShortError: the resources are not free there within a few seconds.
    """
    from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group

    selector = [{NODE_LABEL: seat.node}] if seat.node else None
    name = f"{namespace}/{seat.station}/{secrets.token_hex(4)}"  # Ray refuses the name of a group it is still removing
    group = placement_group([seat.bundle], strategy="STRICT_PACK", name=name, bundle_label_selector=selector)
    if group.wait(RESERVE_TIMEOUT_S):
        return group
    state = placement_group_table(group)["stats"]["scheduling_state"]
    remove_placement_group(group)
    where = f" on {seat.node_name}" if seat.node_name else ""
    there = [node for node in cluster_nodes() if node.alive and seat.node in ("", node.id)]
    now = nodes_text(there) if there else "that node is gone"
    raise ResourceShortError(
        f"{seat.station}: no room for {_resources(seat)}{where} within {RESERVE_TIMEOUT_S} s ({state}); {now}; "
        f"wait for what else runs there, or join a larger cluster"
    )


def remove_groups(namespace: str) -> None:
    """Give back all groups that `reserve` made for a namespace."""
    from ray.util.placement_group import get_placement_group, placement_group_table, remove_placement_group

    for each in placement_group_table().values():
        if each["name"].startswith(f"{namespace}/") and each["state"] != "REMOVED":
            with suppress(ValueError):  # it went away by itself
                remove_placement_group(get_placement_group(each["name"]))


def _resources(seat: Seat) -> str:
    return " and ".join(f"{amount:g} {kind}{'' if amount == 1 else 's'}" for kind, amount in seat.bundle.items())
