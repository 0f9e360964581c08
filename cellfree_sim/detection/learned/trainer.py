"""The trainer of learned detectors: one loop for all of them.

Every iteration draws its own slots from the seed and its number, so that a training that was interrupted goes on as if
it had not been; on a CPU with the same number of threads, two trainings with the same seed are equal bit for bit.
"""

from __future__ import annotations

import io
import math
from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeAlias

import torch

from cellfree_sim import __version__
from cellfree_sim.detection.learned.base import Learned
from cellfree_sim.detection.learned.curricula import curriculum_of
from cellfree_sim.detection.learned.trained import CURVE, TrainedDetector
from cellfree_sim.errors import DetectorError, RunFailedError, ScenarioError
from cellfree_sim.interrupts import deferred_interrupts
from cellfree_sim.results.files import write_atomically
from cellfree_sim.scenario import Scenario, ScenarioSource, dump_scenario
from cellfree_sim.scenario.document import parse_yaml
from cellfree_sim.scenario.suggest import on_one_line
from cellfree_sim.scenario.training import DetectorTraining
from cellfree_sim.seeds import integer
from cellfree_sim.uplink.problem import Batch

Report: TypeAlias = "Callable[[int, float, float], None]"
"""Function of iterations done, and the mean loss and SER since the point before."""

_WARM_UP = 0.3  # share of the cycle in which the learning rate rises


class DetectorTrainer:
    """Trains one detector: `run` it, then take what it has `trained`.

    Args:
        training: what is trained on what, and how.
        seed: of the first weights and of all slots.
        device: where; by default as `training` says.

    Raises:
        DetectorError: there is no such device.
    """

    def __init__(self, training: DetectorTraining, *, seed: int, device: torch.device | str | None = None) -> None:
        self.training, self.seed = training, seed
        self._curriculum = curriculum_of(training)
        self.device = torch.device(device or _device(training.device))
        self.iteration = 0
        self.curve: dict[str, list[float]] = {key: [] for key in CURVE}
        options: Learned = training.detector
        self.options = options.model_copy(update={"checkpoint": None})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(integer(seed, "detector", "weights"))
            self.network = self._curriculum.trainee(options)
        self.network.to(self.device).train()
        self._optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
        )
        self._ends = _phase_ends(self.options.phases, training.iterations)
        self._cycle = self._learning_rate()
        self._called: Any = torch.compile(self.network) if training.compile else self.network
        self._sums = [0.0, 0.0, 0.0]

    def run(
        self, until: int | None = None, *, report: Report | None = None, save: Callable[[], None] | None = None
    ) -> None:
        """Train to the end, or to iteration `until`.

        Args:
            until: the last iteration, counted from the beginning.
            report: called at every point of the training curve.
            save: called every `checkpoint_every` iterations, and after Ctrl-C.

        Raises:
            RunFailedError: the loss is not finite any more.
            KeyboardInterrupt: Ctrl-C came; the iteration that it found was done, and `save` was called.
        """
        end = self.training.iterations if until is None else min(until, self.training.iterations)
        with torch.random.fork_rng(devices=[]), deferred_interrupts() as interrupted:
            while self.iteration < end and not interrupted():
                self._step()
                if self.iteration % self.training.report_every == 0 or self.iteration == self.training.iterations:
                    self._note(report)
                if save is not None and self.iteration % self.training.checkpoint_every == 0:
                    save()
            stopped = interrupted()
            if stopped and save is not None:
                save()
        if stopped:
            raise KeyboardInterrupt

    def slots(self, iteration: int) -> Batch:
        """The slots of an iteration, on the device of the training."""
        return self._curriculum.slots(self.seed, iteration).to(self.device)

    def trained(self, *, name: str = "unnamed", scenario: str = "") -> TrainedDetector:
        """What was learned so far; `name` and `scenario` are those that the training comes from."""
        state = self._curriculum.learned(self.network)
        return TrainedDetector(
            detector=self.options.name,
            options=self.options.architecture(),
            training=self.training.model_copy(update={"detector": self.options}),
            weights={key: value.detach().cpu().clone().numpy() for key, value in state.items()},
            name=name,
            scenario=scenario,
            seed=self.seed,
            iterations=self.iteration,
            versions={"cellfree-sim": __version__, "torch": torch.__version__},
            curve={key: list(values) for key, values in self.curve.items()},
        )

    def state(self) -> dict[str, Any]:
        """Everything that `load_state` needs to go on."""
        return {
            "iteration": self.iteration,
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "cycle": self._cycle.state_dict(),
            "curve": self.curve,
            "sums": self._sums,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._cycle.load_state_dict(state["cycle"])
        self.iteration = int(state["iteration"])
        self.curve = {key: list(values) for key, values in state["curve"].items()}
        self._sums = list(state["sums"])

    def _learning_rate(self) -> torch.optim.lr_scheduler.LRScheduler:
        """One cycle for each phase."""
        peak, ends = self.training.learning_rate, self._ends
        if len(ends) == 1:
            steps = max(self.training.iterations, 2)
            return torch.optim.lr_scheduler.OneCycleLR(self._optimiser, peak, total_steps=steps, pct_start=_WARM_UP)

        def share(iteration: int) -> float:
            phase = bisect_right(ends[:-1], iteration)
            begin = ends[phase - 1] if phase else 0
            return _cycle((iteration - begin) / max(ends[phase] - begin, 1))

        return torch.optim.lr_scheduler.LambdaLR(self._optimiser, share)

    def _step(self) -> None:
        """One iteration."""
        training = self.training
        self.options.begin_phase(self.network, bisect_right(self._ends[:-1], self.iteration))
        slots = self.slots(self.iteration)
        torch.manual_seed(integer(self.seed, "detector", "network", self.iteration))  # for dropout and the like
        with torch.autocast(self.device.type, torch.bfloat16, enabled=training.mixed_precision):
            loss, wrong = self._curriculum.learn(self.options, self._called, slots)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if training.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), training.gradient_clip)
        value = loss.item()
        if not math.isfinite(value):
            raise RunFailedError(f"training diverged at iteration {self.iteration}: the loss is {value}")
        self._optimiser.step()
        if self.iteration + 1 < training.iterations:
            self._cycle.step()
        self.iteration += 1
        self._sums = [self._sums[0] + 1, self._sums[1] + value, self._sums[2] + wrong.item()]

    def _note(self, report: Report | None) -> None:
        """A point of the training curve."""
        count, loss, ser = self._sums
        if not count:
            return
        point = (float(self.iteration), loss / count, ser / count)
        for key, value in zip(self.curve, point, strict=True):
            self.curve[key].append(value)
        self._sums = [0.0, 0.0, 0.0]
        if report is not None:
            report(self.iteration, *point[1:])


