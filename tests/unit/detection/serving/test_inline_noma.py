"""Grant-free NOMA as edge services in one process."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from uplink_support import make_scenario, rows_of

from agents.bursts import Bursts
from cellfree_sim.backhaul import Books
from cellfree_sim.detection.learned.retraining import begun
from cellfree_sim.detection.serving.changes import Change
from cellfree_sim.detection.serving.deployment import InlineUplink
from cellfree_sim.errors import CodebookError, DetectorError
from cellfree_sim.network import build_network
from cellfree_sim.scenario.extensions import CODEBOOKS, detectors_of
from cellfree_sim.scenario.schema import Scenario
from cellfree_sim.uplink.codewords import codebook_of
from cellfree_sim.uplink.population import activity_probabilities, transmissions
from cellfree_sim.uplink.power import noise_mw

WAYS = ("local", "soft_fusion", "centralized")
OFTEN = [0.8, 0.8, 0.8, 0.4, 0.4, 0.4]
COUNTS = ("symbols", "symbol_errors", "bits", "bit_errors", "block_errors", "active", "missed", "false_alarms")


def services(detector: Any = "kbest", *ways: str, **options: Any) -> list[dict[str, Any]]:
    options = {"queue": {"batch": 64, "deadline_s": 0.1}} | options  # much is detected at once
    return [{"detector": detector, "cooperation": way, "name": way, **options} for way in ways or WAYS]


def noma_scenario(users: int = 6, **changes: Any) -> Scenario:
    """Three stations of one antenna, six users of which half send rarely."""
    uplink = {
        "problem": "noma",
        "bursts": 40,
        "slots": 8,
        "activity": {"by_user": OFTEN},
        "services": services(),
        **changes.pop("uplink", {}),
    }
    network = {"sbs": {"positions_m": [[50, 50], [150, 50], [250, 50]], "antennas": {"rows": 1, "columns": 1}}}
    return make_scenario(users, uplink=uplink, network=network | changes.pop("network", {}), **changes)


def started(scenario: Scenario, state: Any = None) -> InlineUplink:
    uplink = InlineUplink(scenario, build_network(scenario))
    uplink.start(state)
    return uplink


def of(rows: list[dict[str, Any]], service: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["service"] == service]


def total(rows: list[dict[str, Any]], service: str, key: str) -> int:
    return sum(int(row[key]) for row in of(rows, service))


def books_of(*uplinks: Any) -> Books:
    books = Books()
    for uplink in uplinks:
        for ledger in uplink.drain_ledgers():
            books.feed(ledger)
    return books


def test_less_noise_and_more_cooperation_mean_fewer_errors_in_states() -> None:
    """960 states of users for each SNR and way; the gaps are several times their standard errors of about 10 %."""
    uplink = started(noma_scenario(uplink={"bursts": 60, "snr_db": [-2.0, 4.0, 10.0], "realisations": 20}))
    rows = rows_of(uplink)
    wrong = {
        way: [sum(row["symbol_errors"] for row in of(rows, way) if row["snr_db"] == snr) for snr in (-2.0, 4.0, 10.0)]
        for way in WAYS
    }
    for each in wrong.values():
        assert each[0] > 2 * each[1] > 4 * each[2]
    assert sum(wrong["local"]) > sum(wrong["soft_fusion"]) > 1.2 * sum(wrong["centralized"])


def test_all_users_are_decided_for_and_those_that_are_silent_counted_apart() -> None:
    scenario = noma_scenario()
    uplink = started(scenario)
    rows = rows_of(uplink)
    for row in rows:
        active = len(transmissions(scenario, row["burst"]).users)
        assert row["users"] == active
        assert (row["blocks"], row["symbols"], row["undecided"]) == (6, 6 * 8, 0)
        assert (row["active"], row["bits"]) == (8 * active, 2 * 8 * active)
        assert row["missed"] + row["false_alarms"] <= row["symbol_errors"]
    for facts in uplink.facts()["services"]:
        for key in COUNTS:
            assert facts[key] == total(rows, facts["name"], key)
    assert {key: uplink.facts()[key] for key in ("problem", "codebook", "resources", "fading")} == {
        "problem": "noma",
        "codebook": "wbe",
        "resources": 4,
        "fading": "flat",
    }


def test_for_one_user_fusing_posteriors_is_the_posterior_of_all_antennas() -> None:
    """Stations are independent given what a single user sent; its prior, silence included, is in each of their answers.

    It counts once: at -5 dB decisions lean on it, and counting it three times would change many of them.
    """
    scenario = noma_scenario(
        1,
        uplink={
            "services": services("ml", "soft_fusion", "centralized"),
            "activity": {"probability": 0.1},
            "snr_db": [-5.0],
            "bursts": 100,
            "realisations": 30,
        },
    )
    rows = rows_of(started(scenario))
    fused, central = ([[row[key] for key in COUNTS] for row in of(rows, way)] for way in ("soft_fusion", "centralized"))
    assert fused == central
    assert 0 < total(rows, "soft_fusion", "missed") < total(rows, "soft_fusion", "active")


def test_users_with_fewer_messages_are_never_taken_for_others() -> None:
    rates = [1, 1, 1, 2, 2, 2]
    scenario = noma_scenario(uplink={"rates": rates, "snr_db": [20.0], "codebook": "musa"})
    assert codebook_of(scenario).counts == (2, 2, 2, 4, 4, 4)
    rows = rows_of(started(scenario))
    for way in WAYS:
        bits = sum(
            8 * sum(rates[user] for user in transmissions(scenario, burst).users.tolist()) for burst in range(40)
        )
        assert total(rows, way, "bits") == bits
        assert total(rows, way, "symbol_errors") < 0.02 * total(rows, way, "symbols")


@pytest.mark.parametrize("fading", ["flat", "selective"])
def test_a_station_hears_codewords_over_the_channels_of_all_users(fading: str) -> None:
    """Against a plain sum, sample by sample, of what each user sends; the noise is the station's own."""
    from cellfree_sim.detection.serving.receptions import reception_of
    from cellfree_sim.uplink import air
    from cellfree_sim.uplink.geometry import path_gains, uplink_channels
    from cellfree_sim.uplink.senders import Assigned
    from cellfree_sim.uplink.users import UserGroup

    scenario = noma_scenario(
        network={"sbs": {"positions_m": [[50, 50]], "antennas": {"rows": 1, "columns": 2}}},
        uplink={"fading": fading},
        radio={"subcarriers": 5},
    )
    network = build_network(scenario)
    channels = uplink_channels(scenario, network, "sbs-0")
    assert channels.shape[1:] == ((2, 6) if fading == "flat" else (2, 6, 4))
    gains = path_gains(channels)[None]
    reception = reception_of(scenario, network)
    parts = []
    for index in range(2):
        group = UserGroup(scenario, network, index)
        group.tune(gains)
        group._codewords_of = Assigned(4 * index, codebook_of(scenario).codewords[4 * index :])
        sent = transmissions(scenario, 3, range(4 * index, min(4 * index + 4, 6)))
        parts.append(
            type("Part", (), {"codewords": group._codewords(3, sent.users, sent.messages), "users": sent.users})
        )
    heard = reception.superposed("sbs-0", 3, parts, channels[1], gains[:, 1])  # type: ignore[arg-type]
    sent, book = transmissions(scenario, 3), codebook_of(scenario)
    assert book.energy == pytest.approx(4)  # power 1 on each of four resources
    noise = air.noise_of(scenario.seed, "sbs-0", 3, 8, 8)
    power = 10 ** ((-96 + 3) / 10) / gains[0, 1]  # power control: the SNR of the burst, 3 dB, at the only station
    for slot in range(8):
        for antenna in range(2):
            for k in range(4):
                expected = complex(noise[slot, antenna * 4 + k])
                for place, user in enumerate(sent.users.tolist()):
                    h = channels[1, antenna, user] if fading == "flat" else channels[1, antenna, user, k]
                    word = book.codewords[user, sent.messages[slot, place], k]
                    expected += complex(h * word) * math.sqrt(power[user] / noise_mw(reception.uplink))
                assert heard.y[slot, antenna * 4 + k] == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert heard.h.shape == (6, 8)
    assert (np.abs(heard.h) ** 2).mean(axis=1) == pytest.approx(heard.power, rel=1e-4)
    request = reception.request(heard, np.ones(6, bool), 0.5)
    there = reception.joined({0: reception.signal(request, "s"), 2: reception.signal(request, "s")}, 3, 1.0)
    assert (there.y == np.tile(request.y, 2)).all() and (there.h == np.tile(request.h, 2)).all()


