"""Stations that join a network in training: against copies, closed forms and runs in which nothing happened."""

from __future__ import annotations

import json
import math
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch

from agents import Simulation
from cellfree_sim.channel import station_channels
from cellfree_sim.errors import UserError
from cellfree_sim.results.state import unpack_state

HIDDEN = (8, 6)
POLICIES = {
    "dense": {"name": "dense", "hidden": [*HIDDEN]},
    "set": {"name": "set", "width": 8, "layers": 1},
    "paper": {"name": "paper", "hidden": [*HIDDEN]},
}
CHAIN = {"name": "edges", "links": [["mbs", "sbs-0"], ["sbs-0", "sbs-1"], ["sbs-1", "sbs-2"]]}
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
K = 1 + 3  # loss weights that belong to no station: objective and three users


def inject(step: int, x: float = 75, y: float = 75, **options: Any) -> dict[str, Any]:
    return {"at_step": step, "inject_sbs": {"position_m": [x, y], **options}}


def states(simulation: Simulation) -> dict[str, Any]:
    return {name: unpack_state(state) for name, state in simulation._engine.states().items()}


def is_statistic(key: str) -> bool:
    return key.rpartition(".")[2] in STATISTICS


def around_transfer(simulation: Simulation) -> list[dict[str, Any]]:
    """The policies of donor and receiver before and after each transfer, in a list that fills as the run goes."""
    engine: Any = simulation._engine
    transfer, seen = engine.transfer, []

    def copies(*names: str) -> list[dict[str, Any]]:
        return [{k: v.clone() for k, v in engine.stations[n].policy.state_dict().items()} for n in names]

    def watch(donor: str, receiver: str) -> Any:
        before = copies(donor, receiver)
        sizes = transfer(donor, receiver)
        seen.append({"donor": donor, "before": before, "after": copies(donor, receiver)})
        return sizes

    engine.transfer = watch
    return seen


@pytest.mark.parametrize("policy", ["dense", "set", "paper"])
def test_the_copy_is_the_donors_model(tiny: Any, launch: Any, policy: str) -> None:
    """At the moment of the transfer: parameters bit for bit, and the donor's own model untouched."""
    with launch(tiny(**{"downlink.policy": POLICIES[policy]})) as simulation:
        seen = around_transfer(simulation)
        simulation.advance(4)
        simulation.inject_sbs((75.0, 75.0))
        (moment,) = seen
        own, first = moment["before"]
        donor, copy = moment["after"]
        assert all(torch.equal(own[key], donor[key]) for key in own)
        copied = [key for key in donor if not is_statistic(key)]
        assert copied and all(torch.equal(donor[key], copy[key]) for key in copied)
        assert not all(torch.equal(first[key], copy[key]) for key in copied)


def plain_inputs(channels: Any, policy: str) -> Any:
    """What the first layer of a dense policy sees, in float64."""
    if policy == "paper":
        return np.stack([channels.real, channels.imag], -1).reshape(len(channels), -1)
    first = channels[:, :, :1, :, :1]
    turned = channels * (first / np.abs(first)).conj()
    gain = (np.abs(turned) ** 2).sum(2)
    direction = turned / np.sqrt(gain)[:, :, None] * math.sqrt(channels.shape[2])
    parts = np.stack([direction.real, direction.imag], -1).reshape(len(channels), -1)
    return np.concatenate([np.log10(gain).reshape(len(channels), -1), parts], 1)


