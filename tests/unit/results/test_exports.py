"""What is exported is what the run folder holds, read back by what it is for: networkx, pandas, TensorBoard.

For traces, which have no reader in Python, the rules of the Trace Event Format are checked event by event.
"""

from __future__ import annotations

import gzip
import importlib.util
import itertools
import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from agents import Simulation
from cellfree_sim import load_results
from cellfree_sim.cli import main
from cellfree_sim.errors import RunFolderError
from cellfree_sim.results.analysis import RunData
from cellfree_sim.results.exports import FORMS, export
from cellfree_sim.results.exports.event_files import EXTRA
from cellfree_sim.results.exports.selection import Selection, Span
from cellfree_sim.results.exports.trace import write_trace
from cellfree_sim.results.observer import Quiet
from cellfree_sim.scenario.schema import Scenario

BASE: dict[str, Any] = {
    "seed": 7,
    "radio": {"subcarriers": 2},
    "channel": {"model": "rayleigh", "realisations": {"train": 40, "validation": 8, "test": 12}, "cache": False},
    "downlink": {"epochs": 10, "batch": 20, "validate_every_steps": 10, "references": []},
    "placement": {"mbs": {"cpus": 0}, "sbs": {"cpus": 0, "gpus": 0}},
}
EVENTFUL = BASE | {
    "name": "eventful",
    "network": {"sbs": {"count": 3}, "users": {"count": 4}},
    "backhaul": {"topology": {"name": "mesh", "neighbours": 2}, "capacity_bps": 1e9, "resend_after_s": 0.01},
    "events": [
        {"at_step": 3, "inject_sbs": {"position_m": [75, 75]}},
        {"at_step": 6, "cut_link": ["mbs", "sbs-1"]},
        {"at_step": 10, "fail_sbs": "sbs-0"},
        {"at_step": 14, "restore_link": ["mbs", "sbs-1"]},
        {"at_step": 16, "remove_sbs": "sbs-2"},
    ],
}
HEARD = BASE | {
    "name": "heard",
    "network": {"sbs": {"count": 2}, "users": {"count": 4, "antennas": 1}},
    "uplink": {
        "bursts": 24,
        "snr_db": [5.0, 15.0],
        "interval_s": 1e-3,
        "services": [
            {"name": "near", "detector": "lmmse"},
            {"name": "fused", "detector": "lmmse", "cooperation": "soft_fusion"},
            {"name": "central", "detector": "lmmse", "cooperation": "centralized"},
        ],
        "events": [{"at_burst": 8, "swap_detector": {"service": "near", "detector": "zf"}}],
    },
}


def _run(scenario: dict[str, Any], out: Path) -> RunData:
    with Simulation.launch(Scenario.model_validate(scenario), engine="inline", out=out, observer=Quiet()) as simulation:
        simulation.advance()
        simulation.result(report=False)
    return load_results(out)


