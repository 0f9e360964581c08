"""The documented extensions, as a person uses them: they run, resume, train, are measured, reported and tested."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agents import Simulation
from cellfree_sim.cli import main
from cellfree_sim.detection.learned.trainer import DetectorTrainer, resume_training, save_training
from cellfree_sim.errors import ScenarioError
from cellfree_sim.results.observer import Quiet
from cellfree_sim.scenario import load_scenario

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "extensions"
SHORT = ["--set", "downlink.epochs=2", "--quiet"]
pytestmark = pytest.mark.usefixtures("unrendered")


def summary_of(folder: Path) -> Any:
    return json.loads((folder / "summary.json").read_text())


def test_channel_loss_and_policy_of_ones_own_train_and_report(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In a process of its own directory, so that what is imported is told, and from another folder after a pause."""
    whole, part = tmp_path / "whole", tmp_path / "part"
    assert main(["run", str(EXAMPLES / "downlink.yaml"), "--out", str(whole), *SHORT]) == 0
    summary = summary_of(whole)
    assert summary["downlink"]["loss_scheme"] == "my_losses:Fair"
    assert summary["downlink"]["policy"] == "my_policies:MatchedShares"
    assert summary["backhaul"]["balanced"] is True
    assert "MatchedShares" in (whole / "report.html").read_text()
    assert f"with code of {EXAMPLES / 'my_channels.py'}, SHA-256 " in (whole / "run.log").read_text()
    capfd.readouterr()

    settings = {"downlink.epochs": 2, "checkpoint_every_steps": 1}
    scenario = load_scenario(EXAMPLES / "downlink.yaml", settings)
    with Simulation.launch(scenario, out=part, observer=Quiet()) as simulation:
        simulation.advance(steps=2)
    assert main(["run", "--resume", str(part), "--quiet"]) == 0
    assert summary_of(part)["downlink"]["sum_rate"] == summary["downlink"]["sum_rate"]
    assert summary_of(part)["steps"] == summary["steps"] == 4

    policy = tmp_path / "mine.policy"
    assert main(["policies", "export", str(part), "--out", str(policy)]) == 0
    again = [f"downlink.policy={{name: 'my_policies:MatchedShares', trained: {policy}}}", "downlink.epochs=0"]
    again = [word for each in again for word in ("--set", each)]
    scenario_file = str(EXAMPLES / "downlink.yaml")
    assert main(["run", scenario_file, "--out", str(tmp_path / "again"), *again, "--quiet"]) == 0
    capfd.readouterr()
    other = ["--set", f"downlink.policy={{name: set, trained: {policy}}}"]
    assert main(["run", scenario_file, "--out", str(tmp_path / "no"), *other, "--quiet"]) == 2
    assert "found 'set'; allowed: 'my_policies:MatchedShares', as " in capfd.readouterr().err


def test_detectors_of_ones_own_serve_and_are_trained_for_it(tmp_path: Path) -> None:
    out = tmp_path / "run"
    short = ["--set", "uplink.training.iterations=5", "--set", "uplink.bursts=2", "--quiet"]
    assert main(["run", str(EXAMPLES / "uplink.yaml"), "--out", str(out), *short]) == 0
    services = summary_of(out)["uplink"]["services"]
    assert [each["name"] for each in services] == ["lmmse-local", "Jacobi-local", "Unfolded-local"]
    assert [each["detector"] for each in services][1:] == ["my_detector:Jacobi", "my_network:Unfolded"]
    assert all(each["ser"][0] < 0.5 for each in services)
    assert [path.name for path in (out / "detectors").iterdir()] == ["Unfolded-0.detector"]


def test_a_learned_detector_of_ones_own_is_trained_and_its_file_imports_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    scenario_file, out = EXAMPLES / "uplink.yaml", tmp_path / "mine.detector"
    short = ["--set", "uplink.training.iterations=6", "--quiet"]
    assert main(["train", str(scenario_file), "--out", str(out), *short]) == 0
    assert "my_network:Unfolded" in capfd.readouterr().out
    words = [sys.executable, "-m", "cellfree_sim", "detectors", "show", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=EXAMPLES)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("cellfree: error: found 'mine.detector', which names the code 'my_network:Unfolded'")
    assert done.stderr.count("\n") == 1


def test_a_training_that_names_code_goes_on_where_that_is_allowed(tmp_path: Path) -> None:
    scenario = load_scenario(EXAMPLES / "uplink.yaml", {"uplink.training.iterations": 4})
    trainer = DetectorTrainer(scenario.uplink.training, seed=1, device="cpu")
    trainer.run(2)
    save_training(trainer, scenario, tmp_path / "part")
    with pytest.raises(ScenarioError, match="which is code; allow it with: --allow my_detector --allow my_network"):
        resume_training(tmp_path / "part")
    resumed, _ = resume_training(tmp_path / "part", allowed=["my_network", "my_detector"])
    resumed.run()
    trainer.run()
    assert resumed.trained().to_bytes() == trainer.trained().to_bytes()


