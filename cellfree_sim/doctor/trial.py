"""A Ray cluster, started or joined for a moment, to see whether it works and how long it takes."""

from __future__ import annotations

import time

from cellfree_sim.doctor.findings import Finding
from cellfree_sim.errors import CellfreeError

ANSWER_TIMEOUT_S = 60.0


def try_ray(address: str | None = None) -> Finding:
    """Start a cluster of this machine's own (or join that at `address` or RAY_ADDRESS), let one process of it answer,
    and end it.
    """
    import ray

    from agents.cluster import Cluster

    started = time.monotonic()
    try:
        cluster = Cluster(address=address, namespace="cellfree-doctor", cpus=1)
    except (CellfreeError, RuntimeError, OSError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        return Finding("Ray, tried", "problem", text, "--engine inline runs everything without Ray")
    ready = time.monotonic()
    try:
        answer = ray.get(ray.remote(_answer).remote(), timeout=ANSWER_TIMEOUT_S)
    except ray.exceptions.RayError as error:
        text = f"no process of it answers: {str(error).strip().splitlines()[0]}"
        return Finding("Ray, tried", "problem", text, "--engine inline runs everything without Ray")
    finally:
        cluster.close()
    what = "a cluster started in" if cluster.owned else "the cluster was joined in"
    seconds = f"{what} {ready - started:.1f} s, a process of it answered after {time.monotonic() - ready:.1f} s"
    return Finding("Ray, tried", "ok", f"{seconds} (Python {answer})")


def _answer() -> str:
    import platform

    return platform.python_version()