@pytest.fixture(scope="module")
def eventful(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    """A run in which a station joined, one died, one left, and a link was cut."""
    return _run(EVENTFUL, tmp_path_factory.mktemp("runs") / "eventful")


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    """A run with an uplink beside its training."""
    return _run(HEARD, tmp_path_factory.mktemp("runs") / "heard")


class TestGraph:
    def test_networkx_reads_back_stations_links_and_what_they_carried(self, eventful, tmp_path):
        (path,) = export(load_results([eventful.folder]), "graphml", tmp_path / "net.graphml")
        read = nx.read_graphml(path)
        assert set(read) == set(eventful.topology) and nx.utils.edges_equal(read.edges, eventful.topology.edges)
        for name, known in eventful.topology.nodes(data=True):
            assert {key: read.nodes[name][key] for key in known} == known
            assert (read.nodes[name]["x"], read.nodes[name]["y"], read.nodes[name]["label"]) == (
                *(known["x_m"], known["y_m"]),
                name,
            )
        for a, b, known in eventful.topology.edges(data=True):
            assert {key: read.edges[a, b][key] for key in known} == known
        carried: dict[frozenset[str], int] = defaultdict(int)
        for row in eventful.backhaul.itertuples():
            if row.attempt == 0:
                for hop in itertools.pairwise(row.path.split(">")):
                    carried[frozenset(hop)] += row.bytes
        assert {
            frozenset(edge): read.edges[edge]["bytes"] for edge in read.edges if read.edges[edge]["bytes"]
        } == carried

    def test_links_that_carried_nothing_say_so_and_books_agree(self, heard, tmp_path):
        (path,) = export(load_results([heard.folder]), "graphml", tmp_path / "net.graphml")
        total = sum(size for _, _, size in nx.read_graphml(path).edges(data="bytes"))
        links = heard.summary["backhaul"]["by_link"]
        assert total == sum(size for link, size in links.items() if "users" not in link)  # the air is no link


class TestTables:
    def test_pandas_reads_back_every_table_of_both_runs(self, eventful, heard, tmp_path):
        runs = load_results([eventful.folder, heard.folder])
        (folder,) = export(runs, "csv", tmp_path / "tables")
        for name in ("metrics", "backhaul", "uplink", "rates"):
            read, kept = pd.read_csv(folder / f"{name}.csv"), getattr(runs, name)
            assert list(read) == list(kept) and len(read) == len(kept)
            for column in kept:
                if kept[column].dtype.kind in "if":
                    np.testing.assert_array_equal(read[column], kept[column])
                else:
                    assert read[column].fillna("").tolist() == kept[column].tolist()
        events = pd.read_csv(folder / "events.csv")
        assert events["event"].tolist() == [event["event"] for run in runs for event in run.events]
        assert "mbs sbs-1" in events["link"].tolist()
        rates = pd.read_csv(folder / "summary.csv").set_index("run")["downlink.sum_rate"]
        assert rates["eventful"] == eventful.summary["downlink"]["sum_rate"]


class TestTensorBoard:
    def test_its_own_reader_finds_the_curves_settings_and_scenario(self, heard, tmp_path):
        (folder,) = export(load_results([heard.folder]), "tensorboard", tmp_path / "board")
        read = EventAccumulator(str(folder)).Reload()
        training = heard.metrics[heard.metrics["phase"] == "training"]
        for tag, column in (("training/joint_loss", "joint_loss"), ("backhaul/bytes", "bytes")):
            points = read.Scalars(tag)
            assert [point.step for point in points] == training["step"].tolist()
            np.testing.assert_allclose([point.value for point in points], training[column], rtol=1e-6)
        validated = heard.metrics[heard.metrics["phase"] == "validation"]
        assert [point.step for point in read.Scalars("validation/sum_rate")] == validated["step"].tolist()
        for service, rows in heard.uplink.groupby("service"):
            last = read.Scalars(f"uplink/{service}/ser")[-1]
            assert last.step == 23 and last.value == pytest.approx(
                rows["symbol_errors"].sum() / rows["symbols"].sum(), rel=1e-6
            )
            low = rows[rows["snr_db"] == 5.0]
            at = read.Scalars(f"uplink/{service}/ser_at_5_dB")
            assert at[-1].value == pytest.approx(low["symbol_errors"].sum() / low["symbols"].sum(), rel=1e-6)
            assert len(read.Scalars(f"uplink/{service}/latency_ms")) == rows["latency_s"].notna().sum()
        text = read.Tensors("scenario")[0].tensor_proto.string_val[0].decode()
        assert text.replace("    ", "", 1).startswith("name: heard")
        content = read.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        settings = HParamsPluginData.FromString(content).session_start_info.hparams
        assert settings["network.sbs.count"].number_value == 2 and settings["algorithm"].string_value == "dmtssl"
        began = read.Scalars("training/joint_loss")[0].wall_time - training["wall_s"].iloc[0]
        assert began == pytest.approx(heard.files.log_path.stat().st_mtime, abs=600)

    def test_a_second_export_takes_the_place_of_the_first(self, heard, tmp_path):
        for _ in range(2):
            export(load_results([heard.folder]), "tensorboard", tmp_path)
        assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1

    def test_event_files_of_others_stay(self, heard, tmp_path):
        theirs = tmp_path / "events.out.tfevents.1700000000.host.1.0"
        theirs.write_bytes(b"weeks of training")
        for _ in range(2):
            export(load_results([heard.folder]), "tensorboard", tmp_path)
        assert theirs.read_bytes() == b"weeks of training" and len(list(tmp_path.iterdir())) == 2

    def test_a_run_writes_the_same_curves_while_it_goes_on_and_when_it_is_resumed(self, heard, tmp_path, monkeypatch):
        monkeypatch.setattr("cellfree_sim.results.report.build_report", lambda folder: None)
        monkeypatch.chdir(tmp_path)
        scenario = Scenario.model_validate(HEARD | {"checkpoint_every_steps": 7})
        with Simulation.launch(scenario, engine="inline", out="run", observer=Quiet()) as simulation:
            simulation.advance(steps=12)
        assert main(["run", "--resume", "run", "--quiet", "--tensorboard"]) == 0
        (file,) = Path("run/tensorboard").iterdir()
        read = EventAccumulator(str(file)).Reload()
        for tag, column in (("training/joint_loss", "joint_loss"), ("backhaul/bytes", "bytes")):
            training = heard.metrics[heard.metrics["phase"] == "training"]
            points = [(point.step, point.value) for point in read.Scalars(tag)]
            assert points == list(zip(training["step"], training[column].astype("float32"), strict=True))
        assert [point.step for point in read.Scalars("test/sum_rate")] == [20]
        last = read.Scalars("uplink/fused/ser")[-1]
        rows = heard.uplink[heard.uplink["service"] == "fused"]
        assert last.step == 23 and last.value == pytest.approx(rows["symbol_errors"].sum() / rows["symbols"].sum())

    def test_without_tensorboard_one_line_says_how_to_get_it(self, heard, tmp_path, monkeypatch, capsys):
        found = importlib.util.find_spec
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "tensorboard" else found(name))
        assert main(["export", str(heard.folder), "--to", "tensorboard", "--out", str(tmp_path)]) == 2
        assert main(["run", "tiny", "--tensorboard", "--out", str(tmp_path / "run")]) == 2
        errors = capsys.readouterr().err.splitlines()
        assert errors == 2 * [f"cellfree: error: {EXTRA}"] and not (tmp_path / "run").exists()


