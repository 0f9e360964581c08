"""Stations on a hexagonal lattice."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from cellfree_sim.network.base import SiteLayout
from cellfree_sim.scenario.extensions import SITE_LAYOUTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROW_PITCH = math.sqrt(3.0) / 2.0


@SITE_LAYOUTS.register
class Hexagonal(SiteLayout):
    """Centres of hexagonal cells: rows sqrt(3)/2 pitches apart, every other row shifted by half a pitch.

    The number of columns is the one that gives the largest pitch with half a pitch between any station and the border;
    the lattice is centred in the area and filled row by row from low y. Neighbours are one pitch apart.

    >>> Hexagonal().places(3, (100.0, 100.0), np.random.default_rng(0)).round(1).tolist()
    [[20.0, 32.7], [60.0, 32.7], [40.0, 67.3]]
    """

    name: Literal["hexagonal"] = "hexagonal"

    def places(self, count: int, area_m: tuple[float, float], rng: np.random.Generator) -> NDArray[np.float64]:
        """Ground positions [count, 2]; see the class. `rng` is not used."""
        width, depth = area_m
        pitches = [
            (_largest_pitch(columns, -(-count // columns), width, depth), columns) for columns in range(1, count + 1)
        ]
        pitch, columns = max(pitches, key=lambda choice: (choice[0], -choice[1]))
        rows = -(-count // columns)
        row, column = np.divmod(np.arange(count), columns)
        x = (width - _columns_wide(columns, rows) * pitch) / 2 + pitch * (0.5 + column + 0.5 * (row % 2))
        y = (depth - _rows_deep(rows) * pitch) / 2 + pitch * (0.5 + _ROW_PITCH * row)
        return np.stack([x, y], axis=1)


def _columns_wide(columns: int, rows: int) -> float:
    """Width of the lattice in pitches, border included."""
    return columns + (0.5 if rows > 1 else 0.0)


def _rows_deep(rows: int) -> float:
    """Depth of the lattice in pitches, border included."""
    return 1.0 + _ROW_PITCH * (rows - 1)


def _largest_pitch(columns: int, rows: int, width: float, depth: float) -> float:
    return min(width / _columns_wide(columns, rows), depth / _rows_deep(rows))
