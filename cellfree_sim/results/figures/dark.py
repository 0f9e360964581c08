"""The colours of a figure on a dark page."""

from __future__ import annotations

import colorsys

from cellfree_sim.results.figures import style

PAPER = "#1d2125"  # what figures stand on
_CHOSEN = {
    "#ffffff": PAPER,
    "#000000": "#e8eaed",
    style.INK: "#e8eaed",
    style.BLACK: "#d5d9dd",
    style.GREY: "#949ca5",
    style.GRID: "#3a4047",
    style.BLUE: "#3f9fe0",
    style.SKY: "#a5d8f7",
    style.VERMILION: "#f0803c",
    style.GREEN: "#1fbf95",
    style.PURPLE: "#dd9dbd",
    style.ORANGE: "#f0b429",
}
DARK = {light.lower(): dark for light, dark in _CHOSEN.items()}


def on_dark(colour: str) -> str:
    """The colour that stands for `colour` on a dark page: of the same hue, and as far from the paper.

    >>> on_dark("#FFFFFF"), on_dark("#06283d")
    ('#1d2125', '#c0e3f9')
    """
    chosen = DARK.get(colour.lower())
    if chosen is not None:
        return chosen
    red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    hue, light, strength = colorsys.rgb_to_hls(red, green, blue)
    mixed = colorsys.hls_to_rgb(hue, 0.3 + 0.65 * (1 - light), min(strength, 0.85))
    return "#" + "".join(f"{round(255 * part):02x}" for part in mixed)