def read_trace(path: Path) -> list[dict[str, Any]]:
    content = gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()
    events: list[dict[str, Any]] = json.loads(content, parse_constant=pytest.fail)["traceEvents"]
    return events


def ns(microseconds: float) -> int:
    return round(1000 * microseconds)


def check_rules(events: list[dict[str, Any]]) -> None:
    """The rules of the Trace Event Format, as far as readers rely on them."""
    named = {(e["pid"], e["tid"], e["name"]) for e in events if e["ph"] == "M"}
    flows: dict[int, list[dict[str, Any]]] = defaultdict(list)
    last: dict[tuple[int, int], dict[str, Any]] = {}
    slices: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for event in events:
        assert {"name", "ph", "pid", "tid", "ts"} <= set(event) and event["ts"] >= 0
        track = event["pid"], event["tid"]
        if event["ph"] != "M":
            assert (event["pid"], 0, "process_name") in named
            assert event["ph"] == "C" or (*track, "thread_name") in named
        if event["ph"] == "X":
            assert event["dur"] >= 0
            last[track] = event
            slices[track].append((ns(event["ts"]), ns(event["ts"]) + ns(event["dur"])))
        elif event["ph"] in "sf":
            flows[event["id"]].append(event)
            around = last[track]  # an end of an arrow is bound to the slice that is open where it stands
            assert ns(around["ts"]) <= ns(event["ts"]) <= ns(around["ts"]) + ns(around["dur"])
            assert around["args"]["frame"] == event["id"]
        else:
            assert event["ph"] in "MCi"
    for ends in flows.values():
        begin, end = ends
        assert (begin["ph"], end["ph"], end["bp"]) == ("s", "f", "e") and begin["ts"] <= end["ts"]
        assert (begin["cat"], begin["name"]) == (end["cat"], end["name"])
    for own in slices.values():  # apart, or one within the other
        open_until: list[int] = []
        for begin, end in sorted(own, key=lambda each: (each[0], -each[1])):
            while open_until and open_until[-1] <= begin:
                open_until.pop()
            assert not open_until or end <= open_until[-1]
            open_until.append(end)