def train_detector(
    training: DetectorTraining, *, seed: int, device: torch.device | str | None = None
) -> TrainedDetector:
    """Train to the end, with nothing shown and nothing saved (see `DetectorTrainer`)."""
    trainer = DetectorTrainer(training, seed=seed, device=device)
    trainer.run()
    return trainer.trained()


def trainer_of(scenario: Scenario) -> DetectorTrainer:
    """The trainer that `uplink.training` of a scenario describes.

    Raises:
        DetectorError: there is none, or not the device that it asks for.
    """
    training = scenario.uplink.training if scenario.uplink is not None else None
    if training is None:
        raise DetectorError(
            "uplink.training: found nothing; allowed: what a learned detector is trained on, as in "
            "'cellfree scenarios show detectors/oampnet2-iid'"
        )
    return DetectorTrainer(training, seed=scenario.seed)


def save_training(trainer: DetectorTrainer, scenario: Scenario, path: Path) -> None:
    """Write a training that is not at its end to a file, for `resume_training`."""
    buffer = io.BytesIO()
    torch.save({"scenario": dump_scenario(scenario), **trainer.state()}, buffer)
    write_atomically(path, buffer.getvalue())


def resume_training(
    path: Path, *, allowed: Collection[str] = (), announce: Callable[[str], None] | None = None
) -> tuple[DetectorTrainer, Scenario]:
    """The trainer that `save_training` wrote to a file, and its scenario. A file of unknown origin cannot run code.

    Args:
        path: the file.
        allowed: modules from outside the package that may be imported because the file names them.
        announce: told of each of them that is.

    Raises:
        DetectorError: it cannot be read, is damaged, or is something else.
        ScenarioError: it names a module that is not allowed, or not what it was.
    """
    name = on_one_line(str(path), 200)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        root = parse_yaml(state["scenario"], name)
        assert root is not None
        source = ScenarioSource(path, path.parent.absolute(), root, announce=announce, allowed=allowed)
        scenario = source.validated()
        trainer = trainer_of(scenario)
        trainer.load_state(state)
    except OSError as error:
        raise DetectorError(f"{name}: cannot be read: {error.strerror or error}") from None
    except ScenarioError as error:  # such as code that it names
        raise ScenarioError(f"{name}: cannot be gone on with: {str(error).partition(chr(10))[0]}") from None
    except Exception:  # whatever torch, zipfile, pickle and the optimiser raise for what they did not write
        raise DetectorError(
            f"{name}: is no training to go on with, or damaged; allowed: a file that 'cellfree train' saved"
        ) from None
    return trainer, scenario


def _phase_ends(phases: tuple[int, ...], iterations: int) -> list[int]:
    """The iteration that each phase ends before, for phases of these relative lengths.

    >>> _phase_ends((1, 1, 2), 100)
    [25, 50, 100]
    """
    return [iterations * done // sum(phases) for done in accumulate(phases)]


def _cycle(done: float) -> float:
    """The learning rate over its peak, after a share of a cycle: up for `_WARM_UP` of it, then down, as cosines."""
    if done < _WARM_UP:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * done / _WARM_UP)) / 2
    return (1 + math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP))) / 2


def _device(wanted: str) -> str:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise DetectorError("uplink.training.device: found cuda, and no GPU that torch can use; allowed: auto, cpu")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"
