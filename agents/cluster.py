"""The Ray cluster of a run: started for it on this machine, or joined by address; never another one by accident.

A cluster that was started here listens on loopback, asks for a token of its own, and ends with the run. One that was
joined is left as it was found.
"""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from cellfree_sim.errors import UserError

OBJECT_STORE_BYTES = 200 * 2**20  # frames are far smaller; Ray's default would take a third of the memory
SYSTEM_CONFIG = {
    "max_direct_call_object_size": 4 * 2**20,  # shorter frames travel in the call itself, not through the object store
    "task_events_report_interval_ms": 0,  # no record of each call: it grows with every round, and nobody reads it
}
CONNECT_TIMEOUT_S = 3.0


class Cluster:
    """A connection to Ray. `owned` says whether the cluster was started here, and so ends in `close`."""

    def __init__(self, *, address: str | None, namespace: str, cpus: int) -> None:
        """Join the cluster at `address` (host:port of its GCS), or start one with `cpus` logical CPUs where it is None.

        Raises:
            UserError: the address is malformed, nobody answers there, or it is not a cluster this process can join.
        """
        self.namespace = namespace
        self.owned = False
        self._environment: dict[str, str | None] = {}
        self._quiet_ray()
        import ray

        if ray.is_initialized():
            self._shared = True
        else:
            self._shared = False
            try:
                with _own_sigterm():
                    self._join(address) if address is not None else self._start(cpus)
            except BaseException:
                self.close()
                raise
        self.address: str = ray.get_runtime_context().gcs_address

    def resources(self) -> dict[str, float]:
        """Total resources of the cluster, as Ray counts them."""
        import ray

        return dict(ray.cluster_resources())  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Disconnect; end the cluster if it was started here. May be called twice."""
        import ray

        if not self._shared and ray.is_initialized():
            ray.shutdown()
        for name, value in self._environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._environment.clear()

    def _start(self, cpus: int) -> None:
        import ray

        os.environ.setdefault("RAY_AUTH_TOKEN_PATH", str(_own_token()))  # Ray asks for it by default
        self._set("RAY_ADDRESS", None)
        self.owned = True
        ray.init(
            address="local",
            num_cpus=cpus,
            namespace=self.namespace,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _system_config=SYSTEM_CONFIG,
        )

    def _join(self, address: str) -> None:
        import ray

        _check_answers(address)
        try:
            ray.init(address=address, namespace=self.namespace, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UserError(f"--address {address}: cannot join the Ray cluster there: {reason}") from error

    def _quiet_ray(self) -> None:
        self._set("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        for name, value in (("OMP_WAIT_POLICY", "PASSIVE"), ("OMP_NUM_THREADS", "1")):
            os.environ.setdefault(name, value)  # before torch, here and in every worker

    def _set(self, name: str, value: str | None) -> None:
        self._environment.setdefault(name, os.environ.get(name))
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@cache
def _own_token() -> Path:
    """File with the token of all clusters that this process starts, readable by its user only, gone with the process.

    One per process, because Ray reads a token once.
    """
    descriptor, name = tempfile.mkstemp(prefix="cellfree-token-")  # mode 0600
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    path = Path(name)
    atexit.register(path.unlink, missing_ok=True)
    return path


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep what this process does on SIGTERM, where that is anything; `ray.init` replaces it by an exit of its own."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _check_answers(address: str) -> None:
    """Ray tries for twenty seconds before it gives up on a wrong address; a socket knows at once."""
    host, separator, port = address.rpartition(":")
    if not separator or not host or not port.isdecimal() or not 0 < int(port) < 65536 or "/" in host:
        raise UserError(
            f"--address {address}: expected host:port of a Ray cluster's GCS, as `ray start --head` prints it"
        )
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise UserError(f"--address {address}: no Ray cluster answers there ({error.strerror or error})") from error


@contextmanager
def plain_errors() -> Iterator[None]:
    """Let an error that an actor raised on purpose come out as itself, not as Ray's account of it."""
    from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

    from cellfree_sim.errors import CellfreeError, RunFailedError

    try:
        yield
    except RayTaskError as error:
        cause: Any = error.cause
        while isinstance(cause, RayTaskError):
            cause = cause.cause
        if isinstance(cause, CellfreeError):
            raise cause from None
        verb = "died" if isinstance(cause, RayActorError) else f"failed: {type(cause).__name__}"
        raise RunFailedError(f"an actor {verb}: {_first_line(cause)}") from error
    except RayActorError as error:
        raise RunFailedError(f"an actor died: {_first_line(error)}") from error
    except GetTimeoutError as error:
        raise RunFailedError(f"no answer from the cluster: {error}") from error


def _first_line(error: BaseException) -> str:
    """What an error says, and of which actor, without the rest of Ray's account."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    names = [line.removeprefix("name: ") for line in lines if line.startswith("name: ")]
    return f"{names[0]}: {lines[0]}" if names else lines[0]
