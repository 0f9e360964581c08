"""CMTSSL in a network that changes and fails, through the whole run: against runs in which nothing happened."""

from __future__ import annotations

from typing import Any

import pytest

from cellfree_sim.errors import ScenarioError
from cellfree_sim.network import build_network
from cellfree_sim.network.changes import check_events

CENTRAL = {"downlink.algorithm": "cmtssl"}
SET = {**CENTRAL, "downlink.policy": {"name": "set", "width": 8, "layers": 1}}
CHAIN = {"name": "edges", "links": [["mbs", "sbs-0"], ["sbs-0", "sbs-1"], ["sbs-1", "sbs-2"]]}


def inject(step: int, **options: Any) -> dict[str, Any]:
    return {"at_step": step, "inject_sbs": {"position_m": [75, 75], **options}}


@pytest.mark.parametrize("barrier", ["before", "during", "after"])
@pytest.mark.parametrize("station", ["sbs-1", "mbs"])
def test_a_run_in_which_somebody_dies_ends_as_if_nobody_had(
    play: Any, tiny: Any, assert_equal: Any, station: str, barrier: str
) -> None:
    fail = {"fail_mbs": barrier} if station == "mbs" else {"fail_sbs": {"station": station, "barrier": barrier}}
    undisturbed = play(tiny(**SET))
    assert_equal(play(tiny({"at_step": 6, **fail}, **SET), barrier), undisturbed)


@pytest.mark.parametrize("transfer", ["nearest", "none"])
@pytest.mark.parametrize("after", ["fine-tune", "execute"])
def test_an_injected_station_takes_part_and_no_model_is_sent(play: Any, tiny: Any, transfer: str, after: str) -> None:
    played = play(tiny(inject(5, transfer=transfer, after=after), **SET))
    (injection,) = played.summary["downlink"]["injection"]
    assert injection["donor"] is None
    assert injection["transfer_bytes"] == injection["model_bytes"] == 0
    assert injection["sum_rate_before"] != injection["sum_rate_after"]
    uploads = played.frames[(played.frames.kind == "channel_report") & (played.frames.phase == "training")]
    assert dict(zip(uploads.sender, uploads.step, strict=True)) == {"sbs-0": 0, "sbs-1": 0, "sbs-2": 0, "sbs-3": 5}
    decided = played.frames[(played.frames.kind == "policy_decision") & (played.frames.phase == "execution")]
    assert sorted(decided.receiver) == ["sbs-0", "sbs-1", "sbs-2", "sbs-3"]
    assert played.summary["backhaul"]["balanced"] is True


def test_a_station_that_leaves_is_missed_by_nobody(play: Any, tiny: Any) -> None:
    played = play(tiny({"at_step": 5, "remove_sbs": "sbs-0"}, **SET))
    assert played.summary["steps"] == 12
    assert played.summary["backhaul"]["balanced"] is True
    decided = played.frames[played.frames.phase == "execution"]
    assert {*decided.sender, *decided.receiver} == {"mbs", "sbs-1", "sbs-2"}


def test_links_may_be_cut_and_restored_under_a_network_with_a_fixed_input(play: Any, tiny: Any) -> None:
    """Decisions go another way, and with the set network a station may be out of reach for a while."""
    cut, restore = {"at_step": 5, "cut_link": ["mbs", "sbs-1"]}, {"at_step": 8, "restore_link": ["mbs", "sbs-1"]}
    dense = play(tiny(cut, restore, **CENTRAL))
    assert dense.summary["backhaul"]["balanced"] is True
    assert (dense.training().sum_rate == play(tiny(**CENTRAL), "calm").training().sum_rate).all()
    isolated = play(tiny(cut | {"cut_link": ["sbs-1", "sbs-2"]}, **SET, **{"backhaul.topology": CHAIN}), "isolated")
    assert isolated.summary["events"][0]["isolated"] == ["sbs-2"]
    assert isolated.summary["backhaul"]["balanced"] is True


@pytest.mark.parametrize(
    ("event", "settings"),
    [
        (inject(5), {}),
        ({"at_step": 5, "remove_sbs": "sbs-1"}, {}),
        ({"at_step": 5, "cut_link": ["sbs-1", "sbs-2"]}, {"backhaul.topology": CHAIN}),
    ],
    ids=["inject", "remove", "isolate"],
)
@pytest.mark.parametrize("policy", ["dense", "paper"])
def test_a_network_with_a_fixed_input_refuses_another_roster_in_one_line(
    tiny: Any, event: dict[str, Any], settings: dict[str, Any], policy: str
) -> None:
    scenario = tiny(event, **CENTRAL, **settings, **{"downlink.policy": policy, "downlink.loss_scheme": "el"})
    action = next(key for key in event if key != "at_step")
    expected = rf"^events\[0\].{action}: the central network of policy '{policy}' is built for sbs-0, sbs-1, sbs-2, .*$"
    with pytest.raises(ScenarioError, match=expected) as refusal:
        check_events(scenario, build_network(scenario))
    assert "\n" not in str(refusal.value)
