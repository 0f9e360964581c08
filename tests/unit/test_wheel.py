"""The wheel: what is in it, and that it works where nothing of the source tree is.

It is built once, straight from the tree and once more from the source distribution, without the network; then it is
installed into an environment of its own that sees the third-party packages of this one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cellfree_sim import __version__

ROOT = Path(__file__).parents[2]
WHEEL = f"cellfree_sim-{__version__}-py3-none-any.whl"
NOT_SHIPPED = {"__pycache__"}


def build(source: Path, target: Path, kind: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(target)],
        cwd=source,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        check=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the tree."""
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder, "wheel")
    return folder / WHEEL


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def tree() -> Iterator[tuple[str, Path]]:
    """What the wheel should hold: place in it, and file of the tree."""
    for top, place in (
        ("cellfree_sim", "cellfree_sim"),
        ("agents", "agents"),
        ("scenarios", "cellfree_sim/shipped_scenarios"),
    ):
        for path in sorted((ROOT / top).rglob("*")):
            if path.is_file() and not NOT_SHIPPED & set(path.parts):
                yield f"{place}/{path.relative_to(ROOT / top).as_posix()}", path


def test_it_holds_the_tree_and_nothing_else(wheel: Path) -> None:
    found = contents(wheel)
    expected = dict(tree())
    assert {name for name in found if ".dist-info/" not in name} == set(expected)
    assert all(found[name] == path.read_bytes() for name, path in expected.items())
    needed = ["cellfree_sim/py.typed", "agents/py.typed", "cellfree_sim/shipped_scenarios/quickstart.yaml"]
    needed += [
        "cellfree_sim/trained_policies/set-shared.policy",
        "cellfree_sim/trained_detectors/epnet-receive.detector",
    ]
    assert set(needed) <= set(found)
    for folder, ending in (
        ("results/templates", ".j2"),
        ("results/templates", ".css"),
        ("web", ".js"),
        ("web", ".css"),
    ):
        assert any(name.startswith(f"cellfree_sim/{folder}/") and name.endswith(ending) for name in found)
    information = f"cellfree_sim-{__version__}.dist-info"
    assert b"cellfree = cellfree_sim.cli:main" in found[f"{information}/entry_points.txt"]
    assert f"{information}/licenses/LICENSE" in found


def test_the_source_distribution_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    build(ROOT, tmp_path, "sdist")
    with tarfile.open(tmp_path / f"cellfree_sim-{__version__}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    build(tmp_path / f"cellfree_sim-{__version__}", tmp_path / "dist", "wheel")
    assert contents(tmp_path / "dist" / WHEEL) == contents(wheel)


def test_installed_it_runs_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    venv, folder = tmp_path / "venv", tmp_path / "empty"
    folder.mkdir()

    def run(*words: str) -> str:
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(sys.executable, "-m", "venv", "--without-pip", str(venv))
    packages = next(venv.glob("lib/python*/site-packages"))
    (packages / "parent.pth").write_text(sysconfig.get_path("purelib"))  # no .pth of the parent's is read there
    python, cellfree = str(venv / "bin" / "python"), str(venv / "bin" / "cellfree")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--quiet", str(wheel))

    where = "import cellfree_sim, agents; print(cellfree_sim.__file__, agents.__file__)"
    assert all(path.startswith(str(packages)) for path in run(python, "-c", where).split())
    assert run(cellfree, "--version") == f"cellfree {__version__}\n"
    listed = {line.split()[0]: line for line in run(cellfree, "scenarios", "list").splitlines()}
    assert set(listed) == {
        path.relative_to(ROOT / "scenarios").with_suffix("").as_posix() for path in (ROOT / "scenarios").rglob("*.yaml")
    }
    assert "epnet-receive" in run(cellfree, "detectors", "list")
    shown = run(
        cellfree,
        "run",
        "tiny",
        "--quiet",
        "--set",
        "downlink.policy={name: set, trained: set-shared}",
        "--set",
        "downlink.epochs=0",
        "--set",
        "network.sbs.antennas={rows: 2, columns: 2}",
        "--set",
        "downlink.references=[]",
        "--set",
        "channel.realisations={train: 32, validation: 4, test: 8}",
    )
    assert "books balanced" in shown
    (report,) = folder.glob("runs/tiny-*/report.html")
    assert report.read_text(encoding="utf-8").rstrip().endswith("</html>")
