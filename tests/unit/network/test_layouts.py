"""Where stations and users are put: closed forms, limits, and what happens when they do not fit."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from cellfree_sim.errors import ScenarioError
from cellfree_sim.scenario.extensions import SITE_LAYOUTS, USER_LAYOUTS

AREA = (120.0, 80.0)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", SITE_LAYOUTS.names())
@pytest.mark.parametrize("count", [1, 2, 3, 7, 19])
def test_every_layout_puts_distinct_stations_inside_the_area(name, count):
    places = SITE_LAYOUTS.create(name).places(count, AREA, rng())
    assert places.shape == (count, 2) and places.dtype == np.float64
    assert (places >= 0).all() and (places <= AREA).all()
    assert len({tuple(place) for place in places.tolist()}) == count


@pytest.mark.parametrize("name", SITE_LAYOUTS.names())
def test_every_layout_repeats_itself(name):
    layout = SITE_LAYOUTS.create(name)
    assert np.array_equal(layout.places(6, AREA, rng(3)), layout.places(6, AREA, rng(3)))


def test_grid_stands_at_the_centres_of_its_cells():
    grid = SITE_LAYOUTS.create("grid")
    assert grid.places(1, AREA, rng()).tolist() == [[60, 40]]
    assert grid.places(2, AREA, rng()).tolist() == [[30, 40], [90, 40]]
    assert grid.places(4, (100, 100), rng()).tolist() == [[25, 25], [75, 25], [25, 75], [75, 75]]
    assert grid.places(5, AREA, rng()).tolist() == [[20, 20], [60, 20], [100, 20], [20, 60], [60, 60]]


@pytest.mark.parametrize("count", [4, 9, 16, 30])
def test_hexagonal_neighbours_are_one_pitch_apart(count):
    places = SITE_LAYOUTS.create("hexagonal").places(count, (500.0, 400.0), rng())
    gaps = sorted(math.dist(a, b) for a, b in itertools.combinations(places.tolist(), 2))
    pitch = gaps[0]
    # distances of a triangular lattice in pitches: 1, sqrt 3, 2, sqrt 7, 3, …
    assert all(
        any(math.isclose((gap / pitch) ** 2, p * p + p * q + q * q, rel_tol=1e-9) for p in range(9) for q in range(9))
        for gap in gaps
    )
    assert np.minimum(places, [500.0, 400.0] - places).min() >= pitch / 2 - 1e-9


def test_hexagonal_takes_the_largest_pitch():
    # seven stations: rows of three are 3.5 pitches wide (100 m), four rows of two 1 + 1.5 sqrt 3 pitches deep (111 m)
    places = SITE_LAYOUTS.create("hexagonal").places(7, (350.0, 400.0), rng())
    assert math.dist(places[0], places[1]) == pytest.approx(400 / (1 + 1.5 * math.sqrt(3)))


def test_random_stations_keep_their_distance():
    places = SITE_LAYOUTS.create("random", min_distance_m=12.0).places(20, AREA, rng(1))
    assert min(math.dist(a, b) for a, b in itertools.combinations(places.tolist(), 2)) >= 12.0


@pytest.mark.parametrize("distance", [150.0, 60.0])
def test_random_stations_that_cannot_keep_their_distance_are_refused(distance):
    with pytest.raises(ScenarioError, match=r"network\.sbs\.layout: no room for 9 stations .* lower min_distance_m"):
        SITE_LAYOUTS.create("random", min_distance_m=distance).places(9, AREA, rng())


@pytest.mark.parametrize("name", USER_LAYOUTS.names())
def test_users_stay_inside_and_first_drops_do_not_depend_on_how_many_follow(name):
    layout = USER_LAYOUTS.create(name)
    few, many = (layout.draw(count, 5, AREA, rng(4), rng(5)) for count in (3, 8))
    assert many.shape == (8, 5, 2) and np.array_equal(few, many[:3])
    assert (many >= 0).all() and (many <= AREA).all()


def test_hotspots_gather_their_share_around_their_centres():
    layout = USER_LAYOUTS.create("hotspots", centres_m=[[0, 0], [100, 60]], std_m=3.0, share=0.7)
    places = layout.draw(2000, 4, AREA, rng(6), rng(7)).reshape(-1, 2)
    assert (places >= 0).all() and (places <= AREA).all()
    near = [np.linalg.norm(places - centre, axis=1) <= 15.0 for centre in ([0, 0], [100, 60])]
    # within five deviations of a centre: half of the share, and of the rest what the disc covers of the area
    for inside, covered in zip(near, (math.pi * 15**2 / 4, math.pi * 15**2), strict=True):
        expected = 0.35 + 0.3 * covered / (AREA[0] * AREA[1])
        assert inside.mean() == pytest.approx(expected, abs=5 * math.sqrt(expected * (1 - expected) / 8000))


def test_a_hotspot_in_the_corner_is_a_quarter_of_a_normal_one():
    places = USER_LAYOUTS.create("hotspots", centres_m=[[0, 0]], std_m=5.0, share=1.0).draw(
        4000, 1, AREA, rng(8), rng()
    )
    # |N(0, 5)| has mean 5 sqrt(2/pi) and variance 25 (1 - 2/pi)
    error = math.sqrt(25 * (1 - 2 / math.pi) / 4000)
    assert places.mean(axis=(0, 1)) == pytest.approx([5 * math.sqrt(2 / math.pi)] * 2, abs=5 * error)


def test_a_hotspot_outside_the_area_is_refused():
    with pytest.raises(ScenarioError, match=r"centres_m\[1\] = \[130, 10\] lies outside the area"):
        USER_LAYOUTS.create("hotspots", centres_m=[[1, 1], [130, 10]]).draw(1, 1, AREA, rng(), rng())


def test_hotspot_options_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match="count is 3 but centres_m has 1"):
        USER_LAYOUTS.create("hotspots", centres_m=[[1, 1]], count=3)
    assert USER_LAYOUTS.create("hotspots", centres_m=[[1, 1]]).count == 1
