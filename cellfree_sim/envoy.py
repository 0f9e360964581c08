"""A process that stands between who watches a run and the run's cluster: commands go there, and news come back.

    watcher ── {"number", "request"} ──► stdin ─┐
                                                ├─ connected to Ray ──► the run's controller
    watcher ◄── {"number", "ok"|"error"} ── pipe┘
            ◄── {"status"}, {"gone"}

Ray prints where it likes, blocks where it likes, and may end a process whose cluster is gone. None of that may happen
to a terminal that somebody looks at; so it happens here. The process ends with its stdin.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cellfree_sim.control import python_module, reach
from cellfree_sim.errors import CellfreeError, RunFailedError, UserError
from cellfree_sim.results.runs import LIVING
from cellfree_sim.scenario.suggest import on_one_line

if TYPE_CHECKING:
    from agents.remote import RemoteRun

END_TIMEOUT_S = 5.0
SEARCH_S, SEARCH_EVERY_S = 15.0, 0.5  # for a run whose controller died: it may begin another one
GONE = "the run ended before it answered"


class Envoy:
    """Commands to a run, from any thread. The process begins with the first, or with `follow`.

    Args:
        name, address: which run, see `cellfree_sim.control.reach`.
    """

    def __init__(self, name: str | None, address: str | None) -> None:
        self._name = name
        self._address = address
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._waiting: dict[int, tuple[subprocess.Popen[str], Future[dict[str, Any]]]] = {}
        self._process: subprocess.Popen[str] | None = None
        self._on_news: Callable[[dict[str, Any]], None] | None = None

    def follow(self, on_news: Callable[[dict[str, Any]], None]) -> None:
        """Let `on_news` have what is told of the run, from another thread.

        That is ``{"status": …}`` (see `RemoteRun.info`), ``{"refused": …}`` where it cannot be reached, or ``{"gone":
        …}`` where it has ended.
        """
        self._on_news = on_news
        with self._lock:
            self._started()

    def order(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Give the run a command, and wait for what came of it.

        Raises:
            UserError: it was refused, or the run cannot be reached.
            RunFailedError: the run ended before it answered.
        """
        return self.post(request).result()

    def post(self, request: Mapping[str, Any]) -> Future[dict[str, Any]]:
        """Give the run a command; what came of it is in the future."""
        answer: Future[dict[str, Any]] = Future()
        with self._lock:
            process = self._started()
            number = next(self._numbers)
            self._waiting[number] = process, answer
            assert process.stdin is not None
            try:
                process.stdin.write(json.dumps({"number": number, "request": dict(request)}) + "\n")
                process.stdin.flush()
            except OSError:  # it has just ended; its reader says so to all who wait
                pass
        return answer

    def close(self) -> None:
        """End the process; who waits is told so."""
        with self._lock:
            process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _started(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        reading, writing = os.pipe()
        arguments = [str(writing), "" if self._name is None else self._name, self._address or ""]
        try:
            self._process = subprocess.Popen(
                [*python_module("cellfree_sim.envoy"), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[writing],
                start_new_session=True,  # Ctrl-C in the terminal is not for it
                text=True,
            )
        finally:
            os.close(writing)
        threading.Thread(target=self._read, args=[self._process, reading], name="envoy", daemon=True).start()
        return self._process

    def _read(self, process: subprocess.Popen[str], reading: int) -> None:
        """Take in what the process says, until it has ended."""
        with os.fdopen(reading, encoding="utf-8") as lines:
            for line in lines:
                try:
                    said = json.loads(line)
                except ValueError:  # it was killed while it spoke
                    break
                if "number" in said:
                    self._answer(int(said["number"]), said)
                elif self._on_news is not None:
                    self._on_news(said)
        process.wait()
        if self._on_news is not None:
            self._on_news({"gone": GONE})
        with self._lock:  # whoever asks from now on has another process
            left = [number for number, (asked, _) in self._waiting.items() if asked is process]
        for number in left:
            self._answer(number, {"failed": GONE})

    def _answer(self, number: int, said: Mapping[str, Any]) -> None:
        _, answer = self._waiting.pop(number, (None, None))
        if answer is None:
            return
        if "ok" in said:
            answer.set_result(said["ok"])
        elif "error" in said:
            answer.set_exception(UserError(said["error"]))
        else:
            answer.set_exception(RunFailedError(said["failed"]))


def main(arguments: list[str]) -> None:
    """The process itself: pipe to write to, name of the run, address; the last two may be empty."""
    pipe = os.fdopen(int(arguments[0]), "w", encoding="utf-8")
    name, address = arguments[1] or None, arguments[2] or None
    lock = threading.Lock()

    def say(**words: Any) -> None:
        with lock, suppress(OSError):  # nobody listens any more
            pipe.write(json.dumps(words) + "\n")
            pipe.flush()

    try:
        with reach(name, address) as run:
            if address is not None:
                threading.Thread(target=_follow, args=[run, name, address, say], daemon=True).start()
            for line in sys.stdin:
                threading.Thread(target=_carry_out, args=[name, address, json.loads(line), say], daemon=True).start()
    except Exception as error:  # whatever Ray has; who listens must not take it for the end of the run
        say(refused=_in_words(error))
        for line in sys.stdin:  # a run that is just starting may answer in a moment
            _carry_out(name, address, json.loads(line), say)


def _follow(run: RemoteRun, name: str | None, address: str, say: Callable[..., None]) -> None:
    """Tell how a run is doing, until it has ended."""
    info: Mapping[str, Any] = {}
    while True:
        try:
            news = run.follow(info.get("told_at"))
        except CellfreeError as error:
            again = _found_again(info, name, address)
            if again is None:
                say(gone=str(error))
                return
            run = again
            continue
        if news.get("told_at") != info.get("told_at"):
            info = news
            say(status=info)


def _found_again(info: Mapping[str, Any], name: str | None, address: str) -> RemoteRun | None:
    """A run whose controller is gone, at its next one; None where there is none: it has ended."""
    until = time.monotonic() + SEARCH_S
    while info.get("status", "running") in LIVING and time.monotonic() < until:
        with suppress(CellfreeError), reach(name, address) as run:
            told = run.info()
            if told and all(told[key] == info.get(key, told[key]) for key in ("run", "folder", "host")):
                return run
        time.sleep(SEARCH_EVERY_S)
    return None


def _carry_out(name: str | None, address: str | None, asked: Mapping[str, Any], say: Callable[..., None]) -> None:
    """Give a run a command; at the controller that it has now, which may not be the one that it began with."""
    try:
        with reach(name, address) as run:
            say(number=asked["number"], ok=run.command(asked["request"]))
    except UserError as error:
        say(number=asked["number"], error=str(error))
    except Exception as error:  # whatever Ray has; somebody waits for an answer
        say(number=asked["number"], failed=_in_words(error))


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, CellfreeError) else on_one_line(f"{type(error).__name__}: {error}", 300)


if __name__ == "__main__":
    main(sys.argv[1:])
