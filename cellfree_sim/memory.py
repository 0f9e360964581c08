"""Memory of a process that allocates the same large arrays again and again."""

from __future__ import annotations

import ctypes
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
KEPT_BYTES = 256 * 2**20
LARGEST_FROM_HEAP_BYTES = 32 * 2**20  # the most that glibc accepts


def keep_freed_memory() -> None:
    """Let the C library keep what is freed instead of giving it back to the system after each step.

    A training step allocates and frees some tens of megabytes. By default glibc maps each large array anew, and the
    system clears its pages: about 15 % of the CPU time of a distributed step. Other C libraries are left as they are.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(M_MMAP_THRESHOLD, LARGEST_FROM_HEAP_BYTES)
        library.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
