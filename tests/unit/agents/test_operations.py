"""What happens to a running network happens whole or not at all, in order, and the same after any disturbance."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents import Simulation
from cellfree_sim.errors import RunFailedError, RunFolderError, StationLostError, UserError
from cellfree_sim.results.observer import Quiet

STAR = {"backhaul.topology": "star"}
EVERYTHING: list[dict[str, Any]] = [
    {"at_step": 0, "slow_link": {"between": ["sbs-0", "mbs"], "capacity_bps": 1e6}},
    {"at_step": 3, "inject_sbs": {"position_m": [75, 75]}},
    {"at_step": 4, "cut_link": ["mbs", "sbs-1"]},
    {"at_step": 6, "inject_sbs": {"position_m": [10, 90], "after": "execute", "transfer": "farthest"}},
    {"at_step": 6, "restore_link": ["mbs", "sbs-1"]},
    {"at_step": 8, "remove_sbs": "sbs-0"},
    {"at_step": 9, "inject_sbs": {"position_m": [50, 5], "transfer": "none"}},
    {"at_step": 10, "restore_link": ["mbs", "sbs-0"]},
    {"at_step": 12, "remove_sbs": "sbs-2"},
]
DEATHS = (2, 3, 5, 6, 8, 11)

METHODS = ["reconfigure", "transfer", "states", "validate", "drain_ledgers", "clock", "facts", "farewell", "release"]


def inject(step: int, x: float = 75, y: float = 75, **options: Any) -> dict[str, Any]:
    return {"at_step": step, "inject_sbs": {"position_m": [x, y], **options}}


@pytest.mark.parametrize("run", [0, 1, 2])
def test_failures_around_events_change_nothing(tiny: Any, play: Any, assert_equal: Any, run: int) -> None:
    """Deaths in the rounds before and after events; over three runs, of each station at each moment of a round."""
    undisturbed = play(tiny(*EVERYTHING, **STAR), "undisturbed")
    deaths = [deadly_event(run, index) for index in range(len(DEATHS))]
    disturbed = play(tiny(*deaths[:2], *EVERYTHING, *deaths[2:], **STAR), "disturbed")
    assert_equal(disturbed, undisturbed)
    restarts = [event["stations"] for event in disturbed.summary["events"] if event["event"] == "restart"]
    assert restarts == [["mbs"] if "fail_mbs" in death else [death["fail_sbs"]["station"]] for death in deaths]
    assert undisturbed.summary["backhaul"]["balanced"] and len(undisturbed.summary["downlink"]["injection"]) == 3


def deadly_event(run: int, index: int) -> dict[str, Any]:
    """The station that is cut off, the macro base station or the newcomer (before it is there, its neighbour)."""
    step = DEATHS[index]
    barrier = ("before", "during", "after")[(index + 2 * run + index // 3) % 3]
    station = ("sbs-1", "mbs", "sbs-3" if step > 3 else "sbs-2")[(index + run) % 3]
    failure = {"fail_mbs": barrier} if station == "mbs" else {"fail_sbs": {"station": station, "barrier": barrier}}
    return {"at_step": step, **failure}


def test_all_deaths_were_tried() -> None:
    tried = [deadly_event(run, index) for run in range(3) for index in range(len(DEATHS))]
    mbs = {event["fail_mbs"] for event in tried if "fail_mbs" in event}
    sbs = {tuple(event["fail_sbs"].values()) for event in tried if "fail_sbs" in event}
    assert len(mbs) == 3
    assert {(name, barrier) for name in ("sbs-1", "sbs-3") for barrier in mbs} <= sbs


@contextmanager
def dying(engine: Any, method: str, call: int, moment: str, victim: str) -> Iterator[list[int]]:
    """Let a station die before or after the `call`-th call of a method; yields how often it was called."""
    genuine, calls = getattr(engine, method), [0]

    def perhaps(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == call and moment == "before":
            raise StationLostError((victim,), "died")
        outcome = genuine(*arguments, **named)
        if calls[0] == call and moment == "after":
            raise StationLostError((victim,), "died")
        return outcome

    setattr(engine, method, perhaps)
    yield calls
    setattr(engine, method, genuine)


def test_a_death_in_the_middle_of_a_change_takes_it_back(
    tiny: Any, launch: Any, finish: Any, play: Any, assert_equal: Any
) -> None:
    """Whichever call to the engine does not come back while the network changes, the change is made once, and whole.

    Seeded random calls of each method, and one of the two stations that are there all the time.
    """
    events = [inject(2), {"at_step": 4, "cut_link": ["mbs", "sbs-1"]}, {"at_step": 5, "remove_sbs": "sbs-2"}]
    scenario = tiny(*events, **STAR, **{"downlink.epochs": 2})
    undisturbed = play(scenario, "undisturbed")
    rng = np.random.default_rng(3)
    simulation = launch(scenario, "counted")
    with simulation, ExitStack() as stack:
        counts = {name: stack.enter_context(dying(simulation._engine, name, 0, "before", "")) for name in METHODS}
        simulation.advance()
    for method, (count,) in counts.items():
        assert count > 0, method
        for moment in ("before", "after") if method == "reconfigure" else ("after",):
            call, victim = int(rng.integers(1, count + 1)), str(rng.choice(["sbs-0", "mbs"]))
            simulation = launch(scenario, f"{method}-{moment}")
            with dying(simulation._engine, method, call, moment, victim):
                simulation.advance()
            assert_equal(finish(simulation), undisturbed)


@pytest.mark.parametrize(("stop", "back"), [(2, 0), (3, 1), (6, 0), (6, 1), (12, 1)])
def test_a_resumed_run_goes_through_the_same_events(
    tiny: Any, launch: Any, finish: Any, play: Any, assert_equal: Any, tmp_path: Path, stop: int, back: int
) -> None:
    """From what is on the disk at some step, from the newest checkpoint or the one before it."""
    scenario = tiny(*EVERYTHING, **STAR)
    undisturbed = play(scenario, "undisturbed")
    with launch(scenario, "stopped") as simulation:
        simulation.advance(stop)
        shutil.copytree(simulation.folder, tmp_path / "resumed")
    checkpoints = sorted((tmp_path / "resumed" / "checkpoints").iterdir())
    assert len(checkpoints) == 2
    for newest in checkpoints[2 - back :]:
        shutil.rmtree(newest)
    (tmp_path / "resumed" / "run.json").unlink()
    assert_equal(finish(Simulation.resume(tmp_path / "resumed", observer=Quiet())), undisturbed)


def test_changes_at_one_step_happen_in_the_order_of_the_list(tiny: Any, play: Any) -> None:
    """Who is cut off when the newcomer asks for a model decides whose it gets."""
    cut, join = {"at_step": 5, "cut_link": ["mbs", "sbs-1"]}, inject(5, 80, 30)
    one, other = play(tiny(cut, join, **STAR), "one"), play(tiny(join, cut, **STAR), "other")
    donors = [played.summary["downlink"]["injection"][0]["donor"] for played in (one, other)]
    assert donors == ["sbs-0", "sbs-1"]
    assert [event["event"] for event in one.summary["events"]] == ["cut_link", "inject_sbs"]
    assert [event["event"] for event in other.summary["events"]] == ["inject_sbs", "cut_link"]
    two = play(tiny(inject(5, 80, 30), inject(5, 90, 30), {"at_step": 5, "remove_sbs": "sbs-3"}), "two")
    records = two.summary["downlink"]["injection"]
    assert [(each["station"], each["donor"]) for each in records] == [("sbs-3", "sbs-1"), ("sbs-4", "sbs-3")]
    assert two.packed.keys() == {"mbs", "sbs-0", "sbs-1", "sbs-2", "sbs-4"}


def test_events_of_a_list_out_of_order_happen_by_step(tiny: Any, play: Any, assert_equal: Any) -> None:
    events = EVERYTHING[:3], EVERYTHING[3:]
    assert_equal(play(tiny(*events[1], *events[0], **STAR), "one"), play(tiny(*EVERYTHING, **STAR), "other"))


def test_an_event_that_cannot_be_is_told_and_passed_over(
    tiny: Any, launch: Any, finish: Any, assert_equal: Any
) -> None:
    """Python changed the network before: what the scenario wanted makes no sense any more, and the run goes on."""
    events = [
        {"at_step": 5, "fail_sbs": "sbs-1"},
        {"at_step": 6, "remove_sbs": "sbs-1"},
        inject(7, name="extra"),
        {"at_step": 8, "cut_link": ["mbs", "sbs-0"]},
    ]
    outcomes = []
    for name, late in (("with", events), ("without", events[3:])):
        simulation = launch(tiny(*late, **STAR), name)
        simulation.advance(4)
        simulation.remove_sbs("sbs-1")
        simulation.inject_sbs((30, 30), name="extra")
        outcomes.append(finish(simulation))
    assert_equal(*outcomes)
    refused = [(event["event"], event["at_step"], event["refused"]) for event in outcomes[0].summary["events"][2:5]]
    assert [each[:2] for each in refused] == [("fail_sbs", 5), ("remove_sbs", 6), ("inject_sbs", 7)]
    assert "station 'sbs-1' is removed" in refused[0][2] and "found 'extra', which is active" in refused[2][2]
    assert not any("\n" in each[2] for each in refused)
    for _, step, text in refused:
        assert f"at step {step}: {text}" in outcomes[0].log


def test_a_change_that_is_interrupted_never_was(
    tiny: Any, launch: Any, finish: Any, play: Any, assert_equal: Any
) -> None:
    """Ctrl-C while a model is on its way: the run can be resumed, and the change is made then."""
    scenario = tiny(inject(5), **STAR)
    undisturbed = play(scenario, "undisturbed")
    simulation = launch(scenario, "interrupted")

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    simulation._engine.transfer = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt), simulation:
        simulation.advance()
    assert_equal(finish(Simulation.resume(simulation.folder, observer=Quiet())), undisturbed)


def test_going_on_without_a_dead_station_while_another_is_prepared(tiny: Any, launch: Any, finish: Any) -> None:
    """`on_failure: drop` in the rounds before an injection: the newcomer still joins, those that are left go on."""
    events = [{"at_step": 5, "fail_sbs": {"station": "sbs-1", "barrier": "during"}}, inject(7)]
    played = finish(launch(tiny(*events, on_failure="drop")))
    assert played.packed.keys() == {"mbs", "sbs-0", "sbs-2", "sbs-3"}
    drop, joined = played.summary["events"]
    assert (drop["event"], drop["stations"], drop["at_step"]) == ("drop", ["sbs-1"], 4)
    assert joined["station"] == "sbs-3" and joined["donor"] in ("sbs-0", "sbs-2")
    assert played.summary["backhaul"]["balanced"]
    assert list(played.training().index) == list(range(1, 13))
    assert played.state("sbs-3")["roster"] == ["sbs-0", "sbs-2", "sbs-3"]
    last = tiny({"at_step": 3, "remove_sbs": "sbs-0"}, {"at_step": 3, "remove_sbs": "sbs-2"}, on_failure="drop")
    simulation = launch(last, "last")
    simulation.advance(4)
    simulation._engine.fail("sbs-1", "before")
    with pytest.raises(RunFailedError, match=r"sbs-1: died; and .* is the last one that serves users"), simulation:
        simulation.advance()


@pytest.mark.parametrize(("on_failure", "deaths"), [("restart", 3), ("drop", 1)])
def test_a_newcomer_that_dies_whenever_it_is_to_take_part_is_refused_and_the_run_goes_on(
    tiny: Any, launch: Any, finish: Any, on_failure: str, deaths: int
) -> None:
    simulation = launch(tiny(inject(5), on_failure=on_failure))
    engine: Any = simulation._engine
    died = []

    def dies(donor: str, receiver: str) -> tuple[int, int]:
        died.append(receiver)
        raise StationLostError((receiver,), "died: its process ended unexpectedly")

    engine.transfer = dies
    played = finish(simulation)
    assert died == ["sbs-3"] * deaths
    assert played.packed.keys() == {"mbs", "sbs-0", "sbs-1", "sbs-2"}
    (refused,) = played.summary["events"]
    assert refused["refused"] == "sbs-3 was not injected: died: its process ended unexpectedly"
    assert played.summary["status"] == "done"
    assert played.summary["backhaul"]["balanced"]


class Desk:
    """Requests of other processes to a run on the inline engine, which has none: number, request, step; and replies."""

    def __init__(self, simulation: Simulation, *requests: tuple[int, dict[str, Any]]) -> None:
        self.replies: list[tuple[int, dict[str, Any]]] = []
        self.ready_at = 0
        self._simulation = simulation
        self._requests = list(enumerate(requests))
        engine: Any = simulation._engine
        self._prepared: Callable[..., bool] = engine.prepared
        engine.requests, engine.answer, engine.prepared = self.requests, self.answer, self.prepared

    def requests(self) -> list[tuple[int, dict[str, Any]]]:
        due = [(number, request) for number, (step, request) in self._requests if step <= self._simulation.step]
        self._requests = [each for each in self._requests if each[0] not in dict(due)]
        return due

    def answer(self, number: int, reply: dict[str, Any]) -> None:
        self.replies.append((number, reply))

    def prepared(self, name: str, *, wait: bool) -> bool:
        return self._prepared(name, wait=wait) and (wait or self._simulation.step >= self.ready_at)


def request(x: float = 75, y: float = 75, **options: Any) -> dict[str, Any]:
    return {
        "command": "inject",
        "position_m": [x, y],
        "name": None,
        "transfer": "nearest",
        "after": "fine-tune",
        **options,
    }


def test_what_other_processes_ask_for_is_done_and_answered(
    tiny: Any, launch: Any, finish: Any, play: Any, assert_equal: Any
) -> None:
    """A request ends like the event that asks for the same at the step at which it was granted."""
    events = [inject(6, 60, 60), {"at_step": 7, "remove_sbs": "sbs-1"}]
    expected = play(tiny(*events), "events")
    simulation = launch(tiny(), "requests")
    desk = Desk(simulation, (3, request(60, 60)), (7, {"command": "remove", "station": "sbs-1"}))
    desk.ready_at = 6
    assert_equal(finish(simulation), expected)
    (_, injected), (_, removed) = desk.replies
    record = injected["ok"]
    assert (record["station"], record["at_step"], record["donor"], record["nearest"]) == ("sbs-3", 6, "sbs-1", "sbs-1")
    assert record["position"] in ([60, 60], (60, 60)) and record["transfer_bytes"] > record["model_bytes"] > 0
    assert removed["ok"].items() >= {"station": "sbs-1", "at_step": 7}.items()


def test_requests_that_cannot_be_are_answered_and_change_nothing(
    tiny: Any, launch: Any, finish: Any, play: Any, assert_equal: Any
) -> None:
    expected = play(tiny(inject(6, 60, 60)), "events")
    simulation = launch(tiny(), "requests")
    desk = Desk(
        simulation,
        (2, request(101, 5)),
        (2, request(25, 25)),
        (2, request(transfer="best")),
        (2, {"command": "inject"}),
        (2, request(colour="red")),
        (2, {"command": "remove", "station": "sbs-7"}),
        (2, {"command": "remove", "station": "mbs"}),
        (2, {"command": "dance"}),
        (2, {}),
        (3, request(60, 60)),
        (3, request(70, 70)),
        (4, {"command": "remove", "station": "sbs-3"}),
    )
    desk.ready_at = 6
    assert_equal(finish(simulation), expected)
    replies = dict(desk.replies)
    parts = ["position_m: found [101, 5]", "where station 'sbs-0' stands", "transfer: ", "position_m: ", "colour: "]
    parts += ["there is no station 'sbs-7'", "'mbs' is the macro", "no command 'dance'", "no command 'None'"]
    for number, part in enumerate(parts):
        assert part in replies[number]["error"], number
        assert "\n" not in replies[number]["error"]
    assert replies[9]["ok"]["station"] == "sbs-3"
    assert replies[10]["error"] == "sbs-3 is being injected; one station at a time, try again when it takes part"
    assert "there is no station 'sbs-3'" in replies[11]["error"]
    assert len(desk.replies) == 12


def test_an_event_waits_for_the_station_that_is_being_prepared(
    tiny: Any, launch: Any, finish: Any, play: Any, assert_equal: Any
) -> None:
    """Events of a scenario come at their step; whoever was asked for before that takes part by then."""
    cut = {"at_step": 6, "cut_link": ["mbs", "sbs-1"]}
    expected = play(tiny(inject(6, 80, 30), cut), "events")
    simulation = launch(tiny(cut), "request")
    desk = Desk(simulation, (2, request(80, 30)))
    desk.ready_at = 9
    assert_equal(finish(simulation), expected)
    assert desk.replies[0][1]["ok"]["at_step"] == 6


@pytest.mark.parametrize("victim", ["sbs-0", "mbs"])
def test_a_station_that_is_being_prepared_outlives_the_death_of_others(
    tiny: Any, launch: Any, finish: Any, play: Any, assert_equal: Any, victim: str
) -> None:
    expected = play(tiny(inject(9, 80, 30)), "events")
    simulation = launch(tiny(), "request")
    desk = Desk(simulation, (2, request(80, 30)))
    desk.ready_at = 9
    simulation.advance(4)
    simulation._engine.fail(victim, "after")
    assert_equal(finish(simulation), expected)
    assert desk.replies[0][1]["ok"]["at_step"] == 9


def test_the_network_changes_while_another_station_is_prepared(tiny: Any, launch: Any, finish: Any) -> None:
    """By Python, after Ctrl-C within the rounds for which the scenario's next station is prepared."""
    simulation = launch(tiny(inject(7, 80, 30)))
    simulation.advance(4)
    simulation._operations.look_ahead(7)
    simulation.remove_sbs("sbs-1")
    played = finish(simulation)
    assert played.summary["backhaul"]["balanced"]
    (record,) = played.summary["downlink"]["injection"]
    assert (record["station"], record["donor"]) == ("sbs-3", "sbs-0")
    assert played.state("sbs-3")["roster"] == ["sbs-0", "sbs-2", "sbs-3"]


