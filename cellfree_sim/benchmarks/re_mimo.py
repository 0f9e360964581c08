"""How much faster RE-MIMO detects in bfloat16 and in 8 bits than in float32, and how much that changes.

The three precisions take turns on the same slots, one thread; a rate is that of the fastest turn. What is gained
depends on the processor: without its own instructions for bfloat16 (AMX, AVX-512 BF16) torch converts every product,
which is slower than float32. With AMX, 8 bits are as fast as bfloat16 and no faster, as both leave little beside the
attention, the layer norms and what is said of y and H, which stay in float32 (see
`cellfree_sim.detection.learned.precision.packed_layer`). The rows say which of these instructions there are.

Two networks: one of the size in which products with weights take nearly all the time (width 128, 12 blocks, inputs
"gradient", 64 antennas, 32 users), with random weights, and the shipped one.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellfree_sim.threads import one_torch_thread

if TYPE_CHECKING:
    from torch import nn

    from cellfree_sim.detection.mimo.re_mimo import ReMimoOptions
    from cellfree_sim.uplink.mimo import MimoProblem

PRECISIONS = ("float32", "bfloat16", "int8")
BATCH = 64
_INSTRUCTIONS = ("amx_bf16", "amx_int8", "avx512_bf16", "avx512_vnni", "avx_vnni", "avx512f", "avx2")


def run(quick: bool) -> list[dict[str, Any]]:
    """See `cellfree_sim.benchmarks`: vectors per CPU-second, and the ratio to float32.

    Further keys: batch, parameters, largest and mean change of a log-probability, share of other decisions, and
    instructions: those of the processor that matter.
    """
    import torch

    from cellfree_sim.detection.mimo.re_mimo import ReMimoOptions
    from cellfree_sim.uplink.mimo import MimoProblem

    with one_torch_thread():
        big = MimoProblem(n_rx=64, n_tx=32, correlation=0.7, correlated="receive")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            options = ReMimoOptions(inputs="gradient", width=128, blocks=2 if quick else 12, heads=8)
            rows = _rows("width 128, untrained", options, options.network(big), big, 16.0, quick)
        return rows + _shipped(quick)


def _shipped(quick: bool) -> list[dict[str, Any]]:
    from cellfree_sim.detection.learned.trained import load, read_trained, shipped_detectors
    from cellfree_sim.detection.mimo.re_mimo import ReMimoOptions
    from cellfree_sim.scenario.training import MimoTraining
    from cellfree_sim.uplink.mimo import MimoProblem

    rows = []
    for name, path in shipped_detectors().items():
        trained = read_trained(path)
        if trained.detector != "re-mimo":
            continue
        made = trained.training
        assert isinstance(made, MimoTraining)
        problem = MimoProblem(
            n_rx=made.n_rx,
            n_tx=max(made.n_tx),
            constellation=made.constellation,
            correlation=made.correlation[-1],
            correlated=made.correlated,
        )
        options, network = load(ReMimoOptions(checkpoint=name), problem)
        assert isinstance(options, ReMimoOptions)
        rows += _rows(name, options, network, problem, made.snr_range_db(problem.n_tx)[1], quick)
    return rows


def _rows(
    case: str, options: ReMimoOptions, network: nn.Module, problem: MimoProblem, snr_db: float, quick: bool
) -> list[dict[str, Any]]:
    import torch

    batch = problem.sample(BATCH, snr_db, generator=torch.Generator().manual_seed(1))
    received = (batch.y, batch.h, batch.noise_variance)
    found = {}
    detectors = {}
    for precision in PRECISIONS:
        detectors[precision] = options.model_copy(update={"precision": precision}).algorithm(network, problem)
        found[precision] = detectors[precision](*received)
    seconds = dict.fromkeys(PRECISIONS, float("inf"))
    for _ in range(2 if quick else 9):
        for precision, detect in detectors.items():
            start = time.process_time()
            detect(*received)
            seconds[precision] = min(seconds[precision], time.process_time() - start)
    exact = found["float32"]
    return [
        {
            "case": f"{case}, {precision}",
            "value": len(batch.y) / seconds[precision],
            "unit": "vectors/s",
            "ratio": seconds["float32"] / seconds[precision],
            "against": "float32",
            "batch": len(batch.y),
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "largest_change": (found[precision].logits - exact.logits).abs().max().item(),
            "mean_change": (found[precision].logits - exact.logits).abs().mean().item(),
            "other_decisions": (found[precision].messages != exact.messages).float().mean().item(),
            "instructions": _instructions(),
        }
        for precision in PRECISIONS
    ]


def _instructions() -> str:
    """Those of the processor's instructions that matter here, as Linux tells them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "unknown"
    flags = set(next((line for line in text.splitlines() if line.startswith("flags")), "").split())
    return " ".join(name for name in _INSTRUCTIONS if name in flags) or "unknown"
