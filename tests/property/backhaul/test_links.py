from __future__ import annotations

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from cellfree_sim.backhaul import LinkSimulator, Parcel

STATIONS = "abcd"
# One byte takes 8 / capacity seconds, a whole number: times are small integers, exact in floating point.
LINKS = st.fixed_dictionaries(
    {
        (a, b): st.tuples(st.sampled_from([8.0, 4.0, 2.0]), st.integers(0, 3).map(float))
        for index, a in enumerate(STATIONS)
        for b in STATIONS[index + 1 :]
    }
)
PATHS = st.permutations(STATIONS).flatmap(lambda order: st.integers(2, 4).map(lambda length: tuple(order[:length])))
PARCELS = st.lists(st.builds(Parcel, PATHS, st.integers(1, 5), st.integers(0, 12).map(float)), min_size=1, max_size=9)


def tick_by_tick(links: dict[tuple[str, str], tuple[float, float]], parcels: list[Parcel]) -> list[tuple[int, int]]:
    """Arrival and waiting time of each parcel, from a simulation that looks at every link in every second."""
    both = links | {(b, a): link for (a, b), link in links.items()}
    waiting: dict[tuple[str, str], deque[int]] = {ends: deque() for ends in both}
    busy_until = dict.fromkeys(both, 0)
    at_station = {index: (int(parcel.sent_s), 0) for index, parcel in enumerate(parcels)}
    queued_s = [0] * len(parcels)
    arrived: dict[int, int] = {}
    now = 0
    while len(arrived) < len(parcels):
        for index in sorted(at_station):
            ready, hop = at_station[index]
            if ready == now:
                path = parcels[index].path
                if hop == len(path) - 1:
                    arrived[index] = now
                else:
                    waiting[path[hop], path[hop + 1]].append(index)
        for ends, queue in waiting.items():
            if queue and busy_until[ends] <= now:
                index = queue.popleft()
                capacity_bps, latency_s = both[ends]
                busy_until[ends] = now + int(8 * parcels[index].size_bytes / capacity_bps)
                at_station[index] = (busy_until[ends] + int(latency_s), at_station[index][1] + 1)
            for index in queue:
                queued_s[index] += 1
        now += 1
    return [(arrived[index], queued_s[index]) for index in range(len(parcels))]


@given(LINKS, PARCELS)
@settings(max_examples=300, deadline=None)
def test_events_agree_with_a_simulation_of_every_second(
    links: dict[tuple[str, str], tuple[float, float]], parcels: list[Parcel]
) -> None:
    deliveries = LinkSimulator(links).carry(parcels)
    assert [(delivery.arrival_s, delivery.queue_s) for delivery in deliveries] == tick_by_tick(links, parcels)
    for parcel, delivery in zip(parcels, deliveries, strict=True):
        assert delivery.arrival_s == parcel.sent_s + delivery.queue_s + delivery.transfer_s


@given(LINKS, PARCELS, PARCELS)
@settings(max_examples=100, deadline=None)
def test_two_calls_one_after_the_other_equal_one_call(
    links: dict[tuple[str, str], tuple[float, float]], first: list[Parcel], later: list[Parcel]
) -> None:
    two, one = LinkSimulator(links), LinkSimulator(links)
    deliveries = two.carry(first)
    end_s = max(delivery.arrival_s for delivery in deliveries)
    later = [parcel._replace(sent_s=parcel.sent_s + end_s) for parcel in later]
    assert deliveries + two.carry(later) == one.carry(first + later)
