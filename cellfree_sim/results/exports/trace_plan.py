"""What has to be known of all frames before the first one can be drawn: lanes, and when stations computed.

Frames that a station has under way at the same time need lanes of their own, since slices of one track must not
overlap; and the time in which a station computes is that between the last frame that it waited for and the next one it
sends. Both need frames in the order of time, which is not that of the table. A few numbers of each are kept for it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cellfree_sim.results.exports.trace_file import NS_PER_S, to_ns
from cellfree_sim.scenario.parts import MBS_NAME

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from cellfree_sim.results.exports.selection import Selection

APART_NS = 2  # least gap on a lane, so that no reader's rounding lets slices overlap
NO_TIME = -1  # the lane of what takes no time, such as frames that only measure
_TURN = {"training": 0, "sharing": 1, "setup": 2}  # order of what belongs to a step
_TURNS = len(_TURN)


class Times(NamedTuple):
    """When frames left, and until when they are shown at their sender: to their arrival, or to when their loss is
    noticed; nanoseconds.
    """

    sent_ns: NDArray[np.int64]
    ends_ns: NDArray[np.int64]


def frame_times(table: pd.DataFrame, resend_after_s: float) -> Times:
    """Times of a frames table. Frames that only measure take no time."""
    sent_s, arrival_s = table["sent_s"].to_numpy(), table["arrival_s"].to_numpy()
    lost = (table["status"] == "dropped").to_numpy()
    end_s = np.where(np.isfinite(arrival_s), arrival_s, sent_s + np.where(lost, resend_after_s, 0.0))
    sent_ns, ends_ns = (np.rint(each * NS_PER_S).astype(np.int64) for each in (sent_s, end_s))
    return Times(sent_ns, np.maximum(sent_ns, ends_ns))


class Computing(NamedTuple):
    """A station computed, nanoseconds; `step` is that of the round for which it did."""

    station: str
    step: int
    begin_ns: int
    end_ns: int


class Plan:
    """Lanes of all frames that are drawn, and what stations computed.

    Attributes:
        lanes: of the frames that are drawn, in the order of the table.
        stations: names of all senders and receivers, in the order in which they come up.
    """

    def __init__(self, tables: Iterable[pd.DataFrame], selection: Selection, resend_after_s: float) -> None:
        """Read the frames of the tables once; those that are not selected are passed over."""
        self._codes: dict[str, int] = {}
        drawn: list[NDArray[Any]] = []
        turns: list[NDArray[Any]] = []
        for table in tables:
            chosen = table[selection.frames(table)]
            times = frame_times(chosen, resend_after_s)
            sender, receiver = self._coded(chosen["sender"]), self._coded(chosen["receiver"])
            shown = selection.of_kind(chosen)
            drawn.append(np.stack([sender, *times])[:, shown])
            turn = chosen["phase"].map(_TURN).to_numpy(dtype=float, na_value=np.nan)
            timed = np.isfinite(turn) & np.isfinite(chosen["arrival_s"].to_numpy())
            sends = np.isfinite(turn) & (chosen["attempt"] == 0).to_numpy()
            rank = _TURNS * chosen["step"].to_numpy() + np.nan_to_num(turn).astype(np.int64)
            turns.append(np.stack([sender, rank, times.sent_ns, np.ones_like(rank)])[:, sends])
            turns.append(np.stack([receiver, rank, times.ends_ns, np.zeros_like(rank)])[:, timed])
        self.stations = list(self._codes)
        self.lanes = _lanes(np.concatenate(drawn, axis=1)) if drawn else np.zeros(0, dtype=np.int32)
        self._turns = np.concatenate(turns, axis=1) if turns else np.zeros((4, 0), dtype=np.int64)

    def computing(self) -> Iterator[Computing]:
        """What stations computed in training: from the arrival of the last frame that they waited for to the first that
        they sent then. A station that was cut off for longer than a step is not said to compute.
        """
        station, rank, time_ns, sends = self._turns
        for code, name in enumerate(self.stations):
            own = station == code
            first = _by_rank(rank[own & (sends == 1)], time_ns[own & (sends == 1)], np.minimum)
            last = _by_rank(rank[own & (sends == 0)], time_ns[own & (sends == 0)], np.maximum)
            yield from _gaps(name, first, last)

    def steps_of_frames(self) -> set[int]:
        """Training steps in which stations exchanged something."""
        rank = self._turns[1]
        return set((rank[rank % _TURNS == _TURN["training"]] // _TURNS).tolist())

    def _coded(self, names: pd.Series[str]) -> NDArray[np.int64]:
        codes = {name: self._codes.setdefault(name, len(self._codes)) for name in names.unique()}
        return names.map(codes).to_numpy(dtype=np.int64)


def _by_rank(rank: NDArray[np.int64], time_ns: NDArray[np.int64], least: Any) -> dict[int, int]:
    """The least, or the largest, time of each rank, in the order of ranks."""
    if not len(rank):
        return {}
    order = np.argsort(rank, kind="stable")
    ranks, starts = np.unique(rank[order], return_index=True)
    return dict(zip(ranks.tolist(), least.reduceat(time_ns[order], starts).tolist(), strict=True))


def _gaps(name: str, first_ns: dict[int, int], last_ns: dict[int, int]) -> Iterator[Computing]:
    """Where a station computed, from when it sent first, and received last, in each turn."""
    if name == MBS_NAME:  # it answers in the same turn; admitting stations takes it no time
        for rank, begin_ns in last_ns.items():
            if rank % _TURNS != _TURN["setup"] and first_ns.get(rank, 0) > begin_ns:
                yield Computing(name, rank // _TURNS, begin_ns, first_ns[rank])
        return
    for before, begin_ns in last_ns.items():
        after = next((each for each in range(before + 1, before + _TURNS + 1) if each in first_ns), None)
        if after is not None and first_ns[after] > begin_ns:
            yield Computing(name, after // _TURNS, begin_ns, first_ns[after])


def _lanes(frames: NDArray[np.int64]) -> NDArray[np.int32]:
    """A lane for each frame (rows sender, begin, end): the first one of its sender that is free; `NO_TIME` where it
    takes none.
    """
    sender, begin, end = frames
    lanes = np.where(end > begin, 0, NO_TIME).astype(np.int32)
    busy: list[tuple[int, int]] = []
    free: list[int] = []
    last_sender, used = -1, 0
    for index in np.lexsort((end, begin, sender)).tolist():
        if lanes[index] == NO_TIME:
            continue
        if sender[index] != last_sender:
            last_sender, used = sender[index], 0
            busy.clear()
            free.clear()
        while busy and busy[0][0] + APART_NS <= begin[index]:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lane = heapq.heappop(free) if free else used
        used = max(used, lane + 1)
        lanes[index] = lane
        heapq.heappush(busy, (int(end[index]), lane))
    return lanes


def spread(begins_s: Sequence[float], ends_s: Sequence[float]) -> list[int]:
    """Lanes for what lasts from `begins_s` to `ends_s`, one for all that are apart.

    >>> spread([0.0, 1.0, 2.0], [1.5, 2.5, 3.0])
    [0, 1, 0]
    """
    begins, ends = ([to_ns(each) for each in times] for times in (begins_s, ends_s))
    lanes: list[int] = _lanes(np.array([[0] * len(begins), begins, ends], dtype=np.int64)).tolist()
    return lanes
