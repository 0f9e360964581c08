"""What the facts of a machine mean for a run: each in a line, with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from cellfree_sim.doctor.machine import Machine, Place
from cellfree_sim.doctor.packages import EXTRAS, Package

Status = Literal["ok", "note", "problem"]
GIB = 2**30
MIB = 2**20
LEAST_MEMORY = 0.7 * GIB  # a small run in one process
GOOD_MEMORY = 3 * GIB  # the quickstart, one process per station
LEAST_DISK = 0.1 * GIB
GOOD_DISK = 2 * GIB
GOOD_SHM = 256 * MIB  # Ray's object store of a run, and some
LEAST_FILES = 1024
LONGEST_TMP = 50  # characters; Ray's sockets below it must stay within the 107 that Linux allows


@dataclass(frozen=True)
class Finding:
    """One line of what `cellfree doctor` says.

    Attributes:
        what: about what, in a word or two.
        status: "ok"; "note", where runs work, but not all of them, or not as well; "problem", which prevents them.
        found: what there is.
        remedy: what to do; empty where nothing has to be done.
    """

    what: str
    status: Status
    found: str
    remedy: str = ""


def judge(machine: Machine) -> list[Finding]:
    """The findings, in the order in which a person would mend them."""
    return [
        *_installation(machine),
        *_computer(machine),
        *_places(machine),
        *_torch(machine),
        _sionna(machine.sionna),
        *_ray(machine),
        *_extras(machine.packages),
    ]


def _installation(machine: Machine) -> Iterator[Finding]:
    where = f"{machine.python}, {machine.executable}"
    good = machine.system == "Linux"
    yield Finding("Python", "ok", where)
    yield Finding("system", "ok" if good else "note", machine.system, "" if good else "only Linux is tested")
    needed = [each for each in machine.packages if not each.extra]
    missing = [each for each in needed if each.found is None]
    off = [each for each in needed if each.found is not None and not each.fits]
    if not needed:
        yield Finding(
            "installation", "note", "no metadata: it runs from a folder of sources", "pip install cellfree-sim, or make"
        )
    elif missing:
        names = ", ".join(each.name for each in missing)
        yield Finding("packages", "problem", f"missing: {names}", f"pip install {_quoted(missing)}")
    elif off:
        told = ", ".join(f"{each.name} {each.found}, wanted {each.wanted}" for each in off)
        yield Finding("packages", "note", told, f"pip install {_quoted(off)}")
    else:
        yield Finding("packages", "ok", f"all {len(needed)} in the versions wanted")
    yield _import_name(machine.foreign_agents)
    lacking = [kind for kind, count in machine.shipped.items() if not count]
    told = ", ".join(f"{count} {_plural(kind, count)}" for kind, count in machine.shipped.items())
    remedy = "install the package anew: its files are incomplete" if lacking else ""
    yield Finding("shipped files", "problem" if lacking else "ok", told, remedy)


def _import_name(foreign: str) -> Finding:
    if not foreign:
        return Finding("import name", "ok", "agents is this project's")
    remedy = "use an environment of its own: another package, or your folder, has something of that name"
    return Finding("import name", "problem", f"agents leads to {foreign}", remedy)


def _computer(machine: Machine) -> Iterator[Finding]:
    usable = min(machine.usable_cores, machine.cpu_quota or machine.usable_cores)
    limits = [f"{machine.usable_cores} by affinity"] if machine.usable_cores < machine.cores else []
    limits += [f"{machine.cpu_quota:g} by control group"] if machine.cpu_quota is not None else []
    told = f"{usable:g} of {machine.cores} usable" + (f" ({', '.join(limits)})" if limits else "")
    if usable < machine.usable_cores:
        advice = f"Ray counts {machine.usable_cores} of them: more processes than cores; give the container whole ones"
        yield Finding("cores", "note", told, advice)
    elif usable < 2:
        yield Finding("cores", "note", told, "stations take turns on one core: everything works, and takes longer")
    else:
        yield Finding("cores", "ok", told)
    limit = machine.memory_limit_bytes
    of = f"{machine.memory_bytes / GIB:.1f} GiB" + ("" if limit is None else f", limited to {limit / GIB:.1f} GiB")
    told = f"{machine.available_bytes / GIB:.1f} GiB free of {of}"
    if machine.available_bytes < LEAST_MEMORY:
        yield Finding(
            "memory", "problem", told, "end other programs: a small run needs 0.7 GiB, the quickstart 2.2 GiB"
        )
    elif machine.available_bytes < GOOD_MEMORY:
        yield Finding("memory", "note", told, "use --engine inline: one process per station takes 2.2 GiB and more")
    else:
        yield Finding("memory", "ok", told)
    yield _shared_memory(machine)
    if machine.open_files < LEAST_FILES:
        yield Finding("open files", "note", f"{machine.open_files} per process", "ulimit -n 65536")


def _shared_memory(machine: Machine) -> Finding:
    if machine.shm_bytes is None or machine.shm_free_bytes is None:
        return Finding("/dev/shm", "note", "there is none", "mount it: Ray uses the slower /tmp instead")
    told = f"{_size(machine.shm_free_bytes)} free of {_size(machine.shm_bytes)}"
    if machine.shm_bytes < GOOD_SHM:
        return Finding("/dev/shm", "note", told, "docker run --shm-size=1g …: Ray uses the slower /tmp instead")
    if machine.shm_free_bytes < GOOD_SHM:
        return Finding("/dev/shm", "note", told, "delete what others left there: Ray uses the slower /tmp instead")
    return Finding("/dev/shm", "ok", told)


def _places(machine: Machine) -> Iterator[Finding]:
    yield _place("runs", machine.runs, "problem", "change to a folder of yours, or give --out DIR")
    text = "set CELLFREE_CACHE_DIR to a folder of yours: without it channels are computed anew by every run"
    yield _place("channel cache", machine.cache, "note", text)
    found = _place("temporary files", machine.temporary, "problem", "set RAY_TMPDIR to a folder of yours")
    if found.status == "ok" and len(machine.temporary.path) > LONGEST_TMP:
        advice = f"set RAY_TMPDIR to a shorter path, of {LONGEST_TMP} characters at most: Ray's sockets are below it"
        found = Finding(found.what, "note", found.found, advice)
    yield found


def _place(what: str, place: Place, severity: Status, remedy: str) -> Finding:
    if place.hindrance:
        return Finding(what, severity, f"cannot be written: {place.hindrance}", remedy)
    free = place.free_bytes
    told = place.path + ("" if free is None else f", {_size(free)} free")
    if free is not None and free < LEAST_DISK:
        return Finding(what, severity, told, "make room on that disk")
    if free is not None and free < GOOD_DISK:
        return Finding(what, "note", told, "make room on that disk: a long run, or a study, fills it")
    return Finding(what, "ok", told)


def _torch(machine: Machine) -> Iterator[Finding]:
    torch = machine.torch
    if torch.hindrance:
        yield Finding(
            "torch", "problem", f"cannot be imported: {torch.hindrance}", "pip install --force-reinstall torch"
        )
        return
    threads = f"{torch.threads} thread" + ("" if torch.threads == 1 else "s")
    if torch.threads > 1:
        advice = "unset OMP_NUM_THREADS: each process is meant to compute with one, and equal bits need equal numbers"
        yield Finding("torch", "note", f"{torch.version}, {threads}", advice)
    else:
        yield Finding("torch", "ok", f"{torch.version}, {threads} per process")
    if torch.gpus:
        told = ", ".join(f"{name} with {memory / GIB:.0f} GiB" for name, memory in torch.gpus)
        yield Finding("GPU", "ok", f"{len(torch.gpus)}: {told}")
    elif machine.nvidia_devices:
        yield Finding("GPU", "note", f"{machine.nvidia_devices} in the machine, none for torch", _why_no_gpu(machine))
    else:
        yield Finding("GPU", "ok", "none; everything runs on CPUs")


def _why_no_gpu(machine: Machine) -> str:
    if machine.variables.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        return "unset CUDA_VISIBLE_DEVICES, which hides them"
    if machine.torch.version.endswith("+cpu"):
        return "install a build of torch with CUDA: https://pytorch.org/get-started"
    return "check the driver: nvidia-smi says which CUDA it has, torch.version.cuda which is wanted"


def _sionna(version: str) -> Finding:
    if version:
        return Finding("Sionna", "ok", f"{version}: TR 38.901 channels, and detectors to compare with")
    return Finding(
        "Sionna", "note", "not installed: no TR 38.901 channels", "pip install sionna-no-rt, or use rayleigh"
    )


def _ray(machine: Machine) -> Iterator[Finding]:
    address = machine.variables.get("RAY_ADDRESS", "")
    if not machine.ray:
        yield Finding("Ray", "problem", "not installed", "pip install ray, or use --engine inline")
    elif machine.address_hindrance:
        remedy = "unset RAY_ADDRESS for a cluster of the run's own, or set it to host:port of one that runs"
        yield Finding("Ray", "problem", machine.address_hindrance, remedy)
    elif address:
        yield Finding(
            "Ray", "note", f"runs join the cluster at {address}, as RAY_ADDRESS says", "unset it to start one"
        )
    else:
        told = f"{machine.ray}; each run starts a cluster of its own, to be tried by: cellfree doctor --ray"
        yield Finding("Ray", "ok", told)
    if machine.clusters:
        pids = ", ".join(map(str, machine.clusters))
        text = "no run joins one unless --address or RAY_ADDRESS says so; never 'ray stop', it ends all of them"
        yield Finding("other clusters", "note", f"Ray runs here already (process {pids})", text)


def _extras(packages: Sequence[Package]) -> Iterator[Finding]:
    for extra, purpose in EXTRAS.items():
        asked = [each for each in packages if each.extra == extra]
        if not asked:
            continue
        if all(each.fits for each in asked):
            yield Finding(f"extra {extra}", "ok", purpose)
        else:
            yield Finding(f"extra {extra}", "note", f"not installed: {purpose}", f"pip install 'cellfree-sim[{extra}]'")


def _quoted(packages: list[Package]) -> str:
    return " ".join(f"'{each.name}{each.wanted}'" for each in packages)


def _plural(noun: str, count: int) -> str:
    if count == 1:
        return noun
    return noun.removesuffix("y") + "ies" if noun.endswith("y") else f"{noun}s"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / GIB:.1f} GiB" if size_bytes >= GIB else f"{size_bytes / MIB:.0f} MiB"
