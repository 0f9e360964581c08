"""The account a run gives of itself in `summary.json`, whether it ended well or not."""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib import metadata
from typing import TYPE_CHECKING, Any

import cellfree_sim
from cellfree_sim.results.summary import backhaul_summary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agents.operations import Operations
    from cellfree_sim.backhaul.ledger import Books
    from cellfree_sim.scenario.schema import Scenario

REPORTED_PACKAGES = ("torch", "numpy", "ray", "sionna-no-rt", "msgpack", "networkx")


def account(
    scenario: Scenario,
    operations: Operations,
    books: Books,
    facts: Mapping[str, Any],
    measured: Mapping[str, Any] | None,
    *,
    run: Mapping[str, Any],
    stations: Sequence[Mapping[str, Any]],
    sum_rate_end: float | None,
    uplink: Mapping[str, Any],
) -> dict[str, Any]:
    """The summary of a run, its keys in order.

    Args:
        scenario, operations, books: what was asked for, what happened to the network, and what the backhaul carried.
        facts: what the coordinator knows, see `Engine.facts`.
        measured: on the test split, or None where it has not been.
        run: `engine`, `status`, `steps` and `wall_seconds`.
        stations: where they run.
        sum_rate_end: on the validation split at the end, for injections, where it is known.
        uplink: what its services did; empty where there is none.
    """
    simulated = max(facts["simulated_seconds"], uplink.get("simulated_seconds", 0.0))
    found = {
        "name": scenario.name,
        "seed": scenario.seed,
        **run,
        "simulated_seconds": simulated,
        "versions": _versions(),
        "stations": list(stations),
        "events": operations.events,
    }
    if scenario.downlink.algorithm.learns:
        found["downlink"] = _downlink(scenario, operations, facts, sum_rate_end) | dict(measured or {})
    if uplink:
        found["uplink"] = dict(uplink)
    execution_bytes = facts.get("execution_bytes_per_realisation", 0.0)
    found["backhaul"] = backhaul_summary(
        books, training_steps=int(run["steps"]), execution_bytes_per_realisation=execution_bytes
    )
    return found


def _downlink(
    scenario: Scenario, operations: Operations, facts: Mapping[str, Any], sum_rate_end: float | None
) -> dict[str, Any]:
    """What was learned, and where it ran; without what it was worth."""
    downlink: dict[str, Any] = {
        "algorithm": scenario.downlink.algorithm.name,
        "loss_scheme": scenario.downlink.loss_scheme.name,
        "policy": scenario.downlink.policy.name,
        "trained": scenario.downlink.policy.trained,
        "feedback": scenario.downlink.feedback,
        "flops": facts["flops_per_realisation"],
        "parameters": facts["parameters"],
    }
    if "objective" in facts:
        downlink["loss_scheme_at_end"] = facts["objective"]
    if operations.injections:
        downlink["injection"] = [{**asdict(each), "sum_rate_end": sum_rate_end} for each in operations.injections]
    return downlink


def account_of_failure(
    scenario: Scenario, operations: Operations, books: Books, *, run: Mapping[str, Any], error: str
) -> dict[str, Any]:
    """What there is of a run that cannot go on, and why; for `run` see `account`."""
    return {
        "name": scenario.name,
        "seed": scenario.seed,
        **run,
        "error": error,
        "versions": _versions(),
        "events": operations.events,
        "backhaul": backhaul_summary(books, training_steps=int(run["steps"]), execution_bytes_per_realisation=0.0),
    }


def _versions() -> dict[str, str]:
    versions = {"cellfree-sim": cellfree_sim.__version__, "python": platform.python_version()}
    for package in REPORTED_PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
