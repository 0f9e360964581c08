"""Detectors that a run trains because no file fits what its services see."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from cellfree_sim.detection.learned import on_demand
from cellfree_sim.detection.learned.curricula import mimo
from cellfree_sim.detection.learned.on_demand import with_trained_detectors
from cellfree_sim.detection.learned.trained import read_trained
from cellfree_sim.detection.serving.deployment import InlineUplink, service_problem
from cellfree_sim.errors import DetectorError
from cellfree_sim.network import build_network
from cellfree_sim.scenario.schema import Scenario

if TYPE_CHECKING:
    from pathlib import Path

OAMP = {"name": "oampnet2", "layers": 3}
DETNET = {"name": "detnet", "layers": 2, "hidden": 1, "memory": 1}
SEEN = {"n_rx": 4, "n_tx": [1, 2, 3], "constellation": "qpsk"}
TINY = {"detector": OAMP, "iterations": 4, "batch": 16, "report_every": 1, "device": "cpu"} | SEEN


def make_scenario(*services: dict[str, Any], training: dict[str, Any] | None, **uplink: Any) -> Scenario:
    """Two stations of four antennas and three users."""
    return Scenario.model_validate(
        {
            "name": "made",
            "network": {
                "area_m": [200, 100],
                "sbs": {"positions_m": [[50, 50], [150, 50]], "antennas": {"columns": uplink.pop("columns", 2)}},
                "users": {"count": uplink.pop("users", 3)},
            },
            "channel": {"model": "rayleigh", "cache": False},
            "downlink": {"algorithm": "none"},
            "uplink": {"bursts": 4, "slots": 3, "services": list(services), "training": training, **uplink},
        }
    )


def trained(scenario: Scenario, folder: Path) -> tuple[Scenario, list[str]]:
    notes: list[str] = []
    return with_trained_detectors(scenario, partial(service_problem, scenario), folder, notes.append), notes


def checkpoints(scenario: Scenario) -> list[str | None]:
    assert scenario.uplink is not None
    return [getattr(service.detector, "checkpoint", None) for service in scenario.uplink.services]


@pytest.fixture
def defaults_are_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings that are not described take seconds; their length is not what is looked at."""
    few = {"iterations": 2, "batch": 8, "device": "cpu"}
    monkeypatch.setattr(mimo, "MimoTraining", partial(mimo.MimoTraining, **few))


def test_what_no_file_fits_is_trained_once_and_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_demand, "NOTE_EVERY_S", 0.0)
    scenario = make_scenario(
        {"name": "one", "detector": OAMP},
        {"name": "two", "detector": "oampnet2", "cooperation": "soft_fusion"},
        {"name": "three", "detector": "lmmse"},
        training=TINY,
        events=[{"at_burst": 2, "swap_detector": {"service": "three", "detector": "oampnet2"}}],
    )
    ready, notes = trained(scenario, tmp_path / "detectors")
    (file,) = (tmp_path / "detectors").iterdir()
    assert scenario.uplink is not None and ready.uplink is not None
    assert checkpoints(ready) == [str(file), str(file), None]
    swap = ready.uplink.events[0].swap_detector
    assert swap is not None and swap.detector.checkpoint == str(file)
    found = read_trained(file)
    assert found.training == scenario.uplink.training and found.iterations == 4 and found.name == "made-one"
    assert notes[0] == "one: no trained oampnet2 fits: it is trained for 4 iterations"
    assert [note.partition(": loss ")[0] for note in notes[1:]] == [
        f"one: oampnet2 is trained, {done} of 4 iterations" for done in (1, 2, 3, 4)
    ]
    uplink, rows = InlineUplink(ready, build_network(ready)), []
    uplink.start()
    uplink.advance(4, rows.extend)
    assert len(rows) == 12 and all(row["undecided"] == row["refused"] == 0 for row in rows)


def test_a_shipped_detector_that_fits_is_not_trained_again(tmp_path: Path) -> None:
    scenario = make_scenario({"detector": "oampnet2"}, training=None, columns=32, users=16, constellation="qam16")
    assert trained(scenario, tmp_path / "detectors") == (scenario, [])
    assert not (tmp_path / "detectors").exists()


@pytest.mark.parametrize(
    ("service", "training"),
    [
        ({"name": "oampnet2", "layers": 2}, {}),
        ({"name": "oampnet2", "scalars": 4}, {}),
        ("oampnet", {}),
        ("oampnet2", {"n_tx": [1, 2]}),
        ("oampnet2", {"n_rx": 8}),
        ("oampnet2", {"constellation": "qam16"}),
        (DETNET, {"detector": DETNET, "n_tx": [2]}),
        (DETNET, {"detector": {**DETNET, "hidden": 2}, "n_tx": [3]}),
    ],
)
@pytest.mark.usefixtures("defaults_are_tiny")
def test_a_training_of_something_else_is_not_taken(service: Any, training: dict[str, Any], tmp_path: Path) -> None:
    scenario = make_scenario({"detector": service}, training={**TINY, **training})
    assert scenario.uplink is not None
    ready, _ = trained(scenario, tmp_path)
    found = read_trained(next(tmp_path.iterdir()))
    assert found.training != scenario.uplink.training and found.iterations == 2
    assert found.training.n_tx == ([3] if service == DETNET else [1, 2, 3]) and found.training.n_rx == 4
    uplink, rows = InlineUplink(ready, build_network(ready)), []
    uplink.start()
    uplink.advance(2, rows.extend)
    assert [row["undecided"] for row in rows] == [0, 0]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"activity": {"probability": 0.5}}, "uplink.activity.probability: found 0.5; allowed: 1, or another detector"),
        ({"users": 5}, "network.users.count: found 5; allowed: at most 4, the antennas of the service, or another"),
    ],
)
def test_a_network_for_one_number_of_users_is_not_trained_for_many(
    change: dict[str, Any], text: str, tmp_path: Path
) -> None:
    scenario = make_scenario({"name": "edge", "detector": DETNET}, training=None, **change)
    with pytest.raises(DetectorError, match=f"^service 'edge': detector 'detnet' .*: {text}") as error:
        trained(scenario, tmp_path / "detectors")
    assert "\n" not in str(error.value) and not (tmp_path / "detectors").exists()
