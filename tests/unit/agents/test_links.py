"""Links that are cut, slow and whole again, and stations that leave: times and bytes in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cellfree_sim import seeds
from cellfree_sim.channel import station_channels
from cellfree_sim.downlink.rates import user_rates
from cellfree_sim.network import build_network
from cellfree_sim.results.state import unpack_state

CAPACITY, LATENCY, RESEND = 1e8, 2e-3, 0.05
LINKS = {"backhaul.capacity_bps": CAPACITY, "backhaul.latency_s": LATENCY, "backhaul.resend_after_s": RESEND}
STAR = {"backhaul.topology": "star"}


def cut(step: int, *link: str) -> dict[str, Any]:
    return {"at_step": step, "cut_link": list(link)}


def restore(step: int, *link: str) -> dict[str, Any]:
    return {"at_step": step, "restore_link": list(link)}


def size_of(played: Any, kind: str, step: int, station: str, attempt: int = 0) -> int:
    ends = played.frames[(played.frames.sender == station) | (played.frames.receiver == station)]
    found = ends[(ends.kind == kind) & (ends.step == step) & (ends.attempt == attempt) & (ends.phase == "training")]
    return int(found.bytes.item())


def check_books(played: Any) -> None:
    """Sent = received + dropped, counted by hand from the table of frames, and every loss has its second attempt."""
    books, frames = played.summary["backhaul"], played.frames
    assert books["balanced"] and books["unmatched"] == []
    assert set(frames.status) <= {"delivered", "dropped"}
    first, dropped = frames[frames.attempt == 0], frames[frames.status == "dropped"]
    delivered = first[first.status == "delivered"]
    assert first.bytes.sum() == books["bytes"] == delivered.bytes.sum() + dropped.bytes.sum()
    assert books["dropped"] == {"frames": len(dropped), "bytes": int(dropped.bytes.sum())}
    again = frames[frames.attempt == 1]
    assert books["retransmissions"] == {"frames": len(again), "bytes": int(again.bytes.sum())}
    for side, column, part in (("sent", "sender", first), ("received", "receiver", delivered)):
        counted = part.groupby(column).bytes.sum()
        assert {name: each[side] for name, each in books["by_station"].items() if each[side]} == counted.to_dict()
    for hop in {hop for path in first.path for hop in zip(path.split(">"), path.split(">")[1:], strict=False)}:
        over = first[[">".join(hop) in path for path in first.path]]
        assert books["by_link"][">".join(hop)] == over.bytes.sum()
    assert set(again.status) <= {"delivered"}
    assert set(map(tuple, again[["sender", "sequence"]].to_numpy())) <= set(
        map(tuple, dropped[["sender", "sequence"]].to_numpy())
    )


def check_times(played: Any) -> None:
    """The parts of a round's time are all of it; between two rounds, the setup of another roster takes time besides."""
    rounds = played.training()
    passed = rounds.simulated_s.diff().iloc[1:]
    parts = rounds[["compute_s", "queue_s", "transfer_s"]].sum(axis=1).iloc[1:]
    after_setup = passed.index.isin(played.frames[played.frames.phase == "setup"].step + 1)
    np.testing.assert_allclose(passed[~after_setup], parts[~after_setup], rtol=1e-9)
    assert (passed[after_setup] > parts[after_setup]).all()


