from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from uplink_support import make_scenario

from cellfree_sim.errors import UserError
from cellfree_sim.scenario import load_scenario
from cellfree_sim.scenario.schema import Scenario
from cellfree_sim.uplink.population import (
    activity_probabilities,
    drop_of,
    group_members,
    group_names,
    snr_db_of,
    transmissions,
)

if TYPE_CHECKING:
    from pathlib import Path


def population(users: int = 1000, **uplink: Any) -> Scenario:
    return make_scenario(users, uplink={"users_per_group": 300, **uplink})


def test_groups_share_the_users_out() -> None:
    scenario = population()
    assert group_names(scenario) == ["users-0", "users-1", "users-2", "users-3"]
    assert [member for index in range(4) for member in group_members(scenario, index)] == list(range(1000))


def test_groups_together_send_what_all_send() -> None:
    scenario = population(activity={"probability": 0.1, "spread": 0.5})
    for burst in (0, 7):
        whole = transmissions(scenario, burst)
        parts = [transmissions(scenario, burst, group_members(scenario, index)) for index in range(4)]
        np.testing.assert_array_equal(np.concatenate([part.users for part in parts]), whole.users)
        np.testing.assert_array_equal(np.concatenate([part.messages for part in parts], axis=1), whole.messages)
        assert (np.diff(whole.users) > 0).all()


def test_a_user_does_the_same_whoever_else_there_is() -> None:
    few, many = (transmissions(population(users), 3) for users in (10, 1000))
    np.testing.assert_array_equal(few.messages, many.messages[:, :10])


def test_bursts_and_seeds_differ() -> None:
    one = transmissions(population(), 0).messages
    assert (one != transmissions(population(), 1).messages).mean() > 0.7
    other = population().model_copy(update={"seed": 2})
    assert (one != transmissions(other, 0).messages).mean() > 0.7


def test_users_are_as_active_as_they_should_be() -> None:
    """40 000 draws: the share of 0.1 has a standard deviation of 0.0015; four of them are allowed."""
    scenario = population(activity={"probability": 0.1})
    active = [len(transmissions(scenario, burst).users) for burst in range(40)]
    assert np.mean(active) / 1000 == pytest.approx(0.1, abs=0.006)
    assert np.var(active) == pytest.approx(90, rel=0.9)  # binomial, n p (1 - p)


def test_users_of_their_own_activity() -> None:
    """Over 400 bursts each user's share has a standard deviation of at most 0.025; nine are less than 0.1 of all."""
    scenario = population(200, activity={"probability": 0.5, "spread": 0.8})
    own = activity_probabilities(scenario, range(200))
    assert own.min() >= 0.1
    assert own.max() <= 0.9
    assert own.mean() == pytest.approx(0.5, abs=4 * 0.8 * 0.5 / np.sqrt(3 * 200))
    counts = np.zeros(200)
    for burst in range(400):
        counts[transmissions(scenario, burst).users] += 1
    assert np.abs(counts / 400 - own).max() < 0.1


def test_a_spread_keeps_the_mean() -> None:
    """Uniform on 0.6 (1 +- 0.6): the mean of 1000 users has a standard error of 0.0066."""
    own = activity_probabilities(population(activity={"probability": 0.6, "spread": 0.6}), range(1000))
    assert 0.95 < own.max() < 0.96
    assert own.mean() == pytest.approx(0.6, abs=4 * 0.0066)


def test_a_spread_that_would_take_probabilities_above_one_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "scenario.yaml").write_text("uplink:\n  activity: {probability: 0.8, spread: 0.5}\n")
    says = r"scenario.yaml:2:\d+: uplink.activity.spread: found 0.5; allowed: at most 0.25, so that nobody's"
    with pytest.raises(UserError, match=says):
        load_scenario(tmp_path / "scenario.yaml")


def test_messages_are_uniform() -> None:
    """5000 messages of 16: each has 312.5 +- 17; five standard deviations are allowed."""
    messages = transmissions(population(constellation="qam16"), 0).messages
    assert messages.shape == (5, 1000)
    counts = np.bincount(messages.ravel(), minlength=16)
    assert len(counts) == 16
    assert np.abs(counts - 312.5).max() < 5 * 17.2


def test_every_snr_meets_every_drop() -> None:
    uplink = population(snr_db=[0.0, 5.0], realisations=4).uplink
    assert uplink is not None
    met = [(snr_db_of(uplink, burst), drop_of(uplink, burst)) for burst in range(16)]
    assert sorted(met) == sorted([(snr, drop) for snr in (0.0, 5.0) for drop in range(4)] * 2)


