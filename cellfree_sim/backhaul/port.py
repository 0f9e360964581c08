"""The one way in and out of a station: a chain of links around send and receive.

    role ─ send ──► number and address ─► choose precision ─► encode ─► enter as sent ──► frame (bytes)
    role ◄ receive ─ enter as received ◄─ check the address ◄──────── decode ◄─────────── frame (bytes)

A link is a small object with `outgoing(envelope)` and `incoming(envelope)`; `Port.chain` lists them from the role to
the wire. Outgoing envelopes pass it in that order, incoming ones in the other. Something that happens on the wire
(loss, delay, damage) is one more link at its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellfree_sim.backhaul import codec
from cellfree_sim.backhaul.arrays import describe
from cellfree_sim.backhaul.ledger import Ledger, Side
from cellfree_sim.backhaul.messages import Header, Message, Phase
from cellfree_sim.errors import FrameError

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        """As `send`, with the header that `annotate` needs, for the station that simulates the links."""
        path = self.paths.get(to)
        if path is None:
            raise FrameError(f"{self.station} has no path to {to}; it knows {', '.join(self.paths) or 'none'}")
        header = Header(self.run, phase, step, self._sequence, self.station, to, path, float(now_s), attempt)
        envelope = Envelope(header, message, precision)
        for link in self.chain:
            link.outgoing(envelope)
        self._sequence += 1
        return header, bytes(envelope.frame)

    def receive(self, frame: bytes | memoryview) -> tuple[Header, Message]:
        """Header and message of a frame for this station, entered as received; FrameError where it is refused."""
        envelope = Envelope(frame=frame)
        for link in reversed(self.chain):
            link.incoming(envelope)
        return envelope.opened()

    def annotate(self, header: Header, delivery: Delivery) -> None:
        """Add simulated arrival, queueing and transfer time to the entry of a frame sent or received here."""
        self.ledger.annotate(header, delivery)

    def state(self) -> dict[str, int]:
        """What a checkpoint must hold: the next sequence number."""
        return {"sequence": self._sequence}

    def restore(self, state: Mapping[str, int]) -> None:
        """Take back what `state` gave."""
        self._sequence = int(state["sequence"])


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
