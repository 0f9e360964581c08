"""What all sections of a scenario share: their base class, and names and positions of stations."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import ConfigDict, Field

from cellfree_sim.registry import Options

Position = tuple[float, float]
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
NAME_IN_WORDS = "at most 63 letters, digits, '.', '_' and '-', the first a letter or digit"
Name = Annotated[str, Field(pattern=NAME_PATTERN, json_schema_extra={"x-allowed": NAME_IN_WORDS})]
Azimuth = Annotated[float, Field(ge=-360, le=360)]
"""Boresight in the horizontal plane: degrees from the x axis, counter-clockwise."""
MBS_NAME = "mbs"
USER_PREFIX = "user-"
GROUP_PREFIX = "users-"


class Section(Options):
    """A part of a scenario. Its validators are built when first used, after all extensions are known."""

    model_config = ConfigDict(defer_build=True)


class ExtensionFile(Section):
    """A module from outside the package whose classes the scenario chooses."""

    module: str = Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$", max_length=200, description="name, as imported")
    file: str = Field(min_length=1, max_length=4096, description="where it is, relative to the scenario's folder")
    sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="of its text and of what it imports beside it; none: any"
    )
    distribution: str = Field("", max_length=200, description="whose entry point it is, if it is one's")


def is_reserved(name: str) -> bool:
    """Whether a name is the macro base station's or a user's, and so no small base station's.

    >>> is_reserved("user-3"), is_reserved("sbs-3")
    (True, False)
    """
    return name == MBS_NAME or name.startswith((USER_PREFIX, GROUP_PREFIX))


def station_name_problem(name: str) -> str | None:
    """What is wrong with the name of a small base station, as the end of an error line, or None.

    >>> station_name_problem("mbs")
    "found 'mbs', which is the macro base station's or a user's; allowed: not 'mbs', 'user-…', nor 'users-…'"
    """
    if re.fullmatch(NAME_PATTERN.strip("^$"), name) is None:
        return f"found {name[:80]!r}; allowed: {NAME_IN_WORDS}"
    if is_reserved(name):
        taken = f"found '{name}', which is the macro base station's or a user's"
        return f"{taken}; allowed: not '{MBS_NAME}', '{USER_PREFIX}…', nor '{GROUP_PREFIX}…'"
    return None
