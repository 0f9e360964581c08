"""Results in one call: against what pandas and networkx read from the same files by themselves."""

from __future__ import annotations

import json
import subprocess
import sys

import networkx as nx
import pandas as pd
import pytest

import cellfree_sim
from cellfree_sim.errors import RunFolderError, UserError


@pytest.fixture
def two(tmp_path, make_run):
    return [make_run(tmp_path / name, name=name, steps=steps) for name, steps in (("first", 5), ("second", 10))]


def test_one_call_gives_what_pandas_and_networkx_read_from_the_files(changed_folder):
    run = cellfree_sim.load_results(str(changed_folder.path))
    for table in ("metrics", "backhaul", "rates"):
        pd.testing.assert_frame_equal(getattr(run, table), pd.read_parquet(changed_folder.path / f"{table}.parquet"))
    assert run.summary == json.loads((changed_folder.path / "summary.json").read_text())
    assert run.scenario["network"]["users"]["count"] == 4 and len(run.uplink) == 0
    assert [event["event"] for event in run.events][:2] == ["slow_link", "inject_sbs"]
    assert run.topology.nodes["sbs-3"]["x_m"] == 75.0 and run.topology.edges["mbs", "sbs-1"]["up"] is False
    assert repr(run) == f"<run {changed_folder.path}: done>"


def test_topology_json_is_what_networkx_reads_without_being_told_anything(changed_folder):
    data = json.loads((changed_folder.path / "topology.json").read_text())
    graph = nx.node_link_graph(data)
    assert nx.utils.graphs_equal(graph, nx.node_link_graph(data, edges="links"))  # what networkx < 3.6 and d3 look for
    assert set(graph.edges) == {("mbs", f"sbs-{index}") for index in range(4)}
    assert nx.utils.graphs_equal(graph, cellfree_sim.load_results(changed_folder.path).topology)
    assert nx.shortest_path(graph, "sbs-0", "sbs-3") == ["sbs-0", "mbs", "sbs-3"]


def test_several_runs_are_tidy_tables_with_a_column_that_names_the_run(two):
    runs = cellfree_sim.load_results(folder.path for folder in two)
    assert runs.names == ["first", "second"] and repr(runs) == "<2 runs: first, second>"
    for table in ("metrics", "backhaul", "rates", "uplink"):
        frame = getattr(runs, table)
        assert frame.columns[0] == "run" and frame.index.equals(pd.RangeIndex(len(frame)))
        for name, run in zip(runs.names, runs, strict=True):
            own = frame[frame["run"] == name].drop(columns="run").reset_index(drop=True)
            pd.testing.assert_frame_equal(own, getattr(run, table), check_dtype=len(own) > 0)
    assert runs.summary.set_index("run")["steps"].to_dict() == {"first": 5, "second": 10}
    assert list(runs.differences.columns) == ["run", "name"]
    assert len(runs[1:]) == 1 and runs[1].summary["steps"] == 10


def test_reading_the_summary_reads_no_table(run_folder):
    (run_folder.path / "backhaul.parquet").write_bytes(b"damaged")
    run = cellfree_sim.load_results(run_folder.path)
    assert run.summary["seed"] == 7
    with pytest.raises(RunFolderError, match=r"backhaul\.parquet: is damaged"):
        _ = run.backhaul


def test_a_wrong_folder_and_no_folder_are_one_line(tmp_path):
    with pytest.raises(RunFolderError, match=r"nowhere: there is no such run folder"):
        cellfree_sim.load_results(tmp_path / "nowhere")
    with pytest.raises(UserError, match="found no folder of a run"):
        cellfree_sim.load_results(tmp_path.glob("none-*"))


def test_a_topology_that_is_no_graph_is_named(run_folder):
    (run_folder.path / "topology.json").write_text('{"nodes": [], "links": [{}]}')
    with pytest.raises(RunFolderError, match=r"topology\.json: is damaged, a graph in node-link form expected"):
        _ = cellfree_sim.load_results(run_folder.path).topology


def test_results_load_without_torch_and_ray(run_folder):
    code = (
        "import sys, cellfree_sim; run = cellfree_sim.load_results(sys.argv[1]); "
        "run.summary, run.scenario, run.metrics, run.backhaul, run.uplink, run.rates, run.topology; "
        "print(*({'torch', 'ray', 'sionna', 'scipy', 'matplotlib', 'agents'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, run_folder.path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
