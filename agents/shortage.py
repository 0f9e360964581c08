"""What a user is told where a cluster falls short: what was asked, what there is, what helps; each in one line."""

from __future__ import annotations

from collections.abc import Sequence

from agents.packing import ROUNDING, Node, Room, Seat, deal

MOST_NODES_TOLD = 4
_RULES = {
    "PACK": "on as few nodes as possible",
    "SPREAD": "spread over the nodes",
    "STRICT_PACK": "on one node",
    "STRICT_SPREAD": "on a node each",
}


def shortage(strategy: str, seats: Sequence[Seat], nodes: Sequence[Node]) -> str:
    """Why not all of `seats` (the MBS's first) fit: what was asked, what there is, what helps."""
    who = f"(1 MBS and {count_text(len(seats) - 1, 'SBS')})"
    for kind in ("CPU", "GPU"):
        wanted, there = _asked(seats, kind), sum(node.cpus if kind == "CPU" else node.gpus for node in nodes)
        if wanted > there + ROUNDING:
            low = kind.lower()
            return (
                f"placement asks for {count_text(wanted, kind)} {who}, the cluster has {there:g}; "
                f"lower placement.mbs.{low}s or placement.sbs.{low}s, or join a larger cluster"
            )
    each = f"the MBS {_ask_text(seats[0])}" + (f", each SBS {_ask_text(seats[1])}" if len(seats) > 1 else "")
    rule = _RULES[strategy]
    if deal(strategy, seats, [Room(node, node.cpus, node.gpus) for node in nodes]) is None:
        other = "choose PACK or SPREAD, lower" if strategy.startswith("STRICT") else "lower"
        return (
            f"placement.strategy {strategy} wants {len(seats)} stations {rule} ({each}), but the cluster "
            f"cannot hold them so: {nodes_text(nodes)}; {other} what a station asks for, or join other nodes"
        )
    return (
        f"placement asks for {_asked_text(seats)} {who}, {rule} ({each}); the cluster has that, but others use it "
        f"now: {nodes_text(nodes)}; wait for them, or ask for less"
    )


def no_room(strategy: str, seat: Seat, nodes: Sequence[Node], allowed: Sequence[Room]) -> str:
    """Why no node takes `seat`, of those that the strategy allows."""
    alive = [node for node in nodes if node.alive]
    ask = f"{seat.station} asks for {_ask_text(seat)}"
    if not alive:
        return f"{ask}; no node of the cluster is alive"
    if not allowed:
        taken = "the only node is" if len(alive) == 1 else f"all {len(alive)} nodes are"
        rule = f"placement.strategy {strategy} wants stations {_RULES[strategy]}"
        return f"{ask}; {rule}, and {taken} taken; join another node, or choose SPREAD"
    there = nodes_text(alive)
    if not any(_ever_holds(room.node, seat) for room in allowed):
        return f"{ask}; no node that the strategy allows can ever hold it: {there}; ask for less, or join a larger node"
    return f"{ask}; no node has that free now: {there}; remove a station, wait for other runs, or join another node"


def no_room_in_short(seat: Seat, allowed: Sequence[Room]) -> str:
    """The same for a table."""
    if not allowed:
        return "every node is taken"
    if not any(_ever_holds(room.node, seat) for room in allowed):
        return "no node has that"
    return "no node has that left"


def gpu_text(gpus: float) -> str:
    """A number of GPUs for people.

    >>> gpu_text(0), gpu_text(0.25), gpu_text(2)
    ('-', '1/4 of a GPU', '2 GPUs')
    """
    if gpus <= 0:
        return "-"
    if gpus < 1:
        return f"1/{round(1 / gpus)} of a GPU"
    return f"{count_text(gpus, 'GPU')}"


def count_text(amount: float, kind: str) -> str:
    """An amount with its noun.

    >>> count_text(1, "CPU"), count_text(2.5, "CPU")
    ('1 CPU', '2.5 CPUs')
    """
    rounded = round(amount, 3)
    return f"{rounded:g} {kind}{'' if rounded == 1 else 's'}"


def nodes_text(nodes: Sequence[Node]) -> str:
    """What is free on each node, in one line.

    >>> nodes_text([Node("ab", "desk", cpus=4, gpus=1, free_cpus=1, free_gpus=0.5)])
    'desk has 1 of 4 CPUs and 0.5 of 1 GPUs free'
    """
    told = []
    for node in nodes[:MOST_NODES_TOLD]:
        gpus = f" and {round(node.free_gpus, 3):g} of {node.gpus:g} GPUs" if node.gpus else ""
        told.append(f"{node.name} has {round(node.free_cpus, 3):g} of {node.cpus:g} CPUs{gpus} free")
    more = len(nodes) - MOST_NODES_TOLD
    return ", ".join(told) + (f", and {more} more nodes" if more > 0 else "") or "it has no node"


def _ever_holds(node: Node, seat: Seat) -> bool:
    return Room(node, node.cpus, node.gpus).holds(seat)


def _ask_text(seat: Seat) -> str:
    parts = [count_text(seat.cpus, "CPU")] + ([gpu_text(seat.gpus)] if seat.gpus else [])
    return " and ".join(parts)


def _asked_text(seats: Sequence[Seat]) -> str:
    gpus = _asked(seats, "GPU")
    return count_text(_asked(seats, "CPU"), "CPU") + (f" and {count_text(gpus, 'GPU')}" if gpus else "")


def _asked(seats: Sequence[Seat], kind: str) -> float:
    """CPUs or GPUs that `seats` take together; `kind` is "CPU" or "GPU"."""
    return sum(seat.cpus if kind == "CPU" else seat.gpus for seat in seats)
