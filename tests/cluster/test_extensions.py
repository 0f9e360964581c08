"""Classes from outside the package in the processes of a run on Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents import Simulation
from cellfree_sim.errors import CellfreeError
from cellfree_sim.results.observer import Quiet
from cellfree_sim.scenario import load_scenario

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "extensions"
SETTINGS = {
    "network.sbs.count": 1,
    "placement.mbs.cpus": 0,
    "placement.sbs": {"cpus": 0, "gpus": 0},
    "channel.realisations": {"train": 8, "validation": 4, "test": 4},
    "downlink.batch": 4,
    "downlink.epochs": 1,
}
UPLINK = {"bursts": 2, "snr_db": [10.0], "services": [{"detector": "my_detector:Jacobi"}]}


def test_stations_and_services_import_what_the_scenario_names(cluster: Any, tmp_path: Path, unrendered: None) -> None:
    """The same sum rate as in one process."""
    scenario = load_scenario(EXAMPLES / "downlink.yaml", {**SETTINGS, "uplink": UPLINK})
    found = []
    for engine in ("inline", "ray"):
        with Simulation.launch(scenario, engine=engine, out=tmp_path / engine, observer=Quiet()) as simulation:
            simulation.advance()
            found.append(simulation.result(report=False).summary)
    assert found[0]["downlink"]["sum_rate"] == found[1]["downlink"]["sum_rate"]
    assert found[0]["uplink"]["services"][0]["ser"] == found[1]["uplink"]["services"][0]["ser"]


def test_a_module_that_is_missing_where_stations_run_is_one_line(cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "gone_from_nodes.py").write_text((EXAMPLES / "my_channels.py").read_text())
    (tmp_path / "s.yaml").write_text("channel: {model: gone_from_nodes:TwoRay}\non_failure: abort\n")
    scenario = load_scenario(tmp_path / "s.yaml", SETTINGS)
    (tmp_path / "gone_from_nodes.py").unlink()
    with pytest.raises(CellfreeError, match="module 'gone_from_nodes' is gone: there is no file") as error:
        Simulation.launch(scenario, engine="ray", out=tmp_path / "run", observer=Quiet())
    assert "\n" not in str(error.value)