def test_the_bits_of_a_run_do_not_depend_on_where_it_is_cut() -> None:
    slow = {"batch": 5, "deadline_s": 0.05}
    scenario = noma_scenario(
        backhaul={"capacity_bps": 2e6}, uplink={"csi_error_db": -15.0, "services": services("mmse-sic", queue=slow)}
    )
    whole, cut = started(scenario), started(scenario)
    at_once = rows_of(whole)
    parts = [row for until in (1, 7, 19) for row in rows_of(cut, until)]
    other = started(scenario, cut.states())  # another process goes on
    assert other.done == 19
    assert repr(parts + rows_of(other)) == repr(at_once)
    assert repr(other.facts()) == repr(whole.facts())
    books = books_of(cut, other)
    assert books.balanced
    assert books.totals() == books_of(whole).totals()


def test_less_precision_is_fewer_bytes_for_nearly_the_same_decisions() -> None:
    found = {}
    for precision in ("float32", "float16", "int8"):
        uplink = started(
            noma_scenario(uplink={"services": services("kbest", "soft_fusion", "centralized", precision=precision)})
        )
        rows_of(uplink)
        found[precision] = uplink.facts()["services"]
    for place in range(2):
        exact, half, coarse = (found[precision][place] for precision in found)
        assert coarse["bytes"] < half["bytes"] < 0.9 * exact["bytes"]
        assert half["symbol_errors"] == pytest.approx(exact["symbol_errors"], rel=0.05)
        assert coarse["symbol_errors"] == pytest.approx(exact["symbol_errors"], rel=0.25)