def test_two_that_remove_the_same_station(tiny: Any, launch: Any, finish: Any) -> None:
    simulation = launch(tiny())
    remove = {"command": "remove", "station": "sbs-1"}
    desk = Desk(simulation, (3, remove), (3, remove), (3, {"command": "remove", "station": "sbs-0"}))
    played = finish(simulation)
    assert "ok" in desk.replies[0][1]
    assert desk.replies[1][1] == {"error": "station 'sbs-1' is removed; allowed: sbs-0, sbs-2"}
    assert "ok" in desk.replies[2][1]
    assert played.packed.keys() == {"mbs", "sbs-2"}


def test_a_run_that_is_asked_to_stop_can_be_resumed(
    tiny: Any, launch: Any, finish: Any, play: Any, assert_equal: Any
) -> None:
    undisturbed = play(tiny(), "undisturbed")
    simulation = launch(tiny(), "stopped")
    desk = Desk(simulation, (5, {"command": "stop"}))
    with pytest.raises(KeyboardInterrupt), simulation:
        simulation.advance()
    assert desk.replies == [(0, {"ok": {"at_step": 5}})]
    assert_equal(finish(Simulation.resume(simulation.folder, observer=Quiet())), undisturbed)


def test_a_station_that_fails_while_it_is_prepared_is_refused(
    tiny: Any, launch: Any, finish: Any, play: Any, assert_equal: Any
) -> None:
    """No room, or a process that dies early: the request is answered, the event passed over, the run unharmed."""
    undisturbed = play(tiny(), "undisturbed")

    def no_room(*_: Any) -> None:
        raise UserError("no room for sbs-3")

    def dies(name: str, *, wait: bool) -> bool:
        if wait:
            deaths.append(name)
            raise RunFailedError(f"{name} died")
        return True

    deaths: list[str] = []
    for name, method, action in (("room", "prepare", no_room), ("death", "prepared", dies)):
        simulation = launch(tiny(inject(8)), name)
        desk = Desk(simulation, (3, request()))
        engine: Any = simulation._engine
        setattr(engine, method, action)
        played = finish(simulation)
        assert_equal(played, undisturbed)
        ((_, reply),) = desk.replies
        (refused,) = played.summary["events"]
        part = "no room for sbs-3" if method == "prepare" else "sbs-3 was not injected: sbs-3 died"
        assert reply["error"] == refused["refused"] == part
        assert "sbs-3" not in engine.stations
    assert len(deaths) == 2 * 3  # one request and one event, three attempts each


