"""Files of trained detectors, and which of them a detector is loaded with."""

from __future__ import annotations

import dataclasses
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from cellfree_sim.detection import create_detector
from cellfree_sim.detection.learned import base
from cellfree_sim.detection.learned import trained as files
from cellfree_sim.detection.learned.trained import (
    SUFFIX,
    find_trained,
    read_trained,
    save_trained,
    shipped_detectors,
)
from cellfree_sim.detection.learned.trainer import DetectorTrainer, train_detector
from cellfree_sim.errors import DetectorError
from cellfree_sim.scenario import dump_scenario, find_scenario, load_scenario
from cellfree_sim.scenario.training import MimoTraining
from cellfree_sim.uplink import MimoProblem, trained_files

PROBLEM = MimoProblem(8, 4)
SMALL = MimoTraining(
    detector={"name": "oampnet", "layers": 3}, n_rx=8, n_tx=[3, 4], iterations=3, batch=16, report_every=1
)


@pytest.fixture(scope="module")
def trained():
    return train_detector(SMALL, seed=1)


@pytest.fixture
def file(trained, tmp_path):
    save_trained(trained, tmp_path / "small.detector")
    return tmp_path / "small.detector"


def test_a_file_says_what_was_trained_and_gives_the_same_network(trained, file, monkeypatch):
    found = read_trained(file)
    assert dataclasses.replace(found, weights={}) == dataclasses.replace(trained, weights={})
    assert all(np.array_equal(array, trained.weights[name]) for name, array in found.weights.items())
    assert found.to_bytes() == trained.to_bytes() == file.read_bytes()
    trainer = DetectorTrainer(SMALL, seed=1)
    trainer.run()
    batch = PROBLEM.sample(20, 12.0)
    expected = trainer.options.algorithm(trainer.network, PROBLEM)(batch.y, batch.h, batch.noise_variance)
    detector = create_detector("oampnet", PROBLEM, checkpoint=str(file))
    assert torch.equal(detector(batch.y, batch.h, batch.noise_variance).logits, expected.logits)
    assert detector(batch.y, batch.h, batch.noise_variance).iterations == 3
    monkeypatch.setattr(base, "SLOTS_AT_ONCE", 7)
    parts = detector(batch.y, batch.h, batch.noise_variance).logits
    torch.testing.assert_close(parts, expected.logits, rtol=1e-3, atol=1e-3)
    trainer.network.gamma.sum().backward()  # the detector has a copy
    assert detector(batch.y[:0], batch.h[:0], batch.noise_variance[:0]).logits.shape == (0, 4, 16)


def test_large_networks_are_kept_in_half_precision_and_small_ones_in_full():
    training = SMALL.model_copy(update={"n_tx": [4], "detector": MimoTraining(detector="detnet").detector})
    large = DetectorTrainer(training, seed=1).trained()
    assert large.parameters > files.SMALL
    assert 2 * large.parameters < len(large.to_bytes()) < 2.2 * large.parameters + 20_000
    assert len(DetectorTrainer(SMALL, seed=1).trained().to_bytes()) < 4096


def test_a_damaged_or_foreign_file_is_one_line(file, tmp_path):
    good = file.read_bytes()
    cases = {
        "damaged": good[:-1] + bytes([good[-1] ^ 1]),
        "cut": good[: len(good) // 2],
        "foreign": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "empty": b"",
        "newer": good.replace(b"detector 1\n", b"detector 2\n", 1),
        "policy": (trained_files._SHIPPED.parent / "trained_policies" / "set-shared.policy").read_bytes(),
    }
    for name, data in cases.items():
        path = tmp_path / f"{name}{SUFFIX}"
        path.write_bytes(data)
        with pytest.raises(DetectorError, match=rf"^detector 'oampnet': checkpoint: found '{name}.detector'") as error:
            create_detector("oampnet", PROBLEM, checkpoint=str(path))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"detector": "mmnet"}, "trained as another detector"),
        ({"options": {"layers": -1}}, "another network than its options say"),
        ({"options": {"layers": 7}}, "another network than its options say"),
        ({"weights": {"gamma": np.full(3, np.nan, np.float32)}}, "not finite"),
        ({"weights": {}}, "no weights"),
        ({"curve": {"iteration": [1.0], "loss": [], "ser": []}}, "no trained detector"),
    ],
)
def test_a_file_whose_parts_disagree_is_one_line(trained, tmp_path, change, text):
    save_trained(dataclasses.replace(trained, **change), tmp_path / "odd.detector")
    with pytest.raises(DetectorError, match=text) as error:
        create_detector("oampnet", PROBLEM, checkpoint=str(tmp_path / "odd.detector"))
    assert "\n" not in str(error.value)


