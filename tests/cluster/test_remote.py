"""A running network reached from outside, with a stand-in for its controller that answers as the real one does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents import remote
from agents.remote import RemoteRun
from cellfree_sim.cli import main
from cellfree_sim.errors import RunFailedError, UserError
from cellfree_sim.results.run_file import RunFile
from cellfree_sim.watching import watch

RECORD = {
    "station": "sbs-3",
    "position": [75.0, 12.5],
    "nearest": "sbs-1",
    "donor": "sbs-1",
    "transfer": "nearest",
    "after": "fine-tune",
    "at_step": 12,
    "transfer_bytes": 1_234_567,
    "model_bytes": 1_230_000,
    "sum_rate_before": 1.25,
    "sum_rate_after": 2.5,
    "seconds": 3.14159,
    "simulated_seconds": 0.00123,
}


@pytest.fixture
def start(cluster: Any) -> Iterator[Callable[..., Any]]:
    """Factory of controllers: `start("one")` is that of a run called so."""
    import ray

    class StandIn:
        """Adds stations, knows none that it could remove, and answers "wait" only after `finish`."""

        def __init__(self, run: str) -> None:
            import asyncio

            self.run = run
            self.requests: list[dict[str, Any]] = []
            self.finished = asyncio.Event()

        async def info(self) -> dict[str, Any]:
            told = {"step": 5, "steps": 9, "sum_rate": 1.5, "bytes": 10, "stations": [], "events": []}
            return {**told, "run": self.run, "folder": f"/there/{self.run}", "host": "another-machine", "pid": 4}

        async def command(self, request: dict[str, Any]) -> dict[str, Any]:
            self.requests.append(request)
            if request["command"] == "wait":
                await self.finished.wait()
            if request["command"] == "remove":
                return {"error": f"there is no station '{request['station']}'\nin this network"}
            return {"ok": RECORD if request["command"] == "inject" else {}}

        async def finish(self) -> None:
            self.finished.set()

        async def asked(self) -> list[dict[str, Any]]:
            return self.requests

    actors = []

    def make(run: str, suffix: str = "0123abcd") -> Any:
        create: Any = ray.remote(StandIn).options(
            name=remote.CONTROLLER, namespace=f"cellfree-{run}-{suffix}", num_cpus=0, max_concurrency=100
        )
        actors.append(create.remote(run))
        ray.get(actors[-1].info.remote())
        return actors[-1]

    yield make
    for actor in actors:
        ray.kill(actor)


@pytest.fixture
def address(cluster: Any) -> str:
    return str(cluster.address_info["gcs_address"])


@pytest.fixture
def by_file(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Factory of running run folders below ./runs, whose run.json leads to the cluster."""
    monkeypatch.chdir(tmp_path)

    def make(run: str) -> str:
        folder = Path("runs") / run
        folder.mkdir(parents=True)
        for file in ("scenario.yaml", "run.log"):
            (folder / file).touch()
        RunFile.of_this_process("ray", address=address, namespace=f"cellfree-{run}-0123abcd").write(folder)
        return str(folder)

    return make


