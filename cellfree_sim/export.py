"""What a run has learned, as a file: from the run's last checkpoint to a trained policy.

from cellfree_sim.export import export_policy, save_policy

save_policy(export_policy("runs/quickstart-20250101T120000Z"), "quickstart.policy")
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellfree_sim import __version__
from cellfree_sim.downlink.policy import policy_shape
from cellfree_sim.downlink.sharing import average
from cellfree_sim.downlink.trained import SHARED, Kind, TrainedPolicy, Weights
from cellfree_sim.errors import UserError
from cellfree_sim.network import Network
from cellfree_sim.results.checkpoints import Checkpoints
from cellfree_sim.results.files import write_atomically
from cellfree_sim.results.run_folder import RunFolder
from cellfree_sim.results.state import unpack_state
from cellfree_sim.scenario import dump_scenario, load_scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def export_policy(folder: Path | str, *, announce: Callable[[str], None] | None = None) -> TrainedPolicy:
    """What the run in a folder has learned until its last checkpoint.

    Modules that the run's scenario names are imported, as for `cellfree run`.

    Args:
        folder: of the run.
        announce: told of each file that is imported; the log by default.

    Raises:
        RunFolderError: there is no such run, or its checkpoints are damaged.
        UserError: it has none; no station is left; or one that was to be shared is not.
    """
    run = RunFolder.open(folder)
    checkpoint = Checkpoints(run.checkpoints_path).latest()
    if checkpoint is None:
        raise UserError(f"{folder}: there is no checkpoint to take a policy from; run the scenario again")
    scenario = load_scenario(run.scenario_path, begun=True, announce=announce)
    network = Network.from_json(checkpoint.notes["network"])
    states = {name: unpack_state(state) for name, state in checkpoint.parts.items()}
    learned = {name: _arrays(state["policy"]) for name, state in states.items() if "policy" in state}
    kind: Kind = "stations"
    if network.mbs in learned:
        kind, learned = "central", {network.mbs: learned[network.mbs]}
    elif not network.stations:
        raise UserError(f"{folder}: no station was left in the network at step {checkpoint.step}; nothing is exported")
    else:
        learned = {name: learned[name] for name in network.stations}
        if scenario.downlink.sharing is not None:
            learners = [name for name in network.stations if network.learns(name)] or list(network.stations)
            models = {name: learned[name] for name in learners}
            kind, learned = "shared", {SHARED: _one_of(models, folder, over=checkpoint.step == scenario.steps)}
    policy = scenario.downlink.policy.model_dump(mode="json", exclude={"trained"})
    validation = checkpoint.notes["validation"]
    return TrainedPolicy(
        name=scenario.name,
        algorithm=scenario.downlink.algorithm.name,
        kind=kind,
        policy=policy,
        sizes=asdict(policy_shape(scenario, len(network.stations))),
        networks=learned,
        scenario=dump_scenario(scenario),
        seed=scenario.seed,
        steps=checkpoint.step,
        made_by=__version__,
        validation_sum_rate=float(validation[1]) if validation and validation[0] == checkpoint.step else None,
    )


def save_policy(trained: TrainedPolicy, path: Path | str) -> Path:
    """Write a trained policy to a file, and return where it is; a file that is there is replaced.

    Raises:
        RunFolderError: it cannot be written.
    """
    target = Path(path)
    write_atomically(target, trained.to_bytes())
    return target


def _one_of(models: Mapping[str, Weights], folder: Path | str, *, over: bool) -> Weights:
    """The model that stations share; between two averages, their mean, which the next one would be.

    Raises:
        UserError: the run is `over`, and the models differ all the same.
    """
    first, *others = models
    differ = [name for name in others if not _equal(models[first], models[name])]
    if differ and over:
        raise UserError(
            f"{folder}: the models of {first} and {', '.join(differ)} differ, as one joined or came back after the "
            f"last average; there is no one policy to export"
        )
    return average(list(models.values())) if differ else models[first]


def _equal(one: Weights, other: Weights) -> bool:
    return all(np.array_equal(array, other[name]) for name, array in one.items())


def _arrays(state: Mapping[str, Any]) -> Weights:
    return {name: tensor.numpy() for name, tensor in state.items()}