def scenario_with_trace(folder: Path, **arrays: Any) -> Scenario:
    np.savez(folder / "who.npz", **arrays)
    text = """
network: {users: {count: 4}}
downlink: {algorithm: none}
uplink: {activity: {trace: who.npz}, users_per_group: 3}
"""
    (folder / "scenario.yaml").write_text(text)
    return load_scenario(folder / "scenario.yaml")


def test_a_trace_says_who_is_active(tmp_path: Path) -> None:
    active = np.array([[1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]], bool)
    scenario = scenario_with_trace(tmp_path, active=active)
    found = [transmissions(scenario, burst).users.tolist() for burst in range(5)]
    assert found == [[0, 3], [], [0, 1, 2, 3], [0, 3], []]
    assert transmissions(scenario, 0, group_members(scenario, 1)).users.tolist() == [3]


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"present": np.ones((2, 4), bool)}, r"who.npz: found no array `active`; allowed: .npz with `active`"),
        ({"active": np.ones((2, 4))}, r"found `active` float64 \[2, 4\]; allowed: bool \[bursts, 4\]"),
        ({"active": np.ones((2, 5), bool)}, r"found `active` bool \[2, 5\]; allowed: bool \[bursts, 4\]"),
        ({"active": np.ones((0, 4), bool)}, r"found `active` bool \[0, 4\]; allowed: bool \[bursts, 4\]"),
    ],
)
def test_a_trace_that_does_not_fit_is_one_line(tmp_path: Path, arrays: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        transmissions(scenario_with_trace(tmp_path, **arrays), 0)


def test_a_trace_that_is_no_file_of_arrays_is_one_line(tmp_path: Path) -> None:
    scenario = scenario_with_trace(tmp_path, active=np.ones((1, 4), bool))
    (tmp_path / "who.npz").write_bytes(b"PK\x03\x04 but no more")
    with pytest.raises(UserError, match=r"uplink.activity.trace: .*who.npz: cannot be read as .npz: ") as caught:
        transmissions(scenario, 0)
    assert "\n" not in str(caught.value)


def test_a_trace_whose_content_is_damaged_is_one_line(tmp_path: Path) -> None:
    """The header may be whole, and what follows it not."""
    np.savez_compressed(tmp_path / "whole.npz", active=np.random.default_rng(1).random((2000, 4)) < 0.5)
    data = bytearray((tmp_path / "whole.npz").read_bytes())
    scenario = scenario_with_trace(tmp_path, active=np.ones((2000, 4), bool))
    for damage in (b"\xff" * 40, b"\x00" * 40):
        middle = len(data) // 2
        (tmp_path / "who.npz").write_bytes(bytes(data[:middle] + damage + data[middle + 40 :]))
        with pytest.raises(UserError, match=r"who.npz: cannot be read as .npz: \S") as caught:
            transmissions(scenario, 0)
        assert "\n" not in str(caught.value)


def test_a_trace_that_does_not_fit_is_told_with_its_line_before_anything_runs(tmp_path: Path) -> None:
    for arrays, says in (
        ({"active": np.ones((2, 5), bool)}, r"who.npz: found `active` bool \[2, 5\]; allowed: bool \[bursts, 4\]"),
        ({"present": np.ones((2, 4), bool)}, r"who.npz: found no array `active`; allowed: .npz with"),
    ):
        with pytest.raises(UserError, match=r"scenario.yaml:4:\d+: uplink.activity.trace: .*" + says):
            scenario_with_trace(tmp_path, **arrays)
    (tmp_path / "who.npz").write_bytes(b"PK\x03\x04 but no more")
    with pytest.raises(UserError, match=r"uplink.activity.trace: .*who.npz: cannot be read as .npz: "):
        load_scenario(tmp_path / "scenario.yaml")


def test_a_trace_that_is_not_there_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "scenario.yaml").write_text("uplink:\n  activity: {trace: nobody.npz}\n")
    with pytest.raises(UserError, match=r"scenario.yaml:2:21: uplink.activity.trace: there is no file .*nobody.npz"):
        load_scenario(tmp_path / "scenario.yaml")


def test_bursts_that_would_overlap_are_refused_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "scenario.yaml").write_text("uplink:\n  slots: 14\n  interval_s: 0.5e-3\n")
    says = r"scenario.yaml:3:\d+: uplink.interval_s: found 0.0005; allowed: at least slots x slot_s, 0.0009996"
    with pytest.raises(UserError, match=says):
        load_scenario(tmp_path / "scenario.yaml")


def test_users_need_no_torch() -> None:
    code = "import sys, cellfree_sim.uplink.users; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
