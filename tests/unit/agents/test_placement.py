"""Plans are made by arithmetic: each is held against all ways there are to seat the stations."""

from __future__ import annotations

import itertools
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

import agents.plan
from agents.packing import ROUNDING
from agents.placement import Node, Seat, dry_run, plan_seats, plan_table, seat_for
from agents.seats import local_cpus, without
from cellfree_sim.errors import ResourceShortError, UserError
from cellfree_sim.network import build_network
from cellfree_sim.scenario.schema import Scenario

STRATEGIES = ["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"]


def scenario(strategy: str = "SPREAD", events: Sequence[Any] = (), **shares: Any) -> Scenario:
    """`sbs_cpus=2` sets placement.sbs.cpus."""
    placement: dict[str, Any] = {"strategy": strategy}
    for key, value in shares.items():
        role, kind = key.split("_")
        placement.setdefault(role, {})[kind] = value
    return Scenario.model_validate({"placement": placement, "events": list(events)})


def node(name: str, cpus: float = 4, gpus: float = 0, *, free: tuple[float, float] | None = None) -> Node:
    return Node(name, f"host-{name}", cpus, gpus, *(free or (cpus, gpus)))


def names(count: int) -> list[str]:
    return [f"sbs-{index}" for index in range(count)]


def places(seats: Sequence[Seat]) -> str:
    return "".join(seat.node for seat in seats)


def gpus_hold(gpus: float, shares: Sequence[float]) -> bool:
    """Whether shares fit on so many whole GPUs, each on one, or on whole ones: tried in all ways."""
    whole = round(gpus)
    wanted = whole - sum(round(share) for share in shares if share >= 1)
    parts = [share for share in shares if 0 < share < 1]
    return wanted >= 0 and any(
        all(sum(part for part, at in zip(parts, way, strict=True) if at == gpu) <= 1 + ROUNDING for gpu in way)
        for way in itertools.product(range(max(wanted, 0)), repeat=len(parts))
    )


def all_ways(strategy: str, asked: Sequence[tuple[float, float]], nodes: Sequence[Node]) -> Iterator[tuple[int, ...]]:
    """All that the resources of `nodes` and the strategy allow."""
    for way in itertools.product(range(len(nodes)), repeat=len(asked)):
        if strategy == "STRICT_PACK" and len(set(way)) > 1:
            continue
        if strategy == "STRICT_SPREAD" and len(set(way)) < len(way):
            continue
        on = [[each for each, at in zip(asked, way, strict=True) if at == index] for index in range(len(nodes))]
        if all(
            sum(cpus for cpus, _ in here) <= nodes[index].cpus + ROUNDING
            and gpus_hold(nodes[index].gpus, [gpus for _, gpus in here])
            for index, here in enumerate(on)
        ):
            yield way


@st.composite
def clusters(draw: st.DrawFn) -> list[Node]:
    sizes = st.tuples(st.sampled_from([0.5, 1, 2, 3]), st.integers(0, 2))
    return [node("abc"[index], *size) for index, size in enumerate(draw(st.lists(sizes, min_size=1, max_size=3)))]


@hypothesis.settings(max_examples=300)
@hypothesis.given(
    strategy=st.sampled_from(STRATEGIES),
    nodes=clusters(),
    count=st.integers(1, 3),
    mbs=st.tuples(st.sampled_from([0.5, 1, 2]), st.sampled_from([0, 0.5])),
    sbs=st.tuples(st.sampled_from([0.5, 1]), st.sampled_from([0, 1 / 3, 0.5, 1, 2])),
)
def test_a_plan_is_found_where_there_is_one_and_is_the_best(
    strategy: str, nodes: list[Node], count: int, mbs: tuple[float, float], sbs: tuple[float, float]
) -> None:
    wanted = scenario(strategy, mbs_cpus=mbs[0], mbs_gpus=mbs[1], sbs_cpus=sbs[0], sbs_gpus=sbs[1])
    ways = set(all_ways(strategy, [mbs, *[sbs] * count], nodes))
    try:
        seats = plan_seats(wanted, "mbs", names(count), nodes)
    except ResourceShortError:
        assert not ways
        return
    way = tuple("abc".index(seat.node) for seat in seats)
    assert way in ways
    used = len(set(way))
    if strategy == "PACK":
        assert used == min(len(set(other)) for other in ways)
    if strategy == "SPREAD":
        assert used == max(len(set(other)) for other in ways)
    assert [(seat.station, seat.cpus, seat.gpus) for seat in seats] == [
        ("mbs", *mbs),
        *((name, *sbs) for name in names(count)),
    ]
    assert plan_seats(wanted, "mbs", names(count), nodes) == seats


