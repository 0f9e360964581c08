"""What the README and the manual show, runs; and the manual builds without a warning."""

from __future__ import annotations

import doctest
import io
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from manual import PAGES, ROOT, RUN, Block, Command, blocks, commands, without_numbers

from cellfree_sim import load_scenario
from cellfree_sim.cli import main
from cellfree_sim.scenario import parse_assignments

CHEAPER = ("run", "sweep", "reproduce", "train")
SHELL = set("|>&;")
MATCHES = doctest.OutputChecker()
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
MakeRun = Callable[[Path], None]


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """Puts a small run of the quickstart scenario where it is asked for; it is made once."""
    folder = tmp_path_factory.mktemp("quickstart") / "run"
    sizes = "channel.realisations={train: 100, validation: 8, test: 8}"
    options = [f"--set={each}" for each in ("channel.model=rayleigh", sizes, "downlink.epochs=4")]

    def make(target: Path) -> None:
        if not folder.exists():
            with chdir(ROOT), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                assert main(["run", "quickstart", "--engine=inline", f"--out={folder}", *options]) == 0
        shutil.copytree(folder, target)

    return make


class Reader:
    """Does what a page says, in a folder of its own."""

    def __init__(self, page: Path, folder: Path, make_run: MakeRun) -> None:
        self.page = page
        self.folder = folder
        self.names: dict[str, object] = {"__name__": "page"}
        self._make_run = make_run

    def do(self, block: Block) -> None:
        for name in block.all_told("run "):
            self._make_run(self.folder / "runs" / name)
        for source in block.all_told("copy "):
            shutil.copytree(ROOT / source, self.folder, dirs_exist_ok=True)
        for change in block.all_told("replace "):
            before, after = change.split(" -> ")
            assert before in block.code, f"nothing to replace: {before}"
            block.code = block.code.replace(before, after)
        if block.file is not None:
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code, encoding="utf-8")
        getattr(self, f"_{block.language}")(block)

    def _yaml(self, block: Block) -> None:
        """A scenario, or a part of one where all else has its default."""
        path = self.folder / (block.file or "part.yaml")
        path.write_text(block.code, encoding="utf-8")
        load_scenario(path, overrides=parse_assignments(" ".join(block.all_told("with ")).split()))

    def _json(self, block: Block) -> None:
        import json

        json.loads(block.code)

    def _bash(self, block: Block) -> None:
        self._shell(block.code)

    def _python(self, block: Block) -> None:
        if block.file is not None:  # a module, which what follows imports
            compile(block.code, block.file, "exec")
            return
        out = io.StringIO()
        code = compile("\n" * block.line + block.code, str(self.page), "exec")
        with redirect_stdout(out), redirect_stderr(io.StringIO()):
            exec(code, self.names)
        if block.output is not None:
            self._compare(block.output, out.getvalue(), block)

    def _console(self, block: Block) -> None:
        for command in commands(block.code):
            self._command(command, block)

    def _command(self, command: Command, block: Block) -> None:
        own = SHELL & set(command.text.partition(" #")[0]) or "apart" in block.told
        if command.text.startswith("cellfree ") and not own:
            words = shlex.split(command.text, comments=True)[1:]
            argv = [path for word in words for path in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]
            argv += [option for each in block.all_told("add ") for option in shlex.split(each) if argv[0] in CHEAPER]
            out, err = io.StringIO(), io.StringIO()
            with redirect_stdout(out), redirect_stderr(err):
                status = main(argv)
            said = out.getvalue() if status == 0 else err.getvalue()
            refused = "cellfree: " in command.output
            assert (status != 0) == refused, f"{command.text}: exit status {status}\n{err.getvalue()}"
        else:
            said = self._shell(command.text)
        if command.output.strip():
            self._compare(command.output, said, block)

    def _shell(self, code: str) -> str:
        shim = self.folder / ".bin" / "cellfree"
        if not shim.exists():
            shim.parent.mkdir()
            shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m cellfree_sim "$@"\n')
            shim.chmod(0o755)
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": f"{shim.parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-euc", code], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _compare(self, shown: str, found: str, block: Block) -> None:
        if "numbers differ" in block.told:
            shown, found = without_numbers(shown), without_numbers(found)
        assert MATCHES.check_output(shown.strip() + "\n", found.strip() + "\n", FLAGS), f"{shown}\n--- but ---\n{found}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_shows_runs(
    page: Path, tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, unrendered: None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    reader = Reader(page, tmp_path, make_run)
    for block in blocks(page):
        if block.is_run:
            try:
                reader.do(block)
            except BaseException as error:
                error.add_note(f"in the block at {page.relative_to(ROOT)}:{block.line}")
                raise


def test_blocks_are_run_or_say_why_not() -> None:
    """No language but these, so that nothing that could run goes without; what is not run says so where people read."""
    for page in PAGES:
        for block in blocks(page):
            assert block.language in (*RUN, "text"), f"{page.name}:{block.line}: {block.language}"
            if block.caption.startswith("Not run"):
                assert "(" in block.caption, f"{page.name}:{block.line}"
            assert page.name == "README.md" or not block.all_told("not run"), "readers are told in a caption"


@pytest.mark.slow
def test_the_manual_builds_without_a_warning(tmp_path: Path) -> None:
    """Also: every link to a page or heading of the manual leads somewhere."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-W",
            "-n",
            "-q",
            "--keep-going",
            "-b",
            "html",
            "docs",
            str(tmp_path / "html"),
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    built = {path.relative_to(tmp_path / "html").with_suffix(".md") for path in (tmp_path / "html").rglob("*.html")}
    assert {page.relative_to(ROOT / "docs") for page in PAGES if page.is_relative_to(ROOT / "docs")} <= built
