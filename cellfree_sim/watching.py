"""Watch a run from another process, and act on it: what live views, in the terminal and the browser, are made of.

    status ◄── progress.json, run.json, summary.json   of a run on this machine, or whose folder it shares
           ◄── envoy ◄── controller                     of one on a cluster whose address was given
    orders ──► envoy ──► controller ──► the run, at its next round boundary

For example:

    from cellfree_sim.watching import watch

    with watch("runs/quickstart-20250101T120000Z") as run:
        print(run.status().step)
        run.pause()
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from cellfree_sim.control import check_lives
from cellfree_sim.envoy import Envoy
from cellfree_sim.errors import RunFolderError, UserError
from cellfree_sim.results.run_file import RunFile
from cellfree_sim.results.runs import RunStatus, find_run, run_status

CONNECT_TIMEOUT_S = 60.0


class Watched(Protocol):
    """A run that somebody watches. All methods may be called from any thread.

    Orders raise `UserError` where the run refuses them, has ended, or cannot be reached (it is on the inline engine, or
    on another machine), and `RunFailedError` where it ends before it answers.
    """

    def status(self) -> RunStatus:
        """How it is doing now; quick. Once it has ended, its last state."""
        ...

    def inject(
        self,
        position_m: Sequence[float],
        *,
        name: str | None = None,
        azimuth_deg: float | None = None,
        transfer: str = "nearest",
        after: str = "fine-tune",
    ) -> dict[str, Any]:
        """Let a station join; returns when it has decided for the first time: what ``cellfree inject --json`` says."""
        ...

    def remove(self, station: str) -> dict[str, Any]:
        """Let a station leave; returns when it has: what ``cellfree remove --json`` says."""
        ...

    def pause(self) -> None:
        """Hold it at the next round boundary; returns when it holds. Nothing where it holds already."""
        ...

    def resume(self) -> None:
        """Let it go on; nothing where it does."""
        ...

    def stop(self) -> None:
        """End it at the next round boundary, saved, as Ctrl-C would; returns at once."""
        ...


@contextmanager
def watch(name: str | None = None, address: str | None = None) -> Iterator[Watched]:
    """The run called `name`; the one there is where no name is given.

    Args:
        name: its folder, or its name in ./runs; on a cluster, its name or namespace.
        address: the cluster to look on; None for ./runs.

    Raises:
        UserError: there is no such run, or more than one, or the cluster cannot be reached.
    """
    watched = _Here(find_run(name)) if address is None else _There(name, address)
    try:
        yield watched
    finally:
        watched.close()


class _Ordered:
    """Orders, through an envoy."""

    def __init__(self, name: str | None, address: str | None) -> None:
        self._envoy = Envoy(name, address)

    def inject(
        self,
        position_m: Sequence[float],
        *,
        name: str | None = None,
        azimuth_deg: float | None = None,
        transfer: str = "nearest",
        after: str = "fine-tune",
    ) -> dict[str, Any]:
        """See `Watched.inject`."""
        request = {"position_m": [float(each) for each in position_m], "name": name, "azimuth_deg": azimuth_deg}
        return self._order({"command": "inject", **request, "transfer": transfer, "after": after})

    def remove(self, station: str) -> dict[str, Any]:
        """See `Watched.remove`."""
        return self._order({"command": "remove", "station": station})

    def pause(self) -> None:
        """See `Watched.pause`."""
        self._order({"command": "pause"})

    def resume(self) -> None:
        """See `Watched.resume`."""
        self._order({"command": "continue"})

    def close(self) -> None:
        """Watch no more."""
        self._envoy.close()

    def _order(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._check()
        return self._envoy.order(request)

    def _check(self) -> None:
        """`UserError` where no order can reach the run, as far as is known here."""
        raise NotImplementedError


class _Here(_Ordered):
    """A run whose folder is here."""

    def __init__(self, found: RunStatus) -> None:
        super().__init__(found.folder, None)
        self._folder = Path(found.folder)
        self._last = found

    def status(self) -> RunStatus:
        """See `Watched.status`."""
        try:
            self._last = run_status(self._folder)
        except RunFolderError:  # it was refused, and took its folder with it; or somebody has deleted that
            self._last = replace(self._last, status="vanished", pid=None, host=None)
        return self._last

    def stop(self) -> None:
        """See `Watched.stop`."""
        status = self.status()
        check_lives(status)
        if status.host == socket.gethostname() and status.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(status.pid, signal.SIGTERM)
            return
        self._check()
        self._envoy.post({"command": "stop"})

    def _check(self) -> None:
        from agents.remote import check_reachable

        status = self.status()
        check_lives(status)
        driver = RunFile.read(self._folder)
        if driver is None:
            raise UserError(f"{status.run}: is not running, it has just ended")
        check_reachable(status.run, driver)


class _There(_Ordered):
    """A run on a cluster, of which its controller tells."""

    def __init__(self, name: str | None, address: str) -> None:
        super().__init__(name, address)
        self._address = address
        self._heard = threading.Event()
        self._refused = ""
        self._last: RunStatus | None = None
        self._envoy.follow(self._on_news)
        in_time = self._heard.wait(CONNECT_TIMEOUT_S)
        if self._last is None:
            self.close()
            raise UserError(self._refused if in_time else f"--address {address}: no answer; try again in a moment")

    def status(self) -> RunStatus:
        """See `Watched.status`."""
        assert self._last is not None
        return self._last

    def stop(self) -> None:
        """See `Watched.stop`."""
        self._check()
        self._envoy.post({"command": "stop"})

    def _check(self) -> None:
        check_lives(self.status())

    def _on_news(self, said: Mapping[str, Any]) -> None:
        if "status" in said:
            if said["status"]:  # nothing was told yet of a run that has just begun
                self._last = RunStatus.told(said["status"])
                self._heard.set()
            return
        if self._last is not None and self._last.lives:
            self._last = replace(self._last, status="vanished", pid=None)
        self._refused = self._refused or str(said.get("refused", said.get("gone", "")))
        self._heard.set()