def test_each_user_has_its_own_activity() -> None:
    scenario = noma_scenario(8, uplink={"bursts": 2000, "activity": {"by_user": [1.0, 0.25, 0.5]}})
    expected = [1.0, 0.25, 0.5, 1.0, 0.25, 0.5, 1.0, 0.25]
    assert activity_probabilities(scenario, range(3, 6)).tolist() == expected[3:6]
    seen = np.zeros(8)
    for burst in range(2000):
        seen[transmissions(scenario, burst).users] += 1
    error = np.sqrt(np.array(expected) * (1 - np.array(expected)) / 2000)
    assert (np.abs(seen / 2000 - expected) <= 4 * error).all()


def test_each_user_is_assigned_its_codebook_by_its_best_station() -> None:
    scenario = noma_scenario()
    uplink = started(scenario)
    books = books_of(uplink)
    assert books.balanced  # also the frames before any burst
    table = books.take_rows()
    assert set(table["kind"]) == {"codebook_assignment"}
    assert set(table["receiver"]) == {"users-0", "users-1"}
    assert books.by_class == {"air": books.bytes}
    assert sum(table["payload_bytes"]) == 6 * (4 * 4 * 8 + 4)  # four words of four complex samples, and a number
    rows_of(uplink)
    later = books_of(uplink)
    assert later.balanced
    assert "codebook_assignment" not in later.by_kind


@pytest.mark.parametrize("cut", [None, 15, 17, 24])
def test_what_was_sent_in_the_old_codebook_is_received_in_it(cut: int | None) -> None:
    """Requests wait for up to 25 bursts; at 25 dB next to nothing is wrong unless codebooks are confused."""
    ways = services("kbest", "local", "centralized")
    scenario = noma_scenario(uplink={"services": ways, "snr_db": [25.0], "codebook": "musa", "users_per_group": 3})
    kbest = scenario.uplink.services[0].detector  # type: ignore[union-attr]
    activity = tuple(reversed(OFTEN))
    change = Change(16, "local", kbest, activity, CODEBOOKS.create("random", seed=3))
    uplink = started(scenario)
    parts, rows = [uplink], []
    for until in sorted({16, 40, cut or 40}):
        rows += rows_of(uplink, until)
        if until == cut:  # another process goes on
            uplink = started(scenario, uplink.states())
            parts.append(uplink)
        if until == 16:
            uplink.change(change)
    assert [row["burst"] for row in of(rows, "local")] == list(range(40))
    for way in ("local", "centralized"):
        assert total(rows, way, "symbol_errors") < 0.01 * total(rows, way, "symbols")
    books = books_of(*parts)
    assert books.balanced
    table = books.take_rows()
    assigned = [n for kind, n in zip(table["kind"], table["payload_bytes"], strict=True) if "assignment" in kind]
    assert sum(assigned) == 2 * 6 * (4 * 4 * 8 + 4)  # each user twice


