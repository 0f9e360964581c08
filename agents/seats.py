"""Which station sits on which node: arithmetic only, so that a plan can be made, shown and tested without Ray.

Ray does not refuse what it can never place: it lets it wait for ever. So the nodes are counted here first, and each
station is then reserved on the node that was chosen for it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from agents.packing import Node, Room, Seat, deal, seat_at
from agents.shortage import gpu_text, no_room, no_room_in_short, shortage
from cellfree_sim.errors import ResourceShortError
from cellfree_sim.scenario.parts import MBS_NAME

if TYPE_CHECKING:
    from cellfree_sim.scenario.schema import Placement, Scenario, Share

MOST_SHARES = 4  # times the number of stations: a GPU that others use, too, is cut no finer than this
SPARE_STATIONS = 64  # that a cluster on one machine has logical CPUs for; they cost nothing


def plan_seats(scenario: Scenario, mbs: str, stations: Sequence[str], nodes: Sequence[Node]) -> list[Seat]:
    """Seats of the MBS and of `stations` (its SBSs) on what is free of `nodes`; the MBS's is the first.

    The strategy acts across stations: PACK takes as few nodes as possible, SPREAD gives each station to the node with
    the fewest seats, STRICT_PACK takes one node, STRICT_SPREAD one node for each station. Among equal nodes the first
    one is taken. ``gpus: auto`` takes 1/k of a GPU, with k the least that seats all, SBSs that `scenario.events` inject
    later among them where possible; where there is no room on GPUs it takes CPUs, and the seat's reason says why.

    Raises:
        ResourceShortError: not all can be seated; one line says what was asked, what there is, and what helps: whether
            the cluster can never hold them, or others use it now.
    """
    placement = scenario.placement
    best = _best_shares(placement, mbs, stations, _free(nodes), _injections(scenario))
    if best is None:
        alive = [node for node in nodes if node.alive]
        raise ResourceShortError(shortage(placement.strategy, _seats(placement, mbs, stations, 0.0), alive))
    return best


def seat_for(
    scenario: Scenario, name: str, nodes: Sequence[Node], taken: Sequence[Seat], *, mbs: str = MBS_NAME
) -> Seat:
    """A seat for one more station in a running network, or for one whose seat was lost.

    `taken` holds the seats of the other stations: they say what the strategy allows, and an SBS with ``gpus: auto``
    takes the same share of a GPU as the other SBSs, or, where no GPU has that much left, CPUs.

    Raises:
        ResourceShortError: no node has room, now or ever.
    """
    placement = scenario.placement
    share = placement.mbs if name == mbs else placement.sbs
    others = [seat for seat in taken if seat.station not in (name, mbs)]
    rooms = _allowed(_free(nodes), placement.strategy, taken)
    for seat in _wishes(name, share, others):
        for room in rooms:
            if room.holds(seat):
                return seat_at(seat, room.node)
    alive = [node for node in nodes if node.alive]
    raise ResourceShortError(no_room(placement.strategy, Seat(name, share.cpus, _gpus(share, 0.0)), alive, rooms))


def seat_those_that_fit(scenario: Scenario, mbs: str, stations: Sequence[str], nodes: Sequence[Node]) -> list[Seat]:
    """Seats one after the other where they cannot all be had; those that find no room have no node, but a reason."""
    seats: list[Seat] = []
    for name in (mbs, *stations):
        taken = [seat for seat in seats if seat.node]
        left = without(nodes, taken)
        try:
            seats.append(seat_for(scenario, name, left, taken, mbs=mbs))
        except ResourceShortError:
            share = scenario.placement.mbs if name == mbs else scenario.placement.sbs
            seat = Seat(name, share.cpus, _gpus(share, 0.0))
            allowed = _allowed(_free(left), scenario.placement.strategy, taken)
            seats.append(replace(seat, reason=no_room_in_short(seat, allowed)))
    return seats


def without(nodes: Sequence[Node], seats: Sequence[Seat]) -> list[Node]:
    """The nodes, with less free: what `seats` take."""
    left = {node.id: node for node in nodes}
    for seat in seats:
        node, bundle = left[seat.node], seat.bundle
        cpus, gpus = node.free_cpus - bundle.get("CPU", 0.0), node.free_gpus - bundle.get("GPU", 0.0)
        left[seat.node] = replace(node, free_cpus=max(0.0, cpus), free_gpus=max(0.0, gpus))
    return list(left.values())


def local_cpus(scenario: Scenario, stations: int, cores: int) -> int:
    """Logical CPUs for a cluster on a machine with `cores`, started for a network of so many SBSs.

    At least the cores; and always enough for the network and for stations that are injected into it, which take turns.
    """
    placement = scenario.placement
    wanted = placement.mbs.cpus + (stations + _injections(scenario) + SPARE_STATIONS) * placement.sbs.cpus
    return max(cores, math.ceil(wanted))


def _free(nodes: Sequence[Node]) -> list[Room]:
    return [Room(node, node.free_cpus, node.free_gpus) for node in nodes if node.alive]


def _injections(scenario: Scenario) -> int:
    return sum(event.action == "inject_sbs" for event in scenario.events)


def _gpus(share: Share, auto: float) -> float:
    return auto if share.gpus == "auto" else float(share.gpus)


def _seats(placement: Placement, mbs: str, stations: Sequence[str], auto: float) -> list[Seat]:
    """Seats without nodes, where "auto" means `auto` GPUs."""
    sbs = placement.sbs
    first = Seat(mbs, placement.mbs.cpus, _gpus(placement.mbs, auto))
    return [first, *(Seat(name, sbs.cpus, _gpus(sbs, auto)) for name in stations)]


def _best_shares(
    placement: Placement, mbs: str, stations: Sequence[str], rooms: Sequence[Room], later: int
) -> list[Seat] | None:
    """Seats with the largest share of a GPU for those that say "auto" with which all fit, or None."""
    autos = (placement.sbs.gpus == "auto") * len(stations) + (placement.mbs.gpus == "auto")
    if autos and any(room.gpus for room in rooms):
        expected = [*stations, *("" for _ in range(later))]
        for names in (expected, stations) if later else (stations,):
            for k in range(1, MOST_SHARES * len(expected) + 2):
                if deal(placement.strategy, _seats(placement, mbs, names, 1 / k), rooms) is not None:
                    return deal(placement.strategy, _seats(placement, mbs, stations, 1 / k), rooms)
    seats = _seats(placement, mbs, stations, 0.0)
    if autos:
        seats = [_on_cpus(seat, placement.mbs if seat.station == mbs else placement.sbs, rooms) for seat in seats]
    return deal(placement.strategy, seats, rooms)


def _on_cpus(seat: Seat, share: Share, rooms: Sequence[Room]) -> Seat:
    if share.gpus != "auto":
        return seat
    there = sum(room.node.gpus for room in rooms)
    reason = "no GPU has room for it" if there else "no GPU in the cluster"
    return replace(seat, reason=reason)


def _allowed(rooms: Sequence[Room], strategy: str, taken: Sequence[Seat]) -> list[Room]:
    """Rooms that the strategy allows beside the seats that are taken, the one it prefers first."""
    seats = Counter(seat.node for seat in taken)
    alive = {room.node.id for room in rooms}
    if strategy == "STRICT_SPREAD":
        return [room for room in rooms if seats[room.node.id] == 0]
    if strategy == "STRICT_PACK" and alive & set(seats):
        return [room for room in rooms if seats[room.node.id] > 0]
    sign = -1 if "PACK" in strategy else 1
    return sorted(rooms, key=lambda room: sign * seats[room.node.id])


def _wishes(name: str, share: Share, others: Sequence[Seat]) -> Iterator[Seat]:
    """Seats that would do for a station, the best first."""
    if share.gpus != "auto":
        yield Seat(name, share.cpus, float(share.gpus))
        return
    shares = [seat.gpus for seat in others if seat.gpus > 0]
    if shares:
        yield Seat(name, share.cpus, shares[0])
        reason = f"no GPU has {gpu_text(shares[0])} left"
    elif others:
        reason = next((seat.reason for seat in others if seat.reason), "the other stations compute on CPUs")
    else:
        for k in range(1, MOST_SHARES + 1):
            yield Seat(name, share.cpus, 1 / k)
        reason = "no GPU has room for it"
    yield Seat(name, share.cpus, 0.0, reason=reason)