def test_a_station_is_added_by_the_run_file(
    start: Callable[..., Any], by_file: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    import ray

    controller = start("one")
    by_file("one")
    assert main(["inject", "--position", "75,12.5", "--name", "east", "--transfer", "random", "--after=execute"]) == 0
    assert ray.get(controller.asked.remote()) == [
        {
            "command": "inject",
            "position_m": [75.0, 12.5],
            "name": "east",
            "azimuth_deg": None,
            "transfer": "random",
            "after": "execute",
        }
    ]
    assert capsys.readouterr().out.splitlines() == [
        "sbs-3 at (75, 12.5) m joined after step 12",
        "",
        "nearest         sbs-1",
        "model           of sbs-1: 1,230,000 bytes, 1,234,567 on the wire",
        "sum rate        1.25 bit/s/Hz before, 2.50 just after",
        "first decision  3.14 s after the command, 0.00123 s simulated",
    ]
    assert main(["inject", "--position", "75,12.5", "--run", "one", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == RECORD


def test_a_refused_command_is_one_line(
    start: Callable[..., Any], address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    start("one")
    assert main(["remove", "sbs-9", "--address", address]) == 2
    assert capsys.readouterr() == ("", "cellfree: error: one: there is no station 'sbs-9' in this network\n")


def test_runs_on_one_cluster_are_told_apart(
    start: Callable[..., Any], address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import ray

    assert main(["stop", "--address", address]) == 2
    assert f"--address {address}: no run is on the cluster there" in capsys.readouterr().err
    assert main(["status", "--address", address]) == 0
    assert capsys.readouterr() == ("", f"cellfree: no run on the cluster at {address}\n")

    controllers = [start("one"), start("two"), start("two", "4567abcd")]
    assert main(["status", "--address", address, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(run["run"], run["status"], run["step"], run["host"]) for run in found] == [
        ("one", "running", 5, "another-machine"),
        ("two", "running", 5, "another-machine"),
        ("two", "running", 5, "another-machine"),
    ]
    for command, says in [
        ("inject --position 1,2", "3 runs are on the cluster at"),
        ("inject --position 1,2 --run tow", "tow: there is no such run at"),
        ("inject --position 1,2 --run two", "cellfree-two-0123abcd, cellfree-two-4567abcd"),
    ]:
        assert main([*command.split(), "--address", address]) == 2
        assert says in capsys.readouterr().err
    assert main(["inject", "--position", "1,2", "--run", "cellfree-two-4567abcd", "--address", address]) == 0
    assert [len(ray.get(controller.asked.remote())) for controller in controllers] == [0, 0, 1]


def test_a_run_that_ends_meanwhile_says_so(start: Callable[..., Any], address: str) -> None:
    import ray

    controller = start("one")
    with remote.runs_at(address) as runs:
        run = remote.chosen(runs, "runs/one/", address)
        with pytest.raises(RunFailedError, match=r"one: no answer within 0\.5 s"):
            run.command({"command": "wait"}, timeout_s=0.5)
        ray.kill(controller)
        with pytest.raises(RunFailedError, match="one: the run ended before it answered"):
            run.command({"command": "wait"})
        assert run.status().status == "silent"
        run.wait_for_end(30)
        with pytest.raises(UserError, match="one: does not answer, it is just starting or ending"):
            RemoteRun("one", "cellfree-one-0123abcd")


def test_the_driver_of_a_run_that_is_gone_ends_the_wait(start: Callable[..., Any], address: str) -> None:
    start("one")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    here = RunFile.of_this_process("ray", address=address, namespace="cellfree-one-0123abcd")
    driver = RunFile(gone.pid, 0.0, here.host, "ray", here.address, here.namespace)
    with remote.connect("one", driver) as run, pytest.raises(RunFailedError, match="the run ended before"):
        run.command({"command": "wait"})


def test_ctrl_c_gives_up_waiting_and_not_the_command(start: Callable[..., Any], address: str) -> None:
    """From a process of its own, as a second terminal is."""
    import ray

    controller = start("one")
    code = f"""if True:
        import signal, sys
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
        from agents import remote
        from cellfree_sim.cli import live, main
        live._order = (lambda order: lambda a, r: order(a, {{"command": "wait"}}))(live._order)
        sys.exit(main(["inject", "--position", "1,2", "--address", {address!r}]))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
    )
    while not ray.get(controller.asked.remote()):
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err == "cellfree: interrupted; one goes on, and the command stays in force\n"
    assert ray.get(controller.asked.remote()) == [{"command": "wait"}]


def test_a_run_elsewhere_is_stopped_through_its_cluster(
    start: Callable[..., Any], address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    controller = start("one")
    monkeypatch.setattr(RemoteRun, "wait_for_end", lambda self, timeout_s: None)
    assert main(["stop", "--address", address]) == 0
    assert ray.get(controller.asked.remote()) == [{"command": "stop"}]
    assert capsys.readouterr().out == (
        "one: interrupted after step 5; on another-machine go on with: cellfree run --resume /there/one\n"
    )


def test_who_watches_orders_through_a_process_of_its_own(
    start: Callable[..., Any], by_file: Callable[[str], str]
) -> None:
    """Several orders at a time, from any thread; the watching process itself never joins the cluster."""
    import ray

    from cellfree_sim.envoy import Envoy

    controller = start("one")
    folder = by_file("one")
    with watch("one") as run:
        assert run.status().lives
        assert run.inject((75.0, 12.5)) == RECORD
        with pytest.raises(UserError, match="one: there is no station 'sbs-9' in this network"):
            run.remove("sbs-9")
    envoy = Envoy(folder, None)
    try:
        waiting = envoy.post({"command": "wait"})
        assert envoy.order({"command": "pause"}) == {}
        assert not waiting.done()
        ray.kill(controller)
        with pytest.raises(RunFailedError, match="one: the run ended before it answered"):
            waiting.result(60)
        start("one", "89abcdef")  # its controller was restarted, and the run goes on
        here = RunFile.read(Path(folder))
        assert here is not None
        replace(here, namespace="cellfree-one-89abcdef").write(Path(folder))
        assert envoy.order({"command": "pause"}) == {}
    finally:
        envoy.close()
    RunFile.of_this_process("ray", address=here.address, namespace="cellfree-one-0123abcd").write(Path(folder))
    with watch("one") as run, pytest.raises(UserError, match="one: does not answer, it is just starting or ending"):
        run.pause()
