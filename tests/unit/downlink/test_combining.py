"""Receive combiners against NumPy's singular value decomposition, and where eigenvectors degenerate."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cellfree_sim.downlink.combining import combine_links


@pytest.mark.parametrize("t", [1, 2, 4])
@pytest.mark.parametrize("r", [1, 2, 3, 4])
@pytest.mark.parametrize("gain", [1e-6, 1.0, 1e4])
def test_the_combiner_is_the_dominant_right_singular_vector(t, r, gain):
    """Up to phase; and the phase is that of a real, non-negative first entry."""
    generator = torch.Generator().manual_seed(t + 10 * r)
    links = gain * torch.randn(30, t, r, dtype=torch.complex64, generator=generator)
    combined = combine_links(links)
    _, sigma, vh = np.linalg.svd(links.numpy().astype(complex))
    overlap = np.abs(np.einsum("sr,sr->s", vh[:, 0], combined.combiner.numpy()))
    np.testing.assert_allclose(overlap, 1.0, rtol=1e-4)
    np.testing.assert_allclose(combined.eigenvalue.numpy(), sigma[:, 0] ** 2, rtol=1e-4)
    np.testing.assert_allclose(combined.effective.abs().square().sum(-1).numpy(), sigma[:, 0] ** 2, rtol=1e-4)
    np.testing.assert_allclose(combined.combiner.abs().square().sum(-1).numpy(), 1.0, rtol=1e-5)
    first = combined.combiner[:, 0]
    assert (first.real >= 0).all() and (first.imag.abs() <= 1e-6).all()
    torch.testing.assert_close(combined.effective, torch.einsum("str,sr->st", links, combined.combiner))
    torch.testing.assert_close(combined.gram, torch.einsum("str,stq->srq", links.conj(), links))


@pytest.mark.parametrize("r", [1, 2, 3])
@pytest.mark.parametrize("antenna", [0, 1, 2])
def test_a_link_heard_by_one_antenna_is_taken_from_that_antenna(r, antenna):
    links = torch.zeros(1, 2, r, dtype=torch.complex64)
    links[0, :, antenna % r] = torch.tensor([3j, 4.0])
    combined = combine_links(links)
    assert float(combined.eigenvalue) == pytest.approx(25, rel=1e-6)
    assert combined.combiner.abs()[0].tolist() == pytest.approx([float(k == antenna % r) for k in range(r)], abs=1e-6)


@pytest.mark.parametrize("r", [1, 2, 3])
def test_equal_eigenvalues_and_silent_links_leave_a_unit_combiner(r):
    links = torch.stack([2.0 * torch.eye(3, r) + 0j, torch.zeros(3, r) + 0j])
    combined = combine_links(links)
    assert combined.eigenvalue.tolist() == pytest.approx([4.0, 0.0])
    assert combined.combiner.abs().square().sum(-1).tolist() == pytest.approx([1.0, 1.0])
    assert combined.effective.abs().square().sum(-1).tolist() == pytest.approx([4.0, 0.0])
