"""The uplink on Ray equals that in one process bit for bit, also where services and stations die on the way."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from agents.bursts import Bursts
from agents.packing import Seat
from agents.placement import remove_groups, reserve
from agents.uplink import RayUplink
from cellfree_sim.backhaul.ledger import unpack_entries
from cellfree_sim.detection import create_detector
from cellfree_sim.detection.serving.deployment import InlineUplink
from cellfree_sim.errors import StationLostError, UserError
from cellfree_sim.network import build_network
from cellfree_sim.uplink import MimoProblem

BURSTS = 48
NAMESPACE = "uplink-engines"
OFTEN = [0.8, 0.8, 0.8, 0.4, 0.4, 0.4]


class Homes:
    """Stands for the engine: a placement group for each station."""

    def __init__(self, names: list[str]) -> None:
        self._groups = {name: (reserve(Seat(name, 0, 0), NAMESPACE), []) for name in names}

    def homes(self) -> dict[str, Any]:
        return self._groups


@pytest.fixture
def scenario(small_scenario: Any) -> Any:
    services = [
        {"name": "soft", "detector": "mf", "cooperation": "soft_fusion", "queue": {"batch": 3, "deadline_s": 5e-3}},
        {"name": "central", "detector": "lmmse", "cooperation": "centralized"},
    ]
    uplink = {"bursts": BURSTS, "realisations": 3, "users_per_group": 4, "snr_db": [3.0, 9.0], "services": services}
    network = {"sbs": {"count": 2}, "users": {"count": 6}}
    return small_scenario(network=network, uplink={**uplink, "activity": {"probability": 0.7}})


@pytest.fixture
def distributed(cluster: Any, scenario: Any) -> Iterator[RayUplink]:
    network = build_network(scenario)
    uplink = RayUplink(scenario, network, Homes([network.mbs, *network.stations]))  # type: ignore[arg-type]
    yield uplink
    uplink.close()
    remove_groups(NAMESPACE)


def books(uplink: Any) -> list[Any]:
    return sorted((entry for part in uplink.drain_ledgers() for entry in unpack_entries(part)), key=repr)


def kill(uplink: RayUplink, role: str) -> None:
    import ray

    os.kill(int(ray.get(uplink._actors[role].ready.remote()).split()[0]), signal.SIGKILL)


@pytest.mark.slow
def test_ray_equals_inline_whatever_dies(distributed: RayUplink, scenario: Any) -> None:
    inline = InlineUplink(scenario, build_network(scenario))
    rows: dict[Any, list[Any]] = {inline: [], distributed: []}
    zero_forcing = create_detector("zf", MimoProblem(n_rx=8, n_tx=2)).options
    for uplink in rows:
        uplink.start()
        uplink.advance(20, rows[uplink].extend)
    assert distributed.done == 20
    saved = distributed.states()
    assert saved == inline.states()
    assert books(distributed) == books(inline)

    distributed.fail("soft", "sbs-1")
    distributed.fail("central")
    for uplink in rows:
        uplink.swap("central", zero_forcing)
        uplink.advance(BURSTS, rows[uplink].extend)
    final = inline.states(), books(inline)
    assert (distributed.states(), books(distributed)) == final
    assert repr(rows[distributed]) == repr(rows[inline])  # NaN equals NaN

    facts = distributed.facts()
    processes = {service["name"]: service.pop("processes") for service in facts["services"]}
    assert repr(facts) == repr(inline.facts())
    assert set(processes["soft"]) == {"sbs-0", "sbs-1"}
    assert processes["soft"]["sbs-1"]["restarts"] == processes["central"]["mbs"]["restarts"] == 1
    assert processes["soft"]["sbs-0"]["restarts"] == 0
    with pytest.raises(UserError, match="service 'soft': has no process at mbs"):
        distributed.fail("soft", "mbs")

    distributed.load_states(saved)
    assert distributed.done == 20
    for role in ("users-1", "sbs-0"):
        kill(distributed, role)
    with pytest.raises(StationLostError, match="died") as lost:
        distributed.advance(BURSTS, lambda _: None)
    assert set(lost.value.stations) == {"users-1", "sbs-0"}
    distributed.recover(build_network(scenario))
    distributed.load_states(saved)
    distributed.drain_ledgers()
    distributed.swap("central", zero_forcing)
    assert distributed.advance(BURSTS, lambda _: None) == BURSTS
    assert (distributed.states(), books(distributed)) == final


@pytest.mark.slow
def test_devices_of_massive_access_are_found_alike_on_ray(cluster: Any, small_scenario: Any) -> None:
    """Pilots are named in the bursts, superposed by the operator, detected in processes of their own."""
    ways = ("local", "soft_fusion", "centralized")
    uplink = {
        "problem": "mmtc",
        "pilot_length": 12,
        "snr_db": [20.0],
        "bursts": 20,
        "realisations": 5,
        "users_per_group": 15,
        "power": {"max_dbm": 100},
        "services": [{"name": way, "detector": "amp-section", "cooperation": way} for way in ways],
    }
    scenario = small_scenario(network={"sbs": {"count": 2}, "users": {"count": 30}}, uplink=uplink)
    network = build_network(scenario)
    rows: list[list[Any]] = []
    engines = (
        InlineUplink(scenario, network),
        RayUplink(scenario, network, Homes([network.mbs, *network.stations])),  # type: ignore[arg-type]
    )
    try:
        for engine in engines:
            rows.append([])
            engine.start()
            engine.advance(20, rows[-1].extend)
        assert repr(rows[1]) == repr(rows[0])
        assert sum(row["symbols"] for row in rows[0]) == 3 * 20 * 30
        assert books(engines[1]) == books(engines[0])
        assert engines[1].states() == engines[0].states()
    finally:
        engines[1].close()
        remove_groups(NAMESPACE)


@pytest.fixture
def silent(small_scenario: Any) -> Any:
    """Grant-free users whose activity changes; a receiver is trained with its signatures while it serves."""
    services = [
        {"name": "net", "detector": "sicnn", "queue": {"batch": 3, "deadline_s": 5e-3}},
        {"name": "soft", "detector": "kbest", "cooperation": "soft_fusion"},
        {"name": "all", "detector": "mmse-sic", "cooperation": "centralized"},
    ]
    training = {"detector": "sicnn", "codebook": "qnn", "activity": OFTEN, "channel": "flat", "iterations": 3}
    uplink = {
        "problem": "noma",
        "codebook": "qnn",
        "activity": {"by_user": OFTEN},
        "services": services,
        "training": {**training, "batch": 32},
        "events": [
            {"at_burst": 9, "set_activity": {"by_user": OFTEN[::-1]}},
            {"at_burst": 10, "retrain": {"service": "net", "ready_after": 11}},
            {"at_burst": 12, "retrain": {"service": "soft", "ready_after": 4}},
        ],
    }
    network = {"sbs": {"count": 2, "antennas": {"rows": 1, "columns": 1}}, "users": {"count": 6}}
    return small_scenario(network=network, uplink={**uplink, "bursts": 32, "users_per_group": 4, "snr_db": [9.0]})


@pytest.mark.slow
def test_a_service_that_is_trained_while_it_serves_is_the_same_on_ray(cluster: Any, silent: Any, tmp_path: Any) -> None:
    network = build_network(silent)
    distributed = RayUplink(silent, network, Homes([network.mbs, *network.stations]))  # type: ignore[arg-type]
    found = []
    try:
        for uplink in (InlineUplink(silent, network), distributed):
            rows: list[Any] = []
            records: list[Any] = []
            beside = uplink is distributed
            bursts = Bursts(
                silent, uplink, beside=beside, on_rows=rows.extend, on_event=records.append, folder=tmp_path
            )
            bursts.start(None)
            while bursts.left:
                bursts.begin_part()
                bursts.end(lambda: False)
            facts = uplink.facts()
            for service in facts["services"]:
                service.pop("processes", None)
            found.append(repr([rows, records, facts, books(uplink), uplink.states()]))
            assert [each["event"] for each in records] == ["set_activity", *["retrain"] * 2, *["retrained"] * 2]
            assert records[-1]["codebook"] == "trained"
    finally:
        distributed.close()
        remove_groups(NAMESPACE)
    assert found[0] == found[1]
