"""An uplink that does not fit its scenario is refused in one line, at the key that is wrong."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from cellfree_sim.errors import UserError
from cellfree_sim.scenario import load_scenario
from cellfree_sim.scenario.schema import Scenario
from cellfree_sim.scenario.uplink_checks import bursts_due, services_share, uplink_link_share

LOCAL = "{name: near, mec_share: 0.3}"
CENTRAL = "{name: far, cooperation: centralized, mec_share: 0.4}"

REFUSED = {
    "uplink: {}\non_failure: drop": ("on_failure", "found 'drop' in a scenario with an uplink"),
    "uplink: {}\nevents: [{at_step: 1, cut_link: [mbs, sbs-0]}]": ("events", "found cut_link in a scenario"),
    "uplink: {backhaul_share: 1}": ("backhaul_share", "found 1, which leaves nothing of the backhaul"),
    "uplink: {services: [{mec_share: 1}]}": ("services", "found mec_share 1 in all at sbs-0"),
    "uplink: {services: [{cooperation: centralized, mec_share: 1}]}": ("services", "found mec_share 1 in all at mbs"),
    "uplink: {services: [{stations: [sbs-0, sbs-7]}]}": ("stations", "found 'sbs-7'; allowed: sbs-0, sbs-1, sbs-2"),
    "uplink: {services: [{stations: [sbs-0, sbs-0]}]}": ("stations", "found 'sbs-0' for a second time"),
    "uplink: {snr_db: [4, 8, 4.0]}": ("uplink.snr_db", "found 4 for a second time; allowed: each SNR once"),
    "uplink: {services: [{name: a, mec_share: 0.6}, {name: b, stations: [sbs-1], mec_share: 0.6}]}": (
        "services",
        "found mec_share 1.2 in all at sbs-1; allowed: at most 1",
    ),
    "uplink: {services: [{name: a, cooperation: soft_fusion, mec_share: 0.6}, "
    "{name: b, cooperation: centralized, mec_share: 0.6}]}": ("services", "found mec_share 1.2 in all at mbs"),
    "network: {users: {count: 200}}\nbackhaul: {max_frame_bytes: 20000}\nuplink: {}\ndownlink: {algorithm: none}": (
        "backhaul.max_frame_bytes",
        "found 20000; allowed: more than 22400, a burst of one group of users",
    ),
    "network: {users: {count: 200}}\nbackhaul: {max_frame_bytes: 30000}\n"
    "uplink: {services: [{cooperation: soft_fusion}]}\ndownlink: {algorithm: none}": (
        "backhaul.max_frame_bytes",
        "found 30000; allowed: more than 44800, the log-probabilities of a burst",
    ),
    "uplink: {services: [{stations: []}]}": ("stations", "found an empty list"),
    "uplink:\n  services: [{name: far, cooperation: centralized}]\n"
    "  events: [{at_burst: 1, fail_service: {service: far, station: sbs-0}}]": ("station", "'sbs-0'; allowed: mbs"),
    "uplink: {activity: {by_user: [0.8, 0.4], probability: 0.5}}": ("probability", "found 0.5 beside by_user"),
    "uplink: {activity: {by_user: [0.8, 0.4], spread: 0.5}}": ("spread", "found 0.5; allowed: at most 0.25"),
    "network: {users: {count: 1}}\nuplink: {activity: {by_user: [0.8, 0.4]}}": (
        "by_user",
        "found 2 values; allowed: at most one for each of 1 users",
    ),
    "uplink: {events: [{at_burst: 1, set_activity: {by_user: [0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]}}]}": (
        "set_activity",
        "found 11 values; allowed: at most one for each of 10 users",
    ),
    "uplink: {events: [{at_burst: 1}]}": ("events", "found none; allowed: one of swap_detector, fail_service, set_"),
    "uplink: {problem: noma, events: [{at_burst: 90, retrain: {service: kbest-local, ready_after: 10}}]}": (
        "ready_after",
        "found 10, after burst 90; allowed: ready before the end of 100 bursts",
    ),
    "uplink: {problem: noma, events: [{at_burst: 9, retrain: {service: ep, ready_after: 10}}]}": (
        "service",
        "found 'ep'; allowed: kbest-local",
    ),
    "uplink: {problem: noma, events: [{at_burst: 9, retrain: {service: kbest-local, ready_after: 10}}, "
    "{at_burst: 19, swap_detector: {service: kbest-local, detector: ep}}]}": (
        "events",
        "found 19, while 'kbest-local' is trained anew; allowed: after burst 19, when it is ready, or up to 9",
    ),
    "uplink: {problem: noma, services: [{detector: oracle-ls}]}": (
        "detector",
        "found 'oracle-ls', which is told who is active; allowed: one that finds that out",
    ),
    "uplink: {problem: noma, rates: [1, 2]}": ("rates", "found 2 values; allowed: one, or one for each of 10 users"),
    "uplink: {problem: noma, fading: selective, resources: 5}\nradio: {subcarriers: 4}": (
        "fading",
        "found selective with 5 resources on 4 subcarriers; allowed: at least as many of radio.subcarriers",
    ),
    "uplink: {problem: noma, services: [{cluster: 2}]}": ("cluster", "found 2; allowed: none, as receivers of noma"),
    "network: {users: {count: 1025}}\nuplink: {problem: noma}": ("problem", "allowed: at most 1024 users"),
    "downlink: {algorithm: none}": ("algorithm", "found 'none' without a section uplink"),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_does_not_fit_is_one_line_that_names_the_key(tmp_path: Path, text: str) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(f"name: wrong\n{text}\n")
    key, reason = REFUSED[text]
    with pytest.raises(UserError) as caught:
        load_scenario(file)
    line = str(caught.value)
    assert "\n" not in line and str(file) in line
    assert key in line and reason in line


@pytest.mark.parametrize("algorithm", ["none", "dmtssl"])
def test_a_share_of_all_is_refused_only_where_there_is_training(algorithm: str) -> None:
    whole = {"backhaul_share": 1.0, "services": [{"mec_share": 1.0}]}
    data: dict[str, Any] = {"downlink": {"algorithm": algorithm}, "uplink": whole}
    if algorithm == "none":
        assert Scenario.model_validate(data).steps == 0
    else:
        with pytest.raises(ValueError, match="leaves nothing"):
            Scenario.model_validate(data)


def test_training_has_what_services_leave_over(tmp_path: Path) -> None:
    file = tmp_path / "shares.yaml"
    some = "{name: some, stations: [sbs-1], mec_share: 0.2}"
    file.write_text(f"network: {{sbs: {{count: 2}}}}\nuplink: {{services: [{LOCAL}, {CENTRAL}, {some}]}}\n")
    scenario = load_scenario(file)
    station, mbs = scenario.network.sbs.mec_flop_per_s, scenario.network.mbs.mec_flop_per_s
    left = {name: scenario.flop_per_s_left(name) for name in ("sbs-0", "sbs-1", "mbs")}
    assert left == pytest.approx({"sbs-0": 0.7 * station, "sbs-1": 0.5 * station, "mbs": 0.6 * mbs})
    assert scenario.link_share_left == 0.5
    alone = Scenario()
    assert (alone.flop_per_s_left("sbs-0"), alone.flop_per_s_left("mbs"), alone.link_share_left) == (1e11, 1e12, 1.0)


def test_shares_of_services_at_different_stations_do_not_add_up() -> None:
    apart = [{"name": f"at-{n}", "stations": [f"sbs-{n}"], "mec_share": 0.6} for n in range(2)]
    scenario = Scenario.model_validate({"uplink": {"services": apart}})
    assert [services_share(scenario, name) for name in ("sbs-0", "sbs-1", "sbs-2", "mbs")] == [0.6, 0.6, 0, 0]


def test_frames_that_may_fit_are_not_refused() -> None:
    small = {"network": {"users": {"count": 200}}, "backhaul": {"max_frame_bytes": 30000}}
    small["downlink"] = {"algorithm": "none"}
    soft = {"cooperation": "soft_fusion"}
    for uplink in ({"services": [{**soft, "cluster": 1}]}, {"services": [{**soft, "precision": "int8"}]}):
        Scenario.model_validate({**small, "uplink": uplink})
    Scenario.model_validate({**small, "uplink": {"services": [soft], "activity": {"probability": 0.5}}})


def test_the_backhaul_is_all_the_uplinks_where_nothing_is_trained() -> None:
    shares = [
        uplink_link_share(Scenario.model_validate({"downlink": {"algorithm": name}, "uplink": {"backhaul_share": 0.3}}))
        for name in ("dmtssl", "none")
    ]
    assert shares == [0.3, 1.0]


@pytest.mark.parametrize("bursts", [1, 7, 150, 1000])
def test_all_bursts_are_due_at_the_end_and_none_before_the_start(bursts: int) -> None:
    scenario = Scenario.model_validate({"uplink": {"bursts": bursts}})
    due = [bursts_due(scenario, step) for step in range(scenario.steps + 1)]
    assert (due[0], due[-1]) == (0, bursts)
    steps = [later - earlier for earlier, later in itertools.pairwise(due)]
    assert max(steps) - min(steps) <= 1
