"""What is told of an uplink is what its table holds: numbers, tables of the report, figures, the text of a run."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Annotation

from cellfree_sim.cli.results import outcome
from cellfree_sim.results import RunFolder, build_report
from cellfree_sim.results.analysis import load_run
from cellfree_sim.results.figures import style, uplink
from cellfree_sim.results.observer import PlainDisplay, create_observer
from cellfree_sim.results.report import warnings
from cellfree_sim.results.runs import run_status
from cellfree_sim.results.uplink import service_records

SCENARIO = """\
name: heard
network: {area_m: [100.0, 100.0], users: {count: 20}}
downlink: {algorithm: {name: none}}
uplink: {bursts: 40}
"""
SERVICES = {"near": ("local", 0), "fused": ("soft_fusion", 400), "all": ("centralized", 3000)}
SNRS = (0.0, 10.0)
BURSTS, SLOTS, USERS = 40, 14, 4


def rows() -> list[dict[str, Any]]:
    """Errors that fall with the SNR and from service to service; those of `all` at 10 dB are none."""
    rng = np.random.default_rng(4)
    found = []
    for burst in range(BURSTS):
        for index, (name, (cooperation, size)) in enumerate(SERVICES.items()):
            snr, symbols = SNRS[burst % 2], SLOTS * USERS
            errors = 0 if (name, snr) == ("all", 10.0) else int(rng.binomial(symbols, 0.3 / (1 + index + snr)))
            parts = {"queue_s": 1e-4 * (burst % 3), "compute_s": 2e-3, "backhaul_s": 1e-3 * index}
            row = {"burst": burst, "service": name, "cooperation": cooperation, "snr_db": snr, "drop": burst // 2}
            row |= {"detector": "mf" if name == "near" and burst < 20 else "ep", "users": USERS, "slots": SLOTS}
            row |= {"symbols": symbols, "symbol_errors": errors, "bits": 2 * symbols, "bit_errors": errors}
            row |= {"blocks": USERS, "block_errors": min(errors, USERS), "requests": 3, "bytes": size * SLOTS}
            row |= {"refused": int(name == "fused" and burst == 7), "latency_s": sum(parts.values()), **parts}
            found.append(row)
    return found


EVENTS = [
    {"event": "swap_detector", "at_step": 0, "at_burst": 20, "service": "near", "detector": "ep"},
    {"event": "fail_service", "at_step": 0, "at_burst": 30, "service": "fused", "station": "sbs-1"},
]


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run that only had an uplink, with its report."""
    folder = RunFolder.create(tmp_path_factory.mktemp("runs") / "heard", "heard", datetime(2026, 5, 4, tzinfo=UTC))
    folder.log("start")
    folder.write_scenario(SCENARIO)
    with folder.uplink_writer() as table:
        for row in rows():
            table.append(row)
    for writer in (folder.metrics_writer(), folder.backhaul_writer()):
        writer.close()
    told = [{"name": name, "snr_db": list(SNRS), "ser_low": [0.01, 0.0], "ser_high": [0.5, 0.02]} for name in SERVICES]
    books = {"balanced": True, "bytes": 700, "frames": 3, "air_bytes": 200}
    summary = {"name": "heard", "status": "done", "steps": 0, "uplink": {"services": told}, "backhaul": books}
    folder.write_summary({**summary, "events": EVENTS, "wall_seconds": 2.0})
    build_report(folder.path)
    return folder.path


def test_rates_and_latencies_are_those_of_the_table(heard: Path) -> None:
    table = pd.DataFrame(rows())
    records = {record.name: record for record in service_records(load_run(heard))}
    assert list(records) == list(SERVICES)
    for name, record in records.items():
        own = table[table.service == name]
        for place, snr in enumerate(SNRS):
            part = own[own.snr_db == snr]
            assert record.rates["ser"][place].value == part.symbol_errors.sum() / part.symbols.sum()
            assert record.rates["ber"][place].value == part.bit_errors.sum() / part.bits.sum()
            assert record.rates["bler"][place].value == part.block_errors.sum() / part.blocks.sum()
        assert record.bytes_per_slot == SERVICES[name][1]
        assert record.latency_s == pytest.approx(own.latency_s.mean())
        assert sum(record.parts_s.values()) == pytest.approx(record.latency_s)
        assert record.latency_p99_s == pytest.approx(np.quantile(own.latency_s, 0.99))
    assert (records["near"].detector, records["fused"].refused) == ("mf → ep", 1)
    assert (records["near"].rates["ser"][1].low, records["near"].rates["ser"][1].high) == (0.0, 0.02)


