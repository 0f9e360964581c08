"""Figures of a run, for papers: column width, vector PDF and 200-dpi PNG, units on every axis, colour-blind safe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cellfree_sim.results.figures.draw import Figure as Figure
    from cellfree_sim.results.figures.draw import draw_figures as draw_figures

__all__ = ["Figure", "draw_figures"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from cellfree_sim.results.figures import draw

        return getattr(draw, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
