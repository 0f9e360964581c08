"""An uplink that counts: enough of `Uplink` to see how a run drives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cellfree_sim.errors import StationLostError
from cellfree_sim.results.state import pack_state, unpack_state


class FakeUplink:
    """Each burst adds its number to a sum; `before` says what is called, once, before which burst."""

    def __init__(self, before: Mapping[int, Callable[[], object]] | None = None) -> None:
        self.done = 0
        self.sum = 0
        self.calls: list[Any] = []
        self._before = dict(before or {})

    def start(self, state: Mapping[str, bytes] | None = None) -> None:
        self.calls.append("start")
        if state is not None:
            self.load_states(state)

    def advance(self, until: int, on_rows: Callable[..., None], should_hold: Callable[[], bool]) -> int:
        while self.done < until and not should_hold():
            if self.done in self._before:
                self._before.pop(self.done)()
            self.sum += self.done
            row = {"burst": self.done, "service": "counting", "detector": "lmmse", "latency_s": 1e-3}
            row |= {"symbols": 10, "symbol_errors": 1, "requests": 3, "refused": 0}
            self.done += 1
            on_rows([row])
        return self.done

    def states(self) -> dict[str, bytes]:
        return {"uplink/mbs": pack_state({"done": self.done, "sum": self.sum})}

    def load_states(self, states: Mapping[str, bytes]) -> None:
        state = unpack_state(states["uplink/mbs"])
        self.done, self.sum = state["done"], state["sum"]

    def drain_ledgers(self) -> list[bytes]:
        return []

    def facts(self) -> dict[str, Any]:
        return {"problem": "mimo", "sum": self.sum, "simulated_seconds": 1e-3 * self.done, "services": []}

    def swap(self, service: str, detector: Any) -> None:
        self.calls.append(("swap", self.done, service, detector.name))

    def fail(self, service: str, station: str | None = None) -> None:
        self.calls.append(("fail", self.done, service, station))

    def recover(self, network: Any) -> None:
        self.calls.append("recover")

    def close(self) -> None:
        self.calls.append("close")


def dying(name: str) -> Callable[[], None]:
    """Lets the process called `name` die."""

    def die() -> None:
        raise StationLostError((name,), "died")

    return die
