"""Networks that studies train at their points: once, however many points and studies ask for the same.

The files are kept in the folder ``trained`` of the cache (`cellfree_sim.channel.cache`), under a digest of the
version, the training section and the seed, which decide what comes out. A file that is damaged is made anew; where the
folder cannot be written, each point trains for itself.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellfree_sim import __version__
from cellfree_sim.channel import cache
from cellfree_sim.errors import DetectorError, RunFolderError
from cellfree_sim.registry import sources_in

if TYPE_CHECKING:
    from cellfree_sim.detection.learned.trained import TrainedDetector
    from cellfree_sim.scenario.schema import Scenario

_log = logging.getLogger(__name__)


def trained_once(training: Any, scenario: Scenario, otherwise: Path) -> tuple[TrainedDetector, Path]:
    """What a training section makes with the scenario's seed, and the file that it is in.

    Args:
        training: the section.
        scenario: whose seed counts.
        otherwise: where the file goes if it cannot be kept.
    """
    from cellfree_sim.detection.learned.trained import read_trained, save_trained

    path = _kept(training, scenario.seed)
    if path is not None and path.is_file():
        try:
            return read_trained(path), path
        except DetectorError as error:
            _log.warning("%s is trained anew: %s", training.detector.name, error)
    trained = _train(training, scenario)
    for place in (path, otherwise):
        if place is None:
            continue
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            save_trained(trained, place)
        except (OSError, RunFolderError) as error:
            _log.warning("%s is not kept: %s", training.detector.name, error)
            continue
        return read_trained(place), place  # as it comes from the file, whose weights may be rounded
    raise RunFolderError(f"{otherwise}: cannot be written; allowed: a folder of yours")


def _kept(training: Any, seed: int) -> Path | None:
    try:
        folder = cache.folder()
    except RuntimeError:
        return None
    content = {"version": __version__, "training": training.model_dump(mode="json"), "seed": seed}
    if sources := sources_in(training):  # from outside the package: their code counts as well
        content["extensions"] = [source.sha256 for source in sources]
    name = hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=12).hexdigest()
    return folder / "trained" / f"{name}.detector"


def _train(training: Any, scenario: Scenario) -> TrainedDetector:
    from cellfree_sim.detection.learned.trainer import DetectorTrainer
    from cellfree_sim.scenario import dump_scenario
    from cellfree_sim.threads import one_torch_thread

    with one_torch_thread():
        trainer = DetectorTrainer(training, seed=scenario.seed)
        trainer.run()
    return trainer.trained(name=scenario.name, scenario=dump_scenario(scenario))
