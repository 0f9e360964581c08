"""What a network becomes when stations join and leave and links are cut, against small networks drawn by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cellfree_sim.errors import ChannelError, ScenarioError, UserError
from cellfree_sim.network import Network, build_network
from cellfree_sim.network.changes import (
    check_events,
    with_admitted,
    with_event,
    with_joining,
    with_link_cut,
    with_link_restored,
    with_link_slowed,
    without,
)

CHAIN = {"name": "edges", "links": [["mbs", "sbs-0"], ["sbs-0", "sbs-1"], ["sbs-1", "sbs-2"]]}
RING = {"name": "edges", "links": [*CHAIN["links"], ["sbs-2", "mbs"]]}


@pytest.fixture
def chain(small_scenario):
    return small_scenario(**{"backhaul.topology": CHAIN})


@pytest.fixture
def ring(small_scenario):
    return build_network(small_scenario(**{"backhaul.topology": RING}))


def statuses(network):
    return {name: network.status(name) for name in network.sites}


def test_a_station_joins_as_the_others_are_built_and_is_admitted_last(small_scenario):
    scenario = small_scenario(**{"network.sbs.height_m": 12, "network.sbs.power_dbm": 33})
    before = build_network(scenario)
    joining, name = with_joining(scenario, before, None, (75, 75), learns=False)
    assert name == "sbs-3" and joining.status(name) == "joining" and not joining.learns(name)
    assert joining.stations == joining.members == before.stations and joining.sites == [*before.sites, name]
    node = dict(joining.graph.nodes["sbs-0"]) | {"x_m": 75.0, "y_m": 75.0, "status": "joining", "learns": False}
    assert joining.graph.nodes[name] == node
    assert joining.path(name, "sbs-0") == (name, "mbs", "sbs-0")
    admitted = with_admitted(joining, name)
    assert admitted.stations == admitted.members == [*before.stations, name] and admitted.status(name) == "active"
    assert admitted.nearest_station((80, 80)) == name and before.nearest_station((80, 80)) != name


def test_antennas_look_where_they_are_told_to_and_else_where_the_scenario_says(small_scenario):
    scenario = small_scenario(**{"network.sbs": {"azimuths_deg": [0, 90, -45], "antennas": {"azimuth_deg": 30}}})
    before = build_network(scenario)
    assert [before.azimuth_deg(name) for name in before.stations] == [0, 90, -45]
    told, one = with_joining(scenario, before, None, (1, 1), learns=True, azimuth_deg=200)
    untold, other = with_joining(scenario, before, None, (1, 1), learns=True)
    assert told.azimuth_deg(one) == 200 and untold.azimuth_deg(other) == 30
    assert Network.from_json(json.loads(json.dumps(told.to_json()))).azimuth_deg(one) == 200


def test_names_count_from_the_first_that_was_never_used(small_scenario):
    scenario = small_scenario(**{"network.sbs.names": ["sbs-0", "sbs-2", "north"]})
    network, name = with_joining(scenario, build_network(scenario), None, (1, 1), learns=True)
    assert name == "sbs-1"
    network = without(with_admitted(network, name), name)
    assert with_joining(scenario, network, None, (1, 1), learns=True)[1] == "sbs-3"
    assert with_joining(scenario, network, "my.new_station-1", (1, 1), learns=True)[1] == "my.new_station-1"


@pytest.mark.parametrize(
    ("name", "position", "message"),
    [
        ("mbs", (1, 1), "name: found 'mbs', which is the macro base station's"),
        ("user-0", (1, 1), "name: found 'user-0', which is the macro base station's or a user's"),
        ("a/b", (1, 1), "name: found 'a/b'; allowed: at most 63 letters"),
        ("", (1, 1), "name: found ''; allowed: at most 63 letters"),
        ("sbs-9\n", (1, 1), r"name: found 'sbs-9\\n'; allowed: at most 63 letters"),
        ("sbs-1", (1, 1), "name: found 'sbs-1', which is active; allowed: a name that no station"),
        ("sbs-2", (1, 1), "name: found 'sbs-2', which is removed"),
        (None, (101, 1), r"position_m: found \[101, 1\]; allowed: x in \[0, 100\], y in \[0, 100\] \(network.area_m\)"),
        (None, (1, -0.5), r"position_m: found \[1, -0.5\]"),
        (None, (float("nan"), 1), r"position_m: found \[nan, 1\]"),
        (None, (1, float("inf")), r"position_m: found \[1, inf\]"),
        (None, (25.005, 25), r"position_m: found \[25.005, 25\], where station 'sbs-0' stands; allowed: a free place"),
    ],
)
def test_a_station_that_cannot_be_is_refused(small_scenario, name, position, message):
    scenario = small_scenario()
    network = without(build_network(scenario), "sbs-2")
    before = network.to_json()
    with pytest.raises(UserError, match=f"^{message}") as caught:
        with_joining(scenario, network, name, position, learns=True)
    assert "\n" not in str(caught.value) and network.to_json() == before


def test_the_place_of_a_station_that_left_is_free(small_scenario):
    scenario = small_scenario()
    network = without(build_network(scenario), "sbs-0")
    assert with_joining(scenario, network, None, network.position("sbs-0")[:2], learns=True)[1] == "sbs-3"


def test_a_station_without_recorded_channels_is_refused(small_scenario, tmp_path):
    file = tmp_path / "trace.npz"
    np.savez(file, channel=np.ones((60, 4, 2, 4, 4, 2), np.complex64))
    model = {"name": "trace", "path": str(file)}
    place = {"at_step": 0, "inject_sbs": {"position_m": [1, 1]}}
    there = {"at_step": 1, "inject_sbs": {"position_m": [2, 2]}}
    scenario = small_scenario(**{"channel.model": model, "events": [place]})
    check_events(scenario, build_network(scenario))
    network, _ = with_joining(scenario, build_network(scenario), None, (1, 1), learns=True)
    with pytest.raises(ChannelError, match=r"needed B \(stations\) at least 5, found 4"):
        with_joining(scenario, network, None, (2, 2), learns=True)
    scenario = small_scenario(**{"channel.model": model, "events": [place, there]})
    with pytest.raises(ScenarioError, match=r"^events\[1\].inject_sbs: channel.model.path: .* at least 5, found 4"):
        check_events(scenario, build_network(scenario))


def test_only_who_joins_is_admitted(small_scenario):
    network = build_network(small_scenario())
    for name, message in (
        ("sbs-0", "station 'sbs-0' is active; only one that is joining"),
        ("sbs-7", "there is no station 'sbs-7'; there are sbs-0, sbs-1, sbs-2"),
        ("mbs", "'mbs' is the macro base station"),
    ):
        with pytest.raises(UserError, match=message):
            with_admitted(network, name)


def test_a_station_that_left_still_forwards(chain):
    network = without(build_network(chain), "sbs-1")
    assert network.stations == network.members == ["sbs-0", "sbs-2"] and network.sites == ["sbs-0", "sbs-1", "sbs-2"]
    assert network.path("sbs-2", "mbs") == ("sbs-2", "sbs-1", "sbs-0", "mbs")
    assert network.nearest_station(network.position("sbs-1")[:2]) != "sbs-1"


def test_who_cannot_leave_is_told_why(chain):
    network = without(build_network(chain), "sbs-1")
    cut = with_link_cut(network, "sbs-1", "sbs-2")
    assert statuses(cut) == {"sbs-0": "active", "sbs-1": "removed", "sbs-2": "isolated"}
    assert statuses(without(cut, "sbs-2"))["sbs-2"] == "removed", "a station that is cut off may leave"
    for state, name, message in (
        (network, "mbs", "'mbs' is the macro base station; allowed: a small one, sbs-0, sbs-2"),
        (network, "sbs-1", "station 'sbs-1' is removed; allowed: sbs-0, sbs-2"),
        (network, "user-0", "there is no station 'user-0'; there are sbs-0, sbs-2"),
        (cut, "sbs-0", "station 'sbs-0' is the last one that serves users"),
    ):
        with pytest.raises(UserError, match=message):
            without(state, name)


def test_a_cut_link_is_gone_round_where_there_is_another_way(ring):
    assert ring.path("mbs", "sbs-0") == ("mbs", "sbs-0")
    cut = with_link_cut(ring, "sbs-0", "mbs")
    assert not cut.is_up("mbs", "sbs-0") and ring.is_up("mbs", "sbs-0")
    assert cut.path("mbs", "sbs-0") == ("mbs", "sbs-2", "sbs-1", "sbs-0")
    assert cut.stations == ring.stations and cut.links() == ring.links()
    restored = with_link_restored(cut, "mbs", "sbs-0")
    assert restored.to_json() == ring.to_json()


def test_stations_behind_the_last_link_are_isolated_until_it_is_back(chain):
    network = build_network(chain)
    cut = with_link_cut(network, "sbs-0", "sbs-1")
    assert statuses(cut) == {"sbs-0": "active", "sbs-1": "isolated", "sbs-2": "isolated"}
    assert cut.stations == ["sbs-0"] and cut.members == ["sbs-0", "sbs-1", "sbs-2"]
    assert not cut.reaches("mbs", "sbs-2") and cut.reaches("sbs-2", "sbs-1")
    with pytest.raises(UserError, match="no path of links that are up leads from 'sbs-2' to 'mbs'"):
        cut.path("sbs-2", "mbs")
    restored = with_link_restored(cut, "sbs-1", "sbs-0")
    assert restored.to_json() == network.to_json()


def test_a_cut_that_leaves_nobody_is_refused(chain):
    with pytest.raises(UserError, match="without the link between 'mbs' and 'sbs-0' no station has a path to 'mbs'"):
        with_link_cut(build_network(chain), "mbs", "sbs-0")


def test_a_removed_station_stays_removed_when_its_link_is_back(chain):
    network = with_link_cut(without(build_network(chain), "sbs-2"), "sbs-1", "sbs-2")
    assert statuses(with_link_restored(network, "sbs-1", "sbs-2"))["sbs-2"] == "removed"


def test_a_station_whose_link_was_cut_while_it_joined_is_admitted_as_isolated(small_scenario):
    scenario = small_scenario()
    network, name = with_joining(scenario, build_network(scenario), None, (1, 1), learns=True)
    network = with_admitted(with_link_cut(network, "mbs", name), name)
    assert network.status(name) == "isolated" and name not in network.stations
    assert with_link_restored(network, "mbs", name).stations[-1] == name


def test_a_slow_link_remembers_how_it_was_built(ring):
    slow = with_link_slowed(ring, "mbs", "sbs-0", capacity_bps=1e6)
    slower = with_link_slowed(slow, "sbs-0", "mbs", capacity_bps=1e3, latency_s=2)
    assert (slow.capacity_bps("mbs", "sbs-0"), slow.latency_s("mbs", "sbs-0")) == (1e6, ring.latency_s("mbs", "sbs-0"))
    assert (slower.capacity_bps("mbs", "sbs-0"), slower.latency_s("mbs", "sbs-0")) == (1e3, 2.0)
    assert ring.capacity_bps("mbs", "sbs-0") == 10e9
    assert with_link_restored(slower, "mbs", "sbs-0").to_json() == ring.to_json()
    assert with_link_restored(with_link_cut(slower, "mbs", "sbs-0"), "mbs", "sbs-0").to_json() == ring.to_json()


def test_a_slow_link_is_passed_by_where_another_way_is_as_short(small_scenario):
    links = [["mbs", "sbs-0"], ["mbs", "sbs-1"], ["sbs-0", "sbs-2"], ["sbs-1", "sbs-2"]]
    network = build_network(small_scenario(**{"backhaul.topology": {"name": "edges", "links": links}}))
    assert network.path("mbs", "sbs-2") == ("mbs", "sbs-0", "sbs-2")
    assert with_link_slowed(network, "mbs", "sbs-0", latency_s=1).path("mbs", "sbs-2") == ("mbs", "sbs-1", "sbs-2")


def test_links_that_cannot_change_are_refused(ring):
    cut = with_link_cut(ring, "mbs", "sbs-0")
    for change, message in (
        (
            lambda: with_link_cut(ring, "mbs", "sbs-1"),
            "no link between 'mbs' and 'sbs-1'; 'mbs' is linked to sbs-0, sb",
        ),
        (lambda: with_link_cut(ring, "mbs", "sbs-9"), "there is no station 'sbs-9'; there are mbs, sbs-0"),
        (lambda: with_link_cut(ring, "user-0", "mbs"), "there is no station 'user-0'"),
        (lambda: with_link_cut(cut, "sbs-0", "mbs"), "the link between 'sbs-0' and 'mbs' is cut already"),
        (lambda: with_link_restored(ring, "mbs", "sbs-0"), "'mbs' and 'sbs-0' is neither cut nor slowed down"),
        (lambda: with_link_restored(ring, "mbs", "sbs-1"), "there is no link between"),
        (lambda: with_link_slowed(cut, "mbs", "sbs-0", latency_s=1), "is cut; restore it first"),
        (lambda: with_link_slowed(ring, "mbs", "sbs-0"), "found neither capacity_bps nor latency_s"),
        (lambda: with_link_slowed(ring, "mbs", "sbs-0", capacity_bps=0), "found capacity_bps 0; allowed: above 0"),
        (lambda: with_link_slowed(ring, "mbs", "sbs-0", capacity_bps=float("nan")), "found capacity_bps nan"),
        (lambda: with_link_slowed(ring, "mbs", "sbs-0", latency_s=-1), "found latency_s -1; allowed: at least 0"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            change()
        assert "\n" not in str(caught.value)


EVENTS = [
    {"at_step": 9, "restore_link": ["sbs-1", "sbs-0"]},
    {"at_step": 2, "inject_sbs": {"position_m": [60, 60], "name": "new", "after": "execute"}},
    {"at_step": 2, "fail_sbs": "new"},
    {"at_step": 3, "fail_mbs": "during"},
    {"at_step": 4, "slow_link": {"between": ["mbs", "sbs-0"], "latency_s": 0.5}},
    {"at_step": 5, "cut_link": ["sbs-0", "sbs-1"]},
    {"at_step": 9, "remove_sbs": "sbs-0"},
]


def test_events_happen_one_after_another(small_scenario):
    scenario = small_scenario(**{"backhaul.topology": RING, "events": EVENTS})
    network = build_network(scenario)
    check_events(scenario, network)
    seen = []
    for event in sorted(scenario.events, key=lambda event: event.at_step):
        network = with_event(scenario, network, event)
        seen.append((event.at_step, len(network.stations), network.path("sbs-1", "mbs")))
    direct, round_ = ("sbs-1", "sbs-0", "mbs"), ("sbs-1", "sbs-2", "mbs")
    assert seen == [
        (2, 4, direct),
        (2, 4, direct),
        (3, 4, direct),
        (4, 4, round_),
        (5, 4, round_),
        (9, 4, round_),
        (9, 3, round_),
    ]
    assert not network.learns("new") and network.is_up("sbs-0", "sbs-1")


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([{"remove_sbs": "sbs-9"}], r"events\[0\].remove_sbs: there is no station 'sbs-9'"),
        ([{"fail_sbs": "mbs"}], r"events\[0\].fail_sbs: 'mbs' is the macro base station"),
        ([{"remove_sbs": "sbs-1"}, {"fail_sbs": "sbs-1"}], r"events\[1\].fail_sbs: station 'sbs-1' is removed"),
        ([{"inject_sbs": {"position_m": [500, 1]}}], r"events\[0\].inject_sbs.position_m: found \[500, 1\]"),
        (
            [{"inject_sbs": {"position_m": [1, 1], "name": "sbs-0"}}],
            r"events\[0\].inject_sbs.name: found 'sbs-0', which is active",
        ),
        ([{"cut_link": ["mbs", "sbs-0"]}, {"cut_link": ["mbs", "sbs-0"]}], r"events\[1\].cut_link: .* cut already"),
        ([{"slow_link": {"between": ["a", "b"], "latency_s": 1}}], r"events\[0\].slow_link: there is no station 'a'"),
        ([{"restore_link": ["mbs", "sbs-0"]}], r"events\[0\].restore_link: .* neither cut nor slowed down"),
    ],
)
def test_an_event_that_cannot_happen_is_named(small_scenario, events, message):
    scenario = small_scenario(events=[{"at_step": 1, **event} for event in events])
    with pytest.raises(ScenarioError, match=f"^{message}") as caught:
        check_events(scenario, build_network(scenario))
    assert "\n" not in str(caught.value)


def test_a_changed_network_reads_back_from_json(small_scenario):
    scenario = small_scenario(**{"backhaul.topology": RING, "events": EVENTS})
    network = build_network(scenario)
    for event in scenario.events[1:6]:
        network = with_event(scenario, network, event)
    again = Network.from_json(json.loads(json.dumps(network.to_json())))
    assert again.to_json() == network.to_json() and again.links() == network.links()
    assert (again.stations, again.members, again.sites) == (network.stations, network.members, network.sites)
    assert [again.path(a, b) for a in again.sites for b in again.sites] == [
        network.path(a, b) for a in network.sites for b in network.sites
    ]
