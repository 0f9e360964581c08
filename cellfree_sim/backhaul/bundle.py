"""What crosses a process boundary: frames, each with the simulated time at which the backhaul delivered it.

A frame is what the sender wrote; when it arrived is known to the network, not to the sender, so it stands beside the
frame, like the time stamp of a packet capture. An envelope is 4 bytes of length, 8 bytes of arrival time (NaN where
it is not known yet) and the frame. Envelopes are part of the transport between processes: the books count frames.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

from cellfree_sim.backhaul import codec
from cellfree_sim.errors import FrameError

_ENVELOPE = struct.Struct("<Id")


class Bundle:
    """Frames on their way to one process.

    >>> bundle = Bundle()
    >>> bundle.add(b"frame", arrival_s=0.5)
    >>> [(bytes(frame), arrival_s) for frame, arrival_s in Bundle.unpack(bundle.pack())]
    [(b'frame', 0.5)]
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def add(self, frame: bytes, arrival_s: float = math.nan) -> None:
        """Append a frame of fewer than 2^32 bytes."""
        self._parts += (_ENVELOPE.pack(len(frame), arrival_s), frame)

    def pack(self) -> bytes:
        """All envelopes as one byte string."""
        return b"".join(self._parts)

    @staticmethod
    def unpack(bundle: bytes) -> Iterator[tuple[memoryview, float]]:
        """Frames and arrival times; frames are views into `bundle`. FrameError where the bundle is truncated."""
        view, at = memoryview(bundle), 0
        while at < len(view):
            if at + _ENVELOPE.size > len(view):
                raise FrameError(f"bundle of {len(view)} bytes ends within an envelope at byte {at}")
            length, arrival_s = _ENVELOPE.unpack_from(view, at)
            at += _ENVELOPE.size
            if at + length > len(view):
                raise FrameError(f"bundle of {len(view)} bytes ends within a frame of {length} bytes at byte {at}")
            yield view[at : at + length], arrival_s
            at += length


def payload_and_frame_bytes(bundle: bytes) -> tuple[int, int]:
    """Bytes of the payload, and of the frames, of all messages in a bundle."""
    frames = [frame for frame, _ in Bundle.unpack(bundle)]
    return sum(codec.open_frame(frame).payload_bytes for frame in frames), sum(len(frame) for frame in frames)
