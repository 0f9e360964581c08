"""The distributed run equals the in-process run bit for bit: parameters, metrics, rates, and every frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support import finish

from agents import Simulation
from cellfree_sim.results.observer import Quiet

STEPS = 20
WALL_TIMES = ["wall_s"]


def run(scenario: Any, engine: str, out: Path) -> tuple[Any, dict[str, bytes]]:
    """Result and packed states of all stations after the whole run."""
    assert scenario.steps == STEPS
    return finish(Simulation.launch(scenario, engine=engine, out=out, observer=Quiet()))


@pytest.mark.parametrize(
    ("policy", "feedback", "settings"),
    [
        ("set", "cut_gradient", {"downlink.loss_scheme": "dual"}),
        ("set", "global_outputs", {"backhaul.topology": "tree"}),
        (
            "dense",
            "cut_gradient",
            {"downlink.loss_scheme": "el", "backhaul.cache_channels": True, "downlink.sharing": {"every_steps": 7}},
        ),
        ("set", "cut_gradient", {"downlink.algorithm": "cmtssl", "backhaul.precision": "float16"}),
        ("dense", "global_outputs", {"downlink.loss_scheme": "nfl-tangent", "backhaul.precision": "bfloat16"}),
    ],
)
def test_ray_equals_inline(
    cluster: Any, small_scenario: Any, tmp_path: Path, policy: str, feedback: str, settings: dict[str, Any]
) -> None:
    scenario = small_scenario(**{"downlink.policy": policy, "downlink.feedback": feedback, **settings})
    inline, inline_states = run(scenario, "inline", tmp_path / "inline")
    distributed, distributed_states = run(scenario, "ray", tmp_path / "ray")

    assert distributed_states == inline_states
    pd.testing.assert_frame_equal(
        distributed.metrics.drop(columns=WALL_TIMES), inline.metrics.drop(columns=WALL_TIMES), check_exact=True
    )
    pd.testing.assert_frame_equal(distributed.rates, inline.rates, check_exact=True)
    order = ["sender", "sequence"]
    pd.testing.assert_frame_equal(
        distributed.backhaul.sort_values(order, ignore_index=True),
        inline.backhaul.sort_values(order, ignore_index=True),
        check_exact=True,
    )
    assert distributed.summary["backhaul"] == inline.summary["backhaul"]
    assert distributed.summary["backhaul"]["balanced"] is True
    assert len({station["pid"] for station in distributed.summary["stations"]}) >= 3


def test_a_trained_policy_executes_alike(cluster: Any, small_scenario: Any, tmp_path: Path) -> None:
    """Without a single training step."""
    settings = {"downlink.policy": {"name": "set", "trained": "set-shared"}, "downlink.references": []}
    scenario = small_scenario(**settings, **{"downlink.epochs": 0})
    results = []
    for engine in ("inline", "ray"):
        with Simulation.launch(scenario, engine=engine, out=tmp_path / engine, observer=Quiet()) as simulation:
            results.append(simulation.result(report=False))
    inline, distributed = results
    pd.testing.assert_frame_equal(distributed.rates, inline.rates, check_exact=True)
    assert [result.summary["steps"] for result in results] == [0, 0]
    assert distributed.summary["backhaul"] == inline.summary["backhaul"]
    assert set(inline.backhaul.phase) == {"setup", "validation", "test"}
