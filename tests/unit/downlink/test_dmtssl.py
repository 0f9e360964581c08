"""DMTSSL as roles and frames against a plain PyTorch loop of the same mathematics, in one graph, without a message."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from cellfree_sim import seeds
from cellfree_sim.backhaul.bundle import Bundle
from cellfree_sim.backhaul.ledger import Books
from cellfree_sim.channel import station_channels
from cellfree_sim.downlink.batching import draw_batch, take_batch
from cellfree_sim.downlink.policy import PolicyShape
from cellfree_sim.downlink.rates import station_power, user_rates
from cellfree_sim.downlink.roles import Round
from cellfree_sim.errors import RunFailedError
from cellfree_sim.inline import InlineEngine
from cellfree_sim.network import build_network


def started(scenario: Any) -> InlineEngine:
    engine = InlineEngine(scenario)
    engine.start(lambda *_: None)
    return engine


def trained(scenario: Any, steps: int) -> InlineEngine:
    engine = started(scenario)
    engine.advance(steps, lambda _: None)
    return engine


def parameters(engine: InlineEngine) -> dict[str, dict[str, torch.Tensor]]:
    return {name: station.state()["policy"] for name, station in engine.stations.items()}


def plain_loop(scenario: Any, steps: int) -> dict[str, dict[str, torch.Tensor]]:
    """Algorithm 2 with all stations in one autograd graph."""
    torch.set_num_threads(1)
    network = build_network(scenario)
    downlink, users = scenario.downlink, scenario.network.users.count
    scale = np.float32(10 ** ((scenario.network.sbs.power_dbm - scenario.radio.noise_dbm) / 20))
    channels = {
        name: torch.from_numpy(station_channels(scenario, network, name, "train") * scale) for name in network.stations
    }
    weights = 1 + users + len(channels) if downlink.loss_scheme.uses_beta else 0
    shape = PolicyShape(
        subcarriers=scenario.radio.subcarriers,
        tx_antennas=scenario.network.sbs.antennas.count,
        users=users,
        rx_antennas=scenario.network.users.antennas,
        stations=len(channels),
        loss_weights=weights,
    )
    policies = {name: downlink.policy.build(shape, seeds.integer(scenario.seed, "policy", name)) for name in channels}
    optimisers = [torch.optim.Adam(policy.parameters(), lr=downlink.learning_rate) for policy in policies.values()]
    schedules = [
        torch.optim.lr_scheduler.OneCycleLR(optimiser, downlink.learning_rate, total_steps=scenario.steps)
        for optimiser in optimisers
    ]
    for step in range(1, steps + 1):
        seed = seeds.integer(scenario.seed, "batch", step)
        index = draw_batch(seed, len(next(iter(channels.values()))), users, downlink.batch, resample_users=True)
        batch = {name: take_batch(channel, index) for name, channel in channels.items()}
        outputs = [policies[name](channel) for name, channel in batch.items()]
        beams = torch.stack([output.beams for output in outputs], 1)
        allocation = torch.stack([output.allocation for output in outputs], 1)
        beta = torch.stack([output.beta for output in outputs]).mean(0)
        rates = user_rates(beams, allocation, torch.stack(list(batch.values()), 1))
        excess = station_power(beams, allocation) - 1
        joint, _ = downlink.loss_scheme.evaluate(rates, excess, beta, scenario.network.users.min_rate_bps_hz)
        for optimiser in optimisers:
            optimiser.zero_grad()
        joint.mean().backward()
        for optimiser, schedule in zip(optimisers, schedules, strict=True):
            optimiser.step()
            schedule.step()
    return {name: policy.state_dict() for name, policy in policies.items()}


@pytest.mark.parametrize("feedback", ["cut_gradient", "global_outputs"])
@pytest.mark.parametrize(
    ("policy", "loss_scheme"), [("set", "penalty"), ("set", "el"), ("dense", "nfl-tangent"), ("dense", "el")]
)
def test_the_messages_change_nothing(small_scenario: Any, policy: str, loss_scheme: str, feedback: str) -> None:
    """Five steps through frames give the parameters of five steps of autograd through everything, to 1e-6."""
    scenario = small_scenario(
        **{"downlink.policy": policy, "downlink.loss_scheme": loss_scheme, "downlink.feedback": feedback}
    )
    expected = plain_loop(scenario, 5)
    found = parameters(trained(scenario, 5))
    for station, state in expected.items():
        for key, value in state.items():
            torch.testing.assert_close(found[station][key], value, rtol=1e-6, atol=1e-6, msg=f"{station} {key}")


def test_caching_channels_saves_bytes_and_changes_nothing_else(small_scenario: Any) -> None:
    engines = [trained(small_scenario(**{"backhaul.cache_channels": cached}), 10) for cached in (False, True)]
    books = []
    for engine in engines:
        books.append(Books())
        for ledger in engine.drain_ledgers():
            books[-1].feed(ledger)
    uploads = [book.totals()["by_kind"]["channel_report"] for book in books]
    for station in engines[0].stations:
        left, right = (parameters(engine)[station] for engine in engines)
        assert all(torch.equal(left[key], right[key]) for key in left)
    assert uploads[1] < uploads[0]


def test_bytes_of_a_step_follow_from_the_shapes(small_scenario: Any) -> None:
    """Payload of a training step: H^b and (w, v) up, dL/d(w, v) down; 8 bytes a complex number, 4 a real one."""
    scenario = small_scenario()
    engine = trained(scenario, 3)
    books = Books()
    for ledger in engine.drain_ledgers():
        books.feed(ledger)
    rows = books.take_rows(final=True)
    S, N, T, users, R, B = 20, 2, 4, 4, 2, 3
    channel, outputs = 8 * S * N * T * users * R, 8 * S * N * T * users + 4 * S * N * users
    tasks = 4 * (1 + users + B)
    expected = {"channel_report": channel, "policy_output": outputs, "loss_feedback": outputs + tasks}
    seen = [
        (kind, payload, size)
        for kind, phase, payload, size in zip(
            rows["kind"], rows["phase"], rows["payload_bytes"], rows["bytes"], strict=True
        )
        if phase == "training"
    ]
    assert len(seen) == 3 * 3 * B
    for kind, payload, size in seen:
        assert payload == expected[kind]
        assert payload < size < payload + 600  # header, keys and alignment
    assert books.balanced


def test_simulated_time_of_a_star_is_its_closed_form(small_scenario: Any) -> None:
    """Each round: compute at the SBS, both frames, compute at the MBS, feedback; nothing queues in a star."""
    capacity, latency = 1e8, 2e-3
    scenario = small_scenario(**{"backhaul.capacity_bps": capacity, "backhaul.latency_s": latency})
    engine = started(scenario)
    rows: list[dict[str, Any]] = []
    engine.advance(4, rows.extend)
    books = Books()
    for ledger in engine.drain_ledgers():
        books.feed(ledger)
    frames = books.take_rows(final=True)
    training = [row for row in rows if row["phase"] == "training"]
    sizes = {
        (kind, step): size for kind, step, size in zip(frames["kind"], frames["step"], frames["bytes"], strict=True)
    }
    flops = next(iter(engine.facts()["flops_per_realisation"].values()))
    S, N, T, users, R, B = 20, 2, 4, 4, 2, 3
    loss_flops = 3 * 8 * S * N * users**2 * R * (B * T + R)
    compute = 3 * S * flops / scenario.network.sbs.mec_flop_per_s + loss_flops / scenario.network.mbs.mec_flop_per_s
    for before, row in pairwise(training):
        step = row["step"]
        moved = sizes["channel_report", step] + sizes["policy_output", step] + sizes["loss_feedback", step - 1]
        assert row["compute_s"] == pytest.approx(compute, rel=1e-9)
        assert row["queue_s"] == pytest.approx(0.0, abs=1e-12)
        assert row["transfer_s"] == pytest.approx(8 * moved / capacity + 2 * latency, rel=1e-9)
        passed = row["simulated_s"] - before["simulated_s"]
        assert passed == pytest.approx(row["compute_s"] + row["queue_s"] + row["transfer_s"], rel=1e-9)


def test_a_tree_makes_frames_queue(small_scenario: Any) -> None:
    """In a chain, what the outer stations send waits for what the inner one sends on the shared link."""
    links = [["mbs", "sbs-0"], ["sbs-0", "sbs-1"], ["sbs-1", "sbs-2"]]
    topology = {"name": "edges", "links": links}
    engine = started(small_scenario(**{"backhaul.topology": topology, "backhaul.capacity_bps": 1e6}))
    rows: list[dict[str, Any]] = []
    engine.advance(3, rows.extend)
    assert all(row["queue_s"] > 0 for row in rows if row["phase"] == "training")


def test_a_resumed_network_goes_on_as_if_nothing_had_happened(small_scenario: Any) -> None:
    whole = trained(small_scenario(), 8)
    first = trained(small_scenario(), 5)
    second = started(small_scenario())
    second.load_states(first.states())
    second.advance(8, lambda _: None)
    assert second.states() == whole.states()


def test_hold_stops_all_stations_at_the_same_step(small_scenario: Any) -> None:
    engine = started(small_scenario())
    seen = []

    def hold_at_four(rows: list[dict[str, Any]]) -> None:
        seen.extend(row["step"] for row in rows if row["phase"] == "training")
        if seen and seen[-1] == 4:
            engine.coordinator.hold()

    assert engine.advance(10, hold_at_four) == 5
    assert {station.step for station in engine.stations.values()} == {5}
    assert engine.advance(10, lambda _: None) == 10


def test_a_round_needs_the_whole_roster(small_scenario: Any) -> None:
    engine = started(small_scenario())
    exchange = Round("training", 1)
    uploads = {name: station.upload(exchange) for name, station in engine.stations.items() if name != "sbs-1"}
    with pytest.raises(RunFailedError, match="no upload from sbs-1"):
        engine.coordinator.close(exchange, uploads)


def test_divergence_is_called_divergence(small_scenario: Any) -> None:
    engine = started(small_scenario())
    station = engine.stations["sbs-0"]
    with torch.no_grad():
        for parameter in station.policy.parameters():  # type: ignore[attr-defined]
            parameter.fill_(torch.nan)
    with pytest.raises(RunFailedError, match="diverged at step 1"):
        engine.advance(1, lambda _: None)


def test_measured_rates_are_those_of_the_decisions(small_scenario: Any) -> None:
    """The rates that the MBS measures equal those computed from the stations' own decisions and channels."""
    scenario = small_scenario()
    engine = trained(scenario, 3)
    engine.measure()
    decisions, channels = [], []
    for station in engine.stations.values():
        channels.append(station._channels["test"])  # type: ignore[attr-defined]
        decisions.append(station.decide(channels[-1]))  # type: ignore[attr-defined]
    beams = torch.stack([decision.beams for decision in decisions], 1)
    allocation = torch.stack([decision.allocation for decision in decisions], 1)
    assert set(allocation.unique().tolist()) <= {0.0, 1.0}
    expected = user_rates(beams, allocation, torch.stack(channels, 1)).double().numpy()
    np.testing.assert_allclose(engine.test_rates()["dmtssl"], expected, rtol=1e-5)


def test_small_frames_carry_a_split_in_parts_and_change_nothing(small_scenario: Any) -> None:
    """With the smallest frames that fit a batch, splits go in several frames, to the same rates."""
    settings = {"downlink.batch": 2, "backhaul.cache_channels": True}
    whole = small_scenario(**settings)
    least = whole._longest_frame_bytes()
    parts = small_scenario(**settings, **{"backhaul.max_frame_bytes": least})
    engines = [trained(scenario, 4) for scenario in (whole, parts)]
    for engine in engines:
        engine.measure()
    frames = [sum(len(ledger) for ledger in engine.drain_ledgers()) for engine in engines]
    assert frames[1] > 1.2 * frames[0]
    np.testing.assert_array_equal(*(engine.test_rates()["dmtssl"] for engine in engines))
    with pytest.raises(ValueError, match=f"allowed: at least {least}"):
        small_scenario(**settings, **{"backhaul.max_frame_bytes": least - 1})


def test_a_bundle_of_nothing_is_no_news(small_scenario: Any) -> None:
    engine = started(small_scenario())
    station = engine.stations["sbs-0"]
    before = station.state()["port"]
    station.absorb(Bundle().pack())
    assert station.state()["port"] == before