def processes(events: list[dict[str, Any]]) -> dict[int, str]:
    return {e["pid"]: e["args"]["name"].split(" at ")[0] for e in events if e["name"] == "process_name"}


class TestTrace:
    @pytest.mark.parametrize("name", ["eventful", "heard"])
    def test_every_frame_is_there_once_at_its_times_and_the_rules_hold(self, name, request, tmp_path):
        run = request.getfixturevalue(name)
        written = write_trace(run, tmp_path / "trace.json")
        events = read_trace(written.path)
        check_rules(events)
        assert written.frames == len(run.backhaul) and written.events == len(events)
        who = processes(events)
        shown = [e for e in events if e["ph"] == "X" and "frame" in e.get("args", {})]
        sent = {e["args"]["frame"]: e for e in shown if "from" not in e["args"]}
        received = {e["args"]["frame"]: e for e in shown if "from" in e["args"]}
        assert len(sent) + len(received) == len(shown)
        assert sorted(sent) == list(range(len(run.backhaul)))
        assert sorted(received) == run.backhaul.index[run.backhaul["status"] == "delivered"].tolist()
        assert {e["id"] for e in events if e["ph"] == "s"} == set(received)
        for number, row in run.backhaul.iterrows():
            event = sent[number]
            assert who[event["pid"]] == row["sender"] and ns(event["ts"]) == round(1e9 * row["sent_s"])
            for key in ("kind", "bytes", "path", "phase", "step", "attempt", "status"):
                assert event["args"][key] == row[key]
            if number in received:
                arrival_s = row["sent_s"] if math.isnan(row["arrival_s"]) else row["arrival_s"]
                assert who[received[number]["pid"]] == row["receiver"]
                assert ns(received[number]["ts"]) == ns(event["ts"]) + ns(event["dur"]) == round(1e9 * arrival_s)
            else:
                assert event["name"] == f"LOST {row['kind']}" and ns(event["dur"]) == round(1e9 * 0.01)

    def test_lost_frames_and_what_happened_are_seen(self, eventful, tmp_path):
        events = read_trace(write_trace(eventful, tmp_path / "trace.json").path)
        lost = [e for e in events if e["name"].startswith("LOST")]
        assert len(lost) == (eventful.backhaul["status"] == "dropped").sum() > 0
        happened = [e for e in events if e.get("cat") == "event"]
        assert [e["args"]["event"] for e in happened] == [event["event"] for event in eventful.events]
        rounds = eventful.metrics[eventful.metrics["phase"] == "training"].set_index("step")["simulated_s"]
        assert [ns(e["ts"]) for e in happened] == [round(1e9 * rounds[e["args"]["at_step"]]) for e in happened]
        assert happened[0]["name"] == "sbs-3: injected"

    def test_stations_compute_as_long_as_the_rounds_say(self, heard, tmp_path):
        """Of every round, the time that a station and the MBS computed is what the table has for its critical path."""
        events = read_trace(write_trace(heard, tmp_path / "trace.json").path)
        who = processes(events)
        computed: dict[int, dict[str, float]] = defaultdict(dict)
        for event in events:
            if event.get("cat") == "compute":
                computed[event["args"]["step"]][who[event["pid"]]] = event["dur"] * 1e-6
        rounds = heard.metrics[heard.metrics["phase"] == "training"].set_index("step")
        assert sorted(computed) == rounds.index.tolist()
        for step, row in rounds.iterrows():
            own = computed[step]
            critical = max(own[name] for name in ("sbs-0", "sbs-1"))
            assert own["mbs"] + critical == pytest.approx(row["compute_s"], abs=1e-8)
        slices = [e for e in events if e.get("cat") == "round"]
        ends = [ns(e["ts"]) + ns(e["dur"]) for e in slices]
        assert ends == [round(1e9 * each) for each in rounds["simulated_s"]]

    def test_services_show_bursts_and_what_their_latency_is_made_of(self, heard, tmp_path):
        events = read_trace(write_trace(heard, tmp_path / "trace.json").path)
        who = processes(events)
        own = [e for e in events if e.get("cat") == "service"]
        for service, rows in heard.uplink.groupby("service"):
            mine = [e for e in own if who[e["pid"]].startswith(f"service {service}:")]
            bursts = {e["args"]["burst"]: e for e in mine if e["name"].startswith("burst")}
            assert sorted(bursts) == list(range(24))
            for row in rows.itertuples():
                assert bursts[row.burst]["dur"] * 1e-6 == pytest.approx(row.latency_s, abs=2e-9)
            for part in ("queue", "compute", "backhaul"):
                spent = sum(e["dur"] for e in mine if e["name"] == part) * 1e-6
                assert spent == pytest.approx(rows[f"{part}_s"].sum(), abs=1e-7)
        assert {e["name"] for e in events if e.get("cat") == "event"} == {"near: detector swapped"}

    def test_a_part_of_a_run_has_its_frames_and_no_others(self, heard, tmp_path):
        frames = heard.backhaul
        training, uplink = frames[frames["phase"] != "uplink"], frames[frames["phase"] == "uplink"]
        for selection, kept in (
            (Selection(steps=Span(3, 5)), training[training["step"].between(3, 5)]),
            (Selection(bursts=Span(10, 12)), uplink[uplink["step"].between(10, 12)]),
            (Selection(kinds=frozenset({"soft_decision"})), frames[frames["kind"] == "soft_decision"]),
            (
                Selection(Span(2, 2), Span(0, 0), frozenset({"loss_feedback", "uplink_burst"})),
                frames[
                    frames["kind"].isin(["loss_feedback", "uplink_burst"])
                    & frames["step"].eq(frames["phase"].map({"training": 2, "uplink": 0}))
                ],
            ),
        ):
            path = tmp_path / "part.json.gz"
            assert write_trace(heard, path, selection).frames == len(kept) > 0
            events = read_trace(path)
            check_rules(events)
            shown = {e["args"]["frame"] for e in events if e["ph"] == "X" and "frame" in e.get("args", {})}
            assert shown == set(kept.index)

    def test_a_run_whose_mbs_trains_alone_shows_when_it_computes(self, tmp_path):
        alone = BASE | {"name": "alone", "network": {"sbs": {"count": 2}, "users": {"count": 3}}}
        alone["downlink"] = alone["downlink"] | {"algorithm": "cmtssl", "epochs": 2}
        run = _run(alone, tmp_path / "run")
        events = read_trace(write_trace(run).path)
        check_rules(events)
        spent = sum(e["dur"] for e in events if e.get("cat") == "compute" and processes(events)[e["pid"]] == "mbs")
        assert spent * 1e-6 == pytest.approx(run.metrics["compute_s"].sum(), abs=1e-8)

    def test_what_cannot_be_written_leaves_what_was_there(self, eventful, tmp_path):
        path = tmp_path / "trace.json"
        path.write_text("mine")
        (tmp_path / "copy").mkdir()
        for name in ("scenario.yaml", "run.log", "metrics.parquet"):
            (tmp_path / "copy" / name).write_bytes((eventful.folder / name).read_bytes())
        (tmp_path / "copy" / "backhaul.parquet").write_bytes(b"damaged")
        with pytest.raises(RunFolderError, match=r"backhaul\.parquet: is damaged"):
            write_trace(load_results(tmp_path / "copy"), path)
        assert path.read_text() == "mine" and {each.name for each in tmp_path.iterdir()} == {"trace.json", "copy"}


