"""Scenarios: what they are (`schema`), how they are read (`loader`), and what they may choose from (`extensions`)."""

from __future__ import annotations

from cellfree_sim.scenario.describe import scenario_schema
from cellfree_sim.scenario.loader import ScenarioSource, dump_scenario, load_scenario, read_scenario, scenario_title
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
    "scenario_schema",
    "scenario_title",
    "shipped_scenarios",
]