@pytest.mark.parametrize("cut", [15, 17, 30])
def test_requests_from_before_a_change_keep_the_detector_that_was_swapped_in(cut: int) -> None:
    """Also where another process goes on: the detector was swapped at burst 10, and requests wait beyond 16."""
    scenario = noma_scenario(uplink={"services": services("mf", "local", "centralized"), "snr_db": [25.0]})
    kbest = detectors_of("noma").create("kbest")
    found = []
    for stop in (40, cut):
        uplink, rows = started(scenario), []
        for until in sorted({10, 16, 40, stop}):
            rows += rows_of(uplink, until)
            if until == stop:
                uplink = started(scenario, uplink.states())
            if until == 10:
                uplink.swap("local", kbest)
                uplink.swap("centralized", kbest)
            if until == 16:
                for way in ("local", "centralized"):
                    uplink.change(Change(16, way, kbest, tuple(OFTEN)))
        found.append(repr(rows))
    assert found[0] == found[1]


def test_users_change_and_a_receiver_that_is_told_does_better() -> None:
    """What is rare is taken for noise: with the prior of before, users that now send often are missed."""
    events = [
        {"at_burst": 40, "set_activity": {"by_user": [0.05, 0.05, 0.05, 0.9, 0.9, 0.9]}},
        {"at_burst": 50, "retrain": {"service": "told", "ready_after": 30}},
    ]
    both = [{**each, "name": name} for name in ("old", "told") for each in services("kbest", "local")]
    scenario = noma_scenario(
        uplink={
            "services": both,
            "events": events,
            "activity": {"by_user": [0.9, 0.9, 0.9, 0.05, 0.05, 0.05]},
            "snr_db": [2.0],
            "bursts": 160,
            "realisations": 160,
        }
    )
    seen = np.zeros((2, 6))
    for burst in range(160):
        seen[int(burst >= 40), transmissions(scenario, burst).users] += 1
    assert (seen[0, :3] > 30).all() and (seen[0, 3:] < 10).all()
    assert (seen[1, :3] < 20).all() and (seen[1, 3:] > 95).all()
    uplink, rows, records = started(scenario), [], []
    bursts = Bursts(scenario, uplink, beside=False, on_rows=lambda some: rows.extend(some), on_event=records.append)
    while bursts.left:
        bursts.begin_part()
        bursts.end(lambda: False)
    assert [(each["event"], each["at_burst"]) for each in records] == [
        ("set_activity", 40),
        ("retrain", 50),
        ("retrained", 80),
    ]
    wrong = {name: np.array([row["symbol_errors"] for row in of(rows, name)]) for name in ("old", "told")}
    assert (wrong["old"][:80] == wrong["told"][:80]).all()
    assert wrong["old"][80:].sum() > 1.3 * wrong["told"][80:].sum() > 100


def test_a_codebook_that_does_not_fit_is_told_in_one_line() -> None:
    scenario = noma_scenario(uplink={"codebook": "scma", "rates": 3})
    with pytest.raises(CodebookError) as caught:
        InlineUplink(scenario, build_network(scenario))
    assert "\n" not in str(caught.value) and "found" in str(caught.value) and "allowed" in str(caught.value)


@pytest.mark.parametrize(
    ("codebook", "antennas", "text"),
    [
        ({"name": "searched", "starts": 5}, 1, "codebook: found 'searched', which is another one for other activity"),
        ("musa", 2, "uplink.training: found antennas 2; allowed: 1"),
    ],
)
def test_a_training_whose_receiver_could_not_serve_is_refused_before_it_begins(
    codebook: Any, antennas: int, text: str
) -> None:
    training = {"detector": "sicnn", "codebook": codebook, "channel": "flat", "antennas": antennas}
    training |= {"activity": OFTEN, "users": 6, "resources": 4}
    scenario = noma_scenario(
        uplink={
            "services": services("sicnn", "local"),
            "codebook": codebook,
            "training": training,
            "events": [
                {"at_burst": 2, "set_activity": {"by_user": [0.1]}},
                {"at_burst": 3, "retrain": {"service": "local", "ready_after": 4}},
            ],
        }
    )
    assert scenario.uplink is not None
    with pytest.raises(DetectorError, match=text):
        begun(scenario, scenario.uplink.events[1], pytest.fail, Path())  # type: ignore[arg-type]
