"""The sections that `uplink` of a scenario may be, by its key `problem`."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from cellfree_sim.registry import Tagged
from cellfree_sim.scenario.uplink import Uplink
from cellfree_sim.scenario.uplink_mimo import MimoUplink
from cellfree_sim.scenario.uplink_mmtc import MmtcUplink
from cellfree_sim.scenario.uplink_noma import NomaUplink

AnyUplink: TypeAlias = Annotated[
    Uplink, Tagged("problem", {"mimo": MimoUplink, "noma": NomaUplink, "mmtc": MmtcUplink})
]
