"""One policy shared by all stations: how their models are averaged, and how a model is cut to frames.

Stations that share start from one model. Every k steps, and after the last one, the MBS averages what they have learned
since (federated averaging), and all go on from there:

    SBS b: model_transfer of pi_b ─► MBS: mean over the stations that learn ─► model_transfer to every SBS

A station that joins, or whose link is restored, goes on with a model of its own until the next average; where that was
after the last step already, it ends with it. Batch statistics are averaged, too. The moments of Adam stay where they
are: each station keeps its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cellfree_sim.errors import RunFailedError
from cellfree_sim.scenario.schema import FRAME_OVERHEAD_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

Model = dict[str, "NDArray[Any]"]


def average(models: Sequence[Mapping[str, NDArray[Any]]]) -> Model:
    """The mean of the states of equal networks, batch statistics included, each array in its own type.

    Sums are taken in float64 and in the order of `models`: equal models give themselves, bit for bit.

    >>> average([{"w": np.float32([1, 2])}, {"w": np.float32([3, 2])}])["w"].tolist()
    [2.0, 2.0]
    """
    return {
        name: np.asarray(np.mean([model[name] for model in models], axis=0, dtype=np.float64)).astype(array.dtype)
        for name, array in models[0].items()
    }


def room_on(path: Sequence[str], max_frame_bytes: int) -> int:
    """Bytes of arrays that a frame on a path carries beside its header and the names of the stations on the way."""
    return max_frame_bytes - FRAME_OVERHEAD_BYTES - sum(len(station) + 2 for station in path)


def parts_of(model: Mapping[str, NDArray[Any]], room: int, owner: str, max_frame_bytes: int) -> Iterator[Model]:
    """A model in parts of at most `room` bytes, which frames of `max_frame_bytes` have; `owner` is for the error.

    Raises:
        RunFailedError: one array alone is longer.
    """
    part: Model = {}
    size = 0
    for name, array in model.items():
        entry = array.nbytes + len(name) + 64  # with its key and its place in the frame
        if entry > room:
            raise RunFailedError(
                f"{owner}: {name} of the policy takes {entry} bytes, more than a frame of "
                f"backhaul.max_frame_bytes {max_frame_bytes} carries"
            )
        if size + entry > room:
            yield part
            part, size = {}, 0
        part[name] = array
        size += entry
    yield part
