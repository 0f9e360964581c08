"""Runs that go on by themselves: started apart from the terminal, looked at, changed and stopped, from any process."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from cellfree_sim.errors import CellfreeError, RunFolderError, UserError
from cellfree_sim.results.run_file import RunFile
from cellfree_sim.results.runs import RunStatus, find_run, list_runs, run_status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agents.remote import RemoteRun

POLL_S = 0.1
STOP_TIMEOUT_S = 180.0  # a round, a checkpoint, and the end of a Ray cluster


def detach(arguments: Sequence[str], folder: Path) -> int:
    """Start ``cellfree run`` with `arguments` as a process of its own, whose run folder is `folder`.

    Returns 0 when the run lives (its run.json is there), or the exit status of one that was refused, after passing on
    what it said.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        process = subprocess.Popen(
            [*python_module("cellfree_sim"), "run", *arguments, "--quiet", "--out", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )
        while True:
            try:
                status = process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                driver = RunFile.read(folder)
                if driver is not None and not driver.starting:
                    process.returncode = 0  # it goes on without us
                    return 0
                continue
            said.seek(0)
            sys.stderr.write(said.read())
            return status


def python_module(name: str) -> list[str]:
    """The beginning of a command line that runs a module of this project in a process of its own.

    It finds modules where this process does: by itself Python would look in the working directory first, where a file
    of somebody may have the name of any module.
    """
    looked_in = str(Path.cwd()) in sys.path or "" in sys.path
    return [sys.executable, *([] if looked_in else ["-P"]), "-m", name]


@contextmanager
def reach(name: str | None, address: str | None) -> Iterator[RemoteRun]:
    """The run called `name`, ready for commands; the one there is where no name is given.

    Args:
        name: its folder, or its name in ./runs; on a cluster, its name or namespace.
        address: the cluster to look on; None for ./runs.

    Raises:
        UserError: there is no such run, it is not running, or it cannot be reached.
    """
    from agents import remote

    if address is not None:
        with remote.runs_at(address) as runs:
            yield remote.chosen(runs, name, address)
        return
    found = find_run(name)
    check_lives(found)
    driver = RunFile.read(Path(found.folder))
    if driver is None:
        raise UserError(f"{found.run}: is not running, it has just ended")
    with remote.connect(found.run, driver) as run:
        yield run


def look(name: str | None, address: str | None) -> list[RunStatus]:
    """How runs are doing: those in ./runs, or on the cluster at `address`; only the one called `name` where given.

    Raises:
        UserError: there is no such run or cluster.
    """
    if address is None:
        return list_runs() if name is None else [find_run(name)]
    from agents import remote

    with remote.runs_at(address) as runs:
        wanted = runs if name is None else [remote.chosen(runs, name, address)]
        return [run.status() for run in wanted]


def stop(name: str | None, address: str | None = None) -> RunStatus:
    """Let a run end at the next round boundary, as Ctrl-C would; returns how it ended.

    `host` is None in what is returned, unless the run was on another machine, where its folder is.

    Args:
        name: its folder or name; the one that is running where it is None.
        address: of the cluster to look on; None for ./runs.

    Raises:
        UserError: it is not running, or cannot be reached.
        CellfreeError: it did not end within three minutes.
    """
    if address is None:
        run = find_run(name)
        check_lives(run)
        if run.host == socket.gethostname():
            return _stop_here(run)
    with reach(name, address) as remote:
        return _stop_there(remote)


def check_lives(run: RunStatus) -> None:
    """`UserError` where a run has ended, however it did."""
    if run.status == "vanished":
        raise UserError(f"{run.run}: is not running, it vanished; go on with: cellfree run --resume {run.folder}")
    if not run.lives:
        raise UserError(f"{run.run}: is not running, it is {run.status}")


def _stop_here(run: RunStatus) -> RunStatus:
    until = time.monotonic() + STOP_TIMEOUT_S
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(run.pid)
        process.send_signal(signal.SIGTERM)
        while process.status() != psutil.STATUS_ZOMBIE:  # it has ended; its parent does not care
            try:
                process.wait(POLL_S)
                break
            except psutil.TimeoutExpired as error:
                if time.monotonic() > until:
                    text = f"{run.run}: process {run.pid} did not end within {STOP_TIMEOUT_S:.0f} s"
                    raise CellfreeError(text) from error
    return _ended(run)


def _stop_there(run: RemoteRun) -> RunStatus:
    before = run.status()
    run.command({"command": "stop"})
    run.wait_for_end(STOP_TIMEOUT_S)
    if before.host == socket.gethostname():
        return _ended(before)
    return replace(before, status="interrupted", pid=None)


def _ended(run: RunStatus) -> RunStatus:
    """How a run of this machine ended."""
    try:
        return run_status(Path(run.folder))
    except RunFolderError:  # it had not begun, and took its folder with it
        return replace(run, status="interrupted", step=0, pid=None, host=None)