def test_a_cut_costs_one_resend_in_each_direction(tiny: Any, play: Any) -> None:
    """Another way round in the mesh: nothing is learned differently, two rounds take longer, by the closed form."""
    undisturbed, played = play(tiny(**LINKS), "undisturbed"), play(tiny(cut(4, "sbs-1", "mbs"), **LINKS), "cut")
    for name in ("sbs-0", "sbs-1", "sbs-2"):
        left, right = undisturbed.state(name)["policy"], played.state(name)["policy"]
        assert all(torch.equal(left[key], right[key]) for key in left)
    check_books(played)
    check_times(played)
    lost = played.frames[played.frames.status == "dropped"]
    again = played.frames[played.frames.attempt == 1]
    assert list(lost.sort_values("sequence").kind) == ["channel_report", "policy_output", "loss_feedback"]
    assert set(lost.path) == {"sbs-1>mbs", "mbs>sbs-1"} and set(lost.step) == {5}
    assert set(again.path) == {"sbs-1>sbs-0>mbs", "mbs>sbs-0>sbs-1"}
    np.testing.assert_allclose(again.sort_values("sequence").sent_s, lost.sort_values("sequence").sent_s + RESEND)
    rounds, before = played.training(), undisturbed.training()
    up = [size_of(played, kind, 5, "sbs-1", 1) for kind in ("channel_report", "policy_output")]
    t0 = lost[lost.kind == "policy_output"].sent_s.item()
    two_hops = 2 * LATENCY + 8 * (sum(up) + max(up)) / CAPACITY
    S, N, T, users, R, B = 4, 2, 4, 3, 2, 3
    loss_s = 3 * 8 * S * N * users**2 * R * (B * T + R) / 1e12
    assert rounds.simulated_s[5] == pytest.approx(t0 + RESEND + two_hops + loss_s, rel=1e-9)
    assert rounds.simulated_s[4] == before.simulated_s[4]
    assert rounds.queue_s[5] == pytest.approx(RESEND, rel=1e-6)
    t1 = lost[lost.kind == "loss_feedback"].sent_s.item()
    down = again[again.kind == "loss_feedback"]
    arrived = t1 + RESEND + 2 * (LATENCY + 8 * down.bytes.item() / CAPACITY)
    assert down.arrival_s.item() == pytest.approx(arrived, rel=1e-9)
    assert rounds.queue_s[6] == pytest.approx(RESEND, rel=1e-3)
    assert rounds.simulated_s[6] - rounds.simulated_s[5] > RESEND
    late = rounds.simulated_s.diff()[7:]
    assert (late < RESEND).all()
    assert set(played.frames.query("step > 6 and sender == 'sbs-1'").path) == {"sbs-1>sbs-0>mbs"}


def test_a_station_that_is_cut_off_waits_and_comes_back(tiny: Any, launch: Any, finish: Any) -> None:
    simulation = launch(tiny(cut(4, "mbs", "sbs-1"), restore(8, "mbs", "sbs-1"), **STAR, **LINKS))
    kept: dict[int, Any] = {}
    for step in (3, 4, 7, 8):
        simulation.advance(step - simulation.step)
        kept[step] = {name: unpack_state(state) for name, state in simulation._engine.states().items()}
    played = finish(simulation)
    check_books(played)
    check_times(played)
    early, late = kept[4]["sbs-1"], kept[7]["sbs-1"]
    assert set(kept[7]) == {"mbs", "sbs-0", "sbs-1", "sbs-2"}
    assert all(torch.equal(early["policy"][key], late["policy"][key]) for key in early["policy"])
    assert (late["step"], kept[7]["sbs-0"]["step"], kept[8]["sbs-1"]["step"]) == (4, 7, 8)
    assert kept[7]["sbs-0"]["roster"] == ["sbs-0", "sbs-2"]
    assert kept[8]["sbs-0"]["roster"] == kept[8]["sbs-1"]["roster"] == ["sbs-0", "sbs-1", "sbs-2"]
    assert kept[8]["sbs-1"]["schedule"]["last_epoch"] == kept[8]["sbs-0"]["schedule"]["last_epoch"] == 8
    again = played.frames.query("kind == 'join' and sender == 'sbs-1' and step == 8")
    assert again.sent_s.item() >= played.training().simulated_s[8]
    head, gone = kept[3]["sbs-0"]["policy"]["head.bias"], kept[7]["sbs-0"]["policy"]["head.bias"]
    assert len(gone) == len(head) - 1
    assert played.state("sbs-1")["step"] == 12
    moved = played.state("sbs-1")["policy"]["trunk.0.weight"]
    assert not torch.equal(moved, late["policy"]["trunk.0.weight"])
    sent = played.frames[(played.frames.sender == "sbs-1") & (played.frames.phase == "training")]
    assert sorted(set(sent[sent.status == "delivered"].step)) == [1, 2, 3, 4, 9, 10, 11, 12]
    lost = sent[sent.status == "dropped"]
    assert list(lost.kind) == ["channel_report", "policy_output"] and set(lost.step) == {5}
    assert played.summary["backhaul"]["retransmissions"]["frames"] == 0
    assert [event.get("isolated") for event in played.summary["events"]] == [["sbs-1"], []]
    rounds = played.training()
    assert (rounds.simulated_s.diff()[5:9] < RESEND).all()  # nobody waits for who is not there


