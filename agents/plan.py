"""What `cellfree run --dry-run` shows: where the stations of a scenario would sit, and whether they all can."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agents.cluster import Cluster, cluster_nodes, local_gpus, settled, target
from agents.packing import Node, Seat
from agents.seats import local_cpus, plan_seats, seat_for, seat_those_that_fit, without
from agents.shortage import count_text, gpu_text
from cellfree_sim.errors import ResourceShortError

if TYPE_CHECKING:
    from cellfree_sim.network import Network
    from cellfree_sim.scenario.schema import Scenario

HEAD = ["station", "node", "CPUs", "GPU", "device", "fits"]


@dataclass(frozen=True)
class Plan:
    """Where stations would sit.

    Attributes:
        seats: of the MBS and its SBSs; one without a node finds no room.
        fits: whether all do.
        problem: why not, in one line.
        cluster: which cluster it would be, in one line.
        notes: what else a user should know, each in one line.
    """

    seats: list[Seat]
    fits: bool
    problem: str
    cluster: str
    notes: list[str]


def dry_run(scenario: Scenario, network: Network, address: str | None) -> Plan:
    """The plan of a run, with nothing started: on the cluster at `address` or RAY_ADDRESS, else on this machine.

    Raises:
        UserError: the cluster cannot be joined.
    """
    if scenario.engine == "inline":
        return Plan([], True, "", "engine inline: all stations in this process, nothing to place", [])
    if not _is_connected() and target(address) is None:
        return _plan_here(scenario, network)
    cluster = Cluster(address=address, namespace="cellfree-dry-run", cpus=0)
    try:
        with suppress(ResourceShortError):  # told below, beside a table
            settled(lambda nodes: plan_seats(scenario, network.mbs, network.stations, nodes))
        nodes = [node for node in cluster_nodes() if node.alive]
    finally:
        cluster.close()
    size = f"{len(nodes)} node{'' if len(nodes) == 1 else 's'}, {_free_text(nodes)}"
    seats, problem, notes = _plan(scenario, network, nodes)
    notes = [note for note in (cluster.note.replace("joined", "would join"), *notes) if note]
    if any(seat.gpus for seat in seats):
        notes.append("cuda where torch finds a GPU in the station's process, else cpu")
    return Plan(seats, not problem, problem, f"would join the Ray cluster at {cluster.address}: {size}", notes)


def plan_table(seats: Sequence[Seat]) -> list[list[str]]:
    """A head, and a row for each seat.

    >>> plan_table([Seat("mbs", 1, 0, "ab", "desk"), Seat("sbs-0", 1, 0.5, reason="no node has that left")])[1:]
    [['mbs', 'desk', '1', '-', 'cpu', 'yes'], ['sbs-0', '-', '1', '1/2 of a GPU', '-', 'no: no node has that left']]
    """
    return [HEAD, *(_row(seat) for seat in seats)]


def _row(seat: Seat) -> list[str]:
    asked = [f"{seat.cpus:g}", gpu_text(seat.gpus)]
    if not seat.node:
        return [seat.station, "-", *asked, "-", f"no: {seat.reason}"]
    device = "cuda" if seat.gpus else "cpu"
    return [seat.station, seat.node_name, *asked, device, f"yes; {seat.reason}" if seat.reason else "yes"]


def _is_connected() -> bool:
    if "ray" not in sys.modules:
        return False
    import ray

    return bool(ray.is_initialized())


def _plan_here(scenario: Scenario, network: Network) -> Plan:
    """On a cluster that would be started for the run: as many logical CPUs as it takes, and the GPUs of the machine."""
    cores, gpus = os.cpu_count() or 1, local_gpus()
    cpus = local_cpus(scenario, len(network.stations), cores)
    node = Node("here", socket.gethostname(), cpus, gpus, free_cpus=cpus, free_gpus=gpus)
    seats, problem, notes = _plan(scenario, network, [node])
    wanted = sum(seat.cpus for seat in seats)
    if wanted > cores:
        notes.insert(0, f"{wanted:g} logical CPUs on {cores} cores: stations take turns")
    where = f"would start a Ray cluster on this machine: {count_text(cores, 'CPU')}, {count_text(gpus, 'GPU')}"
    return Plan(seats, not problem, problem, where, notes)


def _plan(scenario: Scenario, network: Network, nodes: Sequence[Node]) -> tuple[list[Seat], str, list[str]]:
    """Seats, why they do not all fit, and notes."""
    try:
        seats = plan_seats(scenario, network.mbs, network.stations, nodes)
    except ResourceShortError as error:
        return seat_those_that_fit(scenario, network.mbs, network.stations, nodes), str(error), []
    return seats, "", _notes_on_injections(scenario, nodes, seats)


def _notes_on_injections(scenario: Scenario, nodes: Sequence[Node], seats: Sequence[Seat]) -> list[str]:
    """Which of the stations that events inject would find no room, as far as can be said before the run."""
    present, notes = list(seats), []
    for index, event in sorted(enumerate(scenario.events), key=lambda entry: entry[1].at_step):
        if event.action == "remove_sbs":
            present = [seat for seat in present if seat.station != event.detail]
        elif event.action == "inject_sbs":
            name = event.detail.name or f"the station of events[{index}]"
            try:
                present.append(seat_for(scenario, name, without(nodes, present), present, mbs=seats[0].station))
            except ResourceShortError as error:
                notes.append(f"at step {event.at_step}: {error}")
    return notes


def _free_text(nodes: Sequence[Node]) -> str:
    cpus = f"{sum(node.free_cpus for node in nodes):g} of {sum(node.cpus for node in nodes):g} CPUs"
    gpus = f"{round(sum(node.free_gpus for node in nodes), 3):g} of {sum(node.gpus for node in nodes):g} GPUs"
    return f"{cpus} and {gpus} free"
