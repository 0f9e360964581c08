"""The trainer: what it draws, that it learns, and that nothing but the seed decides what comes out."""

from __future__ import annotations

import math
import signal

import pytest
import torch

from cellfree_sim.detection.learned.trainer import DetectorTrainer, resume_training, save_training, trainer_of
from cellfree_sim.errors import DetectorError, RunFailedError
from cellfree_sim.scenario import Scenario
from cellfree_sim.scenario.training import MimoTraining

SMALL = {
    "detector": {"name": "mmnet", "layers": 4},
    "n_rx": 8,
    "n_tx": [2, 4],
    "iterations": 8,
    "batch": 24,
    "report_every": 2,
    "device": "cpu",
}


def training(**changes):
    return MimoTraining(**{**SMALL, **changes})


def weights(trainer):
    return torch.cat([value.flatten() for value in trainer.network.state_dict().values()])


def trained(**changes):
    trainer = DetectorTrainer(training(**changes), seed=changes.pop("seed", 1))
    trainer.run()
    return trainer


def test_the_same_seed_gives_the_same_weights_bit_for_bit_and_another_seed_others():
    torch.manual_seed(5)
    first = trained()
    before = torch.rand(1)
    torch.manual_seed(5)
    second = trained()
    assert torch.equal(weights(first), weights(second)) and first.curve == second.curve
    assert torch.equal(before, torch.rand(1))  # nobody else's random numbers are taken
    other = DetectorTrainer(training(), seed=2)
    other.run()
    assert not torch.equal(weights(first), weights(other))
    assert first.curve["iteration"] == [2, 4, 6, 8]


def test_a_training_that_was_interrupted_goes_on_as_if_it_had_not_been(tmp_path):
    scenario = Scenario(seed=7, uplink={"training": training()})
    whole = trainer_of(scenario)
    whole.run()
    part = trainer_of(scenario)

    def interrupt(iteration, loss, ser):
        if iteration == 4:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        part.run(report=interrupt, save=lambda: save_training(part, scenario, tmp_path / "t"))
    assert part.iteration == 4
    resumed, found = resume_training(tmp_path / "t")
    assert found == scenario and resumed.iteration == 4 and resumed.seed == 7
    resumed.run()
    assert torch.equal(weights(resumed), weights(whole)) and resumed.curve == whole.curve
    assert resumed.trained().to_bytes() == whole.trained().to_bytes()


def test_checkpoints_are_saved_as_often_as_asked():
    saved = []
    trainer = DetectorTrainer(training(checkpoint_every=3), seed=1)
    trainer.run(save=lambda: saved.append(trainer.iteration))
    assert saved == [3, 6]
    trainer = DetectorTrainer(training(), seed=1)
    trainer.run(5)
    assert trainer.iteration == 5
    trainer.run(5)
    trainer.run()
    assert torch.equal(weights(trainer), weights(trained()))


def test_slots_are_drawn_as_the_training_says():
    trainer = DetectorTrainer(
        training(n_tx=[2, 6], snr_db=[3, 9], snr_offset_db=1, correlated="receive", correlation=[0.0, 0.99], n_rx=6),
        seed=1,
    )
    counts = {2: 0, 6: 0}
    snrs, alike = [], []
    for iteration in range(200):
        slots = trainer.slots(iteration)
        users = slots.messages.shape[1]
        counts[users] += 1
        assert slots.y.shape == (24, 6) and slots.h.shape == (24, 6, users)
        snrs += (-10 * (slots.noise_variance * 6 / users).log10()).tolist()
        neighbours = slots.h[:, :-1] - slots.h[:, 1:]
        alike += (neighbours.abs().square().mean(dim=(1, 2)) < 0.5 / 6).tolist()
    assert abs(counts[6] / 200 - 0.75) < 4 * math.sqrt(0.75 * 0.25 / 200)  # in proportion to the users
    assert 4 <= min(snrs) < 4.1 and 9.9 < max(snrs) <= 10.001
    assert abs(sum(alike) / len(alike) - 0.5) < 0.05
    again = DetectorTrainer(trainer.training, seed=1).slots(3)
    assert torch.equal(again.y, trainer.slots(3).y) and not torch.equal(again.y[:8, 0], trainer.slots(4).y[:8, 0])


DETNET = {"name": "detnet", "layers": 3, "hidden": 4}


@pytest.mark.parametrize(
    ("detector", "half"), [("oampnet2", False), ("mmnet", False), ("epnet", False), (DETNET, False), (DETNET, True)]
)
def test_training_lowers_the_loss(detector, half):
    some = training(detector=detector, n_tx=[4], iterations=30, batch=64, learning_rate=0.02, mixed_precision=half)
    trainer = DetectorTrainer(some, seed=3)
    held_out = [trainer.slots(-1 - index) for index in range(8)]

    def loss():
        found = [trainer.network(s.y, s.h_known, s.noise_variance) for s in held_out]
        return sum(trainer.options.loss(one, s.messages).item() for one, s in zip(found, held_out, strict=True)) / 8

    before = loss()
    trainer.run()
    assert loss() < 0.99 * before


def test_compiled_training_is_the_same_training(monkeypatch):
    """What torch.compile makes is left to torch; here, that the network it makes is the one that learns."""
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda network: compiled.append(network) or network)
    trainer = trained(compile=True)
    assert compiled == [trainer.network] and torch.equal(weights(trainer), weights(trained()))


def test_a_training_that_diverges_ends_with_one_line():
    with pytest.raises(RunFailedError, match=r"^training diverged at iteration \d+: the loss is nan$"):
        trainer = DetectorTrainer(training(), seed=1)
        with torch.no_grad():
            trainer.network.step.fill_(float("nan"))
        trainer.run()


def test_a_file_to_resume_from_that_is_none_is_one_line(tmp_path):
    path = tmp_path / "x.training"
    with pytest.raises(DetectorError, match=r"x\.training: cannot be read: No such file"):
        resume_training(path)
    scenario = Scenario(uplink={"training": training()})
    trainer = trainer_of(scenario)
    save_training(trainer, scenario, path)
    data = path.read_bytes()
    torch.save({"scenario": "name: x", "iteration": 3}, tmp_path / "other.training")
    for bad in (b"", b"hello", data[: len(data) // 2], (tmp_path / "other.training").read_bytes()):
        path.write_bytes(bad)
        with pytest.raises(DetectorError, match="is no training to go on with, or damaged") as error:
            resume_training(path)
        assert "\n" not in str(error.value)


def test_a_scenario_without_training_and_a_missing_gpu_are_one_line(monkeypatch):
    with pytest.raises(DetectorError, match=r"^uplink.training: found nothing; allowed: "):
        trainer_of(Scenario())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DetectorError, match=r"^uplink.training.device: found cuda, .*; allowed: auto, cpu$"):
        DetectorTrainer(training(device="cuda"), seed=1)
    assert DetectorTrainer(training(device="auto"), seed=1).device.type == "cpu"
