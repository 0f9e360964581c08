"""Reads the manual and the README: their code blocks, and what tests are told about them.

Every block of `python`, `console`, `bash`, `yaml` and `json` is run, in the order of its page and in one folder per
page, unless its caption begins with "Not run". A caption that is a file name puts the block into that file. What a
`python` block prints is in the `text` block right behind it. A comment right above a block (``% test: …``, in the
README ``<!-- test: … -->``) makes it cheaper, and says so:

    add OPTIONS             more options for each `cellfree run`, `sweep`, `reproduce` and `train`
    with KEY=VALUE …        for `yaml`: overrides of the scenario that the block is a part of
    replace A -> B          in the block
    copy FOLDER             before: the files of a folder of this repository lie there
    apart                   in a process of its own, since it imports modules
    run NAME                before: a small run of the quickstart scenario lies in runs/NAME
    not run (WHY)           in the README, which has no captions
    numbers differ          from what the page shows, and nothing else does
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN = ("python", "console", "bash", "yaml", "json")
_FENCE = re.compile(r"^(?P<fence>`{3,})(?:\{(?P<directive>[a-z-]+)\} *)?(?P<language>\S*) *$")
_COMMENT = re.compile(r"^(?:%|<!--) test: (.*?)(?: -->)?$")
_NUMBER = re.compile(r"[-+−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")


@dataclass
class Block:
    """A code block of a page.

    Attributes:
        line: of its fence, from 1.
        told: what the comments above it say.
        output: of a `python` block, what it prints; None where the page does not say.
    """

    line: int
    language: str
    code: str
    caption: str = ""
    told: list[str] = field(default_factory=list)
    output: str | None = None

    @property
    def is_run(self) -> bool:
        return self.language in RUN and not self.caption.startswith("Not run") and not self.all_told("not run")

    @property
    def file(self) -> str | None:
        """The file that the block is, if it is one."""
        return self.caption if re.fullmatch(r"[\w./-]+\.\w+", self.caption) else None

    def all_told(self, word: str) -> list[str]:
        return [each.removeprefix(word).strip() for each in self.told if each.startswith(word)]


@dataclass(frozen=True)
class Command:
    """A line after a prompt, and what it prints."""

    text: str
    output: str


def blocks(page: Path) -> list[Block]:
    """All code blocks of a page, in order."""
    found: list[Block] = []
    told: list[str] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    at, free = 0, True
    while at < len(lines):
        opening = _FENCE.match(lines[at])
        if opening is None:
            comment = _COMMENT.match(lines[at])
            if comment:
                told += [comment[1]]
            elif lines[at].strip():
                told, free = [], True
            at += 1
            continue
        end = next(i for i in range(at + 1, len(lines)) if lines[i] == opening["fence"])
        body = lines[at + 1 : end]
        block = Block(at + 1, opening["language"], "", told=told)
        if opening["directive"] == "code-block":
            while body and (option := re.match(r":(\w+): *(.*)$", body[0])):
                block.caption = option[2] if option[1] == "caption" else block.caption
                body = body[1:]
            body = body[1:] if body and not body[0] else body
        block.code = "\n".join(body) + "\n"
        previous = found[-1] if found and not free else None
        if block.language == "text" and previous is not None and previous.language == "python":
            previous.output = block.code
        if opening["directive"] in (None, "code-block"):
            found.append(block)
        told, free, at = [], False, end + 1
    return found


def commands(code: str) -> list[Command]:
    """The commands of a `console` block."""
    found: list[Command] = []
    for part in re.split(r"^\$ ", code, flags=re.MULTILINE)[1:]:
        lines = part.split("\n")
        typed = [lines.pop(0)]
        while typed[-1].endswith("\\"):
            typed.append(lines.pop(0))
        found.append(Command("\n".join(typed), "\n".join(lines)))
    return found


def without_numbers(text: str) -> str:
    """Every number as #, however long, and every gap as one space."""
    return " ".join(_NUMBER.sub("#", text).split())