def test_a_sweep_measures_it_beside_others(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["sweep", str(EXAMPLES / "link.yaml"), "--out", str(tmp_path), "--set", "link.slots_max=1000"]
    assert main(words) == 0
    rows = [line.split() for line in capfd.readouterr().out.splitlines() if "Jacobi" in line]
    assert len(rows) == 4


def test_it_is_checked_from_the_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = EXAMPLES / "my_losses.py"
    assert main(["check-extension", f"{file}:Fair", "--quick"]) == 0
    found = capfd.readouterr()
    assert "my_losses:Fair, loss_schemes: 10 checks passed, 0 failed, 0 left out" in found.out
    bad = tmp_path / "checked_from_the_line.py"
    bad.write_text(file.read_text().replace("tasks.sum(-1), tasks", "tasks.sum(-1) * 1.0, tasks * 2 - rates.mean()"))
    assert main(["check-extension", f"{bad}:Fair", "--json", "--traceback"]) == 1
    found = capfd.readouterr()
    failed = {each["check"] for each in json.loads(found.out) if each["result"] == "fail"}
    assert "tasks are the objective, the users, the stations" in failed
    assert "cellfree: Traceback" in found.err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["nothing_like_it"], "nothing_like_it: there is no such extension; allowed: module:Class of a module"),
        (["lmms"], "did you mean 'lmmse'?"),
        (["mf"], "mf: is in mimo_detectors, noma_detectors; say which with --kind"),
        (["mf", "--kind", "mimo"], "--kind 'mimo'; allowed: mimo_detectors, "),
        (["{folder}/wrong_to_check.py"], "say which class; there are wrong_to_check:Any, wrong_to_check:Part"),
        (["{folder}/wrong_to_check.py:Any"], "may be any of mimo_detectors, noma_detectors, mmtc_detectors; say which"),
        (
            ["{folder}/wrong_to_check.py:Other"],
            "is no extension; allowed: a class derived from that of a MIMO detector",
        ),
        (["{folder}/wrong_to_check.py:Part"], "wrong_to_check:Part does not define evaluate"),
        (["{folder}/gone_to_check.py:Part"], "there is no module 'gone_to_check' in {folder}"),
        (
            ["ep", "--kind", "mimo_detectors", "--set", "iterations=0"],
            "Propagation: iterations: Input should be greater",
        ),
    ],
)
def test_what_cannot_be_checked_is_one_line(
    words: list[str], text: str, tmp_path_factory: pytest.TempPathFactory, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "wrong"
    folder.mkdir(exist_ok=True)
    (folder / "wrong_to_check.py").write_text(
        "from cellfree_sim.detection import detector\nfrom cellfree_sim.downlink import scheme\nclass Other: pass\n"
        "class Any(detector.DetectorOptions):\n    def build(self, problem): pass\n"
        "class Part(scheme.LossScheme): pass\n"
    )
    assert main(["check-extension", *(word.format(folder=folder) for word in words)]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if "note: " not in line]
    assert len(lines) == 1 and text.format(folder=folder) in lines[0]


def test_names_are_listed_with_where_they_come_from(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["extensions", "--json"]) == 0
    kinds = {each["kind"]: each for each in json.loads(capfd.readouterr().out)}
    assert "ep" in kinds["mimo_detectors"]["names"]
    assert kinds["policies"]["entry points"] == "cellfree_sim.policies"
    assert main(["extensions", "policies"]) == 0
    assert "set    cellfree-sim  trained, width" in capfd.readouterr().out


def test_an_error_in_the_code_of_an_extension_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    module = tmp_path / "fails_late.py"
    module.write_text(
        "from cellfree_sim.channel.base import ChannelModel\nclass Late(ChannelModel):\n"
        "    def generate(self, request, progress=None):\n        return 1 / 0\n"
    )
    scenario_file = tmp_path / "s.yaml"
    scenario_file.write_text("engine: inline\nchannel: {model: fails_late:Late, cache: false}\n")
    assert main(["run", str(scenario_file), "--out", str(tmp_path / "run"), "--quiet"]) == 1
    said = capfd.readouterr().err.splitlines()[-1]
    assert said.startswith(
        f"cellfree: error: {module}:4: ZeroDivisionError: division by zero (all of it: set CELLFREE_"
    )
