"""The changes of a running network that a page may ask for, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cellfree_sim.errors import UserError
from cellfree_sim.scenario.events import InjectSbs

if TYPE_CHECKING:
    from cellfree_sim.watching import Watched

PLAIN = ("pause", "resume", "stop")
NAMES = ("inject", "remove", *PLAIN)


class BadOrderError(UserError):
    """What a page sent is no order."""


@dataclass(frozen=True)
class Order:
    """A change that was asked for.

    Attributes:
        facts: what other pages are told of it while it is being carried out.
        carry_out: does it, and returns what came of it.
    """

    facts: Mapping[str, Any]
    carry_out: Callable[[Watched], Mapping[str, Any]]


def read(name: str, given: Any) -> Order:
    """The order called `name`, with `given` from the page.

    >>> read("remove", {"station": "sbs-1"}).facts
    {'order': 'remove', 'station': 'sbs-1'}
    >>> read("inject", {"position_m": ["a", 3]})
    Traceback (most recent call last):
    cellfree_sim.web.orders.BadOrderError: inject: position_m.0: found 'a'; allowed: a number

    Raises:
        BadOrderError: there is no such order, or it has keys or values that it does not take.
    """
    if not isinstance(given, dict):
        raise BadOrderError(f"{name}: found {type(given).__name__}; allowed: a JSON object")
    if name == "inject":
        return _inject(given)
    if name == "remove":
        station = given.get("station")
        if set(given) != {"station"} or not isinstance(station, str):
            raise BadOrderError('remove: allowed: {"station": NAME}, and nothing else')
        return Order({"order": "remove", "station": station}, lambda watched: watched.remove(station))
    if name not in PLAIN:
        raise BadOrderError(f"there is no order '{name}'; allowed: {', '.join(NAMES)}")
    if given:
        raise BadOrderError(f"{name}: takes nothing; found {', '.join(sorted(given))}")

    def carry_out(watched: Watched) -> Mapping[str, Any]:
        getattr(watched, name)()
        return {}

    return Order({"order": name}, carry_out)


def _inject(given: Mapping[str, Any]) -> Order:
    try:
        spec = InjectSbs.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        kind = "a number" if first["type"].startswith("float") else first["msg"]
        found = "nothing" if first["type"] == "missing" else repr(first["input"])
        raise BadOrderError(f"inject: {where}: found {found}; allowed: {kind}") from None
    options = spec.model_dump(exclude={"position_m"})
    facts = {"order": "inject", "position_m": list(spec.position_m), "name": spec.name}
    return Order(facts, lambda watched: watched.inject(list(spec.position_m), **options))
