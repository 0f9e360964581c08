"""How a run drives an uplink beside its training, saves it, and takes it back; the uplink itself only counts."""

from __future__ import annotations

import json
import math
import signal
import threading
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fake_uplink import FakeUplink, dying

from agents import Simulation
from agents.bursts import MOST_BURSTS_OF_PART, PARTS, Bursts
from cellfree_sim.errors import RunFailedError, StationLostError, UserError
from cellfree_sim.results.checkpoints import Checkpoints
from cellfree_sim.results.observer import Quiet

BURSTS = 30
SWAP = {"at_burst": 11, "swap_detector": {"service": "counting", "detector": "zf"}}
FAIL = {"at_burst": 17, "fail_service": {"service": "counting", "station": "sbs-1"}}


def uplink(*events: dict[str, Any]) -> dict[str, Any]:
    return {"bursts": BURSTS, "services": [{"name": "counting"}], "events": list(events)}


@pytest.fixture
def begin(launch: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Launch a scenario whose uplink is `fake`."""

    def start(scenario: Any, fake: FakeUplink, name: str = "run") -> Simulation:
        monkeypatch.setattr("agents.simulation.make_uplink", lambda *_: fake)
        simulation: Simulation = launch(scenario, name)
        return simulation

    return start


def bursts_table(simulation: Simulation) -> list[int]:
    with simulation:
        simulation.advance()
        return list(simulation.result().uplink["burst"])


def test_bursts_are_spread_evenly_over_the_training_steps(tiny: Any, begin: Any) -> None:
    fake = FakeUplink()
    with begin(tiny(uplink=uplink()), fake) as simulation:
        for step in (1, 5, 12):
            simulation.advance(steps=step - simulation.step)
            assert fake.done == math.ceil(BURSTS * step / simulation.scenario.steps)
        result = simulation.result()
    assert list(result.uplink["burst"]) == list(range(BURSTS))
    assert result.summary["uplink"]["sum"] == sum(range(BURSTS))
    assert fake.calls == ["start", "close"]


def test_training_is_the_same_with_and_without_an_uplink_that_takes_nothing(
    tiny: Any, begin: Any, play: Any, finish: Any
) -> None:
    alone = play(tiny())
    free = {**uplink(), "backhaul_share": 1e-12, "services": [{"name": "counting", "mec_share": 1e-12}]}
    beside = finish(begin(tiny(uplink=free), FakeUplink(), "beside"))
    for name, packed in alone.packed.items():
        assert beside.state(name).keys() == alone.state(name).keys()
        if name != "mbs":
            assert len(packed) == len(beside.packed[name])
    exact = ["joint_loss", "sum_rate", "bytes"]
    assert beside.metrics[exact].equals(alone.metrics[exact])
    assert beside.metrics["simulated_s"].to_numpy() == pytest.approx(alone.metrics["simulated_s"].to_numpy(), rel=1e-9)


def test_what_the_uplink_takes_is_missing_for_training(tiny: Any, begin: Any, play: Any, finish: Any) -> None:
    """Half of each link and half of each server: what a round computes and sends takes twice the time."""
    half = {**uplink(), "backhaul_share": 0.5, "services": [{"name": "counting", "mec_share": 0.5}]}
    settings = {"backhaul.latency_s": 0.0, "network.mbs": {"mec_flop_per_s": 1e30}}
    alone = play(tiny(**settings))
    beside = finish(begin(tiny(uplink=half, **settings), FakeUplink(), "half"))
    for column in ("compute_s", "transfer_s", "queue_s"):
        expected = 2 * alone.training()[column].to_numpy()
        assert beside.training()[column].to_numpy() == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_events_happen_before_their_burst(tiny: Any, begin: Any) -> None:
    fake = FakeUplink()
    with begin(tiny(uplink=uplink(FAIL, SWAP)), fake) as simulation:
        simulation.advance()
        events = simulation.result().summary["events"]
    assert fake.calls == ["start", ("swap", 11, "counting", "zf"), ("fail", 17, "counting", "sbs-1"), "close"]
    assert [(event["event"], event["at_burst"], event["at_step"]) for event in events] == [
        ("swap_detector", 11, 4),  # 11 * 12 // 30
        ("fail_service", 17, 6),
    ]


@pytest.mark.parametrize("name", ["users-0", "sbs-1", "mbs"])
def test_who_dies_in_the_uplink_takes_the_run_back_and_changes_nothing(
    tiny: Any, begin: Any, finish: Any, assert_equal: Any, name: str
) -> None:
    scenario = tiny(uplink=uplink(SWAP, FAIL))
    undisturbed = finish(begin(scenario, FakeUplink(), "undisturbed"))
    fake = FakeUplink({19: dying(name)})
    disturbed = finish(begin(scenario, fake, "disturbed"))
    assert_equal(undisturbed, disturbed)
    assert fake.calls.count("recover") == 1
    assert [call[0] for call in fake.calls if isinstance(call, tuple)].count("fail") == 1  # killed once, not again
    assert disturbed.summary["uplink"] == undisturbed.summary["uplink"]
    assert [event["stations"] for event in disturbed.summary["events"] if event["event"] == "restart"] == [[name]]


def test_a_station_that_dies_while_training_takes_the_uplink_back_too(
    tiny: Any, begin: Any, finish: Any, assert_equal: Any
) -> None:
    undisturbed = finish(begin(tiny(uplink=uplink()), FakeUplink(), "undisturbed"))
    fake = FakeUplink()
    scenario = tiny({"at_step": 6, "fail_sbs": "sbs-0"}, uplink=uplink())
    disturbed = finish(begin(scenario, fake, "disturbed"))
    assert_equal(undisturbed, disturbed)
    assert "recover" in fake.calls
    assert disturbed.summary["uplink"]["sum"] == sum(range(BURSTS))


@pytest.mark.parametrize("algorithm", ["none", "dmtssl"])
def test_an_interrupted_run_goes_on_with_the_burst_after(
    tiny: Any, begin: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, algorithm: str
) -> None:
    first = FakeUplink({13: partial(signal.raise_signal, signal.SIGINT)})
    scenario = tiny(uplink=uplink(SWAP, FAIL), **{"downlink.algorithm": algorithm})
    with pytest.raises(KeyboardInterrupt), begin(scenario, first) as simulation:
        simulation.advance()
    assert first.done == 14
    second = FakeUplink()
    monkeypatch.setattr("agents.simulation.make_uplink", lambda *_: second)
    with Simulation.resume(tmp_path / "run", observer=Quiet()) as resumed:
        resumed.advance()
        result = resumed.result()
    assert list(result.uplink["burst"]) == list(range(BURSTS))
    assert second.sum == sum(range(BURSTS))
    assert [call for call in second.calls if isinstance(call, tuple)] == [("fail", 17, "counting", "sbs-1")]
    assert [event["event"] for event in result.summary["events"]] == ["swap_detector", "fail_service"]
    assert result.summary["status"] == "done"


def test_without_a_downlink_bursts_are_the_whole_run(tiny: Any, begin: Any) -> None:
    scenario = tiny(uplink=uplink(), **{"downlink.algorithm": "none"})
    assert (scenario.steps, scenario.realisations) == (0, {})
    with begin(scenario, FakeUplink()) as simulation:
        assert simulation.advance() == 0
        result = simulation.result()
    summary = result.summary
    assert (summary["status"], summary["steps"], summary["simulated_seconds"]) == ("done", 0, 1e-3 * BURSTS)
    assert "downlink" not in summary
    assert len(result.metrics) == len(result.rates) == 0
    assert list(result.uplink["burst"]) == list(range(BURSTS))


def test_rounds_cannot_be_asked_for_where_nothing_is_trained(tiny: Any, begin: Any) -> None:
    with begin(tiny(uplink=uplink(), **{"downlink.algorithm": "none"}), FakeUplink()) as simulation:
        with pytest.raises(UserError, match=r"this run trains nothing; advance\(\) serves its bursts; found 5"):
            simulation.advance(steps=5)
        simulation.advance()
        assert simulation.result().summary["status"] == "done"


def test_an_event_that_cannot_happen_ends_the_run_with_an_account(tiny: Any, begin: Any, tmp_path: Path) -> None:
    class Without(FakeUplink):
        def swap(self, service: str, detector: Any) -> None:
            raise UserError("detector.weights: found no file lost.pt")

    with begin(tiny(uplink=uplink(SWAP)), Without()) as simulation, pytest.raises(RunFailedError, match="no file lost"):
        simulation.advance()
    reason = "swap_detector at burst 11: detector.weights: found no file lost.pt"
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["error"]) == ("failed", reason)
    assert f"failed: {reason}" in (tmp_path / "run" / "run.log").read_text()


def test_bursts_that_are_done_again_count_once_in_the_news(tiny: Any, begin: Any, tmp_path: Path) -> None:
    with begin(tiny(uplink=uplink()), FakeUplink({19: dying("users-0")})) as simulation:
        simulation.advance()
    assert json.loads((tmp_path / "run" / "progress.json").read_text())["services"][0]["ser"] == 0.1
    saved = Checkpoints(tmp_path / "run" / "checkpoints").latest()
    assert saved is not None
    counts = {"symbols": 10 * BURSTS, "errors": BURSTS, "requests": 3 * BURSTS, "refused": 0, "latency_s": 1e-3}
    assert saved.notes["told"]["services"]["counting"] == counts


def test_an_uplink_that_is_not_up_is_not_asked_for_its_books(
    tiny: Any, begin: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Slow(FakeUplink):
        def start(self, state: Any = None) -> None:
            raise KeyboardInterrupt

        def drain_ledgers(self) -> list[bytes]:
            raise AssertionError("it would answer only when all its channels are made")

    with pytest.raises(KeyboardInterrupt):
        begin(tiny(uplink=uplink()), Slow())


@pytest.mark.parametrize(("total", "parts"), [(30, PARTS), (MOST_BURSTS_OF_PART * PARTS + 1, PARTS + 1), (10**6, 500)])
def test_a_run_without_training_is_saved_before_it_holds_too_much(tiny: Any, total: int, parts: int) -> None:
    class Jumping(FakeUplink):
        def advance(self, until: int, on_rows: Any, should_hold: Any) -> int:
            self.done = until
            return until

    fake = Jumping()
    scenario = tiny(uplink={**uplink(), "bursts": total}, **{"downlink.algorithm": "none"})
    bursts = Bursts(scenario, fake, beside=False, on_rows=print, on_event=print)
    bursts.start(None)
    reached = [0]
    while bursts.left:
        bursts.begin_part()
        bursts.end(lambda: False)
        reached.append(bursts.done)
    assert len(reached) == 1 + parts
    assert max(after - before for before, after in pairwise(reached)) <= MOST_BURSTS_OF_PART


def test_a_network_with_an_uplink_does_not_change(tiny: Any, begin: Any) -> None:
    with begin(tiny(uplink=uplink()), FakeUplink()) as simulation:
        simulation.advance(steps=4)
        with pytest.raises(UserError, match="a run with an uplink cannot change"):
            simulation.inject_sbs((10.0, 10.0))
        with pytest.raises(UserError, match="a run with an uplink cannot change"):
            simulation.remove_sbs("sbs-1")
        assert simulation.advance() == simulation.scenario.steps


def on_a_thread(tiny: Any, fake: FakeUplink) -> Bursts:
    ignored: list[Any] = []
    bursts = Bursts(tiny(uplink=uplink()), fake, beside=True, on_rows=ignored.append, on_event=ignored.append)
    bursts.start(None)
    return bursts


def test_bursts_go_on_while_training_does(tiny: Any) -> None:
    trained, reached = threading.Event(), threading.Event()
    bursts = on_a_thread(tiny, FakeUplink({5: reached.set, 9: partial(trained.wait, 60)}))
    bursts.begin(12)
    assert reached.wait(60)  # the uplink is at work, though nobody has waited for it yet
    trained.set()
    bursts.end(lambda: False)
    assert bursts.done == BURSTS and not bursts.left


def test_what_ends_the_uplink_is_told_to_who_waits_for_it(tiny: Any) -> None:
    bursts = on_a_thread(tiny, FakeUplink({5: dying("users-0")}))
    bursts.begin(12)
    with pytest.raises(StationLostError, match="users-0 died"):
        bursts.end(bursts.has_failed)
    bursts.begin(12)  # it does not die twice
    bursts.end(lambda: False)
    assert bursts.done == BURSTS


def test_an_uplink_that_is_abandoned_stops_between_two_bursts(tiny: Any) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        reached.set()
        go_on.wait(60)

    fake = FakeUplink({5: wait})
    bursts = on_a_thread(tiny, fake)
    bursts.begin(12)
    assert reached.wait(60)
    threading.Timer(0.05, go_on.set).start()
    bursts.abandon()
    assert (fake.done, fake.sum) == (6, sum(range(6)))


def raising(error: BaseException) -> Any:
    def hold() -> bool:
        raise error

    return hold


@pytest.mark.parametrize("error", [RuntimeError("inbox"), KeyboardInterrupt()])
def test_nothing_goes_on_when_waiting_for_it_fails(tiny: Any, error: BaseException) -> None:
    class Endless(FakeUplink):
        def advance(self, until: int, on_rows: Any, should_hold: Any) -> int:
            while not should_hold():
                threading.Event().wait(1e-3)
            return self.done

    bursts = on_a_thread(tiny, Endless())
    bursts.begin(12)
    with pytest.raises(type(error)):
        bursts.end(raising(error))
    assert "uplink" not in {thread.name for thread in threading.enumerate()}