@pytest.mark.parametrize("policy", ["dense", "paper"])
def test_batch_statistics_are_those_of_the_new_site(tiny: Any, launch: Any, policy: str) -> None:
    """Means over batches of the means and variances that a plain forward pass over the own training channels gives."""
    scenario = tiny(**{"downlink.policy": POLICIES[policy], "channel.realisations.train": 14})
    with launch(scenario) as simulation:
        seen = around_transfer(simulation)
        simulation.advance(4)
        name = simulation.inject_sbs((80.0, 60.0)).station
        network = simulation._operations.network
        scale = 10 ** ((scenario.network.sbs.power_dbm - scenario.radio.noise_dbm) / 20)
        channels = station_channels(scenario, network, name, "train").astype(complex) * scale
    model = {key: value.double().numpy() for key, value in seen[0]["after"][1].items()}
    batches = [plain_inputs(part, policy) for part in np.split(channels, [4, 8, 12])]
    for index in (0, 3):  # linear layers; their normalisation follows each
        weight, bias = model[f"trunk.{index}.weight"], model[f"trunk.{index}.bias"]
        batches = [x @ weight.T + bias for x in batches]
        means, variances = [x.mean(0) for x in batches], [x.var(0, ddof=1) for x in batches]
        layer = f"trunk.{index + 1}"
        np.testing.assert_allclose(model[f"{layer}.running_mean"], np.mean(means, 0), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(model[f"{layer}.running_var"], np.mean(variances, 0), rtol=1e-3, atol=1e-5)
        biased = [x.var(0) for x in batches]
        normal = [(x - m) / np.sqrt(v + 1e-5) for x, m, v in zip(batches, means, biased, strict=True)]
        batches = [np.maximum(x * model[f"{layer}.weight"] + model[f"{layer}.bias"], 0) for x in normal]


@pytest.mark.parametrize(
    ("place", "neighbour", "transfer", "hops"),
    [((90, 60), "sbs-1", "nearest", 1), ((52, 55), "mbs", "farthest", 2), ((52, 55), "mbs", "nearest", 4)],
)
def test_model_frames_are_counted_and_take_their_time(
    tiny: Any, play: Any, place: Any, neighbour: str, transfer: str, hops: int
) -> None:
    """In a chain: bytes, path and arrival of the frames, and the time to the first decision, in closed form."""
    capacity, latency = 1e6, 3e-3
    settings = {"backhaul.topology": CHAIN, "backhaul.capacity_bps": capacity, "backhaul.latency_s": latency}
    scenario = tiny(inject(4, *place, transfer=transfer), **settings)
    played = play(scenario)
    (record,) = played.summary["downlink"]["injection"]
    frames = played.frames[played.frames.kind == "model_transfer"]
    assert record["transfer_bytes"] == frames.bytes.sum() == played.summary["backhaul"]["by_kind"]["model_transfer"]
    donor = played.state(record["donor"])["policy"]
    size = sum(value.numel() * value.element_size() for value in donor.values())
    size -= 4 * (HIDDEN[1] + 1)  # the head has grown by one row since
    assert record["model_bytes"] == frames.payload_bytes.sum() == size
    assert 0 < record["transfer_bytes"] - size < 2048 * len(frames)
    graph = nx.Graph([*CHAIN["links"], [neighbour, "sbs-3"]])
    path = nx.shortest_path(graph, record["donor"], "sbs-3")
    assert len(path) == hops + 1
    assert set(frames.path) == {">".join(path)}
    sent, sizes = frames.sent_s.iloc[0], frames.bytes
    moved = 8 * (sizes.sum() + (hops - 1) * sizes.max()) / capacity + hops * latency  # a pipeline of equal links
    assert frames.arrival_s.max() == pytest.approx(sent + moved, rel=1e-9)
    admitted = played.frames.query("kind == 'admit' and receiver == 'sbs-3'")
    join = played.frames.query("kind == 'join' and sender == 'sbs-3'")
    flops, speed = played.summary["downlink"]["flops"]["sbs-3"], scenario.network.sbs.mec_flop_per_s
    assert join.sent_s.item() == pytest.approx(
        frames.arrival_s.max() + 12 * flops / speed, rel=1e-3
    )  # batch statistics
    rounds = played.training().simulated_s
    assert record["simulated_seconds"] == pytest.approx(admitted.arrival_s.item() + flops / speed - rounds[4], rel=1e-9)


def test_a_model_goes_in_as_many_frames_as_their_limit_asks_for(tiny: Any, play: Any) -> None:
    settings = {"downlink.policy": {"name": "dense", "hidden": [24, 24, 24]}, "downlink.batch": 6}
    least = tiny(inject(4), **settings)._longest_frame_bytes() + 9000
    whole, parts = (
        play(tiny(inject(4), **settings, **limit), name)
        for name, limit in (("whole", {}), ("parts", {"backhaul.max_frame_bytes": least}))
    )
    one, several = (played.frames[played.frames.kind == "model_transfer"] for played in (whole, parts))
    assert len(one) == 1 < len(several)
    assert several.bytes.max() <= least
    assert one.payload_bytes.sum() == several.payload_bytes.sum()
    for station in ("sbs-0", "sbs-3"):
        left, right = whole.state(station)["policy"], parts.state(station)["policy"]
        assert all(torch.equal(left[key], right[key]) for key in left)


@pytest.mark.parametrize("way", ["event", "python"])
def test_a_model_that_fits_no_frame_leaves_the_run_unharmed(
    tiny: Any, launch: Any, finish: Any, play: Any, assert_equal: Any, way: str
) -> None:
    settings = {"downlink.policy": {"name": "dense", "hidden": [8, 200]}}
    settings["backhaul.max_frame_bytes"] = tiny(**settings)._longest_frame_bytes() + 3000
    undisturbed = play(tiny(**settings), "undisturbed")
    line = r"sbs-3 was not injected: sbs-1: trunk.3.weight of the policy takes \d+ bytes, more than a frame of "
    line += r"backhaul.max_frame_bytes \d+ carries$"
    if way == "event":
        played = play(tiny(inject(5), **settings), "disturbed")
        (event,) = played.summary["events"]
        assert event["event"] == "inject_sbs" and event["at_step"] == 5
        with pytest.raises(UserError, match=line):
            raise UserError(event["refused"])
    else:
        simulation = launch(tiny(**settings), "disturbed")
        simulation.advance(5)
        with pytest.raises(UserError, match=line):
            simulation.inject_sbs((75, 75))
        assert simulation.describe()["stations"][-1]["name"] == "sbs-2"
        played = finish(simulation)
    assert_equal(played, undisturbed)


def moments(state: dict[str, Any], parameter: str) -> list[Any]:
    """Adam's two moments of a parameter; the optimiser numbers them in the order of the policy."""
    names = [name for name in state["policy"] if not is_statistic(name)]
    adam = state["optimiser"]["state"][names.index(parameter)]
    return [adam["exp_avg"], adam["exp_avg_sq"]]


def test_the_head_of_the_loss_weights_grows_and_shrinks(tiny: Any, launch: Any) -> None:
    """One row for the newcomer, the mean of the others', without moments; a leaving station takes its own row along."""
    with launch(tiny()) as simulation:
        simulation.advance(5)
        before = states(simulation)
        simulation.inject_sbs((75, 75))
        grown = states(simulation)
        simulation.remove_sbs("sbs-1")
        shrunk = states(simulation)
    for name in ("sbs-0", "sbs-1", "sbs-2"):
        for key in ("head.weight", "head.bias"):
            old, new = before[name]["policy"][key], grown[name]["policy"][key]
            assert len(new) == len(old) + 1
            assert torch.equal(new[:-1], old)
            torch.testing.assert_close(new[-1], old[-3:].mean(0))
            for was, now in zip(moments(before[name], key), moments(grown[name], key), strict=True):
                assert torch.equal(now[:-1], was) and was.count_nonzero() > 0
                assert not now[-1].any()
            if name == "sbs-1":
                continue
            left = shrunk[name]["policy"][key]
            keep = [index for index in range(len(new)) if index != len(new) - 3]  # stations 0, 1, 2, 3: not 1
            assert torch.equal(left, new[keep])
            for was, now in zip(moments(grown[name], key), moments(shrunk[name], key), strict=True):
                assert torch.equal(now, was[keep])
    others = [key for key in before["sbs-0"]["policy"] if not key.startswith("head")]
    assert all(torch.equal(before["sbs-0"]["policy"][key], shrunk["sbs-0"]["policy"][key]) for key in others)
    assert len(shrunk["sbs-3"]["policy"]["head.bias"]) - len(before["sbs-0"]["policy"]["head.bias"]) == 0


def test_a_station_injected_at_the_start_is_one_that_was_there_from_the_start(tiny: Any, play: Any) -> None:
    """Without a transfer and without loss weights of stations: the same channels and training, bit for bit."""
    places = [[25, 25], [75, 25], [25, 75], [70, 80]]
    settings = {"downlink.loss_scheme": "penalty", "backhaul.topology": "star"}
    grown = tiny(inject(0, 70, 80, transfer="none"), **settings, **{"network.sbs": {"positions_m": places[:3]}})
    whole = tiny(**settings, **{"network.sbs": {"positions_m": places}})
    left, right = play(grown, "grown"), play(whole, "whole")
    assert grown.steps == 12 and left.packed.keys() == right.packed.keys()
    for name in ("sbs-0", "sbs-1", "sbs-2", "sbs-3"):
        one, other = left.state(name), right.state(name)
        assert one["roster"] == other["roster"]
        assert all(torch.equal(one["policy"][key], other["policy"][key]) for key in one["policy"])
    training = [played.training()[["joint_loss", "sum_rate", "power_violation"]] for played in (left, right)]
    pd.testing.assert_frame_equal(*training, check_exact=True)
    pd.testing.assert_frame_equal(left.rates, right.rates, check_exact=True)


def test_a_new_station_looks_where_it_is_told_to(tiny: Any, launch: Any) -> None:
    """From the scenario and from Python; it is in the network that a run leaves behind."""
    with launch(tiny(inject(1, 70, 80, azimuth_deg=-135), **{"network.sbs.azimuths_deg": [0, 90, 180]})) as simulation:
        simulation.advance(2)
        simulation.inject_sbs((10, 5), azimuth_deg=45)
        simulation.inject_sbs((5, 10))
    nodes = {node["id"]: node for node in json.loads((simulation.folder / "topology.json").read_text())["nodes"]}
    assert [nodes[f"sbs-{n}"]["azimuth_deg"] for n in range(6)] == [0, 90, 180, -135, 45, 0]


def test_a_station_that_executes_never_learns(tiny: Any, launch: Any, finish: Any) -> None:
    """Its parameters stay as they came to the end; it receives no gradients, and the others do."""
    simulation = launch(tiny(inject(4, after="execute")))
    seen = around_transfer(simulation)
    played = finish(simulation)
    copy = seen[0]["after"][1]
    final = played.state("sbs-3")["policy"]
    rows = len(copy["head.bias"])
    for key, value in copy.items():
        assert torch.equal(final[key][:rows] if key.startswith("head") else final[key], value), key
    donor = played.state(seen[0]["donor"])["policy"]
    assert not torch.equal(donor["trunk.0.weight"], copy["trunk.0.weight"])
    assert played.state("sbs-3")["optimiser"]["state"] == {}
    feedback = played.frames.query("kind == 'loss_feedback' and step > 4")
    payload = feedback.groupby("receiver").payload_bytes.unique()
    tasks, B = 4 * (1 + 3 + 4), 4
    gradients = 4 * (8 * 2 * 4 * 3 + 4 * 2 * 3 + 4 * (K + B))  # batch x (beams + allocation + weights)
    assert payload["sbs-3"].tolist() == [tasks]
    assert all(payload[name].tolist() == [tasks + gradients] for name in ("sbs-0", "sbs-1", "sbs-2"))
    uploads = played.frames.query("kind == 'policy_output' and phase == 'training' and step > 4")
    assert uploads.payload_bytes.nunique() == 1


def one_cycle(step: int, steps: int, peak: float) -> float:
    """Cosine from peak / 25 up to peak at 30 % of the run, and down to peak / 250000 at the last step."""
    top = 0.3 * steps - 1
    if step <= top:
        start, end, part = peak / 25, peak, step / top
    else:
        start, end, part = peak, peak / 25e4, (step - top) / (steps - 1 - top)
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


@pytest.mark.parametrize("step", [1, 8])
def test_all_stations_learn_at_the_rate_of_the_step(tiny: Any, launch: Any, step: int) -> None:
    scenario = tiny(inject(step), {"at_step": step, "inject_sbs": {"position_m": [50, 20], "transfer": "none"}})
    simulation = launch(scenario)
    rates: dict[int, dict[str, tuple[float, float]]] = {}
    told = simulation._on_rows

    def look(rows: list[dict[str, Any]]) -> None:
        told(rows)
        stations: Any = simulation._engine.stations  # type: ignore[attr-defined]
        for name, station in stations.items():
            group = station._descent._optimiser.param_groups[0]
            rates.setdefault(station.step, {})[name] = (group["lr"], group["betas"][0])

    simulation._on_rows = look  # type: ignore[method-assign]
    with simulation:
        simulation.advance()
    assert set(rates) == set(range(13))
    for reached, stations in rates.items():
        assert len(stations) >= (3 if reached < step else 5)
        now = min(reached, 11)
        for lr, beta in stations.values():
            assert lr == pytest.approx(one_cycle(now, 12, scenario.downlink.learning_rate), rel=1e-9)
            assert beta == next(iter(stations.values()))[1]


CUT = {"at_step": 2, "cut_link": ["mbs", "sbs-1"]}
RESTORE = {"at_step": 7, "restore_link": ["mbs", "sbs-1"]}


@pytest.mark.parametrize(
    "events",
    [
        [CUT, inject(3, after="execute"), RESTORE],
        [{"at_step": 0, "remove_sbs": "sbs-2"}, inject(4, transfer="none"), inject(8, 50, 10)],
    ],
    ids=["isolate", "remove-inject-inject"],
)
def test_cached_channels_and_global_outputs_change_only_what_is_sent(tiny: Any, play: Any, events: Any) -> None:
    """Another division of labour: the same parameters, to rounding where losses are summed apart."""
    settings = {"backhaul.topology": "star", "downlink.gradient_clip": None}
    plain = play(tiny(*events, **settings), "plain")
    cached = play(tiny(*events, **settings, **{"backhaul.cache_channels": True}), "cached")
    outputs = play(tiny(*events, **settings, **{"downlink.feedback": "global_outputs"}), "outputs")
    both = {"backhaul.cache_channels": True, "downlink.feedback": "global_outputs"}
    relayed = play(tiny(*events, **settings, **both), "relayed")
    for name in plain.packed.keys() - {"mbs"}:
        one = plain.state(name)["policy"]
        for other, exact in ((cached, True), (outputs, False), (relayed, False)):
            found = other.state(name)["policy"]
            for key, value in one.items():
                if exact:
                    assert torch.equal(found[key], value), f"{name} {key}"
                else:
                    torch.testing.assert_close(found[key], value, rtol=2e-3, atol=2e-4, msg=f"{name} {key}")
    for played in (plain, cached, outputs, relayed):
        assert played.summary["backhaul"]["balanced"], played.summary["backhaul"]["unmatched"]
    uploads = cached.frames.query("kind == 'channel_report' and phase == 'training' and status == 'delivered'")
    assert uploads.groupby("sender").size().to_dict() == dict.fromkeys(uploads.sender.unique(), 1)
    assert set(uploads.sender) == set(plain.frames.sender) - {"mbs"}  # once each, whoever came or left


@pytest.mark.parametrize("place", [(75.0, 75.0), (10.0, 60.0)])
@pytest.mark.parametrize("transfer", ["nearest", "farthest", "random", "none"])
def test_the_donor_is_the_one_that_was_asked_for(tiny: Any, launch: Any, transfer: str, place: Any) -> None:
    positions = [[20, 30], [80, 35], [40, 85], [60, 15]]
    with launch(tiny(**{"network.sbs": {"positions_m": positions}})) as simulation:
        record = simulation.inject_sbs(place, transfer=transfer)
        gaps = {f"sbs-{index}": math.hypot(x - place[0], y - place[1]) for index, (x, y) in enumerate(positions)}
        assert record.nearest == min(gaps, key=gaps.__getitem__)
        match transfer:
            case "nearest" | "farthest":
                assert record.donor == (min if transfer == "nearest" else max)(gaps, key=gaps.__getitem__)
            case "random":
                assert record.donor in gaps
            case _:
                assert (record.donor, record.transfer_bytes, record.model_bytes) == (None, 0, 0)
        assert record.station == "sbs-4" and record.position == place


def test_a_random_donor_depends_on_seed_and_name(tiny: Any, launch: Any) -> None:
    """The same seed chooses the same; over names, every station is chosen."""
    with launch(tiny()) as simulation:
        operations: Any = simulation._operations
        from cellfree_sim.scenario.events import InjectSbs

        spec = InjectSbs(position_m=(75, 75), name=None, transfer="random", after="fine-tune")
        drawn = [operations._donor(spec, f"new-{index}", "sbs-0") for index in range(60)]
        assert drawn == [operations._donor(spec, f"new-{index}", "sbs-2") for index in range(60)]
        assert set(drawn) == {"sbs-0", "sbs-1", "sbs-2"}


REFUSALS = [
    ({"position": (101, 50)}, "position_m: found [101, 50]; allowed: x in [0, 100], y in [0, 100] (network.area_m)"),
    ({"position": (50, -0.1)}, "position_m: found [50, -0.1]; allowed"),
    ({"position": (math.nan, 5)}, "position_m"),
    ({"position": (math.inf, 5)}, "position_m"),
    ({"position": (5,)}, "position_m"),
    ({"position": "here"}, "position_m"),
    ({"position": (25, 25.001)}, "position_m: found [25, 25.001], where station 'sbs-0' stands; allowed: a free place"),
    ({"position": (70, 70), "name": "sbs-1"}, "name: found 'sbs-1', which is active; allowed: a name that no station"),
    ({"position": (70, 70), "name": "mbs"}, "name: "),
    ({"position": (70, 70), "name": "user-1"}, "name: "),
    ({"position": (70, 70), "name": "../up"}, "name: "),
    ({"position": (70, 70), "name": ""}, "name: "),
    ({"position": (70, 70), "azimuth_deg": 361}, "azimuth_deg: "),
    ({"position": (70, 70), "transfer": "best"}, "transfer: "),
    ({"position": (70, 70), "after": "never"}, "after: "),
]


def refusal(call: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_is_one_line_and_changes_nothing(
    tiny: Any, launch: Any, finish: Any, play: Any, assert_equal: Any
) -> None:
    undisturbed = play(tiny(), "undisturbed")
    simulation = launch(tiny(), "disturbed")
    simulation.advance(5)
    for arguments, line in REFUSALS:
        assert line in refusal(simulation.inject_sbs, **arguments)
    assert "there is no station 'sbs-9'; there are sbs-0, sbs-1, sbs-2" in refusal(simulation.remove_sbs, "sbs-9")
    assert "'mbs' is the macro base station" in refusal(simulation.remove_sbs, "mbs")
    assert "there is no station 'user-0'" in refusal(simulation.remove_sbs, "user-0")
    assert_equal(finish(simulation), undisturbed)


def test_a_station_that_left_leaves_its_name_behind(
    tiny: Any, launch: Any, finish: Any, play: Any, assert_equal: Any
) -> None:
    """Its place is free again, its name never; the last station stays."""
    events = [{"at_step": 4, "remove_sbs": "sbs-0"}, {"at_step": 4, "remove_sbs": "sbs-2"}]
    undisturbed = play(tiny(*events), "undisturbed")
    simulation = launch(tiny(*events), "disturbed")
    simulation.advance(6)
    line = refusal(simulation.inject_sbs, (70, 70), name="sbs-0")
    assert line == "name: found 'sbs-0', which is removed; allowed: a name that no station of this network ever had"
    assert "is the last one that serves users" in refusal(simulation.remove_sbs, "sbs-1")
    assert "station 'sbs-0' is removed; allowed: sbs-1" in refusal(simulation.remove_sbs, "sbs-0")
    assert_equal(finish(simulation), undisturbed)
    with launch(tiny(*events), "again") as simulation:
        simulation.advance(6)
        record = simulation.inject_sbs((25, 25))
        assert (record.station, record.nearest) == ("sbs-3", "sbs-1")


def test_one_station_is_injected_at_a_time(tiny: Any, launch: Any, finish: Any, play: Any, assert_equal: Any) -> None:
    """While the one that the scenario injects is being prepared, another is refused, and both runs are the same."""
    undisturbed = play(tiny(inject(7)), "undisturbed")
    simulation = launch(tiny(inject(7)), "disturbed")
    simulation.advance(5)
    simulation._operations.look_ahead(7)
    line = refusal(simulation.inject_sbs, (60, 60))
    assert line == "sbs-3 is being injected; one station at a time, try again when it takes part"
    assert_equal(finish(simulation), undisturbed)


def test_a_run_that_is_over_refuses(tiny: Any, launch: Any) -> None:
    simulation = launch(tiny())
    with simulation:
        simulation.advance()
        simulation.result()
        with pytest.raises(UserError, match="the run is done; it goes no further"):
            simulation.inject_sbs((75, 75))
    for action in (
        lambda: simulation.inject_sbs((75, 75)),
        lambda: simulation.remove_sbs("sbs-0"),
        simulation.advance,
    ):
        with pytest.raises(UserError, match="it goes no further"):
            action()


def test_errors_of_sum_rates_are_those_of_means_over_realisations(tiny: Any, play: Any) -> None:
    played = play(tiny())
    test = played.metrics[played.metrics["phase"] == "test"].iloc[-1]
    sums = played.rates[played.rates["algorithm"] == "dmtssl"].groupby("realisation")["rate"].sum()
    assert test["sum_rate"] == pytest.approx(sums.mean())
    assert test["sum_rate_error"] == pytest.approx(sums.std() / len(sums) ** 0.5)
    assert played.metrics["sum_rate_error"].notna().all()
