"""Nodes, seats, and how a strategy deals seats to nodes: arithmetic only.

A network has one MBS and SBSs that all ask for the same, so a node is described by how many SBSs it holds, and dealing
is exact: where there is a way to seat everybody, one is found.

What is known of a node is how much of its GPUs is free in all, not how it is spread over them. A rest is taken to be
on as few GPUs as possible, as Ray hands shares out.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

ROUNDING = 1e-4  # Ray counts resources in steps of this
LEAST_BUNDLE = {"CPU": 0.001}  # of a station that asks for nothing; Ray wants at least one resource


@dataclass(frozen=True)
class Node:
    """A machine of a cluster.

    Attributes:
        id: Ray's, hexadecimal.
        name: for people: its host name, with a piece of its id where several nodes are on one host.
        cpus, gpus: what it has; logical, as Ray was told when the node was started.
        free_cpus, free_gpus: what nobody has reserved.
        alive: whether it answers.
    """

    id: str
    name: str
    cpus: float
    gpus: float
    free_cpus: float
    free_gpus: float
    alive: bool = True


@dataclass(frozen=True)
class Seat:
    """What one station takes from the cluster, and where.

    Attributes:
        station: its name.
        cpus, gpus: logical; a part of a GPU is 1/k.
        node, node_name: the node's id and name; empty for any.
        reason: why it computes on CPUs although its scenario says ``gpus: auto``; empty where it does not.
    """

    station: str
    cpus: float
    gpus: float
    node: str = ""
    node_name: str = ""
    reason: str = ""

    @property
    def bundle(self) -> dict[str, float]:
        """Its placement-group bundle.

        >>> Seat("sbs-1", cpus=1, gpus=0).bundle
        {'CPU': 1}
        """
        resources = {"CPU": self.cpus, "GPU": self.gpus}
        return {name: amount for name, amount in resources.items() if amount > 0} or dict(LEAST_BUNDLE)


def seat_at(seat: Seat, node: Node) -> Seat:
    """The same seat, on `node`."""
    return replace(seat, node=node.id, node_name=node.name)


class Room:
    """What is left of a node while seats are dealt."""

    def __init__(self, node: Node, cpus: float, gpus: float) -> None:
        self.node = node
        self.cpus = cpus
        whole = math.floor(gpus + ROUNDING)
        rest = gpus - whole
        self.gpus = [1.0] * whole + ([rest] if rest > ROUNDING else [])

    def holds(self, seat: Seat) -> bool:
        """Whether `seat` fits."""
        return self.count(seat, 1) == 1

    def count(self, seat: Seat, most: int) -> int:
        """How many seats like `seat` fit, `most` at most."""
        bundle = seat.bundle
        cpus, gpus = bundle.get("CPU", 0.0), bundle.get("GPU", 0.0)
        fitting = [float(most)]
        if cpus > 0:
            fitting.append((self.cpus + ROUNDING) // cpus)
        if gpus >= 1:
            fitting.append(sum(slot > 1 - ROUNDING for slot in self.gpus) // round(gpus))
        elif gpus > 0:
            fitting.append(sum((slot + ROUNDING) // gpus for slot in self.gpus))
        return max(0, int(min(fitting)))

    def without(self, seat: Seat) -> Room:
        """What is left beside `seat`, which must fit: a part of the fullest GPU with room for it, or whole ones."""
        bundle = seat.bundle
        cpus, gpus = bundle.get("CPU", 0.0), bundle.get("GPU", 0.0)
        left = Room(self.node, self.cpus - cpus, 0.0)
        left.gpus = list(self.gpus)
        part = min(gpus, 1.0)
        for _ in range(math.ceil(gpus - ROUNDING)):
            slot = min(slot for slot in left.gpus if slot + ROUNDING >= part)
            left.gpus.remove(slot)
            if slot - part > ROUNDING:
                left.gpus.append(slot - part)
        return left


def deal(strategy: str, seats: Sequence[Seat], rooms: Sequence[Room]) -> list[Seat] | None:
    """Deal `seats` (the MBS's first, the others alike) to rooms; None where they do not fit.

    Tries each room for the MBS, because what it takes there decides how many SBSs fit.
    """
    first, others = seats[0], seats[1:]
    empty = [room.count(others[0], len(others)) if others else 0 for room in rooms]
    if sum(empty) < len(others):
        return None
    best: tuple[tuple[int, int], list[int]] | None = None
    for index, room in enumerate(rooms):
        if not room.holds(first):
            continue
        beside_mbs = room.without(first).count(others[0], len(others)) if others else 0
        capacity = [*empty[:index], beside_mbs, *empty[index + 1 :]]
        order = _ORDERS[strategy](index, capacity, len(others))
        if order is None:
            continue
        places = [index, *order]
        used = Counter(places)
        merit = (len(used), 0) if "PACK" in strategy else (-len(used), max(used.values()))
        if best is None or merit < best[0]:
            best = merit, places
    if best is None:
        return None
    return [seat_at(seat, rooms[place].node) for seat, place in zip(seats, best[1], strict=True)]


def _pack(mbs_at: int, capacity: Sequence[int], count: int) -> list[int] | None:
    """The MBS's room first, then the roomiest."""
    order = sorted(range(len(capacity)), key=lambda index: (index != mbs_at, -capacity[index], index))
    places = [index for index in order for _ in range(capacity[index])]
    return places[:count] if len(places) >= count else None


def _spread(mbs_at: int, capacity: Sequence[int], count: int) -> list[int] | None:
    """Each to the room with the fewest seats that still holds it."""
    heap = [(int(index == mbs_at), index, room) for index, room in enumerate(capacity) if room > 0]
    heapq.heapify(heap)
    places: list[int] = []
    while heap and len(places) < count:
        seats, index, room = heapq.heappop(heap)
        places.append(index)
        if room > 1:
            heapq.heappush(heap, (seats + 1, index, room - 1))
    return places if len(places) == count else None


def _strict_pack(mbs_at: int, capacity: Sequence[int], count: int) -> list[int] | None:
    return [mbs_at] * count if capacity[mbs_at] >= count else None


def _strict_spread(mbs_at: int, capacity: Sequence[int], count: int) -> list[int] | None:
    places = [index for index, room in enumerate(capacity) if room > 0 and index != mbs_at]
    return places[:count] if len(places) >= count else None


_ORDERS = {"PACK": _pack, "SPREAD": _spread, "STRICT_PACK": _strict_pack, "STRICT_SPREAD": _strict_spread}
