"""The Ray cluster of a run: started for it on this machine, or joined by address; never another one by accident.

A cluster that was started here listens on loopback, asks for a token of its own, and ends with the run. One that was
joined is left as it was found. Who asks for no address, but has RAY_ADDRESS set, as under ``ray job submit``, joins the
cluster at that address.
"""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from agents.packing import Node
from cellfree_sim.errors import ResourceShortError, UserError

OBJECT_STORE_BYTES = 200 * 2**20  # frames are far smaller; Ray's default would take a third of the memory
SYSTEM_CONFIG = {
    "max_direct_call_object_size": 4 * 2**20,  # shorter frames travel in the call itself, not through the object store
    "task_events_report_interval_ms": 0,  # no record of each call: it grows with every round, and nobody reads it
    "worker_maximum_startup_concurrency": 8,  # Ray warns of four times as many processes; a station may have several
}
OFTEN = {"metrics_report_interval_ms": 2000}  # where somebody wants to see them; Ray's default is 10 s
CONNECT_TIMEOUT_S = 2.0
SETTLE_S, SETTLE_POLL_S = 2.0, 0.1
ADDRESS_VARIABLE = "RAY_ADDRESS"
TOKEN_HINT = "set RAY_AUTH_TOKEN_PATH to the file with the cluster's token"
ID_DIGITS = 6  # of a node, where a name needs it
LOOPBACK = ("127.0.0.1", "::1")
EMPTY_SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # HTTP/2: length (3 bytes), type 4, flags, stream (4 bytes)
HTTP2_OPENING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + EMPTY_SETTINGS

T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """A cluster to join.

    Attributes:
        address: host:port of its GCS.
        said_by: who gave the address, for messages: "--address" or "RAY_ADDRESS".
    """

    address: str
    said_by: str

    def __str__(self) -> str:
        return f"{self.said_by} {self.address}"


def target(address: str | None, environment: Mapping[str, str] = os.environ) -> Target | None:
    """The cluster to join: that at `address`, else that at RAY_ADDRESS, else None for one of this run's own.

    Raises:
        UserError: what was given is not host:port.
    """
    found = Target(address, "--address") if address is not None else Target(environment.get(ADDRESS_VARIABLE, ""), "")
    if address is None and not found.address:
        return None
    if address is None:
        found = Target(found.address, ADDRESS_VARIABLE)
    host, separator, port = found.address.rpartition(":")
    if not separator or not host or not port.isdecimal() or not 0 < int(port) < 65536 or "/" in host:
        raise UserError(f"{found}: expected host:port of a Ray cluster's GCS, as `ray start --head` prints it")
    return found


def check_cluster(address: str | None) -> None:
    """Make sure that somebody answers where `target` leads, before long work is begun.

    Raises:
        UserError: nobody does, or the address is malformed.
    """
    found = target(address)
    if found is not None:
        check_speaks(found)


