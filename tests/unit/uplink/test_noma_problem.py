"""The NOMA problem: shapes, conventions of power, activity and channels, errors."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from cellfree_sim.errors import CodebookError, UserError
from cellfree_sim.uplink import Codebook, NomaProblem

UNEQUAL = (0.8, 0.8, 0.8, 0.4, 0.4, 0.4)
MIXED = (1, 1, 1, 2, 2, 2)


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def clean(problem, batch):
    """What is received without noise, user by user in NumPy: complex128 [S, R]."""
    words, h = problem.book.codewords.astype(complex), batch.h.numpy().astype(complex)
    result = np.zeros(batch.y.shape, complex)
    for slot, sent in enumerate(batch.messages.tolist()):
        for user, message in enumerate(sent):
            if message >= 0:
                result[slot] += h[slot, user] * np.tile(words[user, message], problem.antennas)
    return result


@pytest.mark.parametrize("channel", ["awgn", "flat", "rayleigh"])
@pytest.mark.parametrize("energy", ["unit", "resources"])
def test_what_is_received_is_the_sum_of_active_codewords_plus_noise_of_the_stated_power(channel, energy):
    problem = NomaProblem(6, 4, MIXED, UNEQUAL, channel, antennas=2, energy=energy)
    batch = problem.sample(2000, 7.0, generator=seeded())
    kinds = [(value.dtype, tuple(value.shape)) for value in vars(batch).values()]
    assert kinds == [
        (torch.complex64, (2000, 8)),
        (torch.complex64, (2000, 6, 8)),
        (torch.complex64, (2000, 6, 8)),
        (torch.float32, (2000,)),
        (torch.int64, (2000, 6)),
        (torch.bool, (2000, 6)),
    ]
    noise = batch.y.numpy() - clean(problem, batch)
    # 16 000 complex samples: a relative standard error of 0.8 %
    assert (np.abs(noise) ** 2).mean() == pytest.approx(10**-0.7, rel=0.04)
    assert batch.noise_variance.unique().item() == pytest.approx(10**-0.7)
    assert torch.equal(batch.active, batch.messages >= 0) and batch.h_known is batch.h
    assert batch.messages.amax(dim=0).tolist() == [1, 1, 1, 3, 3, 3]
    # 2000 draws: a standard error of 0.011
    assert torch.allclose(batch.active.float().mean(0), torch.tensor(UNEQUAL), atol=0.045)
    assert problem.answers(batch.y, batch.h) == (6, 5) and problem.silence


def test_fading_has_unit_power_and_is_as_selective_as_it_says():
    flat = NomaProblem(2, 3, channel="flat", antennas=2).sample(4000, generator=seeded()).h.unflatten(2, (2, 3))
    assert torch.equal(flat, flat[..., :1].expand(-1, -1, -1, 3)) and not torch.equal(flat[:, :, 0], flat[:, :, 1])
    selective = NomaProblem(2, 3, channel="rayleigh").sample(4000, generator=seeded()).h
    for h in (flat[..., 0].flatten(1), selective.flatten(1)):
        assert torch.allclose(h.abs().square().mean(0), torch.ones(h.shape[1]), atol=0.07)  # 4 standard errors
        overlap = (h.T.conj() @ h / len(h)).abs() - torch.eye(h.shape[1])
        assert overlap.abs().max() < 0.07
    assert torch.equal(NomaProblem(2, 3).sample(5).h, torch.ones(5, 2, 3, dtype=torch.complex64))


def test_received_power_and_channel_error_scale_with_the_user():
    problem = NomaProblem(2, 2, channel="flat", received_power_db=(0.0, -10.0), csi_error=0.01)
    batch = problem.sample(20000, generator=seeded())
    assert torch.allclose(batch.h.abs().square().mean(dim=(0, 2)), torch.tensor([1.0, 0.1]), rtol=0.04)
    wrong = batch.h_known - batch.h
    assert torch.allclose(wrong.abs().square().mean(dim=(0, 2)), torch.tensor([0.01, 0.001]), rtol=0.04)
    assert torch.allclose(wrong[..., 0], wrong[..., 1], atol=1e-6)


def test_without_activity_all_users_send_and_silence_is_no_answer():
    problem = NomaProblem(6, 4, MIXED)
    batch = problem.sample(100, generator=seeded())
    assert batch.active.all() and (batch.messages >= 0).all() and not problem.silence
    assert problem.answers(batch.y, batch.h) == (6, 4)
    assert problem.log_prior.exp().sum(-1).tolist() == pytest.approx([1] * 6)
    assert problem.log_prior[0].tolist() == pytest.approx([np.log(0.5)] * 2 + [-np.inf] * 2)
    silent = problem.changed(activity=0.25)
    assert silent.log_prior.exp()[:, -1].tolist() == pytest.approx([0.75] * 6)
    assert silent.log_prior.exp().sum(-1).tolist() == pytest.approx([1] * 6)


def test_problems_are_values_and_travel():
    problem = NomaProblem(6, 4, MIXED, UNEQUAL, "flat", {"name": "searched", "levels": 1}, 0.1, 3.0, 2, "resources")
    assert eval(repr(problem), {"NomaProblem": NomaProblem}) == problem == NomaProblem(**problem.options())
    assert problem.changed(codebook="wbe") != problem == pickle.loads(pickle.dumps(problem))
    assert len({problem, problem.changed()}) == 1
    given = problem.changed(codebook=problem.book)
    assert np.array_equal(given.book.codewords, problem.book.codewords) and given.changed() == given
    assert torch.equal(problem.codebook, torch.from_numpy(problem.book.codewords.copy()))


def test_the_generator_decides_and_the_device_does_not():
    problem = NomaProblem(6, 4, 2, 0.5, "flat")
    one, two = (problem.sample(20, generator=seeded(5)) for _ in range(2))
    assert torch.equal(one.y, two.y) and torch.equal(one.messages, two.messages)
    assert not torch.equal(one.y, problem.sample(20, generator=seeded(6)).y)
    assert problem.sample(3, generator=seeded(), device="meta").y.device.type == "meta"
    assert problem.sample(0).h.shape == (0, 6, 4)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"users": 0}, "users: found 0; allowed: a whole number from 1 to 1024"),
        ({"rates": (1, 2)}, "rates: found 2 values; allowed: one, or one for each of 6 users"),
        ({"rates": 9}, "rates: found 9; allowed: a whole number from 1 to 8"),
        ({"activity": 0}, "activity: found 0; allowed: a number from 1e-06 to 1"),
        ({"activity": (0.5,) * 5}, "activity: found 5 values; allowed: one, or one for each of 6 users"),
        ({"channel": "raileigh"}, "channel: found 'raileigh'; allowed: awgn, flat, rayleigh; did you mean 'rayleigh'?"),
        ({"energy": 4}, "energy: found 4; allowed: unit, resources"),
        ({"csi_error": -1}, "csi_error: found -1; allowed: a number from 0 to 1e+06"),
        ({"antennas": 1.0}, "antennas: found 1.0; allowed: a whole number from 1 to 256"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(options, text):
    with pytest.raises(UserError) as error:
        NomaProblem(**{"users": 6, "resources": 4, **options})
    assert str(error.value) == text


def test_a_codebook_for_others_is_refused():
    book = NomaProblem(4, 3).book
    with pytest.raises(CodebookError, match="one of 4 users on 3 resources; expected 6 users on 4 resources"):
        NomaProblem(6, 4, codebook=book)
    with pytest.raises(CodebookError, match="found 4, 4, 4, 4 messages; expected 2, 2, 2, 2, as the rates say"):
        NomaProblem(4, 3, 1, codebook=book)
    with pytest.raises(UserError, match="codebook: found 'wbf'; allowed: "):
        NomaProblem(6, 4, codebook="wbf")
    assert isinstance(book, Codebook)


def test_wrong_shapes_are_told_apart():
    problem = NomaProblem(6, 4)
    y, h, s = torch.zeros(3, 8).cfloat(), torch.zeros(3, 6, 8).cfloat(), torch.ones(3)
    assert problem.misfit(y, h, s) is None  # two antennas
    for arguments, text in (
        ((y.real, h, s), "y: found float32 [3, 8]; expected a complex64 tensor [slots, samples]"),
        ((y, h.mT, s), "found y [3, 8], h [3, 8, 6], noise_variance [3]; expected y [S, R], h [S, N, R]"),
        ((y, h[:, :5], s), "h: found 5 users; expected 6, as the codebook has"),
        ((y[:, :7], h[..., :7], s), "y: found 7 samples; expected 4, the resources, for each antenna"),
    ):
        assert problem.misfit(*arguments).startswith(text)


def test_problems_and_receivers_are_named_without_torch():
    code = (
        "import sys, cellfree_sim.uplink as u, cellfree_sim.detection as d;"
        "u.NomaProblem(6, 4, codebook='searched'); d.list_detectors('noma'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
