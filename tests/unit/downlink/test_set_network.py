"""The parts of the set policy against their formulas, written out with NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cellfree_sim.downlink.combining import combine_links
from cellfree_sim.downlink.networks.set_network import SetNetwork, protected_beams, spatial_overlap
from cellfree_sim.downlink.policy import PolicyShape

SHAPE = PolicyShape(subcarriers=3, tx_antennas=4, users=5, rx_antennas=2, stations=3)


def links(users=5, gain=1.0, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return gain * torch.randn(6, 3, users, 4, 2, dtype=torch.complex64, generator=generator)


def weights(users=5, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.rand(2, 6, 3, users, generator=generator)


@pytest.mark.parametrize("gain", [0.01, 1.0, 10.0])
def test_beams_are_the_regularised_inverse_of_the_module_docstring(gain):
    h, (a, b) = links(gain=gain), weights()
    combined = combine_links(h)
    found = protected_beams(combined.effective, h @ h.mH, a, b).numpy()
    u, h64 = combined.effective.numpy().astype(complex), h.numpy().astype(complex)
    for s, n in np.ndindex(6, 3):
        matrix = np.eye(4, dtype=complex)
        for j in range(5):
            own = np.outer(u[s, n, j], u[s, n, j].conj())
            matrix += float(a[s, n, j]) * own
            matrix += float(b[s, n, j]) * (h64[s, n, j] @ h64[s, n, j].conj().T - own)
        for i in range(5):
            expected = np.linalg.solve(matrix, u[s, n, i])
            np.testing.assert_allclose(found[s, n, :, i], expected / np.linalg.norm(expected), atol=1e-3)


@pytest.mark.parametrize("users", [1, 2, 3, 10])
@pytest.mark.parametrize("gain", [1.0, 1e2, 1e4])
def test_beams_stay_accurate_in_single_precision_80_db_above_noise(users, gain):
    h, (a, b) = links(users, gain), weights(users)
    beams = []
    for dtype in (torch.complex64, torch.complex128):
        combined = combine_links(h.to(dtype))
        covariance = h.to(dtype) @ h.to(dtype).mH
        beams.append(protected_beams(combined.effective, covariance, a.to(dtype).real, b.to(dtype).real))
    alignment = (beams[0].conj() * beams[1]).sum(2).abs()
    assert (alignment > 0.9999).all()


def test_overlap_is_the_squared_cosine_between_users():
    effective = combine_links(links()).effective
    overlap, u = spatial_overlap(effective).numpy(), effective.numpy().astype(complex)
    for s, n, i, j in np.ndindex(6, 3, 5, 5):
        cosine = abs(np.vdot(u[s, n, i], u[s, n, j])) / np.linalg.norm(u[s, n, i]) / np.linalg.norm(u[s, n, j])
        assert overlap[s, n, i, j] == pytest.approx(cosine**2 if i != j else 0.0, abs=1e-5)


def test_evaluation_sends_what_training_sent_but_for_links_below_the_threshold():
    torch.manual_seed(0)
    network = SetNetwork(SHAPE, width=8, layers=1, threshold=0.1)
    share = torch.softmax(4 * torch.rand(50, 15, generator=torch.Generator().manual_seed(3)), -1).reshape(50, 3, 5)
    soft, amplitude = network.train().allocate(share)
    hard, hard_amplitude = network.eval().allocate(share)
    above = share > 0.1 / 3
    assert torch.equal(hard.bool(), above) and above.any() and not above.all()
    torch.testing.assert_close(hard * hard_amplitude, torch.where(above, soft * amplitude, 0.0))
    torch.testing.assert_close(soft, share**2 / (share**2 + (0.1 / 3) ** 2))


def test_the_largest_share_is_allocated_even_below_the_threshold():
    torch.manual_seed(0)
    network = SetNetwork(SHAPE, width=8, layers=1, threshold=0.9).eval()
    share = torch.full((2, 3, 5), 1 / 15.0)
    share[:, 1, 2] += 0.01
    hard, _ = network.allocate(share)
    assert hard.sum() == 2 and (hard[:, 1, 2] == 1).all()
