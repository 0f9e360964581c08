"""Figure 13: whom users attend to, where only users of the same set interfere.

As in the paper, the channels of all users are orthogonal, and each of three sets is mixed by a random matrix of its
own, so that users interfere within their set only. Attention is compared with how much the channels are aligned, and
with what expectation propagation goes by: how much the joint posterior of the symbols correlates them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from cellfree_sim.errors import DetectorError
from cellfree_sim.results.figures import style
from cellfree_sim.studies.link import (
    is_learned,
    link_of,
    measure,
    missing,
    notes_of,
    prepared,
    problem_of,
    trained_otherwise,
)
from cellfree_sim.studies.re_mimo.curves import LOOKS, with_training
from cellfree_sim.studies.study import Study, register
from cellfree_sim.studies.verdicts import Number, Verdict, positive
from cellfree_sim.uplink.mimo import MimoProblem

if TYPE_CHECKING:
    import torch
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import Tensor

    from cellfree_sim.scenario.link import Link
    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.studies.results import Results

Row = dict[str, Any]
SETS = 3
BLOCK = 3  # of RE-MIMO, the one that the paper shows
MOST = 0.9  # of a user's attention to others, that "only" its own set gets
SLOTS = 2000  # whose maps are averaged
MAPS = {
    "alignment": "alignment of channels",
    "posterior": "correlation of symbols (EP)",
    "attention": f"attention, block {BLOCK}",
}


class GroupedProblem(MimoProblem):
    """Users in `SETS` sets of equal size, whose channels are orthogonal between sets and random within them."""

    def _fading(self, count: int, generator: torch.Generator | None, device: torch.device | str) -> Tensor:
        import torch

        from cellfree_sim.uplink.fading import complex_normal

        each = self.n_tx // SETS
        basis = torch.linalg.qr(complex_normal((count, self.n_rx, self.n_tx), 1.0, generator, device))[0]
        mixing = complex_normal((count, SETS, each, each), 1 / each, generator, device)
        parts = [basis[..., k * each : (k + 1) * each] @ mixing[:, k] for k in range(SETS)]
        return torch.cat(parts, dim=-1)


def evaluate(scenario: Scenario) -> list[Row]:
    """Rows of error rates, as of `cellfree_sim.studies.link.evaluate`; and of the three maps, by users i and j."""
    link = link_of(scenario)
    problem = GroupedProblem(**link.problem.options())
    ready, rows = prepared(link, problem_of(link))
    for snr_db in link.snr_db:
        rows += measure(link, problem, ready, snr_db, scenario.seed)
    return rows + _maps(link, problem, scenario.seed)


def _maps(link: Link, problem: GroupedProblem, seed: int) -> list[Row]:
    import torch

    from cellfree_sim.seeds import integer

    generator = torch.Generator().manual_seed(integer(seed, "attention"))
    slots = problem.sample(SLOTS, link.snr_db[-1], generator=generator)
    gram = slots.h.mH @ slots.h
    found = {
        "alignment": _normalised(gram),
        "posterior": _normalised(
            torch.linalg.inv(gram / slots.noise_variance[:, None, None] + torch.eye(problem.n_tx, dtype=gram.dtype))
        ),
    }
    for label, options in link.labelled().items():
        if is_learned(link, label) and "attention" in type(options).model_fields:
            attention = _attention(options.model_copy(update={"attention": True}), link, slots)
            if attention is not None:
                found["attention"] = attention
    return [row for name, maps in found.items() for row in _rows(name, maps)]


def _attention(options: Any, link: Link, slots: Any) -> Tensor | None:
    """Weights [S, N, N] of one block, the mean over its heads; None without trained weights."""
    from cellfree_sim.detection import Detector

    try:
        detector = Detector(options, problem_of(link))
    except DetectorError:
        return None
    maps: Tensor = detector(slots.y, slots.h_known, slots.noise_variance).details["attention"]
    return maps[min(BLOCK, len(maps)) - 1].mean(dim=1)


def _normalised(matrix: Tensor) -> Tensor:
    own = matrix.diagonal(dim1=-2, dim2=-1).real.sqrt()
    return matrix.abs() / (own.unsqueeze(-1) * own.unsqueeze(-2))


def _rows(name: str, maps: Tensor) -> list[Row]:
    """The mean map, and what part of what is between different users is within sets, with its error over the slots.

    `others_alike` is the part that is within sets where all other users have the same.
    """
    users = maps.shape[-1]
    sets = np.arange(users) // (users // SETS)
    others = ~np.eye(users, dtype=bool)
    own = maps[:, others & (sets[:, None] == sets[None, :])].sum(dim=-1) / maps[:, others].sum(dim=-1)
    summary = {
        "algorithm": name,
        "own_set": own.mean().item(),
        "own_set_error": own.std().item() / math.sqrt(len(own)),
        "others_alike": (users / SETS - 1) / (users - 1),
    }
    mean = maps.mean(dim=0)
    cells = [
        {"algorithm": name, "i": i, "j": j, "weight": mean[i, j].item()} for i in range(users) for j in range(users)
    ]
    return [summary, *cells]


def draw(results: Results) -> Figure:
    """The maps side by side, without their diagonals."""
    found = {name: grid for name in MAPS if (grid := _grid(results, name)) is not None}
    figure, panels = style.new_figure(style.PAGE_IN, 2.45, 1, len(MAPS))
    for axes, letter, name in zip(panels, "abc", MAPS, strict=True):
        style.panel_letter(axes, letter, MAPS[name])
        if name in found:
            _heat(figure, axes, found[name])
        else:
            axes.set_axis_off()
            axes.set_box_aspect(1)
            axes.text(0.5, 0.5, "not measured: see\nthe table’s notes", ha="center", va="center", color=style.GREY)
    panels[0].set_ylabel("user i")
    rates = _rates(results)
    if rates:
        figure.supxlabel(rates, fontsize=7)
    return figure


def _heat(figure: Figure, axes: Axes, grid: NDArray[np.float64]) -> None:
    from matplotlib.ticker import MaxNLocator

    users = len(grid)
    others = np.ma.masked_array(grid, np.eye(users, dtype=bool))  # what users have of themselves would hide the rest
    axes.set_facecolor(style.GREY)
    image = axes.imshow(others, cmap="viridis", vmin=0, interpolation="nearest")
    each = users // SETS
    for edge in range(each, users, each):
        axes.axhline(edge - 0.5, color="white", linewidth=0.6)
        axes.axvline(edge - 0.5, color="white", linewidth=0.6)
    ticks = list(range(0, users, each))
    axes.set_xticks(ticks, [str(tick + 1) for tick in ticks])
    axes.set_yticks(ticks, [str(tick + 1) for tick in ticks])
    axes.set_xlabel("user j")
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, format="%.2g")
    bar.locator = MaxNLocator(4)
    bar.update_ticks()
    bar.outline.set_visible(False)


def _grid(results: Results, name: str) -> NDArray[np.float64] | None:
    table = results.table
    rows = table[(table["algorithm"] == name) & table["i"].notna()] if "i" in table else table.iloc[:0]
    if not len(rows):
        return None
    return rows.pivot_table(index="i", columns="j", values="weight").to_numpy(float)


def _rates(results: Results) -> str:
    """Error rates at the last SNR, in words."""
    table = results.table
    rows = table[table["snr_db"].notna()] if "snr_db" in table else table.iloc[:0]
    if not len(rows):
        return ""
    last = rows[rows["snr_db"] == rows["snr_db"].max()]
    rates = [
        f"{LOOKS[row['algorithm']].label} {row['ser']:.2g} ± {2 * row['ser_error']:.1g}"
        for _, row in last.iterrows()
        if row["algorithm"] in LOOKS
    ]
    return f"symbol error rates at {rows['snr_db'].max():g} dB: {', '.join(rates)}"


def judge(results: Results) -> list[Verdict]:
    """Verdicts on what attention goes to.

    What expectation propagation goes by is drawn, and not judged: of orthogonal sets, it is zero between them.
    """
    lacking = "; ".join(notes_of(results)) if missing(results, ["re-mimo"]) else ""
    return [
        own_set(
            results, "A user of RE-MIMO attends only to users of its own set (90 % of what others get).", MOST, lacking
        ),
        own_set(results, "A user of RE-MIMO attends to others of its own set more than to the rest.", None, lacking),
    ]


def own_set(results: Results, claim: str, least: float | None, because: str = "") -> Verdict:
    """A verdict on more than `least` of the attention to others being within sets; None: than by chance.

    Where the network was not trained for these channels, that it does not is no evidence.
    """
    verdict = positive(claim, [within_sets(results, "attention", least)], because=because)
    texts = [trained_otherwise(results, case, "re-mimo") for case in results.cases]
    otherwise = {"re-mimo": next(text for text in texts if text)} if any(texts) else {}
    return with_training(verdict, otherwise, verdict.verdict == "does not hold")


def within_sets(results: Results, name: str, least: float | None) -> Number:
    """The part of a map, without its diagonal, that is within sets, minus `least`; None: what chance would give."""
    table = results.table
    rows = table[(table["algorithm"] == name) & table["own_set"].notna()] if "own_set" in table else table.iloc[:0]
    if not len(rows):
        return Number(f"part of the {name} within sets", math.nan, math.nan, "")
    row = rows.iloc[0]
    bound = float(row["others_alike"]) if least is None else least
    what = f"part of the {name} within sets minus {bound:.2g}"
    return Number(what, row["own_set"] - bound, row["own_set_error"], "", one_training=name == "attention")


register(Study("re-mimo/fig13", "Figure 13: whom RE-MIMO attends to", draw, judge, evaluate=evaluate))
