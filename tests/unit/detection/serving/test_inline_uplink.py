from __future__ import annotations

import itertools
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from uplink_support import FLOPS_PER_ENTRY, Textbook, make_scenario, rows_of, started

from cellfree_sim.backhaul import Books
from cellfree_sim.detection import create_detector
from cellfree_sim.detection.serving import receiver, requests
from cellfree_sim.detection.serving.cases import Case
from cellfree_sim.detection.serving.deployment import InlineUplink, service_problem
from cellfree_sim.detection.serving.reports import Report
from cellfree_sim.errors import DetectorError, UserError
from cellfree_sim.network import build_network
from cellfree_sim.results.state import unpack_state
from cellfree_sim.scenario.uplink_mimo import MimoService
from cellfree_sim.uplink import MimoProblem
from cellfree_sim.uplink.population import transmissions

MBS_FLOP_PER_S, SBS_FLOP_PER_S = 1e12, 1e11
COUNTS = ("symbols", "symbol_errors", "bit_errors", "block_errors", "undecided")


def of(rows: list[dict[str, Any]], service: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["service"] == service]


def same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    return repr(one) == repr(other)  # NaN is NaN


def services(*ways: str, **options: Any) -> list[dict[str, Any]]:
    return [{"detector": "lmmse", "cooperation": way, "name": way, **options} for way in ways]


def books_of(uplink: Any) -> Books:
    books = Books()
    for ledger in uplink.drain_ledgers():
        books.feed(ledger)
    return books


def test_every_burst_has_a_row_of_every_service_in_order() -> None:
    scenario = make_scenario()
    rows = rows_of(started(scenario))
    names = ["local", "soft_fusion", "centralized"]
    assert [(row["burst"], row["service"]) for row in rows] == list(itertools.product(range(40), names))
    for row in rows:
        assert row["users"] == row["blocks"] == 6
        assert row["symbols"] == 6 * 5
        assert row["undecided"] == row["refused"] == 0
        assert row["snr_db"] == [-5.0, 3.0][row["burst"] % 2]
        assert row["drop"] == row["burst"] // 2 % 3
        assert row["latency_s"] == pytest.approx(row["queue_s"] + row["compute_s"] + row["backhaul_s"])


def test_cooperation_pays() -> None:
    rows = rows_of(started(make_scenario(uplink={"bursts": 60, "snr_db": [3.0]})))
    wrong = {way: sum(row["symbol_errors"] for row in of(rows, way)) for way in ("local", "soft_fusion", "centralized")}
    assert wrong["local"] > 1.1 * wrong["soft_fusion"]
    assert wrong["soft_fusion"] > 1.5 * wrong["centralized"]


def test_for_one_user_adding_log_probabilities_is_detecting_centrally() -> None:
    rows = rows_of(started(make_scenario(users=1)))
    fused, central = ([[row[key] for key in COUNTS] for row in of(rows, way)] for way in ("soft_fusion", "centralized"))
    assert fused == central
    assert sum(row["symbol_errors"] for row in of(rows, "local")) > sum(row[1] for row in fused)


def test_with_clusters_of_one_station_all_ways_of_cooperation_decide_alike() -> None:
    """Each user then has one station, which knows of the others' users only how strong they are."""
    ways = ("local", "soft_fusion", "centralized")
    rows = rows_of(started(make_scenario(uplink={"services": services(*ways, cluster=1)})))
    local, fused, central = ([[row[key] for key in COUNTS] for row in of(rows, way)] for way in ways)
    assert local == fused == central
    assert sum(row[1] for row in local) > 0


def test_the_bits_of_a_run_do_not_depend_on_where_it_is_cut() -> None:
    scenario = make_scenario(uplink={"services": services("local", "soft_fusion", "centralized", queue={"batch": 3})})
    whole, cut = started(scenario), started(scenario)
    at_once = rows_of(whole)
    in_parts = [row for until in (1, 2, 7, 16, 29, 40) for row in rows_of(cut, until)]
    assert same(in_parts, at_once)
    assert cut.facts() == whole.facts()
    found, expected = (books_of(uplink).take_rows() for uplink in (cut, whole))
    for columns in (found, expected):  # frames with their sequence numbers, in an order of their own
        names = ("sender", "receiver", "sequence", "kind", "step", "bytes", "sent_s", "arrival_s")
        columns["frames"] = sorted(zip(*(columns[name] for name in names), strict=True))
    assert found["frames"] == expected["frames"]


