from __future__ import annotations

import numpy as np
import pytest
import torch

from cellfree_sim.backhaul.precision import BLOCK, PRECISIONS, pack, unpack, wire_bytes

F32 = np.dtype("float32")
SPECIAL = np.array(
    [
        *(0.0, -0.0, 1.0, -1.0, 65504.0, 65519.9, 6e-8, 1e-45, 1.17e-38, 3.389e38, 1 + 2**-8, 1 + 3 * 2**-8),
        *(1 + 2**-11, np.inf, -np.inf, np.nan),
    ],
    np.float32,
)


def there_and_back(values: np.ndarray, precision: str) -> np.ndarray:
    raw = pack(values, precision).tobytes()
    assert len(raw) == wire_bytes(values.size, values.dtype, precision)
    return unpack(raw, values.size, values.dtype, precision)


@pytest.fixture
def values() -> np.ndarray:
    rng = np.random.default_rng(5)
    spread = rng.standard_normal(20_000) * 10.0 ** rng.integers(-30, 30, 20_000)
    return np.concatenate([SPECIAL, spread.astype(np.float32), rng.standard_normal(1000).astype(np.float32)])


def test_bfloat16_equals_torch_bit_for_bit(values: np.ndarray) -> None:
    expected = torch.from_numpy(values).to(torch.bfloat16)
    bits = expected.view(torch.int16).numpy().view(np.uint16)
    number = ~np.isnan(values)  # there are many NaNs
    np.testing.assert_array_equal(pack(values, "bfloat16")[number], bits[number])
    np.testing.assert_array_equal(there_and_back(values, "bfloat16"), expected.float().numpy())


def test_no_nan_becomes_a_number_in_any_reduced_precision() -> None:
    payloads = np.array([0x7F80_0001, 0x7FFF_FFFF, 0xFF80_0001, 0xFFFF_FFFF, 0x7FC0_0000], np.uint32).view(np.float32)
    for precision in PRECISIONS[1:]:
        assert np.isnan(there_and_back(payloads, precision)).all()


def test_bfloat16_of_every_place_between_two_neighbours() -> None:
    bits = (np.uint32(0x3F80_0000) + np.arange(3 * 2**16, dtype=np.uint32)).view(np.float32)
    expected = torch.from_numpy(bits).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(there_and_back(bits, "bfloat16"), expected)


def test_float16_equals_torch_where_finite_and_saturates_beyond(values: np.ndarray) -> None:
    found = there_and_back(values, "float16")
    expected = torch.from_numpy(values).to(torch.float16).float().numpy()
    overflow = np.isinf(expected) & np.isfinite(values)
    assert overflow.any()
    np.testing.assert_array_equal(found[~overflow], expected[~overflow])
    np.testing.assert_array_equal(found[overflow], np.sign(values[overflow]) * 65504)


def test_int8_is_within_half_a_step_of_a_literal_block_loop() -> None:
    rng = np.random.default_rng(7)
    values = (rng.standard_normal(1000) * 10.0 ** rng.integers(-20, 20, 1000)).astype(np.float32)
    found = there_and_back(values, "int8")
    for start in range(0, values.size, BLOCK):
        block = values[start : start + BLOCK].astype(np.float64)
        step = np.abs(block).max() / 127
        assert np.abs(found[start : start + BLOCK] - block).max() <= step * (0.5 + 1e-4)
        assert np.abs(found[start : start + BLOCK]).max() == pytest.approx(np.abs(block).max(), rel=1e-6)


def test_int8_keeps_zeros_the_largest_and_the_smallest_numbers() -> None:
    largest, smallest = np.finfo(np.float32).max, np.float32(1e-45)
    for block in ([0.0] * 5, [largest, -largest, largest / 2], [smallest, 0.0]):
        values = np.array(block, np.float32)
        found = there_and_back(values, "int8")
        assert np.isfinite(found).all()
        assert np.abs(found.astype(np.float64) - values).max() <= max(np.abs(values).max() / 127, 2.0**-126) * 0.5001


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_int8_never_hides_a_diverged_value(bad: float) -> None:
    values = np.ones(3 * BLOCK, np.float32)
    values[BLOCK + 3] = bad
    found = there_and_back(values, "int8")
    assert np.isnan(found[BLOCK : 2 * BLOCK]).all()
    np.testing.assert_allclose(np.delete(found, slice(BLOCK, 2 * BLOCK)), 1.0, rtol=1e-6)


@pytest.mark.parametrize("precision", PRECISIONS[1:])
def test_complex_values_are_interleaved_real_pairs(precision: str) -> None:
    rng = np.random.default_rng(9)
    values = (rng.standard_normal(77) + 1j * rng.standard_normal(77)).astype(np.complex64)
    pairs = np.stack([values.real, values.imag], axis=1).reshape(-1)
    np.testing.assert_array_equal(there_and_back(values, precision).view(np.float32), there_and_back(pairs, precision))


@pytest.mark.parametrize("precision", PRECISIONS[1:])
@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 64])
def test_any_length_comes_back(precision: str, count: int) -> None:
    values = np.linspace(-1, 1, count).astype(np.float32)
    found = there_and_back(values, precision)
    assert found.dtype == F32
    np.testing.assert_allclose(found, values, atol=1 / 127)