@hypothesis.given(nodes=clusters(), count=st.integers(1, 3), strategy=st.sampled_from(STRATEGIES))
def test_auto_takes_the_largest_share_with_which_all_fit(nodes: list[Node], count: int, strategy: str) -> None:
    def possible(gpus: float) -> bool:
        return any(True for _ in all_ways(strategy, [(1, 0), *[(0.5, gpus)] * count], nodes))

    try:
        seats = plan_seats(scenario(strategy, sbs_cpus=0.5, sbs_gpus="auto"), "mbs", names(count), nodes)
    except ResourceShortError:
        assert not possible(0)
        return
    best = next((1 / k for k in range(1, 13) if possible(1 / k)), 0.0)
    assert [seat.gpus for seat in seats] == [0.0, *[pytest.approx(best)] * count]
    assert all(bool(seat.reason) == (best == 0) for seat in seats[1:])


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [("PACK", "aaab"), ("SPREAD", "abca"), ("STRICT_PACK", None), ("STRICT_SPREAD", None)],
)
def test_strategies_act_across_stations(strategy: str, expected: str | None) -> None:
    nodes = [node(name, 3) for name in "abc"]
    wanted = scenario(strategy)
    if expected is None:
        with pytest.raises(ResourceShortError, match=rf"placement\.strategy {strategy} wants 4 stations .*choose PACK"):
            plan_seats(wanted, "mbs", names(3), nodes)
    else:
        assert places(plan_seats(wanted, "mbs", names(3), nodes)) == expected
    assert places(plan_seats(scenario("STRICT_SPREAD"), "mbs", names(2), nodes)) == "abc"
    assert places(plan_seats(scenario("STRICT_PACK"), "mbs", names(2), nodes)) == "aaa"


def test_the_mbs_sits_where_the_others_still_fit() -> None:
    assert (
        places(plan_seats(scenario(sbs_cpus=2), "mbs", names(2), [node("a", 2), node("b", 2), node("c", 1)])) == "cab"
    )


@pytest.mark.parametrize(("there", "share"), [(0, 0.0), (1, 1 / 3), (2, 1 / 2), (3, 1.0), (8, 1.0)])
def test_auto_shares_the_gpus_of_one_machine(there: int, share: float) -> None:
    seats = plan_seats(scenario(), "mbs", names(3), [node("a", 8, there)])
    assert [seat.gpus for seat in seats] == [0.0, share, share, share]
    assert {seat.reason for seat in seats[1:]} == ({"no GPU in the cluster"} if there == 0 else {""})


def test_auto_leaves_room_for_stations_that_events_inject() -> None:
    inject = {"inject_sbs": {"position_m": [10, 10]}}
    events = [{"at_step": 1, **inject}, {"at_step": 2, **inject}]
    seats = plan_seats(scenario(events=events), "mbs", names(2), [node("a", 8, 1)])
    assert [seat.gpus for seat in seats] == [0.0, 0.25, 0.25]


def test_a_share_never_spans_two_gpus() -> None:
    one_and_a_third = node("a", 8, 2, free=(8, 1 + 1 / 3))  # known as one whole GPU and a third of another
    seats = plan_seats(scenario(sbs_gpus=1 / 2), "mbs", names(2), [one_and_a_third])
    assert len(seats) == 3
    with pytest.raises(ResourceShortError, match=r"1\.333 of 2 GPUs free"):
        plan_seats(scenario(sbs_gpus=1 / 2), "mbs", names(3), [one_and_a_third])


def test_the_mbs_may_have_a_gpu_too() -> None:
    seats = plan_seats(scenario(mbs_gpus="auto"), "mbs", names(3), [node("a", 8, 2)])
    assert [seat.gpus for seat in seats] == [0.5] * 4


@pytest.mark.parametrize(
    ("wanted", "nodes", "text"),
    [
        (
            scenario(sbs_cpus=2, sbs_gpus=0.5),
            [node("a", 4, 2)],
            "placement asks for 7 CPUs (1 MBS and 3 SBSs), the cluster has 4; lower placement.mbs.cpus or "
            "placement.sbs.cpus, or join a larger cluster",
        ),
        (
            scenario(sbs_cpus=2, sbs_gpus=0.5),
            [node("a", 8, 1)],
            "placement asks for 1.5 GPUs (1 MBS and 3 SBSs), the cluster has 1; lower placement.mbs.gpus or "
            "placement.sbs.gpus, or join a larger cluster",
        ),
        (
            scenario(sbs_cpus=2),
            [node("a", 3), node("b", 3), node("c", 1, 1)],
            "placement.strategy SPREAD wants 4 stations spread over the nodes (the MBS 1 CPU, each SBS 2 CPUs), but "
            "the cluster cannot hold them so: host-a has 3 of 3 CPUs free, host-b has 3 of 3 CPUs free, host-c has 1 "
            "of 1 CPUs and 1 of 1 GPUs free; lower what a station asks for, or join other nodes",
        ),
        (
            scenario(),
            [node("a", 8, free=(2, 0))],
            "placement asks for 4 CPUs (1 MBS and 3 SBSs), spread over the nodes (the MBS 1 CPU, each SBS 1 CPU); the "
            "cluster has that, but others use it now: host-a has 2 of 8 CPUs free; wait for them, or ask for less",
        ),
    ],
)
def test_a_shortage_says_what_was_asked_what_there_is_and_what_helps(
    wanted: Scenario, nodes: list[Node], text: str
) -> None:
    with pytest.raises(ResourceShortError) as refused:
        plan_seats(wanted, "mbs", names(3), nodes)
    assert str(refused.value) == text


