"""Code that is not the project's: where a module is, found without running anything, and what decides what it does.

The digest of a module follows its own file and all files beside it that it imports, found by reading their text, so
that a change of a helper counts as well. Modules that are installed count with the files of their own package.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.machinery
import site
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

OWN_PACKAGES = ("cellfree_sim", "agents")


@dataclass(frozen=True, order=True)
class Source:
    """Where an extension's class comes from.

    Attributes:
        module: its name, as it is imported.
        file: of the module, absolute.
        sha256: of its text, and that of the files beside it that it imports.
        distribution: what registered it by an entry point; empty for a class that was named as module:Class.
    """

    module: str
    file: str
    sha256: str
    distribution: str = ""

    @property
    def installed(self) -> bool:
        """Whether it lies where packages are installed.

        >>> import numpy
        >>> Source("numpy", str(numpy.__file__), "").installed
        True
        """
        return any(Path(self.file).is_relative_to(folder) for folder in _installed_folders())


def find_below(folder: Path, module: str) -> Path | None:
    """The file of a module in a folder, without regard to what else is on Python's path; nothing is imported.

    >>> find_below(Path(__file__).parents[1], "cellfree_sim.sources").name
    'sources.py'
    """
    stem = folder.joinpath(*module.split("."))
    candidates = [stem.with_name(f"{stem.name}.py"), stem / "__init__.py"]
    return next((path for path in candidates if path.is_file()), None)


def find_on_path(module: str) -> Path | None:
    """The file of a module on Python's path, packages installed in place included; nothing is imported."""
    name, *rest = module.split(".")
    importlib.invalidate_caches()  # files may be younger than what the finders remember
    found = (finder.find_spec(name, None) for finder in sys.meta_path if hasattr(finder, "find_spec"))
    spec = next((each for each in found if each is not None), None)
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        name = f"{name}.{part}"
        spec = importlib.machinery.PathFinder.find_spec(name, list(spec.submodule_search_locations))
    if spec is None or not spec.has_location or spec.origin is None or not Path(spec.origin).is_file():
        return None
    return Path(spec.origin)


def is_standard(module: str) -> bool:
    """Whether a module is Python's own, or this project's: none of them is an extension.

    >>> is_standard("json.decoder"), is_standard("my_detector")
    (True, False)
    """
    first = module.partition(".")[0]
    return first in sys.stdlib_module_names or first in OWN_PACKAGES or first == "__main__"


def source_of(module: str, file: Path, distribution: str = "") -> Source:
    """A module that was found in `file`, with its digest as it is now.

    Raises:
        OSError: it cannot be read.
    """
    file = file.resolve()
    return Source(module, str(file), content_digest(module, file), distribution)


def content_digest(module: str, file: Path) -> str:
    """SHA-256 of the module in a file and of the modules beside it that it imports, as hexadecimal digits."""
    root = file.parents[module.count(".") + (file.name == "__init__.py")]
    alone = module.partition(".")[0] if any(root == folder for folder in _installed_folders()) else None
    texts: dict[str, bytes] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = find_below(root, name)
        if path is None or str(path) in texts or (alone is not None and name.partition(".")[0] != alone):
            continue
        texts[str(path)] = path.read_bytes()
        waiting += _parents(name)
        waiting += _imported(texts[str(path)], name if path.name == "__init__.py" else name.rpartition(".")[0])
    whole = hashlib.sha256()
    for path_text in sorted(texts):
        relative = Path(path_text).relative_to(root).as_posix()
        whole.update(f"{relative}\n{hashlib.sha256(texts[path_text]).hexdigest()}\n".encode())
    return whole.hexdigest()


def _imported(text: bytes, package: str) -> Iterator[str]:
    """Names of what the text of a module may import; `package` is the one that it is in."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: -(node.level - 1) or None]) if node.level else ""
            name = ".".join(part for part in (base, node.module or "") if part)
            if name:
                yield name
            yield from (f"{name}.{alias.name}" if name else alias.name for alias in node.names)


def _parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


@lru_cache(maxsize=1)
def _installed_folders() -> tuple[Path, ...]:
    named = (sysconfig.get_paths()[key] for key in ("purelib", "platlib", "stdlib"))
    folders = [*named, *site.getsitepackages(), site.getusersitepackages()]
    return tuple(dict.fromkeys(Path(folder).resolve() for folder in folders))
