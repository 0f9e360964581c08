"""The dual variable of the r_min constraint against sums over what the metrics say, in both algorithms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from cellfree_sim.inline import InlineEngine
from cellfree_sim.scenario.extensions import LOSS_SCHEMES

OPTIONS = {"name": "dual", "target": 0.9, "margin": 1.0, "weight": 3.0, "step": 7.0}


@pytest.fixture(params=["dmtssl", "cmtssl"])
def dual(request: Any, small_scenario: Any) -> Any:
    """Factory of small scenarios with a minimum rate that some users miss."""
    fixed = {"downlink.algorithm": request.param, "network.users.min_rate_bps_hz": 0.05}
    return lambda **options: small_scenario(**fixed, **{"downlink.loss_scheme": OPTIONS | options})


def started(scenario: Any) -> InlineEngine:
    engine = InlineEngine(scenario)
    engine.start(lambda *_: None)
    return engine


def trained(scenario: Any, steps: int) -> tuple[InlineEngine, list[float]]:
    """The engine after `steps`, and the share of users that met r_min in each."""
    engine = started(scenario)
    rows: list[dict[str, Any]] = []
    engine.advance(steps, rows.extend)
    return engine, [row["min_rate_satisfied"] for row in rows if row["phase"] == "training"]


def weight(engine: InlineEngine) -> float:
    return float(engine.facts()["objective"]["weight"])


def test_the_dual_variable_adds_up_what_the_metrics_say(dual: Any) -> None:
    """With margin 1, the share that counts is the one in the training rows."""
    engine, shares = trained(dual(), 12)
    expected = 3.0
    for share in shares:
        expected = max(0.0, expected + 7.0 * (0.9 - share))
    assert len(shares) == 12 and min(shares) < 0.9
    assert weight(engine) == pytest.approx(expected, rel=1e-12)


def test_it_falls_to_zero_and_no_further_where_the_target_is_met(dual: Any) -> None:
    engine, shares = trained(dual(target=0.2), 5)
    assert min(shares) > 0.2 + 3.0 / 7.0 and weight(engine) == 0.0


def test_a_dual_variable_that_stands_still_is_a_penalty(dual: Any, small_scenario: Any) -> None:
    """Step by step the same parameters as `penalty` of the same weight, where the variable hardly moves."""
    scenario = dual(weight=20.0, step=1e-300, margin=1.5)
    settings = {"downlink.algorithm": scenario.downlink.algorithm.name, "network.users.min_rate_bps_hz": 0.05}
    penalty = small_scenario(**settings, **{"downlink.loss_scheme": "penalty"})
    (one, _), (other, _) = trained(scenario, 4), trained(penalty, 4)
    states = [
        {name: role.state().get("policy") for name, role in {**engine.stations, "mbs": engine.coordinator}.items()}
        for engine in (one, other)
    ]
    for name, policy in states[0].items():
        for key, tensor in (policy or {}).items():
            assert torch.equal(tensor, states[1][name][key])


def test_a_resumed_network_goes_on_with_its_dual_variable(dual: Any) -> None:
    whole, _ = trained(dual(), 8)
    first, _ = trained(dual(), 5)
    second = started(dual())
    second.load_states(first.states())
    assert weight(second) == weight(first) != 3.0
    second.advance(8, lambda _: None)
    assert second.states() == whole.states()


def test_work_that_is_undone_leaves_no_trace(dual: Any) -> None:
    """Rolled back to step 3 after step 6, and on: as if steps 4 to 6 had been played once."""
    engine, _ = trained(dual(), 3)
    saved = engine.states()
    engine.advance(6, lambda _: None)
    engine.load_states(saved)
    engine.advance(6, lambda _: None)
    assert engine.states() == trained(dual(), 6)[0].states()


def test_stations_that_differentiate_for_themselves_cannot_use_it(small_scenario: Any) -> None:
    settings = {"downlink.loss_scheme": "dual", "downlink.feedback": "global_outputs"}
    with pytest.raises(ValidationError, match="found 'dual' with feedback: global_outputs; allowed: with cut_gradient"):
        small_scenario(**settings)
    small_scenario(**settings, **{"downlink.algorithm": "cmtssl"})  # where feedback means nothing


def test_other_schemes_stay_what_they_are() -> None:
    rates = torch.rand(5, 3)
    for name in LOSS_SCHEMES.names():
        scheme = LOSS_SCHEMES.create(name)
        assert (scheme.adapted(rates, 0.5) is scheme) == (name != "dual") == (not scheme.adapts)
