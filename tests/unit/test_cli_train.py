"""``cellfree train``: from a scenario to a file, with interruptions."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from cellfree_sim.cli import main
from cellfree_sim.detection import create_detector
from cellfree_sim.detection.learned.trained import read_trained, shipped_detectors
from cellfree_sim.detection.learned.trainer import DetectorTrainer
from cellfree_sim.uplink import MimoProblem

SMALL = """\
name: small
uplink:
  training: {detector: {name: oampnet2, layers: 3}, n_rx: 8, n_tx: [2, 4], iterations: 6, batch: 16, report_every: 2}
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(SMALL)


def test_a_detector_is_trained_written_and_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "small.yaml", "--seed", "3", "--set", "uplink.training.batch=20"]) == 0
    out, err = capsys.readouterr()
    facts = dict(line.split(maxsplit=1) for line in out.splitlines() if not line.startswith("cpu"))
    assert facts["detector"] == "oampnet2" and facts["iterations"] == "6" and facts["file"] == "small.detector"
    assert "training 6/6: loss " in err and not Path("small.detector.training").exists()
    trained = read_trained(Path("small.detector"))
    assert trained.seed == 3 and trained.training.batch == 20 and "batch: 20" in trained.scenario
    assert float(facts["loss"]) == pytest.approx(trained.curve["loss"][-1], rel=1e-3)
    assert create_detector("oampnet2", MimoProblem(8, 3), checkpoint="small.detector").options.checkpoint
    assert main(["train", "small.yaml", "--quiet", "--out", "again.detector"]) == 0
    assert capsys.readouterr().err == ""


def test_ctrl_c_saves_and_resume_ends_with_the_same_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["train", "small.yaml", "--quiet", "--out", "whole.detector"]) == 0
    step = DetectorTrainer._step

    def interrupted(trainer: DetectorTrainer) -> None:
        step(trainer)
        if trainer.iteration == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(DetectorTrainer, "_step", interrupted)
    assert main(["train", "small.yaml", "--quiet", "--out", "part.detector"]) == 130
    hint = "cellfree: interrupted; go on with: cellfree train --resume part.detector.training\n"
    assert capsys.readouterr().err == hint
    monkeypatch.setattr(DetectorTrainer, "_step", step)
    assert main(["train", "--resume", "part.detector.training"]) == 0
    assert "goes on after iteration 3 of 6" in capsys.readouterr().err
    assert Path("part.detector").read_bytes() == Path("whole.detector").read_bytes()
    assert not Path("part.detector.training").exists()


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        ([], "SCENARIO is missing"),
        (["small.yaml", "--out", ""], "--out: found nothing"),
        (
            ["small.yaml", "--out", "nowhere/x.detector"],
            "--out: found 'nowhere/x.detector', in no folder that there is",
        ),
        (["quickstart"], "uplink.training: found nothing; allowed: what a learned detector is trained on"),
        (["small.yaml", "--set", "uplink.training.detector=ep"], "which has nothing to learn; allowed: "),
        (["small.yaml", "--set", "uplink.training.n_tx=[]"], "uplink.training.n_tx"),
        (["--resume", "small.yaml"], "small.yaml: is no training to go on with"),
        (["--resume", "nothing"], "nothing: cannot be read: No such file or directory"),
        (["small.yaml", "--resume", "x"], "leave out SCENARIO"),
    ],
)
def test_bad_usage_is_one_line(argv: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *argv]) == 2
    error = capsys.readouterr().err
    assert text in error and error.count("\n") == 1


def test_trained_detectors_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detectors", "list"]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split()[:2] == ["name", "detector"] and {row.split()[0] for row in rows} == set(shipped_detectors())
    assert main(["detectors", "list", "--json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == list(shipped_detectors())
    Path("long.yaml").write_text(SMALL.replace("iterations: 6", "iterations: 90"))
    assert main(["train", "long.yaml", "--quiet", "--out", "long.detector"]) == 0
    capsys.readouterr()
    assert main(["detectors", "show", "long.detector"]) == 0
    facts, curve, scenario = capsys.readouterr().out.split("\n\n# ")
    assert "n_tx           2-4" in facts and "channel        i.i.d." in facts
    points = curve.splitlines()[2:]
    assert 10 <= len(points) <= 20 and points[-1].split()[0] == "90"
    assert scenario.startswith("trained by this scenario\nname: small\n")
    assert main(["detectors", "show", "long.yaml"]) == 2
    assert "found 'long.yaml', which is no trained detector" in capsys.readouterr().err
