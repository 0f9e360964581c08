"""Errors that a person meets. The text of each is one line: what, where, what was found, what is allowed.

The command line turns them into an exit status: 2 for `UserError` (bad usage, scenario or resources), 1 for any other
`CellfreeError`. Neither shows a traceback.
"""

from __future__ import annotations


class CellfreeError(Exception):
    """Base of all errors this project raises on purpose."""

    exit_status = 1


class UserError(CellfreeError, ValueError):
    """Something the user gave cannot be used; nothing was changed."""

    exit_status = 2


class ScenarioError(UserError):
    """A scenario, or an override of one of its keys, is not valid."""


class ResourceShortError(UserError):
    """The cluster does not have what the scenario asks for; `stations` are those without room, where they are known."""

    def __init__(self, reason: str, stations: tuple[str, ...] = ()) -> None:
        super().__init__(reason, stations)
        self.reason = reason
        self.stations = stations

    def __str__(self) -> str:
        return self.reason


class ChannelError(UserError):
    """A channel cannot be made: a trace file that does not fit, or a model without its library."""


class CodebookError(UserError):
    """A codebook cannot be made or read, or gives a user unequal power or two messages the same codeword."""


class DetectorError(UserError):
    """A detector is unknown, or cannot serve what it was given."""


class RunFolderError(UserError):
    """A run folder is missing, taken, or not readable."""


class FrameError(CellfreeError, ValueError):
    """A frame was refused: truncated, oversized, mistyped, foreign, or of an unknown kind."""


class RunFailedError(CellfreeError):
    """A run ended before its last step: a station died, a barrier timed out, training diverged."""


class StationError(RunFailedError):
    """Something happened to `stations`: they `reason`."""

    def __init__(self, stations: tuple[str, ...], reason: str) -> None:
        super().__init__(stations, reason)
        self.stations = stations
        self.reason = reason

    def __str__(self) -> str:
        return f"{', '.join(self.stations)} {self.reason}"


class StationLostError(StationError):
    """Stations died. What they knew since the last checkpoint is gone; the others can go back to it."""


class NotRestartedError(StationError):
    """Stations that died could not be brought back: no room for them, or not within the time limit."""

    def __str__(self) -> str:
        return f"{', '.join(self.stations)} could not be restarted: {self.reason}"
