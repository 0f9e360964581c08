"""Figure 10: fairness in the loss. Figure 11: convergence. Table IV: what receivers cost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cellfree_sim.results.figures import style
from cellfree_sim.studies.noma_link import evaluate
from cellfree_sim.studies.noma_plots import (
    claim,
    draw_curve,
    draw_training,
    lower_loss,
    over_seeds,
    rows_of,
    seeds_of,
    times_of,
)
from cellfree_sim.studies.noma_plots import draw_times as draw_points
from cellfree_sim.studies.plots import DASHED, DOTTED, SOLID, Look, legend_below
from cellfree_sim.studies.study import Study, register
from cellfree_sim.studies.verdicts import Number, Verdict, positive

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cellfree_sim.studies.results import Results

USERS = 6
FAIR = {
    "without": Look("without fairness", style.ORANGE, SOLID, "s"),
    "as printed": Look("fairness as printed", style.SKY, SOLID, "^"),
    "conditional": Look("fairness, conditional", style.BLUE, SOLID, "o"),
    "WBE + SIC by reliability": Look("WBE, SIC by reliability", style.PURPLE, DASHED, "d"),
    "WBE + K-best": Look("WBE, K-best", style.BLACK, DASHED, "P", filled=False),
}
NETS = {
    "SICNN as published": Look("SICNN as published", style.BLUE, SOLID, "o"),
    "SICNN with MMSE": Look("SICNN, MMSE front end", style.GREEN, SOLID, "s"),
    "FCNN": Look("FCNN", style.VERMILION, DOTTED, "^"),
}


def jain(results: Results, scheme: str) -> dict[float, list[float]]:
    """Jain's index of the users' bit error rates, by SNR: one of each seed."""
    found: dict[float, list[float]] = {}
    for _, row in seeds_of(results, "", scheme).iterrows():
        rates = [float(row[f"ber_user_{user}"]) for user in range(USERS)]
        squares = sum(rate * rate for rate in rates)
        if squares > 0:
            found.setdefault(float(row["snr_db"]), []).append(sum(rates) ** 2 / (len(rates) * squares))
    return found


def draw_fairness(results: Results) -> Figure:
    """Jain's index, and bit error rates."""
    figure, (left, right) = style.new_figure(style.PAGE_IN, 3.1, 1, 2)
    for name, look in FAIR.items():
        index = jain(results, name)
        if index:
            snrs = sorted(index)
            means = [sum(index[snr]) / len(index[snr]) for snr in snrs]
            low = [max(mean - min(index[snr]), 0.0) for mean, snr in zip(means, snrs, strict=True)]
            high = [max(max(index[snr]) - mean, 0.0) for mean, snr in zip(means, snrs, strict=True)]
            left.errorbar(snrs, means, yerr=[low, high], capsize=1.8, elinewidth=0.7, **look.points)
        draw_curve(right, rows_of(results, "", name, "ber"), look)
    right.set_yscale("log")
    left.set_ylabel("Jain’s index of BER (bars: range of seeds)")
    right.set_ylabel("bit error rate of active users")
    for letter, axes, title in zip("ab", (left, right), ("fairness", "errors"), strict=True):
        axes.set_xlabel("SNR (dB)")
        axes.grid(which="major")
        style.panel_letter(axes, letter, title)
    legend_below(figure, right, columns=3)
    return figure


def judge_fairness(results: Results) -> list[Verdict]:
    """Verdicts on figure 10."""
    base, numbers, high = jain(results, "without"), {}, []
    for name in ("as printed", "conditional"):
        index = jain(results, name)
        numbers[name] = [
            over_seeds(f"Jain’s index of {name} minus without, {snr:g} dB", [
                ours - theirs for ours, theirs in zip(index[snr], base[snr], strict=False)
            ])
            for snr in sorted(index)
            if snr in base
        ]  # fmt: skip
        if name == "conditional":
            high = [
                over_seeds(f"Jain’s index minus 0.98, {snr:g} dB", [value - 0.98 for value in index[snr]])
                for snr in sorted(index)
                if snr >= 15
            ]
    return [
        positive("The fairness term as printed makes users' error rates more alike.", numbers.get("as printed", [])),
        claim(
            results,
            "It also lowers the bit error rate.",
            [("", "ber", "as printed", "without")],
        ),
        positive("Ours: made conditional on activity, it makes them more alike.", numbers.get("conditional", [])),
        positive("Ours: conditional, Jain's index is at least 0.98 from 15 dB on.", high),
        claim(
            results, "Ours: conditional, it lowers the bit error rate, too.", [("", "ber", "conditional", "without")]
        ),
    ]


def draw_convergence(results: Results) -> Figure:
    """Wrong answers on fresh frames of all SNRs while training, mean and range of seeds."""
    figure, axes = style.new_figure(style.COLUMN_IN, 2.8)
    draw_training(axes, results, "", NETS, "training_ser")
    axes.set_ylabel("wrong answers in training, 0–25 dB")
    legend_below(figure, axes, columns=2)
    return figure


def judge_convergence(results: Results) -> list[Verdict]:
    """Verdicts on figure 11."""
    early = [
        lower_loss(results, "", "SICNN as published", "FCNN", "training_ser", at)
        for at in (0.1, 0.3)
    ]  # fmt: skip
    return [
        positive("SICNN converges faster than a dense network (after a tenth and a third of the training).", early),
        claim(
            results,
            "Trained, SICNN has fewer bit errors than the dense network.",
            [("", "ber", "SICNN as published", "FCNN")],
        ),
        claim(
            results,
            "Ours: with an MMSE front end it has fewer bit errors than as published.",
            [("", "ber", "SICNN with MMSE", "SICNN as published")],
        ),
        claim(
            results,
            "Ours: as published, it has fewer bit errors than cancellation in the order of reliability.",
            [("", "ber", "SICNN as published", "WBE + SIC by reliability")],
        ),
    ]


def draw_times(results: Results) -> Figure:
    """CPU time of a frame."""
    figure, axes = style.new_figure(style.COLUMN_IN, 2.4)
    draw_points(axes, results)
    axes.set_xlabel("CPU time of a frame (µs), in batches")
    return figure


def judge_times(results: Results) -> list[Verdict]:
    """Verdicts on table IV; a time is taken as known to a tenth."""
    times = times_of(results)

    def ratio(slow: str, fast: str, more_than: float = 1.0) -> list[Number]:
        if slow not in times or fast not in times:
            return [Number(f"{slow} over {fast}", math.nan, math.nan, "")]
        value = times[slow] / times[fast]
        return [Number(f"{slow} over {fast}, minus {more_than:g}", value - more_than, 0.14 * value, "")]

    return [
        positive("SICNN takes more time than MMSE-SIC.", ratio("SICNN as published", "MMSE-SIC")),
        positive("Exact detection takes a thousand times as long as MMSE-SIC.", ratio("MAP", "MMSE-SIC", 1000.0)),
        positive("Ours: K-best, which is nearly exact, takes less time than SICNN as published.",
                 ratio("SICNN as published", "K-best")),
    ]  # fmt: skip


register(Study("sicnn/fig10", "Figure 10: a fairness term", draw_fairness, judge_fairness, evaluate=evaluate))
register(Study("sicnn/fig11", "Figure 11: convergence", draw_convergence, judge_convergence, evaluate=evaluate))
register(Study("sicnn/table4", "Table IV: time of receivers", draw_times, judge_times, evaluate=evaluate))
