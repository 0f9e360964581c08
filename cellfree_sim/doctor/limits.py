"""What a process may take of its machine: cores and memory, as containers and schedulers limit them (cgroups)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_NO_LIMIT = 2**60  # cgroup v1 says "no limit" by a number of about 2^63


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Cores' worth of time that the process's control groups allow, the least of them; None without a limit.

    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> (root / "sys/fs/cgroup").mkdir(parents=True)
    >>> _ = (root / "sys/fs/cgroup/cpu.max").write_text("150000 100000")
    >>> cpu_quota(root)
    1.5
    """
    found = []
    for folder in _groups(root, "cpu"):
        with suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            found += [] if quota == "max" else [int(quota) / int(period)]
        with suppress(OSError, ValueError):
            quota_us = int((folder / "cpu.cfs_quota_us").read_text())
            found += [quota_us / int((folder / "cpu.cfs_period_us").read_text())] if quota_us > 0 else []
    return min(found, default=None)


def memory_limit(root: Path = Path("/")) -> tuple[int, int] | None:
    """The tightest limit of memory of the process's control groups, and what is left below it, bytes; None without."""
    found = []
    for folder in _groups(root, "memory"):
        for limit_name, used_name in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            with suppress(OSError, ValueError):
                limit = int((folder / limit_name).read_text())  # "max" is no number
                if limit < _NO_LIMIT:
                    used = int((folder / used_name).read_text()) - _reclaimable(folder)
                    found.append((max(limit - used, 0), limit))
    if not found:
        return None
    left, limit = min(found)
    return limit, left


def _reclaimable(folder: Path) -> int:
    """Bytes of file cache in a group, which are given up when memory is wanted."""
    with suppress(OSError, ValueError):
        for line in (folder / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name in ("inactive_file", "total_inactive_file"):
                return int(value)
    return 0


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the groups of this process, from its own up to the top; inside a container only the top is seen."""
    mount = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = ["0::/"]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = mount / controllers if controllers else mount
        folder = top / path.strip("/")
        while folder != top and top in folder.parents:
            yield folder
            folder = folder.parent
        yield top