def test_a_checkpoint_of_something_else_names_what_was_expected(file):
    with pytest.raises(
        DetectorError, match=r"^detector 'mmnet': checkpoint: found '.*', trained as 'oampnet'; allowed: "
    ):
        create_detector("mmnet", PROBLEM, checkpoint=str(file))
    with pytest.raises(DetectorError, match=r"found constellation qpsk; allowed: qam16, as '.*' was trained$"):
        create_detector("oampnet", PROBLEM.changed(constellation="qpsk"), checkpoint=str(file))
    with pytest.raises(DetectorError, match=r"^detector 'oampnet': layers: found 5; allowed: 3, as '.*' was trained$"):
        create_detector("oampnet", PROBLEM, checkpoint=str(file), layers=5)
    assert create_detector("oampnet", PROBLEM, checkpoint=str(file), layers=3)
    with pytest.raises(DetectorError, match=r"found 'oampnet2-id', no such .*; did you mean 'oampnet2-iid'\?"):
        create_detector("oampnet2", PROBLEM, checkpoint="oampnet2-id")
    with pytest.raises(DetectorError, match="an empty name"):
        create_detector("oampnet", PROBLEM, checkpoint="")


def test_a_network_of_one_size_refuses_another(tmp_path):
    detnet = {"name": "detnet", "layers": 2, "hidden": 1, "memory": 1}
    training = MimoTraining(detector=detnet, n_rx=8, n_tx=[4], iterations=1, batch=8)
    save_trained(train_detector(training, seed=1), tmp_path / "d.detector")
    with pytest.raises(DetectorError, match=r"found n_tx 3; allowed: 4, as '.*d.detector' was trained$"):
        create_detector("detnet", PROBLEM.changed(n_tx=3), checkpoint=str(tmp_path / "d.detector"))
    detector = create_detector("detnet", PROBLEM, checkpoint=str(tmp_path / "d.detector"))
    batch = PROBLEM.changed(n_tx=3).sample(5, 12.0)
    with pytest.raises(DetectorError, match=r"^detector 'detnet': h: found 3 users; its network has 4$"):
        detector(batch.y, batch.h, batch.noise_variance)


def test_cavity_inputs_serve_other_antennas_where_they_are_named_and_only_there(tmp_path, monkeypatch):
    for inputs in ("cavity", "gradient"):
        network = {"name": "re-mimo", "inputs": inputs, "width": 8, "blocks": 1, "heads": 2}
        training = MimoTraining(detector=network, n_rx=8, n_tx=[4], iterations=1, batch=8)
        save_trained(train_detector(training, seed=1), tmp_path / f"{inputs}.detector")
    other = MimoProblem(6, 4)
    assert read_trained(tmp_path / "cavity.detector").misfit(other) is None
    assert read_trained(tmp_path / "gradient.detector").misfit(other) == "found n_rx 6; allowed: 8"
    batch = other.sample(5, 12.0)
    named = create_detector("re-mimo", other, checkpoint=str(tmp_path / "cavity.detector"))
    assert named(batch.y, batch.h, batch.noise_variance).logits.shape == (5, 4, 16)
    with pytest.raises(
        DetectorError, match=r"^detector 're-mimo': found n_rx 6; allowed: 8, as '.*gradient.detector' was trained$"
    ):
        create_detector("re-mimo", other, checkpoint=str(tmp_path / "gradient.detector"))
    monkeypatch.setattr(trained_files, "_SHIPPED", tmp_path)
    with pytest.raises(DetectorError, match="found none that was trained for n_rx 6, n_tx 4"):
        create_detector("re-mimo", other)


