"""What the actors promise: bytes between stations, errors that reach the user, nothing left behind."""

from __future__ import annotations

import inspect
import os
import signal
import typing
from pathlib import Path
from typing import Any

import pytest
from ray.actor import ActorHandle

from agents import Simulation
from agents.controller import NAME, Controller
from agents.mbs import Mbs
from agents.placement import Seat
from agents.sbs import Sbs
from cellfree_sim.errors import RunFailedError
from cellfree_sim.results.observer import Quiet
from cellfree_sim.results.run_folder import RunFolder

CONTROL = (bool, int, float, str, type(None), list[str])


def methods(actor: type) -> list[tuple[str, dict[str, Any]]]:
    public = inspect.getmembers(actor, lambda m: inspect.isfunction(m) and not m.__name__.startswith("_"))
    return [(name, typing.get_type_hints(method)) for name, method in public]


@pytest.mark.parametrize("actor", [Mbs, Sbs])
def test_stations_take_and_give_bytes_and_plain_scalars_only(actor: type) -> None:
    """No tensor, array or object reaches another station: what is not a scalar of control is bytes."""
    assert len(methods(actor)) >= 5
    for name, hints in methods(actor):
        for argument, kind in hints.items():
            assert kind in (bytes, *CONTROL) or typing.get_origin(kind) is ActorHandle, (
                f"{actor.__name__}.{name}: {argument} is {kind}"
            )


def test_the_controller_never_sees_a_tensor() -> None:
    allowed = {bytes, *CONTROL, Seat, list[Seat], tuple[int, int], typing.Mapping[str, bytes]}
    allowed |= {dict[str, str], dict[str, bytes], dict[str, tuple[int, int]]}
    allowed |= {float | None, dict[str, Any], list[tuple[int, dict[str, Any]]]}  # requests and progress, of JSON types
    for name, hints in methods(Controller):
        for argument, kind in hints.items():
            same = any(
                kind == other or str(kind) == str(other).replace("typing.", "collections.abc.") for other in allowed
            )
            assert same, f"Controller.{name}: {argument} is {kind}"


def test_a_killed_station_ends_the_run_at_once_and_keeps_what_was_measured(
    cluster: Any, small_scenario: Any, run_folder: Path
) -> None:
    import ray

    scenario = small_scenario(**{"downlink.epochs": 5000, "on_failure": "abort"})
    with (
        pytest.raises(RunFailedError, match="sbs-1 died: its process ended unexpectedly"),
        Simulation.launch(scenario, engine="ray", out=run_folder, observer=Quiet()) as simulation,
    ):
        description = simulation.describe()
        simulation.advance(10)
        pids = {station["name"]: int(station["pid"]) for station in description["stations"]}
        os.kill(pids["sbs-1"], signal.SIGKILL)
        simulation.advance()
    folder = RunFolder.open(run_folder)
    assert folder.summary()["status"] == "failed"
    assert "sbs-1 died" in folder.summary()["error"]
    assert folder.metrics().query("phase == 'training'")["step"].max() >= 10
    with pytest.raises(ValueError, match="Failed to look up actor"):
        ray.get_actor(NAME, namespace=description["namespace"])


def test_a_diverged_training_is_reported_by_its_own_words(cluster: Any, small_scenario: Any, run_folder: Path) -> None:
    beyond_float32 = {"radio.noise_dbm": -250.0, "network.sbs.power_dbm": 100.0}
    scenario = small_scenario(**{"downlink.policy": "paper", **beyond_float32})
    with (
        pytest.raises(RunFailedError, match="diverged at step"),
        Simulation.launch(scenario, engine="ray", out=run_folder, observer=Quiet()) as simulation,
    ):
        simulation.advance()
    assert "diverged" in RunFolder.open(run_folder).summary()["error"]


def test_two_runs_on_one_cluster_do_not_mix(cluster: Any, small_scenario: Any, tmp_path: Path) -> None:
    one = Simulation.launch(small_scenario(), engine="ray", out=tmp_path / "one", observer=Quiet())
    two = Simulation.launch(small_scenario(seed=8), engine="ray", out=tmp_path / "two", observer=Quiet())
    with one, two:
        assert one.advance(5) == 5
        assert two.advance(7) == 7
        assert one.advance(5) == 10
        rates = [simulation.result(report=False).summary["downlink"]["sum_rate"] for simulation in (one, two)]
    assert rates[0] != rates[1]
