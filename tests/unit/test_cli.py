"""The command line: what it prints where, its exit status, and what it does not import."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import typing
import webbrowser
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import agents
import agents.placement
from cellfree_sim import __version__, benchmarks, load_scenario
from cellfree_sim.cli import live, main
from cellfree_sim.errors import ResourceShortError, RunFailedError
from cellfree_sim.results import report
from cellfree_sim.results.observer import Quiet
from cellfree_sim.scenario import dump_scenario, events, scenario_schema

ROOT = Path(__file__).parents[2]
QUICKSTART = str(ROOT / "scenarios" / "quickstart.yaml")
COMMANDS = ["run", "inject", "remove", "status", "pause", "continue", "stop", "watch", "report", "bench", "export"]
COMMANDS += ["trace", "reproduce", "sweep", "train", "detectors", "metrics", "policies", "scenarios"]
COMMANDS += ["check-extension", "extensions", "doctor", "completion"]
ACTIONS = ["list", "show", "check", "schema"]
HEAVY = ["torch", "ray", "pandas", "matplotlib", "sionna", "pyarrow", "scipy", "h5py"]
SMALL = """\
name: small
engine: inline
network: {sbs: {count: 2}, users: {count: 3}}
radio: {subcarriers: 2}
channel: {model: rayleigh, realisations: {train: 20, validation: 5, test: 6}, cache: false}
downlink: {epochs: 1, batch: 10, references: [gsa-zf]}
"""


def python(*arguments: str, **settings: Any) -> subprocess.Popen[str]:
    """A Python process that finds this checkout."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        environment.pop(name, None)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings}
    return subprocess.Popen([sys.executable, *arguments], text=True, env=environment, **pipes)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with one small scenario."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL)
    return tmp_path


