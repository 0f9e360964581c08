"""Runs that go on by themselves: started apart from the terminal, looked at, and stopped, from any other process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from cellfree_sim.errors import CellfreeError, RunFolderError, UserError
from cellfree_sim.results.run_file import NAME
from cellfree_sim.results.runs import RunStatus, run_status

if TYPE_CHECKING:
    from collections.abc import Sequence

POLL_S = 0.1
STOP_TIMEOUT_S = 180.0  # a round, a checkpoint, and the end of a Ray cluster


def detach(arguments: Sequence[str], folder: Path) -> int:
    """Start ``cellfree run`` with `arguments` as a process of its own, whose run folder is `folder`.

    Returns 0 when the run lives (its run.json is there), or the exit status of one that was refused, after passing on
    what it said.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "cellfree_sim", "run", *arguments, "--quiet", "--out", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )
        while True:
            try:
                status = process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                if (folder / NAME).exists():
                    process.returncode = 0  # it goes on without us
                    return 0
                continue
            said.seek(0)
            sys.stderr.write(said.read())
            return status


def stop(run: RunStatus) -> RunStatus:
    """Let a run end at the next round boundary, as Ctrl-C would; returns how it ended.

    Raises:
        UserError: it is not running, or on another machine.
        CellfreeError: it did not end within three minutes.
    """
    if run.status != "running" or run.pid is None:
        raise UserError(f"{run.run}: is not running, it is {run.status}")
    if run.host != socket.gethostname():
        raise UserError(f"{run.run}: runs on {run.host}; stop it there")
    try:
        process = psutil.Process(run.pid)
        os.kill(run.pid, signal.SIGTERM)
        process.wait(STOP_TIMEOUT_S)
    except psutil.NoSuchProcess:
        pass
    except psutil.TimeoutExpired as error:
        raise CellfreeError(f"{run.run}: process {run.pid} did not end within {STOP_TIMEOUT_S:.0f} s") from error
    try:
        return run_status(Path(run.folder))
    except RunFolderError:  # it had not begun, and took its folder with it
        return replace(run, status="interrupted", step=0, pid=None, host=None)
