"""The one way in and out of a station: a chain of links around send and receive.

    role ─ send ──► number and address ─► choose precision ─► encode ─► enter as sent ──► frame (bytes)
    role ◄ receive ─ enter as received ◄─ check the address ◄──────── decode ◄─────────── frame (bytes)

A link is a small object with `outgoing(envelope)` and `incoming(envelope)`; `Port.chain` lists them from the role to
the wire. Outgoing envelopes pass it in that order, incoming ones in the other. Something that happens on the wire
(delay, damage) is one more link at its end.

A station does not see at once that a link was cut. The first frame that it sends over it is lost, and so are those that
follow within the time after which a lost frame is sent again; then they all are, over the path that is left:

    t0 ─── lost (attempt 0) ──► t0 + resend_after_s ─── sent again (attempt 1), and all later frames ──►
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellfree_sim.backhaul import codec
from cellfree_sim.backhaul.arrays import describe
from cellfree_sim.backhaul.ledger import Ledger, Side
from cellfree_sim.backhaul.messages import Header, Message, Phase
from cellfree_sim.errors import FrameError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from cellfree_sim.backhaul.link import Delivery
    from cellfree_sim.backhaul.precision import Precision


@dataclass(slots=True)
class Envelope:
    """What passes the chain: filled on the way out from the message to the frame, on the way in the other way round."""

    header: Header | None = None
    message: Message | None = None
    precision: Precision | None = None
    frame: bytes | memoryview = b""
    payload_bytes: int = 0

    def opened(self) -> tuple[Header, Message]:
        """Header and message, where they are known."""
        if self.header is None or self.message is None:
            raise FrameError("the envelope has not been opened: no link of the chain decoded the frame")
        return self.header, self.message


class Link:
    """Base of the links of a chain; it changes nothing."""

    def outgoing(self, envelope: Envelope) -> None:
        """Act on an envelope on its way to the wire."""

    def incoming(self, envelope: Envelope) -> None:
        """Act on an envelope on its way from the wire."""


class EnterReceived(Link):
    """Enters what was received, after everything else accepted it."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def incoming(self, envelope: Envelope) -> None:
        """Enter the frame as received."""
        _enter(self.ledger, "received", envelope)


class CheckAddress(Link):
    """Refuses frames for other stations."""

    def __init__(self, station: str) -> None:
        self.station = station

    def incoming(self, envelope: Envelope) -> None:
        """FrameError where the receiver is another station."""
        header, message = envelope.opened()
        if header.receiver != self.station:
            sender, receiver = describe(header.sender), describe(header.receiver)
            raise FrameError(f"{message.KIND} from {sender} is for {receiver}, not for {self.station}")


class ReducePrecision(Link):
    """Chooses the precision of float arrays on the wire."""

    def __init__(self, precision: Precision) -> None:
        self.precision: Precision = precision

    def outgoing(self, envelope: Envelope) -> None:
        """Choose, unless the sender chose for this one message."""
        if envelope.precision is None:
            envelope.precision = self.precision


class Frame(Link):
    """Encodes and decodes; refuses foreign and overlong frames."""

    def __init__(self, run: str, max_bytes: int) -> None:
        self.run = run
        self.max_bytes = max_bytes

    def outgoing(self, envelope: Envelope) -> None:
        """Message to frame; FrameError where the frame is longer than any station accepts."""
        header, message = envelope.opened()
        precision = envelope.precision or "float32"
        envelope.frame = codec.encode(header, message, precision=precision)
        if len(envelope.frame) > self.max_bytes:
            raise FrameError(
                f"{message.KIND} of {len(envelope.frame)} bytes is longer than the limit of {self.max_bytes}"
            )
        envelope.payload_bytes = codec.payload_bytes(message, precision)

    def incoming(self, envelope: Envelope) -> None:
        """Frame to header, message and payload bytes."""
        opened = codec.open_frame(envelope.frame, run=self.run, max_bytes=self.max_bytes)
        envelope.header, envelope.message, envelope.payload_bytes = opened


