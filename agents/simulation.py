"""The Python face: launch a scenario, train it for as long as you like, look at the result.

For example:

    from cellfree_sim import load_scenario
    from agents import Simulation

    scenario = load_scenario("scenarios/quickstart.yaml", overrides={"downlink.epochs": 5})
    with Simulation.launch(scenario) as simulation:
        simulation.advance(steps=10)
        new = simulation.inject_sbs(position=(75.0, 75.0))
        simulation.advance()
        result = simulation.result()
    print(result.summary["downlink"]["sum_rate"])
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from agents.accounts import account, account_of_failure
from agents.bursts import Bursts, without_uplink
from agents.launching import Beginning, begin_again, begin_anew, make_engine, make_uplink, train_detectors
from agents.measuring import Measurement
from agents.news import News
from agents.operations import Injection, Operations, Removal, StopRequested
from agents.recovery import Recovery
from cellfree_sim.errors import CellfreeError, RunFolderError, StationLostError, UserError
from cellfree_sim.results.journal import Journal
from cellfree_sim.results.run_file import RunFile
from cellfree_sim.scenario import dump_scenario
from cellfree_sim.scenario.events import InjectSbs

if TYPE_CHECKING:
    from types import TracebackType

    from cellfree_sim.detection.serving.deployment import Uplink
    from cellfree_sim.engine import Engine, Rows
    from cellfree_sim.results.analysis import RunData
    from cellfree_sim.results.checkpoints import Checkpoint
    from cellfree_sim.results.observer import Observer
    from cellfree_sim.scenario.schema import Scenario

T = TypeVar("T")
LOOK_EVERY_S = 0.1  # for what is asked of a run that is paused


class Simulation:
    """A running network. Make one with `launch`; leave it with `close`, or by the end of a ``with`` block."""

    def __init__(self, beginning: Beginning, scenario: Scenario, engine: Engine, uplink: Uplink | None) -> None:
        folder = beginning.folder
        self.scenario = scenario
        self.step = 0
        self._engine = engine
        self._operations = Operations(scenario, engine, beginning.network, self)
        self._folder = folder
        self._observer = beginning.observer
        self._journal = Journal(folder, beginning.checkpoint, uplink=uplink is not None)
        self._started = beginning.started
        self._status = "running"
        self._closed = False
        self._populated = False  # all stations are there
        self._operating = False  # a change of the network is being made
        self._measurement = Measurement(scenario, engine, folder, lambda rows: self._on_rows(rows), self._aside)
        self._news = News(scenario, folder, engine, self._operations, self._journal.books, self._told_status)
        self._bursts = Bursts(
            scenario,
            uplink,
            beside=engine.name == "ray",
            on_rows=self._on_bursts,
            on_event=self._on_uplink_event,
            folder=folder.path / "detectors",
        )
        self._recovery = Recovery(scenario, engine, self._bursts, self._operations, self._journal, folder, self)

    @classmethod
    def launch(
        cls,
        scenario: Scenario,
        *,
        engine: str | None = None,
        out: Path | str | None = None,
        address: str | None = None,
        observer: Observer | None = None,
    ) -> Simulation:
        """Bring up a network: its processes, channels and policies. Nothing is trained yet.

        Args:
            scenario: what to run.
            engine: "ray" or "inline"; the scenario's where it is None.
            out: the run folder, new or empty; ``runs/<name>-<UTC stamp>`` by default.
            address: host:port of a Ray cluster to join; without it one is started on this machine.
            observer: is told what happens; by default the terminal is.

        Raises:
            UserError: the scenario, the folder or the cluster cannot be used; nothing is left behind.
        """
        beginning = begin_anew(scenario, engine, out, address, observer)
        folder = beginning.folder
        try:
            folder.write_scenario(dump_scenario(scenario))
            folder.write_topology(beginning.network.to_json())
            return cls._bring_up(beginning)
        except BaseException as error:
            if isinstance(error, UserError) or not folder.summary_path.exists():
                folder.discard()
            raise

    @classmethod
    def resume(cls, folder: Path | str, *, address: str | None = None, observer: Observer | None = None) -> Simulation:
        """Go on with a run that was interrupted or killed, from its last checkpoint, to the same result.

        What was recorded after that checkpoint is forgotten and done again.

        Raises:
            UserError: there is no such run, it is done, or it has no checkpoint that is whole.
        """
        return cls._bring_up(begin_again(folder, address, observer))

    @classmethod
    def _bring_up(cls, beginning: Beginning) -> Simulation:
        """Start the engine, and let it go on from the checkpoint where there is one."""
        scenario, network, kind = beginning.scenario, beginning.network, beginning.engine
        folder, watcher, checkpoint = beginning.folder, beginning.observer, beginning.checkpoint
        verb = "start" if checkpoint is None else f"resume at step {checkpoint.step}"
        folder.log(f"{verb}: scenario {scenario.name}, seed {scenario.seed}, engine {kind}")
        for each in scenario.extensions:
            folder.log(f"with code of {each.file}, SHA-256 {each.sha256}")
        watcher.phase("start", f"{scenario.name}, {len(network.members)} stations, engine {kind}")
        engine: Engine | None = None
        simulation: Simulation | None = None
        try:
            replace(RunFile.of_this_process(kind), starting=True).write(folder.path)
            engine = make_engine(scenario, network, kind, folder, beginning.address, watcher)
            if checkpoint is None:
                scenario = train_detectors(scenario, folder, watcher)
                folder.write_scenario(dump_scenario(scenario))
            simulation = cls(beginning, scenario, engine, make_uplink(scenario, network, engine))
            RunFile.of_this_process(kind, **engine.reachable_at()).write(folder.path)
            simulation._populate(checkpoint)
        except BaseException as error:
            try:
                if simulation is not None:
                    if not isinstance(error, UserError):
                        simulation._give_up(error)
                    simulation._news.close()
                    simulation._journal.close()
                    simulation._bursts.close()
            finally:
                RunFile.remove(folder.path)
                if engine is not None:
                    engine.close()
                watcher.close()
            raise
        return simulation

    def _populate(self, checkpoint: Checkpoint | None) -> None:
        """Bring up all stations and the uplink, if there is one; as they were at `checkpoint`, if there is one."""
        self._news.begin()
        realisations = sum(self.scenario.realisations.values())
        if realisations:
            self._enter("channels", f"{realisations} per station")
        self._engine.start(self._on_channels)
        self._populated = True
        self._folder.log(f"stations joined: {self._engine.describe()}")
        downlink = self.scenario.downlink
        if downlink.algorithm.learns and self.scenario.steps == 0 and downlink.policy.trained is None:
            self.note("nothing is learned: downlink.epochs is 0, and downlink.policy.trained names no policy")
        if self._bursts.total:
            self._enter("uplink", f"{self.scenario.network.users.count} users, channels and services")
        if checkpoint is not None:
            self._engine.drain_ledgers()
            self._engine.load_states(without_uplink(checkpoint.parts))
            self._recovery.become(checkpoint)
        self._bursts.start(checkpoint)
        if checkpoint is None:
            self.commit()

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self._folder.path

    def advance(self, steps: int | None = None) -> int:
        """Train for `steps` rounds, or to the end of the scenario; returns the step reached.

        The bursts of an uplink go on beside: those that are due by then are over when this returns, and all of them at
        the end of the training, or where there is none.

        KeyboardInterrupt lets the round end, saves a checkpoint, and goes on its way.

        Raises:
            UserError: fewer than `steps` rounds are left.
            RunFailedError: a station died, or training diverged; what was measured until then is in the folder.
        """
        self._check_open()
        left = self.scenario.steps - self.step
        if steps is not None and not 0 < steps <= left:
            raise UserError(f"advance: {self._allowed_steps(left)}; found {steps}")
        until = self.scenario.steps if steps is None else self.step + steps
        if until > self.step:
            self._enter("training", f"step {self.step} to {until}")
        with self._saved_on_the_way_out():
            self._happen(wait=False)
            while self.step < until:
                boundary = min(until, self._next_checkpoint(), self._next_event())
                self._operations.look_ahead(boundary)
                self._advance_to(boundary, save=boundary == until)
                self._happen(wait=self.step == self.scenario.steps)
            if self.step == self.scenario.steps and self._bursts.left:
                self._enter("bursts", f"{self._bursts.done} to {self._bursts.total}")
            while self.step == self.scenario.steps and self._bursts.left:
                self._advance_bursts()
                self._happen(wait=True)
        return self.step

    def inject_sbs(
        self,
        position: tuple[float, float],
        *,
        name: str | None = None,
        azimuth_deg: float | None = None,
        transfer: str = "nearest",
        after: str = "fine-tune",
    ) -> Injection:
        """Let a new small base station join the running network, at the round boundary that has been reached.

        It gets a process, channels to the users that are there, and links; the nearest station (eq. 22) sends it its
        model over the backhaul (DATL, Algorithm 3). Batch statistics in a copied model belong to the donor's site: they
        are taken anew from the training channels of the new one.

        Args:
            position: x and y in metres.
            name: of the station; the first ``sbs-<n>`` that was never used by default.
            azimuth_deg: where its antennas look, from the x axis; where the scenario's do by default.
            transfer: whose model it takes over: "nearest", "farthest", "random" (seeded), or "none" for its own.
            after: "fine-tune" trains it with the others from then on; "execute" uses the model as it came.

        Raises:
            UserError: outside the area, on top of another station, a name that was used before, no room for its
                process, or its process failed. The run is unharmed.
        """
        try:
            spec = InjectSbs.model_validate(
                {
                    "position_m": position,
                    "name": name,
                    "azimuth_deg": azimuth_deg,
                    "transfer": transfer,
                    "after": after,
                }
            )
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(f"inject_sbs: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        self._check_open()
        with self._saved_on_the_way_out():
            return self._operate(lambda: self._operations.inject(spec))

    def remove_sbs(self, name: str) -> Removal:
        """Let a small base station leave; the others serve its users from the next round on.

        Raises:
            UserError: there is no such station, or it is the last one.
        """
        self._check_open()
        with self._saved_on_the_way_out():
            return self._operate(lambda: self._operations.remove(name))

    def result(self, *, report: bool = True) -> RunData:
        """Measure the held-out realisations, run the references on them, and write summary, tables and `report`.

        Returns what is in the run folder then; `cellfree_sim.load_results` gives the same later.
        """
        from cellfree_sim.results.analysis import load_run

        if self.step == self.scenario.steps:
            with self._saved_on_the_way_out():
                self._happen(wait=True)
                if self.scenario.downlink.algorithm.learns:
                    self._operate(self.sum_rate)  # an interruption in the last round may have come before it
        try:
            summary = self._tested()
        except CellfreeError as error:
            self._give_up(error)
            raise
        self._folder.write_summary(summary)
        if report:
            from cellfree_sim.results.report import build_report

            self._enter("report", str(self._folder.report_path))
            build_report(self.folder)
        return load_run(self.folder)

    def _tested(self) -> dict[str, Any]:
        """The summary of the run with what it is worth on the test split, whoever dies meanwhile."""
        while True:
            try:
                if self.step == self.scenario.steps:
                    self._engine.refuse("its training is done; the network changes no more")
                return self._measured_summary()
            except StationLostError as lost:
                self._recovery.recover(lost)

    def describe(self) -> dict[str, Any]:
        """Where the network runs: engine, its stations with process id and device; on Ray its address and namespace."""
        return self._engine.describe()

    def summary(self) -> dict[str, Any]:
        """The summary as it stands; rates are in it once `result` has measured them."""
        return account(
            self.scenario,
            self._operations,
            self._journal.books,
            self._engine.facts(),
            self._measurement.tested,
            run=self._standing(),
            stations=self._news.stations(),
            sum_rate_end=self._measurement.last_sum_rate,
            uplink=self._bursts.facts(),
        )

    def close(self) -> None:
        """End the network and close its books. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._status in ("running", "interrupted"):
                self._status = "stopped" if self._status == "running" else self._status
                with suppress(StationLostError):  # what died since the last commit is lost, as after any failure
                    self._journal.record(self._recovery.ledgers())
                    self._folder.write_summary(self.summary())
        finally:
            self._journal.close()
            balanced = self._journal.books.balanced
            self._folder.log(f"ended: {self._status} after step {self.step}, books balanced: {balanced}")
            RunFile.remove(self.folder)
            self._news.settle()
            self._news.close()
            self._bursts.close()
            self._engine.close()
            self._observer.close()

    def __enter__(self) -> Simulation:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if isinstance(error, KeyboardInterrupt):
            self._status = "interrupted"
        elif isinstance(error, Exception) and self._status == "running":
            self._status = "failed"
        self.close()

    def commit(self) -> None:
        """Save the run as it is now, unless that has been done: states, metrics, books, network."""
        self._recovery.commit()
        self._news.settle()

    def known(self) -> dict[str, Any]:
        """What this process knows of the run, for a checkpoint."""
        return {**self._measurement.state(), "told": self._news.state()}

    def become(self, checkpoint: Checkpoint) -> None:
        """Know what was known at a checkpoint."""
        self.step = checkpoint.step
        self._measurement.load_state(checkpoint.notes)
        if "told" in checkpoint.notes:  # it was saved by a version that tells
            self._news.load_state(checkpoint.notes["told"])

    def sum_rate(self) -> float:
        """Mean sum rate on the validation realisations, of the network as it is now, bit/s/Hz."""
        return self._measurement.sum_rate(self.step)

    def network_changed(self) -> None:
        """What was measured was measured in another network."""
        self._measurement.forget()
        self._news.changed()
        self._recovery.saved = False

    def note(self, text: str) -> None:
        """Something a person should know."""
        self._folder.log(text)
        self._observer.note(text)

    def _check_open(self) -> None:
        if self._closed or self._status != "running":
            raise UserError(f"the run is {self._status if self._status != 'running' else 'closed'}; it goes no further")

    def _on_rows(self, rows: Rows) -> None:
        for row in rows:
            self._recovery.saved = False
            if row["phase"] == "training":
                self.step = max(self.step, int(row["step"]))
            elif row["phase"] == "validation":
                self._measurement.validated(int(row["step"]), float(row["sum_rate"]))
            self._observer.round({**row, "steps": self.scenario.steps})
            self._news.round(row, self.step)
        self._journal.add_rounds(rows)

    def _on_channels(self, station: str, done: int, total: int) -> None:
        self._observer.channels(station, done, total)
        self._news.channels(station, done, total)

    def _enter(self, phase: str, detail: str = "") -> None:
        self._observer.phase(phase, detail)
        self._news.phase(phase, detail)

    def _aside(self, text: str) -> None:
        """Something to see in passing, and not worth keeping."""
        self._observer.note(text)
        self._news.phase("test", text)

    def _told_status(self) -> str:
        return "paused" if self._status == "running" and self._operations.paused else self._status

    def _on_bursts(self, rows: Rows) -> None:
        """Bursts are over; on Ray, a thread tells of them."""
        self._recovery.saved = False
        self._journal.add_bursts(rows)
        self._observer.bursts(self._news.bursts(rows, self._bursts.total))

    def _on_uplink_event(self, record: dict[str, Any]) -> None:
        self._recovery.saved = False
        self._operations.events.append(record)
        if record["event"] == "set_activity":
            self.note(f"users send as often as a new profile says from burst {record['at_burst']} on")
            return
        what = f"detects with {record['detector']}" if "detector" in record else "is killed"
        if "ready_at_burst" in record:
            what = f"is trained anew until burst {record['ready_at_burst']}, and serves meanwhile,"
        place = f" at {record['station']}" if "station" in record else ""
        self.note(f"service {record['service']}{place} {what} from burst {record['at_burst']} on")

    def _standing(self) -> dict[str, Any]:
        return {
            "engine": self._engine.name,
            "status": self._status,
            "steps": self.step,
            "wall_seconds": time.perf_counter() - self._started,
        }

    def _allowed_steps(self, left: int) -> str:
        if left:
            return f"steps must lie in 1…{left}, the rounds that are left"
        if self.scenario.steps:
            return f"all {self.scenario.steps} rounds are done"
        return "this run trains nothing" + ("; advance() serves its bursts" if self._bursts.total else "")

    def _next_checkpoint(self) -> int:
        every = self.scenario.checkpoint_every_steps
        return (self.step // every + 1) * every

    def _next_event(self) -> int:
        due = self._operations.next_step()
        return self.scenario.steps if due is None else max(due, self.step + 1)

    def _advance_to(self, boundary: int, *, save: bool) -> None:
        """Train to `boundary`, and commit with `save` or where a checkpoint is due.

        Where a station dies on the way, it is brought back, and this returns, to be tried again.
        """
        try:
            try:
                self._bursts.begin(boundary)
                self.step = self._engine.advance(boundary, self._on_rows, self._should_hold)
                self._bursts.end(self._should_hold if self.step == boundary else lambda: True)
            except BaseException:
                self._bursts.abandon()
                raise
            if self.step % self.scenario.checkpoint_every_steps == 0 or (save and self.step == boundary):
                self.commit()
        except StationLostError as lost:
            self._recovery.recover(lost)

    def _advance_bursts(self) -> None:
        """Bursts after the training, or without any, to the next moment at which they are saved."""
        try:
            try:
                self._bursts.begin_part()
                self._bursts.end(self._should_hold)
            except BaseException:
                self._bursts.abandon()
                raise
            self.commit()
        except StationLostError as lost:
            self._recovery.recover(lost)

    def _should_hold(self) -> bool:
        self._operations.take_requests()
        return self._operations.wants_boundary() or self._bursts.has_failed()

    def _happen(self, *, wait: bool) -> None:
        """Let everything happen that is asked for, or due, at this round boundary."""

        def happen() -> None:
            self._operations.take_requests()
            self._operations.happen(wait=wait)

        self._operate(happen)
        if self._operations.paused:
            self._rest(happen)

    def _rest(self, happen: Callable[[], None]) -> None:
        """Nothing is computed until the run is to go on; changes of the network happen meanwhile.

        What was reached is saved first: a pause may last long, and end in any way.
        """
        self._operate(self.commit)
        self.note(f"paused after step {self.step}")
        self._news.tell()
        while self._operations.paused:
            self._operations.holds()
            time.sleep(LOOK_EVERY_S)
            self._operate(happen)
        self.note("going on")
        self._news.tell()

    def _operate(self, operation: Callable[[], T]) -> T:
        """An operation on the network; once more where a station dies meanwhile."""
        self._operating = True
        while True:
            try:
                outcome = operation()
            except StationLostError as lost:
                self._recovery.recover(lost)
            except (CellfreeError, StopRequested):
                self._operating = False
                raise
            else:
                self._operating = False
                return outcome

    @contextmanager
    def _saved_on_the_way_out(self) -> Iterator[None]:
        """Keep the state of a run that is interrupted, and what there is of one that fails.

        An operation on the network that was interrupted is taken back.
        """
        try:
            yield
        except KeyboardInterrupt:
            self._status = "interrupted"
            with suppress(KeyboardInterrupt):
                self._save_or_go_back()
            self._observer.note(f"interrupted after step {self.step}; state saved in {self.folder}")
            raise
        except CellfreeError as error:
            if isinstance(error, RunFolderError) or not isinstance(error, UserError):
                self._give_up(error)
            raise

    def _save_or_go_back(self) -> None:
        """Commit; or, where a change is half made or a station has died, be the run that was committed last."""
        if not self._operating:
            try:
                self.commit()
            except StationLostError:
                pass
            else:
                return
        self._recovery.go_back()

    def _measured_summary(self) -> dict[str, Any]:
        """Measure the algorithm and its references on the test split, save the run, and sum it up."""
        if self._measurement.needs_test(self.step):
            self._enter("test", "held-out realisations and references")
            self._measurement.test(self.step)
            self._recovery.saved = False  # the test is part of what is saved
        self.commit()
        if self._status == "running" and self.step == self.scenario.steps and not self._bursts.left:
            self._status = "done"
        return self.summary()

    def _give_up(self, error: BaseException) -> None:
        """Keep what there is of a run that cannot go on."""
        self._status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        reason = str(error) or "Ctrl-C"
        self._folder.log(f"{self._status}: {reason}")
        if self._populated:
            with suppress(CellfreeError):  # whoever keeps the books may be what died
                self._journal.record(self._recovery.ledgers())
        self._folder.write_summary(
            account_of_failure(self.scenario, self._operations, self._journal.books, run=self._standing(), error=reason)
        )
