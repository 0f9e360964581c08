from __future__ import annotations

import itertools
import math
import struct

import numpy as np
import pandas as pd
import pytest

from cellfree_sim.results import RunFolder
from cellfree_sim.results.analysis import bytes_by, bytes_by_station, hops, load_run, outcomes, share_below
from cellfree_sim.results.figures import distributions, simulated_time, style, topology, traffic, training
from cellfree_sim.results.figures.interactive import embed
from cellfree_sim.results.formats import algorithm_label


def test_png_files_are_200_dpi_at_journal_width_and_pdf_text_stays_text(reported):
    widths = {"topology": 3.5, "training": 3.5, "paired": 3.5, "simulated-time": 3.5, "rates": 7.16, "backhaul": 7.16}
    for name, inches in widths.items():
        png = (reported.figures_path / f"{name}.png").read_bytes()
        width, _ = struct.unpack(">II", png[16:24])
        assert width == int(200 * inches), name
        pdf = (reported.figures_path / f"{name}.pdf").read_bytes()
        assert pdf.startswith(b"%PDF")
        assert b"/FontFile2" in pdf  # TrueType outlines, which journals ask for, not Type 3


def test_the_link_of_a_tree_carries_what_passes_through_it(tmp_path):
    frames = pd.DataFrame(
        {
            "path": ["sbs-1>sbs-0>mbs", "mbs>sbs-0>sbs-1", "sbs-0>mbs"],
            "purpose": ["training", "training", "measurement"],
            "bytes": [100, 40, 7],
            "sender": ["sbs-1", "mbs", "sbs-0"],
            "receiver": ["mbs", "sbs-1", "mbs"],
            "status": ["delivered", "delivered", "dropped"],
        }
    )
    table = bytes_by(hops(frames), "link").sum(axis=1)
    assert table.to_dict() == {"sbs-0>mbs": 107, "sbs-1>sbs-0": 100, "mbs>sbs-0": 40, "sbs-0>sbs-1": 40}
    stations = bytes_by_station(frames)
    assert stations["sent"].to_dict() == {"mbs": 40, "sbs-0": 7, "sbs-1": 100}
    assert stations["received"].to_dict() == {"mbs": 100, "sbs-0": 0, "sbs-1": 40}


def test_links_are_drawn_by_the_bytes_of_both_directions(run_folder):
    run = load_run(run_folder.path)
    frames = pd.read_parquet(run_folder.path / "backhaul.parquet").query("attempt == 0")
    carried = topology.link_bytes(run)
    for station in ("sbs-0", "sbs-1", "sbs-2"):
        both = frames[(frames["sender"] == station) | (frames["receiver"] == station)]["bytes"].sum()
        assert carried[frozenset(("mbs", station))] == both
    axes = topology.draw(run).axes[0]
    assert axes.get_aspect() == 1
    assert {text.get_text() for text in axes.texts} >= {"mbs", "sbs-0", "sbs-1", "sbs-2"}
    assert sum(text.get_text().endswith(" MB") for text in axes.texts) == 3


def test_lines_point_to_where_antennas_look(run_folder):
    def lines():
        drawn = topology.draw(load_run(run_folder.path)).axes[0].collections
        return [part.get_segments() for part in drawn if part.get_label() == "boresight"]

    assert lines() == []
    graph = run_folder.topology()
    stations = [node for node in graph["nodes"] if node["kind"] == "sbs"]
    for station, azimuth_deg in zip(stations, (0, 90, -135), strict=True):
        station["azimuth_deg"] = azimuth_deg
    run_folder.write_topology(graph)
    (segments,) = lines()
    for station, ((x, y), (to_x, to_y)) in zip(stations, segments, strict=True):
        assert (x, y) == (station["x_m"], station["y_m"])
        assert math.degrees(math.atan2(to_y - y, to_x - x)) == pytest.approx(station["azimuth_deg"])


