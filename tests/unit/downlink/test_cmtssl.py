"""CMTSSL as roles and frames against a plain PyTorch loop, closed forms of bytes and times, and the network itself."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from cellfree_sim import seeds
from cellfree_sim.backhaul.ledger import Books
from cellfree_sim.channel import station_channels
from cellfree_sim.downlink.batching import draw_batch, take_batch
from cellfree_sim.downlink.policy import PolicyShape
from cellfree_sim.downlink.rates import project_to_budget, station_power, user_rates
from cellfree_sim.downlink.roles import Round
from cellfree_sim.errors import RunFailedError
from cellfree_sim.inline import InlineEngine
from cellfree_sim.network import build_network
from cellfree_sim.network.changes import with_admitted, with_joining, without

S, N, T, USERS, R, B = 20, 2, 4, 4, 2, 3  # the batch and the network of `small_scenario`
TRAIN, VALIDATION, TEST = 40, 8, 12
CHANNEL, DECISION = 8 * N * T * USERS * R, 8 * N * T * USERS + 4 * N * USERS  # bytes of one realisation
LONGEST_HEADER = 600


@pytest.fixture
def central(small_scenario: Any) -> Any:
    """Factory of scenarios with CMTSSL; keyword arguments as those of `small_scenario`."""
    return lambda **settings: small_scenario(**{"downlink.algorithm": "cmtssl", **settings})


def started(scenario: Any) -> InlineEngine:
    engine = InlineEngine(scenario)
    engine.start(lambda *_: None)
    return engine


def trained(scenario: Any, steps: int) -> InlineEngine:
    engine = started(scenario)
    engine.advance(steps, lambda _: None)
    return engine


def booked(engine: InlineEngine, books: Books | None = None) -> Books:
    """The books of all stations so far, or `books` with what came since."""
    books = books or Books()
    for ledger in engine.drain_ledgers():
        books.feed(ledger)
    return books


def channels(scenario: Any, split: Any) -> torch.Tensor:
    """Scaled channels of all stations, [S, B, N, T, I, R]."""
    network = build_network(scenario)
    scale = np.float32(10 ** ((scenario.network.sbs.power_dbm - scenario.radio.noise_dbm) / 20))
    parts = [station_channels(scenario, network, name, split) * scale for name in network.stations]
    return torch.from_numpy(np.stack(parts, 1))


def plain_loop(scenario: Any, steps: int) -> dict[str, torch.Tensor]:
    """Algorithm 1 in one process."""
    torch.set_num_threads(1)
    downlink, users = scenario.downlink, scenario.network.users.count
    stored = channels(scenario, "train")
    shape = PolicyShape(
        subcarriers=scenario.radio.subcarriers,
        tx_antennas=scenario.network.sbs.antennas.count,
        users=users,
        rx_antennas=scenario.network.users.antennas,
        stations=stored.shape[1],
        loss_weights=1 + users + stored.shape[1] if downlink.loss_scheme.uses_beta else 0,
    )
    policy = downlink.policy.build_central(shape, seeds.integer(scenario.seed, "policy", "mbs"))
    optimiser = torch.optim.Adam(policy.parameters(), lr=downlink.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, downlink.learning_rate, total_steps=scenario.steps)
    for step in range(1, steps + 1):
        index = draw_batch(seeds.integer(scenario.seed, "batch", step), len(stored), users, downlink.batch, True)
        channel = torch.stack([take_batch(stored[:, b], index) for b in range(stored.shape[1])], 1)
        outputs = policy(channel)
        rates = user_rates(outputs.beams, outputs.allocation, channel)
        excess = station_power(outputs.beams, outputs.allocation) - 1
        joint, _ = downlink.loss_scheme.evaluate(rates, excess, outputs.beta, scenario.network.users.min_rate_bps_hz)
        optimiser.zero_grad()
        joint.mean().backward()
        optimiser.step()
        schedule.step()
    state: dict[str, torch.Tensor] = policy.state_dict()
    return state


@pytest.mark.parametrize(
    ("policy", "loss_scheme"),
    [("set", "penalty"), ("set", "el"), ("dense", "nfl-tangent"), ("dense", "penalty"), ("paper", "el")],
)
def test_the_mbs_learns_what_a_plain_loop_learns(central: Any, policy: str, loss_scheme: str) -> None:
    scenario = central(**{"downlink.policy": policy, "downlink.loss_scheme": loss_scheme})
    expected = plain_loop(scenario, 5)
    found = trained(scenario, 5).coordinator.state()["policy"]
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-6, atol=1e-6, msg=key)


@pytest.mark.parametrize("policy", ["set", "dense", "paper"])
def test_stations_are_told_what_the_network_decides_on_all_channels(central: Any, policy: str) -> None:
    """Decisions that arrive are those of the network on the stacked channels; rates are theirs on those channels."""
    scenario = central(**{"downlink.policy": policy, "downlink.loss_scheme": "el"})
    engine = trained(scenario, 4)
    engine.measure()
    stacked = channels(scenario, "test")
    network = engine.coordinator.policy.eval()  # type: ignore[attr-defined]
    with torch.no_grad():
        outputs = network(stacked)
    for b, station in enumerate(engine.stations.values()):
        (decision,) = station.decisions  # type: ignore[attr-defined]
        np.testing.assert_array_equal(decision.beams, outputs.beams[:, b].numpy())
        np.testing.assert_array_equal(decision.allocation, outputs.allocation[:, b].numpy())
    assert set(outputs.allocation.unique().tolist()) <= {0.0, 1.0}
    expected = user_rates(project_to_budget(outputs.beams, outputs.allocation), outputs.allocation, stacked)
    np.testing.assert_allclose(engine.test_rates()["cmtssl"], expected.numpy(), rtol=1e-5)


def test_each_frame_and_its_bytes_follow_from_the_shapes(central: Any) -> None:
    """Channels up once to train and once to validate; at each validation and test decisions come down."""
    engine = trained(central(), 10)
    engine.measure()
    books = booked(engine)
    rows = books.take_rows(final=True)
    assert books.balanced
    columns = [rows[name] for name in ("kind", "phase", "step", "payload_bytes", "bytes")]
    frames = [row for row in zip(*columns, strict=True) if row[1] != "setup"]
    expected = {
        ("channel_report", "training", 0): TRAIN * CHANNEL,
        ("channel_report", "validation", 0): VALIDATION * CHANNEL,
        ("policy_decision", "validation", 0): VALIDATION * DECISION,
        ("policy_decision", "validation", 10): VALIDATION * DECISION,
        ("channel_report", "execution", 10): TEST * CHANNEL,
        ("policy_decision", "execution", 10): TEST * DECISION,
    }
    assert Counter(frame[:3] for frame in frames) == dict.fromkeys(expected, B)
    for kind, phase, step, payload, size in frames:
        assert payload == expected[kind, phase, step]
        assert payload < size < payload + LONGEST_HEADER
    assert engine.facts()["execution_bytes_per_realisation"] == books.by_phase["execution"] / TEST


@pytest.mark.parametrize(("precision", "share"), [("float16", 1 / 2), ("bfloat16", 1 / 2), ("int8", 9 / 32)])
def test_a_coarse_backhaul_executes_cheaper_and_is_measured_on_true_channels(
    central: Any, precision: str, share: float
) -> None:
    scenario = central(**{"backhaul.precision": precision})
    engine = trained(scenario, 3)
    engine.measure()
    payload = B * (CHANNEL + DECISION) * share
    assert payload < engine.facts()["execution_bytes_per_realisation"] < payload + 2 * B * LONGEST_HEADER / TEST
    assert booked(engine).balanced
    decisions = [station.decisions[0] for station in engine.stations.values()]  # type: ignore[attr-defined]
    beams = torch.from_numpy(np.stack([decision.beams for decision in decisions], 1))
    allocation = torch.from_numpy(np.stack([decision.allocation for decision in decisions], 1)).round()
    rates = user_rates(project_to_budget(beams, allocation), allocation, channels(scenario, "test"))
    np.testing.assert_allclose(engine.test_rates()["cmtssl"], rates.numpy(), rtol=1e-5)


def test_decisions_come_in_the_parts_in_which_channels_were_reported(central: Any) -> None:
    settings = {"downlink.batch": 2, "channel.realisations": {"train": 40, "validation": 8, "test": 12}}
    whole = central(**settings)
    parts = central(**settings, **{"backhaul.max_frame_bytes": whole._longest_frame_bytes()})
    engines = [trained(scenario, 4) for scenario in (whole, parts)]
    for engine in engines:
        engine.measure()
    decisions = [engine.stations["sbs-1"].decisions for engine in engines]  # type: ignore[attr-defined]
    assert len(decisions[0]) == 1 < len(decisions[1])
    np.testing.assert_array_equal(decisions[0][0].beams, np.concatenate([part.beams for part in decisions[1]]))
    np.testing.assert_array_equal(*(engine.test_rates()["cmtssl"] for engine in engines))
    assert all(booked(engine).balanced for engine in engines)


def test_simulated_time_is_the_upload_and_the_mbs_alone(central: Any) -> None:
    """In a star, both frames of a station go one after the other; then each round takes FLOPs over MEC capacity."""
    capacity, latency = 1e8, 2e-3
    scenario = central(**{"backhaul.capacity_bps": capacity, "backhaul.latency_s": latency})
    engine = started(scenario)
    rows: list[dict[str, Any]] = []
    engine.advance(10, rows.extend)
    frames = booked(engine).take_rows(final=True)
    sizes = {
        (kind, phase): size for kind, phase, size in zip(frames["kind"], frames["phase"], frames["bytes"], strict=True)
    }
    uploaded = 8 * (sizes["join", "setup"] + sizes["channel_report", "training"]) / capacity + latency
    flops = engine.facts()["flops_per_realisation"]["mbs"]
    loss_flops = 3 * 8 * S * N * USERS**2 * R * (B * T + R)
    compute = (3 * S * flops + loss_flops) / scenario.network.mbs.mec_flop_per_s
    training = [row for row in rows if row["phase"] == "training"]
    for index, row in enumerate(training):
        assert row["compute_s"] == pytest.approx(compute, rel=1e-9)
        assert row["simulated_s"] == pytest.approx(uploaded + (index + 1) * compute, rel=1e-9)
        assert row["queue_s"] + row["transfer_s"] == pytest.approx(0.0 if index else uploaded, rel=1e-9)
    assert [row["simulated_s"] for row in rows if row["phase"] == "validation"] == [
        uploaded,
        training[-1]["simulated_s"],
    ]
    assert all(before["bytes"] == after["bytes"] for before, after in pairwise(training))


@pytest.mark.parametrize("policy", ["set", "dense"])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_resumed_network_goes_on_as_if_nothing_had_happened(central: Any, policy: str, precision: str) -> None:
    scenario = central(**{"downlink.policy": policy, "backhaul.precision": precision})
    whole = trained(scenario, 10)
    first = trained(scenario, 5)
    second = started(scenario)
    second.load_states(first.states())
    second.advance(10, lambda _: None)
    assert second.states() == whole.states()
    for engine in (whole, second):
        engine.measure()
    np.testing.assert_array_equal(*(engine.test_rates()["cmtssl"] for engine in (whole, second)))


def test_hold_stops_all_stations_at_the_same_step_without_a_frame(central: Any) -> None:
    engines = [started(central()) for _ in range(2)]
    seen = []

    def hold_at_four(rows: list[dict[str, Any]]) -> None:
        seen.extend(row["step"] for row in rows if row["phase"] == "training")
        if seen and seen[-1] == 4:
            engines[0].coordinator.hold()

    assert engines[0].advance(10, hold_at_four) == 5
    assert {station.step for station in engines[0].stations.values()} == {5}
    assert engines[0].advance(10, lambda _: None) == 10
    engines[1].advance(10, lambda _: None)
    assert engines[0].states() == engines[1].states()
    left, right = (booked(engine).totals() for engine in engines)
    assert left == right


def test_a_round_needs_the_whole_roster(central: Any) -> None:
    engine = started(central())
    with pytest.raises(RunFailedError, match="no upload from sbs-1"):
        engine.coordinator.close(Round("training", 1), {"sbs-0": b"", "sbs-2": b""})


def test_divergence_is_called_divergence(central: Any) -> None:
    engine = started(central())
    with torch.no_grad():
        for parameter in engine.coordinator.policy.parameters():  # type: ignore[attr-defined]
            parameter.fill_(torch.nan)
    with pytest.raises(RunFailedError, match="diverged at step 1"):
        engine.advance(1, lambda _: None)


def test_stations_behind_each_other_pay_for_each_link(central: Any) -> None:
    """In a chain all uploads share the link to the MBS, so that setup takes longer, and training no longer."""
    links = [["mbs", "sbs-0"], ["sbs-0", "sbs-1"], ["sbs-1", "sbs-2"]]
    rows: dict[str, list[dict[str, Any]]] = {"star": [], "chain": []}
    for name, topology in (("star", "star"), ("chain", {"name": "edges", "links": links})):
        engine = started(central(**{"backhaul.topology": topology, "backhaul.capacity_bps": 1e7}))
        engine.advance(2, rows[name].extend)
        assert booked(engine).balanced
    star, chain = ([row for row in rows[name] if row["phase"] == "training"] for name in ("star", "chain"))
    assert chain[0]["queue_s"] + chain[0]["transfer_s"] > 2 * (star[0]["queue_s"] + star[0]["transfer_s"])
    passed = [after["simulated_s"] - before["simulated_s"] for before, after in (chain, star)]
    assert passed[0] == pytest.approx(passed[1], rel=1e-9)


@pytest.mark.parametrize("loss_scheme", ["penalty", "el"])
def test_the_set_network_goes_on_when_stations_come_and_go(central: Any, loss_scheme: str) -> None:
    """A station that joins uploads its channels and takes part at once; one that left is forgotten."""
    scenario = central(**{"downlink.loss_scheme": loss_scheme})
    engine = trained(scenario, 3)
    before = {key: value.clone() for key, value in engine.coordinator.state()["policy"].items()}
    joining, name = with_joining(scenario, engine._network, None, (75, 75), learns=True)
    engine.prepare(joining, name)
    engine.reconfigure(joining, 3)
    assert engine.transfer("sbs-0", name) == (0, 0)
    engine.reconfigure(with_admitted(joining, name), 3)
    assert all(torch.equal(value, before[key]) for key, value in engine.coordinator.state()["policy"].items())
    engine.measure()
    assert len(engine.stations[name].decisions[0].beams) == TEST  # type: ignore[attr-defined]
    engine.advance(5, lambda _: None)
    engine.farewell("sbs-1")
    engine.reconfigure(without(engine._network, "sbs-1"), 5)
    books = booked(engine)
    engine.release("sbs-1")
    engine.advance(7, lambda _: None)
    engine.measure()
    assert engine.coordinator.roster == ("sbs-0", "sbs-2", "sbs-3")
    assert {station.step for station in engine.stations.values()} == {7}
    booked(engine, books)
    rows = books.take_rows(final=True)
    uploads = Counter(
        sender
        for sender, kind, phase in zip(rows["sender"], rows["kind"], rows["phase"], strict=True)
        if (kind, phase) == ("channel_report", "training")
    )
    assert uploads == {"sbs-0": 1, "sbs-1": 1, "sbs-2": 1, "sbs-3": 1}
    assert books.balanced
