"""mMTC as services of a running network, against enumeration of all states of few devices in double precision."""

from __future__ import annotations

import itertools
import resource
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from uplink_support import rows_of, started

from cellfree_sim.backhaul import Books
from cellfree_sim.backhaul.messages import SoftDecision, UplinkBurst
from cellfree_sim.detection.serving.deployment import InlineUplink, service_problem
from cellfree_sim.detection.serving.receptions import reception_of
from cellfree_sim.network import build_network
from cellfree_sim.network.user_layouts.radial import Radial
from cellfree_sim.scenario.schema import Scenario
from cellfree_sim.uplink.geometry import uplink_channels
from cellfree_sim.uplink.pilots import pilots_of
from cellfree_sim.uplink.population import transmissions

NAMES = ("local", "soft", "soft-all", "central")
COUNTS = ("symbols", "symbol_errors", "missed", "false_alarms", "active", "undecided")


def services(**options: Any) -> list[dict[str, Any]]:
    ways = (("local", {}), ("soft_fusion", {}), ("soft_fusion", {"least_evidence": None}), ("centralized", {}))
    return [
        {"name": name, "detector": "map-cd", "cooperation": way, **more, **options}
        for name, (way, more) in zip(NAMES, ways, strict=True)
    ]


def options_of(devices: int = 4, **uplink: Any) -> dict[str, Any]:
    return {
        "name": "mmtc",
        "network": {
            "area_m": [2000, 1000],
            "sbs": {"positions_m": [[500, 500], [1500, 500]], "antennas": {"rows": 2, "columns": 1}},
            "users": {"count": devices},
        },
        "channel": {"model": {"name": "rayleigh", "path_loss_exponent": 3.67, "reference_loss_db": 18}, "cache": False},
        "downlink": {"algorithm": "none"},
        "uplink": {
            "problem": "mmtc",
            "pilot_length": 5,
            "activity": {"probability": 0.3},
            "bursts": 60,
            "realisations": 60,
            "users_per_group": 3,
            "services": services(),
        }
        | uplink,
    }


def make(devices: int = 4, **uplink: Any) -> Scenario:
    return Scenario.model_validate(options_of(devices, **uplink))


class Enumeration:
    """The posterior of each device by the sum over all states of all devices."""

    def __init__(self, scenario: Scenario) -> None:
        uplink: Any = scenario.uplink
        count = scenario.network.users.count
        pilots = pilots_of(uplink.pilots, count, 2, uplink.pilot_length, uplink.pilot_seed).dense().numpy()
        self._states = np.array(list(itertools.product(range(3), repeat=count)))
        chosen = pilots[np.arange(count), np.maximum(self._states - 1, 0)] * (self._states > 0)[..., None]
        self._sent = chosen.swapaxes(1, 2).astype(complex)  # [states of all, L, N]
        chance = uplink.activity.probability
        self._prior = np.where(self._states > 0, np.log(chance / 2), np.log(1 - chance)).sum(axis=1)

    def detect(self, service: str, y: Any, h: Any, noise_variance: Any) -> Any:
        assert (noise_variance == 1).all()
        return np.stack([self._one(*each) for each in zip(y, h.reshape(*h.shape[:2], -1), strict=True)])

    def _one(self, y: Any, gains: Any) -> Any:
        total = self._prior.copy()
        for own, gain in zip(np.split(y.astype(complex), gains.shape[1], axis=1), gains.T, strict=True):
            covariance = (self._sent * gain) @ self._sent.conj().swapaxes(1, 2) + np.eye(len(own))
            fit = (own.conj() * np.linalg.solve(covariance, own)).sum(axis=(1, 2)).real
            total -= fit + own.shape[1] * np.linalg.slogdet(covariance)[1]
        chance = np.exp(total - total.max())
        marginal = [[chance[self._states[:, n] == q].sum() for q in range(3)] for n in range(self._states.shape[1])]
        found = np.log(np.maximum(marginal, 1e-300))
        return (found - np.logaddexp.reduce(found, axis=1, keepdims=True)).astype(np.float32)

    def flops(self, service: str, slots: int, antennas: int, users: int) -> float:
        return 1e3 * slots * antennas * users


