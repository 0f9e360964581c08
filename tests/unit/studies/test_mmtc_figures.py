"""DL-mAMPnet's figures on made-up error rates: drawn, and judged as the rates were made for."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from cellfree_sim.errors import UserError
from cellfree_sim.results.figures import style
from cellfree_sim.scenario import expand, find_scenario, read_scenario
from cellfree_sim.studies import Results, find_study
from cellfree_sim.studies.dl_mampnet import curves, visual
from cellfree_sim.studies.points import Outcome, settled
from cellfree_sim.studies.runner import tasks_of

CURVES = ["fig7", "fig8", "fig9"]
FACTORS = {  # of the genie bound's error rate
    "amp": 60.0, curves.DAMPED: 3.0, "amp-section": 2.5, "covariance": 4.0, "covariance (threshold quarter)": 2.0,
    "map-cd": 1.2, "amp-net": 2.0, "cov-net": 1.3, "dl-mampnet": 8.0, "genie": 1.0,
}  # fmt: skip


@cache
def points_of(name, quick=True):
    """The points of a study's scenario."""
    return expand(read_scenario(find_scenario(f"papers/dl-mampnet/{name}")), quick=quick)


def made_up(name, factors=FACTORS, error=0.02, floor=0.003, growth=2.0, fall=0.6):
    """Rates that fall with samples and antennas; with β/2 the covariance method ends at a floor.

    Two bits make `growth` times the errors of one.
    """
    outcomes = []
    for point in points_of(name):
        link = point.scenario.link
        problem = link.problem
        base = 2e-3 * fall ** (problem.pilot_length / 20 + problem.antennas / 16) * growth ** (problem.bits - 1)
        labels = [label for label in (*link.labelled(), "genie") if label in factors]
        rates = {label: base * factors[label] for label in labels}
        if "covariance" in rates:
            rates["covariance"] = max(rates["covariance"], floor * growth ** (problem.bits - 1))
        rows = []
        for label, rate in rates.items():
            row = {"algorithm": label, "learned": "net" in label, "snr_db": 0.0, "slots": 1000, "errors": 900}
            row |= {"ser": rate, "ser_error": error * rate, "activity": 0.1, "activity_error": 0.001}
            for other, theirs in rates.items():
                if other != label:
                    row |= {f"minus {other}": rate - theirs, f"minus {other}, error": error * max(rate, theirs)}
            rows.append(row)
        outcomes.append(Outcome("done", rows=tuple(rows)))
    return Results(f"dl-mampnet/{name}", "quick", tasks_of(points_of(name), Path("nowhere")), outcomes)


def words(results):
    return {verdict.claim: verdict.verdict for verdict in find_study(results.name).judge(results)}


def drawn(results):
    with style.journal():
        return find_study(results.name).draw(results)


@pytest.mark.parametrize("name", CURVES)
def test_figures_have_all_lines_and_that_of_nobody_found(name):
    results = made_up(name)
    figure = drawn(results)
    shown = {text.get_text() for text in figure.legends[-1].get_texts()}
    named = {label for point in points_of(name) for label in point.scenario.link.labelled()} | {"genie"}
    assert shown == {curves.LOOKS[label].label for label in named} | {"nobody is found"}
    for axes in figure.axes:
        assert any(np.allclose(line.get_ydata(), 0.1) for line in axes.lines) and axes.get_yscale() == "log"


def test_verdicts_follow_the_rates():
    length = words(made_up("fig7"))
    undamped = "Ours: damping and the prior mend AMP as printed, at every point."
    assert list(length.values())[:4] == ["holds", "holds", "holds", "does not hold"]
    assert set(list(length.values())[4:]) == {"holds"}
    other = words(made_up("fig7", {**FACTORS, "amp": 2.0, "dl-mampnet": 1.0, "cov-net": 5.0}, floor=0.0))
    assert list(other.values())[3:6] == ["holds", "does not hold", "does not hold"]
    assert other[undamped] == "does not hold" and list(other.values())[-1] == "does not hold"
    assert set(words(made_up("fig7", error=3.0)).values()) == {"undecided"}
    assert list(words(made_up("fig8")).values())[:4] == ["holds", "holds", "holds", "undecided"]
    rising = words(made_up("fig8", floor=0.0, fall=1.5))
    assert list(rising.values())[:2] == ["does not hold", "does not hold"]
    assert list(words(made_up("fig9")).values())[:2] == ["holds", "undecided"]
    assert next(iter(words(made_up("fig9", growth=0.5)).values())) == "does not hold"


