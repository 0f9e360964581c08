from __future__ import annotations

import pytest

from cellfree_sim.backhaul import LinkSimulator, Parcel

UP, DOWN = ("a", "m"), ("m", "a")


def test_one_frame_on_one_link_follows_the_closed_form() -> None:
    (delivery,) = LinkSimulator({UP: (10e9, 0.5e-3)}).carry([Parcel(UP, 405_690, 0.25)])
    assert delivery.arrival_s == pytest.approx(0.25 + 8 * 405_690 / 10e9 + 0.5e-3, abs=1e-15)
    assert delivery.queue_s == 0
    assert delivery.transfer_s == pytest.approx(8 * 405_690 / 10e9 + 0.5e-3, abs=1e-15)


def test_frames_sent_at_once_queue_and_the_queue_outlives_the_call() -> None:
    links = LinkSimulator({UP: (8000.0, 0.25)})
    first, second = links.carry([Parcel(UP, 1000, 0.0), Parcel(UP, 500, 0.0)])
    assert (first.arrival_s, first.queue_s) == (1.25, 0.0)
    assert (second.arrival_s, second.queue_s, second.transfer_s) == (1.75, 1.0, 0.75)
    (third,) = links.carry([Parcel(UP, 1000, 1.0)])
    assert (third.arrival_s, third.queue_s) == (2.75, 0.5)
    (fourth,) = links.carry([Parcel(UP, 1000, 5.0)])
    assert (fourth.arrival_s, fourth.queue_s) == (6.25, 0.0)


def test_the_two_directions_do_not_meet() -> None:
    up, down = LinkSimulator({UP: (8000.0, 0.0)}).carry([Parcel(UP, 1000, 0.0), Parcel(DOWN, 1000, 0.0)])
    assert up == down == (1.0, 0.0, 1.0)


def test_a_path_is_store_and_forward() -> None:
    links = LinkSimulator({("a", "b"): (8000.0, 0.5), ("b", "m"): (4000.0, 0.25)})
    (delivery,) = links.carry([Parcel(("a", "b", "m"), 1000, 0.0)])
    assert delivery == (1 + 0.5 + 2 + 0.25, 0.0, 3.75)


def test_a_frame_overtakes_by_time_not_by_order_of_the_list() -> None:
    late, early = LinkSimulator({UP: (8000.0, 0.0)}).carry([Parcel(UP, 1000, 0.5), Parcel(UP, 1000, 0.0)])
    assert (early.arrival_s, late.arrival_s) == (1.0, 2.0)


def test_a_changed_link_keeps_its_queue() -> None:
    links = LinkSimulator({UP: (8000.0, 0.0)})
    links.carry([Parcel(UP, 1000, 0.0)])
    links.set_link("m", "a", 16000.0, 1.0)
    (delivery,) = links.carry([Parcel(UP, 1000, 0.0)])
    assert delivery == (1 + 0.5 + 1, 1.0, 1.5)


def test_a_restored_state_goes_on_as_before() -> None:
    one, other = (LinkSimulator({UP: (8000.0, 0.1), ("b", "m"): (1e3, 0.0)}) for _ in range(2))
    one.carry([Parcel(UP, 777, 0.3)])
    other.restore(one.state())
    assert one.carry([Parcel(UP, 5, 0.4)]) == other.carry([Parcel(UP, 5, 0.4)])


def test_impossible_links_and_paths_are_refused() -> None:
    links = LinkSimulator({UP: (8000.0, 0.1)})
    for capacity_bps, latency_s in ((0.0, 0.0), (-1.0, 0.0), (float("nan"), 0.0), (1.0, -1.0), (1.0, float("nan"))):
        with pytest.raises(ValueError, match="link a-m"):
            links.set_link("a", "m", capacity_bps, latency_s)
    with pytest.raises(ValueError, match="no link m-c for the path a>m>c"):
        links.carry([Parcel(("a", "m", "c"), 1, 0.0)])
    assert links.state() == [("a", "m", 0.0), ("m", "a", 0.0)]
