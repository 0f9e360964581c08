"""The uplink of a run: its bursts go on beside training, and are saved and taken back together with it.

    boundary of training step k ── all bursts due by then are over: ceil(bursts k / steps) of them
    one process   train to the boundary ─► the bursts due by then
    on Ray        train to the boundary ─┬─► commit        a thread waits for the uplink's actors, which wait for nobody
                  the bursts due by then ┘

Nothing that an uplink computes depends on when it is computed: both orders, and any stop on the way, give the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cellfree_sim.errors import RunFailedError, UserError
from cellfree_sim.interrupts import deferred_interrupts
from cellfree_sim.scenario.uplink_checks import burst_step, bursts_due

if TYPE_CHECKING:
    from cellfree_sim.detection.serving.changes import Change
    from cellfree_sim.detection.serving.deployment import Uplink
    from cellfree_sim.engine import Rows
    from cellfree_sim.network import Network
    from cellfree_sim.results.checkpoints import Checkpoint
    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.scenario.uplink import UplinkEvent

PARTS = 20  # a run without training is saved so often, or more often, since what is not saved is in memory:
MOST_BURSTS_OF_PART = 2000
LOOK_EVERY_S = 0.2
PREFIX = "uplink/"  # of the uplink's parts of a checkpoint


class Bursts:
    """Drives the uplink of a run, if it has one, and lets the events of its services happen.

    Args:
        scenario: with or without an uplink.
        uplink: None where there is none.
        beside: whether bursts go on while training does, on a thread.
        on_rows: is told of bursts as they are over, from any thread.
        on_event: is told of what happened to a service, from any thread.
        folder: where detectors go that are trained meanwhile; the working directory by default.
    """

    def __init__(
        self,
        scenario: Scenario,
        uplink: Uplink | None,
        *,
        beside: bool,
        on_rows: Callable[[Rows], None],
        on_event: Callable[[dict[str, Any]], None],
        folder: Path | None = None,
    ) -> None:
        self._scenario = scenario
        self._uplink = uplink
        self._beside = beside
        self._on_rows = on_rows
        self._on_event = on_event
        self._folder = folder or Path()
        self._events: list[_Happening] = []
        self._trainings: dict[tuple[int, str], Callable[[], Change]] = {}  # under way: since which burst, for whom
        self.total = 0
        if scenario.uplink is not None:
            self._events = _happenings(scenario.uplink.events)
            self.total = scenario.uplink.bursts
        self._happened = 0  # how many events
        self._killed: set[int] = set()  # those of them that killed a process, which going back does not undo
        self._until = 0
        self._ready = False  # to be asked for what it did
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._hold = threading.Event()

    @property
    def done(self) -> int:
        """Bursts that are over."""
        return self._uplink.done if self._uplink is not None else 0

    @property
    def left(self) -> bool:
        """Whether some are still to come."""
        return self.done < self.total

    def start(self, checkpoint: Checkpoint | None) -> None:
        """Bring the uplink up, as it was at a checkpoint where there is one."""
        if self._uplink is None:
            return
        self._uplink.start(None if checkpoint is None else _parts(checkpoint))
        if checkpoint is not None:
            self._uplink.drain_ledgers()
            self._become(checkpoint)
        self._ready = True

    def begin(self, step: int) -> None:
        """Go on, beside training to `step`, with the bursts that are due by then."""
        self._go(bursts_due(self._scenario, step))

    def begin_part(self) -> None:
        """Go on to the next moment at which a run without training is saved."""
        parts = max(PARTS, -(-self.total // MOST_BURSTS_OF_PART))
        part = self.done * parts // self.total + 1
        self._go(-(-self.total * part // parts))

    def has_failed(self) -> bool:
        """Whether training need not go on, since the uplink cannot."""
        return self._error is not None

    def end(self, should_hold: Callable[[], bool]) -> None:
        """Return when what `begin` began is done, or soon after `should_hold()`.

        KeyboardInterrupt leaves this method between two bursts.

        Raises:
            StationLostError: a process of the uplink died.
            RunFailedError: an event cannot happen.
        """
        if self._uplink is None:
            return
        with deferred_interrupts() as interrupted:
            try:
                if self._thread is None:
                    self._play(lambda: interrupted() or should_hold())
                else:
                    while self._thread.is_alive():
                        self._thread.join(LOOK_EVERY_S)
                        if interrupted() or should_hold():
                            self._hold.set()
                    self._thread = None
            except BaseException:
                self.abandon()
                raise
            finally:
                if interrupted():
                    raise KeyboardInterrupt
        error, self._error = self._error, None
        if error is not None:
            raise error

    def abandon(self) -> None:
        """Stop between two bursts: something else went wrong, which matters more than what may be wrong here."""
        self._hold.set()
        if self._thread is not None:
            with deferred_interrupts():
                self._thread.join()
        self._thread = self._error = None

    def states(self) -> dict[str, bytes]:
        """Parts of a checkpoint."""
        return dict(self._uplink.states()) if self._uplink is not None else {}

    def ledgers(self) -> list[bytes]:
        """The uplink's books since the last call."""
        return list(self._uplink.drain_ledgers()) if self._uplink is not None and self._ready else []

    def notes(self) -> dict[str, Any]:
        """What a checkpoint must hold, in types that JSON has."""
        return {"bursts": self.done, "uplink_events": self._happened}

    def facts(self) -> dict[str, Any]:
        """What the summary says of the services; empty without an uplink, or where it never came up."""
        return dict(self._uplink.facts()) if self._uplink is not None and self._ready else {}

    def processes(self) -> set[str]:
        """Names of what may die beside stations: the groups of users."""
        if self._scenario.uplink is None:
            return set()
        groups = -(-self._scenario.network.users.count // self._scenario.uplink.users_per_group)
        return {f"users-{index}" for index in range(groups)}

    def recover(self, network: Network, checkpoint: Checkpoint) -> None:
        """Restart what died, and be what was saved."""
        if self._uplink is not None:
            self._ready = False
            self._uplink.recover(network)
            self._uplink.load_states(_parts(checkpoint))
            self._uplink.drain_ledgers()
            self._become(checkpoint)
            self._ready = True

    def close(self) -> None:
        """End all processes of the uplink; safe to call twice."""
        if self._uplink is not None:
            self.abandon()
            self._uplink.close()

    def _become(self, checkpoint: Checkpoint) -> None:
        self._happened = int(checkpoint.notes["uplink_events"])  # services know by themselves what was swapped

    def _go(self, until: int) -> None:
        if self._uplink is None:
            return
        self._until = until
        self._error = None
        self._hold.clear()
        if self._beside and self.done < until:
            with deferred_interrupts() as interrupted:  # a thread that has begun can be waited for
                self._thread = threading.Thread(target=self._guarded, name="uplink", daemon=True)
                self._thread.start()
            if interrupted():
                raise KeyboardInterrupt

    def _guarded(self) -> None:
        try:
            self._play(self._hold.is_set)
        except BaseException as error:  # told to who waits in `end`
            self._error = error

    def _play(self, should_hold: Callable[[], bool]) -> None:
        """Bursts up to `_until`, in parts between which events happen."""
        assert self._uplink is not None
        while self.done < self._until and not should_hold():
            self._happen()
            later = [each.at_burst for each in self._events[self._happened :]]
            self._uplink.advance(min([self._until, *later]), self._on_rows, should_hold)

    def _happen(self) -> None:
        """Let the events happen that are due before the next burst."""
        assert self._uplink is not None
        while self._happened < len(self._events) and self._events[self._happened].at_burst <= self.done:
            at_burst, kind, event = self._events[self._happened]
            record: dict[str, Any] = {
                "event": kind,
                "at_step": burst_step(self._scenario, at_burst),
                "at_burst": at_burst,
            }
            try:
                record |= self._change(kind, event, self._happened)
            except UserError as error:  # such as a trained detector whose file is gone
                raise RunFailedError(f"{kind} at burst {at_burst}: {error}") from error
            self._happened += 1
            self._on_event(record)

    def _change(self, kind: str, event: UplinkEvent, index: int) -> dict[str, Any]:
        """Let an event happen to a service; returns which, and how."""
        assert self._uplink is not None
        if kind == "set_activity":  # users know by themselves
            return {}
        if kind in ("retrain", "retrained"):
            return self._retrain(kind, event)
        if event.swap_detector is not None:
            swap = event.swap_detector
            self._uplink.swap(swap.service, swap.detector)
            return {"service": swap.service, "detector": swap.detector.name}
        assert event.fail_service is not None  # an event is the one or the other
        failing = event.fail_service
        if index not in self._killed:
            self._killed.add(index)
            self._uplink.fail(failing.service, failing.station)
        return {"service": failing.service} | ({"station": failing.station} if failing.station else {})

    def _retrain(self, kind: str, event: UplinkEvent) -> dict[str, Any]:
        """Begin to train a service anew, or let it serve with what it has learned."""
        from cellfree_sim.detection.learned.retraining import begun

        assert self._uplink is not None
        key = event.at_burst, str(event.service)
        if kind == "retrain" or key not in self._trainings:  # a run that was resumed begins again
            self._trainings[key] = begun(self._scenario, event, self._uplink.train, self._folder)
        if kind == "retrain":
            return {"service": event.service, "ready_at_burst": event.at_burst + event.ready_after}
        change = self._trainings.pop(key)()
        self._uplink.change(change)
        codebook = {} if change.codebook is None else {"codebook": change.codebook.name}
        return {"service": event.service, "detector": change.detector.name, **codebook}


class _Happening(NamedTuple):
    """What happens before which burst: the beginning of an event, or the end of one that takes time."""

    at_burst: int
    kind: str
    event: UplinkEvent


def _happenings(events: Sequence[UplinkEvent]) -> list[_Happening]:
    """All of them, in their order."""
    begins = [_Happening(event.at_burst, event.kind, event) for event in events]
    ends = [_Happening(event.at_burst + event.ready_after, "retrained", event) for event in events if event.ready_after]
    return sorted(begins + ends, key=lambda each: each.at_burst)


def without_uplink(parts: Mapping[str, bytes]) -> dict[str, bytes]:
    """The stations' parts of a checkpoint."""
    return {name: state for name, state in parts.items() if not name.startswith(PREFIX)}


def _parts(checkpoint: Checkpoint) -> dict[str, bytes]:
    return {name: state for name, state in checkpoint.parts.items() if name.startswith(PREFIX)}
