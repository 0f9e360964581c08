"""Codebooks: the constants of the literature, power and uniqueness of all that are registered, files."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest

from cellfree_sim.errors import CodebookError
from cellfree_sim.scenario.extensions import CODEBOOKS
from cellfree_sim.uplink import Codebook, NomaProblem
from cellfree_sim.uplink.codebook import symbols
from cellfree_sim.uplink.signatures import (
    correlations,
    cross_correlation,
    modified_chirp,
    packed,
    searched,
    welch_bound,
)

UNEQUAL = (0.8, 0.8, 0.8, 0.4, 0.4, 0.4)
MADE = [
    name
    for name, kind in ((name, CODEBOOKS.type_of(name)) for name in CODEBOOKS.names())
    if not getattr(kind, "learned", False) and not any(field.is_required() for field in kind.model_fields.values())
]


def test_modified_chirp_has_the_published_cross_correlation_and_meets_the_bound_of_equal_activity():
    """3.67e-2 in Table III of the signatures paper; by hand 0.55 * 2 / 30."""
    assert NomaProblem(6, 4, 2, UNEQUAL).book.cross_correlation(UNEQUAL) == pytest.approx(0.55 * 2 / 30, abs=1e-6)
    for users, resources in ((6, 4), (12, 8), (5, 3)):
        chirp = modified_chirp(users, resources)
        assert cross_correlation(chirp) == pytest.approx(welch_bound(resources, [1] * users), abs=1e-12)
        assert np.allclose(np.linalg.norm(chirp, axis=1), 1)


def test_no_signatures_are_below_the_weighted_bound_and_some_meet_it():
    rng = np.random.default_rng(1)
    assert welch_bound(4, UNEQUAL) == pytest.approx(2.8e-2, abs=1e-12)
    for _ in range(200):
        rows = rng.standard_normal((6, 4)) + 1j * rng.standard_normal((6, 4))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        assert cross_correlation(rows, UNEQUAL) > 2.8e-2
    pairs = np.vstack([np.eye(3), np.eye(3)])  # two users on each of three resources
    assert cross_correlation(pairs, [0.5] * 6) == pytest.approx(welch_bound(3, [0.5] * 6))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_search_comes_near_the_bound_in_seconds_and_by_its_seed_alone(seed):
    start = time.process_time()
    first = searched(6, 4, levels=2, activity=UNEQUAL, starts=200, seed=seed)
    assert time.process_time() - start < 5
    assert 2.8e-2 <= cross_correlation(first, UNEQUAL) <= 2.85e-2
    assert np.array_equal(first, searched(6, 4, levels=2, activity=UNEQUAL, starts=200, seed=seed))
    for row in np.concatenate([first.real, first.imag], axis=1):
        least = np.abs(row[np.abs(row) > 1e-9]).min()  # it stands for 1 or 2
        assert any(_small_integers(row / least * q) for q in (1, 2))


def _small_integers(row):
    return np.abs(row - row.round()).max() < 1e-9 and np.abs(row).max() < 2.5


def test_a_packing_has_lower_coherence_than_welch_bound_equality():
    """The best known packing of 6 lines in C^4 has the coherence 0.3273; the bound that none meets is sqrt(1 / 10)."""
    off = correlations(packed(6, 4, 1)) - np.eye(6)
    assert math.sqrt(0.1) < off.max() < 0.33 < (correlations(modified_chirp(6, 4)) - np.eye(6)).max()


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("rates", [(1, 1, 1, 2, 2, 2), (2,) * 6])
@pytest.mark.parametrize("energy", ["unit", "resources"])
def test_every_codebook_has_equal_power_unique_codewords_and_comes_back_from_a_file(name, rates, energy, tmp_path):
    book = NomaProblem(6, 4, rates, UNEQUAL, codebook=name, energy=energy).book
    power = 1 if energy == "unit" else 4
    for user, rate in enumerate(rates):
        words = book.codewords[user, : 2**rate]
        assert (np.abs(words) ** 2).sum(axis=1).mean() == pytest.approx(power, rel=1e-5)
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(words, 2)) > 0.5
        assert not book.codewords[user, 2**rate :].any()
    for suffix in (".codebook", ".npz"):
        again = Codebook.load(book.save(tmp_path / f"kept{suffix}"))
        assert again == book and again.name == name and np.array_equal(again.codewords, book.codewords)
    path = str(tmp_path / "kept.codebook")
    problem = NomaProblem(6, 4, rates, codebook={"name": "file", "path": path}, energy=energy)
    assert np.array_equal(problem.book.codewords, book.codewords)


def test_the_sparse_codebook_is_the_common_one():
    """Three users on each resource, two resources for each user, 7.8 dB below four units of energy as published."""
    words = NomaProblem(6, 4, codebook="scma").book.codewords * math.sqrt(0.7851**2 + 0.2243**2)
    occupied = np.abs(words).max(axis=1) > 0
    assert occupied.sum(axis=0).tolist() == [3] * 4 and occupied.sum(axis=1).tolist() == [2] * 6
    assert np.allclose(
        words[0, :, 1], [-0.1815 - 0.1318j, -0.6351 - 0.4615j, 0.6351 + 0.4615j, 0.1815 + 0.1318j], atol=3e-4
    )
    assert np.allclose(
        words[4, :, 3], [-0.6351 + 0.4615j, 0.1815 - 0.1318j, -0.1815 + 0.1318j, 0.6351 - 0.4615j], atol=3e-4
    )
    assert 10 * math.log10(4 / (np.abs(words[3]) ** 2).sum(axis=1).mean()) == pytest.approx(7.78, abs=0.01)
    assert NomaProblem(12, 8, codebook="scma").book.codewords[6:, :, :4].any() == False  # noqa: E712


def test_symbols_of_neighbours_on_the_circle_differ_in_one_bit():
    points = symbols(3)
    order = np.argsort(np.angle(points))
    for one, other in zip(order, np.roll(order, 1), strict=True):
        assert bin(one ^ other).count("1") == 1


def test_the_linear_form_of_a_codebook_is_found_where_there_is_one():
    book = NomaProblem(6, 4, (1, 2, 1, 2, 1, 2), codebook="grassmannian").book
    signatures, points = book.spreading()
    assert np.allclose(points[:, :, None] * signatures[:, None], book.codewords, atol=1e-6)
    assert np.allclose(np.linalg.norm(signatures, axis=1), 1, atol=1e-6)
    assert NomaProblem(6, 4, codebook="scma").book.spreading() is None


@pytest.mark.parametrize(
    ("words", "counts", "text"),
    [
        (np.ones((2, 2)), None, r"codewords \[2, 2\]; expected \[users, messages, resources\]"),
        (np.zeros((1, 2, 2)), None, "only zeros for user 0"),
        ([[[1, 0], [-1, 0]], [[2, 0], [-2, 0]]], None, "energies from 1 to 4; allowed: the same for all users"),
        ([[[1, 0], [1, 1e-9]]], None, "same codeword for messages 0 and 1 of user 0"),
        ([[[1, np.nan], [1, 0]]], None, "not finite"),
        ([[[1, 0], [-1, 0]]], [3], r"found \[3\] messages of 1 users; allowed: 2 to 2"),
    ],
)
def test_a_codebook_that_nobody_can_use_is_refused(words, counts, text):
    with pytest.raises(CodebookError, match=text):
        Codebook(words, counts)


def test_a_file_that_was_written_anew_is_read_anew(tmp_path):
    kept, options = tmp_path / "kept.npz", {"name": "file", "path": str(tmp_path / "kept.npz")}
    for one in ("random", "wbe"):
        book = NomaProblem(3, 2, codebook=one).book
        book.save(kept)
        assert NomaProblem(3, 2, codebook=options).book == book


def test_files_that_are_no_codebook_are_refused_in_one_line(tmp_path):
    book = NomaProblem(3, 2).book
    data = bytearray(book.to_bytes())
    data[-3] ^= 1
    (tmp_path / "damaged.codebook").write_bytes(bytes(data))
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    np.savez(tmp_path / "code.npz", codewords=np.array([{"a": 1}], dtype=object))
    (tmp_path / "empty.npz").touch()
    (tmp_path / "cut.npz").write_bytes((tmp_path / "other.npz").read_bytes()[:40])
    for name, text in (
        ("empty.npz", "no codebook: No data left"),
        ("cut.npz", "no codebook: File is not a zip file"),
        ("none.codebook", "cannot read"),
        ("damaged.codebook", "damaged"),
        ("other.npz", "no codebook"),
        ("code.npz", "no codebook"),
    ):
        with pytest.raises(CodebookError, match=text) as error:
            Codebook.load(tmp_path / name)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("users", "resources", "rates", "codebook", "text"),
    [
        (6, 5, 2, "scma", "6 users on 5 resources; allowed: 1 to 6 users for every 4 resources"),
        (6, 4, 3, "scma", "a rate of 3 bits; allowed: 1 or 2"),
        (6, 4, 5, "wbe", "rates: found 5; allowed for spreading: 1, 2, 3, 4, 6 or 8 bits"),
        (6, 4, 2, {"name": "searched", "levels": 0}, "codebook 'searched': levels: "),
        (6, 4, 2, {"name": "searched", "level": 2}, "codebook 'searched': level: Extra inputs"),
    ],
)
def test_a_codebook_that_does_not_fit_is_refused(users, resources, rates, codebook, text):
    with pytest.raises(CodebookError, match=text):
        NomaProblem(users, resources, rates, codebook=codebook)
