"""What the actors of the uplink promise: bytes and plain scalars between stations, and users without torch."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing
from functools import partial
from typing import Any

import pytest

from agents.fusion import Fusion
from agents.receiver import Receiver
from agents.uplink import RayUplink, _SilentError
from agents.users import Users
from cellfree_sim.errors import NotRestartedError, StationLostError
from cellfree_sim.network import build_network

PLAIN = (bytes, bool, int, str, type(None), bytes | tuple[bytes, ...])


@pytest.mark.parametrize("actor", [Users, Receiver, Fusion])
def test_roles_take_and_give_bytes_and_plain_scalars_only(actor: type) -> None:
    methods = inspect.getmembers(actor, lambda m: inspect.isfunction(m) and not m.__name__.startswith("_"))
    assert len(methods) >= 5
    for name, method in methods:
        for argument, kind in typing.get_type_hints(method).items():
            assert kind in PLAIN, f"{actor.__name__}.{name}: {argument} is {kind}"


def test_a_group_of_users_sends_without_torch(small_scenario: Any) -> None:
    uplink = {"bursts": 4, "realisations": 2, "users_per_group": 3}
    scenario = small_scenario(network={"sbs": {"count": 2}, "users": {"count": 5}}, uplink=uplink)
    program = """
import json, sys
import numpy as np
from agents.station import write_network
from agents.users import Users
from cellfree_sim.network import build_network
from cellfree_sim.results.state import pack_state
from cellfree_sim.scenario.schema import Scenario

text = sys.stdin.read()
network = build_network(Scenario.model_validate_json(text))
for index in range(2):
    group = Users(text, write_network(network), index)
    gains = pack_state(np.full((2, 5), 1e-9, np.float32))
    group.tune(gains, gains)
    bundles = group.bursts(0, 4)
    assert len(bundles) == 2 and min(map(len, bundles)) > 100
    group.load_state(group.state())
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], input=scenario.model_dump_json(), text=True, check=True)


class Handle:
    """Stands for an actor: takes every call."""

    def __getattr__(self, name: str) -> Any:
        return self

    def remote(self, *_: Any) -> None:
        return None


class Failing(RayUplink):
    """Its actors come up, and fail to make ready."""

    error: BaseException
    patience_s: float

    def _create(self, roles: Any) -> None:
        self._actors |= {name: Handle() for name in roles}

    def _answers(self, calls: Any) -> Any:
        return {}, {}

    def _wait(self, calls: Any, ends: Any) -> None:
        self.patience_s = self._patience_s
        raise self.error


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (StationLostError(("users-0",), "died: again"), StationLostError),  # is brought back like any other
        (_SilentError(("users-0",), "gave no answer within 60 s"), NotRestartedError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_who_cannot_make_ready_is_lost_or_given_up(small_scenario: Any, error: Any, raised: Any) -> None:
    scenario = small_scenario(uplink={"bursts": 4}, barrier_timeout_s=7.0, restart_timeout_s=60.0)
    network = build_network(scenario)
    engine: Any = None
    uplink = Failing(scenario, network, engine)
    uplink.error = error
    for begin, patience_s in ((uplink.start, float("inf")), (partial(uplink.recover, network), 60.0)):
        with pytest.raises(BaseException) as caught:
            begin()
        assert (uplink.patience_s, uplink._patience_s) == (patience_s, 7.0)
    assert type(caught.value) is raised
