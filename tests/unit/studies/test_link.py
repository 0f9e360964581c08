"""Links measured at single points: the rows, paired differences, and what a scenario may say of them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from cellfree_sim.detection import create_detector
from cellfree_sim.errors import DetectorError, ScenarioError, UserError
from cellfree_sim.scenario import load_scenario
from cellfree_sim.studies import Results
from cellfree_sim.studies.link import below, evaluate
from cellfree_sim.studies.points import Outcome
from cellfree_sim.studies.runner import tasks_of
from cellfree_sim.studies.verdicts import positive
from cellfree_sim.uplink import MimoProblem, error_rates

LINK = """\
seed: 3
link:
  problem: {n_rx: 8, n_tx: 4, constellation: qpsk, correlation: 0.5, correlated: receive, csi_error: 0.01}
  detectors: [zf, lmmse, {name: kbest, survivors: 16}, {name: kbest, survivors: 64}]
  snr_db: [4, 8]
  slots_max: 1500
  target_errors: 150
  batch: 100
"""


def scenario(tmp_path: Path, text: str = LINK):
    file = tmp_path / "link.yaml"
    file.write_text(text)
    return load_scenario(file)


def test_rates_are_those_of_error_rates(tmp_path):
    rows = evaluate(scenario(tmp_path))
    problem = MimoProblem(8, 4, constellation="qpsk", correlation=0.5, correlated="receive", csi_error=0.01)
    assert len(rows) == 8
    for row in rows:
        name, _, options = row["algorithm"].partition(" ")
        chosen = {"survivors": 16} if options == "(survivors 16)" else {}
        expected = error_rates(
            problem,
            create_detector(name, problem, **chosen),
            row["snr_db"],
            slots_max=1500,
            target_errors=150,
            seed=3,
            batch=100,
        )
        assert row["ser"] == pytest.approx(expected.ser.value, rel=1e-12)
        assert (row["slots"], row["errors"]) == (expected.slots, expected.ser.errors)
        assert row["ser_error"] == pytest.approx(expected.ser.standard_error, rel=0.05)
        assert row["cpu_us_per_slot"] > 0 and not row["learned"]
    assert json.loads(json.dumps(rows)) == rows


def test_differences_are_paired_over_the_slots_that_both_got(tmp_path):
    rows = {row["algorithm"]: row for row in evaluate(scenario(tmp_path)) if row["snr_db"] == 8.0}
    first, second = rows["zf"], rows["lmmse"]
    assert first["minus lmmse"] == -second["minus zf"]
    assert first["minus lmmse, error"] == second["minus zf, error"]
    assert first["slots"] < second["slots"]  # zero-forcing has its errors sooner
    problem = MimoProblem(8, 4, constellation="qpsk", correlation=0.5, correlated="receive", csi_error=0.01)
    wrong = {}
    from cellfree_sim.seeds import integer

    for name in ("zf", "lmmse"):
        generator = torch.Generator().manual_seed(integer(3, "error-rates", "8.0"))
        parts = []
        for _ in range(first["slots"] // 100):
            batch = problem.sample(100, 8.0, generator=generator)
            found = create_detector(name, problem)(batch.y, batch.h_known, batch.noise_variance).messages
            parts.append((found != batch.messages).double().mean(dim=1))
        wrong[name] = torch.cat(parts)
    gap = wrong["zf"] - wrong["lmmse"]
    assert first["minus lmmse"] == pytest.approx(gap.mean().item(), abs=1e-12)
    assert first["minus lmmse, error"] == pytest.approx(gap.std().item() / math.sqrt(len(gap)))
    assert first["minus lmmse, error"] < math.hypot(first["ser_error"], second["ser_error"])  # pairing helps


def test_errors_of_fading_blocks_count_the_blocks(tmp_path):
    rows = evaluate(
        scenario(
            tmp_path, LINK.replace("csi_error: 0.01", "block: 10").replace("target_errors: 150", "target_errors: null")
        )
    )
    problem = MimoProblem(8, 4, constellation="qpsk", correlation=0.5, correlated="receive", block=10)
    for row in rows[:2]:
        detector = create_detector(row["algorithm"], problem)
        rate = error_rates(problem, detector, 4.0, slots_max=1500, target_errors=None, seed=3, batch=100).ser
        assert (row["ser"], row["slots"]) == (pytest.approx(rate.value, rel=1e-12), 1500)
        assert row["ser_error"] == pytest.approx(rate.standard_error, rel=0.02)
        independent = math.sqrt(rate.value * (1 - rate.value) / rate.trials)
        assert row["ser_error"] > 1.15 * independent


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("correlated: receive", "correlated: none", "correlation: found 0.5, but correlated is none"),
        ("n_tx: 4", "channel: awgn", "correlated: found receive with the channel awgn; allowed: none"),
        ("qpsk", "qam32", "constellation"),
        ("[zf, lmmse,", "[zf, zf,", "detectors[1]: found zf again"),
        ("[zf,", "[zeroforcing,", "zeroforcing"),
        ("csi_error: 0.01", "block: 2000", "slots_max: found 1500; allowed: at least one block of 2000 slots"),
        ("snr_db: [4, 8]", "snr_db: []", "snr_db"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path, old, new, message):
    with pytest.raises(ScenarioError) as caught:
        scenario(tmp_path, LINK.replace(old, new))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value).strip()


def test_a_scenario_without_a_link_and_one_that_nothing_serves(tmp_path):
    with pytest.raises(UserError, match="link: not given"):
        evaluate(scenario(tmp_path, "seed: 1\n"))
    text = LINK.replace("qpsk, correlation: 0.5, correlated: receive,", "qam256,")
    lost = text.replace("[zf, lmmse, {name: kbest, survivors: 16}, {name: kbest, survivors: 64}]", "[re-mimo]")
    with pytest.raises(UserError, match=r"link.detectors: none can serve: detector 're-mimo'"):
        evaluate(scenario(tmp_path, lost))
    rows = evaluate(scenario(tmp_path, lost.replace("[re-mimo]", "[re-mimo, lmmse]")))
    assert rows[0]["algorithm"] == "re-mimo" and "re-mimo" in rows[0]["note"]
    assert [row["algorithm"] for row in rows[1:]] == ["lmmse", "lmmse"]


SHIPPED = """\
link:
  problem: {n_rx: 64, n_tx: 16}
  detectors: [oampnet2, {name: re-mimo, checkpoint: re-mimo-receive}, lmmse]
  snr_db: [8]
  slots_max: 40
