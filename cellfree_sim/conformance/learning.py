"""Learned detectors: gradients, a short training by the project's own trainer, and the file that it makes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from cellfree_sim.conformance import problems
from cellfree_sim.conformance.checks import Run, Subject, expect, needs
from cellfree_sim.detection.detector import Detector
from cellfree_sim.detection.learned.curricula import curriculum_of, training_class
from cellfree_sim.detection.learned.trained import read_trained, save_trained
from cellfree_sim.detection.learned.trainer import DetectorTrainer
from cellfree_sim.errors import DetectorError
from cellfree_sim.scenario.extensions import CODEBOOKS
from cellfree_sim.threads import one_torch_thread

_SIZES: dict[str, dict[str, Any]] = {
    "mimo": {"n_rx": 8, "n_tx": [4], "constellation": "qpsk", "batch": 100},
    "noma": {"users": 4, "resources": 4, "rates": 1, "activity": 0.6, "channel": "rayleigh", "batch": 128},
    "mmtc": {"devices": 5, "pilot_length": 8, "antennas": 4, "batch": 24, "learning_rate": 0.02},
}
_STEPS, _STEP, _DISTURBED = 40, 0.02, 0.3
_ITERATIONS = {"mimo": 40, "noma": 40, "mmtc": 15}


def training_of(subject: Subject, iterations: int | None = None) -> Any:
    """The training section of a short training."""
    sizes = dict(_SIZES[subject.family])
    name = subject.options.name
    if subject.family == "noma" and name in CODEBOOKS.names() and getattr(CODEBOOKS.type_of(name), "learned", False):
        sizes["codebook"] = name  # a code that is made together with its receiver
    count = iterations or _ITERATIONS[subject.family] * (1 if subject.quick else 5)
    options = {"name": name, **subject.options.architecture()}
    detector = subject.options.model_copy(update={"checkpoint": None})
    return training_class(subject.family).model_validate(
        {**sizes, "detector": detector if type(subject.options).source else options, "iterations": count,
         "report_every": max(count // 10, 1), "device": "cpu"}
    )  # fmt: skip


def _trainer(subject: Subject) -> DetectorTrainer:
    """The trainer at the end of the short training, made once."""
    needs(getattr(subject.options, "learned", False), "it has nothing to learn")
    if "trainer" not in subject.cache:
        trainer = DetectorTrainer(training_of(subject), seed=1, device="cpu")
        with one_torch_thread():
            trainer.run()
        subject.cache["trainer"] = trainer
    made: DetectorTrainer = subject.cache["trainer"]
    return made


def _file(subject: Subject) -> Path:
    """The file that the short training makes."""
    if "file" not in subject.cache:
        trained = _trainer(subject).trained(name="check")
        path = subject.folder / "check.detector"
        save_trained(trained, path)
        subject.cache["file"] = path
    path_made: Path = subject.cache["file"]
    return path_made


def problem_of(subject: Subject) -> Any:
    """What it was trained for."""
    trained = read_trained(_file(subject))
    problem = trained.curriculum.problem()
    if subject.family == "noma" and getattr(trained.training.codebook, "learned", False):  # type: ignore[attr-defined]
        return problem.changed(codebook={"name": "trained", "file": str(_file(subject))})
    return problem


def trained_detector(subject: Subject, problem: Any) -> Detector:
    """The detector with the weights of the short training, as they come from its file."""
    options = subject.options.model_copy(update={"checkpoint": str(_file(subject))})
    return Detector(options, problem)


def _gradients(subject: Subject) -> str | None:
    """In a few steps; of networks that are trained in phases, in the last one."""
    trainer, losses, reached = _on_one_batch(subject)
    learned = {key: each for key, each in trainer.network.named_parameters() if each.requires_grad}
    expect(learned, "no parameter is learned (nn.Parameter)")
    expect(all(math.isfinite(loss) for loss in losses), f"the loss is {losses[-1]}")
    missing = sorted(set(learned) - reached)
    expect(not missing, f"no gradient reaches {', '.join(missing[:3])}")
    return f"{sum(each.numel() for each in learned.values())} parameters"


def _learns(subject: Subject) -> str | None:
    """On one batch, from a start that was disturbed: some networks begin as good as they will ever be."""
    _, losses, _ = _on_one_batch(subject)
    remark = f"loss of one batch {losses[0]:.3g} to {losses[-1]:.3g} in {len(losses) - 1} steps"
    expect(losses[-1] < 0.98 * losses[0], f"{remark}; expected less at the end")
    return remark


def _on_one_batch(subject: Subject) -> tuple[DetectorTrainer, list[float], set[str]]:
    """A network after some steps on one batch, the losses, and the parameters that a gradient has reached."""
    needs(getattr(subject.options, "learned", False), "it has nothing to learn")
    if "one batch" not in subject.cache:
        trainer = DetectorTrainer(training_of(subject), seed=1, device="cpu")
        curriculum, network = curriculum_of(trainer.training), trainer.network
        subject.options.begin_phase(network, len(subject.options.phases) - 1)
        slots, random = trainer.slots(0), torch.Generator().manual_seed(1)
        learned = {key: each for key, each in network.named_parameters() if each.requires_grad}
        with torch.no_grad():
            for each in learned.values():
                each.add_(_DISTURBED * torch.randn(each.shape, generator=random))
        optimiser = torch.optim.Adam(learned.values(), lr=_STEP)
        losses, reached = [], set()
        with torch.random.fork_rng(devices=[]), one_torch_thread():
            for _ in range(_STEPS):
                loss, wrong = curriculum.learn(trainer.options, network, slots)
                expect(loss.ndim == 0, f"the loss has the shape {[*loss.shape]}; expected one number")
                expect(0 <= float(wrong) <= 1, f"the share of errors is {float(wrong):g}; expected 0 to 1")
                losses.append(loss.item())
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                reached |= {key for key, each in learned.items() if each.grad is not None and each.grad.any()}
        subject.cache["one batch"] = trainer, losses, reached
    found: tuple[DetectorTrainer, list[float], set[str]] = subject.cache["one batch"]
    return found


def _repeats(subject: Subject) -> str | None:
    needs(getattr(subject.options, "learned", False), "it has nothing to learn")
    made = []
    for _ in range(2):
        trainer = DetectorTrainer(training_of(subject, 3), seed=7, device="cpu")
        with one_torch_thread():
            trainer.run()
        made.append(trainer.trained().to_bytes())
    expect(made[0] == made[1], "two trainings with one seed differ; use torch's own generator, which is seeded")
    return None


def _kept(subject: Subject) -> str | None:
    """What a file gives back decides as the network did that was trained."""
    trainer, problem = _trainer(subject), problem_of(subject)
    trained = read_trained(_file(subject))
    loaded = trained_detector(subject, problem)
    expect(trained.parameters > 0, "nothing of it is in its state (state_dict)")
    batch = problems.slots(problem, 50, seed=4)
    found = loaded(batch.y, batch.h_known, batch.noise_variance)
    again = trained_detector(subject, problem)(batch.y, batch.h_known, batch.noise_variance)
    expect(torch.equal(found.logits, again.logits), "a file that is read twice gave two detectors")
    trained_network = getattr(trainer.network, "bound", None)
    if trained_network is None:
        direct = Detector.__new__(Detector)
        direct.options, direct.problem = trainer.options, problem
        direct._algorithm = trainer.options.algorithm(trainer.network, problem)
        wanted = direct(batch.y, batch.h_known, batch.noise_variance)
        same = float((wanted.messages == found.messages).double().mean())
        expect(same > 0.98, f"{100 * (1 - same):.0f} % of its decisions are others than before it was kept in a file")
    return f"{_file(subject).stat().st_size} bytes"


def _refused(subject: Subject) -> str | None:
    """A problem with another number of antennas or users is served, or refused in one line."""
    needs(getattr(subject.options, "learned", False), "it has nothing to learn")
    needs(subject.family == "mimo", "sizes of other families are their problem's")
    problem = problem_of(subject)
    other = problem.changed(n_rx=10, n_tx=3)
    batch = problems.slots(other, 5)
    sizes = subject.options.sizes
    try:
        found = trained_detector(subject, problem)(batch.y, batch.h_known, batch.noise_variance)
    except DetectorError:
        expect(sizes, "refuses other numbers of antennas and users, but claims no sizes of its own (sizes)")
        return f"refused, as sizes say: {', '.join(sorted(sizes))}"
    expect(not sizes, f"serves other sizes than those that it claims to need: {', '.join(sorted(sizes))}")
    expect(found.logits.isfinite().all(), "other numbers of antennas and users: found what is not finite")
    return "served"


CHECKS: dict[str, Run] = {
    "gradients reach every parameter": _gradients,
    "it learns": _learns,
    "equal seeds give equal bits": _repeats,
    "it can be kept in a file": _kept,
    "other sizes are served or refused": _refused,
}
