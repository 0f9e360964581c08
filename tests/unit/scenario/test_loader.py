"""Loading, dumping and locating; the shipped scenarios."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationInfo, field_validator, model_validator

from cellfree_sim import load_scenario as exported_load_scenario
from cellfree_sim.errors import ChannelError, ScenarioError
from cellfree_sim.registry import Choice, MisfitError, Named, Options, Registry
from cellfree_sim.scenario import (
    Scenario,
    dump_scenario,
    find_scenario,
    load_scenario,
    read_scenario,
    scenario_title,
    shipped_scenarios,
)
from cellfree_sim.scenario.extensions import CHANNEL_MODELS

ROOT = Path(__file__).parents[3]
SHIPPED = sorted((ROOT / "scenarios").rglob("*.yaml"))


def write(folder: Path, text: str) -> Path:
    path = folder / "s.yaml"
    path.write_text(text)
    return path


def test_an_empty_mapping_is_all_defaults(tmp_path: Path) -> None:
    assert load_scenario(write(tmp_path, "{}")) == Scenario()
    assert exported_load_scenario is load_scenario


def test_the_quickstart_is_what_it_says() -> None:
    scenario = load_scenario(ROOT / "scenarios" / "quickstart.yaml")
    assert (scenario.network.sbs.count, scenario.network.users.count, scenario.radio.subcarriers) == (3, 10, 4)
    assert (scenario.downlink.policy.name, scenario.downlink.loss_scheme.name) == ("set", "penalty")
    assert scenario.backhaul.capacity_bps == 10e9
    assert scenario.steps == 150
    assert scenario.station_names == ["sbs-0", "sbs-1", "sbs-2"]


def test_the_paper_scenario_has_the_values_of_table_i() -> None:
    scenario = load_scenario(ROOT / "scenarios" / "dmtssl-paper.yaml")
    sbs, users, radio, downlink = scenario.network.sbs, scenario.network.users, scenario.radio, scenario.downlink
    assert (sbs.count, sbs.antennas.rows, sbs.antennas.columns, sbs.height_m, sbs.power_dbm) == (3, 2, 2, 25, 40)
    assert (users.count, users.antennas, users.height_m, users.min_rate_bps_hz) == (10, 2, 1.5, 0.02)
    assert (radio.carrier_frequency_hz, radio.bandwidth_hz, radio.noise_dbm, radio.subcarriers) == (2.1e9, 20e6, -26, 4)
    assert (downlink.batch, downlink.learning_rate, downlink.loss_scheme.name) == (100, 1e-3, "el")
    assert scenario.channel.model.name == "tr38901-uma"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_scenarios_are_short_valid_and_titled(path: Path) -> None:
    scenario = load_scenario(path)
    assert scenario.name in (path.stem, f"{path.parent.name}-{path.stem}")
    assert 20 < len(scenario_title(path)) < 120
    assert len(path.read_text().splitlines()) <= (30 if scenario.sweep is None else 110)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_dump_shows_every_key_and_loads_to_the_same(path: Path, tmp_path: Path) -> None:
    scenario = load_scenario(path)
    text = dump_scenario(scenario)
    assert load_scenario(write(tmp_path, text)) == scenario
    assert set(leaves(read_scenario(tmp_path / "s.yaml").root.plain())) == set(leaves(scenario.model_dump(mode="json")))
    assert text == dump_scenario(load_scenario(tmp_path / "s.yaml"))


def leaves(data: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from leaves(value, f"{prefix}.{key}")
    else:
        yield prefix


def test_paths_are_relative_to_the_scenario(tmp_path: Path) -> None:
    class Recorded(Named):
        name: Literal["recorded"] = "recorded"
        path: Path

        @field_validator("path")
        @classmethod
        def _absolute(cls, path: Path, info: ValidationInfo) -> Path:
            return Path((info.context or {})["folder"]) / path

    registry: Registry[Any] = Registry("recording", "cellfree_sim.channel.models")
    registry.register(Recorded)

    class Small(Options):
        model: Annotated[Any, Choice(registry)]

    source = read_scenario(write(tmp_path, "model: {name: recorded, path: data/x.npz}"))
    with chdir(tmp_path):
        relative = read_scenario("s.yaml")
    for each in (source, relative):
        small = Small.model_validate(each.root.plain(), context={"folder": each.folder})
        assert small.model.path == tmp_path / "data" / "x.npz"


def test_the_context_reaches_channel_models(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"")
    scenario = load_scenario(write(tmp_path, "channel: {model: {name: trace, path: x.npz}}"))
    assert scenario.channel.model.path == tmp_path.resolve() / "x.npz"
    assert load_scenario(write(tmp_path, dump_scenario(scenario))) == scenario
    assert "trace" in CHANNEL_MODELS.names()


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# What it shows.\nname: a\n", "What it shows."),
        ("#What\n", "What"),
        ("## What\n# more\n", "What"),
        ("name: a\n# late\n", ""),
        ("", ""),
    ],
)
def test_title(tmp_path: Path, text: str, title: str) -> None:
    assert scenario_title(write(tmp_path, text)) == title


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ScenarioError("network.sbs.layout: no room"), "s.yaml:3:21: network.sbs.layout: no room"),
        (ScenarioError("network.sbs.names[1]: taken"), "s.yaml:4:16: network.sbs.names[1]: taken"),
        (ScenarioError("network.users.count: many"), "s.yaml:3:3: network.users.count: many"),
        (ChannelError("channel.model 'rayleigh' fails"), "s.yaml:5:18: channel.model 'rayleigh' fails"),
        (ScenarioError("events[1].inject_sbs.position_m: far"), "s.yaml:7:41: events[1].inject_sbs.position_m: far"),
        (ScenarioError("events[0].cut_link: gone"), "s.yaml:6:33: events[0].cut_link: gone"),
        (ScenarioError("something else"), "something else"),
    ],
)
def test_later_errors_are_located(tmp_path: Path, error: ScenarioError, says: str) -> None:
    text = "name: a\nnetwork:\n  sbs: {layout: {name: grid},\n    names: [a, b, c]}\nchannel: {model: rayleigh}\n"
    text += "events: [{at_step: 1, cut_link: [a, b]},\n  {at_step: 1, inject_sbs: {position_m: [1, 2]}}]\n"
    if "layout" in str(error):
        text = text.replace("{name: grid}", "grid")
        says = says.replace("3:21", "3:17")
    located = read_scenario(write(tmp_path, text)).located(error)
    assert type(located) is type(error)
    assert str(located) == f"{tmp_path}/{says}" if says[0] == "s" and "yaml" in says else says


def test_a_check_can_name_the_key_that_is_wrong() -> None:
    class Inner(Options):
        low: int = 1
        high: int = 2

        @model_validator(mode="after")
        def _ordered(self) -> Inner:
            if self.low > self.high:
                raise MisfitError(("low",), "found more than high", because=("high",))
            return self

    with pytest.raises(ValueError, match="found more than high"):
        Inner(low=3)


class TestStrictness:
    class Parts(Options):
        whole: int = 1
        real: float = Field(1.0, gt=0)
        truth: bool = True
        pair: tuple[float, float] = (1.0, 1.0)
        either: float | Literal["auto"] = "auto"
        maybe: int | None = None
        table: dict[str, float] = Field(default_factory=dict)

    @pytest.mark.parametrize(
        "data",
        [
            {"whole": "1"},
            {"whole": 1.0},
            {"whole": True},
            {"real": "1"},
            {"real": True},
            {"real": float("nan")},
            {"real": float("inf")},
            {"truth": 1},
            {"truth": "true"},
            {"pair": ["1", 2]},
            {"pair": [True, 2]},
            {"pair": "12"},
            {"either": "1"},
            {"either": False},
            {"maybe": "1"},
            {"table": {"a": "1"}},
            {"other": 1},
        ],
    )
    def test_nothing_is_converted(self, data: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"[12] validation error"):
            self.Parts(**data)

    def test_lists_are_tuples_and_whole_numbers_are_real(self) -> None:
        parts = self.Parts.model_validate({"real": 2, "pair": [3, 4.5], "either": 5, "table": {"a": 1}})
        assert (parts.real, parts.pair, parts.either, parts.table) == (2.0, (3.0, 4.5), 5.0, {"a": 1.0})


class TestFinding:
    def test_by_path_and_by_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        path = write(tmp_path, "{}")
        assert find_scenario(str(path)) == path
        assert find_scenario("s.yaml") == Path("s.yaml")
        assert find_scenario("quickstart") == ROOT / "scenarios" / "quickstart.yaml"

    def test_own_scenarios_come_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        own = tmp_path / "scenarios" / "papers"
        own.mkdir(parents=True)
        (own / "figure.yaml").write_text("{}")
        (own.parent / "quickstart.yaml").write_text("{}")
        named = shipped_scenarios()
        assert named["quickstart"] == Path("scenarios/quickstart.yaml")
        assert named["papers/figure"] == Path("scenarios/papers/figure.yaml")
        assert named["tiny"] == ROOT / "scenarios" / "tiny.yaml"

    def test_a_folder_does_not_hide_a_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "tiny").mkdir()
        assert find_scenario("tiny") == ROOT / "scenarios" / "tiny.yaml"

    @pytest.mark.parametrize("text", ["", ".", "a\0b", "x" * 5000, "\udcff", "no/such/folder/x.yaml"])
    def test_odd_names(self, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ScenarioError) as caught:
            load_scenario(find_scenario(text))
        assert str(caught.value).isprintable()