def test_lost_nodes_hold_nobody() -> None:
    lost = Node("a", "host-a", 8, 0, 8, 0, alive=False)
    assert places(plan_seats(scenario(), "mbs", names(2), [lost, node("b")])) == "bbb"
    assert seat_for(scenario(), "sbs-2", [lost, node("b")], []).node == "b"
    with pytest.raises(ResourceShortError, match=r"has 0; "):
        plan_seats(scenario(), "mbs", names(2), [lost])
    with pytest.raises(ResourceShortError, match="no node of the cluster is alive"):
        seat_for(scenario(), "sbs-2", [lost], [])


class TestOneMore:
    """A station that joins a running network, or comes back to it."""

    def taken(self, where: str, gpus: float = 0, reason: str = "") -> list[Seat]:
        stations = ["mbs", *names(len(where) - 1)]
        return [
            Seat(name, 1, 0 if name == "mbs" else gpus, at, f"host-{at}", reason)
            for name, at in zip(stations, where, strict=True)
        ]

    @pytest.mark.parametrize(("strategy", "node_id"), [("PACK", "b"), ("SPREAD", "c"), ("STRICT_PACK", None)])
    def test_the_strategy_holds(self, strategy: str, node_id: str | None) -> None:
        nodes = [node("a", free=(0, 0)), node("b"), node("c")]
        taken = self.taken("aab") if strategy != "STRICT_PACK" else self.taken("aaa")
        if node_id is None:
            with pytest.raises(ResourceShortError, match=r"sbs-2 asks for 1 CPU; no node has that free now: host-a"):
                seat_for(scenario(strategy), "sbs-2", nodes, taken)
        else:
            assert seat_for(scenario(strategy), "sbs-2", nodes, taken).node == node_id

    def test_strict_spread_wants_a_node_of_its_own(self) -> None:
        nodes = [node("a"), node("b"), node("c")]
        assert seat_for(scenario("STRICT_SPREAD"), "sbs-1", nodes, self.taken("ab")).node == "c"
        with pytest.raises(ResourceShortError, match=r"on a node each, and all 3 nodes are taken; join another node"):
            seat_for(scenario("STRICT_SPREAD"), "sbs-2", nodes, self.taken("abc"))

    def test_strict_pack_moves_where_its_node_is_lost(self) -> None:
        assert seat_for(scenario("STRICT_PACK"), "sbs-1", [node("b")], self.taken("aa")).node == "b"

    def test_the_share_of_a_gpu_is_that_of_the_others(self) -> None:
        seat = seat_for(scenario(), "sbs-2", [node("a", 8), node("b", 8, 1)], self.taken("abb", gpus=0.25))
        assert (seat.node, seat.gpus, seat.reason) == ("b", 0.25, "")

    def test_where_no_gpu_has_room_it_computes_on_cpus_and_says_why(self) -> None:
        full = node("a", 8, 1, free=(5, 0))
        seat = seat_for(scenario(), "sbs-3", [full], self.taken("aaaa", gpus=1 / 3))
        assert (seat.gpus, seat.reason) == (0.0, "no GPU has 1/3 of a GPU left")

    def test_beside_stations_on_cpus_it_computes_on_cpus(self) -> None:
        seat = seat_for(scenario(), "sbs-2", [node("a", 8, 1)], self.taken("aaa", reason="no GPU has room for it"))
        assert (seat.gpus, seat.reason) == (0.0, "no GPU has room for it")

    def test_the_only_sbs_comes_back_to_its_gpu(self) -> None:
        seat = seat_for(scenario(), "sbs-0", [node("a", 8, 1)], self.taken("a"))
        assert (seat.gpus, seat.reason) == (1.0, "")

    def test_a_demanded_gpu_is_not_traded_for_cpus(self) -> None:
        with pytest.raises(
            ResourceShortError, match=r"sbs-3 asks for 1 CPU and 1/2 of a GPU; no node that the strategy"
        ):
            seat_for(scenario(sbs_gpus=0.5), "sbs-3", [node("a", 8)], self.taken("aaa"))

    def test_the_mbs_gets_what_the_mbs_asks_for(self) -> None:
        assert seat_for(scenario(mbs_cpus=3), "mbs", [node("a", 2), node("b", 3)], []).node == "b"


