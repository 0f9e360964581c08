from __future__ import annotations

import numpy as np
import pytest
import torch

from cellfree_sim.errors import RunFolderError
from cellfree_sim.results import pack_state, unpack_state

DTYPES = [
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128),
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3, 4)])
def test_tensors_keep_every_bit(dtype, shape):
    bits = torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(1))
    tensor = (bits * 1.37 - 0.2).to(dtype) if dtype.is_floating_point or dtype.is_complex else bits.to(dtype)
    back = unpack_state(pack_state({"t": tensor}))["t"]
    assert back.dtype == dtype
    assert back.shape == tensor.shape
    assert back.flatten().view(torch.uint8).tolist() == tensor.flatten().view(torch.uint8).tolist()


def test_not_a_number_keeps_its_bits_and_views_are_stored_as_they_look():
    nan = torch.tensor([0x7FC00001, 0x7F800000, -0x80000000], dtype=torch.int32).view(torch.float32)
    assert torch.equal(unpack_state(pack_state(nan)).view(torch.int32), nan.view(torch.int32))
    view = torch.arange(12.0).reshape(3, 4).T[1:]
    assert torch.equal(unpack_state(pack_state(view)), view)
    assert torch.equal(unpack_state(pack_state(torch.ones(2, requires_grad=True))), torch.ones(2))


def test_nesting_keys_and_scalars_keep_their_types():
    state = {
        "none": None,
        0: {1: [True, False, -1, 2**63, 2**130, -(2**90)], "text": "β"},
        "tuple": (1, (2.5, [()])),
        "bytes": b"\x00",
        "float": 0.1 + 0.2,
        "numpy": np.float32(0.1),
        "integer": np.int64(-7),
        "strings": np.array(["a", "bc"]),
    }
    back = unpack_state(pack_state(state))
    assert str(back) == str(state)
    assert type(back["numpy"]) is np.float32
    assert type(back["tuple"]) is tuple


def test_arrays_come_back_writable_and_in_native_order():
    array = np.arange(6, dtype=">f4").reshape(2, 3)[:, ::2]
    back = unpack_state(pack_state(array))
    np.testing.assert_array_equal(back, array)
    assert back.dtype == np.float32
    back[0, 0] = 5


def test_training_goes_on_bit_for_bit():
    def build():
        generator = torch.Generator().manual_seed(3)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 1))
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, generator=generator)
        optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
        return model, optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.1, total_steps=10)

    def train(parts, steps, rng):
        model, optimiser, schedule = parts
        for _ in range(steps):
            optimiser.zero_grad()
            model(torch.from_numpy(rng.normal(size=(5, 4)).astype(np.float32))).square().mean().backward()
            optimiser.step()
            schedule.step()

    whole, rng = build(), np.random.default_rng(4)
    train(whole, 8, rng)
    first, rng = build(), np.random.default_rng(4)
    train(first, 3, rng)
    packed = pack_state([part.state_dict() for part in first] + [rng.bit_generator.state])
    resumed, rng = build(), np.random.default_rng(99)
    *states, rng.bit_generator.state = unpack_state(packed)
    for part, state in zip(resumed, states, strict=True):
        part.load_state_dict(state)
    train(resumed, 5, rng)
    for name, value in whole[0].state_dict().items():
        assert torch.equal(value, resumed[0].state_dict()[name]), name


@pytest.mark.parametrize("value", [object(), {"f": print}, np.array([object()]), {1, 2}])
def test_what_has_no_such_form_is_refused(value):
    with pytest.raises(TypeError, match="a state cannot hold"):
        pack_state(value)


def test_damaged_bytes_are_an_error_of_their_own():
    packed = pack_state({"t": torch.ones(4), "a": np.ones(3), "x": (1, 2**70)})
    for cut in range(len(packed)):
        with pytest.raises(RunFolderError, match="a saved state is damaged"):
            unpack_state(packed[:cut])
