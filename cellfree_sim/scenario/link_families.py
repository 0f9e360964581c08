"""The sections that `link` of a scenario may be, by its key `family`."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from cellfree_sim.registry import Tagged
from cellfree_sim.scenario.link import Link

AnyLink: TypeAlias = Annotated[Link, Tagged("family", {"mimo": Link})]
