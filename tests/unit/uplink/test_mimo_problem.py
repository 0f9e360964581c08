"""The MIMO problem: shapes, conventions, fading blocks, errors."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
import torch

from cellfree_sim.errors import UserError
from cellfree_sim.uplink import MimoProblem


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def test_a_batch_has_the_promised_shapes_and_types():
    problem = MimoProblem(8, 3, constellation="qpsk", csi_error=0.01)
    batch = problem.sample(50, 10.0, generator=seeded())
    kinds = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    assert {name: (value.dtype, tuple(value.shape)) for name, value in kinds.items()} == {
        "y": (torch.complex64, (50, 8)),
        "h": (torch.complex64, (50, 8, 3)),
        "h_known": (torch.complex64, (50, 8, 3)),
        "noise_variance": (torch.float32, (50,)),
        "messages": (torch.int64, (50, 3)),
        "active": (torch.bool, (50, 3)),
    }
    assert batch.active.all() and set(batch.messages.unique().tolist()) == {0, 1, 2, 3}
    assert problem.codebook.shape == (3, 4, 1) and problem.codebook.dtype == torch.complex64
    assert torch.equal(problem.codebook[2, :, 0], problem.constellation)


def test_what_is_received_is_the_sum_of_codewords_through_the_channel_plus_noise_of_the_stated_power():
    problem = MimoProblem(16, 4)
    batch = problem.sample(4000, 7.0, generator=seeded())
    sent = torch.stack([problem.codebook[n, batch.messages[:, n], 0] for n in range(4)], dim=1)
    clean = torch.einsum("srn,sn->sr", batch.h, sent)
    noise = batch.y - clean
    assert batch.noise_variance.unique().item() == pytest.approx(4 / 16 * 10**-0.7)
    # 64 000 complex samples: a relative standard error of 0.4 % for the noise, 0.7 % for the signal
    assert noise.abs().square().mean() / batch.noise_variance[0] == pytest.approx(1, abs=0.02)
    assert clean.abs().square().mean() / noise.abs().square().mean() == pytest.approx(10**0.7, rel=0.03)
    assert noise.square().mean().abs() < 0.02 * batch.noise_variance[0]  # circular


def test_the_generator_decides_and_the_device_does_not():
    problem = MimoProblem(4, 2, correlation=0.5, correlated="receive")
    one, two = (problem.sample(20, generator=seeded(5)) for _ in range(2))
    assert torch.equal(one.y, two.y) and torch.equal(one.messages, two.messages)
    assert not torch.equal(one.y, problem.sample(20, generator=seeded(6)).y)
    assert problem.sample(3, generator=seeded(), device="meta").y.device.type == "meta"


def test_slots_of_a_block_share_the_channel_and_its_error_and_nothing_else():
    batch = MimoProblem(4, 2, block=5, csi_error=0.1).sample(12, generator=seeded())
    for values in (batch.h, batch.h_known):
        assert torch.equal(values[:5], values[:1].expand(5, -1, -1)) and torch.equal(values[10], values[11])
        assert not torch.isclose(values[4], values[5]).any() and not torch.isclose(values[9], values[10]).any()
    assert len(batch.y.abs().unique()) == batch.y.numel()


def test_without_error_the_known_channel_is_the_channel_itself():
    batch = MimoProblem(4, 2).sample(3, generator=seeded())
    assert batch.h_known is batch.h


def test_no_slots_are_an_empty_batch():
    assert MimoProblem(4, 2, block=3).sample(0).h.shape == (0, 4, 2)


def test_problems_are_values():
    assert MimoProblem(4, 2) == MimoProblem(4, 2, "qam16") != MimoProblem(4, 2, "qpsk")
    assert len({MimoProblem(4, 2), MimoProblem(4, 2)}) == 1
    problem = MimoProblem(4, 2, "qpsk", correlation=0.5, correlated="full", csi_error=0.1, block=2)
    assert MimoProblem(**problem.options()) == problem
    assert eval(repr(problem), {"MimoProblem": MimoProblem}) == problem
    assert problem.changed(constellation="qam64").changed(constellation="qpsk") == problem
    with pytest.raises(dataclasses.FrozenInstanceError):
        MimoProblem(4, 2).n_rx = 3


def test_awgn_is_the_same_gain_everywhere():
    assert torch.allclose(MimoProblem(4, 2, channel="awgn").sample(3).h, torch.tensor(0.5 + 0j))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"n_rx": 0}, "n_rx: found 0; allowed: a whole number from 1 to 4096"),
        ({"n_tx": 2.0}, "n_tx: found 2.0; allowed: a whole number from 1 to 4096"),
        ({"n_tx": True}, "n_tx: found True; allowed: a whole number from 1 to 4096"),
        ({"constellation": 16}, "constellation: found 16; allowed: qpsk, qam16, qam64, qam256"),
        ({"channel": "raleigh"}, "channel: found 'raleigh'; allowed: rayleigh, awgn; did you mean 'rayleigh'?"),
        ({"correlation": 1.0, "correlated": "full"}, "correlation: found 1.0; allowed: a number from 0 to 0.9999"),
        ({"correlation": 0.5}, "correlation: found 0.5, but correlated is 'none'; allowed: 0, or say where"),
        (
            {"correlated": "recieve"},
            "correlated: found 'recieve'; allowed: none, full, receive; did you mean 'receive'?",
        ),
        ({"csi_error": float("nan")}, "csi_error: found nan; allowed: a number from 0 to 1e+06"),
        ({"csi_error": "a\nb"}, "csi_error: found 'a\\nb'; allowed: a number from 0 to 1e+06"),
        ({"channel": "awgn", "correlated": "full"}, "correlated: found 'full' with the channel 'awgn'; allowed: none"),
        ({"block": 0}, "block: found 0; allowed: a whole number from 1 to 1000000"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(options, text):
    with pytest.raises(UserError) as error:
        MimoProblem(**{"n_rx": 4, "n_tx": 2, **options})
    assert str(error.value) == text


def test_a_wrong_sample_is_refused():
    with pytest.raises(UserError, match=r"^count: found -1; allowed: a whole number"):
        MimoProblem(4, 2).sample(-1)
    with pytest.raises(UserError, match=r"^snr_db: found inf; allowed: a number from -200 to 200$"):
        MimoProblem(4, 2).sample(1, float("inf"))


def test_problems_and_detectors_are_named_without_torch():
    code = (
        "import sys, cellfree_sim.uplink as u, cellfree_sim.detection as d; u.MimoProblem(4, 2); d.list_detectors();"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
