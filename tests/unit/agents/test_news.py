"""What is told of a run while it goes on, against its books, its tables, and what its scenario says."""

from __future__ import annotations

from typing import Any

import pytest

from agents import Simulation
from cellfree_sim.results.runs import RunStatus, run_status

UPLINK = {"bursts": 40, "snr_db": [0.0, 5.0], "services": [{"detector": "lmmse", "cooperation": "soft_fusion"}]}


def told(simulation: Simulation) -> RunStatus:
    """What is told at this moment; the thread that tells it every 0.4 s is not waited for."""
    simulation._news.tell()
    return run_status(simulation.folder)


def by_pair(by_direction: dict[str, int]) -> dict[frozenset[str], int]:
    found: dict[frozenset[str], int] = {}
    for way, size_bytes in by_direction.items():
        ends = frozenset(way.split(">"))
        found[ends] = found.get(ends, 0) + size_bytes
    return found


def links_of(status: RunStatus) -> dict[frozenset[str], int]:
    return {frozenset((link["a"], link["b"])): link["bytes"] for link in status.links if link["bytes"]}


def backhaul_links(books: dict[str, int]) -> dict[frozenset[str], int]:
    """Without the air, which has no links between stations."""
    return {ends: n for ends, n in by_pair(books).items() if n and not any(name.startswith("users-") for name in ends)}


@pytest.mark.parametrize("uplink", [None, UPLINK], ids=["downlink", "both"])
@pytest.mark.parametrize("algorithm", ["dmtssl", "cmtssl"])
def test_bytes_of_links_and_kinds_are_those_of_the_books(
    tiny: Any, launch: Any, algorithm: str, uplink: dict[str, Any] | None
) -> None:
    """At any moment: those that were committed, and those that come with the rounds since."""
    settings = {"downlink.algorithm": algorithm, "downlink.policy": "set", "uplink": uplink}
    with launch(tiny(checkpoint_every_steps=6, **settings)) as simulation:
        engine, uplink_role = simulation._engine, simulation._bursts._uplink
        simulation.commit = lambda: None  # the books stay as they are, and what is told goes on
        simulation.advance(steps=5)
        before = told(simulation)
        for ledger in [*engine.drain_ledgers(), *(uplink_role.drain_ledgers() if uplink_role else [])]:
            simulation._journal.books.feed(ledger)
        books = simulation._journal.books
        assignments = {"codebook_assignment": 0} if uplink else {}
        assert {**assignments, **before.by_kind} == {**assignments, **books.by_kind}
        assert links_of(before) == backhaul_links(books.by_link)
        assert before.bytes == books.bytes