class TestIgnored:
    def test_a_port_for_metrics_is_said_to_be_ignored_without_ray(self, tmp_path, capsys):
        scenario = Scenario.model_validate(BASE | {"placement": {**BASE["placement"], "metrics_port": 9464}})
        Simulation.launch(scenario, engine="inline", out=tmp_path / "run").close()
        assert "note: placement.metrics_port is ignored: without Ray nothing tells" in capsys.readouterr().err


class TestCommands:
    def test_trace_goes_into_the_folder_and_says_what_it_holds(self, heard, capsys, monkeypatch):
        monkeypatch.chdir(heard.folder.parent.parent)
        assert main(["trace", str(heard.folder), "--bursts", "0:3", "--kind", "soft_decision"]) == 0
        told = capsys.readouterr()
        assert told.out == f"{heard.folder}/trace.json.gz\n"
        assert told.err.startswith("cellfree: 8 frames of ") and "ui.perfetto.dev" in told.err

    @pytest.mark.parametrize(("form", "place"), [(name, form.place) for name, form in FORMS.items()])
    def test_every_form_has_its_place_in_the_folder(self, form, place, eventful, capsys):
        assert main(["export", str(eventful.folder), "--to", form]) == 0
        assert capsys.readouterr().out == f"{eventful.folder}/{place}\n"
        assert (eventful.folder / place).is_dir() == FORMS[form].is_folder

    def test_several_runs_share_a_folder(self, eventful, heard, tmp_path, capsys):
        both = [str(eventful.folder), str(heard.folder)]
        assert main(["export", *both, "--to", "graphml", "--out", str(tmp_path / "nets")]) == 0
        assert sorted(path.name for path in (tmp_path / "nets").iterdir()) == ["eventful.graphml", "heard.graphml"]
        assert main(["export", *both, "--to", "csv"]) == 2
        assert "--out: found nothing; allowed: a folder" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["export", "RUN", "--to", "graphm"], "--to 'graphm'; allowed: csv, graphml, tensorboard, trace; did you"),
            (["export", "RUN", "--to", "graphml", "--out", ""], "--out: found nothing; allowed: a file or folder"),
            (["export", "RUN", "--to", "trace", "--out", "."], "--out: found '.', a folder; allowed: a file"),
            (["export", "RUN", "--to", "csv", "--out", "/dev/null/x"], "/dev/null/x: cannot be written"),
            (["export", "nowhere", "--to", "csv"], "nowhere: there is no such run"),
            (["trace", "RUN", "--steps", "9:3"], "--steps: found '9:3'; allowed: A:B with A up to B"),
            (["trace", "RUN", "--bursts", "x"], "--bursts: found 'x'; allowed: A:B"),
            (["trace", "RUN", "--kind", "soft"], "--kind: found 'soft'; allowed: channel_report, "),
            (["trace", "RUN", "--out", "."], "--out: found '.', a folder; allowed: a file"),
            (["trace", "RUN", "--out", "/nowhere/at/all.json"], "/nowhere/at/all.json: cannot be written"),
        ],
    )
    def test_what_is_wrong_is_one_line(self, arguments, told, heard, capsys):
        assert main([str(heard.folder) if word == "RUN" else word for word in arguments]) in (1, 2)
        error = capsys.readouterr().err
        assert told in error and error.count("\n") == 1
