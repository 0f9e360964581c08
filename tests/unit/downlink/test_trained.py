"""Trained policies as files: the same decisions as where they come from; what does not fit is one line."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgpack
import numpy as np
import pytest
import torch

from agents import Simulation
from cellfree_sim.downlink.dmtssl.station import estimate_batch_statistics
from cellfree_sim.downlink.trained import TrainedPolicy, find_trained, load_trained, read_trained, shipped_policies
from cellfree_sim.errors import ScenarioError, UserError
from cellfree_sim.export import export_policy, save_policy
from cellfree_sim.inline import InlineEngine
from cellfree_sim.results.observer import Quiet
from cellfree_sim.scenario import load_scenario
from cellfree_sim.scenario.schema import Scenario

LARGEST = 2 * 10**6  # bytes of a shipped policy


def trained(kind: str = "shared", **changes: Any) -> TrainedPolicy:
    """A policy of one small array."""
    weights = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.int64(4)[None]}
    sizes = dict.fromkeys(("tx_antennas", "rx_antennas", "users", "subcarriers", "stations", "loss_weights"), 2)
    policy = {"name": "set", "width": 48}
    about: dict[str, Any] = {"name": "x", "algorithm": "dmtssl", "scenario": "name: x", "seed": 2**62, "steps": 3}
    return TrainedPolicy(
        **{
            "kind": kind,
            "policy": policy,
            "sizes": sizes,
            "networks": {"all": weights},
            "made_by": "0",
            **about,
            **changes,
        }
    )


def test_a_file_holds_what_was_put_in(tmp_path: Path) -> None:
    for rate in (None, 1 / 3):
        one = trained(validation_sum_rate=rate)
        other = read_trained(save_policy(one, tmp_path / f"{rate}.policy"))
        for key in ("name", "algorithm", "kind", "policy", "sizes", "scenario", "seed", "steps", "made_by"):
            assert getattr(one, key) == getattr(other, key)
        assert other.validation_sum_rate == rate and other.parameters == 7
        for name, array in one.networks["all"].items():
            np.testing.assert_array_equal(other.networks["all"][name], array)
            assert other.networks["all"][name].dtype == array.dtype


def damaged() -> dict[str, bytes]:
    whole = trained().to_bytes()
    body = whole[len(b"cellfree-policy 1\n") + 32 :]

    def sealed(content: Any) -> bytes:
        packed = msgpack.packb(content)
        return b"cellfree-policy 1\n" + hashlib.sha256(packed).digest() + packed

    fields = msgpack.unpackb(body)
    return {
        "is no trained policy": b"",
        "is no trained policy ": b"PK\x03\x04" + body,
        "of format 2": whole.replace(b"policy 1", b"policy 2"),
        "is damaged": whole[:-1],
        "is damaged ": whole[:200] + bytes([whole[200] ^ 1]) + whole[201:],
        "is damaged  ": whole[:30],
        "is no trained policy: ": sealed([1, 2]),
        "is no trained policy:  ": sealed({}),
        "one expected": sealed(
            {**fields, "networks": {}, "kind": "else"} | {"networks": {"a": {}, "b": {}}, "kind": "shared"}
        ),
        "of a known kind": sealed({**fields, "kind": "something"}),
        "w must be an array": sealed({**fields, "networks": {"all": {"w": [1.0]}}}),
        "a network without arrays": sealed({**fields, "networks": {"all": {}}}),
        "infinity": sealed({**fields, "seed": float("inf")}),
        "its validation sum rate is nan": sealed({**fields, "validation_sum_rate": float("nan")}),
        "no options of a policy": sealed({**fields, "policy": {"name": "set", "\x1b[31m": 1}}),
        "w has numbers that are not finite": trained(networks={"all": {"w": np.float32([1, np.nan])}}).to_bytes(),
    }


@pytest.mark.parametrize("what", damaged())
def test_other_files_are_one_line(tmp_path: Path, what: str) -> None:
    path = tmp_path / "some.policy"
    path.write_bytes(damaged()[what])
    with pytest.raises(ScenarioError) as caught:
        read_trained(path)
    assert str(caught.value).startswith("found 'some.policy'") and what.strip() in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = save_policy(trained(), tmp_path / "a.policy")
    assert read_trained(path).steps == 3
    save_policy(trained(steps=44_444), path)
    assert read_trained(path).steps == 44_444


def test_policies_of_stations_go_by_name_then_by_order() -> None:
    networks = {name: {"w": np.float32([value])} for value, name in enumerate("abc")}
    policy = trained("stations", networks=networks)

    def taken(stations: list[str], station: str) -> float | None:
        weights = policy.network_of(station, stations)
        return None if weights is None else float(weights["w"][0])

    assert [taken(["c", "a"], name) for name in ("c", "a", "b", "new")] == [2, 0, 1, None]
    assert [taken(["c", "a", "new"], name) for name in ("c", "a", "new", "b")] == [2, 0, None, 1]
    assert [taken(["x", "y", "z"], name) for name in ("x", "y", "z", "a")] == [0, 1, 2, None]
    assert trained().network_of("anything", ["x"]) is not None


def test_files_are_found_beside_the_scenario_and_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_policy(trained(), tmp_path / "mine.policy")
    assert find_trained("mine.policy", tmp_path) == path.resolve()
    assert find_trained("set-shared", tmp_path) == shipped_policies()["set-shared"]
    monkeypatch.chdir(tmp_path)
    assert find_trained("mine.policy", tmp_path.parent) == path.resolve()
    with pytest.raises(ScenarioError, match=r"^found 'mine.polcy', no such file .*; did you mean 'mine.policy'\?$"):
        find_trained("mine.polcy", tmp_path)
    for text in ("", ".", "\0", "x" * 5000, "set-shared.policy", "~nobody-of-this-name/x"):
        with pytest.raises(ScenarioError, match=r"^found '[^\n]*$"):
            find_trained(text, tmp_path)


RUNS: dict[str, Any] = {
    "set": {"downlink.policy": {"name": "set", "width": 8, "layers": 1}},
    "dense": {"downlink.policy": {"name": "dense", "hidden": [8, 6]}, "downlink.loss_scheme": "el"},
    "shared": {"downlink.policy": {"name": "set", "width": 8, "layers": 1}, "downlink.sharing": {"every_steps": 4}},
    "central": {"downlink.policy": {"name": "set", "width": 8, "layers": 1}, "downlink.algorithm": "cmtssl"},
    "central-dense": {"downlink.policy": {"name": "dense", "hidden": [8, 6]}, "downlink.algorithm": "cmtssl"},
}
MADE: dict[str, tuple[Path, Any]] = {}


@pytest.fixture(scope="module")
def short_path() -> Iterator[Path]:
    """A folder whose name is short enough to stand in a line unabridged."""
    with TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def made(
    small_scenario: Callable[..., Scenario], short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], tuple[Path, Any]]:
    """Train one of RUNS for six steps: the file of its policy, and its result."""
    monkeypatch.setattr("cellfree_sim.results.report.build_report", lambda folder: None)

    def make(name: str) -> tuple[Path, Any]:
        if name not in MADE:
            folder = short_path / name
            scenario = small_scenario(**{**RUNS[name], "downlink.epochs": 3})
            with Simulation.launch(scenario, engine="inline", out=folder / "run", observer=Quiet()) as simulation:
                simulation.advance()
                result = simulation.result()
            MADE[name] = (save_policy(export_policy(folder / "run"), folder / f"{name}.policy"), result)
        return MADE[name]

    return make


@pytest.mark.parametrize("name", RUNS)
def test_executing_a_file_gives_the_rates_of_its_run(
    made: Any, small_scenario: Callable[..., Scenario], run_folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Without training, and with nothing prepared for it; the options of the policy are those of the file."""
    path, before = made(name)
    policy = {"name": RUNS[name]["downlink.policy"]["name"], "trained": str(path)}
    scenario = small_scenario(**{**RUNS[name], "downlink.policy": policy, "downlink.epochs": 0})
    with Simulation.launch(scenario, engine="inline", out=run_folder, observer=Quiet()) as simulation:
        result = simulation.result()
    own = result.rates[result.rates.algorithm == scenario.downlink.algorithm.name]
    expected = before.rates[before.rates.algorithm == scenario.downlink.algorithm.name]
    np.testing.assert_array_equal(own.rate, expected.rate)
    assert (result.summary["steps"], result.summary["status"]) == (0, "done")
    assert result.summary["backhaul"]["balanced"] and result.summary["backhaul"]["training_bytes"] == 0
    assert list(result.metrics.phase) == ["validation", "test"]
    last = before.metrics[before.metrics.phase == "validation"].iloc[-1]
    assert result.metrics.sum_rate.iloc[0] == last.sum_rate == pytest.approx(read_trained(path).validation_sum_rate)
    channels = result.backhaul[result.backhaul.kind == "channel_report"]
    assert set(channels.phase) <= {"validation", "test", "execution"}