"""


def test_rows_say_in_what_a_network_was_trained_otherwise(tmp_path):
    rows = {row["algorithm"]: row for row in evaluate(scenario(tmp_path, SHIPPED))}
    assert rows["re-mimo"]["trained_otherwise"] == "found correlated none; allowed: receive"
    assert rows["oampnet2"]["trained_otherwise"] == rows["lmmse"]["trained_otherwise"] == ""


@pytest.mark.parametrize(
    ("name", "found"), [("re-mimo-recieve", "no such file or shipped detector"), ("oampnet2-iid", "trained as")]
)
def test_a_checkpoint_that_cannot_serve_is_a_mistake(tmp_path, name, found):
    with pytest.raises(DetectorError, match=f"detector 're-mimo': checkpoint: found '{name}',.*{found}"):
        evaluate(scenario(tmp_path, SHIPPED.replace("re-mimo-receive", name)))


def compared(*points: tuple[float, int, int], slots: int = 10_000) -> Results:
    """Results of two detectors, a and b, whose errors at each SNR are given; as if slots were one symbol each."""
    from cellfree_sim.scenario import expand, find_scenario, read_scenario

    rows = []
    for snr_db, a, b in points:
        for label, other, mine, theirs in (("a", "b", a, b), ("b", "a", b, a)):
            rows.append(
                {
                    "algorithm": label,
                    "learned": False,
                    "snr_db": snr_db,
                    "errors": mine,
                    "ser": mine / slots,
                    "ser_error": math.sqrt(mine) / slots,
                    f"minus {other}": (mine - theirs) / slots,
                    f"minus {other}, error": math.sqrt(mine + theirs) / slots,
                }
            )
    point = expand(read_scenario(find_scenario("papers/re-mimo/fig13")), quick=True)[:1]
    return Results("made up", "quick", tasks_of(point, Path("nowhere")), [Outcome("done", rows=tuple(rows))])


def test_points_where_only_the_better_one_errs_count():
    """At 15 dB b has too few errors to be the unit, and refutes that a has fewer."""
    results = compared((10.0, 200, 300), (15.0, 400, 5))
    case = results.cases[0]
    first, second = below(results, case, "a", "b")
    assert (first.value, first.unit) == (pytest.approx(1 / 3), "of the SER of b")
    assert (second.value, second.unit) == (pytest.approx(-395 / 400), "of the SER of a")
    assert second.sign == -1
    assert positive("a beats b.", [first, second]).verdict == "does not hold"
    on_par = below(results, case, "a", "b", within=0.2)
    assert [number.value for number in on_par] == [pytest.approx(1 / 3 + 0.2), pytest.approx(-394 / 400)]
    assert on_par[1].unit == "of the SER of a, plus 0.2 of that of b"
    assert on_par[1].error > second.error


def test_points_of_few_errors_and_of_one_detector_are_left_out():
    results = compared((10.0, 200, 300), (15.0, 7, 3))
    case = results.cases[0]
    assert [number.what for number in below(results, case, "a", "b")] == [f"b minus a, {case}, 10 dB"]
    results = compared((10.0, 200, 300))
    results.ended[0].outcome.rows[0]["snr_db"] = 9.0  # b alone at 10 dB
    assert [number.known for number in below(results, case, "a", "b")] == [False]
