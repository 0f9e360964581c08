"""One large frame, and what its detection takes: time and memory, measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

from cellfree_sim.threads import one_torch_thread

SETTLED = {"damping": 0.3, "tolerance": 1e-3}
"""Options of AMP by sections that ends when it is settled."""


def in_own_process(devices: int, pilots: str) -> dict[str, Any]:
    """`large_frame` of so many devices, with pilots gaussian or dft, in a process of its own."""
    code = "import json; from cellfree_sim.detection.mmtc import large; print(json.dumps(large.large_frame(*{})))"
    done = subprocess.run(
        [sys.executable, "-c", code.format((devices, pilots))], check=True, capture_output=True, text=True, timeout=600
    )
    row: dict[str, Any] = json.loads(done.stdout)
    return row


def large_frame(devices: int, pilots: str) -> dict[str, Any]:
    """One frame of so many devices: a row of the benchmark."""
    import torch

    from cellfree_sim.detection import create_detector
    from cellfree_sim.uplink import MmtcProblem

    with one_torch_thread():
        problem = MmtcProblem(devices=devices, pilot_length=devices * 2 // 5, pilots=pilots)  # type: ignore[arg-type]
        frame = problem.sample(1, generator=torch.Generator().manual_seed(1))
        detector = create_detector("amp-section", problem, **SETTLED)
        start = time.process_time()
        found = detector(frame.y, frame.h, frame.noise_variance)
        seconds = time.process_time() - start
    return {
        "case": f"amp-section, one frame of {devices} devices",
        "value": seconds,
        "unit": "CPU-s/frame",
        "iterations": found.iterations,
        "memory_gib": _peak_kib() / 2**20,
        "ser": (found.messages != frame.messages).double().mean().item(),
    }


def _peak_kib() -> int:
    """Most memory that this process has had, KiB."""
    import resource
    from pathlib import Path

    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says is at least what the parent had
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
