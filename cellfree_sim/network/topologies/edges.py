"""Backhaul links given one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, model_validator

from cellfree_sim.network.base import Link, Place, Topology
from cellfree_sim.registry import Options
from cellfree_sim.scenario.extensions import TOPOLOGIES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema


class Edge(Options):
    """One link: ``[a, b]``, or ``{between: [a, b], capacity_bps: …, latency_s: …}``."""

    between: tuple[str, str] = Field(description="names of the two stations; the macro base station is 'mbs'")
    capacity_bps: float | None = Field(None, gt=0, description="of each direction; backhaul.capacity_bps by default")
    latency_s: float | None = Field(None, ge=0, le=3600, description="backhaul.latency_s by default")

    @model_validator(mode="before")
    @classmethod
    def _pair_alone(cls, data: Any) -> Any:
        return {"between": data} if isinstance(data, (list, tuple)) else data

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        pair = {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}
        return {"anyOf": [pair, handler(schema)]}


@TOPOLOGIES.register
class Edges(Topology):
    """Exactly the links of the list; every station must be reachable over them. One that joins later links to the
    nearest station."""

    name: Literal["edges"] = "edges"
    links: list[Edge] = Field(
        min_length=1, description="the links: [a, b] or {between: [a, b], capacity_bps, latency_s}"
    )

    def connect(self, mbs: str, places: Mapping[str, Place]) -> list[Link]:
        """The links as given. They are checked by `build_network`."""
        return [Link(*edge.between, edge.capacity_bps, edge.latency_s) for edge in self.links]
