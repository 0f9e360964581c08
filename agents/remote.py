"""Running networks, reached from another process, as ``cellfree inject``, ``status``, ``watch`` and others do.

Each run has one controller on its cluster, by name, in a namespace of its own. It is found by the run's run.json, or by
looking through a cluster whose address is known. Nothing here starts a cluster, and nothing waits for ever: a run that
ends while it is asked, and a cluster that is gone, are one clear line.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import CellfreeError, RunFailedError, UserError
from cellfree_sim.results.runs import RunStatus
from cellfree_sim.scenario.suggest import did_you_mean, listed, on_one_line

if TYPE_CHECKING:
    from cellfree_sim.results.run_file import RunFile

CONTROLLER = "controller"
PREFIX = "cellfree-"
COMMAND_TIMEOUT_S = 600.0  # a new process, its channels, and a round of a large network
INFO_TIMEOUT_S = 5.0
FOLLOW_S = 2.0
POLL_S = 0.2


class RemoteRun:
    """A running network, seen from another process.

    Attributes:
        run: its name, that of its run folder.
        namespace: of its actors; no two runs share one.
    """

    def __init__(self, run: str, namespace: str, driver: RunFile | None = None) -> None:
        """Look its controller up on the cluster that this process is connected to.

        Raises:
            UserError: it has none.
        """
        import ray

        self.run = run
        self.namespace = namespace
        self._driver = driver
        try:
            self._controller: Any = ray.get_actor(CONTROLLER, namespace=namespace)
        except ValueError as error:
            raise UserError(f"{run}: does not answer, it is just starting or ending; try again in a moment") from error

    def info(self) -> dict[str, Any]:
        """What progress.json holds, with `run`, `folder` and `host`.

        Raises:
            RunFailedError: the run ended meanwhile, or did not answer within five seconds.
        """
        return dict(self._answer(self._controller.info.remote(), INFO_TIMEOUT_S))

    def follow(self, known_at: float | None) -> dict[str, Any]:
        """As `info`, once there is something new since what was told at `known_at`; at the latest after some seconds.

        Raises:
            RunFailedError: see `info`.
        """
        call = self._controller.follow.remote(known_at, FOLLOW_S)
        return dict(self._answer(call, FOLLOW_S + INFO_TIMEOUT_S))

    def status(self) -> RunStatus:
        """How it is doing; "silent" where it does not answer."""
        try:
            return RunStatus.told(self.info())
        except RunFailedError:
            return RunStatus(self.run, "silent", "ray", None, None, None, None, folder="")

    def command(self, request: Mapping[str, Any], timeout_s: float = COMMAND_TIMEOUT_S) -> dict[str, Any]:
        """Give the run a command, which it carries out at a round boundary, and wait for what came of it.

        Args:
            request: `command` ("inject", "remove", "pause", "continue" or "stop") and its arguments.
            timeout_s: how long to wait, wall seconds.

        Raises:
            UserError: the run refused the command and goes on unharmed.
            RunFailedError: the run ended before it answered, or did not answer in time.
            KeyboardInterrupt: Ctrl-C while waiting; the command stays in force.
        """
        call = self._controller.command.remote(dict(request))
        try:
            answer = self._answer(call, timeout_s)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"{self.run} goes on, and the command stays in force") from None
        if "error" in answer:
            raise UserError(f"{self.run}: {' '.join(str(answer['error']).split())}")
        return dict(answer["ok"])

    def wait_for_end(self, timeout_s: float) -> None:
        """Return when the run has ended.

        Raises:
            CellfreeError: it has not, within `timeout_s` wall seconds.
        """
        import ray

        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            try:
                ray.get_actor(CONTROLLER, namespace=self.namespace)
            except Exception:  # a controller that is gone, or the cluster with it: Ray has many names for that
                return
            time.sleep(POLL_S)
        raise CellfreeError(f"{self.run}: did not end within {timeout_s:.0f} s")

    def _answer(self, call: Any, timeout_s: float) -> Any:
        import ray
        from ray.exceptions import RayActorError

        from agents.cluster import plain_errors

        end = time.monotonic() + timeout_s
        while not ray.wait([call], timeout=POLL_S)[0]:
            if self._driver is not None and not self._driver.alive():
                raise RunFailedError(f"{self.run}: the run ended before it answered")
            if time.monotonic() > end:
                raise RunFailedError(f"{self.run}: no answer within {timeout_s:g} s; look with: cellfree status")
        with plain_errors():
            try:
                return ray.get(call)
            except RayActorError as error:
                raise RunFailedError(f"{self.run}: the run ended before it answered") from error


@contextmanager
def connect(run: str, driver: RunFile) -> Iterator[RemoteRun]:
    """The run called `run`, by its run.json.

    Raises:
        UserError: it is on the inline engine, or its cluster or controller cannot be reached.
    """
    check_reachable(run, driver)
    from agents.cluster import join_run

    with join_run(driver.address, driver.namespace, driver.token_path):
        yield RemoteRun(run, driver.namespace, driver)


def check_reachable(run: str, driver: RunFile) -> None:
    """`UserError` where commands from this process cannot come to a run, as far as its run.json says."""
    if driver.starting:
        raise UserError(f"{run}: is just starting; try again in a moment")
    if driver.engine != "ray":
        raise UserError(
            f"{run}: runs on the inline engine, into which no other process can reach; "
            "plan the change in its scenario, under 'events', or run it with --engine ray"
        )
    if driver.host != socket.gethostname() and _only_there(driver.address):
        raise UserError(f"{run}: runs on {driver.host}, on a cluster that only that machine reaches; do this there")


@contextmanager
def runs_at(address: str) -> Iterator[list[RemoteRun]]:
    """The runs on the cluster at `address` (host:port of its GCS), by name.

    Raises:
        UserError: there is no cluster, or none that this process can join.
    """
    from agents.cluster import join_run, target

    target(address)
    with join_run(address, PREFIX + "remote", ""):
        from ray.util import list_named_actors

        actors = list_named_actors(all_namespaces=True)
        spaces = sorted(actor["namespace"] for actor in actors if actor["name"] == CONTROLLER)
        found = []
        for namespace in spaces:
            if namespace.startswith(PREFIX):
                try:
                    found.append(RemoteRun(run_of(namespace), namespace))
                except UserError:  # it has just ended
                    continue
        yield found


def run_of(namespace: str) -> str:
    """The name of the run whose actors are in `namespace`.

    >>> run_of("cellfree-quickstart-20250101T120000Z-0123abcd")
    'quickstart-20250101T120000Z'
    """
    return namespace.removeprefix(PREFIX).rpartition("-")[0]


def chosen(runs: Sequence[RemoteRun], name: str | None, address: str) -> RemoteRun:
    """The one of `runs` called `name`: by the name of its folder, or by its namespace where two share that name.

    Raises:
        UserError: there is none, or more than one.
    """
    wanted = [run for run in runs if name is None or name.rstrip("/").rpartition("/")[2] in (run.run, run.namespace)]
    if len(wanted) == 1:
        return wanted[0]
    if not runs:
        raise UserError(f"--address {address}: no run is on the cluster there")
    if not wanted:
        names = [run.run for run in runs]
        hint = did_you_mean(str(name), names)
        raise UserError(f"{on_one_line(str(name))}: there is no such run at {address}; there are {listed(names)}{hint}")
    names = [run.run for run in wanted]
    if len(set(names)) < len(names):
        names = [run.namespace for run in wanted]
    raise UserError(f"{len(wanted)} runs are on the cluster at {address}; say which; there are {listed(names)}")


def _only_there(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    return host in ("", "localhost", "::1") or host.startswith("127.")
