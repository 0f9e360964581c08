"""What is told of a run while it goes on, against its books, its tables, and what its scenario says."""

from __future__ import annotations

from typing import Any

import pytest

from agents import Simulation
from agents.news import _places
from cellfree_sim.network import build_network
from cellfree_sim.results.runs import RunStatus, run_status
from cellfree_sim.results.traffic import Traffic
from cellfree_sim.scenario.schema import Scenario

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


def test_at_the_end_all_is_as_in_the_folder(tiny: Any, launch: Any) -> None:
    """Bytes of the books, curves of the tables, errors of the services; rates of stations add up to the sum rate."""
    with launch(tiny(uplink=UPLINK)) as simulation:
        simulation.advance()
        result = simulation.result()
    status = run_status(simulation.folder)
    backhaul, metrics = result.summary["backhaul"], result.metrics
    assert (status.status, status.step, status.steps, status.burst, status.bursts) == ("done", 12, 12, 40, 40)
    assert status.by_kind == backhaul["by_kind"]
    assert status.bytes == backhaul["bytes"]
    assert links_of(status) == backhaul_links(backhaul["by_link"])
    for phase, columns in (("training", ["joint_loss"]), ("validation", ["sum_rate", "min_rate_satisfied"])):
        rows = metrics[metrics.phase == phase]
        for column in ["step", *columns]:
            assert status.curves[phase][column] == rows[column].tolist()
    uplink = result.uplink
    points = status.curves["uplink"]["lmmse-soft_fusion"]
    counted = uplink.groupby(uplink.burst // 2)[["symbol_errors", "symbols"]].sum()
    assert points == {"burst": list(range(1, 40, 2)), "ser": (counted.symbol_errors / counted.symbols).tolist()}
    (service,) = status.services
    assert service["ser"] == uplink.symbol_errors.sum() / uplink.symbols.sum()
    assert (service["requests"], service["refused"]) == (uplink.requests.sum(), uplink.refused.sum())
    rates = [each["sum_rate"] for each in status.stations if each["kind"] == "sbs"]
    assert sum(rates) == pytest.approx(metrics[metrics.phase == "test"].sum_rate.item(), rel=1e-5)


def test_a_station_may_join_while_it_is_told_how_the_run_is(
    tiny: Any, launch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is told is of one network, the one before: a thread tells, and another one changes the network."""
    with launch(tiny()) as simulation:
        traffic = simulation._news._traffic
        look = traffic.look

        def join(now_s: float) -> None:
            monkeypatch.setattr(traffic, "look", look)
            simulation.inject_sbs((40.0, 60.0), name="late")

        monkeypatch.setattr(traffic, "look", join)
        assert "late" not in [each["name"] for each in told(simulation).stations]
        assert "late" in [each["name"] for each in told(simulation).stations]


def test_of_many_users_some_are_told_evenly_chosen(tiny: Any) -> None:
    scenario = tiny(**{"network.users": {"count": 1201}})
    network = build_network(scenario)
    told = _places(scenario, network)
    assert told["area_m"] == [100.0, 100.0]
    assert told["users"]["count"] == 1201
    shown = told["users"]["positions_m"]
    assert len(shown) == 401  # every third
    assert shown[1] == list(network.position("user-3")[:2])


def test_readings_are_rates_of_their_interval_and_shares_of_simulated_time() -> None:
    """1000 bytes in 2 s of wall time and 0.5 s of simulated time; the link is busy for 0.1 s of it, sbs-0 for 0.4."""
    traffic, network = Traffic(), build_network(Scenario())
    traffic.look(100.0)
    for now_s in (0.25, 0.5):
        links = {"sbs-0>mbs": [400, 0.05, 0.01 * now_s], "mbs>sbs-0": [100, 0.01, 0.0]}
        reading = {"now_s": now_s, "kinds": {"policy_output": 500}, "links": links, "computed_s": {"sbs-0": 0.2}}
        traffic.take("downlink", reading)
    traffic.look(100.5)
    assert traffic.load("sbs-0") == 0.0  # too early
    traffic.look(102.0)
    first = traffic.links(network)[0]
    assert (first["a"], first["b"], first["bytes"], first["bytes_per_s"]) == ("mbs", "sbs-0", 1000, 500.0)
    assert (first["queue_s"], first["utilisation"]) == pytest.approx((0.005, 0.2))
    assert traffic.load("sbs-0") == pytest.approx(0.8)
    assert (traffic.by_kind(), traffic.simulated_s) == ({"policy_output": 1000}, 0.5)
    traffic.look(106.0)
    assert traffic.load("sbs-0") == pytest.approx(0.8)  # as long as there may be more
    traffic.look(109.0)
    assert traffic.load("sbs-0") == traffic.links(network)[0]["bytes_per_s"] == 0.0
    assert traffic.links(network)[0]["bytes"] == 1000