def test_a_station_at_the_place_of_the_mbs_is_named_with_it(run_folder):
    graph = run_folder.topology()
    graph["nodes"][1] |= {"x_m": 50.0, "y_m": 50.0}
    run_folder.write_topology(graph)
    axes = topology.draw(load_run(run_folder.path)).axes[0]
    names = [text.get_text() for text in axes.texts if not text.get_text().endswith(" MB")]
    assert sorted(names) == ["mbs, sbs-0", "sbs-1", "sbs-2"]


def test_training_lines_are_the_metrics_and_the_references_test_means(run_folder):
    run = load_run(run_folder.path)
    rates, loss = training.draw(run).axes
    lines = {line.get_label(): line for line in rates.lines}
    metrics = pd.read_parquet(run_folder.path / "metrics.parquet")
    for label, phase in {"training batch": "training", "validation": "validation"}.items():
        own = metrics[metrics["phase"] == phase]
        np.testing.assert_array_equal(lines[label].get_xdata(), own["step"])
        np.testing.assert_array_equal(lines[label].get_ydata(), own["sum_rate"])
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), metrics.loc[metrics["phase"] == "training", "joint_loss"])
    test = pd.read_parquet(run_folder.path / "rates.parquet").groupby(["algorithm", "realisation"])["rate"].sum()
    means = test.groupby("algorithm").mean().drop("dmtssl")
    levels = sorted(
        line.get_ydata()[0] for line in rates.lines if line.get_label() not in lines or len(line.get_xdata()) == 2
    )
    np.testing.assert_allclose(levels, sorted(means), rtol=1e-12)


def test_bands_are_the_intervals_of_means(run_folder):
    rates = training.draw(load_run(run_folder.path)).axes[0]
    (band,) = (part for part in rates.collections if part.get_label() == "_validation, interval")
    own = pd.read_parquet(run_folder.path / "metrics.parquet").query("phase == 'validation'")
    ends = {(x, round(y, 9)) for x, y in band.get_paths()[0].vertices.tolist()}
    for side in (-1, 1):
        wanted = own["sum_rate"] + side * 1.96 * own["sum_rate_error"]
        assert {(step, round(end, 9)) for step, end in zip(own["step"], wanted, strict=True)} <= ends


def test_shares_of_users_count_only_realisations_as_independent():
    """Users that do all alike are one: their interval is that of a proportion of so many realisations (Wilson)."""
    proportion = pytest.importorskip("scipy.stats").binomtest(30, 100).proportion_ci(0.95, method="wilson")
    one = np.repeat([0.0, 1.0], [30, 70])[:, None]
    for users in (1, 8):
        share, low, high = share_below(np.repeat(one, users, axis=1), np.array([0.5]))
        assert (share[0], low[0], high[0]) == pytest.approx((0.3, proportion.low, proportion.high), abs=1e-4)
    rng = np.random.default_rng(1)
    alone, together = rng.random((100, 8)), np.repeat(rng.random((100, 1)), 8, axis=1)
    widths = [high - low for _, low, high in (share_below(each, np.array([0.5])) for each in (alone, together))]
    assert widths[0] < 0.5 * widths[1]


def test_labels_of_a_map_meet_no_station_and_not_each_other(run_folder):
    figure = topology.draw(load_run(run_folder.path))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    boxes = [text.get_window_extent() for text in axes.texts]
    stations = axes.transData.transform([(50, 50), (25, 25), (75, 25), (25, 75)])
    for index, box in enumerate(boxes):
        assert axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1)
        assert not any(box.overlaps(other) for other in boxes[index + 1 :])
        assert not any(box.contains(x, y) for x, y in stations)


