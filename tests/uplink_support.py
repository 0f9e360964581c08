"""A small uplink for tests, and services that need no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellfree_sim.detection.serving.deployment import InlineUplink
from cellfree_sim.errors import DetectorError
from cellfree_sim.network import build_network
from cellfree_sim.scenario.schema import Scenario

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

QPSK = np.array([1 + 1j, 1 - 1j, -1 + 1j, -1 - 1j]) / np.sqrt(2)
FLOPS_PER_ENTRY = 1e5


class Textbook:
    """LMMSE for QPSK as the textbook has it, in NumPy and double precision; a linear count of operations."""

    def __init__(self, refuses: Callable[[str, NDArray[Any]], bool] = lambda service, h: False) -> None:
        self.refuses = refuses
        self.calls: list[tuple[str, tuple[int, ...]]] = []
        self.swaps: list[tuple[str, str]] = []

    def detect(self, service: str, y: Any, h: Any, noise_variance: Any) -> NDArray[np.float32]:
        self.calls.append((service, h.shape))
        if self.refuses(service, h):
            raise DetectorError("not this one")
        y, h = y.astype(complex), h.astype(complex)
        adjoint = h.conj().swapaxes(1, 2)
        covariance = h @ adjoint + noise_variance[:, None, None] * np.eye(h.shape[1])
        filters = adjoint @ np.linalg.inv(covariance)
        gain = np.einsum("snr,srn->sn", filters, h).real
        estimate = (filters @ y[..., None])[..., 0] / gain
        variance = (1 - gain) / gain
        scores = -(np.abs(estimate[..., None] - QPSK) ** 2) / variance[..., None]
        scores -= np.log(np.exp(scores - scores.max(-1, keepdims=True)).sum(-1, keepdims=True))
        scores -= scores.max(-1, keepdims=True)
        return scores.astype(np.float32)

    def flops(self, service: str, slots: int, antennas: int, users: int) -> float:
        return FLOPS_PER_ENTRY * slots * antennas * users

    def swap(self, service: str, detector: Any) -> None:
        self.swaps.append((service, detector.name))


def make_scenario(users: int = 6, **changes: Any) -> Scenario:
    """Three stations of four antennas in a row, Rayleigh fading, no power limit, the three ways of cooperation."""
    uplink = {
        "bursts": 40,
        "slots": 5,
        "snr_db": [-5.0, 3.0],
        "realisations": 3,
        "users_per_group": 4,
        "power": {"max_dbm": 100},
        "services": [
            {"detector": "lmmse", "cooperation": way, "name": way} for way in ("local", "soft_fusion", "centralized")
        ],
    } | changes.pop("uplink", {})
    network = {
        "area_m": [300, 100],
        "sbs": {"positions_m": [[50, 50], [150, 50], [250, 50]]},
        "users": {"count": users},
    }
    return Scenario.model_validate(
        {
            "name": "uplink",
            "network": network | changes.pop("network", {}),
            "channel": {"model": {"name": "rayleigh", "shadowing_db": 4}, "cache": False},
            "backhaul": {"capacity_bps": 1e8} | changes.pop("backhaul", {}),
            "downlink": {"algorithm": "none"},
            "uplink": uplink,
            **changes,
        }
    )


def started(scenario: Scenario, services: Any = None, state: Any = None) -> InlineUplink:
    uplink = InlineUplink(scenario, build_network(scenario), services=services or Textbook())
    uplink.start(state)
    return uplink


def rows_of(uplink: InlineUplink, until: int | None = None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    uplink.advance(10**9 if until is None else until, rows.extend)
    for row in rows:
        row.pop("activity", None)  # for who watches: since the last rows, wherever those were cut
    return rows
