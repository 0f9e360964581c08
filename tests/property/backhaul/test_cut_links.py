"""Random cuts and repairs under traffic: no frame is unaccounted for, whatever was lost on the way."""

from __future__ import annotations

import itertools
from typing import Any

import networkx as nx
from hypothesis import given
from hypothesis import strategies as st

from cellfree_sim.backhaul import Books, Port
from cellfree_sim.backhaul.messages import Leave

NAMES = ("mbs", "sbs-0", "sbs-1", "sbs-2")
LINKS = list(itertools.combinations(NAMES, 2))
RESEND_S = 0.25
PERIOD_S = 0.125
CUTS = st.lists(st.frozensets(st.sampled_from(LINKS), max_size=5), max_size=8)
TRAFFIC = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=6)


def paths_of(graph: Any, sender: str) -> dict[str, tuple[str, ...]]:
    found = nx.single_source_shortest_path(graph, sender)
    return {to: tuple(path) for to, path in found.items() if to != sender}


@given(CUTS, TRAFFIC)
def test_every_frame_is_received_or_named_as_dropped(cuts: list[frozenset[tuple[str, str]]], traffic: Any) -> None:
    whole = nx.Graph(LINKS)
    ports = {name: Port(name, "r", paths_of(whole, name)) for name in NAMES}
    books = Books()
    sent = arrived = 0
    again, for_good, lost = 0, 0, []
    for now, down in enumerate([frozenset(), *cuts]):
        left = nx.Graph(whole)
        left.remove_edges_from(down)
        for name, port in ports.items():
            port.reroute(paths_of(left, name), [frozenset(link) for link in down], RESEND_S)
        for sender, receiver in traffic:
            if sender == receiver:
                continue
            now_s = now * PERIOD_S
            send: dict[str, Any] = {"phase": "training", "step": now, "now_s": now_s}
            if receiver not in ports[sender].paths:
                if receiver in ports[sender].state()["old_paths"]:
                    ports[sender].lose(Leave("x"), receiver, **send)
                    sent, for_good = sent + 1, for_good + 1
                continue
            header, frame = ports[sender].post(Leave("x"), receiver, **send)
            assert all(left.has_edge(*hop) for hop in itertools.pairwise(header.path)), "what arrives went over no cut"
            assert now_s <= header.sent_s <= now_s + RESEND_S
            assert header.attempt == (header.sent_s > now_s)
            ports[receiver].receive(frame)
            sent, arrived, again = sent + 1, arrived + 1, again + header.attempt
        for port in ports.values():
            entries = port.ledger.drain()
            lost += [(e.sender, e.sequence, ">".join(e.path)) for e in entries if e.side == "dropped"]
            books.feed(entries)
    assert books.balanced, books.unmatched
    assert (books.frames, books.dropped["frames"], books.retransmissions["frames"]) == (sent, again + for_good, again)
    received = sum(station["received"] for station in books.by_station.values())
    assert books.bytes == received + books.dropped["bytes"] == sum(s["sent"] for s in books.by_station.values())
    rows = books.take_rows()
    named = list(zip(rows["sender"], rows["sequence"], rows["path"], rows["status"], strict=True))
    assert sorted(row[:3] for row in named if row[3] == "dropped") == sorted(lost)
    assert sum(row[3] == "delivered" for row in named) == arrived