def test_distribution_functions_reach_each_quantile(run_folder):
    run = load_run(run_folder.path)
    users, sums = distributions.draw_cdf(run).axes
    table = pd.read_parquet(run_folder.path / "rates.parquet")
    order = [outcome.algorithm for outcome in outcomes(run)]
    for name, line in zip(order, users.lines, strict=False):
        rates = np.sort(table.loc[table["algorithm"] == name, "rate"])
        x, y = line.get_data()
        for probe in (0.02, 0.5, 3.0):
            drawn = y[np.searchsorted(x, probe, side="right") - 1] if probe >= x[0] else 0.0
            assert drawn == pytest.approx((rates <= probe).mean(), abs=1e-12)
    assert any(np.allclose(line.get_xdata(), 0.02) for line in users.lines)
    assert [line.get_label() for line in sums.lines] == [algorithm_label(name) for name in order]


def test_time_bars_stack_to_the_round(run_folder):
    run = load_run(run_folder.path)
    axes = simulated_time.draw(run).axes[0]
    metrics = pd.read_parquet(run_folder.path / "metrics.parquet").query("phase == 'training'")
    whole = 1e3 * metrics[["compute_s", "queue_s", "transfer_s"]].sum(axis=1)
    top = axes.patches[-1].get_data()
    np.testing.assert_allclose(top.values, whole, rtol=1e-12)
    np.testing.assert_array_equal(top.edges, np.append(metrics["step"], metrics["step"].max() + 1) - 0.5)


def test_traffic_bars_are_the_bytes(run_folder):
    run = load_run(run_folder.path)
    kinds, _ = traffic.draw(run).axes
    frames = pd.read_parquet(run_folder.path / "backhaul.parquet").query("attempt == 0")
    wanted = frames.groupby("kind")["bytes"].sum().sort_values(ascending=False) / 1e6
    assert [label.get_text().replace(" ", "_") for label in kinds.get_yticklabels()] == list(wanted.index)
    widths = np.sum([[bar.get_width() for bar in group] for group in kinds.containers], axis=0)
    np.testing.assert_allclose(widths, wanted, rtol=1e-12)


def test_a_colour_stays_with_its_algorithm_whatever_its_rank():
    one = style.algorithm_styles(["dmtssl", "gsa-zf", "ascent"], "dmtssl")
    other = style.algorithm_styles(["ascent", "gsa-zf", "dmtssl"], "dmtssl")
    assert one == other
    assert len({look["color"] for look in one.values()}) == 3


@pytest.mark.parametrize("places", [[3.0, 3.0, 3.0], [0.0, 0.1, 9.9, 10.0], [10.0], []])
def test_spread_keeps_labels_apart_and_inside(places):
    found = sorted(style.spread(places, 1.0, 0.0, 10.0))
    assert all(0 <= place <= 10 for place in found)
    assert all(b - a >= 1 - 1e-9 for a, b in itertools.pairwise(found))


def test_nothing_is_drawn_of_nothing(tmp_path):
    folder = RunFolder.create(tmp_path / "run", "x", pd.Timestamp("2026-05-04T12:00Z").to_pydatetime())
    folder.write_scenario("name: x\n")
    run = load_run(folder.path)
    drawings = (topology.draw, training.draw, distributions.draw_cdf, distributions.draw_paired, traffic.draw)
    assert [draw(run) for draw in (*drawings, simulated_time.draw)] == [None] * 6


def test_a_crowd_does_not_make_a_page_of_megabytes(run_folder):
    graph = run_folder.topology()
    (user, *_) = (node for node in graph["nodes"] if node["kind"] == "user")
    places = np.random.default_rng(0).uniform(0, 100, (20_000, 2)).round(3)
    graph["nodes"] += [user | {"id": f"of-{n}", "x_m": x, "y_m": y} for n, (x, y) in enumerate(places.tolist())]
    run_folder.write_topology(graph)
    with style.journal():
        svg, readout, _ = embed(style.lay_out(topology.draw(load_run(run_folder.path))), "topology")
    assert len(svg) + len(str(readout)) < 600_000
    assert 'href="data:image/png;base64,' in svg
