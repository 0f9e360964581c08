"""The facts of a machine and of this installation, as a run would meet them. Nothing is started and nothing changed."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from cellfree_sim.doctor.limits import cpu_quota, memory_limit
from cellfree_sim.doctor.packages import Package, installed, packages

VARIABLES = (
    "CELLFREE_CACHE_DIR",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "RAY_ADDRESS",
    "RAY_AUTH_MODE",
    "RAY_AUTH_TOKEN_PATH",
    "RAY_TMPDIR",
)
GCS_PROCESS = "gcs_server"


@dataclass(frozen=True)
class Place:
    """A folder that runs write to.

    Attributes:
        path: as a run would use it; it need not exist.
        hindrance: why it cannot be written; empty where it can.
        free_bytes: on its disk; None where that is not known.
    """

    path: str
    hindrance: str = ""
    free_bytes: int | None = None


@dataclass(frozen=True)
class Torch:
    """What PyTorch finds.

    Attributes:
        version: with the build, such as 2.13.0+cpu; empty where it cannot be imported, and then `hindrance` says why.
        threads: that it computes with in this process.
        gpus: name and memory (bytes) of each that it can use.
    """

    version: str = ""
    threads: int = 0
    gpus: tuple[tuple[str, int], ...] = ()
    hindrance: str = ""


@dataclass(frozen=True)
class Machine:
    """What `judge` judges.

    Attributes:
        python: version, and `executable`, which one.
        system: name of the operating system; `desired` is Linux.
        cores: of the machine; `usable_cores` by affinity, `cpu_quota` by control groups (None without a limit).
        memory_bytes: of the machine; `available_bytes` that can be had now, `memory_limit_bytes` of control groups.
        shm_bytes: size of /dev/shm; None where there is none. `shm_free_bytes` of it are free.
        open_files: how many this process may open.
        runs, cache, temporary: where runs, channels and Ray's sockets go.
        packages: what the installation asks for.
        ray, sionna: their versions; empty where they are not installed.
        foreign_agents: where the import name `agents` leads, where that is not to this project.
        shipped: how many scenarios, detectors and policies came with the package.
        nvidia_devices: GPUs that the system shows, whether or not torch can use them.
        clusters: process ids of Ray clusters that run here already.
        address_hindrance: why nobody can join the cluster at RAY_ADDRESS; empty where one can, or none is named.
        variables: those of `VARIABLES` that are set.
    """

    python: str
    executable: str
    system: str
    cores: int
    usable_cores: int
    cpu_quota: float | None
    memory_bytes: int
    available_bytes: int
    memory_limit_bytes: int | None
    shm_bytes: int | None
    shm_free_bytes: int | None
    open_files: int
    runs: Place
    cache: Place
    temporary: Place
    packages: Sequence[Package]
    ray: str
    sionna: str
    foreign_agents: str
    shipped: Mapping[str, int]
    torch: Torch
    nvidia_devices: int = 0
    clusters: Sequence[int] = ()
    address_hindrance: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)


def look(
    root: Path = Path("/"), environment: Mapping[str, str] | None = None, working_folder: Path = Path()
) -> Machine:
    """The facts of this machine.

    Args:
        root: where /proc, /sys and /dev are read.
        environment: its variables, by default those of this process.
        working_folder: runs go to `runs` below it.
    """
    variables = dict(os.environ if environment is None else environment)
    foreign = _foreign_agents()
    memory, limit = psutil.virtual_memory(), memory_limit(root)
    shm = _disk(root / "dev/shm")
    return Machine(
        python=platform.python_version(),
        executable=sys.executable,
        system=platform.system(),
        cores=os.cpu_count() or 1,
        usable_cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        cpu_quota=cpu_quota(root),
        memory_bytes=memory.total,
        available_bytes=memory.available if limit is None else min(memory.available, limit[1]),
        memory_limit_bytes=None if limit is None else limit[0],
        shm_bytes=shm[0] if shm else None,
        shm_free_bytes=shm[1] if shm else None,
        open_files=_open_files(),
        runs=place((working_folder / "runs").absolute()),
        cache=_cache(variables),
        temporary=place(Path(variables.get("RAY_TMPDIR") or tempfile.gettempdir())),
        packages=packages(),
        ray=installed("ray") or "",
        sionna=installed("sionna-no-rt") or installed("sionna") or "",
        foreign_agents=foreign,
        shipped=_shipped(),
        torch=_torch(),
        nvidia_devices=len(list((root / "dev").glob("nvidia[0-9]*"))),
        clusters=_clusters(),
        address_hindrance="" if foreign else _address_hindrance(variables),
        variables={name: variables[name] for name in VARIABLES if name in variables},
    )


def place(path: Path) -> Place:
    """Whether something can be written at `path`, tried where it exists, or in the nearest folder above it."""
    nearest = path.absolute()
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        return Place(str(path), f"{nearest}: {error.strerror or error}")
    disk = _disk(nearest)
    return Place(str(path), "", disk[1] if disk else None)


def _cache(variables: Mapping[str, str]) -> Place:
    from cellfree_sim.channel import cache

    try:
        return place(Path(variables.get("CELLFREE_CACHE_DIR") or cache.folder()))
    except RuntimeError as error:  # no home folder
        return Place("", str(error))


def _disk(path: Path) -> tuple[int, int] | None:
    """Size and free bytes of the file system at `path`."""
    try:
        found = shutil.disk_usage(path)
    except OSError:
        return None
    return found.total, found.free


def _open_files() -> int:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def _foreign_agents() -> str:
    from importlib.util import find_spec

    ours = Path(__file__).parents[2] / "agents"
    found = find_spec("agents")
    places = list(found.submodule_search_locations or ()) if found else []
    if not places:
        return "nowhere"
    return "" if Path(places[0]).resolve() == ours.resolve() else places[0]


def _shipped() -> dict[str, int]:
    from cellfree_sim.scenario import shipped_scenarios

    package = Path(__file__).parents[1]
    kinds = {"detector": package / "trained_detectors", "policy": package / "trained_policies"}
    counts = {kind: len(list(folder.glob(f"*.{kind}"))) for kind, folder in kinds.items()}
    return {"scenario": len(shipped_scenarios()), **counts}


def _torch() -> Torch:
    try:
        import torch
    except (ImportError, OSError) as error:  # a library that it needs is missing
        return Torch(hindrance=" ".join(str(error).split()))
    gpus: list[tuple[str, int]] = []
    with suppress(RuntimeError):  # a driver that does not fit
        for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
            found = torch.cuda.get_device_properties(index)
            gpus.append((found.name, found.total_memory))
    return Torch(torch.__version__, torch.get_num_threads(), tuple(gpus))


def _clusters() -> list[int]:
    found = []
    for process in psutil.process_iter(["name", "pid"]):
        if str(process.info["name"] or "").startswith(GCS_PROCESS):
            found.append(int(process.info["pid"]))
    return found


def _address_hindrance(variables: Mapping[str, str]) -> str:
    from agents.cluster import check_speaks, target
    from cellfree_sim.errors import UserError

    try:
        found = target(None, variables)
        if found is not None:
            check_speaks(found)
    except UserError as error:
        return str(error)
    return ""