def books_of(uplink: Any) -> Books:
    books = Books()
    for ledger in uplink.drain_ledgers():
        books.feed(ledger)
    return books


def of(rows: list[dict[str, Any]], service: str) -> list[list[int]]:
    return [[row[key] for key in COUNTS] for row in rows if row["service"] == service]


def test_every_device_is_decided_for_and_cooperation_pays() -> None:
    """Seed 1, 240 states of each service: 22 wrong ones locally, and fewer, the more stations know of each other."""
    scenario = make()
    uplink = started(scenario, Enumeration(scenario))
    rows = rows_of(uplink)
    wrong = {name: sum(counts[1] for counts in of(rows, name)) for name in NAMES}
    assert wrong["local"] > wrong["soft-all"] >= wrong["central"]
    assert wrong["local"] > wrong["soft"]
    for row in rows:
        assert row["symbols"] == row["blocks"] == 4
        assert row["undecided"] == row["refused"] == 0
        assert row["active"] == row["users"]
    facts = uplink.facts()
    assert facts["services"][0]["active"] == sum(counts[4] for counts in of(rows, "local"))
    assert (facts["problem"], facts["pilot_length"], facts["activity"]) == ("mmtc", 5, 0.3)


def test_for_one_device_fusion_is_detecting_centrally() -> None:
    scenario = make(1, bursts=100, realisations=100, snr_db=[-8.0])
    rows = rows_of(started(scenario, Enumeration(scenario)))
    assert of(rows, "soft-all") == of(rows, "central")
    assert sum(counts[1] for counts in of(rows, "central")) > 0


def test_the_detector_of_this_project_finds_the_posterior_of_one_device() -> None:
    scenario = make(1, bursts=30, realisations=30, snr_db=[-8.0])
    expected = rows_of(started(scenario, Enumeration(scenario)))
    ours = InlineUplink(scenario, build_network(scenario))
    ours.start()
    found = rows_of(ours)
    for name in ("local", "soft-all", "central"):
        assert of(found, name) == of(expected, name)


def test_fused_beliefs_are_the_posterior_of_what_both_stations_received() -> None:
    """One device, evidence T terms of g / (1 + g) |s^H y|^2 - log(1 + g) at each station, the prior once."""
    scenario = make(1)
    network = build_network(scenario)
    reception = reception_of(scenario, network)
    gains = np.array([[[3.0]], [[0.7]]], np.float32) / 1000
    reception.tune(np.repeat(gains, 60, axis=1))
    known = np.array([3.0, 0.7]) / 1000 * reception.amplitudes(0, gains[:, 0]) ** 2
    generator = np.random.default_rng(1)
    evidence = generator.normal(size=(2, 1, 1, 2))  # of both stations, whatever they received
    prior = np.log([0.7, 0.15, 0.15])
    parts = {}
    for place, own in enumerate(evidence):
        logits = prior + np.concatenate([np.zeros((1, 1, 1)), own], axis=-1)
        logits -= np.logaddexp.reduce(logits, axis=-1, keepdims=True)
        parts[place] = SoftDecision(logits.astype(np.float32), np.zeros(1, np.int32))
    whole, part = (scenario.uplink.services[index] for index in (2, 1))  # type: ignore[union-attr]
    _, fused = reception.fused(parts, 0, whole)
    expected = prior[1:] - prior[0] + evidence.sum(axis=0)
    assert fused[..., 1:] - fused[..., :1] == pytest.approx(expected, abs=1e-5)
    silent = {**parts, 1: SoftDecision(np.empty((1, 0, 3), np.float32), np.empty(0, np.int32))}
    _, fused = reception.fused(silent, 0, part)
    expected_of_silence = 2 * (known[1] / (1 + known[1]) - np.log1p(known[1]))
    expected = prior[1:] - prior[0] + evidence[0] + expected_of_silence
    assert fused[..., 1:] - fused[..., :1] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("pilots", ["gaussian", "dft"])
