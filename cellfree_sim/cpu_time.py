"""CPU time of a process and everything it set going."""

from __future__ import annotations

import time

import psutil


def cpu_seconds() -> float:
    """User and system seconds of this process and of all processes below it that live."""
    total = time.process_time()
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