class EnterSent(Link):
    """Enters what leaves the station."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def outgoing(self, envelope: Envelope) -> None:
        """Enter the frame as sent."""
        _enter(self.ledger, "sent", envelope)


@dataclass(slots=True)
class _OldPath:
    """A path over a link that is cut, of which the station has not heard yet.

    `since_s` is when it sent the first frame that was lost, None before that.
    """

    path: tuple[str, ...]
    resend_after_s: float
    since_s: float | None = None

    def is_used_at(self, now_s: float) -> bool:
        return self.since_s is None or now_s < self.since_s + self.resend_after_s


class Port:
    """A station's side of the backhaul: messages become counted frames, frames become checked messages.

    >>> from cellfree_sim.backhaul.messages import Heartbeat
    >>> sbs = Port("sbs-0", "demo", {"mbs": ("sbs-0", "mbs")})
    >>> mbs = Port("mbs", "demo", {"sbs-0": ("mbs", "sbs-0")})
    >>> header, message = mbs.receive(sbs.send(Heartbeat(0.5), "mbs", phase="control", step=0, now_s=0.5))
    >>> header.sequence, message, len(mbs.ledger)
    (0, Heartbeat(now_s=0.5), 1)
    """

    def __init__(
        self,
        station: str,
        run: str,
        paths: Mapping[str, tuple[str, ...]],
        precision: Precision = "float32",
        max_bytes: int = codec.DEFAULT_MAX_BYTES,
    ) -> None:
        """`paths` maps each receiver to the stations on the way, both ends included; the port keeps its own copy."""
        self.station = station
        self.run = run
        self.paths = dict(paths)
        self.ledger = Ledger(station)
        self.chain: list[Link] = [
            EnterReceived(self.ledger),
            CheckAddress(station),
            ReducePrecision(precision),
            Frame(run, max_bytes),
            EnterSent(self.ledger),
        ]
        self._sequence = 0
        self._old_paths: dict[str, _OldPath] = {}

    def reroute(
        self, paths: Mapping[str, tuple[str, ...]], down: Collection[frozenset[str]], resend_after_s: float
    ) -> None:
        """The network changed: `paths` are those that are left, `down` the pairs of stations whose link is cut.

        Where the path to a receiver led over one of them, the station first loses frames, until it sends them again
        over the new path `resend_after_s` of simulated time after the first of them; another change meanwhile makes
        that no shorter.
        """

        def is_cut(path: tuple[str, ...]) -> bool:
            return any(frozenset(hop) in down for hop in itertools.pairwise(path))

        waiting = {to: old for to, old in self._old_paths.items() if old.since_s is not None and is_cut(old.path)}
        known = self.paths | {to: old.path for to, old in self._old_paths.items() if old.since_s is None}
        self.paths = dict(paths)
        cut = {to: _OldPath(path, resend_after_s) for to, path in known.items() if is_cut(path)}
        self._old_paths = waiting | cut

    def send(
        self,
        message: Message,
        to: str,
        *,
        phase: Phase,
        step: int,
        now_s: float,
        attempt: int = 0,
        precision: Precision | None = None,
    ) -> bytes:
        """The frame that carries `message` to station `to`, entered as sent at simulated time `now_s`.

        `precision` replaces the port's for this one frame.
        """
        return self.post(message, to, phase=phase, step=step, now_s=now_s, attempt=attempt, precision=precision)[1]

    def post(
        self,
        message: Message,
        to: str,
        *,
        phase: Phase,
        step: int,
        now_s: float,
        attempt: int = 0,
        precision: Precision | None = None,
    ) -> tuple[Header, bytes]:
        """As `send`, with the header that `annotate` needs, for the station that simulates the links.

        A frame that is lost is entered as sent and as dropped, and what is returned is the next attempt: its header
        says when that leaves.
        """
        path = self.paths.get(to)
        if path is None:
            raise FrameError(f"{self.station} has no path to {to}; it knows {', '.join(self.paths) or 'none'}")
        old = self._old_paths.get(to)
        if old is not None and not old.is_used_at(now_s):
            del self._old_paths[to]
        elif old is not None:
            header = Header(self.run, phase, step, self._sequence, self.station, to, old.path, float(now_s), attempt)
            now_s = self._lose(header, message, precision, old) + old.resend_after_s
            attempt += 1
        header = Header(self.run, phase, step, self._sequence, self.station, to, path, float(now_s), attempt)
        frame = bytes(self._pass_out(header, message, precision).frame)
        self._sequence += 1
        return header, frame

    def lose(
        self, message: Message, to: str, *, phase: Phase, step: int, now_s: float, precision: Precision | None = None
    ) -> None:
        """Send `message` over a path that was cut to a station that none reaches: it is entered as sent and dropped."""
        old = self._old_paths.get(to)
        if old is None:
            raise FrameError(f"{self.station} has lost no path to {to}")
        header = Header(self.run, phase, step, self._sequence, self.station, to, old.path, float(now_s))
        self._lose(header, message, precision, old)
        self._sequence += 1

    def receive(self, frame: bytes | memoryview) -> tuple[Header, Message]:
        """Header and message of a frame for this station, entered as received; FrameError where it is refused."""
        envelope = Envelope(frame=frame)
        for link in reversed(self.chain):
            link.incoming(envelope)
        return envelope.opened()

    def annotate(self, header: Header, delivery: Delivery) -> None:
        """Add simulated arrival, queueing and transfer time to the entry of a frame sent or received here."""
        self.ledger.annotate(header, delivery)

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold beside the paths: the next sequence number, and the cuts not heard of yet."""
        old_paths = {to: [list(old.path), old.resend_after_s, old.since_s] for to, old in self._old_paths.items()}
        return {"sequence": self._sequence, "old_paths": old_paths}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        self._sequence = int(state["sequence"])
        self._old_paths = {to: _OldPath(tuple(path), *times) for to, (path, *times) in state["old_paths"].items()}

    def _pass_out(self, header: Header, message: Message, precision: Precision | None) -> Envelope:
        envelope = Envelope(header, message, precision)
        for link in self.chain:
            link.outgoing(envelope)
        return envelope

    def _lose(self, header: Header, message: Message, precision: Precision | None, old: _OldPath) -> float:
        """Enter a frame as sent and dropped; returns when the first one was lost on this path."""
        _enter(self.ledger, "dropped", self._pass_out(header, message, precision))
        if old.since_s is None:
            old.since_s = header.sent_s
        return old.since_s


def _enter(ledger: Ledger, side: Side, envelope: Envelope) -> None:
    header, message = envelope.opened()
    ledger.record(
        side,
        header,
        kind=message.KIND,
        link_class=message.LINK,
        size_bytes=len(envelope.frame),
        payload_bytes=envelope.payload_bytes,
    )