@pytest.mark.parametrize("at", [3, 16, 39])
def test_another_process_goes_on_where_the_states_were_taken(at: int) -> None:
    """Also with requests in queues, frames on links and answers on their way back."""
    slow = {"batch": 5, "deadline_s": 0.05}
    scenario = make_scenario(
        backhaul={"capacity_bps": 2e6}, uplink={"services": services("local", "soft_fusion", "centralized", queue=slow)}
    )
    first = started(scenario)
    before = rows_of(first, at)
    second = started(scenario, state=first.states() | {"sbs-0": b"of the downlink"})
    assert second.done == at
    after = rows_of(second)
    whole = started(scenario)
    assert same(before + after, rows_of(whole))
    assert second.facts() == whole.facts()
    books = books_of(first)
    for ledger in second.drain_ledgers():
        books.feed(ledger)
    assert books.balanced
    assert books.totals() == books_of(whole).totals()


def test_a_run_that_goes_back_does_all_of_it_again() -> None:
    scenario = make_scenario()
    uplink = started(scenario)
    rows_of(uplink, 10)
    states = uplink.states()
    lost = rows_of(uplink, 30)
    uplink.load_states(states)
    assert uplink.done == 10
    assert books_of(uplink).frames == 0  # what is undone was never sent
    assert same(rows_of(uplink, 30), lost)


def test_who_hosts_the_users_changes_nothing_that_is_decided() -> None:
    few, many = (make_scenario(uplink={"users_per_group": size}) for size in (1, 6))
    assert same(rows_of(started(few)), rows_of(started(many)))


def test_the_books_balance_and_the_rows_have_their_bytes() -> None:
    uplink = started(make_scenario())
    rows = rows_of(uplink)
    books = books_of(uplink)
    assert books.balanced
    assert books.by_phase == {"uplink": books.bytes}
    assert books.by_class["backhaul"] == sum(row["bytes"] for row in rows)
    assert of(rows, "local")[0]["bytes"] == 0
    fused = of(rows, "soft_fusion")[0]["bytes"]
    assert fused > 3 * (6 * 5 * 4 * 4 + 6 * 4)  # log-probabilities of four messages, and the users' numbers
    table = books.take_rows()
    for key in ("arrival_s", "queue_s", "transfer_s"):
        assert None not in table[key]
    late = [
        arrival - sent - queue - transfer
        for arrival, sent, queue, transfer in zip(
            *(table[key] for key in ("arrival_s", "sent_s", "queue_s", "transfer_s")), strict=True
        )
    ]
    assert np.abs(late).max() < 1e-12


def test_the_times_of_one_burst_are_those_of_a_calculation_by_hand() -> None:
    """Capacity 1e8 bit/s, all of it the uplink's where nothing is trained; 0.5 ms latency; batches of one, at once."""
    options = {"queue": {"batch": 1}, "mec_share": 0.25}
    three = services("local", "soft_fusion", "centralized", **options)
    uplink = started(make_scenario(uplink={"bursts": 1, "services": three}))
    local, fused, central = rows_of(uplink)
    frames = books_of(uplink).take_rows()
    size = dict(zip(frames["kind"], frames["bytes"], strict=True))  # names of stations and services have one length

    def over_the_link_s(kind: str) -> float:
        return 8 * size[kind] / 1e8 + 0.5e-3

    at_station_s = FLOPS_PER_ENTRY * 5 * 4 * 6 / (0.25 * SBS_FLOP_PER_S)
    adding_s = 3 * 6 * 5 * 4 / (0.25 * MBS_FLOP_PER_S)
    at_mbs_s = FLOPS_PER_ENTRY * 5 * 12 * 6 / (0.25 * MBS_FLOP_PER_S)
    assert {row["started_s"] for row in (local, fused, central)} == {5 * 71.4e-6}
    assert [row["queue_s"] for row in (local, fused, central)] == [0, 0, 0]
    found = [row["compute_s"] for row in (local, fused, central)]
    assert found == pytest.approx([at_station_s, at_station_s + adding_s, at_mbs_s])
    assert local["backhaul_s"] == pytest.approx(0, abs=1e-12)
    down_s = over_the_link_s("detection_result")
    assert fused["backhaul_s"] == pytest.approx(over_the_link_s("soft_decision") + down_s)
    assert central["backhaul_s"] == pytest.approx(over_the_link_s("received_signal") + down_s)


