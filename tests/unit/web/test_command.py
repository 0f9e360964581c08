"""``cellfree watch --web``, as a person starts and ends it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cellfree_sim.cli import main
from cellfree_sim.cli.watch import web


@pytest.fixture(autouse=True)
def _a_run_that_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("runs/one")
    folder.mkdir(parents=True)
    for file in ("scenario.yaml", "run.log"):
        (folder / file).touch()
    (folder / "summary.json").write_text(json.dumps({"status": "done", "steps": 3}))


def test_it_prints_its_address_and_ends_with_ctrl_c() -> None:
    command = [sys.executable, "-m", "cellfree_sim", "watch", "one", "--web", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address, _, token = process.stdout.readline().strip().partition("/#")
    asked = urllib.request.Request(f"{address}/api/events", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(asked, timeout=20) as stream:
        told: dict[str, Any] = {}
        while "status" not in told:
            line = stream.readline().decode()
            told = json.loads(line.removeprefix("data: "))["parts"] if line.startswith("data: ") else {}
        assert (told["run"], told["status"], told["step"]) == ("one", "done", 3)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "")
    assert said == "cellfree: open this address in a browser; Ctrl-C ends the page, and the run goes on\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--port 80", "--port: has a meaning only with --web"),
        ("--open", "--open: has a meaning only with --web"),
        ("--web --plain", "--plain: has no meaning with --web"),
        ("--web --every 3", "--every: has no meaning with --web"),
        ("--web --port many", "--port: found 'many'; allowed: 0 to 65535"),
        ("--web --port 65536", "--port: found '65536'"),
        ("--web --host 192.0.2.7 --port 0", "--host 192.0.2.7: is no address of this machine"),
    ],
)
def test_a_slip_is_one_line(arguments: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "one", *arguments.split()]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith(f"cellfree: error: {says}")
    assert error.count("\n") == 1


def test_other_machines_must_be_asked_for_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served, opened = [], []

    class Served:
        def __init__(self, _: Any, *, host: str, port: int) -> None:
            self.host, self.port, self.url = host, port, "http://lab:80/#x"

        def run(self) -> None:
            served.append((self.host, self.port))

    @contextmanager
    def watch(*_: Any) -> Iterator[None]:
        yield

    monkeypatch.setattr("cellfree_sim.web.PageServer", Served)
    monkeypatch.setattr("cellfree_sim.watching.watch", watch)
    monkeypatch.setattr(web.webbrowser, "open", lambda url: opened.append(url))
    assert main(["watch", "one", "--web"]) == 0
    assert "warning" not in capsys.readouterr().err
    assert main(["watch", "one", "--web", "--host", "0.0.0.0", "--port", "80", "--open"]) == 0
    out, error = capsys.readouterr()
    assert out == "http://lab:80/#x\n"
    assert "can watch, change and stop the run, and nothing is encrypted" in error
    assert "no browser that could be opened" in error
    assert served == [("127.0.0.1", 8642), ("0.0.0.0", 80)]
    assert opened == ["http://lab:80/#x"]
