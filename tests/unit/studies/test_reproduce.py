"""Studies from their name to their files, and what the shipped ones claim to be."""

from __future__ import annotations

import json
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cellfree_sim.cli import main
from cellfree_sim.errors import UserError
from cellfree_sim.results.figures import style
from cellfree_sim.scenario import expand, find_scenario, read_scenario
from cellfree_sim.studies import Results, Study, Verdict, find_study, list_studies, positive, register, study
from cellfree_sim.studies.points import Outcome
from cellfree_sim.studies.reproduce import last_verdicts, reproduce

PAPER = ["table2", "fig5", *(f"fig{number}{panel}" for number in (6, 7, 8) for panel in "abc")]


def draw(results: Results) -> Any:
    figure, axes = style.new_figure(2, 2)
    curve = results.curve("learned", "network.users.count")
    axes.plot(curve["at"], curve["mean"])
    return figure


def judge(results: Results) -> list[Verdict]:
    return [positive("Rates are positive.", [results.sum_rate("learned", at) for at in results.places])]


@pytest.fixture
def mine(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study of the tiny sweep, known by its name for one test."""
    study._discover()
    monkeypatch.setattr(study, "_STUDIES", dict(study._STUDIES))
    return register(Study("mine/tiny", "Tiny", draw, judge, scenario=str(tiny)))


def one_by_one(tasks: Any, **options: Any) -> Any:
    """As `run_tasks`, without a cluster."""
    from cellfree_sim.studies.runner import run_tasks

    return [run_tasks([task], tell=options.get("tell"))[0] for task in tasks]


def test_files_and_verdicts_of_a_study(mine: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cellfree_sim.studies.reproduce.run_tasks", one_by_one)
    made = reproduce(mine, out=tmp_path, scale="full", seeds=[1])
    assert made.folder == tmp_path / "mine" / "tiny" / "full"
    names = {file.name for file in made.folder.iterdir()}
    assert names == {"tiny.png", "tiny.pdf", "table.csv", "table.parquet", "verdict.json"}
    saved = json.loads((made.folder / "verdict.json").read_text())
    assert (saved["overrides"], saved["departures"]) == ({}, ["--seeds 1"])
    assert saved["verdicts"][0]["verdict"] == "holds" and saved["failed"] == []
    assert (saved["seeds"], saved["points"], saved["scale"]) == ([1], 4, "full")
    assert last_verdicts(mine, tmp_path) == {"full": saved}
    before = (made.folder / "tiny.png").read_bytes()
    reproduce(mine, out=tmp_path, scale="full", seeds=[1])
    assert (made.folder / "tiny.png").read_bytes() == before


def test_the_command_line(
    mine: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cellfree_sim.studies.reproduce.run_tasks", one_by_one)
    options = ["--scale", "full", "--seeds", "1", "--out", str(tmp_path), "--set", "downlink.epochs=1"]
    assert main(["reproduce", "mine/tiny", *options]) == 0
    out, err = capsys.readouterr()
    assert "HOLDS: Rates are positive." in out and str(tmp_path / "mine/tiny/full/tiny.png") in out
    assert "points" in err
    assert main(["reproduce", "--list", "--out", str(tmp_path)]) == 0
    assert re.search(
        r"^mine/tiny +Tiny +full \(--seeds 1 --set downlink.epochs=1\): 1 holds$", capsys.readouterr().out, re.MULTILINE
    )
    assert main(["reproduce", "mine/tiny", *options, "--json", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)[0]["study"] == "mine/tiny" and err == ""


def test_a_sweep_from_the_command_line(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cellfree_sim.studies.reproduce.run_tasks", one_by_one)
    assert main(["sweep", str(tiny), "--seeds", "1", "--out", str(tmp_path), "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["case", "users", "algorithm"]
    assert [line.split()[:3] for line in lines[1:7]] == [
        ["learned", "3", "dmtssl"], ["learned", "3", "gsa-zf"], ["learned", "4", "dmtssl"], ["learned", "4", "gsa-zf"],
        ["bare", "3", "dmtssl"], ["bare", "4", "dmtssl"],
    ]  # fmt: skip
    assert (tmp_path / "tiny" / "full" / "table.csv").is_file()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["reproduce"], "STUDY is missing"),
        (["reproduce", "cmtssl/fig6"], "did you mean 'cmtssl/fig6"),
        (["reproduce", "cmtssl/fig6a", "--scale", "ful"], "--scale 'ful'; allowed: quick, full; did you mean 'full'?"),
        (["reproduce", "cmtssl/fig6a", "--seeds", "1,x"], "--seeds: found 'x' in '1,x'; allowed: whole numbers"),
        (["reproduce", "cmtssl/fig6a", "--seeds", "1,01"], "--seeds: found '1,01'; allowed: numbers that differ"),
        (["reproduce", "cmtssl/fig6a", "--seeds", str(2**63)], f"--seeds: found '{2**63}'"),
        (["reproduce", "cmtssl/fig6a", "--seeds", "9" * 5000], "--seeds: found '999"),
        (["reproduce", "cmtssl/fig6a", "--seeds", ",".join(map(str, range(1001)))], "--seeds: found 1001 numbers"),
        (["reproduce", "cmtssl/fig6a", "--set", "network.sbs.count=3"], "the sweep varies network.sbs.count"),
        (["reproduce", "cmtssl/fig6a", "--set", "network.sbs={count: 3}"], "the sweep varies network.sbs.count"),
        (["sweep", "papers/cmtssl/fig6a", "--set", "seed=3"], "--set seed: found 'seed'; allowed: sweep.seeds"),
        (["reproduce", "all", "cmtssl/fig6a"], "all stands alone"),
        (["reproduce", "cmtssl/fig7a", "--out", "/dev/null/x"], "--out: /dev/null/x"),
        (["reproduce", "cmtssl/fig6a", "--seeds", "1,1"], "--seeds: found '1,1'"),
        (["reproduce", "cmtssl/fig6a", "--out", ""], "--out: found nothing"),
        (["reproduce", "cmtssl/fig6a", "--set", "downlink.epoch=1"], "downlink.epoch: unknown key"),
        (["reproduce", "--list", "cmtssl/fig6a"], "leave out STUDY"),
        (["sweep", "quickstart"], "has no sweep; run it with: cellfree run quickstart"),
        (["run", "papers/cmtssl/fig6a"], "has a sweep; run it with: cellfree sweep papers/cmtssl/fig6a"),
    ],
)  # fmt: skip
def test_refusals_are_one_line(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and says in captured.err
    assert captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_points_that_fail_are_told_with_their_reasons(
    mine: Study, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def all_fail(tasks: Any, **_: Any) -> Any:
        return [Outcome("failed", "the disk is full")] * len(tasks)

    monkeypatch.setattr("cellfree_sim.studies.reproduce.run_tasks", all_fail)
    bare = tmp_path / "bare.yaml"
    bare.write_text("sweep: {grid: {network.users.count: [3, 4]}}")
    assert main(["sweep", str(bare), "--out", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["nothing was measured", "", "2 points not done:"]
    assert "  users 3, seed 1: the disk is full" in lines
    assert main(["reproduce", "mine/tiny", "--scale", "full", "--out", str(tmp_path)]) == 1
    assert "8 points not done" in capsys.readouterr().out


def test_json_of_a_study_is_printed_even_if_a_later_one_fails(
    mine: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(results: Results) -> Any:
        raise UserError("no paper")

    register(replace(mine, name="mine/broken", draw=broken))
    monkeypatch.setattr("cellfree_sim.studies.reproduce.run_tasks", one_by_one)
    options = ["--scale", "full", "--seeds", "1", "--out", str(tmp_path), "--json", "--quiet"]
    assert main(["reproduce", "mine/tiny", "mine/broken", *options]) == 2
    out, err = capsys.readouterr()
    assert [each["study"] for each in json.loads(out)] == ["mine/tiny"] and "no paper" in err


@pytest.mark.parametrize("content", ["{", "[]", '{"verdicts": 3}', '{"verdicts": [{}]}', '{"study": "x"}'])
def test_damaged_verdicts_are_shown_as_such(
    mine: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    (tmp_path / "mine/tiny/full").mkdir(parents=True)
    (tmp_path / "mine/tiny/full/verdict.json").write_text(content)
    assert main(["reproduce", "--list", "--out", str(tmp_path)]) == 0
    assert "full: verdict.json is damaged" in capsys.readouterr().out
    assert "damaged" in last_verdicts(mine, tmp_path)["full"]


def test_a_scheduler_s_end_is_an_interruption(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "cellfree_sim.studies.reproduce.run_tasks", lambda *_, **__: signal.raise_signal(signal.SIGTERM)
    )
    assert main(["sweep", str(tiny), "--out", str(tmp_path)]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_every_table_and_figure_of_the_paper_has_a_scenario_that_is_good() -> None:
    names = [each.name for each in list_studies()]
    assert {f"cmtssl/{name}" for name in PAPER} <= set(names)
    for each in list_studies():
        source = read_scenario(find_scenario(each.scenario_name))
        quick, full = (expand(source, quick=quick) for quick in (True, False))
        assert 0 < len(quick) <= len(full)
        assert sum(point.scenario.steps for point in quick) <= sum(point.scenario.steps for point in full)


def test_an_unknown_study_is_named_with_those_that_there_are() -> None:
    with pytest.raises(UserError, match=r"study 'x' is unknown; allowed: all, cmtssl/"):
        find_study("x")