def test_what_is_lost_at_the_end_is_not_sent(tiny: Any, play: Any) -> None:
    played = play(tiny(cut(12, "mbs", "sbs-1"), **STAR))
    check_books(played)
    assert played.frames[played.frames.phase == "training"].step.max() == 12
    assert played.summary["backhaul"]["dropped"]["frames"] == 0


def test_a_slow_link_sets_the_pace(tiny: Any, play: Any) -> None:
    """Rounds while it is slow, the first and the last of which are slow in one direction only."""
    slow, lazy = 1e6, 0.02
    event = {"at_step": 4, "slow_link": {"between": ["sbs-0", "mbs"], "capacity_bps": slow, "latency_s": lazy}}
    played = play(tiny(event, restore(8, "mbs", "sbs-0"), **STAR, **LINKS))
    check_books(played)
    check_times(played)
    rounds = played.training()
    for step in range(2, 13):
        up = sum(size_of(played, kind, step, "sbs-0") for kind in ("channel_report", "policy_output"))
        down = size_of(played, "loss_feedback", step - 1, "sbs-0")
        slow_up, slow_down = 5 <= step <= 8, 5 <= step - 1 <= 8
        expected = 8 * up / (slow if slow_up else CAPACITY) + (lazy if slow_up else LATENCY)
        expected += 8 * down / (slow if slow_down else CAPACITY) + (lazy if slow_down else LATENCY)
        assert rounds.transfer_s[step] == pytest.approx(expected, rel=1e-9), step
        assert rounds.queue_s[step] == pytest.approx(0, abs=1e-12)
    (first, second) = played.summary["events"]
    assert (first["capacity_bps"], first["latency_s"], first["link"]) == (slow, lazy, ["sbs-0", "mbs"])
    assert second["event"] == "restore_link"


def stacked(scenario: Any, stations: list[str]) -> torch.Tensor:
    """Test channels of some stations, made anew."""
    network = build_network(scenario)
    scale = np.float32(10 ** ((scenario.network.sbs.power_dbm - scenario.radio.noise_dbm) / 20))
    parts = [torch.from_numpy(station_channels(scenario, network, name, "test") * scale) for name in stations]
    return torch.stack(parts, 1)


