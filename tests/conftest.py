"""Shared by all tests: one torch thread, caches of their own, and small scenarios."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
os.environ.update(RAY_worker_niceness="0")  # else whatever runs beside the tests of Ray starves its workers
os.environ.pop("RAY_ADDRESS", None)
os.environ.pop("COLUMNS", None)  # processes of pytest-xdist have these, of nobody's terminal
os.environ.pop("LINES", None)

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

from cellfree_sim.scenario.schema import Scenario

# The same examples in each run, and no example fails for being slow on a busy machine.
hypothesis.settings.register_profile("reproducible", deadline=None, derandomize=True)
hypothesis.settings.load_profile("reproducible")


class ByFile(LoadFileScheduling):
    """Files go to workers as a whole, in the order of the collection: what starts Ray first, and all of it to one."""

    def _split_scope(self, nodeid: str) -> str:
        return "ray" if nodeid.startswith(("tests/chaos/", "tests/cluster/")) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """How `pytest -n 2` shares out the tests."""
    config.option.loadscopereorder = False
    return ByFile(config, log)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the user's channel cache."""
    previous = os.environ.get("CELLFREE_CACHE_DIR")
    os.environ["CELLFREE_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if previous is None:
        del os.environ["CELLFREE_CACHE_DIR"]
    else:
        os.environ["CELLFREE_CACHE_DIR"] = previous


@pytest.fixture(scope="session")
def small_scenario() -> Callable[..., Scenario]:
    """Factory of scenarios that train in a second: `small_scenario(**{"downlink.policy": "dense"})`."""

    def make(**settings: Any) -> Scenario:
        data: dict[str, Any] = {
            "name": "small",
            "seed": 7,
            "network": {"sbs": {"count": 3}, "users": {"count": 4}},
            "radio": {"subcarriers": 2},
            "channel": {
                "model": "rayleigh",
                "realisations": {"train": 40, "validation": 8, "test": 12},
                "cache": False,
            },
            "downlink": {"epochs": 10, "batch": 20, "validate_every_steps": 10, "references": ["gsa-zf"]},
            "placement": {"mbs": {"cpus": 0}, "sbs": {"cpus": 0, "gpus": 0}},
        }
        for key, value in settings.items():
            *sections, last = key.split(".")
            target = data
            for section in sections:
                target = target.setdefault(section, {})
            target[last] = value
        return Scenario.model_validate(data)

    return make


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A place for a run folder."""
    return tmp_path / "run"


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn and then not made into files, which takes longer than a small run."""
    monkeypatch.setattr("cellfree_sim.results.figures.style.lay_out", lambda figure: None)
    monkeypatch.setattr(
        "cellfree_sim.results.figures.style.render", lambda figure, ending: b'<svg viewBox="0 0 1 1"></svg>'
    )


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """A local cluster with four logical GPUs that torch does not have."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    import ray

    yield ray.init(
        address="local",
        num_cpus=4,
        num_gpus=4,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        log_to_driver=False,
        logging_level="ERROR",
        namespace="tests",
        _system_config={"metrics_report_interval_ms": 1000},
    )
    ray.shutdown()