def test_a_station_receives_the_pilots_that_were_named(pilots: str) -> None:
    scenario = make(pilots=pilots, slots=2, services=services()[:1])
    network = build_network(scenario)
    reception = reception_of(scenario, network)
    channels = uplink_channels(scenario, network, "sbs-1")[0]
    gains = np.full((2, 4), 1e-12, np.float32)
    nothing = reception.superposed("sbs-1", 0, [], channels, gains).y
    users, messages = np.array([0, 3], np.int32), np.array([[1, 0], [0, 0]], np.int32)
    amplitude = np.array([2.0, 3.0], np.complex64)
    burst = UplinkBurst(np.broadcast_to(amplitude, (2, 2))[..., None], users, messages)
    heard = reception.superposed("sbs-1", 0, [burst], channels, gains)
    assert heard.users.tolist() == [0, 1, 2, 3]
    table = pilots_of(pilots, 4, 2, 5, 1).dense().numpy()  # type: ignore[arg-type]
    unit = 10 ** (109 / 20)
    for slot in range(2):
        sent = [amplitude[i] * unit * table[user, messages[slot, i]] for i, user in enumerate(users)]
        expected = sum(np.outer(word, channels[:, user]) for word, user in zip(sent, users, strict=True))
        assert heard.y[slot] - nothing[slot] == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_the_bits_of_a_run_do_not_depend_on_where_it_is_cut_or_who_hosts_the_devices() -> None:
    slow = services(queue={"batch": 3, "deadline_s": 0.02})
    scenario = make(bursts=20, realisations=4, services=slow)
    whole = started(scenario, Enumeration(scenario))
    expected = rows_of(whole)
    cut = started(scenario, Enumeration(scenario))
    assert repr([row for until in (3, 9, 16, 20) for row in rows_of(cut, until)]) == repr(expected)
    first = started(scenario, Enumeration(scenario))
    before = rows_of(first, 9)
    second = started(scenario, Enumeration(scenario), state=first.states())
    assert repr(before + rows_of(second)) == repr(expected)
    books = books_of(first)
    for ledger in second.drain_ledgers():
        books.feed(ledger)
    assert books.balanced
    assert books.totals() == books_of(whole).totals()
    others = make(bursts=20, realisations=4, services=slow, users_per_group=1)
    assert repr(rows_of(started(others, Enumeration(others)))) == repr(expected)


def test_bytes_follow_the_active_devices() -> None:
    scenario = make(40, bursts=20, realisations=20, pilot_length=20, activity={"probability": 0.05})
    uplink = InlineUplink(scenario, build_network(scenario))
    uplink.start()
    rows = rows_of(uplink)
    books = books_of(uplink)
    assert books.balanced
    assert books.by_class["backhaul"] == sum(row["bytes"] for row in rows)
    sums = {name: sum(row["bytes"] for row in rows if row["service"] == name) for name in NAMES}
    assert sums["local"] == 0
    assert 2 * sums["soft"] < sums["soft-all"]  # 640 B at each station against 16 B for each device with a sign of life
    table = books.take_rows()
    air = [n for kind, n in zip(table["kind"], table["bytes"], strict=True) if kind == "uplink_burst"]
    assert max(air) < 400  # three devices at most: their numbers, and not their 20 samples each


def test_memory_of_a_burst_of_twenty_thousand_devices_is_that_of_its_signals() -> None:
    """Their pilots alone would take 40 000 x 4000 x 8 B = 1.3 GB."""
    scenario = make(20_000, pilots="dft", pilot_length=4000, services=services()[:1], realisations=1)
    network = build_network(scenario)
    reception = reception_of(scenario, network)
    sent = transmissions(scenario, 0)
    channels = np.full((2, 20_000), 1e-6, np.complex64)
    codewords = np.ones((1, len(sent.users), 1), np.complex64)
    part = UplinkBurst(codewords, sent.users, sent.messages.astype(np.int32))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    heard = reception.superposed("sbs-0", 0, [part], channels, np.full((2, 20_000), 1e-12, np.float32))
    assert heard.y.shape == (1, 4000, 2)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # kB