@pytest.mark.parametrize(
    ("event", "left"),
    [
        ({"at_step": 7, "remove_sbs": "sbs-1"}, ["sbs-0", "sbs-2"]),
        ({"at_step": 12, "remove_sbs": "sbs-0"}, ["sbs-1", "sbs-2"]),
        (cut(7, "mbs", "sbs-2"), ["sbs-0", "sbs-1"]),
    ],
)
def test_who_is_gone_serves_nobody(tiny: Any, launch: Any, event: Any, left: list[str]) -> None:
    """Rates of policies and references are those of the stations that are left, from their own channels alone."""
    scenario = tiny(event, **STAR, **{"downlink.references": ["gsa-zf", "rsa-zf"]})
    with launch(scenario) as simulation:
        simulation.advance()
        simulation.result()
        engine: Any = simulation._engine
        found = engine.test_rates()
        decisions = [engine.stations[name].decide(engine.stations[name]._channels["test"]) for name in left]
        stations = set(engine.stations)
    channel = stacked(scenario, left)
    own = user_rates(
        torch.stack([each.beams for each in decisions], 1),
        torch.stack([each.allocation for each in decisions], 1),
        channel,
    )
    np.testing.assert_allclose(found["dmtssl"], own.double().numpy(), rtol=1e-5)
    for reference in scenario.downlink.references:
        seed = seeds.integer(scenario.seed, "reference", reference.name)
        beams, allocation = reference.solve(channel, min_rate=scenario.network.users.min_rate_bps_hz, seed=seed)
        np.testing.assert_array_equal(found[reference.name], user_rates(beams, allocation, channel).double().numpy())
    assert ("cut_link" in event) == (stations == {"sbs-0", "sbs-1", "sbs-2"})


def test_a_removed_station_says_good_bye_and_sends_nothing_more(tiny: Any, play: Any) -> None:
    """Its switch stays: in a chain, those behind it go on over it."""
    chain = {"name": "edges", "links": [["mbs", "sbs-0"], ["sbs-0", "sbs-1"], ["sbs-1", "sbs-2"]]}
    played = play(tiny({"at_step": 6, "remove_sbs": "sbs-1"}, **{"backhaul.topology": chain}))
    check_books(played)
    check_times(played)
    ours = played.frames[(played.frames.sender == "sbs-1") | (played.frames.receiver == "sbs-1")]
    assert ours.step.max() == 6
    (leave,) = ours[ours.kind == "leave"].itertuples()
    assert (leave.step, leave.receiver, leave.path) == (6, "mbs", "sbs-1>sbs-0>mbs")
    assert set(played.frames.query("sender == 'sbs-2'").path) == {"sbs-2>sbs-1>sbs-0>mbs"}
    assert played.packed.keys() == {"mbs", "sbs-0", "sbs-2"}
    assert played.summary["downlink"]["flops"].keys() == {"sbs-0", "sbs-2"}
    mbs = played.state("mbs")
    for known in (mbs["answered"], mbs["joined"], *mbs["held_out"].values()):
        assert known.keys() == {"sbs-0", "sbs-2"}
    rejoined = played.frames.query("kind == 'join' and step == 6")
    assert set(rejoined.sender) == {"sbs-0", "sbs-2"}
    (event,) = played.summary["events"]
    at_six = played.metrics.query("phase == 'validation' and step == 6").sum_rate
    assert list(at_six) == [event["sum_rate_before"], event["sum_rate_after"]]


def test_many_changes_of_links_keep_the_books(tiny: Any, play: Any) -> None:
    """Cuts that meet frames on their way again, a donor whose path is cut, a station cut off twice."""
    events = [
        cut(2, "mbs", "sbs-1"),
        cut(3, "sbs-0", "sbs-1"),
        {"at_step": 3, "inject_sbs": {"position_m": [75, 40], "transfer": "nearest"}},
        cut(4, "sbs-1", "sbs-2"),
        cut(5, "sbs-1", "sbs-3"),
        restore(6, "mbs", "sbs-1"),
        cut(7, "mbs", "sbs-1"),
        {"at_step": 8, "remove_sbs": "sbs-1"},
        cut(9, "mbs", "sbs-0"),
        {"at_step": 9, "remove_sbs": "sbs-0"},
        restore(11, "sbs-1", "sbs-2"),
    ]
    played = play(tiny(*events, **LINKS))
    check_books(played)
    check_times(played)
    assert not any("refused" in event for event in played.summary["events"])
    assert played.packed.keys() == {"mbs", "sbs-2", "sbs-3"}
    frames: pd.DataFrame = played.frames
    assert set(frames[(frames.sender == "sbs-1") & (frames.status == "dropped")].step) >= {3, 6, 8}
