"""A detection service: the same answers as its detector, one clear error for a bad request, and hot swap."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

from cellfree_sim.detection import create_detector
from cellfree_sim.detection.flops import count_operations
from cellfree_sim.detection.serving.service import DetectionService, LocalServices
from cellfree_sim.errors import DetectorError
from cellfree_sim.uplink import MimoProblem

PROBLEM = MimoProblem(n_rx=8, n_tx=4, constellation="qpsk")


def options(name: str, **settings: Any) -> Any:
    return create_detector(name, PROBLEM, **settings).options


def request_of(count: int = 6, problem: MimoProblem = PROBLEM) -> tuple[Any, Any, Any]:
    slots = problem.sample(count, 12.0, generator=torch.Generator().manual_seed(3))
    return slots.y.numpy(), slots.h.numpy(), slots.noise_variance.numpy()


@pytest.mark.parametrize(("antennas", "users"), [(8, 4), (8, 1), (3, 5), (24, 4)])
def test_answers_are_those_of_the_detector_for_any_shape(antennas: int, users: int) -> None:
    problem = PROBLEM.changed(n_rx=antennas, n_tx=users)
    y, h, noise = request_of(problem=problem)
    expected = create_detector("lmmse", problem)(*map(torch.from_numpy, (y, h, noise)))
    found = DetectionService("edge", options("lmmse"), PROBLEM).detect(y, h, noise)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected.logits.numpy())


def test_arrays_that_may_not_be_written_to_are_served_without_a_word() -> None:
    y, h, noise = request_of()
    for array in (y, h, noise):
        array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert DetectionService("edge", options("lmmse"), PROBLEM).detect(y, h, noise).shape == (6, 4, 4)


def bad(change: str) -> tuple[Any, Any, Any]:
    y, h, noise = request_of()
    y, h, noise = y.copy(), h.copy(), noise.copy()
    match change:
        case "list":
            return y.tolist(), h, noise
        case "dtype":
            return y.astype(np.complex128), h, noise
        case "axes":
            return y[0], h, noise
        case "lengths":
            return y[:2], h, noise
        case "nan":
            h[3, 2, 1] = np.nan
        case "noise":
            noise[1] = 0
        case "users":
            return y, h[:, :, :0], noise
        case "objects":
            return np.array([None, None]).reshape(1, 2), h, noise
    return y, h, noise


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("list", "y: found list; expected a numpy array"),
        ("dtype", "y: found complex128 [6, 8]; expected a complex64 tensor [slots, antennas]"),
        ("axes", "found y [8], h [6, 8, 4]; expected y [S, R], h [S, R, N]"),
        ("lengths", "found y [2, 8], h [6, 8, 4], noise_variance [6]"),
        ("nan", "h: found a value that is not finite"),
        ("noise", "noise_variance: found 0; expected positive numbers"),
        ("users", "h: found 8 antennas and 0 users"),
        ("objects", "detector 'lmmse' failed"),
    ],
)
def test_a_bad_request_is_one_line_and_the_next_one_is_served(change: str, told: str) -> None:
    service = DetectionService("edge", options("lmmse"), PROBLEM)
    before = service.detect(*request_of())
    with pytest.raises(DetectorError) as error:
        service.detect(*bad(change))
    assert told in str(error.value)
    assert str(error.value).startswith("service 'edge': ")
    assert "\n" not in str(error.value)
    np.testing.assert_array_equal(service.detect(*request_of()), before)


def test_more_users_than_zero_forcing_can_carry() -> None:
    service = DetectionService("edge", options("zf"), PROBLEM)
    with pytest.raises(DetectorError, match="found 5 users and 3 antennas; expected at most one user per antenna"):
        service.detect(*request_of(problem=PROBLEM.changed(n_rx=3, n_tx=5)))
    with pytest.raises(DetectorError, match=r"service 'edge'.*found 5 users and 3 antennas"):
        service.flops(1, antennas=3, users=5)


def test_swap_replaces_detector_and_count_and_a_bad_one_changes_nothing() -> None:
    service = DetectionService("edge", options("mf"), PROBLEM)
    matched, cheap = service.detect(*request_of()), service.flops(10, 8, 4)
    service.swap(options("ep"))
    better, dear = service.detect(*request_of()), service.flops(10, 8, 4)
    np.testing.assert_array_equal(better, DetectionService("other", options("ep"), PROBLEM).detect(*request_of()))
    assert np.abs(better - matched).max() > 0.1
    assert dear > 3 * cheap

    class Unfit(type(options("mf"))):  # type: ignore[misc]
        def build(self, problem: MimoProblem) -> Any:
            raise DetectorError("detector 'unfit': made for qam64")

    with pytest.raises(DetectorError, match="service 'edge': detector 'unfit': made for qam64"):
        service.swap(Unfit())
    assert service.options.name == "ep"
    np.testing.assert_array_equal(service.detect(*request_of()), better)


def test_flops_are_those_of_the_detector_and_linear_in_slots() -> None:
    services = LocalServices({"a": options("lmmse")}, PROBLEM)
    slots = PROBLEM.sample(64, 10.0, generator=torch.Generator().manual_seed(9))
    lmmse = create_detector("lmmse", PROBLEM)
    counted = count_operations(lambda: lmmse(slots.y, slots.h, slots.noise_variance))
    assert services.flops("a", 64, 8, 4) == pytest.approx(counted, rel=0.01)
    assert services.flops("a", 6, 8, 4) == 6 * services.flops("a", 1, 8, 4)


def test_a_learned_detector_keeps_the_shipped_weights_of_what_the_service_is_for() -> None:
    """oampnet2-iid was trained with 16 to 40 users; its weights depend on no number of them."""
    problem = MimoProblem(n_rx=64, n_tx=16, constellation="qam16")
    service = DetectionService("edge", create_detector("oampnet2", problem).options, problem)
    for users in (16, 14):
        y, h, noise = request_of(2, problem.changed(n_tx=users))
        assert service.detect(y, h, noise).shape == (2, users, 16)
    assert service.options.checkpoint is None  # as it was asked for
    with pytest.raises(DetectorError, match=r"service 'edge': .*found none that was trained for n_rx 8"):
        DetectionService("edge", service.options, problem.changed(n_rx=8, n_tx=4))


def test_services_by_name() -> None:
    services = LocalServices({"a": options("mf"), "b": options("ep")}, {"a": PROBLEM, "b": PROBLEM})
    assert not np.array_equal(services.detect("a", *request_of()), services.detect("b", *request_of()))
    services.swap("a", options("ep"))
    np.testing.assert_array_equal(services.detect("a", *request_of()), services.detect("b", *request_of()))
    with pytest.raises(DetectorError, match="service: found 'c'; allowed: a, b"):
        services.flops("c", 1, 8, 4)
