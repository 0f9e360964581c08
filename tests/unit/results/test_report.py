from __future__ import annotations

import base64
import math
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from cellfree_sim.errors import RunFolderError
from cellfree_sim.results import RunFolder, build_report
from cellfree_sim.results.analysis import load_run
from cellfree_sim.results.report import noise_warning, warnings
from cellfree_sim.results.report_tables import station_table

FIGURES = ["backhaul", "paired", "rates", "simulated-time", "topology", "training"]


@pytest.fixture(scope="module")
def page(reported, read_page):
    return read_page(reported.report_path)


def number(text: str) -> float:
    return float(text.replace("\N{MINUS SIGN}", "-").replace(",", "").replace(" %", "").replace("<0.001", "0"))


def pair(text: str) -> tuple[float, float]:
    mean, error = text.split(" ± ")
    return number(mean), number(error)


def test_rates_are_those_of_the_parquet_file(reported, page):
    rates = pd.read_parquet(reported.path / "rates.parquet")
    sums = rates.groupby(["algorithm", "realisation"])["rate"].sum().unstack(0)
    shown = page.table("Test")
    assert list(shown.index) == ["DMTSSL", "ascent", "GSA-ZF", "RSA-ZF"]
    for name in sums:
        row = shown.loc[{"gsa-zf": "GSA-ZF", "rsa-zf": "RSA-ZF", "dmtssl": "DMTSSL", "ascent": "ascent"}[name]]
        error = sums[name].std() / math.sqrt(len(sums))
        assert pair(row["sum rate (bit/s/Hz)"]) == pytest.approx((sums[name].mean(), error), abs=0.0051)
        met = 100 * (rates.loc[rates["algorithm"] == name, "rate"] >= 0.02).mean()
        assert number(row["users ≥ r_min"]) == pytest.approx(met, abs=0.051)
        if name == "dmtssl":
            assert row["DMTSSL minus it, paired"] == "–"
        else:
            gap = sums["dmtssl"] - sums[name]
            expected = (gap.mean(), gap.std() / math.sqrt(len(gap)))
            assert pair(row["DMTSSL minus it, paired"]) == pytest.approx(expected, abs=0.0051)


def test_bytes_are_those_of_the_parquet_file(reported, page):
    frames = pd.read_parquet(reported.path / "backhaul.parquet").query("attempt == 0")
    kinds = page.table("Frames by kind")
    for kind, own in frames.groupby("kind"):
        assert number(kinds.loc[kind, "frames"]) == len(own)
        assert number(kinds.loc[kind, "bytes"]) == own["bytes"].sum()
        training = own.loc[own["phase"] == "training", "bytes"].sum()
        assert number(kinds.loc[kind, "training (MB)"]) == pytest.approx(training / 1e6, abs=5.1e-4)
    assert number(kinds.loc["total", "bytes"]) == frames["bytes"].sum()
    measured = frames.loc[frames["phase"].isin(["validation", "test"]), "bytes"].sum()
    assert number(kinds.loc["total", "measurement (MB)"]) == pytest.approx(measured / 1e6, abs=5.1e-4)
    stations = page.table("By station (MB)")
    for station in ("mbs", "sbs-0", "sbs-1", "sbs-2"):
        sent = frames.loc[frames["sender"] == station, "bytes"].sum() / 1e6
        received = frames.loc[(frames["receiver"] == station) & (frames["status"] == "delivered"), "bytes"].sum() / 1e6
        assert number(stations.loc[station, "sent"]) == pytest.approx(sent, abs=5.1e-4)
        assert number(stations.loc[station, "received"]) == pytest.approx(received, abs=5.1e-4)
    links = page.table("By link and direction (MB)")
    assert len(links) == 6
    for link in links.index:
        carried = frames.loc[frames["path"] == link.replace(" → ", ">"), "bytes"].sum() / 1e6
        assert number(links.loc[link, "total"]) == pytest.approx(carried, abs=5.1e-4)


