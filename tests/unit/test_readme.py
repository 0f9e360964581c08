"""What the README says of the project is so; what it shows is run with the manual's pages (`tests/unit/docs`)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from manual import PAGES, ROOT, blocks

from cellfree_sim import load_scenario
from cellfree_sim.studies.study import list_studies

README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
MOST_IMAGE_BYTES = 200_000


def test_the_scenario_is_the_shipped_one() -> None:
    scenario = next(block for block in blocks(README) if block.language == "yaml")
    assert scenario.code == (ROOT / "scenarios" / "quickstart.yaml").read_text(encoding="utf-8")


def test_it_is_short() -> None:
    assert len(TEXT.splitlines()) <= 200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_images_lead_to_files_of_this_repository(page: Path) -> None:
    """Of the manual, the build checks links; not those of the README, nor the weight of images."""
    text = re.sub(r"^```(?!\{image\}).*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)", text) + re.findall(r"\{image\} (\S+)", page.read_text(encoding="utf-8"))
    for target in targets:
        if "://" not in target:
            file = page.parent / target
            assert file.is_file(), target
            assert file.suffix not in (".png", ".svg") or file.stat().st_size < MOST_IMAGE_BYTES, target


def test_every_image_is_shown_somewhere() -> None:
    shown = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    images = [file.name for file in (ROOT / "docs" / "images").iterdir() if file.suffix in (".png", ".svg")]
    assert [name for name in images if name not in shown] == []


def test_every_study_is_in_the_table_of_verdicts() -> None:
    """`fig6a`, `b`, `c` and `fig7` to `fig10` stand for all of them."""
    table = (ROOT / "docs" / "results" / "papers.md").read_text(encoding="utf-8")
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    for study in list_studies():
        paper, _, name = study.name.partition("/")
        own = " ".join(row for row in rows if f"`{paper}/" in row)
        number = re.fullmatch(r"fig(\d+)[abc]?", name)
        ranges = [range(int(a), int(b) + 1) for a, b in re.findall(r"fig(\d+)[a-c]?` to `(?:fig)?(\d+)`", own)]
        in_range = number is not None and any(int(number[1]) in each for each in ranges)
        letters = re.search(r"fig\d+", name)
        listed = f"{name}`" in own or (letters is not None and f"{letters[0]}a`, `b`, `c`" in own)
        assert listed or in_range, study.name


@pytest.mark.parametrize("file", sorted((ROOT / "scenarios").glob("**/*.yaml")), ids=lambda file: file.stem)
def test_every_shipped_scenario_says_what_it_shows(file: Path) -> None:
    assert re.match(r"# [A-Z].{20,}\.\n", file.read_text(encoding="utf-8"))
    assert load_scenario(file).name in (file.stem, f"{file.parent.name}-{file.stem}")