def test_a_slow_backhaul_makes_them_wait_in_front_of_the_link() -> None:
    only = {"bursts": 20, "services": services("centralized", queue={"batch": 1})}
    fast, slow = (started(make_scenario(backhaul={"capacity_bps": rate}, uplink=only)) for rate in (1e8, 1e6))
    early, late = rows_of(fast), rows_of(slow)
    assert [row["symbol_errors"] for row in early] == [row["symbol_errors"] for row in late]
    assert np.ptp([row["backhaul_s"] for row in early]) < 1e-9
    frames = books_of(slow).take_rows()
    (size,) = {n for kind, n in zip(frames["kind"], frames["bytes"], strict=True) if kind == "received_signal"}
    waits = np.diff([row["backhaul_s"] for row in late])
    assert waits == pytest.approx(8 * size / 1e6 - 2e-3)  # a burst every 2 ms


@pytest.mark.parametrize("way", ["soft_fusion", "centralized"])
def test_a_backhaul_that_cannot_carry_it_holds_no_more_than_a_queue(way: str, caplog: pytest.LogCaptureFixture) -> None:
    """A frame of 0.5 kB and more takes 40 ms at 1e5 bit/s; a burst comes every 2 ms."""
    one = {"bursts": 100, "services": services(way, queue={"batch": 1, "capacity": 4})}
    scenario = make_scenario(backhaul={"capacity_bps": 1e5}, uplink=one)
    uplink, cut = started(scenario), started(scenario)
    with caplog.at_level(logging.WARNING):
        rows = rows_of(uplink, 80)
    held = unpack_state(uplink.states()["uplink/mbs"])
    assert 0 < len(held["frames"]) <= 3 * 4
    assert len([line for line in caplog.messages if "holds too many of its frames" in line]) == 3
    rows += rows_of(uplink)
    assert same([row for until in (5, 33, 100) for row in rows_of(cut, until)], rows)
    assert books_of(uplink).balanced
    served = [row for row in rows if row["refused"] == 0]
    assert 0 < len(served) < 20
    for row in rows:
        assert row["blocks"] + row["undecided"] == 6
        assert row["slots"] == (5 if row["blocks"] else 0)
    facts = uplink.facts()["services"][0]
    assert facts["slots"] == 5 * sum(row["blocks"] > 0 for row in rows) < 500
    assert facts["slots_per_second"] == facts["slots"] / uplink.facts()["simulated_seconds"]


def test_a_central_burst_that_one_station_misses_is_decided_and_not_refused() -> None:
    sent, refused = (Report(0, 0, outcome, "", 0.0) for outcome in ("sent", "refused"))
    central = MimoService(cooperation="centralized")

    def count(*reports: Report, at_mbs: int = 0) -> int:
        found: int = Case(0, 0, 0, reports=dict(enumerate(reports)), refused=at_mbs).row(central, 0.0)["refused"]
        return found

    assert [count(sent, refused), count(refused, refused), count(sent, refused, at_mbs=1), count()] == [0, 1, 1, 0]


def test_a_swap_to_what_cannot_serve_is_told_before_bursts_begin() -> None:
    events = [{"at_burst": 3, "swap_detector": {"service": "local", "detector": {"name": "oampnet2"}}}]
    scenario = make_scenario(uplink={"events": events})
    with pytest.raises(DetectorError, match=r"^uplink.events.0.swap_detector: service 'local': detector 'oampnet2': "):
        started(scenario)


def test_a_service_is_made_for_the_users_of_a_trace(tmp_path: Path) -> None:
    np.savez(tmp_path / "who.npz", active=np.array([[1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0]], bool))
    scenario = make_scenario(uplink={"activity": {"trace": str(tmp_path / "who.npz")}})
    assert service_problem(scenario, "local").n_tx == 3
    assert service_problem(make_scenario(uplink={"activity": {"probability": 0.7}}), "local").n_tx == 4


def test_what_a_busy_service_refuses_is_said_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    busy = {"queue": {"batch": 1, "capacity": 1}, "mec_share": 1e-4}
    scenario = make_scenario(uplink={"services": services("local", **busy)})
    with caplog.at_level(logging.WARNING):
        uplink = started(scenario)
        rows = rows_of(uplink)
    refused = sum(row["refused"] for row in rows)
    assert 0 < refused < 3 * 40
    assert len([line for line in caplog.messages if "queue is full" in line]) == 3  # of each station, once
    for row in rows:
        assert row["blocks"] + row["undecided"] == 6
    facts = uplink.facts()["services"][0]
    assert (facts["refused"], facts["requests"]) == (refused, 120)
    assert facts["undecided"] == sum(row["undecided"] for row in rows) > 0
    assert max(each["utilisation"] for each in facts["by_station"].values()) > 0.5


