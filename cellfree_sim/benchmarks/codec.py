"""How long it takes to turn the messages of a training step into frames and back, beside plain copies of their arrays.

The messages are those of one station in one step of the paper's set-up (100 realisations, 4 subcarriers, 4 transmit
antennas, 10 users, 2 receive antennas): a channel report of 256 000 payload bytes, a policy output of 149 600, the two
one after the other, and one frame of 405 600 that holds all four arrays. The baseline copies the same arrays once, with
NumPy alone (`tobytes`, and `frombuffer` with a copy), in turns with the codec, so that a busy machine slows both.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from cellfree_sim.backhaul.codec import decode, encode, payload_bytes
from cellfree_sim.backhaul.messages import ChannelReport, Header, Message, ModelTransfer, PolicyOutput

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def run(quick: bool) -> list[dict[str, Any]]:
    """See `cellfree_sim.benchmarks`: least time in us of each case and direction, over the least time of the copies.

    Further keys: median_us, mb_per_s (at the least time), bytes of the frames, payload_bytes, copy_us.

    >>> rows = run(quick=True)
    >>> [(row["case"], row["payload_bytes"]) for row in rows[-2:]]
    [('encode one frame of 405 kB', 405600), ('decode one frame of 405 kB', 405600)]
    """
    repeats = 200 if quick else 5000
    return [row for case, messages in _cases().items() for row in _rows(case, messages, repeats)]


def _cases() -> dict[str, list[Message]]:
    rng = np.random.default_rng(1)
    beams = _complex(rng, 100, 4, 4, 10)
    report = ChannelReport(_complex(rng, 100, 4, 4, 10, 2))
    output = PolicyOutput(
        beams, rng.random((100, 4, 10), dtype=np.float32), rng.standard_normal((100, 14), dtype=np.float32)
    )
    arrays = {"channel": report.channel, "beams": beams, "allocation": output.allocation, "beta": output.beta}
    return {
        "a channel report": [report],
        "a policy output": [output],
        "both, as two frames": [report, output],
        "one frame of 405 kB": [ModelTransfer(arrays)],
    }


def _complex(rng: np.random.Generator, *shape: int) -> NDArray[np.complex64]:
    pairs = rng.standard_normal((*shape, 2), dtype=np.float32)
    flat: NDArray[np.complex64] = pairs.view(np.complex64)[..., 0]
    return np.ascontiguousarray(flat)


def _rows(case: str, messages: list[Message], repeats: int) -> list[dict[str, Any]]:
    header = Header("bench", "training", 1, 1, "sbs-0", "mbs", ("sbs-0", "mbs"), 0.25)
    arrays = [array for message in messages for array in _arrays(message)]
    copies = [(array.tobytes(), array.dtype) for array in arrays]
    frames = [encode(header, message) for message in messages]
    directions: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "encode": (
            lambda: [encode(header, message) for message in messages],
            lambda: [array.tobytes() for array in arrays],
        ),
        "decode": (
            lambda: [decode(frame) for frame in frames],
            lambda: [np.frombuffer(raw, dtype).copy() for raw, dtype in copies],
        ),
    }
    rows = []
    for direction, (codec, baseline) in directions.items():
        times, copy_times = _in_turns(codec, baseline, repeats)
        size = sum(map(len, frames))
        rows.append(
            {
                "case": f"{direction} {case}",
                "value": times[0] / 1e3,
                "unit": "us",
                "ratio": times[0] / copy_times[0],
                "against": "time of one NumPy copy of the arrays",
                "median_us": times[repeats // 2] / 1e3,
                "mb_per_s": 1e3 * size / times[0],
                "bytes": size,
                "payload_bytes": sum(map(payload_bytes, messages)),
                "copy_us": copy_times[0] / 1e3,
            }
        )
    return rows


def _arrays(message: Message) -> list[NDArray[Any]]:
    if isinstance(message, ModelTransfer):
        return list(message.state.values())
    return [getattr(message, name) for name in message.ARRAYS]


def _in_turns(one: Callable[[], object], other: Callable[[], object], repeats: int) -> tuple[list[int], list[int]]:
    """Sorted times of `repeats` calls of each, in ns."""
    times: tuple[list[int], list[int]] = ([], [])
    for _ in range(repeats):
        for call, found in zip((one, other), times, strict=True):
            start = time.perf_counter_ns()
            call()
            found.append(time.perf_counter_ns() - start)
    return sorted(times[0]), sorted(times[1])
