"""What several tests do with a simulation."""

from __future__ import annotations

from agents import Simulation
from cellfree_sim.results.analysis import RunData
from cellfree_sim.results.checkpoints import Checkpoints


def finish(simulation: Simulation) -> tuple[RunData, dict[str, bytes]]:
    """Train to the end; result, and packed states of all stations from the last checkpoint."""
    with simulation:
        assert simulation.advance() == simulation.scenario.steps
        result = simulation.result(report=False)
    saved = Checkpoints(result.folder / "checkpoints").latest()
    assert saved is not None
    return result, saved.parts
