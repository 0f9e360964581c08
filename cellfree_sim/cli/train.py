"""``cellfree train``: train a learned detector as a scenario says, and write it to a file."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cellfree_sim.cli.commands import Commands
from cellfree_sim.cli.running import ended_like_ctrl_c
from cellfree_sim.cli.scenarios import add_set, note, read
from cellfree_sim.cli.terminal import DONE, complain, flat, show, table
from cellfree_sim.errors import RunFolderError, UserError

if TYPE_CHECKING:
    import argparse

    from cellfree_sim.detection.learned.trained import TrainedDetector
    from cellfree_sim.detection.learned.trainer import DetectorTrainer
    from cellfree_sim.scenario import Scenario

_EPILOG = """\
examples:
  cellfree train detectors/oampnet2-iid
  cellfree train detectors/epnet-receive --set uplink.training.iterations=100 --out my.detector
  cellfree train --resume my.detector.training               go on with what was interrupted

What is trained on what stands in uplink.training: cellfree scenarios show detectors/oampnet2-iid
The file is for the option 'checkpoint' of the detector. Ctrl-C saves the training beside it (FILE.training).
On a CPU it takes one core, so that equal seeds give equal bits.
"""
_UNFINISHED = ".training"
_EVERY_S = 2.0


def add_to(commands: Commands) -> None:
    """Add the command."""
    train = commands.add("train", _train, "train a learned detector of the uplink, write it to a file", _EPILOG)
    train.add_argument("scenario", metavar="SCENARIO", nargs="?", help="a YAML file, or the name of a shipped scenario")
    train.add_argument("--resume", metavar="FILE", help="go on with the training that was saved in this file")
    train.add_argument("--out", metavar="FILE", help="where to (default <name of the scenario>.detector)")
    text = "with --resume: a module from outside the package that the file names, and that may be imported"
    train.add_argument("--allow", metavar="MODULE", action="append", default=[], help=text)
    add_set(train)
    train.add_argument("--seed", metavar="N", help="the same as --set seed=N")
    train.add_argument("--quiet", action="store_true", help="no progress on stderr")


def _train(arguments: argparse.Namespace) -> int:
    from cellfree_sim.detection.learned.trained import SUFFIX
    from cellfree_sim.detection.learned.trainer import resume_training, trainer_of
    from cellfree_sim.scenario import dump_scenario

    if arguments.out == "":
        raise UserError("--out: found nothing; allowed: a file to write")
    if arguments.resume == "":
        raise UserError("--resume: found nothing; allowed: a file that 'cellfree train' saved")
    if arguments.resume is not None:
        if arguments.scenario or arguments.assignments or arguments.seed is not None:
            raise UserError("--resume goes on with the scenario of the file; leave out SCENARIO, --seed and --set")
        trainer, scenario = resume_training(Path(arguments.resume), allowed=arguments.allow, announce=note)
        out = Path(arguments.out or arguments.resume.removesuffix(_UNFINISHED))
        if out == Path(arguments.resume):
            raise UserError(f"--out: found '{flat(str(out))}', which is resumed from; allowed: another file")
        complain(f"goes on after iteration {trainer.iteration} of {trainer.training.iterations}", kind="note: ")
    else:
        if not arguments.scenario:
            raise UserError("train: SCENARIO is missing; allowed: a YAML file, a shipped scenario's name, --resume")
        source = read(arguments.scenario, arguments.assignments, seed=arguments.seed)
        scenario = source.validated()
        try:
            trainer = trainer_of(scenario)
        except UserError as error:
            raise source.located(error) from None
        out = Path(arguments.out or f"{scenario.name}{SUFFIX}")
    unfinished = _unfinished(out)
    began = time.process_time()
    _run(trainer, scenario, unfinished, quiet=arguments.quiet)
    trained = trainer.trained(name=scenario.name, scenario=dump_scenario(scenario))
    _save(trained, out, trainer, scenario, unfinished)
    unfinished.unlink(missing_ok=True)
    if arguments.resume is not None:
        Path(arguments.resume).unlink(missing_ok=True)
    facts = {
        "detector": trained.detector,
        "iterations": trained.iterations,
        "loss": f"{trained.curve['loss'][-1]:.4g}",
        "ser": f"{trained.curve['ser'][-1]:.4g}, mean over all that was drawn in the last iterations",
        "parameters": trained.parameters,
        "bytes": out.stat().st_size,
        "cpu seconds": f"{time.process_time() - began:.1f}",
        "file": out,
    }
    show(table([[key, flat(str(value))] for key, value in facts.items()]))
    return DONE


def _unfinished(out: Path) -> Path:
    """Where the training is saved while it is not at its end, if both files can be written."""
    found = f"--out: found '{flat(str(out))}'"
    try:
        if not out.name:
            raise UserError(f"{found}, which is no regular file; allowed: a file to write")
        if not out.parent.is_dir():
            raise UserError(f"{found}, in no folder that there is; allowed: a file in one")
        unfinished = out.with_name(out.name + _UNFINISHED)
        for path in (out, unfinished):
            if path.exists() and not path.is_file():
                found = f"--out: found '{flat(str(path))}'"
                raise UserError(f"{found}, which is no regular file; allowed: a file to write")
    except OSError as error:  # a name that is too long, a folder that may not be searched
        raise UserError(f"{found}, which cannot be written: {error.strerror or error}") from None
    return unfinished


def _save(trained: TrainedDetector, out: Path, trainer: DetectorTrainer, scenario: Scenario, unfinished: Path) -> None:
    """Write what was learned; where that fails, the training is saved, for hours may be in it."""
    from cellfree_sim.detection.learned.trained import save_trained
    from cellfree_sim.detection.learned.trainer import save_training

    try:
        save_trained(trained, out)
    except RunFolderError as error:
        save_training(trainer, scenario, unfinished)
        raise RunFolderError(f"{error}; write it with: {_again(scenario, unfinished)} --out FILE") from None


def _again(scenario: Scenario, unfinished: Path) -> str:
    """The command that goes on with a training."""
    return " ".join(
        ["cellfree train --resume", str(unfinished), *(f"--allow {each.module}" for each in scenario.extensions)]
    )


def _run(trainer: DetectorTrainer, scenario: Scenario, unfinished: Path, *, quiet: bool) -> None:
    """Train to the end on one thread, with progress on stderr; Ctrl-C saves."""
    from cellfree_sim.detection.learned.trainer import save_training
    from cellfree_sim.threads import one_torch_thread

    began, shown = time.monotonic(), -_EVERY_S
    total = trainer.training.iterations

    def report(iteration: int, loss: float, ser: float) -> None:
        nonlocal shown
        elapsed = time.monotonic() - began
        if not quiet and (iteration == total or elapsed - shown >= _EVERY_S):
            shown = elapsed
            sys.stderr.write(f"[{elapsed:7.1f} s] training {iteration}/{total}: loss {loss:.4g}, SER {ser:.4g}\n")
            sys.stderr.flush()

    try:
        with ended_like_ctrl_c(), one_torch_thread():
            trainer.run(report=report, save=lambda: save_training(trainer, scenario, unfinished))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"go on with: {_again(scenario, unfinished)}") from None
