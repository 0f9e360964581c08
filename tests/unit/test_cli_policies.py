"""``cellfree policies``: what a run has learned, as a file, and what that file says."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from agents import Simulation
from cellfree_sim import load_scenario
from cellfree_sim.cli import main
from cellfree_sim.export import export_policy, save_policy
from cellfree_sim.results.analysis import load_run
from cellfree_sim.results.observer import Quiet
from cellfree_sim.results.report import warnings

SMALL = """\
name: small
engine: inline
network: {sbs: {count: 2}, users: {count: 3}}
radio: {subcarriers: 2}
channel: {model: rayleigh, realisations: {train: 20, validation: 5, test: 6}, cache: false}
downlink: {epochs: 1, batch: 10, references: [], policy: {name: set, width: 8, layers: 1}}
"""


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run in it, in which we are."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cellfree_sim.results.report.build_report", lambda folder: None)
    (tmp_path / "small.yaml").write_text(SMALL)
    with Simulation.launch(load_scenario("small.yaml"), out="run", observer=Quiet()) as simulation:
        simulation.advance()
        simulation.result()
    return tmp_path


def test_a_run_is_exported_shown_and_executed(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policies", "export", "run"]) == 0
    assert capsys.readouterr().out == "run/small.policy\n"
    assert main(["policies", "export", "run", "--out", "mine.policy"]) == 0
    assert (trained / "mine.policy").read_bytes() == (trained / "run" / "small.policy").read_bytes()
    capsys.readouterr()
    assert main(["policies", "show", "mine.policy"]) == 0
    facts, _, scenario = capsys.readouterr().out.partition("\n\n# trained by this scenario\n")
    shown = dict(line.split(None, 1) for line in facts.splitlines() if line)
    assert (shown["algorithm"], shown["serves"], shown["seed"], shown["steps"]) == (
        "dmtssl",
        "one station each",
        "1",
        "2",
    )
    (trained / "again.yaml").write_text(scenario)
    assert load_scenario("again.yaml") == load_scenario("small.yaml")
    scenario_of = ["run", "small.yaml", "--set", "downlink.policy={name: set, trained: mine.policy}", "--quiet"]
    assert main([*scenario_of, "--set", "downlink.epochs=0", "--out", "executed"]) == 0
    one, other = (json.loads((trained / name / "summary.json").read_text()) for name in ("run", "executed"))
    assert (one["steps"], other["steps"]) == (2, 0)
    assert one["downlink"]["sum_rate"] == other["downlink"]["sum_rate"]


def test_who_executes_what_was_never_trained_is_told(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "small.yaml", "--set", "downlink.epochs=0", "--out", "untrained"]) == 0
    assert any(line.startswith("Nothing was learned (downlink.epochs is 0") for line in warnings(load_run("untrained")))
    assert not any(line.startswith("Nothing was learned") for line in warnings(load_run("run")))
    told = capsys.readouterr().err
    assert "nothing is learned: downlink.epochs is 0, and downlink.policy.trained names no policy" in told
    trained_too = ["--set", "downlink.policy={name: set, trained: run/small.policy}"]
    assert main(["policies", "export", "run"]) == 0
    assert main(["run", "small.yaml", "--set", "downlink.epochs=0", *trained_too]) == 0
    assert "nothing is learned" not in capsys.readouterr().err


def test_shipped_policies_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policies", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["name", "set-central", "set-shared"]
    assert main(["policies", "list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(each["name"], each["serves"]) for each in found] == [
        ("set-central", "all stations at once"),
        ("set-shared", "any station"),
    ]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["show", "set-shard"], "did you mean 'set-shared'?"),
        (["export", "nowhere"], "nowhere: there is no such run folder"),
        (
            ["export", "run", "--out", "nowhere/x.policy"],
            "nowhere/x.policy: cannot be written: No such file or directory",
        ),
        (["exprot"], "did you mean 'export'?"),
        (
            ["show", "run"],
            "found 'run', the folder of a run; allowed: the file that 'cellfree policies export run' writes",
        ),
        (["show", ""], "found '', an empty name; allowed: a file, or one of set-central, set-shared"),
    ],
)
def test_mistakes_are_one_line(
    trained: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    assert main(["policies", *arguments]) == 2
    (text,) = capsys.readouterr().err.splitlines()
    assert text.startswith("cellfree: error: ") and line in text


def test_a_file_cannot_command_the_terminal(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forged = replace(export_policy("run"), name="\x1b[31mred", scenario="a: \x1b]0;title\x07\nb: 1\n")
    save_policy(forged, "forged.policy")
    assert main(["policies", "show", "forged.policy"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "\x07" not in shown
    assert shown.endswith("a: \\x1b]0;title\\x07\nb: 1\n")


def test_a_list_needs_no_torch() -> None:
    code = (
        "import sys; from cellfree_sim.cli import main; main(['policies', 'list']); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