def test_few_errors_are_no_unit():
    """Ten errors against three: the rate of three is none to measure by, and that of ten is; three against three say
    nothing."""
    for errors, known in ((10, True), (3, False)):
        results = made_up("fig9", {"map-cd": 1.0, "genie": 0.5})
        for each in results.ended:
            for row in each.outcome.rows:
                row["errors"] = errors if row["algorithm"] == "map-cd" else 3
        first = curves.below(results, "bits-1", curves.LENGTH, "map-cd", "genie", within=0.7)[0]
        assert first.known == known
        if known:
            assert first.value == pytest.approx(-0.5 + 0.7 * 0.5) and first.unit == "of the SER of map-cd"


def test_the_network_that_ships_is_measured_where_it_fits():
    small = [point for point in points_of("fig7") if point.case == "small"]
    served = []
    for point in small:
        link = point.scenario.link
        tiny = link.model_copy(update={"frames_max": 2, "detectors": link.detectors[-1:]})
        rows = find_study("dl-mampnet/fig7").evaluate(point.scenario.model_copy(update={"link": tiny}))
        served += [link.problem.pilot_length for row in rows if row["algorithm"] == "dl-mampnet" and "ser" in row]
    assert served == [12]


@pytest.fixture(scope="module")
def looked_into():
    """Figure 10 with a network that was hardly trained."""
    point = points_of("fig10")[0]
    scenario = settled(point.scenario)
    training = scenario.uplink.training.model_copy(update={"iterations": 14, "batch": 8, "report_every": 7})
    uplink = scenario.uplink.model_copy(update={"training": training})
    link = scenario.link.model_copy(update={"frames_max": 200, "batch": 100})
    rows = visual.evaluate(scenario.model_copy(update={"uplink": uplink, "link": link}))
    return Results("dl-mampnet/fig10", "quick", tasks_of([point], Path("nowhere")), [Outcome("done", rows=tuple(rows))])


def test_maps_are_of_one_frame_and_drawn(looked_into):
    maps = visual.maps_of(looked_into)
    assert {name: each.shape for name, each in maps.items()} == {
        "estimate": (40, 2), "truth": (40, 2), "kept": (40, 1), "decided": (40, 1), "sent": (40, 1),
    }  # fmt: skip
    sent = maps["sent"][:, 0]
    assert sent.sum() == 4 and (sent[:20] == sent[20:]).all()  # two devices, both parts of each
    assert ((maps["truth"] > 0).any(axis=1) <= (sent > 0)).all()
    kept = maps["kept"].reshape(20, 2)
    assert ((kept > 0).sum(axis=1) <= 1).all()  # of each device, in each part
    assert len(drawn(looked_into).axes) == 5
    verdicts = find_study("dl-mampnet/fig10").judge(looked_into)
    assert [verdict.verdict for verdict in verdicts][4:] == ["holds", "holds"]  # it has learned nothing yet
    assert verdicts[3].verdict == "does not hold"


def test_shares_are_those_of_frames_by_hand():
    """One device of two pilots in two frames: it sends the first; then it is silent."""
    messages = torch.tensor([[1], [0]])
    estimate = torch.tensor([[[3.0, 1.0, 0.0, 0.0]], [[1.0, 0.0, 0.0, 0.0]]])
    kept = torch.tensor([[3.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.5, 0.0]])  # apart: real part first, imaginary second
    sent = visual._parts(messages, 2)
    rows = visual._shares(estimate, kept, torch.tensor([[1], [2]]), messages, sent)
    found = {row["share"]: row["value"] for row in rows}
    assert sent.tolist() == [[1, 0, 1, 0], [0, 0, 0, 0]]
    assert found == pytest.approx(
        {"energy": 0.9, "two pilots kept, active": 1.0, "two pilots kept, silent": 0.0, "sent pilot kept": 1.0,
         "right frames": 0.5}
    )  # fmt: skip


def test_a_scenario_without_the_training_is_refused():
    with pytest.raises(UserError, match=r"uplink\.training: found none of dl-mampnet"):
        visual.evaluate(points_of("fig10")[0].scenario.model_copy(update={"uplink": None}))