def test_where_users_may_be_silent_states_are_what_is_right_or_wrong(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "silent", "silent", datetime(2026, 5, 4, tzinfo=UTC))
    folder.log("start")
    folder.write_scenario(SCENARIO.replace("bursts: 40", "bursts: 40, problem: noma"))
    with folder.uplink_writer() as table:
        for row in rows():
            table.append(row | {"active": 40, "missed": 4, "false_alarms": 2})
    for writer in (folder.metrics_writer(), folder.backhaul_writer()):
        writer.close()
    folder.write_summary({"name": "silent", "status": "done", "steps": 0, "wall_seconds": 2.0})
    for record in service_records(load_run(folder.path)):
        assert record.active == [40 / (SLOTS * USERS)] * 2
        assert record.states["missed"] == pytest.approx(4 / (SLOTS * USERS))
    build_report(folder.path)
    text = (folder.path / "report.html").read_text()
    assert "state error rate" in text and "symbol error rate" not in text
    assert "state errors [95 %]" in outcome(folder.path)


def test_a_run_that_goes_on_has_rates_without_intervals(heard: Path, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "going", "going", datetime(2026, 5, 4, tzinfo=UTC))
    folder.log("start")
    folder.write_scenario(SCENARIO)
    writer = folder.uplink_writer()
    for row in rows():
        writer.append(row)
    writer.flush()  # as in a process that was killed: the table is not closed
    going, done = service_records(load_run(folder.path)), service_records(load_run(heard))
    assert [each.rates["ser"][0].value for each in going] == [each.rates["ser"][0].value for each in done]
    assert all(math.isnan(each.rates["ser"][0].low) for each in going)
    writer.close()


def test_the_report_has_the_services_and_no_downlink(heard: Path, read_page: Any) -> None:
    page = read_page(heard / "report.html")
    assert "Rates on held-out realisations" not in page.text
    assert "Uplink and edge services" in page.text
    services = page.table("Edge services")
    assert list(services.index) == list(SERVICES)
    assert services.loc["fused", "cooperation"] == "soft fusion"
    assert services.loc["all", "bytes per slot"] == "3,000"
    assert float(services.loc["all", "latency (ms)"]) == pytest.approx(4.1, abs=0.01)
    assert len(page.tables["Error rates"]) == 1 + len(SERVICES) * len(SNRS)
    assert page.tables["Error rates"][-1][2] == "0 [0, 0.02]"
    assert "≤ 0.02" in page.text and "no error seen; all, at 10 dB" in page.text
    happened = page.tables["Events"][1:]
    assert [cells[1] for cells in happened] == ["detector swapped", "service failed, restarted"]
    assert [cells[2] for cells in happened] == ["near", "fused at sbs-1"]
    assert any("fused refused 1 of 120 requests" in line for line in warnings(load_run(heard)))
    names = sorted(path.stem for path in (heard / "figures").glob("*.png"))
    assert names == ["error-rate-bytes", "error-rates", "latency", "services"]


def test_curves_are_the_rates_and_nothing_wrong_is_a_bound(heard: Path) -> None:
    run = load_run(heard)
    records = service_records(run)
    with style.journal():
        figure = uplink.draw_rates(run)
    assert figure is not None
    lines = {str(line.get_label()): line for line in figure.axes[0].get_lines()}
    curves = [container.lines[0] for container in figure.axes[0].containers]
    for record, curve in zip(records, curves, strict=True):
        shown = [rate.value for rate in record.rates["ser"] if rate.value > 0]
        assert list(curve.get_ydata()) == shown
    assert list(lines["_all, at most"].get_ydata()) == [0.02]
    assert figure.axes[0].get_yscale() == "log"


def test_bars_add_up_to_the_mean_latency(heard: Path) -> None:
    run = load_run(heard)
    with style.journal():
        figure = uplink.draw_latency(run)
    assert figure is not None
    axes = figure.axes[0]
    ends = [sum(bars[row].get_width() for bars in axes.containers) for row in range(len(SERVICES))]
    assert ends == pytest.approx([1e3 * record.latency_s for record in service_records(run)])


def test_bytes_stand_in_order_and_nothing_at_all_stands_first(heard: Path) -> None:
    with style.journal():
        figure = uplink.draw_bytes(load_run(heard))
    assert figure is not None
    axes = figure.axes[0]
    at = {name: {float(c.lines[0].get_xdata()[0]) for c in axes.containers if c.get_label() == f"_{name}"}
          for name in SERVICES}  # fmt: skip
    places = [next(iter(at[name])) for name in SERVICES]
    assert places == sorted(places)
    assert 10 ** places[1] == pytest.approx(400) and 10 ** places[2] == pytest.approx(3000)
    ticks = dict(zip(axes.get_xticks(), (text.get_text() for text in axes.get_xticklabels()), strict=True))
    assert ticks[places[0]] == "0"


