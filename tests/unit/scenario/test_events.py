"""What a scenario may say of events; what they do to a network is tested with the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cellfree_sim.scenario import Scenario, dump_scenario, load_scenario
from cellfree_sim.scenario.describe import shape_at
from cellfree_sim.scenario.events import Event, in_order

ALL = """\
events:
  - {at_step: 150, inject_sbs: {position_m: [75, 75]}}
  - {at_step: 0, inject_sbs: {position_m: [1, 2.5], name: new, transfer: none, after: execute}}
  - {at_step: 3, remove_sbs: sbs-1}
  - {at_step: 3, fail_sbs: sbs-0}
  - {at_step: 2, fail_sbs: {station: sbs-0, barrier: after}}
  - {at_step: 4, fail_mbs: during}
  - {at_step: 5, cut_link: [mbs, sbs-0]}
  - {at_step: 5, slow_link: {between: [mbs, sbs-2], capacity_bps: 1e6}}
  - {at_step: 5, restore_link: [mbs, sbs-0]}
"""
ACTIONS = ["inject_sbs", "remove_sbs", "fail_sbs", "fail_mbs", "cut_link", "slow_link", "restore_link"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "s.yaml"
    path.write_text(ALL)
    return path


def test_every_event_is_read_as_it_is_meant(file: Path) -> None:
    events = load_scenario(file).events
    assert [event.at_step for event in events] == [150, 0, 3, 3, 2, 4, 5, 5, 5]
    assert list(dict.fromkeys(event.action for event in events)) == ACTIONS
    first, second = events[0].detail, events[1].detail
    assert (first.position_m, first.name, first.transfer, first.after) == ((75.0, 75.0), None, "nearest", "fine-tune")
    assert (second.position_m, second.name, second.transfer, second.after) == ((1.0, 2.5), "new", "none", "execute")
    assert events[2].detail == "sbs-1"
    assert [(event.detail.station, event.detail.barrier) for event in events[3:5]] == [
        ("sbs-0", "before"),
        ("sbs-0", "after"),
    ]
    assert (events[5].detail, events[6].detail, events[8].detail) == ("during", ("mbs", "sbs-0"), ("mbs", "sbs-0"))
    slow = events[7].detail
    assert (slow.between, slow.capacity_bps, slow.latency_s) == (("mbs", "sbs-2"), 1e6, None)


def test_events_happen_in_the_order_of_steps_then_of_the_list(file: Path) -> None:
    assert [index for index, _ in in_order(load_scenario(file).events)] == [1, 4, 2, 3, 5, 6, 7, 8, 0]


def test_a_dump_shows_what_happens_and_nothing_else(file: Path, tmp_path: Path) -> None:
    scenario = load_scenario(file)
    text = dump_scenario(scenario)
    again = tmp_path / "again.yaml"
    again.write_text(text)
    assert load_scenario(again) == scenario
    assert "fail_sbs: {station: sbs-0, barrier: before}" in text and "fail_mbs: null" not in text
    assert "events: []" in dump_scenario(Scenario())


def test_the_last_step_is_the_end_of_the_run() -> None:
    run: dict[str, Any] = {"downlink": {"epochs": 2, "batch": 10}, "channel": {"realisations": {"train": 25}}}
    assert Scenario.model_validate({**run, "events": [{"at_step": 6, "fail_mbs": "before"}]}).steps == 6
    with pytest.raises(ValidationError, match="found 7; allowed: at most 6, the training steps of the run"):
        Scenario.model_validate({**run, "events": [{"at_step": 7, "fail_mbs": "before"}]})


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "found no action; allowed: one of inject_sbs, remove_sbs,"),
        ({"fail_mbs": None}, "found no action"),
        ({"fail_mbs": "before", "remove_sbs": "a"}, "found remove_sbs and fail_mbs; allowed: one of"),
        ({"slow_link": {"between": ["a", "b"]}}, "found neither capacity_bps nor latency_s"),
    ],
)
def test_an_event_is_one_action(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Event.model_validate({"at_step": 1, **entry})


def test_every_action_is_described() -> None:
    shape = shape_at(("events", 0))
    assert shape is not None and shape.key_names() == ["at_step", *ACTIONS]


def least_frame(stations: int, *events: dict[str, Any]) -> int:
    data: dict[str, Any] = {
        "network": {"sbs": {"count": stations}},
        "downlink": {"feedback": "global_outputs"},
        "events": [{"at_step": 1, **event} for event in events],
    }
    Scenario.model_validate(data)
    with pytest.raises(ValidationError, match="allowed: at least ") as caught:
        Scenario.model_validate({**data, "backhaul": {"max_frame_bytes": 1024}})
    return int(str(caught.value).partition("allowed: at least ")[2].partition(",")[0])


def test_frames_must_hold_the_largest_network_that_the_events_make() -> None:
    inject, remove = {"inject_sbs": {"position_m": [1, 1]}}, {"remove_sbs": "sbs-0"}
    assert least_frame(3, inject, inject) == least_frame(5)
    assert least_frame(3, {"fail_mbs": "before"}) == least_frame(3, remove) == least_frame(3)
    turns = least_frame(3, inject, remove, inject)
    assert least_frame(4) < turns < least_frame(4) + 100 < least_frame(5), "one name more on the longest path"
