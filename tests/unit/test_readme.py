"""What the README shows, runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cellfree_sim.network import build_network
from cellfree_sim.network.changes import check_events
from cellfree_sim.scenario import expand, load_scenario, read_scenario

ROOT = Path(__file__).parents[2]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def run(code: str, tmp_path: Path) -> str:
    script = tmp_path / "script.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_scenario_is_the_shipped_one() -> None:
    scenario, *_ = blocks("yaml")
    assert scenario == (ROOT / "scenarios" / "quickstart.yaml").read_text(encoding="utf-8")


def test_the_events_are_events_of_a_network(tmp_path: Path) -> None:
    """On a mesh, where the stations around the link that is cut keep a path."""
    (events,) = [block for block in blocks("yaml") if block.startswith("events:")]
    file = tmp_path / "events.yaml"
    file.write_text(f"backhaul: {{topology: mesh}}\n{events}", encoding="utf-8")
    scenario = load_scenario(file)
    assert len(scenario.events) == 7
    check_events(scenario, build_network(scenario))


def test_the_python_example_runs(tmp_path: Path) -> None:
    """As printed, but on Rayleigh channels and fewer of them, for time."""
    example = next(block for block in blocks("python") if "Simulation.launch" in block)
    fast = '"channel.model": "rayleigh", "channel.realisations.train": 100, "channel.realisations.test": 10'
    shown = '{"downlink.epochs": 5}'
    assert shown in example
    code = example.replace(shown, f'{{"downlink.epochs": 10, {fast}}}')
    code = code.replace('engine="inline"', f'engine="inline", out={str(tmp_path / "run")!r}')
    station, donor, after, rate, folder = run(code, tmp_path).split()
    assert (station, donor) == ("sbs-3", "sbs-1")
    assert float(rate) > 0
    assert float(after) > 0
    assert (Path(folder) / "report.html").is_file()


def test_the_detection_example_runs_and_ends_in_the_order_of_merit(tmp_path: Path) -> None:
    example = next(block for block in blocks("python") if "create_detector" in block)
    lines = [line.split() for line in run(example, tmp_path).splitlines()]
    rates = {name: float(rate) for name, rate, *_ in lines}
    assert list(rates) == ["lmmse", "ep", "kbest"]
    assert rates["lmmse"] > rates["ep"] > 0


def test_the_extension_example_is_an_extension(tmp_path: Path) -> None:
    """The loss scheme of the README is validated by name, and a network trains with it."""
    example = next(block for block in blocks("python") if "LOSS_SCHEMES.register" in block)
    use = """
from cellfree_sim import load_scenario
from cellfree_sim.inline import InlineEngine

overrides = {"downlink.loss_scheme": "sum-rate", "downlink.references": ["gsa-zf"], "channel.realisations.test": 5}
engine = InlineEngine(load_scenario("scenarios/tiny.yaml", overrides=overrides))
engine.start(lambda *_: None)
losses = []
engine.advance(2, lambda rows: losses.extend(r["joint_loss"] + r["sum_rate"] for r in rows if r["phase"] == "training"))
print(max(abs(loss) for loss in losses) < 1e-4, len(losses))
"""
    assert run(example + use, tmp_path).split() == ["True", "2"]


def test_the_sweep_is_one_that_expands(tmp_path: Path) -> None:
    (sweep,) = [block for block in blocks("yaml") if block.startswith("sweep:")]
    file = tmp_path / "sweep.yaml"
    file.write_text(sweep, encoding="utf-8")
    points = expand(read_scenario(file))
    assert len(points) == 2 * 3 * 3
    assert points[0].label == "dense, sbs 2, seed 1"


@pytest.mark.parametrize("file", sorted((ROOT / "scenarios").glob("**/*.yaml")), ids=lambda file: file.stem)
def test_every_shipped_scenario_says_what_it_shows(file: Path) -> None:
    assert re.match(r"# [A-Z].{20,}\.\n", file.read_text(encoding="utf-8"))
    assert load_scenario(file).name in (file.stem, f"{file.parent.name}-{file.stem}")