def test_the_papers_accounting_stands_beside_what_was_needed(reported, page):
    frames = pd.read_parquet(reported.path / "backhaul.parquet").query("attempt == 0 and kind == 'loss_feedback'")
    assert f"{len(frames)} numbers of 4 bytes, {4 * len(frames)} bytes in all" in page.text
    assert f"took {frames['bytes'].sum():,} bytes" in page.text


def test_simulated_time_adds_up(reported, page):
    metrics = pd.read_parquet(reported.path / "metrics.parquet").query("phase == 'training'")
    shown = page.table("Simulated time of training")
    for name, column in {
        "compute": "compute_s",
        "waiting in queues": "queue_s",
        "transfer and latency": "transfer_s",
    }.items():
        assert number(shown.loc[name, "total (s)"]) == pytest.approx(metrics[column].sum(), rel=1e-3)
        assert number(shown.loc[name, "mean per round (ms)"]) == pytest.approx(1e3 * metrics[column].mean(), rel=1e-3)
    assert sum(number(share) for share in shown["share"][:-1]) == pytest.approx(100, abs=0.2)


def test_stations_versions_and_the_scenario_are_there(reported, page):
    stations = page.table("Stations")
    assert list(stations.index) == ["mbs", "sbs-0", "sbs-1", "sbs-2"]
    assert stations.loc["sbs-0", "position (m)"] == "(25, 25, 25)"
    assert page.table("Versions").loc["torch", "version"] == "2.13.0"
    assert reported.scenario_path.read_text() in page.text


def test_where_antennas_look_is_shown_where_they_look_anywhere(run_folder):
    before = station_table(load_run(run_folder.path))
    topology = run_folder.topology()
    stations = [node for node in topology["nodes"] if node["kind"] == "sbs"]
    for node, azimuth_deg in zip(stations, (0.0, -45.0, 90.0), strict=True):
        node["azimuth_deg"] = azimuth_deg
    run_folder.write_topology(topology)
    after = station_table(load_run(run_folder.path))
    assert [name for name in after.columns if name not in before.columns] == ["azimuth (°)"]
    at = after.columns.index("azimuth (°)")
    assert [row.cells[at] for row in after.rows] == ["–", "0", "−45", "90"]


def test_markup_in_a_name_is_text_and_the_page_needs_nothing_from_outside(page):
    assert """'<b>&"net""" in page.text
    assert "<b>" not in page.source
    assert "b" not in {tag for tag, _ in page.tags}
    targets = [attrs[key] for _, attrs in page.tags for key in ("src", "href", "xlink:href", "action") if key in attrs]
    assert targets
    assert not [target for target in targets if re.match(r"[a-z]+:", target) and not target.startswith("data:")]
    assert not re.search(r"@import|url\((?!#)", page.source)


def test_the_device_of_each_station_is_shown_where_it_is_known(run_folder):
    run_folder.write_summary(run_folder.summary() | {"stations": [{"name": "sbs-1", "pid": 7, "device": "cuda:0"}]})
    shown = {row.cells[0]: row.cells[-1] for row in station_table(load_run(run_folder.path)).rows}
    assert shown == {"mbs": "–", "sbs-0": "–", "sbs-1": "cuda:0", "sbs-2": "–"}


def test_links_lead_to_files_that_are_there_and_figures_are_saved_from_the_page(reported, page):
    links = {attrs["href"]: attrs for tag, attrs in page.tags if tag == "a" and not attrs["href"].startswith("#")}
    beside = {link for link, attrs in links.items() if "download" not in attrs}
    assert {"summary.json", "rates.parquet"} <= beside
    assert all((reported.path / link).is_file() for link in beside)
    saved = {attrs["download"]: link for link, attrs in links.items() if "download" in attrs}
    for name in FIGURES:
        for ending in ("pdf", "png"):
            content = base64.b64decode(saved[f"b-net-{name}.{ending}"].partition(";base64,")[2])
            assert content == (reported.figures_path / f"{name}.{ending}").read_bytes()