def test_events_are_marked_at_their_bursts(heard: Path) -> None:
    with style.journal():
        figure = uplink.draw_time(load_run(heard))
    assert figure is not None
    texts = {each.get_text(): each.xy[0] for each in figure.axes[0].texts if isinstance(each, Annotation)}
    assert texts == {"near → ep": 20, "fused fails": 30}


def test_a_run_without_an_uplink_has_none_of_it(reported: Any) -> None:
    run = load_run(reported.path)
    assert service_records(run) == []
    drawings = (uplink.draw_rates, uplink.draw_bytes, uplink.draw_latency, uplink.draw_time)
    assert [draw(run) for draw in drawings] == [None] * 4


def test_the_text_of_a_run_says_what_services_did_and_no_rates(heard: Path) -> None:
    text = outcome(heard)
    assert "uplink of 40 bursts" in text
    assert "sum rate" not in text
    near = next(line for line in text.splitlines() if line.startswith("near"))
    assert near.split()[1] == "10" and near.split()[-5:-3] == ["2.1", "2.2"]
    assert "200 of them over the air, books balanced" in text
    refused = {each.name: each.refused for each in service_records(load_run(heard))}
    told = {line.split()[0]: int(line.split()[-3]) for line in text.splitlines() if line.startswith(tuple(refused))}
    assert any(refused.values()) and told == refused


def test_status_and_displays_tell_of_bursts(tmp_path: Path, heard: Path) -> None:
    import io
    import json

    (heard / "progress.json").write_text(
        json.dumps({"burst": 12, "bursts": 40, "services": [{"name": "near", "ser": 0.1, "latency_ms": 2.0}]})
    )
    status = run_status(heard)
    assert (status.burst, status.bursts, status.services[0]["name"]) == (12, 40, "near")
    out = io.StringIO()
    display = create_observer(stream=out)
    assert isinstance(display, PlainDisplay)
    progress = {"burst": 12, "bursts": 40, "services": [{"name": "near", "ser": 0.123, "latency_ms": 2.0}]}
    display.bursts(progress)
    display.bursts({**progress, "burst": 13})  # too soon to be shown
    display.bursts({**progress, "burst": 40})  # the last one is shown at any time
    assert [line.partition("] ")[2] for line in out.getvalue().splitlines()] == [
        "bursts 12/40: SER 0.123 near",
        "bursts 40/40: SER 0.123 near",
    ]


def test_errors_in_states_add_up_where_users_may_be_silent(tmp_path: Path, read_page: Any) -> None:
    """Forty of 400 states are active; of 20 errors 9 are missed, 7 false alarms, and 4 wrong data."""
    folder = RunFolder.create(tmp_path / "silent", "silent", datetime(2026, 5, 4, tzinfo=UTC))
    folder.log("start")
    folder.write_scenario(SCENARIO.replace("{bursts: 40}", "{problem: mmtc, bursts: 4}"))
    counts = {"symbols": 100, "bits": 10, "blocks": 100, "slots": 1, "active": 10, "requests": 1, "latency_s": 1e-3}
    with folder.uplink_writer() as table:
        for burst, (errors, missed, false_alarms) in enumerate([(5, 2, 1), (5, 3, 2), (6, 3, 2), (4, 1, 2)]):
            row = {
                "burst": burst,
                "service": "edge",
                "cooperation": "local",
                "detector": "amp",
                "snr_db": 3.9,
                **counts,
            }
            table.append({**row, "symbol_errors": errors, "missed": missed, "false_alarms": false_alarms})
    for writer in (folder.metrics_writer(), folder.backhaul_writer()):
        writer.close()
    build_report(folder.path)
    (record,) = service_records(load_run(folder.path))
    assert record.active == [pytest.approx(0.1)]
    assert record.states == pytest.approx({"missed": 9 / 400, "false_alarms": 7 / 400, "data": 4 / 400})
    cells = read_page(folder.path / "report.html").tables["Errors in users' states"][1]
    assert [float(cell) for cell in cells[1:]] == pytest.approx([0.05, 0.0225, 0.0175, 0.01, 0.1])
    with style.journal():
        figure = uplink.draw_states(load_run(folder.path))
    assert figure is not None
    places = {line.get_label(): line.get_xdata()[0] for line in figure.axes[0].get_lines()}  # type: ignore[index]
    assert {name: places[name] for name in ("missed", "false alarms", "wrong data", "nobody found")} == pytest.approx(
        {"missed": 0.0225, "false alarms": 0.0175, "wrong data": 0.01, "nobody found": 0.1}
    )
