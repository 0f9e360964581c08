"""Links that belong to no study: `cellfree sweep` prints their rates, draws them, and says what did not fit."""

from pathlib import Path

import pandas as pd
import pytest

from cellfree_sim.cli import main

MIMO = "link: {detectors: [lmmse, mf], slots_max: 200, snr_db: [6, 12], problem: {n_rx: 8, n_tx: 4}}"
NOMA = """
link:
  family: noma
  problem: {activity: 0.5, channel: flat}
  schemes: [{codebook: wbe, detector: mmse-sic}, {codebook: scma, detector: mmse-sic}]
  snr_db: [10]
  frames_max: 300
sweep: {cases: {often: {link.problem.activity: 0.8}, seldom: {link.problem.activity: 0.2}}}
"""
MMTC = """
link:
  family: mmtc
  problem: {devices: 20, pilot_length: 12, antennas: 4}
  detectors: [amp-section]
  frames_max: 16
"""


def swept(text: str, capsys: pytest.CaptureFixture[str]) -> tuple[str, str, pd.DataFrame]:
    Path("mine.yaml").write_text(f"name: mine\n{text}")
    assert main(["sweep", "mine.yaml", "--quiet", "--out", "out"]) == 0
    told = capsys.readouterr()
    assert Path("out/mine/full/mine.png").stat().st_size > 5000
    return told.out, told.err, pd.read_csv("out/mine/full/table.csv")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_link_without_a_sweep_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    out, _, table = swept(MIMO, capsys)
    assert out.splitlines()[0].split() == ["SNR,", "dB", "scheme", "frames", "ser"]
    rates = table.set_index(["algorithm", "snr_db"])["ser"]
    assert rates["lmmse", 12.0] < rates["lmmse", 6.0] < rates["mf", 6.0]


def test_cases_of_noma_stand_side_by_side_and_what_does_not_fit_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    out, error, table = swept(NOMA, capsys)
    assert {line.split()[0] for line in out.splitlines()[1:3]} == {"often", "seldom"}
    assert "scma + mmse-sic" in error and error.startswith("cellfree: note: ")
    rates = table[table["snr_db"].notna()].set_index("case")["ber"]
    assert rates["seldom"] < rates["often"]


def test_detectors_of_mmtc_stand_beside_the_genie(capsys: pytest.CaptureFixture[str]) -> None:
    out, _, table = swept(MMTC, capsys)
    assert out.splitlines()[0].split()[:3] == ["scheme", "frames", "ser"]
    assert set(table["algorithm"]) == {"amp-section", "genie"}


def test_a_run_of_a_link_says_how_it_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text(MIMO)
    assert main(["run", "mine.yaml"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
