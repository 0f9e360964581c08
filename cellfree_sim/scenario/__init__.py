"""Scenarios: what they are (`schema`), how they are read (`loader`), and what they may choose from (`extensions`)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cellfree_sim.scenario.describe import scenario_schema
    from cellfree_sim.scenario.loader import (
        ScenarioSource,
        dump_scenario,
        load_scenario,
        read_scenario,
        received_scenario,
        scenario_title,
    )
    from cellfree_sim.scenario.overrides import parse_assignments
    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.scenario.shipped import find_scenario, shipped_scenarios
    from cellfree_sim.scenario.sweep import Point, expand

__all__ = [
    "Point",
    "Scenario",
    "ScenarioSource",
    "dump_scenario",
    "expand",
    "find_scenario",
    "load_scenario",
    "parse_assignments",
    "read_scenario",
    "received_scenario",
    "scenario_schema",
    "scenario_title",
    "shipped_scenarios",
]

_HOMES = {
    "scenario_schema": "describe",
    **dict.fromkeys(("ScenarioSource", "dump_scenario", "load_scenario"), "loader"),
    **dict.fromkeys(("read_scenario", "received_scenario", "scenario_title"), "loader"),
    "parse_assignments": "overrides",
    "Scenario": "schema",
    **dict.fromkeys(("find_scenario", "shipped_scenarios"), "shipped"),
    **dict.fromkeys(("Point", "expand"), "sweep"),
}


def __getattr__(name: str) -> Any:  # names are listed, and completed, without reading the schema
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
