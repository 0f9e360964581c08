"""``cellfree train``: from a scenario to a file, with interruptions."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from cellfree_sim.cli import main
from cellfree_sim.cli import train as command
from cellfree_sim.detection import create_detector
from cellfree_sim.detection.learned import trained as files
from cellfree_sim.detection.learned.trained import read_trained, shipped_detectors
from cellfree_sim.detection.learned.trainer import DetectorTrainer
from cellfree_sim.errors import RunFolderError
from cellfree_sim.results.files import write_atomically
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


def test_what_is_resumed_from_is_removed_once_another_file_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    _saved("part.detector", monkeypatch)
    assert main(["train", "--resume", "part.detector.training", "--quiet", "--out", "other.detector"]) == 0
    assert sorted(path.name for path in Path().iterdir()) == ["other.detector", "small.yaml"]


def test_a_training_whose_result_cannot_be_written_is_saved(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _saved("part.detector", monkeypatch)
    capsys.readouterr()
    assert main(["train", "--resume", "part.detector.training", "--quiet"]) == 0
    assert Path("part.detector").exists()


def _saved(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train for a while, and lose the disk before the end."""

    def full(trained: object, path: Path) -> None:
        raise RunFolderError(f"{path}: cannot be written: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "save_trained", full)
        assert main(["train", "small.yaml", "--quiet", "--out", out]) == 2
    assert not Path(out).exists() and Path(out + ".training").exists()


def test_threads_do_not_decide_the_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    seen = set()
    step = DetectorTrainer._step
    monkeypatch.setattr(DetectorTrainer, "_step", lambda trainer: (seen.add(torch.get_num_threads()), step(trainer))[1])
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert main(["train", "small.yaml", "--quiet"]) == 0
        assert seen == {1} and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("out", [".", "..", "/", "folder", "pipe", "unusable"])
def test_what_is_no_file_to_write_is_one_line_before_training(
    out: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("folder").mkdir()
    Path("unusable.training").mkdir()  # where the training would be saved
    os.mkfifo("pipe")
    monkeypatch.setattr(command, "_run", lambda *_, **__: pytest.fail("it was trained"))
    assert main(["train", "small.yaml", "--out", out]) == 2
    error = capsys.readouterr().err
    assert "--out: found '" in error and "which is no regular file; allowed: a file to write\n" in error
    assert error.count("\n") == 1


def test_files_are_not_put_in_the_place_of_a_pipe_or_a_folder() -> None:
    Path("folder").mkdir()
    os.mkfifo("pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(RunFolderError, match=f"^{name}: cannot be written: it is no regular file$"):
            write_atomically(Path(name), "text")
    assert Path("folder").is_dir() and Path("pipe").is_fifo()
    assert sorted(path.name for path in Path().iterdir()) == ["folder", "pipe", "small.yaml"]


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
        (["--resume", ""], "--resume: found nothing; allowed: a file that 'cellfree train' saved"),
        (["small.yaml", "--out", "x" * 250], "which cannot be written: File name too long"),
        (["small.yaml", "--set", "uplink.training.detector.checkpoint=oampnet2-iid"], "found the checkpoint"),
    ],
)
def test_bad_usage_is_one_line(argv: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *argv]) == 2
    error = capsys.readouterr().err
    assert text in error and error.count("\n") == 1


def test_trained_detectors_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detectors", "list"]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split()[:2] == ["name", "family"] and {row.split()[0] for row in rows} == set(shipped_detectors())
    assert main(["detectors", "list", "--json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == list(shipped_detectors())
    Path("long.yaml").write_text(SMALL.replace("iterations: 6", "iterations: 90"))
    assert main(["train", "long.yaml", "--quiet", "--out", "long.detector"]) == 0
    capsys.readouterr()
    assert main(["detectors", "show", "long.detector"]) == 0
    facts, curve, scenario = capsys.readouterr().out.split("\n\n# ")
    assert "2-4 users" in facts and ["channel", "i.i.d."] in [line.split() for line in facts.splitlines()]
    points = curve.splitlines()[2:]
    assert 10 <= len(points) <= 20 and points[-1].split()[0] == "90"
    assert scenario.startswith("trained by this scenario\nname: small\n")
    assert main(["detectors", "show", "long.yaml"]) == 2
    assert "found 'long.yaml', which is no trained detector" in capsys.readouterr().err