def test_a_named_checkpoint_of_another_problem_is_loaded_with_one_warning(file, caplog):
    with caplog.at_level(logging.WARNING):
        for problem in (PROBLEM, PROBLEM.changed(n_tx=2), PROBLEM.changed(n_tx=2), PROBLEM.changed(n_tx=5)):
            assert create_detector("oampnet", problem, checkpoint=str(file))
    start = f"detector 'oampnet': checkpoint '{file}' was trained for something else: "
    assert caplog.messages == [f"{start}found n_tx {users}; allowed: 3 to 4" for users in (2, 5)]


def test_without_a_checkpoint_the_shipped_one_that_fits_best_is_taken(trained, monkeypatch, tmp_path):
    def ship(name, **change):
        training = SMALL.model_copy(update=change)
        save_trained(dataclasses.replace(trained, training=training, name=name), tmp_path / f"{name}{SUFFIX}")

    monkeypatch.setattr(trained_files, "_SHIPPED", tmp_path)
    with pytest.raises(
        DetectorError, match=r"trained for n_rx 8, n_tx 4, qam16, rayleigh; .*a shipped one, of which there is none$"
    ):
        create_detector("oampnet", PROBLEM)
    ship("both")
    ship("three", n_tx=[3])
    ship("correlated", correlated="receive", correlation=[0.6, 0.7, 0.8])
    ship("correlated-much", correlated="receive", correlation=[0.8])

    def best(**change):
        return files.chosen(MimoTraining(detector="oampnet").detector, PROBLEM.changed(**change)).name

    assert best() == "both" and best(n_tx=3) == "three" and best(csi_error=0.01) == "both"
    assert best(correlated="receive", correlation=0.7) == "correlated"
    assert best(correlated="receive", correlation=0.84) == "correlated-much"
    for change, found in (
        ({"n_tx": 5}, "n_tx 5"),
        ({"n_rx": 16}, "n_rx 16"),
        ({"constellation": "qam64"}, "qam64"),
        ({"correlated": "full", "correlation": 0.7}, "full correlation 0.7"),
        ({"correlated": "receive", "correlation": 0.9}, "receive correlation 0.9"),
    ):
        with pytest.raises(DetectorError, match=f"{found}.*cellfree train SCENARIO.*both, correlated") as error:
            best(**change)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", sorted(shipped_detectors()))
def test_shipped_detectors_are_small_and_made_by_the_shipped_scenarios(name):
    found = read_trained(find_trained(name))
    scenario = load_scenario(find_scenario(f"detectors/{name}"))
    assert found.name == scenario.name == name and found.iterations == scenario.uplink.training.iterations
    assert found.training.model_dump() == scenario.uplink.training.model_dump()
    assert Path(shipped_detectors()[name]).stat().st_size < 2_000_000
    kept, now = (yaml.safe_load(text)["uplink"]["training"] for text in (found.scenario, dump_scenario(scenario)))
    assert kept == now


SHIPPED_FOR_MIMO = [name for name, path in sorted(shipped_detectors().items()) if read_trained(path).family == "mimo"]


@pytest.mark.parametrize("name", SHIPPED_FOR_MIMO)
def test_shipped_detectors_make_fewer_errors_than_before_training(name):
    """On the same slots, with the most users and the strongest correlation that they were trained for (seed 1)."""
    training = read_trained(find_trained(name)).training
    problem = MimoProblem(
        training.n_rx,
        max(training.n_tx),
        constellation=training.constellation,
        correlated=training.correlated,
        correlation=max(training.correlation),
    )
    slots = 1500 if training.detector.name == "oampnet2" else 1000
    low, high = training.snr_range_db(problem.n_tx)
    assert low + 3 < high
    batch = problem.sample(slots, low + 3, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(1)
    before = training.detector.algorithm(training.detector.network(problem), problem)
    after = create_detector(training.detector.name, problem, checkpoint=name)
    with torch.no_grad():
        wrong = [
            (detect(batch.y, batch.h, batch.noise_variance).messages != batch.messages).double().mean(dim=1)
            for detect in (before, after)
        ]
    gap = wrong[0] - wrong[1]
    assert gap.mean() > 3 * gap.std() / math.sqrt(slots)
