from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cellfree_sim.results import tables


def test_rows_can_be_read_while_the_run_goes_on_and_after_it(tmp_path):
    path = tmp_path / "metrics.parquet"
    writer = tables.TableWriter(path, tables.METRICS, batch_rows=4)
    for step in range(10):
        writer.append({"phase": "training", "step": step, "sum_rate": step / 3, "ignored": "x"})
    assert tables.read_table(path, tables.METRICS)["step"].tolist() == list(range(8))  # two whole batches
    assert not path.exists()
    writer.flush()
    assert tables.read_table(path, tables.METRICS)["step"].tolist() == list(range(10))
    writer.close()
    writer.close()
    frame = pd.read_parquet(path)
    assert list(frame.columns) == list(tables.METRICS)
    np.testing.assert_array_equal(frame["sum_rate"], np.arange(10) / 3)
    assert frame["joint_loss"].isna().all()
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.parquet"]


def test_rows_are_flushed_after_a_while_however_few(tmp_path):
    path = tmp_path / "metrics.parquet"
    writer = tables.TableWriter(path, tables.METRICS, flush_every_s=0.0)
    writer.append({"step": 1})
    assert len(tables.read_table(path, tables.METRICS)) == 1
    writer.close()


def test_memory_does_not_grow_with_the_rows(tmp_path):
    with tables.TableWriter(tmp_path / "backhaul.parquet", tables.BACKHAUL, batch_rows=100) as writer:
        for _ in range(50):
            writer.extend({"step": range(30), "bytes": [7] * 30})
            assert all(len(values) < 130 for values in writer._pending.values())
    assert writer.rows == len(pd.read_parquet(tmp_path / "backhaul.parquet")) == 1500


def test_a_killed_process_leaves_what_it_flushed(tmp_path):
    path = tmp_path / "metrics.parquet"
    script = (
        "import os, pathlib, sys; from cellfree_sim.results.tables import *\n"
        "writer = TableWriter(pathlib.Path(sys.argv[1]), METRICS, batch_rows=5)\n"
        "for step in range(12): writer.append({'step': step})\n"
        "os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, path], check=False, cwd=Path(__file__).parents[3])
    assert tables.read_table(path, tables.METRICS)["step"].tolist() == list(range(10))


def test_a_batch_cut_off_in_the_middle_costs_only_itself(tmp_path):
    path = tmp_path / "metrics.parquet"
    writer = tables.TableWriter(path, tables.METRICS, batch_rows=5)
    for step in range(10):
        writer.append({"step": step})
    partial = tables.partial_path(path)
    whole = partial.read_bytes()
    writer.close()
    for cut in range(0, len(whole), 37):
        partial.write_bytes(whole[:cut])
        assert tables.read_table(path, tables.METRICS)["step"].tolist() in ([], list(range(5)), list(range(10)))


def test_columns_of_unequal_length_are_refused(tmp_path):
    writer = tables.TableWriter(tmp_path / "backhaul.parquet", tables.BACKHAUL)
    with pytest.raises(ValueError, match=r"equally long, found lengths \[1, 2\]"):
        writer.extend({"step": [1], "bytes": [1, 2]})
    writer.extend({})
    writer.close()
    assert pd.read_parquet(tmp_path / "backhaul.parquet").empty


def test_missing_times_are_nan(tmp_path):
    tables.write_table(tmp_path / "b.parquet", tables.BACKHAUL, {"step": [1, 2], "arrival_s": [0.5, None]})
    assert tables.read_table(tmp_path / "b.parquet", tables.BACKHAUL)["arrival_s"].isna().tolist() == [False, True]