class Cluster:
    """A connection to Ray.

    Attributes:
        owned: the cluster was started here, and so ends in `close`.
        joined: what was joined, and who said so; None for an own cluster, and where Ray was connected before.
        address: of its GCS.
    """

    def __init__(self, *, address: str | None, namespace: str, cpus: int, metrics_port: int | None = None) -> None:
        """Join the cluster at `address` (host:port of its GCS), else at RAY_ADDRESS, else start one with `cpus` CPUs.

        One that is started serves Prometheus metrics at `metrics_port`, or at any port.

        Raises:
            UserError: the address is malformed, nobody answers there, or it is not a cluster this process can join;
                or `metrics_port` cannot be used.
        """
        self.namespace = namespace
        self.owned = False
        self.joined: Target | None = None
        self._environment: dict[str, str | None] = {}
        self._quiet_ray()
        import ray

        self._shared = ray.is_initialized()
        if not self._shared:
            try:
                self.joined = target(address)
                with _own_sigterm():
                    self._join(self.joined) if self.joined is not None else self._start(cpus, metrics_port)
            except BaseException:
                self.close()
                raise
        self.address: str = ray.get_runtime_context().gcs_address

    @property
    def note(self) -> str:
        """What a user should know who did not ask for this cluster by name; mostly nothing."""
        if self.joined is None or self.joined.said_by != ADDRESS_VARIABLE:
            return ""
        return f"joined the Ray cluster at {self.joined.address}, because {ADDRESS_VARIABLE} is set"

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
            _restore(name, value)
        self._environment.clear()

    def _start(self, cpus: int, metrics_port: int | None) -> None:
        import ray

        if metrics_port is not None:
            _check_metrics_port(metrics_port)
        if not os.environ.get("RAY_AUTH_TOKEN"):
            self._set("RAY_AUTH_TOKEN_PATH", os.environ.get("RAY_AUTH_TOKEN_PATH", str(_own_token())))
        self._set("RAY_AUTH_MODE", os.environ.get("RAY_AUTH_MODE"))  # put back in `close`; Ray sets it to token
        self._set(ADDRESS_VARIABLE, None)
        _read_token_anew()
        self.owned = True
        with _on_loopback():
            ray.init(
                address="local",
                num_cpus=cpus,
                num_gpus=local_gpus(),
                namespace=self.namespace,
                job_config=_job(),
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _metrics_export_port=metrics_port,
                _system_config=SYSTEM_CONFIG if metrics_port is None else {**SYSTEM_CONFIG, **OFTEN},
            )

    def _join(self, found: Target) -> None:
        self._set("RAY_AUTH_MODE", os.environ.get("RAY_AUTH_MODE"))  # put back in `close`
        connect(found, self.namespace)

    def _quiet_ray(self) -> None:
        self._set("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        self._set("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # of calls to what died; who waits for an answer hears of it
        for name, value in (("OMP_WAIT_POLICY", "PASSIVE"), ("OMP_NUM_THREADS", "1")):
            os.environ.setdefault(name, value)  # before torch, here and in every worker

    def _set(self, name: str, value: str | None) -> None:
        self._environment.setdefault(name, os.environ.get(name))
        _restore(name, value)


def _check_metrics_port(port: int) -> None:
    """UserError where Ray cannot serve metrics at a port of this machine."""
    missing = [name for name in ("prometheus_client", "opentelemetry") if find_spec(name) is None]
    if missing:
        raise UserError(
            "placement.metrics_port: Ray has nothing installed that serves metrics; it comes with: "
            "pip install 'cellfree-sim[metrics]'"
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind((LOOPBACK[0], port))
        except OSError as error:
            reason = error.strerror or str(error)
            raise UserError(f"placement.metrics_port: found {port}, which cannot be served at: {reason}") from error


def _restore(name: str, value: str | None) -> None:
    """Set an environment variable, or unset it where `value` is None."""
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


@cache
def _own_token() -> Path:
    """File with the token of clusters that this process starts, readable by its user only, gone with the process."""
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


def cluster_nodes(*, trust: bool = True) -> list[Node]:
    """The nodes of the cluster that this process is connected to, in order of their names; lost ones come last.

    Ray takes a while to notice that a node is lost. Without `trust`, a node is lost that does not answer now.
    """
    import ray
    from ray._private.state import available_resources_per_node

    free: dict[str, dict[str, float]] = available_resources_per_node()  # type: ignore[no-untyped-call]
    found = ray.nodes()  # type: ignore[no-untyped-call]
    hosts = Counter(each["NodeManagerHostname"] for each in found if each["Alive"])
    nodes = []
    for each in found:
        host, identity, alive = each["NodeManagerHostname"], each["NodeID"], each["Alive"] and each["NodeID"] in free
        alive = alive and (trust or _answers(each["NodeManagerAddress"], each["NodeManagerPort"]))
        total, left = each["Resources"], free.get(identity, {})
        nodes.append(
            Node(
                id=identity,
                name=f"{host}#{identity[:ID_DIGITS]}" if hosts[host] > 1 else host,
                cpus=total.get("CPU", 0.0),
                gpus=total.get("GPU", 0.0),
                free_cpus=left.get("CPU", 0.0),
                free_gpus=left.get("GPU", 0.0),
                alive=alive,
            )
        )
    return sorted(nodes, key=lambda node: (not node.alive, node.name, node.id))


def _answers(address: str, port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection((address, port), timeout=CONNECT_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def settled(plan: Callable[[list[Node]], T], *, trust: bool = True) -> T:
    """What `plan` makes of the nodes; where it finds too little, once more, for a moment.

    Ray's own view of what is free lags: a group that was just removed still counts. For `trust` see `cluster_nodes`.

    Raises:
        ResourceShortError: that of `plan`, after that moment.
    """
    until = time.monotonic() + SETTLE_S
    while True:
        try:
            return plan(cluster_nodes(trust=trust))
        except ResourceShortError:
            if time.monotonic() >= until:
                raise
        time.sleep(SETTLE_POLL_S)


def local_gpus() -> int:
    """GPUs of this machine that torch can use; Ray also counts those that it cannot.

    Torch is imported only where there are any.
    """
    from ray._private.accelerators import get_accelerator_manager_for_resource

    manager = get_accelerator_manager_for_resource("GPU")
    counted = 0 if manager is None else int(manager.get_current_node_num_accelerators())
    if counted == 0:
        return 0
    import torch

    return min(counted, torch.cuda.device_count())


@contextmanager
def join_run(address: str, namespace: str, token_path: str) -> Iterator[None]:
    """Be connected to the cluster of a run that another process drives, for example to inject a station.

    `token_path` is the file with the cluster's token, as the run's file names it; where it is empty, RAY_AUTH_MODE and
    RAY_AUTH_TOKEN_PATH hold as the user has set them. A process that is connected to Ray already stays so.

    Raises:
        UserError: nobody answers there, within three seconds, or the token is not that of the cluster.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    names = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO")
    before = {name: os.environ.get(name) for name in names}
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    if token_path:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": token_path}
    try:
        with _own_sigterm():
            connect(Target(address, "the run's cluster at"), namespace)
        yield
    finally:
        ray.shutdown()
        for name, value in before.items():
            _restore(name, value)


def connect(found: Target, namespace: str) -> None:
    """Join a cluster after making sure, within seconds, that it is one, and that it takes this process's token.

    Ray by itself tries for twenty seconds and more, and then gives no reason.

    Raises:
        UserError: it is not, or does not.
    """
    import ray

    check_speaks(found)
    on_loopback = _check_welcomes(found)
    try:
        with _on_loopback() if on_loopback else nullcontext():
            ray.init(
                address=found.address,
                namespace=namespace,
                job_config=_job(),
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{found}: cannot join the Ray cluster there: {reason}") from error


class _Paths(list[str]):
    """Where the processes of a run look for modules first: folders in which this process looks, too, and no others."""

    def extend(self, folders: Iterable[str]) -> None:
        """Add those of `folders` that are on the path of this process."""
        known = {str(Path(each or ".").resolve()) for each in sys.path}
        super().extend(each for each in folders if str(Path(each).resolve()) in known)


def _job() -> Any:
    """Settings of a run for Ray, which otherwise lets all processes look in the working directory before anywhere else.

    A file there may have the name of any module: of a ``numpy.py`` or ``agents/`` of somebody the run would die.
    """
    from ray.job_config import JobConfig

    job = JobConfig()
    job._py_driver_sys_path = _Paths()
    return job


def check_speaks(found: Target) -> None:
    """Make sure that a gRPC server listens there: it answers the opening of HTTP/2 by a SETTINGS frame.

    Raises:
        UserError: none does, within `CONNECT_TIMEOUT_S`.
    """
    host, _, port = found.address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S) as connection:
            connection.sendall(HTTP2_OPENING)
            answer = connection.recv(len(EMPTY_SETTINGS), socket.MSG_WAITALL)
    except OSError as error:
        raise UserError(f"{found}: no Ray cluster answers there ({error.strerror or error})") from error
    if answer[3:4] != EMPTY_SETTINGS[3:4]:
        raise UserError(
            f"{found}: what answers there is not a Ray cluster's GCS; `ray start --head` prints its address"
        )


def _check_welcomes(found: Target) -> bool:
    """Whether the cluster takes this process's token; returns whether the cluster listens on loopback only.

    Where the user has a token, but has not set RAY_AUTH_MODE, it is used if the cluster wants one.
    """
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.exceptions import AuthenticationError

    has_token = _read_token_anew()
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "token" and not has_token:
        raise UserError(f"{found}: RAY_AUTH_MODE is token, but no token was found; {TOKEN_HINT}")
    try:
        with _stderr_closed():
            nodes = GcsClient(address=found.address).get_all_node_info()
    except AuthenticationError as error:
        if "RAY_AUTH_MODE" not in os.environ and has_token:
            os.environ["RAY_AUTH_MODE"] = "token"
            return _check_welcomes(found)
        if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
            what = f"a token, but RAY_AUTH_MODE is {os.environ['RAY_AUTH_MODE']}; unset it, and"
        else:
            what = "another token than this process has;" if has_token else "a token;"
        raise UserError(f"{found}: the cluster asks for {what} {TOKEN_HINT}") from error
    except Exception as error:  # Ray's RpcError, and whatever else its client makes of a server that is not Ray's
        raise UserError(f"{found}: no Ray cluster answers there ({_first_line(error)})") from error
    return any(node.node_manager_address in LOOPBACK for node in nodes.values())


def _read_token_anew() -> bool:
    """Let Ray's library forget the token and the mode that this process used before; returns whether it has a token."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    loader = AuthenticationTokenLoader.instance()
    loader.reset_cache()
    Config.initialize("")
    return bool(loader.has_token(ignore_auth_mode=True))


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Let Ray use 127.0.0.1 as this machine's address, so that no port can be reached from elsewhere.

    It does so on systems on which it does not support clusters; asked for 127.0.0.1 it takes the machine's address.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def _stderr_closed() -> Iterator[None]:
    """Nothing reaches stderr meanwhile: Ray's library writes there what is told to the user in one line."""
    try:
        kept = os.dup(2)
    except OSError:  # closed by the caller (2>&-)
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


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
