"""The Python face: launch a scenario, train it for as long as you like, look at the result.

For example:

    from cellfree_sim import load_scenario
    from agents import Simulation

    scenario = load_scenario("scenarios/quickstart.yaml", overrides={"downlink.epochs": 5})
    with Simulation.launch(scenario) as simulation:
        simulation.advance(steps=10)
        result = simulation.result()
    print(result.summary["downlink"]["sum_rate"])
"""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cellfree_sim
from cellfree_sim.channel import check_channels
from cellfree_sim.errors import CellfreeError, RunFailedError, StationLostError, UserError
from cellfree_sim.interrupts import deferred_interrupts
from cellfree_sim.network import build_network
from cellfree_sim.results.checkpoints import Checkpoint, Checkpoints
from cellfree_sim.results.files import write_json
from cellfree_sim.results.journal import Journal
from cellfree_sim.results.observer import Observer, create_observer
from cellfree_sim.results.run_file import RunFile
from cellfree_sim.results.run_folder import RunFolder
from cellfree_sim.results.runs import PROGRESS
from cellfree_sim.results.summary import backhaul_summary, rate_summary
from cellfree_sim.scenario import dump_scenario, load_scenario

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from cellfree_sim.engine import Engine, Rows
    from cellfree_sim.scenario.schema import Scenario

PROGRESS_EVERY_S = 1.0
MOST_LOSSES_IN_A_ROW = 3  # restarts without a checkpoint between them
REPORTED_PACKAGES = ("torch", "numpy", "ray", "sionna-no-rt", "msgpack", "networkx")


@dataclass(frozen=True)
class Result:
    """What a run gave: its summary (the keys of `summary.json`), its tables, and the folder that holds them."""

    summary: dict[str, Any]
    metrics: pd.DataFrame
    backhaul: pd.DataFrame
    rates: pd.DataFrame
    folder: Path


