"""The sections that `link` of a scenario may be, by its key `family`."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from cellfree_sim.registry import Tagged
from cellfree_sim.scenario.link import Link, LinkSection
from cellfree_sim.scenario.link_mmtc import MmtcLink
from cellfree_sim.scenario.link_noma import NomaLink

AnyLink: TypeAlias = Annotated[LinkSection, Tagged("family", {"mimo": Link, "noma": NomaLink, "mmtc": MmtcLink})]
