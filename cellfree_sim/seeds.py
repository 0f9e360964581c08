"""One seed per run, from which every random stream is spawned by role and identity, never by process or arrival order.

A stream is named by strings and integers, for example ``("channel", "sbs-0", "train")``. The same seed and name give
the same stream in any process, in any order, whatever other streams exist.
"""

from __future__ import annotations

import hashlib

import numpy as np


def stream(seed: int, *identity: str | int) -> np.random.SeedSequence:
    """Seed sequence of the stream `identity` of a run.

    >>> int(stream(1, "batch", 7).generate_state(1)[0]) == int(stream(1, "batch", 7).generate_state(1)[0])
    True
    >>> int(stream(1, "batch", 7).generate_state(1)[0]) == int(stream(1, "batch", 8).generate_state(1)[0])
    False
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in identity)
    digest = hashlib.sha256(text.encode()).digest()
    words = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4)]
    return np.random.SeedSequence(entropy=seed, spawn_key=words)


def generator(seed: int, *identity: str | int) -> np.random.Generator:
    """NumPy generator of the stream `identity`."""
    return np.random.default_rng(stream(seed, *identity))


def integer(seed: int, *identity: str | int) -> int:
    """A 63-bit integer of the stream `identity`, for libraries that take one number (torch, Sionna, a message)."""
    return int(stream(seed, *identity).generate_state(1, np.uint64)[0] >> np.uint64(1))