def test_gains_are_those_without_fading_or_estimates_or_nothing() -> None:
    first = make(200, services=services()[:1], realisations=1, bursts=1)
    network = build_network(first)
    channels = uplink_channels(first, network, "sbs-0")
    gains = reception_of(first, network).gains("sbs-0", channels)
    ratio = (np.abs(channels) ** 2).mean(axis=1) / gains
    assert ratio.mean() == pytest.approx(1, abs=4 / np.sqrt(400))
    assert ratio.std() > 0.5  # two antennas: a single mean over them says little
    knows: dict[str, Any] = {}
    for kind, error_db in (("known", 0), ("estimated", 3), ("unknown", 0)):
        scenario = make(200, services=services()[:1], gains=kind, gain_error_db=error_db)
        both = np.stack([gains[0], gains[0]])
        knows[kind] = reception_of(scenario, network).superposed("sbs-0", 0, [], channels[0], both).h
    error_db = 10 * np.log10(knows["estimated"] / knows["known"])
    assert error_db.std() == pytest.approx(3, rel=0.25)
    assert knows["unknown"].size == 0


def test_unknown_gains_are_served() -> None:
    one = [{"name": "edge", "detector": "amp-section", "cooperation": "soft_fusion"}]
    scenario = make(20, pilot_length=12, bursts=4, gains="unknown", services=one, activity={"probability": 0.1})
    problem: Any = service_problem(scenario, "edge")
    assert problem.gains == "unknown"
    assert problem.edge_snr_db == pytest.approx(3.9 - 36.7 * np.log10(problem.radii_km[1]))
    uplink = InlineUplink(scenario, build_network(scenario))
    uplink.start()
    assert all(row["refused"] == row["undecided"] == 0 for row in rows_of(uplink))


def test_distances_of_a_radial_layout_are_uniform() -> None:
    """2000 of them: Kolmogorov and Smirnov's distance is below 1.63 / sqrt(2000) at the level of 1 %; seed 1."""
    places = Radial(least_m=50).draw(50, 40, (2000, 3000), np.random.default_rng(1), np.random.default_rng(2))
    share = np.sort((np.linalg.norm(places - [1000, 1500], axis=-1).ravel() - 50) / 950)
    assert np.abs(share - (np.arange(2000) + 0.5) / 2000).max() < 1.63 / np.sqrt(2000)


@pytest.mark.parametrize(
    ("uplink", "expected"),
    [
        ({"gains": "unknown"}, "found unknown, but service 'central' is centralized; allowed: known, estimated"),
        ({"gains": "estimated"}, "found 0 with gains estimated; allowed: above 0"),
        ({"gain_error_db": 3}, "found 3 with gains known; allowed: 0, or gains estimated"),
        ({"pilot_length": 9, "pilots": "dft"}, "found 9 with dft pilots; allowed: up to 8, as many as there are"),
        ({"services": services(cluster=1)}, "found 1 for a centralized service, which hears all devices everywhere"),
        ({"activity": {"probability": 1}}, "less than or equal to 0.999"),
        (
            {"gains": "unknown", "services": services()[:1], "snr_db": [1, 2]},
            "found unknown with several snr_db; allowed: known, estimated, or one power for all devices and bursts",
        ),
    ],
)
def test_what_cannot_be_is_told_in_a_line(uplink: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        Scenario.model_validate(options_of(**uplink))


def test_pilots_that_are_too_many_to_be_written_out_are_told() -> None:
    with pytest.raises(
        ValidationError, match="found gaussian with 200000000 numbers; allowed: up to 134217728, or dft"
    ):
        Scenario.model_validate(options_of(100_000, pilot_length=1000, services=services()[:1]))