class TestHelp:
    @pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS), *(["scenarios", name] for name in ACTIONS)])
    def test_every_command_explains_itself(self, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert main([*words, "--help"]) == 0
        captured = capsys.readouterr()
        assert captured.out.startswith(f"usage: {' '.join(['cellfree', *words])}")
        assert captured.err == ""
        if words[:1] != ["scenarios"] or len(words) == 1:
            assert "example" in captured.out

    def test_it_lists_what_there_is_and_nothing_of_later(self, capsys: pytest.CaptureFixture[str]) -> None:
        main(["--help"])
        text = capsys.readouterr().out
        assert re.findall(r"^    ([a-z-]+)", text.partition("commands:")[2], re.MULTILINE) == COMMANDS
        main(["scenarios", "--help"])
        text = capsys.readouterr().out
        assert re.findall(r"^    ([a-z]+)", text.partition("commands:")[2], re.MULTILINE) == ACTIONS
        main(["run", "--help"])
        text = capsys.readouterr().out
        options = ["--help", "--out", "--address", "--engine", "--resume", "--set", "--seed", "--quiet", "--detach"]
        options += ["--dry-run", "--tensorboard"]
        assert sorted(set(re.findall(r"--[a-z-]+", text.partition("examples:")[0]))) == sorted(options)

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--version"]) == 0
        assert capsys.readouterr().out == f"cellfree {__version__}\n"


class TestProcess:
    def test_start_is_light_and_sets_threads(self) -> None:
        code = f"""if True:
            import json, os, sys
            from cellfree_sim.cli import live, main
            for words in (["--help"], ["scenarios", "schema"], ["scenarios", "check", {QUICKSTART!r}]):
                main(words)
            heavy = [name for name in {HEAVY!r} if name in sys.modules]
            print(json.dumps([heavy, os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"]]))
        """
        out, _ = python("-c", code).communicate()
        assert json.loads(out.splitlines()[-1]) == [[], "1", "PASSIVE"]

    def test_threads_that_are_set_stay(self) -> None:
        code = 'import os; from cellfree_sim.cli import main; os.environ["OMP_NUM_THREADS"] = "4"; main(["--version"])'
        out, _ = python("-c", f'{code}; print(os.environ["OMP_NUM_THREADS"])').communicate()
        assert out.splitlines()[-1] == "4"

    def test_a_reader_that_goes_away(self) -> None:
        process = python("-m", "cellfree_sim", "scenarios", "schema")
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.wait() == 0
        assert process.stderr.read() == ""
        process.stderr.close()

    def test_a_full_disk(self) -> None:
        with Path("/dev/full").open("w") as full:
            process = python("-m", "cellfree_sim", "scenarios", "schema", stdout=full)
            _, err = process.communicate()
        assert process.returncode == 1
        assert err == "cellfree: error: No space left on device\n"

    def test_a_terminal_without_unicode(self) -> None:
        code = 'from cellfree_sim.cli import main; main(["run", "--help"])'
        process = python("-c", f'import sys; sys.stdout.reconfigure(encoding="ascii"); {code}; print("§")')
        out, err = process.communicate()
        assert (out.splitlines()[-1], err) == ("?", "")


class TestScenarios:
    def test_list(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (folder / "scenarios").mkdir()
        (folder / "scenarios" / "mine.yaml").write_text("# What I do.\nname: mine\n")
        assert main(["scenarios", "list"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split(maxsplit=1) == ["mine", "What I do."]
        assert any(line.startswith("quickstart ") for line in lines)

    def test_list_for_machines(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["scenarios", "list", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert {"quickstart", "dmtssl-paper", "tiny"} <= {each["name"] for each in found}
        assert all(Path(each["path"]).is_file() and each["title"] for each in found)

    def test_show_is_the_resolved_scenario(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["scenarios", "show", "quickstart", "--set", "downlink.epochs=7"]) == 0
        text = capsys.readouterr().out
        assert text.startswith("# Three base stations")
        (folder / "shown.yaml").write_text(text)
        assert load_scenario("shown.yaml") == load_scenario(QUICKSTART, {"downlink.epochs": 7})
        assert text.partition("\n")[2] == dump_scenario(load_scenario(QUICKSTART, {"downlink.epochs": 7}))

    def test_check(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["scenarios", "check", "small.yaml", QUICKSTART]) == 0
        assert capsys.readouterr().out.splitlines() == [
            "small.yaml: good: 2 stations, 3 users, 2 training steps",
            f"{QUICKSTART}: good: 3 stations, 10 users, 150 training steps",
        ]

    def test_check_looks_at_events(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (folder / "events.yaml").write_text(
            SMALL + "events:\n- {at_step: 1, remove_sbs: sbs-0}\n- {at_step: 2, remove_sbs: sbs-7}\n"
        )
        assert main(["scenarios", "check", "events.yaml"]) == 2
        err = capsys.readouterr().err
        assert err.startswith("cellfree: error: events.yaml:9:")
        assert "sbs-7" in err
        assert len(err.splitlines()) == 1

    def test_files_elsewhere_are_said(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        channel = np.ones((31, 2, 2, 4, 3, 2), np.complex64)
        np.savez(folder / "trace.npz", channel=channel)
        (folder / "sub").mkdir()
        text = SMALL.replace("model: rayleigh", "model: {name: trace, path: ../trace.npz}")
        (folder / "sub" / "traced.yaml").write_text(text)
        status = main(["scenarios", "check", "sub/traced.yaml"])
        out, err = capsys.readouterr()
        assert (status, err.count("\n")) == (0, 1), err
        assert err.startswith("cellfree: note: channel.model.path: ")
        assert out.endswith("good: 2 stations, 3 users, 2 training steps\n")

    def test_schema(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["scenarios", "schema"]) == 0
        assert json.loads(capsys.readouterr().out) == scenario_schema()


@dataclass(frozen=True)
class Done:
    """A finished ``cellfree run``."""

    status: int
    out: str
    err: str
    folder: Path


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """One real run of the small scenario, with a seed and an override."""
    place = tmp_path_factory.mktemp("run")
    (place / "small.yaml").write_text(SMALL)
    out, err = io.StringIO(), io.StringIO()
    with chdir(place), redirect_stdout(out), redirect_stderr(err):
        status = main(["run", "small.yaml", "--out", "out", "--seed", "3", "--set", "name=renamed"])
    return Done(status, out.getvalue(), err.getvalue(), place / "out")


class TestRun:
    def test_runs_what_was_asked(self, done: Done) -> None:
        assert done.status == 0
        summary = json.loads((done.folder / "summary.json").read_text())
        assert (summary["name"], summary["seed"], summary["engine"]) == ("renamed", 3, "inline")
        asked = load_scenario(done.folder.parent / "small.yaml", {"seed": 3, "name": "renamed"})
        assert load_scenario(done.folder / "scenario.yaml") == asked

    def test_the_numbers_are_those_of_the_files(self, done: Done) -> None:
        scenario = load_scenario(done.folder / "scenario.yaml")
        rates = pd.read_parquet(done.folder / "rates.parquet")
        sums = rates.groupby(["algorithm", "realisation"], observed=True)["rate"].sum().unstack(0)
        lines = {line.split()[0]: line for line in done.out.splitlines() if line}
        for name in ("dmtssl", "gsa-zf"):
            mean, error = sums[name].mean(), sums[name].std(ddof=1) / 6**0.5
            share = (rates.loc[rates["algorithm"] == name, "rate"] >= scenario.network.users.min_rate_bps_hz).mean()
            assert f"{mean:.2f} ± {error:.2f}" in lines[name]
            assert lines[name].endswith(f"{100 * share:.1f} %")
        gap = sums["dmtssl"] - sums["gsa-zf"]
        assert f"{gap.mean():+.2f} ± {gap.std(ddof=1) / 6**0.5:.2f}" in lines["gsa-zf"]
        frames = pd.read_parquet(done.folder / "backhaul.parquet")
        assert f"{frames['bytes'].sum():,} bytes in {len(frames):,} frames, books balanced" in lines["backhaul"]
        assert lines["folder"].split() == ["folder", "out"]
        assert (done.folder.parent / lines["report"].split()[1]).is_file()

    def test_progress_goes_to_stderr(self, done: Done) -> None:
        assert "training" in done.err
        assert "training" not in done.out

    @pytest.mark.parametrize(
        ("error", "status", "line"),
        [
            (RunFailedError("station sbs-1 died"), 1, "cellfree: error: station sbs-1 died"),
            (ResourceShortError("8 CPUs asked, 2 there"), 2, "cellfree: error: 8 CPUs asked, 2 there"),
            (KeyboardInterrupt(), 130, "cellfree: interrupted"),
            (OSError(28, "No space left", "out/x"), 1, "cellfree: error: out/x: No space left"),
        ],
        ids=["failed", "resources", "interrupted", "disk"],
    )
    def test_exit_status(
        self,
        folder: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        error: BaseException,
        status: int,
        line: str,
    ) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr(agents.Simulation, "launch", fail)
        assert main(["run", "small.yaml", "--out", "out"]) == status
        assert capsys.readouterr() == ("", line + "\n")

    def test_what_is_launched(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: dict[str, Any] = {}

        def stop(scenario: Any, **settings: Any) -> None:
            seen.update(settings, scenario=scenario)
            raise RunFailedError("seen enough")

        monkeypatch.setattr(agents.Simulation, "launch", stop)
        main(["run", "small.yaml", "--engine", "ray", "--address", "host:1", "--out", "x", "--seed", "9", "--quiet"])
        assert (seen["scenario"].engine, seen["scenario"].seed) == ("ray", 9)
        assert (seen["out"], seen["address"]) == ("x", "host:1")
        assert isinstance(seen["observer"], Quiet)


@dataclass(frozen=True)
class Plan:
    """As `agents.placement.dry_run` makes them."""

    seats: list[list[str]]
    fits: bool = True
    problem: str = ""
    cluster: str = "would start a Ray cluster on this machine: 2 CPUs, 0 GPUs"
    notes: tuple[str, ...] = ()


class TestDryRun:
    @pytest.fixture(autouse=True)
    def _table(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(agents.placement, "plan_table", lambda seats: [["station", "fits"], *seats])

    def plan(self, monkeypatch: pytest.MonkeyPatch, plan: Plan) -> list[Any]:
        asked: list[Any] = []

        def dry_run(scenario: Any, network: Any, address: str | None) -> Plan:
            asked.extend((scenario.seed, network.mbs, address))
            sys.stdout.write("(raylet) noise\n")
            return plan

        monkeypatch.setattr(agents.placement, "dry_run", dry_run)
        return asked

    def test_the_plan_is_the_result(
        self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = self.plan(monkeypatch, Plan([["mbs", "yes"], ["sbs-0", "yes"]], notes=("stations take turns",)))
        assert main(["run", "small.yaml", "--dry-run", "--address", "host:1", "--seed", "4", "--out", "out"]) == 0
        assert asked == [4, "mbs", "host:1"]
        out, err = capsys.readouterr()
        assert out.splitlines() == [
            "would start a Ray cluster on this machine: 2 CPUs, 0 GPUs",
            "",
            "station  fits",
            "mbs      yes",
            "sbs-0    yes",
        ]
        assert err == "(raylet) noise\ncellfree: note: stations take turns\n"
        assert [path.name for path in folder.iterdir()] == ["small.yaml"]

    def test_what_does_not_fit_is_refused_below_its_plan(
        self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.plan(monkeypatch, Plan([["mbs", "no: 3 CPUs asked"]], fits=False, problem="3 CPUs asked, 2 there"))
        assert main(["run", "small.yaml", "--dry-run"]) == 2
        out, err = capsys.readouterr()
        assert out.endswith("mbs      no: 3 CPUs asked\n")
        assert err.endswith("cellfree: error: 3 CPUs asked, 2 there\n")

    def test_where_nothing_is_placed_there_is_no_table(
        self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.plan(monkeypatch, Plan([], cluster="the inline engine runs in one process"))
        assert main(["run", "small.yaml", "--dry-run"]) == 0
        assert capsys.readouterr().out == "the inline engine runs in one process\n"


def test_the_azimuth_of_inject_is_checked_before_a_run_is_looked_for(capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("north", "-361", "nan"):
        assert main(["inject", "--position", "-1,2", "--azimuth", text]) == 2
        assert f"--azimuth: found '{text}'; allowed: degrees" in capsys.readouterr().err


def test_words_of_inject_are_those_of_events() -> None:
    assert typing.get_args(events.Transfer) == live.TRANSFERS
    assert typing.get_args(events.After) == live.AFTERWARDS


class TestReport:
    @pytest.fixture(autouse=True)
    def _run_in_out(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("out").mkdir()
        for name in ("scenario.yaml", "run.log"):
            Path("out", name).touch()

    def test_rebuilds_and_opens(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        opened: list[str] = []
        monkeypatch.setattr(report, "build_report", lambda folder: folder / "report.html")
        monkeypatch.setattr(webbrowser, "open", lambda address: not opened.append(address))
        assert main(["report", "out"]) == 0
        assert opened == []
        assert main(["report", "out", "--open"]) == 0
        assert opened == [Path("out/report.html").absolute().as_uri()]
        assert capsys.readouterr() == ("out/report.html\n" * 2, "")

    def test_without_a_browser(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(report, "build_report", lambda folder: folder / "report.html")
        monkeypatch.setattr(webbrowser, "open", lambda _: False)
        assert main(["report", "out", "--open"]) == 0
        assert capsys.readouterr().err == "cellfree: note: no web browser was found; open the file by hand\n"


class TestBench:
    ROWS: list[dict[str, Any]] = [
        {"benchmark": "fast", "case": "encode", "value": 0.123456, "unit": "ms"},
        {"benchmark": "fast", "case": "decode", "value": 1234.5, "unit": "ms"},
        {"benchmark": "slow", "case": "step", "value": 3, "unit": "ms", "ratio": 0.5, "against": "loop"},
    ]

    @pytest.fixture(autouse=True)
    def _fake(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[Any] = []

        def run(names: list[str], *, quick: bool = False) -> list[dict[str, Any]]:
            self.asked.append((names, quick))
            return self.ROWS

        monkeypatch.setattr(benchmarks, "list_benchmarks", lambda: ["fast", "slow"])
        monkeypatch.setattr(benchmarks, "run_benchmarks", run)

    def test_tables(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["bench", "fast", "slow", "--quick"]) == 0
        assert self.asked == [(["fast", "slow"], True)]
        assert capsys.readouterr().out == (
            "benchmark  case    value   unit\n"
            "fast       encode  0.1235  ms\n"
            "fast       decode  1234    ms\n"
            "\n"
            "benchmark  case  value  unit  ratio  against\n"
            "slow       step  3      ms    0.5    loop\n"
        )

    def test_json_of_all(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["bench", "--json"]) == 0
        assert self.asked == [([], False)]
        assert json.loads(capsys.readouterr().out) == self.ROWS
