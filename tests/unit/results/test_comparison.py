"""Runs against each other: numbers against pandas, what may be said of which, and where the page goes."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cellfree_sim.cli import main
from cellfree_sim.errors import RunFolderError, UserError
from cellfree_sim.results import RunFolder
from cellfree_sim.results.analysis import RunData
from cellfree_sim.results.comparison import contenders, differences, error_difference, rate_difference
from cellfree_sim.results.figures import comparison, style
from cellfree_sim.results.figures.interactive import embed
from cellfree_sim.results.report_comparison import build_comparison, remarks

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def rewrite(folder: RunFolder, *, old: str = "", new: str = "", gain: float = 1.0, all_rates: float = 1.0) -> RunFolder:
    """The same run with another line in its scenario, and other rates of what it learned, or of all."""
    folder.write_scenario(folder.scenario_text().replace(old, new))
    rates = folder.rates()
    noise = np.random.default_rng(5).normal(1.0, 0.1, len(rates))
    learned = (rates["algorithm"] == "dmtssl").to_numpy()
    rates["rate"] *= all_rates * np.where(learned, gain * noise, 1.0)
    found = {
        name: own.pivot_table(index="realisation", columns="user", values="rate").to_numpy()
        for name, own in rates.groupby("algorithm")
    }
    folder.write_rates(found)
    return folder


@pytest.fixture(scope="module")
def folders(make_run: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """A run; the same with another loss; with another seed; with another noise; cut short."""
    parent = tmp_path_factory.mktemp("compared")
    made = {name: make_run(parent / name) for name in ("first", "better", "seed", "noise", "cut")}
    rewrite(made["better"], old="{name: penalty, weight: 20.0}", new="{name: nfl}", gain=1.1)
    rewrite(made["seed"], old="seed: 7", new="seed: 8", all_rates=0.9)
    made["seed"].write_summary({**made["seed"].summary(), "seed": 8})
    rewrite(made["noise"], old="noise_dbm: -26.0", new="noise_dbm: -90.0")
    summary = made["cut"].summary()
    made["cut"].write_summary({**summary, "status": "interrupted"})
    (made["cut"].path / "rates.parquet").unlink()
    return made


def runs(folders: dict[str, RunFolder], *names: str) -> list[RunData]:
    return [RunData(folders[name].path) for name in names]


def sums(folder: RunFolder) -> pd.Series:
    rates = pd.read_parquet(folder.path / "rates.parquet").query("algorithm == 'dmtssl'")
    return rates.groupby("realisation")["rate"].sum()


def test_runs_on_the_same_channels_are_compared_realisation_by_realisation(folders: dict[str, RunFolder]) -> None:
    first, better = contenders(runs(folders, "first", "better"))
    assert (first.label, better.label) == ("loss scheme penalty", "loss scheme nfl")
    found = rate_difference(first, better)
    gap = sums(folders["better"]) - sums(folders["first"])
    assert (found.how, found.pairs) == ("paired", 40)
    assert (found.mean, found.error) == pytest.approx((gap.mean(), gap.std() / math.sqrt(40)))
    assert found.better == pytest.approx((gap > 0).mean())
    assert found.error < math.hypot(first.learned.sum_rate_se, better.learned.sum_rate_se)  # type: ignore[union-attr]
    assert remarks([first, better]) == []


def test_runs_with_other_seeds_are_two_independent_means(folders: dict[str, RunFolder]) -> None:
    first, seed = contenders(runs(folders, "first", "seed"))
    assert (first.label, seed.label) == ("seed 7", "seed 8")
    found = rate_difference(first, seed)
    one, two = sums(folders["first"]), sums(folders["seed"])
    assert (found.how, found.pairs, found.reasons) == ("not paired", 0, ("seed",))
    assert found.mean == pytest.approx(two.mean() - one.mean())
    assert found.error == pytest.approx(math.sqrt(one.var() / 40 + two.var() / 40))
    assert "another seed" in remarks([first, seed])[0]


def test_other_problems_are_not_compared_and_it_is_said_why(folders: dict[str, RunFolder]) -> None:
    first, noise = contenders(runs(folders, "first", "noise"))
    found = rate_difference(first, noise)
    assert found.how == "not comparable" and found.reasons == ("radio.noise_dbm",) and math.isnan(found.mean)
    assert "another problem" in remarks([first, noise])[0] and "radio.noise_dbm" in remarks([first, noise])[0]


def test_training_drops_move_the_held_out_ones_of_recorded_channels_alone(make_run: Any, tmp_path: Path) -> None:
    one, other = (make_run(tmp_path / name) for name in ("one", "other"))
    rewrite(other, old="train: 300", new="train: 200")
    assert rate_difference(*contenders([RunData(one.path), RunData(other.path)])).how == "paired"
    for folder in (one, other):
        rewrite(folder, old="{name: tr38901-uma}", new="{name: trace, path: /data/campus.npz}")
    found = rate_difference(*contenders([RunData(one.path), RunData(other.path)]))
    assert (found.how, found.reasons) == ("not paired", ("channel.realisations.train",))


def test_how_batches_are_drawn_changes_no_held_out_channel(make_run: Any, tmp_path: Path) -> None:
    one, other = (make_run(tmp_path / name) for name in ("one", "other"))
    for folder, told in ((one, "true"), (other, "false")):
        rewrite(folder, old="channel: {", new=f"channel: {{resample_users: {told}, ")
    assert rate_difference(*contenders([RunData(one.path), RunData(other.path)])).how == "paired"


def test_references_that_differ_give_away_other_channels(
    folders: dict[str, RunFolder], make_run: Any, tmp_path: Path
) -> None:
    references = "  references: [{name: gsa-zf}]\n"
    one, two = (make_run(tmp_path / name) for name in ("one", "two"))
    for folder in (one, two):
        folder.write_scenario(folder.scenario_text() + references)
    assert rate_difference(*contenders([RunData(one.path), RunData(two.path)])).how == "paired"
    rewrite(two, all_rates=1.2)
    found = rate_difference(*contenders([RunData(one.path), RunData(two.path)]))
    assert found.how == "not paired" and "gsa-zf" in found.reasons[0]


def test_a_run_that_was_cut_short_is_shown_with_what_it_has(
    folders: dict[str, RunFolder], tmp_path: Path, read_page: Any
) -> None:
    path = build_comparison(runs(folders, "first", "cut", "better"), tmp_path / "made", NOW)
    page = read_page(path)
    assert "cut is interrupted, not done" in page.text
    tested = page.table("Test")
    assert list(tested.index) == ["first", "cut", "better"]
    assert tested.loc["cut", "sum rate (bit/s/Hz)"] == "–"
    mean, error = (float(each) for each in tested.loc["better", "sum rate (bit/s/Hz)"].split(" ± "))
    own = sums(folders["better"])
    assert (mean, error) == pytest.approx((own.mean(), own.std() / math.sqrt(40)), abs=0.0051)
    against = page.table("Against first")
    assert against.loc["better", "how"] == "paired over 40 realisations"
    gap = own - sums(folders["first"])
    shown = [float(each) for each in against.loc["better"].iloc[0].split(" ± ")]
    assert shown == pytest.approx([gap.mean(), gap.std() / math.sqrt(40)], abs=0.0051)
    assert page.table("What differs in the scenarios").loc["downlink.loss_scheme.name"].tolist() == [
        "penalty",
        "penalty",
        "nfl",
    ]
    frames = pd.read_parquet(folders["first"].path / "backhaul.parquet").query("attempt == 0")
    assert page.table("Bytes on the wire").loc["first", "bytes"] == f"{frames['bytes'].sum():,}"
    numbers = json.loads((tmp_path / "made" / "comparison.json").read_text())
    assert numbers["sum_rate_minus_first"]["better"]["mean"] == pytest.approx(gap.mean())
    names = {each.name for each in (tmp_path / "made" / "figures").iterdir()}
    assert names == {f"{name}.{end}" for name in ("learning", "rates", "paired", "bytes") for end in ("pdf", "png")}
    assert not (folders["first"].path / "report.html").exists()


def test_curves_of_all_runs_stand_in_one_figure(folders: dict[str, RunFolder]) -> None:
    compared = contenders(runs(folders, "first", "better", "seed"))
    with style.journal():
        figure = comparison.draw_learning(compared)
        assert figure is not None
        axes = figure.axes[0]
        told = {curve["name"]: curve["data"] for curve in embed(style.lay_out(figure), "learning")[1]["curves"]}
    for each in compared:
        (test,) = (data for data in told[each.label] if data.get("what") == "test")
        assert test["y"] == pytest.approx([each.learned.sum_rate], rel=1e-5)  # type: ignore[union-attr]
    lines = {line.get_label(): line for line in axes.lines}
    for each in compared:
        own = each.run.metrics.query("phase == 'validation'")
        np.testing.assert_array_equal(lines[each.label].get_ydata(), own["sum_rate"])
    assert len({lines[each.label].get_color() for each in compared}) == 3


def heard(path: Path, errors: list[int], *, detector: str, drops: int = 10) -> RunFolder:
    """A run of an uplink with one service, which made so many errors in each burst of 50 symbols."""
    folder = RunFolder.create(path, "heard", NOW)
    folder.log("start")
    service = f"{{name: edge, detector: {{name: {detector}}}}}"
    downlink = "downlink: {algorithm: {name: none}}"
    folder.write_scenario(f"name: heard\nseed: 3\n{downlink}\nuplink: {{services: [{service}]}}\n")
    with folder.uplink_writer() as table:
        for burst, wrong in enumerate(errors):
            row = {
                "burst": burst,
                "service": "edge",
                "detector": detector,
                "cooperation": "local",
                "snr_db": 8.0 + 4 * (burst % 2),
            }
            row |= {"drop": burst % drops, "users": 5, "slots": 10, "symbols": 50, "active": 50, "symbol_errors": wrong}
            table.append({**row, "requests": 1, "latency_s": 1e-3})
    for writer in (folder.metrics_writer(), folder.backhaul_writer()):
        writer.close()
    folder.write_summary({"name": "heard", "seed": 3, "status": "done", "steps": 0, "uplink": {"services": []}})
    return folder


def test_services_that_heard_the_same_bursts_are_paired_over_drops(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    common = rng.integers(0, 20, 40)
    one, two = common + rng.integers(0, 3, 40), common + rng.integers(0, 6, 40)
    paths = [heard(tmp_path / "one", one.tolist(), detector="ep"), heard(tmp_path / "two", two.tolist(), detector="mf")]
    first, other = contenders([RunData(each.path) for each in paths])
    assert (first.label, other.label) == ("detector ep", "detector mf")
    found = error_difference(first, other, "edge")
    of_drop = pd.Series(two - one).groupby(np.arange(40) % 10).sum() / (4 * 50)  # drops are equally large
    assert (found.how, found.pairs) == ("paired", 40)
    assert (found.mean, found.error) == pytest.approx((of_drop.mean(), of_drop.std() / math.sqrt(10)))
    with style.journal():
        axes = comparison.draw_errors([first, other]).axes[0]  # type: ignore[union-attr]
    drawn = {each.get_label(): each.lines[0].get_ydata() for each in axes.containers}
    assert drawn["detector mf: edge"] == pytest.approx([two[0::2].sum() / 1000, two[1::2].sum() / 1000])


def test_bursts_over_recorded_channels_are_the_same_only_after_the_same_drops(tmp_path: Path) -> None:
    both = [heard(tmp_path / name, [2] * 40, detector="ep") for name in ("one", "other")]
    plain = [folder.scenario_text() for folder in both]
    for model, how in (("rayleigh", "paired"), ("trace", "not paired")):
        for folder, text, drops in zip(both, plain, (300, 200), strict=True):
            folder.write_scenario(f"{text}channel: {{model: {{name: {model}}}, realisations: {{train: {drops}}}}}\n")
        assert error_difference(*contenders([RunData(each.path) for each in both]), "edge").how == how


def test_drops_of_an_uplink_are_those_of_its_own_count_alone(tmp_path: Path) -> None:
    both = [heard(tmp_path / name, [2] * 40, detector="ep") for name in ("one", "other")]
    plain = [folder.scenario_text() for folder in both]
    for folder, text, drops in zip(both, plain, (300, 200), strict=True):
        folder.write_scenario(f"{text}channel: {{model: {{name: rayleigh}}, realisations: {{test: {drops}}}}}\n")
    found = contenders([RunData(each.path) for each in both])
    assert error_difference(*found, "edge").how == "paired" and remarks(found) == []
    for folder, text, drops in zip(both, plain, (300, 200), strict=True):
        folder.write_scenario(text.replace("uplink: {", f"uplink: {{realisations: {drops}, "))
    found = contenders([RunData(each.path) for each in both])
    assert error_difference(*found, "edge").reasons == ("uplink.realisations",)
    assert "uplink.realisations" in remarks(found)[0]


def test_an_uplink_beside_a_downlink_takes_nothing_from_its_rates(make_run: Any, tmp_path: Path) -> None:
    one, other = (make_run(tmp_path / name) for name in ("one", "other"))
    other.write_scenario(f"{other.scenario_text()}uplink: {{problem: mimo, constellation: qpsk}}\n")
    assert rate_difference(*contenders([RunData(one.path), RunData(other.path)])).how == "paired"


def test_what_differs_is_found_in_lists_too(tmp_path: Path) -> None:
    paths = [heard(tmp_path / name, [1, 2], detector=name) for name in ("ep", "mf")]
    assert differences([RunData(each.path) for each in paths]) == {"uplink.services[edge].detector.name": ["ep", "mf"]}


def test_a_comparison_goes_nowhere_else(
    folders: dict[str, RunFolder], tmp_path: Path, capsys: Any, unrendered: None
) -> None:
    first, better = (str(folders[name].path) for name in ("first", "better"))
    before = sorted(Path(first).iterdir())
    for out, said in {
        first: "is the folder of a run",
        str(Path(first).parent): "is not empty",
        f"{first}/run.log": "is a file",
    }.items():
        assert main(["report", first, better, "--out", out]) == 2
        assert said in capsys.readouterr().err
    assert sorted(Path(first).iterdir()) == before
    for _ in range(2):  # an earlier comparison is replaced
        assert main(["report", first, better, "--out", str(tmp_path / "a" / "b")]) == 0
    assert capsys.readouterr().out.splitlines()[0] == str(tmp_path / "a" / "b" / "report.html")


def test_runs_are_found_by_name_and_the_default_folder_is_no_run(
    folders: dict[str, RunFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, unrendered: None
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for name in ("first", "seed"):
        (tmp_path / "runs" / name).symlink_to(folders[name].path)
    assert main(["report", "first", "seed"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("runs/comparison-") and (tmp_path / said.out.strip()).is_file()
    assert "another seed" in said.err
    assert main(["status", "--json"]) == 0
    assert sorted(run["run"] for run in json.loads(capsys.readouterr().out)) == ["first", "seed"]
    everything = [str(folder) for folder in Path("runs").iterdir()]  # as a shell has runs/*
    for words in (["report", *everything, "--out", "again"], ["export", *everything, "--to", "csv", "--out", "tables"]):
        assert main(words) == 0
        assert "holds a comparison, and is left out" in capsys.readouterr().err
    assert set(pd.read_csv("tables/summary.csv")["run"]) == {"first", "seed"}
    assert main(["report", "again", "again"]) == 2
    assert "found comparisons only" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["first", "first"], "twice"),
        (["first", "frist"], "there is no such run"),
        (["first", "--out", "x"], "--out is for a comparison"),
        (["first", "better", "--out", ""], "--out: found nothing"),
        (["first", "empty"], "is no run folder"),
        ([], "required: RUN"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    folders: dict[str, RunFolder],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(folders["first"].path.parent)
    Path("empty").mkdir(exist_ok=True)
    assert main(["report", *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_too_many_runs_and_damaged_ones_are_refused_before_anything_is_written(
    folders: dict[str, RunFolder], make_run: Any, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="found 13 runs; allowed: 2 to 12"):
        build_comparison(runs(folders, *["first"] * 13), tmp_path / "made", NOW)
    broken = make_run(tmp_path / "broken")
    (broken.path / "rates.parquet").write_bytes(b"no table")
    with pytest.raises(RunFolderError, match="rates"):
        build_comparison([*runs(folders, "first"), RunData(broken.path)], tmp_path / "made", NOW)
    assert not (tmp_path / "made").exists()


def test_labels_tell_runs_apart_in_as_few_words_as_may_be(
    folders: dict[str, RunFolder], make_run: Any, tmp_path: Path
) -> None:
    def told(*names: str) -> list[str]:
        return [each.label for each in contenders(runs(folders, *names))]

    assert told("first", "seed") == ["seed 7", "seed 8"]
    assert told("first", "better", "seed") == [
        "loss scheme penalty, seed 7",
        "loss scheme nfl, seed 7",
        "loss scheme penalty, seed 8",
    ]
    assert told("first", "cut") == ["first", "cut"]  # their scenarios are the same
    other = RunData(make_run(tmp_path / "other", name="a-scenario-of-another-name-that-is-long").path)
    labels = [each.label for each in contenders([*runs(folders, "first", "seed"), other])]
    assert labels == ["synthetic, seed 7", "synthetic, seed 8", "a-scenario-of-another-name-…"]
