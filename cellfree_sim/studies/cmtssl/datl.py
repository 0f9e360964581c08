"""Whether distance matters to DATL: copies of the nearest, the farthest and a random model where stations differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellfree_sim.results.figures import style
from cellfree_sim.studies.plots import Look
from cellfree_sim.studies.study import Study, register
from cellfree_sim.studies.verdicts import ERRORS, Number, Verdict, positive

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cellfree_sim.studies.results import Place, Results

LAYOUT = "network"
LARGEST_LOSS = 0.05
POLICIES = {"": "set policy", "dense-": "dense networks"}
COPIES = {
    "nearest": Look("copy of the nearest", style.BLUE, marker="o"),
    "farthest": Look("copy of the farthest", style.VERMILION, marker="s"),
    "random": Look("copy of a random one", style.GREEN, marker="D"),
}
OTHERWISE = {
    "nearest": COPIES["nearest"],
    "untrained": Look("untrained model", style.PURPLE, marker="v"),
    "without": Look("without the new station", style.GREY, marker="x"),
}
REGULAR = ("spaced",)  # layouts in which no station is like another more than like a third
WIDTH = 0.5  # of the points of one layout together


def relative(results: Results, line: str, place: Place) -> Number:
    """What `line` has more than retraining all stations, as a part of that; paired over realisations."""
    retrained = "dense-retrained" if line.startswith("dense-") else "retrained"
    gap, whole = results.difference(line, retrained, place), results.sum_rate(retrained, place).value
    return gap.changed(gap.what, times=1 / whole, unit="of the retrained")


def draw(results: Results) -> Figure:
    """Sum rate against that of retraining: copies, with both kinds of networks, and what is without a copy."""
    figure, panels = style.new_figure(style.PAGE_IN, 2.9, 1, 3)
    titles = ("copies, set policy", "copies, dense networks", "no copy, set policy")
    drawn = (("", COPIES), ("dense-", COPIES), ("", OTHERWISE))
    for axes, letter, title, (prefix, looks) in zip(panels, "abc", titles, drawn, strict=True):
        _compare(axes, results, prefix, looks)
        style.panel_letter(axes, letter, title)
    panels[0].set_ylabel("sum rate against retraining (%)")
    handles = {look.label: look for looks in (COPIES, OTHERWISE) for look in looks.values()}
    _legend(figure, handles)
    return figure


def _compare(axes: Axes, results: Results, prefix: str, looks: Mapping[str, Look]) -> None:
    """One group of points for each layout."""
    step = WIDTH / (len(looks) - 1)
    for index, (line, look) in enumerate(looks.items()):
        numbers = [relative(results, prefix + line, place) for place in results.places]
        at = [group - WIDTH / 2 + step * index for group in range(len(numbers))]
        axes.errorbar(
            at,
            [100 * number.value for number in numbers],
            yerr=[100 * ERRORS * number.error for number in numbers],
            capsize=1.8,
            elinewidth=0.8,
            **{**look.points, "linestyle": "none"},
        )
    axes.axhline(0, color=style.BLACK, linewidth=0.7)
    axes.axhline(-100 * LARGEST_LOSS, color=style.BLACK, linewidth=0.7, linestyle=(0, (4, 2)))
    axes.set_xticks(range(len(results.places)), [place[LAYOUT] for place in results.places])
    axes.set_xlim(-0.5, len(results.places) - 0.5)
    axes.grid(axis="y")


def _legend(figure: Figure, handles: Mapping[str, Look]) -> None:
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], color=look.colour, marker=look.marker, linestyle="none", markersize=4, label=label)
        for label, look in handles.items()
    ]
    bound = Line2D([], [], color=style.BLACK, linewidth=0.7, linestyle=(0, (4, 2)), label="the paper's 5 % of loss")
    figure.legend(handles=[*marks, bound], loc="outside lower center", ncols=3)


def judge(results: Results) -> list[Verdict]:
    """Verdicts on the paper's claim of a small loss, and on whether it is distance that makes it small."""
    verdicts = []
    for prefix, policy in POLICIES.items():
        losses = [(place, relative(results, f"{prefix}nearest", place)) for place in results.places]
        verdicts += [
            positive(
                f"A copy of the nearest model loses less than 5 % against retraining all stations ({policy}).",
                [
                    loss.changed(f"5 % minus the loss, {place[LAYOUT]}", plus=LARGEST_LOSS, unit=loss.unit)
                    for place, loss in losses
                ],
            ),
            *(
                positive(
                    f"Where stations {kind}, the nearest model is a better one to copy than {other} ({policy}).",
                    [
                        results.difference(f"{prefix}nearest", prefix + line, place)
                        for place in results.places
                        if (place[LAYOUT] in REGULAR) == (kind == "stand regularly")
                    ],
                    because="The paper compares with no other copy",
                )
                for kind in ("differ", "stand regularly")
                for line, other in (("farthest", "the farthest"), ("random", "a random one"))
            ),
            positive(
                f"The new station with the copied model serves better than without it ({policy}).",
                [results.difference(f"{prefix}nearest", f"{prefix}without", place) for place in results.places],
                because="Ours, not the paper's",
            ),
        ]
    verdicts.append(
        positive(
            "A copied model is better than an untrained one (set policy).",
            [results.difference("nearest", "untrained", place) for place in results.places],
            because="Ours, not the paper's",
        )
    )
    return verdicts


register(Study("cmtssl/datl", "DATL where stations differ: does distance matter?", draw, judge))