class Simulation:
    """A running network. Make one with `launch`; leave it with `close`, or by the end of a ``with`` block."""

    def __init__(
        self,
        scenario: Scenario,
        engine: Engine,
        folder: RunFolder,
        journal: Journal,
        observer: Observer,
        started: float,
    ) -> None:
        self.scenario = scenario
        self.step = 0
        self._engine = engine
        self._folder = folder
        self._observer = observer
        self._journal = journal
        self._started = started
        self._measured: tuple[int, dict[str, Any]] | None = None
        self._status = "running"
        self._closed = False
        self._events: list[dict[str, Any]] = []
        self._losses_in_a_row = 0
        self._progress: dict[str, Any] = {}
        self._told_at = -PROGRESS_EVERY_S

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
        started = time.perf_counter()
        kind = engine or scenario.engine
        if kind not in ("ray", "inline"):
            raise UserError(f"engine '{kind}' is unknown; allowed are ray and inline")
        if address is not None and kind == "inline":
            raise UserError("--address has no meaning with the inline engine, which uses no cluster")
        network = build_network(scenario)
        check_channels(scenario)
        folder = RunFolder.create(out, scenario.name, datetime.now(UTC))
        watcher = observer or create_observer(title=f"{scenario.name} · {kind}")
        try:
            folder.write_scenario(dump_scenario(scenario))
            folder.write_topology(network.to_json())
            return cls._bring_up(scenario, kind, folder, None, address, watcher, started)
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
        started = time.perf_counter()
        found = RunFolder.open(folder)
        driver = RunFile.read(found.path)
        if driver is not None and driver.alive():
            raise UserError(f"{folder}: this run is still going, driven by process {driver.pid} on {driver.host}")
        if found.summary().get("status") == "done":
            raise UserError(f"{folder}: this run is done; nothing is left to resume")
        checkpoint = Checkpoints(found.checkpoints_path).latest()
        if checkpoint is None:
            raise UserError(f"{folder}: there is no checkpoint to resume from; start the scenario anew")
        scenario = load_scenario(found.scenario_path)
        kind = checkpoint.notes["engine"]
        watcher = observer or create_observer(title=f"{scenario.name} · {kind}")
        for damaged in checkpoint.skipped:
            found.log(f"passed over: {damaged}")
            watcher.note(f"passed over: {damaged}")
        return cls._bring_up(scenario, kind, found, checkpoint, address, watcher, started)

    @classmethod
    def _bring_up(
        cls,
        scenario: Scenario,
        kind: str,
        folder: RunFolder,
        checkpoint: Checkpoint | None,
        address: str | None,
        watcher: Observer,
        started: float,
    ) -> Simulation:
        """Start the engine, and let it go on from `checkpoint` where there is one."""
        verb = "start" if checkpoint is None else f"resume at step {checkpoint.step}"
        folder.log(f"{verb}: scenario {scenario.name}, seed {scenario.seed}, engine {kind}")
        watcher.phase("start", f"{scenario.name}, {len(scenario.station_names)} stations, engine {kind}")
        engine: Engine | None = None
        simulation: Simulation | None = None
        try:
            engine = _make_engine(scenario, kind, folder, address, watcher)
            simulation = cls(scenario, engine, folder, Journal(folder, checkpoint), watcher, started)
            RunFile.of_this_process(kind, **engine.reachable_at()).write(folder.path)
            watcher.phase("channels", f"{sum(scenario.channel.realisations.model_dump().values())} per station")
            engine.start(watcher.channels)
            folder.log(f"stations joined: {engine.describe()}")
            if checkpoint is None:
                simulation._commit()
            else:
                simulation._go_back_to(checkpoint)
        except BaseException as error:
            if simulation is not None:
                if not isinstance(error, UserError):
                    simulation._give_up(error)
                simulation._journal.close()
            RunFile.remove(folder.path)
            if engine is not None:
                engine.close()
            watcher.close()
            raise
        return simulation

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self._folder.path

    def advance(self, steps: int | None = None) -> int:
        """Train for `steps` rounds, or to the end of the scenario; returns the step reached.

        KeyboardInterrupt lets the round end, saves a checkpoint, and goes on its way.

        Raises:
            UserError: fewer than `steps` rounds are left.
            RunFailedError: a station died, or training diverged; what was measured until then is in the folder.
        """
        left = self.scenario.steps - self.step
        if steps is not None and not 0 < steps <= left:
            raise UserError(f"advance: steps must lie in 1…{left}, the rounds that are left; found {steps}")
        until = self.scenario.steps if steps is None else self.step + steps
        self._observer.phase("training", f"step {self.step} to {until}")
        try:
            while self.step < until:
                self._advance_to(min(until, self._next_checkpoint()))
        except KeyboardInterrupt:
            self._status = "interrupted"
            with deferred_interrupts():
                self._commit()
            self._observer.note(f"interrupted after step {self.step}; state saved in {self.folder}")
            raise
        except CellfreeError as error:
            self._give_up(error)
            raise
        return self.step

    def result(self) -> Result:
        """Measure the held-out realisations, run the references on them, and write summary, tables and report."""
        if self._measured is None or self._measured[0] != self.step:
            self._observer.phase("test", "held-out realisations and references")
            rates = self._test_rates()
            self._folder.write_rates(rates)
            downlink = self.scenario.downlink
            min_rate = self.scenario.network.users.min_rate_bps_hz
            self._measured = (self.step, rate_summary(rates, downlink.algorithm.name, min_rate))
        if self._status == "running" and self.step == self.scenario.steps:
            self._status = "done"
        self._commit()
        summary = self.summary()
        self._folder.write_summary(summary)
        self._observer.phase("report", str(self._folder.report_path))
        from cellfree_sim.results.report import build_report

        build_report(self.folder)
        return Result(summary, self._folder.metrics(), self._folder.backhaul(), self._folder.rates(), self.folder)

    def describe(self) -> dict[str, Any]:
        """Where the network runs: engine, its stations with process id and device; on Ray its address and namespace."""
        return self._engine.describe()

    def summary(self) -> dict[str, Any]:
        """The summary as it stands; rates are in it once `result` has measured them."""
        scenario = self.scenario
        facts = self._engine.facts()
        downlink: dict[str, Any] = {
            "algorithm": scenario.downlink.algorithm.name,
            "loss_scheme": scenario.downlink.loss_scheme.name,
            "policy": scenario.downlink.policy.name,
            "feedback": scenario.downlink.feedback,
            "flops": facts["flops_per_realisation"],
            "parameters": facts["parameters"],
        }
        if self._measured is not None:
            downlink |= self._measured[1] | {"power_violation": facts["power_violation"]}
        return {
            "name": scenario.name,
            "seed": scenario.seed,
            "engine": self._engine.name,
            "status": self._status,
            "steps": self.step,
            "wall_seconds": time.perf_counter() - self._started,
            "simulated_seconds": facts["simulated_seconds"],
            "versions": _versions(),
            "stations": self._engine.describe()["stations"],
            "events": self._events,
            "downlink": downlink,
            "backhaul": self._backhaul_summary(),
        }

    def close(self) -> None:
        """End the network and close its books. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._status in ("running", "interrupted"):
                self._status = "stopped" if self._status == "running" else self._status
                self._journal.record(self._engine.drain_ledgers())
                self._folder.write_summary(self.summary())
        finally:
            self._journal.close()
            balanced = self._journal.books.balanced
            self._folder.log(f"ended: {self._status} after step {self.step}, books balanced: {balanced}")
            RunFile.remove(self.folder)
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

    def _on_rows(self, rows: Rows) -> None:
        for row in rows:
            if row["phase"] == "training":
                self.step = max(self.step, int(row["step"]))
            self._observer.round({**row, "steps": self.scenario.steps})
            self._tell_progress(row)
        self._journal.add_rounds(rows)

    def _tell_progress(self, row: Mapping[str, Any]) -> None:
        """Leave in the run folder, about once a second, what `cellfree status` shows."""
        if row["phase"] != "training":
            self._progress["sum_rate"] = row["sum_rate"]
        self._progress |= {"step": self.step, "steps": self.scenario.steps, "bytes": row["bytes"]}
        now = time.monotonic()
        if now - self._told_at >= PROGRESS_EVERY_S or row["phase"] == "test":
            self._told_at = now
            write_json(self.folder / PROGRESS, self._progress)

    def _next_checkpoint(self) -> int:
        every = self.scenario.checkpoint_every_steps
        return (self.step // every + 1) * every

    def _advance_to(self, boundary: int) -> None:
        """Train to `boundary` and commit; where a station dies on the way, bring it back and return, to try again."""
        try:
            self.step = self._engine.advance(boundary, self._on_rows)
        except StationLostError as lost:
            self._recover(lost)
        else:
            self._commit()

    def _recover(self, lost: StationLostError) -> None:
        """Restart the dead, and let all stations go back to the last checkpoint."""
        if self.scenario.on_failure == "abort":
            raise lost
        self._losses_in_a_row += 1
        if self._losses_in_a_row > MOST_LOSSES_IN_A_ROW:
            raise RunFailedError(f"{lost}; given up after {MOST_LOSSES_IN_A_ROW} restarts without a checkpoint between")
        started, reached = time.perf_counter(), self.step
        self._note(f"{lost}; restarting")
        checkpoint = self._journal.rollback(self._engine.drain_ledgers())
        self._engine.recover(lost.stations, checkpoint.parts)
        self.step = checkpoint.step
        event = {"event": "restart", "stations": list(lost.stations), "at_step": reached, "from_step": self.step}
        self._events.append({**event, "seconds": time.perf_counter() - started})
        self._note(f"{', '.join(lost.stations)} restarted; going on from step {self.step}")

    def _test_rates(self) -> dict[str, NDArray[np.float64]]:
        """Rates of the algorithm and its references on the test split; a station that dies meanwhile is restarted."""
        while True:
            try:
                self._on_rows(self._engine.measure())
                self._engine.measure_references(lambda name, done, total: self._observer.note(f"reference {name}"))
                return self._engine.test_rates()
            except StationLostError as lost:
                self._recover(lost)

    def _go_back_to(self, checkpoint: Checkpoint) -> None:
        """Make the stations that have just started those of `checkpoint`."""
        self._engine.drain_ledgers()
        self._engine.load_states(checkpoint.parts)
        self.step = checkpoint.step
        self._events = list(checkpoint.notes["events"])

    def _commit(self) -> None:
        notes = {"engine": self._engine.name, "events": self._events}
        self._journal.commit(self.step, self._engine.drain_ledgers(), self._engine.states(), notes)
        self._folder.log(f"checkpoint at step {self.step}")
        self._losses_in_a_row = 0

    def _note(self, text: str) -> None:
        self._folder.log(text)
        self._observer.note(text)

    def _backhaul_summary(self) -> dict[str, Any]:
        """Of what is in the books; executing DMTSSL takes no backhaul."""
        return backhaul_summary(self._journal.books, training_steps=self.step, execution_bytes_per_realisation=0.0)

    def _give_up(self, error: BaseException) -> None:
        """Keep what there is of a run that cannot go on."""
        self._status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        reason = str(error) or "Ctrl-C"
        self._folder.log(f"{self._status}: {reason}")
        with suppress(CellfreeError):  # whoever keeps the books may be what died
            self._journal.record(self._engine.drain_ledgers())
        partial: Mapping[str, Any] = {
            "name": self.scenario.name,
            "seed": self.scenario.seed,
            "engine": self._engine.name,
            "status": self._status,
            "steps": self.step,
            "error": reason,
            "versions": _versions(),
            "events": self._events,
            "backhaul": self._backhaul_summary(),
        }
        self._folder.write_summary(partial)


def _make_engine(scenario: Scenario, kind: str, folder: RunFolder, address: str | None, observer: Observer) -> Engine:
    if kind == "inline":
        from cellfree_sim.inline import InlineEngine

        return InlineEngine(scenario)
    from agents.engine import RayEngine

    def note(text: str) -> None:
        folder.log(text)
        observer.note(text)

    return RayEngine(scenario, address=address, run_name=folder.path.name, note=note)


def _versions() -> dict[str, str]:
    versions = {"cellfree-sim": cellfree_sim.__version__, "python": platform.python_version()}
    for package in REPORTED_PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