def test_training_goes_on_from_a_file(made: Any, small_scenario: Callable[..., Scenario]) -> None:
    path, _ = made("set")
    scenario = small_scenario(**{"downlink.policy": {"name": "set", "trained": str(path)}})
    engine = InlineEngine(scenario)
    engine.start(lambda *_: None)
    for name, station in engine.stations.items():
        start = read_trained(path).networks[name]
        assert all(np.array_equal(start[key], value) for key, value in station.state()["policy"].items())
    engine.advance(2, lambda _: None)
    for name, station in engine.stations.items():
        start = read_trained(path).networks[name]
        assert not any(np.array_equal(start[key], value) for key, value in station.state()["policy"].items())


def test_a_shared_policy_serves_other_sizes_and_newcomers(
    made: Any, small_scenario: Callable[..., Scenario], run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = made("shared")
    settings: dict[str, Any] = {"network.sbs": {"count": 5}, "network.users": {"count": 7}, "radio.subcarriers": 3}
    settings |= {"downlink.policy": {"name": "set", "trained": str(path)}, "downlink.epochs": 0}
    scenario = small_scenario(**settings, **{"downlink.loss_scheme": "el"})  # whose loss weights the file has not
    with Simulation.launch(scenario, engine="inline", out=run_folder, observer=Quiet()) as simulation:
        new = simulation.inject_sbs((70.0, 80.0), transfer="none", after="execute")
        states = {name: station.state()["policy"] for name, station in simulation._engine.stations.items()}  # type: ignore[attr-defined]
        assert simulation.result().summary["downlink"]["injection"][0]["station"] == new.station
    assert len(states) == 6
    for key, value in read_trained(path).networks["all"].items():
        assert all(np.array_equal(state[key], value) for state in states.values())


@pytest.mark.parametrize(
    ("name", "settings", "line"),
    [
        ("central", {}, "found '{}', trained by cmtssl; allowed: one trained by dmtssl, as downlink.algorithm says"),
        ("set", {"downlink.algorithm": "cmtssl"}, "found '{}', trained by dmtssl; allowed: one trained by cmtssl"),
        (
            "set",
            {"network.sbs": {"count": 4}},
            "one policy for each of sbs-0, sbs-1, sbs-2; allowed: one for each of the 4",
        ),
        (
            "set",
            {"network.sbs": {"count": 3, "names": ["sbs-1", "sbs-0", "west"]}},
            "all of them by name or (where no name is known) by order, or a shared one",
        ),
        ("set", {"downlink.sharing": {}}, "found '{}', with a policy for each station; allowed with downlink.sharing"),
        (
            "shared",
            {"network.sbs": {"antennas": {"rows": 1}}},
            "trained for 4 antennas of a station; allowed: one for 2",
        ),
        ("dense", {"network.users": {"count": 5}}, "trained for 4 users; allowed: one for 5"),
        ("dense", {"downlink.loss_scheme": "penalty"}, "trained for 8 learned loss weights; allowed: one for 0"),
        (
            "central-dense",
            {"network.sbs": {"count": 4}, "downlink.algorithm": "cmtssl"},
            "trained for 3 stations; allowed",
        ),
        ("set", {"downlink.policy.width": 12}, "found 12; allowed: 8, as '{}' was trained"),
    ],
)
def test_a_misfit_is_one_line(
    made: Any, small_scenario: Callable[..., Scenario], tmp_path: Path, name: str, settings: dict[str, Any], line: str
) -> None:
    from cellfree_sim.scenario import dump_scenario

    path, _ = made(name)
    plain = {key: value for key, value in RUNS[name].items() if key == "downlink.loss_scheme"} | settings
    file = tmp_path / "s.yaml"
    file.write_text(dump_scenario(small_scenario(**{k: v for k, v in plain.items() if "." in k and "policy" not in k})))
    overrides = {"downlink.policy": {"name": RUNS[name]["downlink.policy"]["name"], "trained": str(path)}}
    if "downlink.policy.width" in settings:
        overrides["downlink.policy"]["width"] = 12
    with pytest.raises(UserError) as caught:
        load_scenario(file, overrides)
    (text,) = str(caught.value).splitlines()
    assert line.format(path) in text and "downlink" in text


def test_a_forged_network_is_one_line(made: Any, small_scenario: Callable[..., Scenario]) -> None:
    """The numbers in the file say that it fits, its arrays do not."""
    path, _ = made("shared")
    good = read_trained(path)
    for weights in ({"w": np.zeros(3, np.float32)}, {k: v[:1] for k, v in good.networks["all"].items()}):
        forged = save_policy(
            TrainedPolicy(**{**vars(good), "networks": {"all": weights}}), path.with_name("forged.policy")
        )
        scenario = small_scenario(**{"downlink.policy": {"name": "set", "trained": str(forged)}})
        with pytest.raises(UserError, match=r"forged.policy' holds another network than policy '[^\n]*$"):
            InlineEngine(scenario).start(lambda *_: None)


def test_heads_of_loss_weights_stay_as_they_are(made: Any, small_scenario: Callable[..., Scenario]) -> None:
    path, _ = made("shared")
    policy = {"name": "set", "trained": str(path)}
    scenario = small_scenario(**{"downlink.policy": policy, "downlink.loss_scheme": "el"})
    from cellfree_sim.downlink.policy import policy_shape

    shape = policy_shape(scenario, 3)

    def build(of: Any) -> torch.nn.Module:
        return scenario.downlink.policy.build(of, 5)

    network, untouched = build(shape), build(shape).state_dict()
    load_trained(network, build, shape, scenario, "sbs-1")
    weights = read_trained(path).networks["all"]
    for key, value in network.state_dict().items():
        assert np.array_equal(value, weights[key]) if key in weights else torch.equal(value, untouched[key])
    assert set(untouched) - set(weights) == {
        f"{n}_weight_head.{p}" for n in ("user", "common") for p in ("weight", "bias")
    }


def test_options_are_checked_before_they_are_compared(made: Any, tmp_path: Path) -> None:
    path, _ = made("set")
    file = tmp_path / "s.yaml"
    file.write_text("name: s\n")
    options = {"name": "set", "trained": str(path), "width": "8"}
    with pytest.raises(ScenarioError, match=r"found '8'; allowed: a whole number"):
        load_scenario(file, {"downlink.policy": options})


def test_statistics_are_left_alone_where_no_batch_has_a_variance() -> None:
    policy = torch.nn.Sequential(torch.nn.BatchNorm1d(2))
    policy[0].running_mean.fill_(3.0)
    assert estimate_batch_statistics(policy, torch.zeros(1, 2), 4) == 0
    assert policy[0].running_mean.tolist() == [3.0, 3.0]
    assert estimate_batch_statistics(policy, torch.zeros(3, 2), 2) == 2
    assert policy[0].running_mean.tolist() == [0.0, 0.0]


CHANGES: dict[str, list[dict[str, Any]]] = {
    "joins": [{"at_step": 2, "inject_sbs": {"position_m": [75, 75]}}],
    "joins-with-none": [{"at_step": 2, "inject_sbs": {"position_m": [75, 75], "transfer": "none"}}],
    "leaves": [{"at_step": 2, "remove_sbs": "sbs-1"}],
    "leaves-then-a-death": [
        {"at_step": 2, "remove_sbs": "sbs-1"},
        {"at_step": 3, "fail_sbs": {"station": "sbs-0", "barrier": "during"}},
    ],
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_roster_changes_in_a_run_that_started_from_a_file(
    made: Any, small_scenario: Callable[..., Scenario], run_folder: Path, change: str
) -> None:
    """With loss weights of single stations in the file, whose number follows the roster; and with the file gone."""
    path, _ = made("dense")
    file = run_folder.with_name("dense.policy")
    file.write_bytes(path.read_bytes())
    policy = {"name": "dense", "trained": str(file)}
    settings = {**RUNS["dense"], "downlink.policy": policy, "events": CHANGES[change], "downlink.epochs": 2}
    with Simulation.launch(small_scenario(**settings), engine="inline", out=run_folder, observer=Quiet()) as simulation:
        simulation.advance(2)
        if change != "joins-with-none":
            file.unlink()
        simulation.advance()
        result = simulation.result(report=False)
    assert result.summary["status"] == "done"
    assert result.summary["downlink"]["trained"] == str(file)
    heads = {station: weights["head.bias"].shape for station, weights in export_policy(run_folder).networks.items()}
    assert len(heads) == (4 if "joins" in change else 2) and len(set(heads.values())) == 1


@pytest.mark.parametrize("name", ["dense", "central-dense"])
def test_a_run_goes_on_without_the_file_it_started_from(
    made: Any, small_scenario: Callable[..., Scenario], run_folder: Path, name: str
) -> None:
    """From its checkpoint, to the same states as with the file; a station that starts anew says what is missing."""
    path, _ = made(name)
    file = run_folder.with_name("start.policy")
    file.write_bytes(path.read_bytes())
    plain = {key: value for key, value in RUNS[name].items() if key != "downlink.policy"}
    scenario = small_scenario(**plain, **{"downlink.policy": {"name": "dense", "trained": str(file)}})
    with Simulation.launch(scenario, engine="inline", out=run_folder, observer=Quiet()) as simulation:
        simulation.advance(3)
        states = simulation._engine.states()
        simulation._engine.advance(6, lambda _: None)
        expected = simulation._engine.states()
    file.unlink()
    begun = load_scenario(run_folder / "scenario.yaml", begun=True)
    assert begun == Scenario.model_validate_json(scenario.model_dump_json())  # as other processes get it
    assert begun.downlink.policy.trained == str(file)
    engine = InlineEngine(begun)
    engine.start(lambda *_: None)
    with pytest.raises(ScenarioError, match=r"^found '[^\n]*start.policy', no such file"):
        engine.states()
    engine.load_states(states)
    engine.advance(6, lambda _: None)
    assert engine.states() == expected
    assert export_policy(run_folder).steps == 3
    with pytest.raises(ScenarioError, match="no such file"):
        load_scenario(run_folder / "scenario.yaml")


@pytest.mark.parametrize("name", sorted(shipped_policies()))
def test_shipped_policies_are_small_and_say_where_they_come_from(name: str) -> None:
    path = shipped_policies()[name]
    policy = read_trained(path)
    assert path.stat().st_size < LARGEST
    recipe = load_scenario(Path(__file__).parents[3] / "scenarios" / "policies" / f"{name}.yaml")
    assert (policy.name, policy.seed, policy.algorithm) == (name, recipe.seed, recipe.downlink.algorithm.name)
    assert policy.steps == recipe.steps > 0
    assert policy.kind in ("shared", "central")
