"""What a real shell offers after ``cellfree completion``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cellfree_sim.benchmarks import list_benchmarks
from cellfree_sim.cli import main
from cellfree_sim.cli.completion import SHELLS, script
from cellfree_sim.scenario import shipped_scenarios
from cellfree_sim.studies import list_studies
from cellfree_sim.uplink.trained_files import shipped_detectors

ROOT = Path(__file__).parents[2]
DRIVER = """\
source completion.bash
offered() {
  COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
  _shtab_cellfree cellfree "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
  echo "${COMPREPLY[@]}"
}
"""
OFFERED = {
    ("re",): "remove report reproduce",
    ("scenarios", ""): "list show check schema",
    ("run", "quickstart", "--eng"): "--engine",
    ("run", "quickstart", "--engine", ""): "ray inline",
    ("run", "mi"): "mine.yaml",
    ("run", "quickstart", "--set", "downlink.ep"): "downlink.epochs",
    ("run", "--out", "ru"): "runs",
    ("stop", "qu"): "quickstart-1",
    ("stop", "ru"): "runs",
    ("status", "--run", ""): "quickstart-1",
    ("reproduce", "cmtssl/fig8a", "cmtssl/fig8"): "cmtssl/fig8a cmtssl/fig8b cmtssl/fig8c",
    ("reproduce", "--scale", "q"): "quick",
    ("detectors", "show", "epnet-r"): "epnet-receive",
    ("policies", "show", "set-"): "set-central set-shared",
    ("bench", "co"): "codec",
}


def test_bash_offers_commands_options_and_names(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "cellfree"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m cellfree_sim "$@"\n')
    program.chmod(0o755)
    (tmp_path / "runs" / "quickstart-1").mkdir(parents=True)
    (tmp_path / "runs" / "quickstart-1" / "run.log").touch()
    for name in ("$(touch pwned)", "`touch pwned`", "~", "a b"):
        (tmp_path / "runs" / name).mkdir()
        (tmp_path / "runs" / name / "run.log").touch()
    (tmp_path / "runs" / "no-run").mkdir()
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "minutes.txt").touch()
    (tmp_path / "completion.bash").write_text(script("bash"))
    asked = [" ".join(["offered cellfree", *(f"'{word}'" for word in words)]) for words in OFFERED]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{program.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", DRIVER + "\n".join(asked)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stderr == ""
    assert dict(zip(OFFERED, done.stdout.splitlines(), strict=True)) == OFFERED
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_gets_a_script_with_all_commands(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert all(command in text for command in ("reproduce", "doctor", "inject", "nearest"))
    for kind in ("scenarios", "runs", "studies", "detectors", "policies", "benchmarks", "keys"):
        assert f"cellfree completion --names {kind}" in text


def test_names_are_those_that_the_commands_take(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def names(kind: str) -> list[str]:
        assert main(["completion", "--names", kind]) == 0
        return capsys.readouterr().out.split()

    assert names("studies") == ["all", *(study.name for study in list_studies())]
    assert names("scenarios") == list(shipped_scenarios())
    assert names("detectors") == list(shipped_detectors())
    assert names("benchmarks") == list_benchmarks()
    assert {"network.sbs.count", "uplink.bursts", "seed"} <= set(names("keys"))
    assert names("runs") == []
    assert names("nonsense") == []


def test_names_come_without_heavy_libraries() -> None:
    code = """if True:
        import sys
        from cellfree_sim.cli import main
        for kind in ("scenarios", "studies", "runs", "benchmarks"):
            main(["completion", "--names", kind])
        assert "pydantic" not in sys.modules
        for kind in ("detectors", "policies", "keys"):
            main(["completion", "--names", kind])
        assert not {"torch", "ray", "pandas", "matplotlib", "scipy"} & set(sys.modules)
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True, timeout=60)


def test_a_shell_that_is_unknown_or_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "fsh"]) == 2
    assert "unknown shell 'fsh'; allowed: bash, zsh, fish, tcsh; did you mean" in capsys.readouterr().err
    assert main(["completion"]) == 2
    assert "SHELL is missing; allowed: bash, zsh, fish, tcsh" in capsys.readouterr().err
