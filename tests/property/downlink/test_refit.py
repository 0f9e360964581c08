"""Rows of stations follow their stations through any sequence of rosters."""

from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from cellfree_sim.downlink.refit import refit

NAMES = [f"sbs-{index}" for index in range(6)]
rosters = st.lists(st.sampled_from(NAMES), min_size=1, unique=True).flatmap(st.permutations)


@given(st.lists(rosters, min_size=2, max_size=6), st.integers(0, 4), st.sampled_from([(), (3,), (2, 2)]))
def test_rows_belong_to_names(history: list[list[str]], common: int, tail: tuple[int, ...]) -> None:
    """Against a dictionary from name to row, in which a newcomer has the mean of all that were there before it."""
    rows = {name: torch.randn(tail, dtype=torch.float64) for name in history[0]}
    head = torch.randn(common, *tail, dtype=torch.float64)
    moments = tensor = torch.cat([head, torch.stack([rows[name] for name in history[0]])])
    kept = dict(rows)
    for old, new in pairwise(history):
        tensor = refit(tensor, old, new, fresh="mean")
        moments = refit(moments, old, new, fresh="zero")
        mean = sum(rows[name] for name in old) / len(old)
        rows = {name: rows.get(name, mean) for name in new}
        kept = {name: kept.get(name, torch.zeros(tail, dtype=torch.float64)) for name in new}
    assert len(tensor) == common + len(history[-1])
    assert torch.equal(tensor[:common], head)
    torch.testing.assert_close(tensor[common:], torch.stack([rows[name] for name in history[-1]]))
    assert torch.equal(moments[common:], torch.stack([kept[name] for name in history[-1]]))
