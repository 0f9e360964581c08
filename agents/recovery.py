"""What was saved of a run is what it can go back to: commits, and the way back when a process dies.

commit ─► rounds, bursts ─► commit       states of all stations and services, metrics, books: they agree
              │ a process dies
              └─► all go back to the commit, the dead are restarted (or left out), and what came since is done again
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Protocol

from agents.bursts import without_uplink
from cellfree_sim.engine import CONTROLLER
from cellfree_sim.errors import NotRestartedError, RunFailedError, StationLostError
from cellfree_sim.interrupts import deferred_interrupts
from cellfree_sim.results.run_file import RunFile

if TYPE_CHECKING:
    from agents.bursts import Bursts
    from agents.operations import Operations
    from cellfree_sim.engine import Engine
    from cellfree_sim.results.checkpoints import Checkpoint
    from cellfree_sim.results.journal import Journal
    from cellfree_sim.results.run_folder import RunFolder
    from cellfree_sim.scenario.schema import Scenario

MOST_LOSSES_IN_A_ROW = 3  # restarts without a checkpoint between them


class Run(Protocol):
    """What is asked of the run that is saved and taken back."""

    step: int

    def known(self) -> dict[str, Any]:
        """What this process knows of the run, in types that JSON has."""

    def become(self, checkpoint: Checkpoint) -> None:
        """Know what `known` gave then."""

    def note(self, text: str) -> None:
        """Tell people."""


class Recovery:
    """Saves a run, and takes it back to what was saved.

    Attributes:
        saved: nothing has happened since the last commit; whoever lets something happen says so.
    """

    def __init__(
        self,
        scenario: Scenario,
        engine: Engine,
        bursts: Bursts,
        operations: Operations,
        journal: Journal,
        folder: RunFolder,
        run: Run,
    ) -> None:
        self.saved = False
        self._scenario = scenario
        self._engine = engine
        self._bursts = bursts
        self._operations = operations
        self._journal = journal
        self._folder = folder
        self._run = run
        self._losses_in_a_row = 0
        self._topology: dict[str, Any] | None = None  # as it was written last

    def commit(self) -> None:
        """Save the run as it is now, unless that has been done: states, metrics, books, network."""
        if self.saved:
            return
        with deferred_interrupts() as interrupted:
            ledgers = self.ledgers()  # before the states: who dies in between is missed there, and nothing is saved
            states = self._engine.states() | self._bursts.states()
            notes = {
                "engine": self._engine.name,
                **self._run.known(),
                **self._bursts.notes(),
                **self._operations.notes(),
            }
            self._journal.commit(self._run.step, ledgers, states, notes)
            if notes["network"] != self._topology:  # that of a crowd is long
                self._folder.write_topology(notes["network"])
                self._topology = notes["network"]
            self._folder.log(f"checkpoint at {self._moment()}")
            self.saved = True
            self._losses_in_a_row = 0
        if interrupted():
            raise KeyboardInterrupt

    def _moment(self) -> str:
        return f"step {self._run.step}" + (f", burst {self._bursts.done}" if self._bursts.total else "")

    def ledgers(self) -> list[bytes]:
        """The books of all that live, since the last call."""
        return [*self._engine.drain_ledgers(), *self._bursts.ledgers()]

    def go_back(self, dead: Collection[str] = ()) -> Checkpoint:
        """Forget what came since the last commit."""
        try:
            ledgers = self.ledgers() if CONTROLLER not in dead else []
        except StationLostError:
            ledgers = []
        checkpoint = self._journal.rollback(ledgers)
        self.become(checkpoint)
        return checkpoint

    def become(self, checkpoint: Checkpoint) -> None:
        """Be, in this process, the run that was saved."""
        self._run.become(checkpoint)
        self._operations.restore(checkpoint.notes)
        self.saved = True

    def recover(self, lost: StationLostError) -> None:
        """Let all stations go back to the last commit; restart the dead, or go on without them."""
        if self._scenario.on_failure == "abort":
            raise lost
        started, reached = time.perf_counter(), self._run.step
        mbs = self._operations.network.mbs
        groups = self._bursts.processes()
        lasting = {mbs, CONTROLLER, *groups}
        dead, dropped, reason = set(lost.stations), set[str](), lost.reason
        if self._scenario.on_failure == "drop":
            dropped = dead - lasting
        self._run.note(f"{lost}; {'restarting' if dead - dropped else 'going on without'}")
        while True:
            self._losses_in_a_row += 1
            if self._losses_in_a_row > MOST_LOSSES_IN_A_ROW:
                raise RunFailedError(
                    f"{lost}; given up after {MOST_LOSSES_IN_A_ROW} restarts without a checkpoint between"
                )
            checkpoint = self.go_back(dead)
            states = {name: each for name, each in without_uplink(checkpoint.parts).items() if name not in dropped}
            newcomers = dead - {*lasting, *checkpoint.parts}
            try:
                self._engine.recover(sorted(dead - dropped - groups), states, self._operations.network)
                self._bursts.recover(self._operations.network, checkpoint)
                back = sorted((dead - dropped) & {CONTROLLER, *groups, *checkpoint.parts})
                if newcomers and (self._scenario.on_failure == "drop" or self._losses_in_a_row == MOST_LOSSES_IN_A_ROW):
                    self._operations.call_off(reason)
                else:
                    self._operations.begin_again()
                if gone := dropped & set(checkpoint.parts):
                    self._operations.drop(gone, reason)
                break
            except StationLostError as more:
                dead |= set(more.stations)
                dropped |= set(more.stations) - lasting if self._scenario.on_failure == "drop" else set()
            except NotRestartedError as missing:
                if set(missing.stations) & lasting or self._bursts.total:  # an uplink needs all its stations
                    raise
                self._run.note(str(missing))
                dropped, reason = dropped | set(missing.stations), missing.reason
        if CONTROLLER in back:
            RunFile.of_this_process(self._engine.name, **self._engine.reachable_at()).write(self._folder.path)
        if back:
            event = {"event": "restart", "stations": back, "at_step": reached, "from_step": self._run.step}
            self._operations.events.append({**event, "seconds": time.perf_counter() - started})
            self._run.note(f"{', '.join(back)} restarted; going on from {self._moment()}")
