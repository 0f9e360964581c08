"""Reading one numeric variable of a recorded data set: NumPy archives, HDF5, MAT-files of either generation.

A `Variable` knows its shape without being read, and reads only the part it is asked for where the format allows it
(HDF5 and MAT v7.3; the others are read whole). Everything that is wrong with a file becomes one `ChannelError`.
"""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cellfree_sim.errors import ChannelError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

Format = Literal["npz", "hdf5", "mat"]
FORMATS: dict[str, Format] = {".npz": "npz", ".h5": "hdf5", ".hdf5": "hdf5", ".hdf": "hdf5", ".mat": "mat"}

_UNREADABLE = (
    *(OSError, EOFError, ValueError, TypeError, KeyError, IndexError, NotImplementedError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError),
)


class Variable(ABC):
    """One variable of an open file.

    `numeric`: it holds real or complex numbers. `reversed_axes`: the file has its axes last to first (MAT v7.3).
    """

    shape: tuple[int, ...]
    numeric: bool
    reversed_axes = False

    @abstractmethod
    def read(self, index: tuple[slice | int, ...]) -> NDArray[Any]:
        """The part `index` of it, real or complex, in the order of axes of the file."""


class TraceFile(ABC):
    """An open data set."""

    @abstractmethod
    def names(self) -> list[str]:
        """Names of the variables on its first level."""

    @abstractmethod
    def variable(self, name: str) -> Variable | None:
        """The variable `name`, None where there is none."""


@contextmanager
def open_trace(path: Path, format: Format) -> Iterator[TraceFile]:
    """The data set at `path`. All failures to open or read it inside the context raise `ChannelError`."""
    kind = _matlab_kind(path) if format == "mat" else _KINDS[format]
    unreadable: tuple[type[Exception], ...] = _UNREADABLE
    if format == "mat":
        from scipy.io.matlab import MatReadError

        unreadable = (*unreadable, MatReadError)
    try:
        with kind.opened(path) as file:
            yield file
    except ChannelError:
        raise
    except unreadable as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ChannelError(f"channel.model.path: {path} cannot be read as {format}: {reason}") from error


class _Npz(TraceFile):
    """A NumPy archive."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with zipfile.ZipFile(path) as archive:
            self._members = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[TraceFile]:
        yield cls(path)

    def names(self) -> list[str]:
        return list(self._members)

    def variable(self, name: str) -> Variable | None:
        return _NpzVariable(self._path, name, self._members[name]) if name in self._members else None


class _NpzVariable(Variable):
    def __init__(self, path: Path, name: str, member: str) -> None:
        self._path, self._name = path, name
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(file)
        self.shape = tuple(int(size) for size in shape)
        self.numeric = _is_numeric(dtype)

    def read(self, index: tuple[slice | int, ...]) -> NDArray[Any]:
        with np.load(self._path, allow_pickle=False) as archive:
            part: NDArray[Any] = archive[self._name][index]
        return part


class _Hdf5(TraceFile):
    """An HDF5 file; a variable in a group is named ``group/variable``."""

    reversed_axes = False

    def __init__(self, file: Any) -> None:
        self._file = file

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[TraceFile]:
        import h5py

        with h5py.File(path, "r") as file:
            yield cls(file)

    def names(self) -> list[str]:
        return [name for name in self._file if not name.startswith("#")]

    def variable(self, name: str) -> Variable | None:
        import h5py

        found = self._file.get(name)
        return _Hdf5Variable(found, self.reversed_axes) if isinstance(found, h5py.Dataset) else None


class _Hdf5Variable(Variable):
    def __init__(self, dataset: Any, reversed_axes: bool) -> None:
        self._dataset = dataset
        self.shape = tuple(dataset.shape or ())
        self.numeric = _is_numeric(dataset.dtype)
        self.reversed_axes = reversed_axes

    def read(self, index: tuple[slice | int, ...]) -> NDArray[Any]:
        values = np.asarray(self._dataset[index])
        if values.dtype.names is not None:
            real, imaginary = (values[field] for field in values.dtype.names)
            values = real + 1j * imaginary
        return values


class _Mat73(_Hdf5):
    """A MAT-file of version 7.3: HDF5 with the axes last to first."""

    reversed_axes = True


class _Mat5(TraceFile):
    """A MAT-file of version 4 to 7."""

    def __init__(self, path: Path) -> None:
        from scipy.io import whosmat

        self._path = path
        self._contents = {name: (tuple(shape), kind) for name, shape, kind in whosmat(path)}

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[TraceFile]:
        yield cls(path)

    def names(self) -> list[str]:
        return list(self._contents)

    def variable(self, name: str) -> Variable | None:
        return _Mat5Variable(self._path, name, *self._contents[name]) if name in self._contents else None


class _Mat5Variable(Variable):
    def __init__(self, path: Path, name: str, shape: tuple[int, ...], kind: str) -> None:
        self._path, self._name, self.shape = path, name, shape
        self.numeric = kind in ("double", "single", "logical") or "int" in kind

    def read(self, index: tuple[slice | int, ...]) -> NDArray[Any]:
        from scipy.io import loadmat

        return np.asarray(loadmat(self._path, variable_names=[self._name])[self._name])[index]


def _is_numeric(dtype: np.dtype[Any]) -> bool:
    """Real or complex numbers, or compounds of two real ones."""
    parts = [dtype] if dtype.names is None else [dtype[name] for name in dtype.names]
    return all(part.kind in "fiub" for part in parts) if len(parts) == 2 else len(parts) == 1 and dtype.kind in "fciub"


_KINDS: dict[str, type[_Npz] | type[_Hdf5] | type[_Mat5]] = {"npz": _Npz, "hdf5": _Hdf5}


def _matlab_kind(path: Path) -> type[_Hdf5] | type[_Mat5]:
    import h5py

    return _Mat73 if h5py.is_hdf5(path) else _Mat5
