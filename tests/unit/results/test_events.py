"""What report and figures tell of a network that changed while it ran, against the records of the run."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from matplotlib.colors import to_hex

from cellfree_sim.results import RunFolder, build_report
from cellfree_sim.results.analysis import load_run
from cellfree_sim.results.figures import events, simulated_time, style, topology, training
from cellfree_sim.results.report import warnings
from cellfree_sim.results.report_events import losses_table
from cellfree_sim.results.tables import METRICS, TableWriter

STEPS = [0, 5, 9, 10, 12]  # of the events that happened, in conftest's records


def by_label(axes) -> dict[str, object]:
    return {artist.get_label(): artist for artist in (*axes.lines, *axes.collections)}


class TestReport:
    def test_each_event_is_told_with_its_consequence(self, changed_page):
        _, *rows = changed_page.tables["Events"]
        assert [(row[0], row[2]) for row in rows] == [
            ("0", "mbs–sbs-2"), ("5", "sbs-3"), ("9", "mbs, sbs-1"), ("10", "sbs-0"), ("12", "mbs–sbs-1"), ("15", "–"),
        ]  # fmt: skip
        assert rows[0][3] == "2 Mbit/s, 0.5 ms from here on"
        assert rows[1][3] == "joined with the model of sbs-1 (0.151 MB); sum rate 11.235 before, 17.891 just after"
        assert rows[2][1:] == [
            "failed, restarted",
            "mbs, sbs-1",
            "from step 9 back to step 6, 3 rounds done again; recovered in 1.25 s",
        ]
        assert rows[3][3] == "sum rate 20.500 before, 14.250 just after"
        assert rows[4][3] == "isolated, taking no part: sbs-1"
        assert rows[5][1:] == ["remove_sbs refused", "–", "did not happen: station 'sbs-9' is unknown"]

    def test_the_numbers_of_an_injection_are_those_of_its_record(self, changed_page, changed_folder):
        record = changed_folder.summary()["downlink"]["injection"][0]
        shown = changed_page.table("Injections").loc["sbs-3"]
        assert json.loads(shown["position (m)"].replace("(", "[").replace(")", "]")) == record["position"]
        for column in ("nearest", "donor", "transfer", "after"):
            assert shown[column] == record[column]
        assert int(shown["step"]) == record["at_step"]
        assert int(shown["model moved (bytes)"].replace(",", "")) == record["transfer_bytes"]
        for column, when in {"before": "before", "just after": "after", "at the end": "end"}.items():
            assert float(shown[f"sum rate {column}"]) == pytest.approx(record[f"sum_rate_{when}"], abs=5.1e-4)
        assert float(shown["wall time (s)"]) == pytest.approx(record["seconds"], rel=2e-3)
        assert float(shown["simulated time (ms)"]) == pytest.approx(1e3 * record["simulated_seconds"], rel=2e-3)
        assert "batch normalisation" in changed_page.text

    def test_no_model_no_word_of_its_statistics(self, changed_folder, read_page, unrendered):
        summary = changed_folder.summary()
        summary["downlink"]["injection"][0] |= {"donor": None, "transfer": "none", "transfer_bytes": 0}
        changed_folder.write_summary(summary)
        page = read_page(build_report(changed_folder.path))
        assert page.table("Injections").loc["sbs-3", "donor"] == "–"
        assert "batch normalisation" not in page.text

    def test_lost_frames_and_those_sent_again_are_named(self, changed_page, changed_folder):
        frames = changed_folder.backhaul()
        (lost,) = frames[frames["status"] == "dropped"].to_dict("records")
        (again,) = frames[frames["attempt"] == 1].to_dict("records")
        _, *rows = changed_page.tables["Frames dropped and sent again"]
        found = {(row[0], row[1]): [int(cell.replace(",", "")) for cell in row[2:]] for row in rows}
        assert found == {
            (lost["kind"], lost["path"].replace(">", " → ")): [1, lost["bytes"], 0, 0],
            (again["kind"], again["path"].replace(">", " → ")): [0, 0, 1, again["bytes"]],
            ("all", "rounds done again"): [0, 0, 30, 4_000_000 - again["bytes"]],
            ("total", ""): [1, lost["bytes"], 31, 4_000_000],
        }

    def test_many_ways_are_summed_up(self, run_folder):
        run = load_run(run_folder.path)
        run.backhaul["status"] = "dropped"
        run.backhaul["path"] = [f"a{row % 50}>b" for row in range(len(run.backhaul))]
        table = losses_table(run)
        sizes = [int(row.cells[3].replace(",", "")) for row in table.rows]
        assert table.rows[-2].cells[0].endswith(" others")
        assert sum(sizes[:-1]) == sizes[-1] == run.backhaul["bytes"].sum()

    def test_stations_are_shown_as_what_they_became(self, changed_page):
        states = changed_page.table("Stations")["state"]
        assert dict(states) == {
            "mbs": "active",
            "sbs-0": "removed at step 10",
            "sbs-1": "isolated",
            "sbs-2": "active",
            "sbs-3": "injected at step 5, executes only",
        }
        assert "4 small base stations" not in changed_page.text
        assert "3 small base stations" in changed_page.text

    def test_refusals_and_dropped_stations_are_warnings(self, changed_folder):
        summary = changed_folder.summary()
        summary["events"].append({"event": "drop", "at_step": 18, "stations": ["sbs-2"], "reason": "sbs-2 died"})
        changed_folder.write_summary(summary)
        found = warnings(load_run(changed_folder.path))
        assert "1 frame dropped, 31 sent again; totals count first attempts." in found
        assert "At step 15 remove_sbs did not happen: station 'sbs-9' is unknown" in found
        assert "From step 18 on the run went without sbs-2: sbs-2 died" in found

    def test_a_run_that_goes_on_tells_the_last_events(self, changed_folder, unrendered):
        happened = changed_folder.summary()["events"]
        changed_folder.summary_path.unlink()
        (changed_folder.path / "progress.json").write_text(json.dumps({"step": 12, "events": happened[-2:]}))
        assert load_run(changed_folder.path).events == happened[-2:]
        build_report(changed_folder.path)

    def test_nothing_is_said_where_nothing_happened(self, reported, read_page):
        page = read_page(reported.report_path)
        assert not {"Events", "Injections"} & set(page.tables)
        assert "state" not in page.tables["Stations"][0]
        assert "What happened" not in page.text


class TestTraining:
    def test_lines_and_marks_stand_at_the_steps_of_the_events(self, changed_folder):
        rates, loss, strip = training.draw(load_run(changed_folder.path)).axes
        for axes in (rates, loss, strip):
            segments = by_label(axes)["_events"].get_segments()
            assert [float(segment[0][0]) for segment in segments] == STEPS
        rows = {tick.get_text(): row for row, tick in enumerate(strip.get_yticklabels())}
        wanted = {"injected": [5], "removed": [10], "restarted": [9], "link cut": [12], "link slowed": [0]}
        assert set(rows) == set(wanted)
        for lane, steps in wanted.items():
            line = by_label(strip)[f"_{lane}"]
            assert list(line.get_xdata()) == steps
            assert list(line.get_ydata()) == [rows[lane]] * len(steps)
        (again,) = by_label(strip)["_restarted, done again"].get_segments()
        assert again[:, 0].tolist() == [6, 9]
        assert "event" in [text.get_text() for text in rates.get_legend().get_texts()]
        assert {text.get_text() for text in strip.texts} <= {"sbs-3", "sbs-0", "mbs, sbs-1", "mbs–sbs-1", "mbs–sbs-2"}

    def test_many_labels_are_thinned_out_and_never_meet(self, run_folder):
        summary = run_folder.summary()
        restart = {"event": "restart", "stations": ["sbs-1"], "seconds": 1.0}
        steps = [0, 1, 1, 2, 3, 4, 10, 11, 12, 19, 20]
        summary["events"] = [{**restart, "at_step": step, "from_step": step} for step in steps]
        run_folder.write_summary(summary)
        figure = training.draw(load_run(run_folder.path))
        strip = figure.axes[2]
        assert list(by_label(strip)["_restarted"].get_xdata()) == sorted(set(steps))
        assert 0 < len(strip.texts) < len(steps)
        spans = sorted((box.x0, box.x1) for box in (text.get_window_extent() for text in strip.texts))
        assert all(a[1] < b[0] for a, b in itertools.pairwise(spans))
        marks = strip.transData.transform([(step, 0) for step in steps])[:, 0]
        assert not [x for x in marks for low, high in spans if low < x < high]
        assert all(low >= 0 and high <= figure.bbox.width for low, high in spans)

    def test_two_points_at_one_step_are_a_jump_and_no_slope(self, changed_folder):
        rows = changed_folder.metrics()
        before = rows[(rows["phase"] == "validation") & (rows["step"] == 10)].iloc[0]
        with TableWriter(changed_folder.path / "metrics.parquet", METRICS) as writer:
            for row in rows.to_dict("records"):
                writer.append(row)
                if row["phase"] == "validation" and row["step"] == 10:
                    writer.append(row | {"sum_rate": 14.25})
        found = by_label(training.draw(load_run(changed_folder.path)).axes[0])
        x, y = found["validation"].get_data()
        np.testing.assert_array_equal(x, [5, 10, np.nan, 10, 15, 20])
        assert np.isnan(y[2])
        assert y[1] == before["sum_rate"]
        assert y[3] == 14.25
        assert [segment.tolist() for segment in found["_jump"].get_segments()] == [
            [[10, before["sum_rate"]], [10, 14.25]]
        ]
        assert (found["_before"].get_ydata(), found["_after"].get_ydata()) == ([before["sum_rate"]], [14.25])
        assert found["_before"].get_markerfacecolor() == "white"

    def test_the_curve_begins_anew_where_a_station_was_dropped(self, changed_folder):
        summary = changed_folder.summary()
        summary["events"] = [{"event": "drop", "at_step": 10, "stations": ["sbs-2"], "reason": "sbs-2 died"}]
        changed_folder.write_summary(summary)
        found = by_label(training.draw(load_run(changed_folder.path)).axes[0])
        np.testing.assert_array_equal(found["validation"].get_xdata(), [5, np.nan, 10, 15, 20])
        assert "_jump" not in found

    def test_simulated_time_has_the_lines_too(self, changed_folder):
        axes = simulated_time.draw(load_run(changed_folder.path)).axes[0]
        assert [float(segment[0][0]) for segment in by_label(axes)["_events"].get_segments()] == STEPS

    def test_events_of_one_step_share_a_mark(self, run_folder):
        summary = run_folder.summary()
        cut = [{"event": "cut_link", "at_step": 3, "link": ["mbs", f"sbs-{index}"]} for index in range(3)]
        summary["events"] = [*cut, {"event": "drop", "at_step": 3, "stations": ["sbs-0", "sbs-1"], "reason": "gone"}]
        run_folder.write_summary(summary)
        assert events.marks(load_run(run_folder.path)) == [
            events.Mark("removed", 3, "sbs-0, sbs-1", 3),
            events.Mark("link cut", 3, "3 of them", 3),
        ]


class TestTopology:
    def test_stations_are_drawn_as_what_they_became(self, changed_folder):
        figure = topology.draw(load_run(changed_folder.path))
        found = by_label(figure.axes[0])
        wanted = {"removed SBS": [25, 25], "isolated SBS": [75, 25], "injected": [75, 75]}
        for label, place in wanted.items():
            assert found[label].get_offsets().tolist() == [place]
        assert found["SBS"].get_offsets().tolist() == [[25, 75], [75, 75]]
        assert to_hex(found["removed SBS"].get_facecolor()[0]) == "#ffffff"
        assert to_hex(found["removed SBS"].get_edgecolor()[0]).upper() == style.GREY
        assert len(found["injected"].get_facecolor()) == 0
        legend = {text.get_text() for text in figure.legends[0].get_texts()}
        assert legend >= {"removed SBS", "isolated SBS", "injected SBS", "cut link", "slowed link"}

    def test_links_are_drawn_as_what_they_became(self, changed_folder):
        found = by_label(topology.draw(load_run(changed_folder.path)).axes[0])
        (cut,), (slowed,) = (found[f"_{state}"].get_segments() for state in ("cut", "slowed"))
        assert cut.tolist() == [[50, 50], [75, 25]]
        assert slowed.tolist() == [[50, 50], [25, 75]]
        assert found["_cut"].get_linestyle()[0][1] is not None
        assert found["_cut"].get_linestyle() != found["_slowed"].get_linestyle()
        assert (found["_cut at"].get_xdata(), found["_cut at"].get_ydata()) == ([62.5], [37.5])

    def test_a_network_that_did_not_change_has_no_word_of_it(self, run_folder: RunFolder):
        figure = topology.draw(load_run(run_folder.path))
        assert {text.get_text() for text in figure.legends[0].get_texts()} == {"user (first test drop)", "SBS", "MBS"}