@pytest.mark.parametrize("way", ["local", "soft_fusion", "centralized"])
def test_a_detector_that_refuses_a_request_takes_no_other_along(way: str) -> None:
    """Requests of one batch are detected together; here the very first is not for this detector."""
    one_way = services(way, queue={"batch": 8, "deadline_s": 0.1})
    scenario = make_scenario(uplink={"realisations": 20, "services": one_way})  # no channel comes twice
    all_served = rows_of(started(scenario))
    bad: list[complex] = []

    def refuses(service: str, h: Any) -> bool:
        bad.extend(h[0, :1, 0] if not bad else [])
        return bad[0] in h[:, 0, 0]

    rows = rows_of(started(scenario, Textbook(refuses)))
    first, *others = rows
    assert first["refused"] == 1
    assert [[row[key] for key in COUNTS] for row in others] == [[row[key] for key in COUNTS] for row in all_served[1:]]
    if way == "local":
        assert first["blocks"] + first["undecided"] == 6 > first["blocks"]
    elif way == "soft_fusion":
        assert (first["blocks"], first["undecided"]) == (6, 0)  # the other stations have heard them, too
    else:
        assert (first["blocks"], first["undecided"]) == (0, 6)
        assert math.isnan(first["latency_s"])


def test_a_burst_of_nobody_is_a_row_without_decisions() -> None:
    scenario = make_scenario(users=3, uplink={"activity": {"probability": 0.2}})
    rows = rows_of(started(scenario))
    active = [len(transmissions(scenario, burst).users) for burst in range(40)]
    assert 0 in active
    assert [row["users"] for row in of(rows, "local")] == active
    for row in rows:
        assert row["blocks"] == row["users"]
        assert math.isnan(row["latency_s"]) == (row["users"] == 0)
        assert row["requests"] <= (1 if row["service"] == "centralized" else 3)


def test_only_the_stations_that_take_part_do() -> None:
    two = services("local", "soft_fusion", "centralized", stations=["sbs-0", "sbs-2"])
    uplink = started(make_scenario(uplink={"services": two}))
    rows = rows_of(uplink)
    assert all(row["undecided"] == 0 for row in rows)
    assert [list(each["by_station"]) for each in uplink.facts()["services"]] == [["sbs-0", "sbs-2"]] * 2 + [["mbs"]]
    assert "sbs-1>mbs" not in books_of(uplink).by_link


def test_less_precision_is_fewer_bytes_for_nearly_the_same_decisions() -> None:
    found = {}
    for precision in ("float32", "int8"):
        uplink = started(
            make_scenario(uplink={"services": services("soft_fusion", "centralized", precision=precision)})
        )
        rows_of(uplink)
        found[precision] = uplink.facts()["services"]
    for exact, coarse in zip(found["float32"], found["int8"], strict=True):
        assert coarse["bytes"] < 0.75 * exact["bytes"]
        assert coarse["symbol_errors"] == pytest.approx(exact["symbol_errors"], rel=0.2)


def test_another_detector_serves_from_its_burst_on() -> None:
    textbook = Textbook()
    problem = MimoProblem(4, 2, "qpsk")
    uplink_scenario = make_scenario()
    uplink = started(uplink_scenario, textbook)
    rows = rows_of(uplink, 17)
    states = uplink.states()
    for way in ("local", "centralized"):
        uplink.swap(way, create_detector("zf", problem).options)
    assert textbook.swaps == [("local", "zf")] * 3 + [("centralized", "zf")]
    after = uplink.states()
    rows += rows_of(uplink)
    for way in ("local", "centralized"):
        names = [row["detector"] for row in of(rows, way)]
        assert names[:16] == ["lmmse"] * 16
        assert names[17:] == ["zf"] * 23
    assert {row["detector"] for row in of(rows, "soft_fusion")} == {"lmmse"}
    assert uplink.facts()["services"][0]["detectors"] == ["lmmse", "zf"]
    textbook.swaps.clear()
    uplink.load_states(states)  # before the swap: the first detectors are back
    assert sorted(textbook.swaps) == [("centralized", "lmmse")] + [("local", "lmmse")] * 3
    fresh = Textbook()
    started(uplink_scenario, fresh, state=after)
    assert sorted(fresh.swaps) == [("centralized", "zf")] + [("local", "zf")] * 3


def test_it_can_be_held_at_a_windows_end() -> None:
    uplink = started(make_scenario())
    rows: list[dict[str, Any]] = []
    assert uplink.advance(40, rows.extend, lambda: True) == uplink.done == 16
    assert uplink.advance(40, rows.extend) == 40
    assert len(rows) == 3 * 40


