"""Code that a scenario names as module:Class: found, checked and imported, with errors of one line.

Only who may import code makes an `Importer`: whoever reads a scenario that a person has given, and the processes of a
run, which are told what the run has imported. Trained files, checkpoints and frames are read without one.

A module is looked for on Python's path and in the scenario's folder. If both have one of that name the scenario is
refused, so that neither hides the other; modules of Python itself are no extensions. The folder goes to the end of
Python's path, for the modules beside it that the module imports.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from cellfree_sim.errors import ScenarioError
from cellfree_sim.registry import Named, Registry
from cellfree_sim.scenario.extensions import REGISTRIES, kind_of
from cellfree_sim.scenario.parts import ExtensionFile
from cellfree_sim.scenario.suggest import did_you_mean, listed, on_one_line
from cellfree_sim.sources import Source, find_below, find_on_path, is_standard, source_of

_log = logging.getLogger(__name__)
_imported: dict[str, Source] = {}
"""Modules that were imported here, as they were then."""


class Importer:
    """Imports the classes that one scenario names.

    Args:
        folder: of the scenario; None: modules are looked for on Python's path alone.
        recorded: what the scenario says of its modules: where they are, and their digests when a run began.
        only: modules that may be imported; None: any.
        announce: told of each module that is about to be imported from outside Python's packages.
    """

    def __init__(
        self,
        folder: Path | None = None,
        recorded: Sequence[ExtensionFile] = (),
        *,
        only: Collection[str] | None = None,
        announce: Callable[[str], None] | None = None,
    ) -> None:
        self._folder = folder
        self._recorded = {each.module: each for each in recorded}
        self._only = only
        self._announce = announce or _log.info
        self._found: dict[str, Source] = {}

    def resolve(self, registry: Registry[Any], reference: str) -> type[Named]:
        """The class that ``module:Class`` means, adopted by the registry.

        Raises:
            ValueError: there is none, or it is of another kind.
        """
        name, _, class_name = reference.partition(":")
        if self._only is not None and name not in self._only:
            options = " ".join(f"--allow {each}" for each in sorted({name, *self._recorded}))
            raise ValueError(f"found '{reference}', which is code; allow it with: {options}")
        source = self._source(name)
        known = registry.outside().get(reference)
        if known is not None and known.source == source:
            return known
        module = self.module(name, source)
        option = getattr(module, class_name, None)
        if not isinstance(option, type):
            there = self.extensions(name)
            hint = did_you_mean(class_name, there)
            raise ValueError(f"{source.file} has no class '{class_name}'; there are {listed(there) or 'none'}{hint}")
        if not registry.fits(option):
            what = kind_of(option)
            found = f"{reference} is a {what}" if what else f"{reference} is no extension"
            raise ValueError(f"{found}; allowed: a {registry.noun}, a class derived from {registry.base_reference}")
        return registry.adopt(option, source)

    def module(self, name: str, source: Source | None = None) -> ModuleType:
        """A module that was found, imported."""
        source = source or self._source(name)
        if name in _imported:
            return _same(name, source)
        if not source.installed:
            self._announce(f"imports {source.file}, which is named as module {name}")
        root = str(Path(source.file).parents[name.count(".") + (Path(source.file).name == "__init__.py")])
        if not source.installed and root not in [str(Path(each or ".").resolve()) for each in sys.path]:
            sys.path.append(root)
        importlib.invalidate_caches()
        try:
            module = importlib.import_module(name)
        except (Exception, SystemExit) as error:  # whatever code of others raises when it is imported
            raise ValueError(_in_one_line(error, root, name)) from error
        file = getattr(module, "__file__", None)
        if file is None or Path(file).resolve() != Path(source.file):
            raise ValueError(f"found {source.file}, but this process has imported {name} from {file}; rename one")
        _imported[name] = source
        return module

    def extensions(self, name: str) -> list[str]:
        """The names of the extensions that a module defines."""
        return [key for key, value in vars(self.module(name)).items() if _is_extension_of(value, name)]

    def check(self) -> None:
        """Look for all recorded modules, those of entry points included, and compare their digests.

        Raises:
            ScenarioError: one is missing, or another than it was.
        """
        for name in self._recorded:
            try:
                self._source(name)
            except ValueError as error:
                raise ScenarioError(f"extensions: {error}") from None

    def _source(self, name: str) -> Source:
        if name not in self._found:
            self._found[name] = self._find(name)
        return self._found[name]

    def _find(self, name: str) -> Source:
        recorded = self._recorded.get(name)
        try:
            if recorded is None:
                return source_of(name, self._look(name))
            path = self._recorded_file(recorded)
            source = replace(source_of(name, path), distribution=recorded.distribution)
        except OSError as error:
            raise ValueError(f"module '{name}' cannot be read: {error.strerror or error}") from None
        if recorded.sha256 is not None and source.sha256 != recorded.sha256:
            raise ValueError(
                f"{source.file} (or a module beside it that it imports) is not what it was when the run began; put it "
                "back, or begin a new run"
            )
        return source

    def _recorded_file(self, recorded: ExtensionFile) -> Path:
        file = (self._folder or Path()) / Path(recorded.file).expanduser()
        if file.is_file():
            return file
        on_path = find_on_path(recorded.module) if recorded.sha256 is not None else None
        if on_path is not None:  # another machine, or another environment, that has the same module
            return on_path
        raise ValueError(
            f"module '{recorded.module}' is gone: there is no file {file}, and none of that name on Python's path of "
            f"{os.uname().nodename if hasattr(os, 'uname') else 'this machine'}; allowed: the same file at the same "
            "place (on all nodes of a cluster), or a package that is installed there"
        )

    def _look(self, name: str) -> Path:
        """The file of a module."""
        if is_standard(name):
            raise ValueError(f"found the module '{name}', which is Python's or this project's own; allowed: yours")
        beside = find_below(self._folder, name) if self._folder is not None else None
        on_path = find_on_path(name)
        if beside is not None and on_path is not None and beside.resolve() != on_path.resolve():
            raise ValueError(
                f"found the module '{name}' twice, as {beside} and as {on_path} on Python's path; rename one of them"
            )
        found = beside or on_path
        if found is not None:
            return found
        near = []
        if self._folder is not None:
            near = sorted(path.stem for path in self._folder.glob("*.py") if path.stem.isidentifier())
        where = f"in {self._folder} and on Python's path" if self._folder is not None else "on Python's path"
        raise ValueError(f"there is no module '{name}' {where}{did_you_mean(name, near)}")


def loaded_classes() -> list[dict[str, str]]:
    """The classes that this process has imported as module:Class, for the processes that it starts."""
    return [
        {"kind": kind, "name": name, **asdict(option.source)}
        for kind, registry in REGISTRIES.items()
        for name, option in sorted(registry.outside().items())
        if option.source is not None
    ]


def import_classes(classes: Iterable[Mapping[str, str]]) -> None:
    """Import what `loaded_classes` of another process has told.

    Raises:
        ScenarioError: one of them is missing here, or another than it is there.
    """
    for each in classes:
        recorded = ExtensionFile(module=each["module"], file=each["file"], sha256=each["sha256"])
        try:
            Importer(None, [recorded]).resolve(REGISTRIES[each["kind"]], each["name"])
        except ValueError as error:
            raise ScenarioError(f"{each['name']}: {error}") from None


def blamed(error: BaseException) -> str:
    """What failed in the code of an extension, and where; empty where nothing of it was in play."""
    roots = tuple({str(Path(source.file).parent) for source in _imported.values()})
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(roots)]
    if not roots or not frames:
        return ""
    what = on_one_line(f"{type(error).__name__}: {error}", 200)
    return f"{frames[-1].filename}:{frames[-1].lineno}: {what} (all of it: set CELLFREE_TRACEBACK=1)"


def _same(name: str, source: Source) -> ModuleType:
    """The module as it was imported before, if it still is what it was."""
    before = _imported[name]
    if before.file != source.file:
        raise ValueError(f"found {source.file}, but this process has imported {name} from {before.file}; rename one")
    if before.sha256 != source.sha256:
        raise ValueError(f"{source.file} has changed since this process imported it; begin a new process")
    return sys.modules[name]


def _is_extension_of(value: Any, module: str) -> bool:
    return isinstance(value, type) and issubclass(value, Named) and value.__module__ == module


def _in_one_line(error: BaseException, root: str, name: str) -> str:
    """What failed in the user's own file, and on which line."""
    where = ""
    if isinstance(error, SyntaxError) and error.filename:
        where = f"{error.filename}:{error.lineno}: "
    else:
        own = [
            frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(root)
        ]
        where = f"{own[-1].filename}:{own[-1].lineno}: " if own else ""
    said = error.msg if isinstance(error, SyntaxError) else str(error)
    what = on_one_line(f"{type(error).__name__}: {said}", 200)
    advice = f"all of it: cellfree check-extension {name} --traceback, there"
    return f"{where}module '{name}' cannot be imported: {what} ({advice})"
