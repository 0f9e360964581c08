"""Recorded channels: NumPy, HDF5 and MAT-files, for exports of QuaDRiGa, DeepMIMO and measurements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, ValidationInfo, field_validator, model_validator

from cellfree_sim.channel.base import ChannelModel, Channels, Progress
from cellfree_sim.errors import ChannelError
from cellfree_sim.scenario.extensions import CHANNEL_MODELS

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from cellfree_sim.channel.base import ChannelRequest
    from cellfree_sim.channel.trace_files import Format, TraceFile, Variable
    from cellfree_sim.scenario.schema import Scenario

_AXES = "RBNTIr"
_PAIR = "c"
_MEANING = {
    "R": "realisations",
    "B": "stations",
    "N": "subcarriers",
    "T": "transmit antennas of a station",
    "I": "users",
    "r": "receive antennas of a user",
    "c": "real and imaginary part",
}
_AT_LEAST = "RB"
_UPLINK = "an uplink takes drops after all splits, of users with one antenna, on one subcarrier unless it is selective"


@CHANNEL_MODELS.register
class Trace(ChannelModel):
    """Channels from a file: one array with the axes

        R realisations, B stations, N subcarriers, T transmit antennas, I users, r receive antennas

    in this order, or in that of `axes`; a letter left out is an axis of length one. Numbers are complex (NumPy or
    MATLAB complex; HDF5 compounds of two numbers), or real with the imaginary part in `imaginary_variable`, or real
    with a further axis ``c`` of length two (real, imaginary). N, T, I and r must be the scenario's; R and B at least.
    |H|^2 is the path gain. The received signal is H^H w; a data set made for y = h x can be used as it is, since
    rates do not change when all channels are conjugated.

    Training takes the first realisations, validation the next, test the next after these: the splits share none.
    Station b of the file is the b-th small base station. `axes` of a MAT-file is in MATLAB's order, whatever its
    version. Files are ``.npz``, ``.h5``, ``.hdf5``, ``.hdf`` and ``.mat`` (version 4 to 7.3); of HDF5 and version 7.3
    only what is needed is read. Other variables, such as positions, are ignored.
    """

    name: Literal["trace"] = "trace"
    path: Path = Field(description="the file; a relative path starts at the scenario's folder")
    format: Literal["auto", "npz", "hdf5", "mat"] = Field("auto", description="of the file, by default from its suffix")
    variable: str = Field("channel", min_length=1, description="its array of channels; HDF5: group/variable")
    imaginary_variable: str | None = Field(
        None, min_length=1, description="imaginary part, where `variable` is the real one"
    )
    axes: str = Field(
        _AXES, description="order of the axes in the file: letters of RBNTIr, and c for (real, imaginary)"
    )

    cacheable: ClassVar[bool] = False

    @field_validator("path")
    @classmethod
    def _found_beside_the_scenario(cls, path: Path, info: ValidationInfo) -> Path:
        folder = (info.context or {}).get("folder")
        path = path.expanduser()
        resolved = (Path(folder) / path if folder is not None else path).resolve()
        if not resolved.is_file():
            raise ValueError(f"there is no file {resolved}")
        return resolved

    @field_validator("axes")
    @classmethod
    def _known_axes(cls, axes: str) -> str:
        for index, letter in enumerate(axes):
            if letter not in _MEANING:
                raise ValueError(f"axis '{letter}' is unknown; the letters are R, B, N, T, I, r and c")
            if letter in axes[:index]:
                raise ValueError(f"axis '{letter}' is given twice in '{axes}'")
        if "R" not in axes:
            raise ValueError(f"axis R (realisations) is missing in '{axes}'")
        return axes

    @model_validator(mode="after")
    def _readable(self) -> Trace:
        from cellfree_sim.channel.trace_files import FORMATS

        if self.format == "auto" and self.path.suffix.lower() not in FORMATS:
            raise ValueError(
                f"path: format of '{self.path.name}' is unknown; give format or a suffix of {', '.join(FORMATS)}"
            )
        if self.imaginary_variable is not None and _PAIR in self.axes:
            raise ValueError("give imaginary_variable or axis c, not both")
        return self

    def check(self, scenario: Scenario) -> None:
        """Raise `ChannelError` where the file lacks the variable or an axis does not fit the scenario."""
        self.check_stations(scenario, scenario.network.sbs.count)

    def check_stations(self, scenario: Scenario, stations: int) -> None:
        """As `check`, for `stations` small base stations."""
        sizes = scenario.channel.realisations
        needed = {
            "R": sizes.train + sizes.validation + sizes.test,
            "B": stations,
            "N": scenario.radio.subcarriers,
            "T": scenario.network.sbs.antennas.count,
            "I": scenario.network.users.count,
            "r": scenario.network.users.antennas,
        }
        with self._open() as file:
            for name in self._variables():
                self._axes_of(self._variable(file, name), name, needed)

    def files(self) -> list[Path]:
        """The data set."""
        return [self.path]

    def generate(self, request: ChannelRequest, progress: Progress | None = None) -> Channels:
        """Channels [R, N, T, I, r] of a station; see the class."""
        total, subcarriers, tx, users, rx = request.shape
        last = request.first_realisation + total
        needed = {"R": last, "B": request.stations, "N": subcarriers, "T": tx, "I": users, "r": rx}
        chosen: dict[str, slice | int] = {"R": slice(request.first_realisation, last), "B": request.station_index}
        try:
            with self._open() as file:
                parts = [self._part(file, name, needed, chosen) for name in self._variables()]
        except ChannelError as error:
            if request.split != "uplink":
                raise
            raise ChannelError(f"{error}; {_UPLINK}") from None
        values = parts[0] if len(parts) == 1 else parts[0] + 1j * parts[1]
        if not np.iscomplexobj(values):
            raise ChannelError(
                f"{self._where(self.variable)} is real; needed complex numbers, imaginary_variable, or an axis c"
            )
        with np.errstate(over="ignore"):
            channels = np.ascontiguousarray(values, dtype=np.complex64)
        self._check_finite(channels, request)
        if progress is not None:
            progress(total, total)
        return channels

    @property
    def _format(self) -> Format:
        from cellfree_sim.channel.trace_files import FORMATS

        return FORMATS[self.path.suffix.lower()] if self.format == "auto" else self.format

    def _open(self) -> AbstractContextManager[TraceFile]:
        from cellfree_sim.channel.trace_files import open_trace

        return open_trace(self.path, self._format)

    def _variables(self) -> list[str]:
        return [self.variable] if self.imaginary_variable is None else [self.variable, self.imaginary_variable]

    def _where(self, name: str) -> str:
        return f"channel.model.path: {self.path}: variable '{name}'"

    def _variable(self, file: TraceFile, name: str) -> Variable:
        found = file.variable(name)
        if found is None:
            raise ChannelError(f"{self._where(name)} is missing; there are {', '.join(file.names()[:12]) or 'none'}")
        return found

    def _axes_of(self, variable: Variable, name: str, needed: dict[str, int]) -> str:
        """Letters of the axes in the file's order, checked. MATLAB leaves out trailing axes of length one."""
        if not variable.numeric:
            raise ChannelError(f"{self._where(name)} does not hold numbers")
        shape = variable.shape[::-1] if variable.reversed_axes else variable.shape
        axes = self.axes[: len(shape)] if self._format == "mat" else self.axes
        if len(shape) != len(axes):
            raise ChannelError(
                f"{self._where(name)} has shape {list(shape)}, needed {len(self.axes)} axes '{self.axes}'; see axes"
            )
        found = dict.fromkeys(_AXES, 1) | dict(zip(axes, shape, strict=True))
        wrong = []
        for letter, size in (needed | ({_PAIR: 2} if _PAIR in self.axes else {})).items():
            have, enough = found.get(letter, 1), letter in _AT_LEAST
            if have < size or (have > size and not enough):
                wrong.append(f"{letter} ({_MEANING[letter]}) {'at least ' if enough else ''}{size}, found {have}")
        if wrong:
            raise ChannelError(
                f"{self._where(name)} has shape {list(shape)} for axes '{self.axes}', needed {'; '.join(wrong)}"
            )
        return axes[::-1] if variable.reversed_axes else axes

    def _part(self, file: TraceFile, name: str, needed: dict[str, int], chosen: dict[str, slice | int]) -> NDArray[Any]:
        """The chosen realisations of one station, [R, N, T, I, r]; real where the file is."""
        variable = self._variable(file, name)
        axes = self._axes_of(variable, name, needed)
        values = variable.read(tuple(chosen.get(letter, slice(None)) for letter in axes))
        axes = axes.replace("B", "")
        if _PAIR in axes:
            values = np.moveaxis(values, axes.index(_PAIR), -1)
            values = values[..., 0] + 1j * values[..., 1]
            axes = axes.replace(_PAIR, "")
        order = [letter for letter in _AXES if letter in axes]
        values = values.transpose([axes.index(letter) for letter in order])
        return values.reshape([values.shape[order.index(letter)] if letter in order else 1 for letter in "RNTIr"])

    def _check_finite(self, channels: Channels, request: ChannelRequest) -> None:
        finite = np.isfinite(channels).reshape(len(channels), -1).all(axis=1)
        if not finite.all():
            drop = request.first_realisation + int(np.argmin(finite))
            raise ChannelError(
                f"{self._where(self.variable)} is not finite in realisation {drop} of station {request.station_index}"
            )
