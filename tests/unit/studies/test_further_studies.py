"""DATL, backhaul and generalisation on made-up rates: each is drawn, and says what the rates were made to say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cellfree_sim.results.figures import style
from cellfree_sim.scenario import Point, expand, find_scenario, read_scenario
from cellfree_sim.studies import Results, find_study
from cellfree_sim.studies.cmtssl.datl import relative
from cellfree_sim.studies.points import Outcome
from cellfree_sim.studies.runner import tasks_of

REALISATIONS = 40
BYTES = {"gradient": 3e9, "gradient-cached": 2e9, "outputs": 6e9, "outputs-cached": 5e9, "cmtssl": 1e8}


def made_up(name: str, level: Callable[[Point, str], float], seeds: Sequence[int] = (1, 2)) -> Results:
    """Results of a study at quick scale: each algorithm's sum rates are around what `level` says."""
    study = find_study(name)
    points = expand(read_scenario(find_scenario(study.scenario_name)), quick=True, seeds=seeds)
    tasks = tasks_of(points, Path("nowhere"))
    outcomes = [Outcome("done") for _ in tasks]
    results = Results(name, "quick", tasks, outcomes, study.columns and _columns)
    for each in results.ended:
        users = each.point.scenario.network.users.count
        hard = np.random.default_rng(each.point.seed).normal(0, 2, REALISATIONS)
        algorithms = [each.learned, *(reference.name for reference in each.point.scenario.downlink.references)]
        each.__dict__["rates"] = {
            algorithm: np.repeat((level(each.point, algorithm) + hard)[:, None] / users, users, axis=1)
            for algorithm in algorithms
        }
        bits = {"float32": 32, "int8": 9}.get(each.point.at.get("backhaul.precision"), 16)
        each.__dict__["summary"] = {
            "steps": 60,
            "simulated_seconds": 1.0,
            "downlink": {
                "parameters": {"mbs": 1},
                "flops": {"mbs": 1},
                "power_violation": 0.0,
                "injection": [{"transfer_bytes": 1e5}],
            },
            "backhaul": {
                "training_bytes": BYTES.get(each.point.case, 1e9) * bits / 32,
                "execution_bytes_per_realisation": 1.2e4 * bits / 32 if each.point.case == "cmtssl" else 0.0,
            },
        }
    return results


def _columns(each: Any) -> dict[str, Any]:
    times = {f"training_seconds_{name}": seconds for name, seconds in (("100_mbps", 9), ("1_gbps", 2), ("10_gbps", 1))}
    return {"scalar_loss_training_bytes": 1e9, **times}


def check(results: Results, folder: Path) -> dict[str, str]:
    """Draw and judge; verdicts by claim."""
    study = find_study(results.name)
    with style.journal():
        png = style.save(study.draw(results), folder, "figure")
    assert png.read_bytes().startswith(b"\x89PNG") and png.stat().st_size > 20_000
    verdicts = list(study.judge(results))
    assert all(verdict.reason and verdict.numbers for verdict in verdicts)
    assert not any("not measured" in verdict.reason and verdict.verdict == "undecided" for verdict in verdicts[:1])
    return {verdict.claim: verdict.verdict for verdict in verdicts}


def words(verdicts: dict[str, str], part: str) -> set[str]:
    return {word for claim, word in verdicts.items() if part in claim}


def test_datl_tells_distance_from_the_worth_of_any_copy(tmp_path: Path) -> None:
    """Near copies are better where stations differ; in the regular layout all copies are alike."""
    levels = {"nearest": 19.6, "farthest": 19.0, "random": 19.3, "untrained": 16, "without": 15, "retrained": 20}

    def level(point: Point, _: str) -> float:
        case = point.case.removeprefix("dense-")
        return 19.6 if point.at["network"] == "spaced" and case in ("farthest", "random") else levels[case]

    results = made_up("cmtssl/datl", level)
    loss = relative(results, "nearest", {"network": "corner"})
    whole = results.sum_rate("retrained", {"network": "corner"}).value
    assert loss.value == pytest.approx(-0.4 / whole) and loss.error == pytest.approx(0, abs=1e-12)
    verdicts = check(results, tmp_path)
    assert words(verdicts, "loses less than 5 %") == {"holds"}
    assert words(verdicts, "stations differ, the nearest") == {"holds"}
    assert words(verdicts, "stand regularly") == {"undecided"}
    assert words(verdicts, "better than an untrained") == words(verdicts, "serves better") == {"holds"}


def test_backhaul_tells_what_each_precision_leaves(tmp_path: Path) -> None:
    kept = {"float32": 20.0, "float16": 19.99, "bfloat16": 19.9, "int8": 18.0}
    results = made_up("cmtssl/backhaul", lambda point, name: kept[point.at["backhaul.precision"]] - (name == "gsa-zf"))
    verdicts = check(results, tmp_path)
    found = {bits: words(verdicts, f"Frames of {bits} ") for bits in kept}
    assert found == {"float32": set(), "float16": {"holds"}, "bfloat16": {"holds"}, "int8": {"does not hold"}}
    assert words(verdicts, "broadcasts the joint loss") == {"cannot hold"}
    assert words(verdicts, "Once trained, DMTSSL") == words(verdicts, "To learn, CMTSSL") == {"holds"}
    table = results.table
    assert {"training_seconds_1_gbps", "scalar_loss_training_bytes"} <= set(table.columns)
    assert table[table["learned"]]["training_seconds_1_gbps"].eq(2).all()


@pytest.mark.parametrize(("name", "trains"), [("datl", True), ("fig8a", True), ("generalisation", False)])
def test_verdicts_on_one_training_say_what_their_errors_lack(name: str, trains: bool) -> None:
    results = made_up(f"cmtssl/{name}", lambda point, _: 20.0, seeds=[1])
    of_rates = [each for each in find_study(results.name).judge(results) if "bytes" not in each.claim]
    assert {"without the scatter of training" in verdict.reason for verdict in of_rates} == {trains}


def test_generalisation_tells_where_a_policy_fails(tmp_path: Path) -> None:
    def level(point: Point, name: str) -> float:
        return {"gsa-zf": 21.0, "ascent": 24.0}.get(name, 20.0 if point.case == "side-300" else 22.0)

    verdicts = check(made_up("cmtssl/generalisation", level), tmp_path)
    assert words(verdicts, "outperforms GSA+ZF") == words(verdicts, "90 % of that of an ascent") == {"does not hold"}
    assert words(verdicts, "of the users get r_min") == {"holds"}