def test_the_report_can_be_made_again_from_the_files_alone(reported):
    before = {path: path.read_bytes() for path in reported.path.rglob("*") if path.is_file()}
    for path in [*reported.figures_path.iterdir(), reported.report_path]:
        path.unlink()
    assert build_report(str(reported.path)) == reported.report_path
    assert {path: path.read_bytes() for path in reported.path.rglob("*") if path.is_file()} == before


def test_an_interrupted_run_has_a_report_of_what_it_left(tmp_path, run_folder, read_page):
    folder = RunFolder.create(tmp_path / "cut", "cut", pd.Timestamp("2026-05-04T12:00Z").to_pydatetime())
    folder.write_scenario(run_folder.scenario_text())
    folder.write_topology(run_folder.topology())
    writer = folder.metrics_writer()
    for row in run_folder.metrics().query("phase == 'training' and step <= 3").to_dict("records"):
        writer.append(row)
    writer.flush()
    page = read_page(build_report(folder.path))
    writer.close()
    assert "unfinished" in page.text
    assert "no held-out rates" in page.text
    assert "No frame was recorded" in page.text
    assert sorted(path.stem for path in folder.figures_path.glob("*.png")) == ["simulated-time", "topology", "training"]


def test_a_run_that_had_not_begun_to_train_has_a_report(run_folder, read_page):
    for path in run_folder.path.iterdir():
        if path.name not in ("scenario.yaml", "run.log"):
            path.unlink()
    page = read_page(build_report(run_folder.path))
    assert not {"img", "svg"} & {tag for tag, _ in page.tags}
    assert "unfinished" in page.text


@pytest.mark.parametrize("name", ["summary.json", "topology.json", "metrics.parquet", "rates.parquet", "scenario.yaml"])
def test_a_damaged_file_is_named_in_one_line_and_nothing_is_written(run_folder, name):
    (run_folder.path / name).write_bytes(b"\x00{[broken: \xff")
    with pytest.raises(RunFolderError) as caught:
        build_report(run_folder.path)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not run_folder.report_path.exists()
    assert not run_folder.figures_path.exists()


def test_no_run_folder_is_one_line(tmp_path):
    with pytest.raises(RunFolderError, match="is no run folder"):
        build_report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_warnings_name_what_a_reader_must_know(run_folder):
    summary = run_folder.summary()
    summary |= {"status": "failed", "error": "sbs-1 died"}
    summary["backhaul"] = {
        "balanced": False,
        "unmatched": ["loss_feedback 3 of step 7 from mbs to sbs-0: never received"],
    }
    run_folder.write_summary(summary)
    found = warnings(load_run(run_folder.path))
    assert found[0].startswith("The run is failed, not done (sbs-1 died)")
    assert "1 frame unmatched: loss_feedback 3 of step 7 from mbs to sbs-0" in found[1]
    assert found[2] == "1 frame dropped, 1 sent again; totals count first attempts."
    assert "−26 dBm" in found[3]


@pytest.mark.parametrize(
    ("noise_dbm", "said"),
    [(-26.0, "printed in the paper's Table I; thermal noise at 290 K is −101.0 dBm in 20 MHz and −107.0 dBm"),
     (-60.0, "Noise of −60 dBm: thermal noise"), (-120.0, "Noise of −120 dBm"), (-94.0, None), (-107.0, None)],
)  # fmt: skip
def test_noise_that_no_receiver_has_is_pointed_out(run_folder, noise_dbm, said):
    run_folder.write_scenario(run_folder.scenario_text().replace("noise_dbm: -26.0", f"noise_dbm: {noise_dbm}"))
    found = noise_warning(load_run(run_folder.path))
    assert (found is None) if said is None else (found is not None and said in found)


def test_a_report_needs_neither_torch_nor_ray(reported):
    script = (
        "import sys; from cellfree_sim.results import build_report, RunFolder, create_observer, Checkpoints\n"
        "from cellfree_sim.results import analysis, report, figures; figures.draw_figures; create_observer(True)\n"
        "analysis.load_run(sys.argv[1]); print(*({'torch', 'ray', 'sionna', 'scipy'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", script, reported.path]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root)
    assert done.stdout.split() == []
