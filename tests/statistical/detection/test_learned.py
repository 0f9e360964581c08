"""Learned detectors against published symbol error rates and expectation propagation, with fixed seeds.

The limits are three standard errors; a rate's standard error counts that the errors of a slot come together.
"""

from __future__ import annotations

import math
import time

import torch

from cellfree_sim.detection import create_detector
from cellfree_sim.detection.learned.trained import save_trained
from cellfree_sim.detection.learned.trainer import train_detector
from cellfree_sim.scenario.training import DetectorTraining
from cellfree_sim.uplink import MimoProblem, error_rates

INDEPENDENT = MimoProblem(64, 16)


def test_oampnet_reaches_its_published_rate_after_seconds_of_training(tmp_path):
    training = DetectorTraining(detector="oampnet", iterations=50, batch=200, learning_rate=0.05, device="cpu")
    began = time.process_time()
    save_trained(train_detector(training, seed=1), tmp_path / "oampnet.detector")
    assert time.process_time() - began < 30
    detector = create_detector("oampnet", INDEPENDENT, checkpoint=str(tmp_path / "oampnet.detector"))
    rate = error_rates(INDEPENDENT, detector, 9.0, slots_max=5000, target_errors=None, seed=2).ser
    assert abs(rate.value - 0.02422) < 3 * rate.standard_error


def test_the_shipped_oampnet2_has_its_published_rates():
    for problem, snr_db, published in (
        (INDEPENDENT, 9.0, 0.02422),
        (INDEPENDENT.changed(correlated="receive", correlation=0.7), 12.0, 0.00286),
    ):
        rate = error_rates(
            problem, create_detector("oampnet2", problem), snr_db, slots_max=5000, target_errors=None, seed=3
        ).ser
        assert rate.value < published + 3 * rate.standard_error


def test_epnet_has_fewer_errors_than_ep_on_correlated_channels():
    problem = MimoProblem(64, 32, correlated="receive", correlation=0.8)
    slots = problem.sample(1500, 17.0, generator=torch.Generator().manual_seed(4))
    errors = [
        (create_detector(name, problem)(slots.y, slots.h, slots.noise_variance).messages != slots.messages).sum(1)
        for name in ("ep", "epnet")
    ]
    saved = (errors[0] - errors[1]).double()  # on the same slots
    assert saved.mean() > 3 * saved.std() / math.sqrt(len(saved))
