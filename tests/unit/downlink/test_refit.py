"""Policies in networks of another size, and what a policy's frames have room for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cellfree_sim.backhaul.bundle import Bundle
from cellfree_sim.downlink.dmtssl.station import estimate_batch_statistics
from cellfree_sim.downlink.policy import PolicyShape
from cellfree_sim.downlink.refit import refit_state, station_parameters
from cellfree_sim.downlink.roles import Context
from cellfree_sim.errors import RunFailedError
from cellfree_sim.inline import InlineEngine
from cellfree_sim.network import build_network
from cellfree_sim.network.changes import with_admitted, with_joining
from cellfree_sim.scenario.extensions import POLICIES


def shape(stations: int, weights: bool = True) -> PolicyShape:
    return PolicyShape(
        subcarriers=2, tx_antennas=2, users=3, rx_antennas=2, stations=stations, loss_weights=(4 + stations) * weights
    )


HEAD = {"head.weight", "head.bias"}


@pytest.mark.parametrize(("name", "dependent"), [("dense", HEAD), ("paper", HEAD), ("set", set())])
def test_only_the_loss_weights_depend_on_the_number_of_stations(name: str, dependent: set[str]) -> None:
    policy = POLICIES.create(name)
    assert station_parameters(lambda stations: policy.build(shape(stations), 5), 3) == dependent
    assert station_parameters(lambda stations: policy.build(shape(stations, weights=False), 5), 3) == set()
    old, new = ["a", "b", "c"], ["c", "d", "a", "e"]
    before, after = policy.build(shape(3), 5), policy.build(shape(4), 6)
    after.load_state_dict(refit_state(before.state_dict(), frozenset(dependent), old, new))
    channel = torch.randn(6, 2, 2, 3, 2, dtype=torch.complex64)
    before.eval(), after.eval()
    with torch.no_grad():
        one, other = before(channel), after(channel)
    torch.testing.assert_close(one.beams, other.beams, rtol=1e-5, atol=1e-6)
    assert torch.equal(one.allocation, other.allocation)
    weights = {name: one.beta[:, 4 + index] for index, name in enumerate(old)}
    torch.testing.assert_close(other.beta[:, :4], one.beta[:, :4])
    for index, station in enumerate(new):
        if station in weights:
            torch.testing.assert_close(other.beta[:, 4 + index], weights[station])


def test_a_batch_of_one_has_no_statistics() -> None:
    """Statistics of nine realisations in batches of four are those of eight; training goes on as it was set up."""
    layer = torch.nn.BatchNorm1d(5, momentum=0.1)
    channels = torch.randn(9, 5)
    assert estimate_batch_statistics(torch.nn.Sequential(layer), channels, 4) == 8
    halves = channels[:8].reshape(2, 4, 5).double()
    np.testing.assert_allclose(layer.running_mean, halves.mean((0, 1)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.running_var, halves.var(1).mean(0), rtol=1e-5)
    assert layer.momentum == 0.1
    assert estimate_batch_statistics(torch.nn.Linear(5, 2), channels, 4) == 0


def test_a_long_way_leaves_less_room_in_a_frame(small_scenario: Any) -> None:
    """Sixty stations with the longest names on the path: frames keep their limit, or the model is refused in a line."""
    names = [f"{index:02}-{'x' * 60}" for index in range(60)]
    links = [list(pair) for pair in zip(["mbs", *names], names, strict=False)]
    settings = {
        "downlink.batch": 2,
        "downlink.policy": {"name": "dense", "hidden": [4, 100]},
        "downlink.loss_scheme": "el",
    }
    settings |= {"network.sbs": {"count": 60, "names": names}, "backhaul.topology": {"name": "edges", "links": links}}
    settings |= {"network.users": {"count": 2}, "channel.realisations": {"train": 2, "validation": 1, "test": 1}}
    longest = 4 * 100 * (2 * 2 * 2 * 4 + 2 * 2 + 1 + 2 + 60)  # the head: beams, allocation and loss weights
    least = longest + len("head.weight") + 64 + 2048 + 60 * (63 + 2)
    for limit, fits in ((least - 1, False), (least, True), (least + 500, True)):
        scenario = small_scenario(**settings, **{"backhaul.max_frame_bytes": limit})
        station = scenario.downlink.algorithm.station(Context(scenario, build_network(scenario)), names[-1])
        station.prepare()
        if not fits:
            with pytest.raises(RunFailedError, match=f"head.weight of the policy takes {longest + 75} bytes"):
                station.send_model(names[0])
            continue
        frames = [bytes(frame) for frame, _ in Bundle.unpack(station.send_model(names[0]))]
        assert longest < max(map(len, frames)) <= limit
        assert max(len(frame) for frame, _ in Bundle.unpack(station.measure("test"))) <= limit


def test_a_model_of_one_long_tensor_is_one_line(small_scenario: Any) -> None:
    settings = {"downlink.policy": {"name": "dense", "hidden": [4, 400]}, "downlink.batch": 2}
    least = small_scenario(**settings)._longest_frame_bytes()
    engine = InlineEngine(small_scenario(**settings, **{"backhaul.max_frame_bytes": least}))
    engine.start(lambda *_: None)
    before = engine.states()
    with pytest.raises(
        RunFailedError, match=r"^sbs-0: \S+ of the policy takes \d+ bytes, more than a frame of [^\n]*$"
    ):
        engine.stations["sbs-0"].send_model("sbs-1")
    assert engine.states() == before


def test_links_of_a_station_that_did_not_come_are_forgotten(small_scenario: Any) -> None:
    """A state saved after a station was refused can be loaded into the network without it."""
    scenario = small_scenario()
    network = build_network(scenario)
    engine = InlineEngine(scenario, network)
    engine.start(lambda *_: None)
    before = engine.states()
    joining, name = with_joining(scenario, network, None, (75.0, 75.0), learns=True)
    engine.prepare(joining, name)
    engine.reconfigure(joining, 0)
    engine.release(name)
    engine.reconfigure(network, 0)
    assert engine.states() == before
    engine.load_states(engine.states())
    assert engine.advance(2, lambda _: None) == 2


def test_a_network_that_does_not_know_a_station_yet_means_nothing_to_it(small_scenario: Any) -> None:
    scenario = small_scenario(**{"backhaul.topology": "mesh"})
    network = build_network(scenario)
    engine = InlineEngine(scenario, network)
    engine.start(lambda *_: None)
    joining, name = with_joining(scenario, network, None, (75.0, 75.0), learns=True)
    engine.prepare(joining, name)
    before = str(engine.stations[name].state())
    engine.reconfigure(network, 0)
    assert str(engine.stations[name].state()) == before
    engine.reconfigure(with_admitted(joining, name), 0)
    assert engine.advance(2, lambda _: None) == 2
    assert engine.stations[name].step == 2
