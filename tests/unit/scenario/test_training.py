"""What a learned detector may be trained on."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from cellfree_sim.scenario.training import MimoTraining


@pytest.mark.parametrize(
    ("constellation", "users", "expected"),
    [("qam16", 16, (8, 15)), ("qam16", 32, (10, 17)), ("qam64", 16, (15, 22)), ("qpsk", 32, (3, 10))],
)
def test_the_snr_follows_the_users_and_the_constellation_as_in_the_paper(constellation, users, expected):
    training = MimoTraining(constellation=constellation, n_tx=[16, 32])
    assert training.snr_range_db(users) == expected
    assert training.model_copy(update={"snr_offset_db": 2.0}).snr_range_db(users) == tuple(e + 2 for e in expected)
    assert training.model_copy(update={"snr_db": (1.0, 4.0)}).snr_range_db(users) == (1, 4)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"detector": "ep"}, r"found 'ep', which has nothing to learn; allowed: .*oampnet2"),
        ({"correlation": [0.5]}, r"found a correlation, but correlated is none; allowed: \[0\]"),
        ({"correlated": "full", "channel": "awgn"}, "found 'full' with the channel awgn; allowed: none"),
        ({"snr_db": (9, 3)}, r"found \[9.0, 3.0\]; allowed: from the lower to the higher"),
        ({"detector": "detnet", "n_tx": [8, 16]}, "found 2 numbers of users; allowed: one, as detector detnet"),
        ({"n_tx": []}, "at least 1 item"),
        (
            {"detector": {"name": "oampnet2", "checkpoint": "oampnet2-iid"}},
            "found the checkpoint 'oampnet2-iid', but training starts from random weights; allowed: none",
        ),
    ],
)
def test_what_does_not_fit_together_is_one_line(options, text):
    with pytest.raises(ValidationError, match=text):
        MimoTraining(**options)
