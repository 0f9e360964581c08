from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cellfree_sim.backhaul.link import LinkSimulator, Parcel

LINKS = {("a", "b"): (8e3, 0.25), ("b", "c"): (16e3, 0.5), ("c", "d"): (8e3, 0.0)}
NAMES = "abcd"


@st.composite
def parcels(draw: st.DrawFn) -> Parcel:
    first, last = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    step = 1 if last >= first else -1
    path = tuple(NAMES[at] for at in range(first, last + step, step))
    return Parcel(path, draw(st.integers(1, 3000)), draw(st.integers(0, 24)) / 4)


@settings(max_examples=150, deadline=None)
@given(st.lists(parcels(), max_size=12), st.lists(st.integers(0, 60).map(lambda n: n / 8), max_size=6))
def test_parcels_carried_in_steps_arrive_as_those_carried_at_once(sent: list[Parcel], stops: list[float]) -> None:
    """Also where the simulator is put away and another goes on at every step."""
    at_once = LinkSimulator(LINKS).carry(sent)
    links, arrived = LinkSimulator(LINKS), {}
    for begin, end in zip([0.0, *sorted(stops)], [*sorted(stops), float("inf")], strict=True):
        for index, parcel in enumerate(sent):
            if begin <= parcel.sent_s < end:
                links.submit((index,), parcel)
        for tag, delivery in links.run(end):
            assert delivery.arrival_s < end
            arrived[tag[0]] = delivery
        again = LinkSimulator(LINKS)
        again.restore(links.state())
        again.resume(links.journeys())
        links = again
    assert [arrived[index] for index in range(len(sent))] == at_once
