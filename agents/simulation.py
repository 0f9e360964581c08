"""The Python face: launch a scenario, train it for as long as you like, look at the result.

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
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cellfree_sim
from cellfree_sim.backhaul.ledger import Books
from cellfree_sim.channel import check_channels
from cellfree_sim.errors import CellfreeError, UserError
from cellfree_sim.network import build_network
from cellfree_sim.results.checkpoints import Checkpoints
from cellfree_sim.results.observer import Observer, create_observer
from cellfree_sim.results.run_folder import RunFolder
from cellfree_sim.results.summary import backhaul_summary, rate_summary
from cellfree_sim.scenario import dump_scenario

if TYPE_CHECKING:
    from types import TracebackType

    import pandas as pd

    from cellfree_sim.engine import Engine, Rows
    from cellfree_sim.scenario.schema import Scenario

BOOKKEEPING_STEPS = 500  # books are drained at least this often, so that they stay small
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
        self, scenario: Scenario, engine: Engine, folder: RunFolder, observer: Observer, started: float
    ) -> None:
        self.scenario = scenario
        self.step = 0
        self._engine = engine
        self._folder = folder
        self._observer = observer
        self._books = Books()
        self._metrics = folder.metrics_writer()
        self._frames = folder.backhaul_writer()
        self._started = started
        self._measured: tuple[int, dict[str, Any]] | None = None
        self._status = "running"
        self._closed = False

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
        simulation = None
        built: Engine | None = None
        try:
            folder.write_scenario(dump_scenario(scenario))
            folder.write_topology(network.to_json())
            folder.log(f"scenario {scenario.name}, seed {scenario.seed}, engine {kind}")
            watcher.phase("start", f"{scenario.name}, {len(network.stations)} stations, engine {kind}")

            def note(text: str) -> None:
                folder.log(text)
                watcher.note(text)

            if kind == "inline":
                from cellfree_sim.inline import InlineEngine

                built = InlineEngine(scenario)
            else:
                from agents.engine import RayEngine

                built = RayEngine(scenario, address=address, run_name=folder.path.name, note=note)
            simulation = cls(scenario, built, folder, watcher, started)
            watcher.phase("channels", f"{sum(scenario.channel.realisations.model_dump().values())} per station")
            built.start(watcher.channels)
            folder.log(f"stations joined: {built.describe()}")
        except BaseException as error:
            if built is not None:
                built.close()
            watcher.close()
            if isinstance(error, UserError) or simulation is None:
                folder.discard()
            else:
                simulation._give_up(error)
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
                self.step = self._engine.advance(min(until, self.step + BOOKKEEPING_STEPS), self._on_rows)
                self._bookkeep()
        except KeyboardInterrupt:
            self._status = "interrupted"
            self._bookkeep()
            self.save()
            self._observer.note(f"interrupted after step {self.step}; state saved in {self.folder}")
            raise
        except CellfreeError as error:
            self._give_up(error)
            raise
        return self.step

    def save(self) -> Path:
        """Save a checkpoint of all stations; returns its folder."""
        saved = Checkpoints(self._folder.checkpoints_path).save(self.step, self._engine.states())
        self._folder.log(f"checkpoint {saved.name}")
        return saved

    def result(self) -> Result:
        """Measure the held-out realisations, run the references on them, and write summary, tables and report."""
        if self._measured is None or self._measured[0] != self.step:
            self._observer.phase("test", "held-out realisations and references")
            self._on_rows(self._engine.measure())
            self._engine.measure_references(lambda name, done, total: self._observer.note(f"reference {name}"))
            rates = self._engine.test_rates()
            self._folder.write_rates(rates)
            downlink = self.scenario.downlink
            min_rate = self.scenario.network.users.min_rate_bps_hz
            self._measured = (self.step, rate_summary(rates, downlink.algorithm.name, min_rate))
            self._bookkeep()
        if self._status == "running" and self.step == self.scenario.steps:
            self._status = "done"
            self.save()
        summary = self.summary()
        self._metrics.flush()
        self._frames.flush()
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
            "events": [],
            "downlink": downlink,
            "backhaul": backhaul_summary(self._books, training_steps=self.step, execution_bytes_per_realisation=0.0),
        }

    def close(self) -> None:
        """End the network and close its books. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._status in ("running", "interrupted"):
                self._status = "stopped" if self._status == "running" else self._status
                self._bookkeep()
                self._folder.write_summary(self.summary())
        finally:
            self._frames.extend(self._books.take_rows(final=True))
            self._metrics.close()
            self._frames.close()
            self._folder.log(f"ended: {self._status} after step {self.step}, books balanced: {self._books.balanced}")
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
            self._metrics.append(row)
            self._observer.round({**row, "steps": self.scenario.steps})

    def _bookkeep(self) -> None:
        for ledger in self._engine.drain_ledgers():
            self._books.feed(ledger)
        self._frames.extend(self._books.take_rows())

    def _give_up(self, error: BaseException) -> None:
        """Keep what there is of a run that cannot go on."""
        self._status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        self._folder.log(f"{self._status}: {error}")
        partial: Mapping[str, Any] = {
            "name": self.scenario.name,
            "seed": self.scenario.seed,
            "engine": self._engine.name,
            "status": self._status,
            "steps": self.step,
            "error": str(error),
            "versions": _versions(),
        }
        self._folder.write_summary(partial)


def _versions() -> dict[str, str]:
    versions = {"cellfree-sim": cellfree_sim.__version__, "python": platform.python_version()}
    for package in REPORTED_PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