def test_a_newcomer_that_dies_once_is_prepared_once_more(
    tiny: Any, launch: Any, finish: Any, play: Any, assert_equal: Any
) -> None:
    undisturbed = play(tiny(inject(8)), "undisturbed")
    simulation = launch(tiny(inject(8)), "disturbed")
    engine: Any = simulation._engine
    prepared, deaths = engine.prepared, ["sbs-3"]

    def dies_once(name: str, *, wait: bool) -> bool:
        if wait and deaths:
            raise RunFailedError(f"{deaths.pop()} died")
        return bool(prepared(name, wait=wait))

    engine.prepared = dies_once
    assert_equal(finish(simulation), undisturbed)
    assert deaths == []


def test_a_full_disk_ends_the_run_and_no_request_is_answered_twice(tiny: Any, launch: Any) -> None:
    simulation = launch(tiny())
    desk = Desk(simulation, (3, request()))
    journal: Any = simulation._journal

    def full(*_: Any) -> None:
        raise RunFolderError("no space left on the disk")

    journal.commit = full
    with pytest.raises(RunFolderError, match="no space left"), simulation:
        simulation.advance()
    assert desk.replies == []
    assert simulation.summary()["status"] == "failed"


def test_who_cannot_be_prepared_once_more_does_not_end_the_run(tiny: Any, launch: Any, finish: Any) -> None:
    """A failure took the process of a newcomer along, and now there is no room for it: whoever asked is told."""
    simulation = launch(tiny())
    desk = Desk(simulation, (3, request()))
    desk.ready_at = 12
    engine: Any = simulation._engine
    prepare = engine.prepare

    def once(*arguments: Any) -> None:
        engine.prepare = no_room
        prepare(*arguments)

    def no_room(*_: Any) -> None:
        raise UserError("no room for sbs-3")

    engine.prepare = once
    simulation.advance(4)
    engine.fail("sbs-0", "before")
    played = finish(simulation)
    assert desk.replies == [(0, {"error": "no room for sbs-3"})]
    assert played.packed.keys() == {"mbs", "sbs-0", "sbs-1", "sbs-2"}
    assert [event["event"] for event in played.summary["events"]] == ["restart"]


def test_python_and_events_change_a_network_alike(
    tiny: Any, launch: Any, finish: Any, play: Any, assert_equal: Any
) -> None:
    scheduled = play(
        tiny(
            inject(4, 60, 80, name="west", transfer="farthest", after="execute"), {"at_step": 9, "remove_sbs": "sbs-2"}
        ),
        "events",
    )
    simulation = launch(tiny(), "python")
    simulation.advance(4)
    record = simulation.inject_sbs((60, 80), name="west", transfer="farthest", after="execute")
    simulation.advance(5)
    removal = simulation.remove_sbs("sbs-2")
    played = finish(simulation)
    assert_equal(played, scheduled)
    assert record.station == "west" and removal.at_step == 9
    assert torch.equal(
        played.state("west")["policy"]["trunk.0.weight"], scheduled.state("west")["policy"]["trunk.0.weight"]
    )
