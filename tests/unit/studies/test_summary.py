"""The page of all studies: what is on it, and that neither failures nor interruptions keep it from being written."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from cellfree_sim.cli import main
from cellfree_sim.errors import RunFailedError
from cellfree_sim.results.figures import style
from cellfree_sim.studies import Results, Study, Verdict, positive, register, study
from cellfree_sim.studies.points import Outcome
from cellfree_sim.studies.verdicts import Number, judged

ROWS = ({"algorithm": "formula", "flops": 3.0},)


def draw(results: Results) -> Any:
    figure, axes = style.new_figure(1, 1)
    axes.plot([0, 1], [0, 1])
    return figure


def judge(results: Results) -> list[Verdict]:
    numbers = [Number(f"gain <{index}>", float(index), 0.1, "dB") for index in range(12)]
    return [
        positive("Gains & losses.", numbers[1:]),
        judged("It is <b>good</b>.", "does not hold", "it is not", [Number("unknown", 1.0, float("nan"))]),
        judged("No one knows.", "undecided", "too few seeds"),
    ]


@pytest.fixture(autouse=True)
def _only_ours(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three studies without runs, the second of which can be told to go wrong."""
    study._discover()
    monkeypatch.setattr(study, "_STUDIES", {})
    monkeypatch.setattr(
        "cellfree_sim.studies.reproduce.run_tasks", lambda tasks, **_: [Outcome("done", rows=ROWS)] * len(tasks)
    )
    first = register(Study("mine/a", "The first", draw, judge, scenario=str(tiny), evaluate=lambda _: [*ROWS]))
    register(replace(first, name="mine/b", title="The second", judge=lambda _: []))
    register(replace(first, name="other/c", title="The third", judge=lambda results: judge(results)[:1]))


def going_wrong(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def broken(_: Results) -> Any:
        raise error

    monkeypatch.setitem(study._STUDIES, "mine/b", replace(study._STUDIES["mine/b"], draw=broken))


def text_of(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.partition("<body>")[2])).split())


def test_all_studies_are_on_one_page_that_needs_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", "all", "--out", str(tmp_path), "--quiet"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line for line in told if line.startswith("all ")] == [f"all studies  {tmp_path / 'summary.html'}"] * 3
    page = (tmp_path / "summary.html").read_text(encoding="utf-8")
    text = text_of(page)
    assert "Papers reproduced complete scale quick" in text
    assert "holds 2 of 4 claims does not hold 1 of 4 claims cannot hold 0 of 4 claims undecided 1 of 4" in text
    assert "The first" in text and "The second" in text and "The third" in text
    assert "holds Gains & losses." in text and "does not hold It is <b>good</b>." in text
    assert "and 3 more, in verdict.json" in text and "Again: cellfree reproduce mine/a --scale quick" in text
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    files = [(tmp_path / name / "quick" / f"{name[-1]}.png").read_bytes() for name in ("mine/a", "mine/b", "other/c")]
    assert [base64.b64decode(picture) for picture in pictures] == files
    targets = re.findall(r'href="([^"#:]+)"', page)
    assert len(targets) == 12 and all((tmp_path / target).is_file() for target in targets)
    assert not re.search(r'(src|href)="https?:', page)


def test_the_same_for_repositories(tmp_path: Path) -> None:
    assert main(["reproduce", "all", "--out", str(tmp_path), "--quiet", "--json"]) == 0
    text = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert "| mine | 2 of 2 | 1 | 1 | 0 | 1 |" in text and "| all | 3 of 3 | 2 | 1 | 0 | 1 |" in text
    assert "- **undecided**: No one knows. *too few seeds*" in text
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert "mine/a/quick/a.png" in targets and all((tmp_path / target).is_file() for target in targets)


def test_one_that_fails_does_not_stop_the_others_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    going_wrong(monkeypatch, RunFailedError("no paper is left"))
    assert main(["reproduce", "all", "--out", str(tmp_path), "--quiet", "--json"]) == 1
    out, err = capsys.readouterr()
    assert [each["study"] for each in json.loads(out)] == ["mine/a", "other/c"]
    assert err == "cellfree: error: mine/b: no paper is left\n"
    text = text_of((tmp_path / "summary.html").read_text(encoding="utf-8"))
    assert "incomplete" in text and "mine/b: no paper is left" in text and "The third" in text
    monkeypatch.setitem(study._STUDIES, "mine/b", replace(study._STUDIES["mine/b"], draw=draw))
    assert main(["reproduce", "mine/b", "--out", str(tmp_path), "--quiet"]) == 0
    assert "no paper is left" not in (tmp_path / "summary.html").read_text(encoding="utf-8")


def test_an_interrupted_round_has_a_page_and_it_can_be_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    going_wrong(monkeypatch, KeyboardInterrupt())
    assert main(["reproduce", "all", "--out", str(tmp_path), "--quiet"]) == 130
    before = (tmp_path / "summary.html").read_text(encoding="utf-8")
    assert "The first" in before and "The third" not in before and "incomplete" in before
    (tmp_path / "summary.html").unlink()
    capsys.readouterr()
    assert main(["reproduce", "--summary", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'summary.html'}\n"
    assert (tmp_path / "summary.html").read_text(encoding="utf-8") == before
    (tmp_path / "mine/a/quick/verdict.json").write_text("{")
    assert main(["reproduce", "--summary", "--out", str(tmp_path)]) == 0
    assert "is damaged, JSON expected" in (tmp_path / "summary.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--summary", "mine/a"], "--summary is of all studies; leave out STUDY"),
        (["--summary", "--out", "nowhere"], "--out: nowhere: no such folder"),
        (["all", "--address", "127.0.0.1:1"], "--address 127.0.0.1:1: no Ray cluster answers there"),
    ],
)
def test_refusals(words: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["reproduce", "--quiet", *words, *([] if "nowhere" in words else ["--out", str(tmp_path)])]) == 2
    captured = capsys.readouterr()
    assert says in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_the_list_fits_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", "mine/a", "--out", str(tmp_path), "--quiet"]) == 0
    capsys.readouterr()
    long = replace(study._STUDIES["mine/b"], title="A title of very many words " * 5)
    monkeypatch.setitem(study._STUDIES, "mine/b", long)
    for columns in (80, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert main(["reproduce", "--list", "--out", str(tmp_path)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(len(line) for line in lines) <= columns
        assert lines[:2] == [
            "mine/a   The first",
            "         quick: 1 holds, 1 does not hold, 1 undecided",
        ]
        assert lines[-1] == "         not yet run"