def test_what_seats_take_is_no_longer_free() -> None:
    left = without([node("a", 4, 1), node("b")], [Seat("x", 1, 0.5, "a"), Seat("y", 2, 0, "a"), Seat("z", 0, 0, "b")])
    assert [(each.free_cpus, each.free_gpus) for each in left] == [(1, 0.5), (pytest.approx(3.999), 0)]


def test_a_cluster_on_this_machine_has_room_for_injections() -> None:
    assert local_cpus(scenario(), 3, cores=2) >= 1 + 3 + 16
    assert local_cpus(scenario(sbs_cpus=0, mbs_cpus=0), 3, cores=2) == 2
    assert local_cpus(scenario(), 3, cores=512) == 512


class TestDryRun:
    @pytest.fixture(autouse=True)
    def _machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """This machine, with two cores and a GPU; Ray is not connected, and would not be started."""
        monkeypatch.setattr(agents.plan, "_is_connected", lambda: False)
        monkeypatch.setattr(agents.plan, "local_gpus", lambda: 1)
        monkeypatch.setattr(agents.plan, "Cluster", None)
        monkeypatch.setattr("os.cpu_count", lambda: 2)

    def test_a_plan_for_this_machine(self) -> None:
        wanted = scenario()
        plan = dry_run(wanted, build_network(wanted), None)
        here = socket.gethostname()
        assert plan_table(plan.seats) == [
            ["station", "node", "CPUs", "GPU", "device", "fits"],
            ["mbs", here, "1", "-", "cpu", "yes"],
            *([name, here, "1", "1/3 of a GPU", "cuda", "yes"] for name in names(3)),
        ]
        assert (plan.fits, plan.problem) == (True, "")
        assert plan.cluster == "would start a Ray cluster on this machine: 2 CPUs, 1 GPU"
        assert plan.notes == ["4 logical CPUs on 2 cores: stations take turns"]

    def test_what_does_not_fit_is_shown_beside_what_does(self) -> None:
        wanted = scenario(sbs_gpus=0.5)
        plan = dry_run(wanted, build_network(wanted), None)
        assert [row[-1] for row in plan_table(plan.seats)[1:]] == ["yes", "yes", "yes", "no: no node has that left"]
        assert not plan.fits
        assert plan.problem.startswith("placement asks for 1.5 GPUs (1 MBS and 3 SBSs), the cluster has 1; ")

    @pytest.mark.parametrize(
        ("placement", "reason"),
        [({"strategy": "STRICT_SPREAD"}, "every node is taken"), ({"sbs_gpus": 2}, "no node has that")],
    )
    def test_the_table_says_why_not(self, placement: dict[str, Any], reason: str) -> None:
        wanted = scenario(**placement)
        plan = dry_run(wanted, build_network(wanted), None)
        assert plan_table(plan.seats)[2] == ["sbs-0", "-", "1", plan_table(plan.seats)[2][3], "-", f"no: {reason}"]

    def test_injections_without_room_are_told_beforehand(self) -> None:
        at = {"position_m": [10, 10]}
        events = [
            {"at_step": 5, "inject_sbs": at},
            {"at_step": 1, "remove_sbs": "sbs-1"},
            {"at_step": 2, "inject_sbs": at},
        ]
        wanted = scenario(events=events, sbs_gpus=1 / 3)
        plan = dry_run(wanted, build_network(wanted), None)
        assert plan.fits
        assert [note[:60] for note in plan.notes[1:]] == [
            "at step 5: the station of events[0] asks for 1 CPU and 1/3 o"
        ]

    def test_the_inline_engine_places_nothing(self) -> None:
        wanted = scenario().model_copy(update={"engine": "inline"})
        plan = dry_run(wanted, build_network(wanted), None)
        assert (plan.seats, plan.fits, plan.cluster.count("\n")) == ([], True, 0)

    @pytest.mark.parametrize("address", ["auto", "local", "ray://host:10001", "host", "host:0", "host:99999"])
    def test_a_wrong_address_names_who_gave_it(self, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
        wanted = scenario()
        with pytest.raises(UserError, match=f"^--address {address}: expected host:port"):
            dry_run(wanted, build_network(wanted), address)
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(UserError, match=f"^RAY_ADDRESS {address}: expected host:port"):
            dry_run(wanted, build_network(wanted), None)


def test_seats_on_many_nodes_are_dealt_evenly() -> None:
    seats = plan_seats(scenario(), "mbs", names(59), [node(f"n{index}", 8, 1) for index in range(20)])
    assert set(Counter(seat.node for seat in seats).values()) == {3}
    assert {seat.gpus for seat in seats[1:]} == {1 / 3}