def test_facts_are_the_sums_of_the_rows() -> None:
    uplink = started(make_scenario())
    rows = rows_of(uplink)
    for facts in uplink.facts()["services"]:
        own = of(rows, facts["name"])
        for index, snr_db in enumerate(facts["snr_db"]):
            at = [row for row in own if row["snr_db"] == snr_db]
            for rate, errors, trials in (
                ("ser", "symbol_errors", "symbols"),
                ("ber", "bit_errors", "bits"),
                ("bler", "block_errors", "blocks"),
            ):
                value = sum(row[errors] for row in at) / sum(row[trials] for row in at)
                assert facts[rate][index] == pytest.approx(value)
                assert facts[f"{rate}_low"][index] <= value <= facts[f"{rate}_high"][index]
        latencies = sorted(row["latency_s"] for row in own)
        assert facts["latency_ms_p50"] == pytest.approx(1e3 * latencies[19], rel=0.006)
        assert facts["latency_ms_p99"] == pytest.approx(1e3 * latencies[39], rel=0.006)
        assert facts["latency_ms"] == pytest.approx(1e3 * np.mean(latencies))
        assert facts["bytes_per_slot"] == sum(row["bytes"] for row in own) / 200


def test_the_detectors_of_this_project_decide_as_the_textbook_does() -> None:
    """LMMSE twice: here in batches, single precision and scaled channels, there slot by slot in double precision."""
    scenario = make_scenario(uplink={"bursts": 12, "csi_error_db": -10.0})
    ours = InlineUplink(scenario, build_network(scenario))
    ours.start()
    theirs = rows_of(started(scenario))
    found = [[row[key] for key in ("burst", "service", *COUNTS)] for row in rows_of(ours)]
    assert found == [[row[key] for key in ("burst", "service", *COUNTS)] for row in theirs]
    assert sum(row["symbol_errors"] for row in theirs) > 100


def test_more_users_than_the_detector_can_serve_are_refused_and_the_next_are_served() -> None:
    """Zero-forcing with 4 antennas at each station: 12 of them serve what 4 do not."""
    zero_forcing = [{"detector": "zf", "cooperation": way, "name": way} for way in ("local", "centralized")]
    scenario = make_scenario(uplink={"services": zero_forcing, "activity": {"probability": 0.6}, "bursts": 20})
    uplink = InlineUplink(scenario, build_network(scenario))
    uplink.start()
    rows = rows_of(uplink)
    for row in of(rows, "local"):
        assert row["undecided"] == (row["users"] if row["users"] > 4 else 0)
    assert {row["undecided"] for row in of(rows, "centralized")} == {0}
    assert {row["users"] > 4 for row in rows} == {True, False}


def test_long_requests_are_detected_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = make_scenario(uplink={"services": services("local", queue={"batch": 8, "deadline_s": 0.1})})
    whole, parts = Textbook(), Textbook()
    expected = rows_of(started(scenario, whole))
    monkeypatch.setattr(requests, "VALUES_AT_ONCE", 3 * 4 * 6)  # three slots of four antennas and six users
    assert same(rows_of(started(scenario, parts)), expected)
    assert max(shape[0] for _, shape in whole.calls) == 8 * 5
    assert {shape[0] for _, shape in parts.calls} == {2, 3}


def test_services_and_stations_that_are_not_there_are_named() -> None:
    uplink = started(make_scenario(uplink={"services": services("local", "centralized", stations=["sbs-0"])}))
    with pytest.raises(UserError, match=r"service: found 'edge'; allowed: local, centralized"):
        uplink.swap("edge", create_detector("zf", MimoProblem(4, 2, "qpsk")).options)
    with pytest.raises(UserError, match=r"station: found 'sbs-1', where 'local' is not; allowed: sbs-0"):
        uplink.fail("local", "sbs-1")
    uplink.fail("centralized", "mbs")
    rows_of(uplink)


def test_more_users_than_memory_should_hold_are_refused_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "MOST_USERS", 3)
    scenario = make_scenario(uplink={"activity": {"probability": 0.6}, "bursts": 20})
    textbook = Textbook()
    uplink = started(scenario, textbook)
    rows = rows_of(uplink)
    for row in rows:
        too_many = row["users"] > 3
        assert row["undecided"] == (row["users"] if too_many else 0)
        assert (row["refused"] > 0) == too_many
        assert row["refused"] <= row["requests"]
        assert math.isnan(row["latency_s"]) == (too_many or row["users"] == 0)
    assert max(shape[2] for _, shape in textbook.calls) == 3
    assert books_of(uplink).balanced
