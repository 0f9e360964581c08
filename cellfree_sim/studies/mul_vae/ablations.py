"""Figures 6, 7 and 8: what parts of Mul-VAE do for its training. Table I: what receivers cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from cellfree_sim.results.figures import style
from cellfree_sim.studies.mul_vae.curves import CASES, RATES
from cellfree_sim.studies.noma_link import evaluate
from cellfree_sim.studies.noma_plots import claim, draw_times, draw_training, lower_loss
from cellfree_sim.studies.plots import DOTTED, SOLID, Look, legend_below
from cellfree_sim.studies.study import Study, register
from cellfree_sim.studies.verdicts import Number, Verdict, positive

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cellfree_sim.studies.results import Results

WITHOUT = Look("without", style.ORANGE, DOTTED)
LOOKS: Mapping[str, Mapping[str, Look]] = {
    "fig6": {"with attention": Look("with attention", style.BLUE, SOLID), "without": WITHOUT},
    "fig7": {"with sluices": Look("with sluices", style.BLUE, SOLID), "without": WITHOUT},
    "fig8": {
        "prioritised": Look("prioritised (repaired focal loss)", style.BLUE, SOLID),
        "as printed": Look("loss as printed", style.VERMILION, SOLID),
        "without": Look("sum of losses", style.ORANGE, DOTTED),
    },
}
PARTS = {"fig6": "attention", "fig7": "the sluice network", "fig8": "prioritisation"}


def draw(name: str, results: Results) -> Figure:
    """Wrong messages in training, one panel for each channel."""
    figure, grid = style.new_figure(style.PAGE_IN, 2.9, 1, 2, sharey=True)
    for index, (axes, (case, title)) in enumerate(zip(grid, CASES.items(), strict=True)):
        draw_training(axes, results, case, LOOKS[name], "training_ser")
        style.panel_letter(axes, "ab"[index], title)
    grid[0].set_ylabel("wrong messages in training")
    legend_below(figure, grid[0], columns=3)
    return figure


def judge(name: str, results: Results) -> list[Verdict]:
    """With the part against without: in the course of training, and at its end."""
    full, part = next(iter(LOOKS[name])), PARTS[name]
    verdicts = [
        positive(
            f"With Rayleigh fading, {part} speeds up training (fewer wrong messages half way).",
            [lower_loss(results, "rayleigh", full, "without", "training_ser", 0.5)],
        ),
        positive(
            f"Without fading, {part} makes little difference (at most a fifth, at the end).",
            [
                lower_loss(results, "awgn", full, "without", "training_ser").changed(
                    f"0.2 {word} the part of wrong messages that {part} saves", times=sign, plus=0.2
                )
                for word, sign in (("minus", -1.0), ("plus", 1.0))
            ],
        ),
        claim(
            results,
            f"With Rayleigh fading, {part} lowers message error rates.",
            [("rayleigh", rate, full, "without") for rate in RATES],
        ),
        claim(
            results,
            "Ours: after such short trainings, message passing on SCMA has fewer message errors with Rayleigh fading.",
            [("rayleigh", rate, "SCMA + MPA", full) for rate in RATES],
        ),
    ]
    if name == "fig8":
        verdicts.append(
            claim(
                results,
                "Ours: the loss as printed has more message errors than the repaired one (its false minimum).",
                [(case, rate, full, "as printed") for case in CASES for rate in RATES],
                because="as printed it is 0 where a user's cross-entropy is ln(e/2), too",
            )
        )
    return verdicts


# --- Table I ---------------------------------------------------------------------------------------------------------

SIZES = (50, 100, 500)
RESOURCES = 4
ITERATIONS = 5  # of message passing, as the printed numbers have it
PRINTED = {  # of 50, 100 and 500 users with one bit each
    "Mul-VAE": (2.11e5, 5.02e5, 5.71e6),
    "MPA": (8.39e11, 1.13e20, 4.52e81),
    "MMSE-SIC": (1.04e6, 8.16e6, 1.01e9),
}
SIMULATED = (1, 1, 1, 2, 2, 2)
"""Bits of the users of the other figures."""


def multiplications(bits: Sequence[int], resources: int = RESOURCES) -> dict[str, float]:
    """Multiplications of a detection by the printed formulas, and of exact detection (2 K for each combination).

    >>> found = multiplications([1] * 50)
    >>> {name: float(f"{value:.2e}") for name, value in found.items() if name != "MAP"}
    {'Mul-VAE': 211000.0, 'MPA': 839000000000.0, 'MMSE-SIC': 1040000.0}
    """
    users, k = len(bits), resources
    answers = [2**each for each in bits]
    mean = sum(answers) / users
    blocks = sum(736 * each**2 + 48 * k * each for each in answers)
    edges = 2 * users / k  # users of a resource
    return {
        "Mul-VAE": blocks + 256 * mean**2 + 8 * (users**2 + users) * mean + 4 * k**2 * users,
        "MPA": 8 * ITERATIONS * users**2 / k * 2.0 ** (edges * sum(bits) / users),
        "MMSE-SIC": 2.0 * users**3 * k + 4 * users**2 * k + 2 * users * k,
        "MAP": 2 * k * 2.0 ** sum(bits),
    }


def draw_costs(results: Results) -> Figure:
    """Multiplications against the number of users, and CPU time here with 6 of them."""
    figure, (left, right) = style.new_figure(style.PAGE_IN, 2.9, 1, 2)
    looks = {"MMSE-SIC": style.GREEN, "MPA": style.VERMILION, "Mul-VAE": style.BLUE, "MAP": style.BLACK}
    for name, colour in looks.items():
        points = [(size, multiplications([1] * size)[name]) for size in (6, 12, 25, *SIZES)]
        left.plot(*zip(*points, strict=True), marker="o", markersize=3.5, color=colour, label=name)
        for size, value in zip(SIZES, PRINTED.get(name, ()), strict=False):
            left.plot(size, value, "x", color=style.BLACK, markersize=5, zorder=5)
    left.plot([], [], "x", color=style.BLACK, linestyle="none", label="printed")
    left.set_xscale("log")
    left.set_yscale("log")
    left.set_ylim(1e2, 1e24)
    left.set_xlabel("users of one bit, on 4 resources")
    left.set_ylabel("multiplications of a detection")
    left.grid(which="major")
    left.legend()
    draw_times(right, results, looks)
    right.set_xlabel("CPU time of a frame, 6 users (µs)")
    style.panel_letter(left, "a", "by formulas")
    style.panel_letter(right, "b", "measured, in batches")
    return figure


def judge_costs(results: Results) -> list[Verdict]:
    """Verdicts on table I."""
    large = [multiplications([1] * size) for size in SIZES]
    small = multiplications(SIMULATED)
    return [
        positive(
            "The printed numbers follow from the printed formulas (to half a per cent).",
            [
                Number(
                    f"0.005 minus |ln of the ratio|, {name}, N = {size}",
                    0.005 - abs(math.log(each[name] / value)),
                    0.0,
                    "",
                )
                for name, values in PRINTED.items()
                for size, each, value in zip(SIZES, large, values, strict=True)
            ],
        ),
        positive(
            "With many users Mul-VAE takes fewer multiplications than MMSE-SIC.",
            [
                Number(f"log10 of the ratio, N = {size}", math.log10(each["MMSE-SIC"] / each["Mul-VAE"]), 0.0, "")
                for size, each in zip(SIZES, large, strict=True)
            ],
        ),
        positive(
            "Ours: at the simulated 6 users it is the other way round: Mul-VAE takes more than MMSE-SIC, MPA and MAP.",
            [
                Number(f"log10 of the ratio to {name}", math.log10(small["Mul-VAE"] / small[name]), 0.0, "")
                for name in ("MMSE-SIC", "MPA", "MAP")
            ],
        ),
    ]


for _name, _title in (
    ("fig6", "Figure 6: decoupling attention"),
    ("fig7", "Figure 7: connected tasks"),
    ("fig8", "Figure 8: prioritised tasks"),
):
    register(Study(f"mul-vae/{_name}", _title, partial(draw, _name), partial(judge, _name), evaluate=evaluate))
register(Study("mul-vae/table1", "Table I: complexity", draw_costs, judge_costs, evaluate=evaluate))
