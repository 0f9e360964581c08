"""What happens to a network while it runs: stations join, leave and fail, links are cut, slow and whole again.

An event happens at a round boundary, after `at_step` training steps. `cellfree_sim.network.changes` says what it does
to the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, model_serializer, model_validator

from cellfree_sim.registry import MisfitError
from cellfree_sim.scenario.parts import Azimuth, Name, Position, Section

if TYPE_CHECKING:
    from pydantic import SerializerFunctionWrapHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

Transfer = Literal["nearest", "farthest", "random", "none"]
After = Literal["fine-tune", "execute"]
Moment = Literal["before", "during", "after"]
Ends = tuple[str, str]

_MOMENT = "when in the round: before its uploads, during the wait for all of them, after the answers"


class InjectSbs(Section):
    """A new small base station, with antennas, height and power as the others; its antennas may look elsewhere."""

    position_m: Position = Field(description="x and y of the station")
    name: Name | None = Field(None, description="its name; the first sbs-<n> that was never used by default")
    azimuth_deg: Azimuth | None = Field(
        None, description="where its antennas look; network.sbs.antennas.azimuth_deg by default"
    )
    transfer: Transfer = Field(
        "nearest", description="whose model it takes over: the nearest station's (eq. 22), another's, or nobody's"
    )
    after: After = Field("fine-tune", description="train on with the others, or execute the model as it came")


class FailSbs(Section):
    """A small base station whose process is killed: a name, or ``{station: …, barrier: …}``."""

    station: str = Field(description="name of the station")
    barrier: Moment = Field("before", description=_MOMENT)

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, data: Any) -> Any:
        return {"station": data} if isinstance(data, str) else data

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string"}, handler(schema)]}


class SlowLink(Section):
    """A link that goes on with another capacity or latency, until it is restored."""

    between: Ends = Field(description="names of the two stations; the macro base station is 'mbs'")
    capacity_bps: float | None = Field(None, gt=0, description="of each direction, from now on")
    latency_s: float | None = Field(None, ge=0, le=3600, description="from now on")

    @model_validator(mode="after")
    def _changes_something(self) -> SlowLink:
        if self.capacity_bps is None and self.latency_s is None:
            raise ValueError("found neither capacity_bps nor latency_s; allowed: one of them, or both")
        return self


class Event(Section):
    """One thing that happens, and when. Exactly one of the keys beside `at_step` is set.

    >>> event = Event.model_validate({"at_step": 3, "fail_sbs": "sbs-1"})
    >>> event.action, event.detail.station, event.detail.barrier
    ('fail_sbs', 'sbs-1', 'before')
    """

    at_step: int = Field(ge=0, description="at the round boundary after this many training steps of the run")
    inject_sbs: InjectSbs | None = Field(None, description="a new small base station joins")
    remove_sbs: str | None = Field(None, description="the small base station of this name leaves for good")
    fail_sbs: FailSbs | None = Field(None, description="the process of a small base station is killed")
    fail_mbs: Moment | None = Field(None, description=f"the process of the macro base station is killed; {_MOMENT}")
    cut_link: Ends | None = Field(None, description="a link [a, b] carries nothing from now on")
    slow_link: SlowLink | None = Field(None, description="a link gets another capacity or latency")
    restore_link: Ends | None = Field(None, description="a link [a, b] is again as it was built")

    @model_validator(mode="after")
    def _one_action(self) -> Event:
        found = self._actions()
        if len(found) != 1:
            have = " and ".join(found) if found else "no action"
            raise MisfitError((), f"found {have}; allowed: one of {', '.join(_ACTIONS)} in each event")
        return self

    @model_serializer(mode="wrap")
    def _only_what_happens(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data = handler(self)
        return {key: value for key, value in data.items() if key == "at_step" or value is not None}

    @property
    def action(self) -> str:
        """The key that is set: 'inject_sbs', 'remove_sbs', …"""
        return self._actions()[0]

    @property
    def detail(self) -> Any:
        """The value of that key."""
        return getattr(self, self.action)

    def _actions(self) -> list[str]:
        return [key for key in _ACTIONS if getattr(self, key) is not None]


_ACTIONS = ("inject_sbs", "remove_sbs", "fail_sbs", "fail_mbs", "cut_link", "slow_link", "restore_link")


def in_order(events: list[Event]) -> list[tuple[int, Event]]:
    """Events with their places in the list, in the order in which they happen."""
    return sorted(enumerate(events), key=lambda entry: entry[1].at_step)
