"""Table II and Figure 5: the loss schemes, with the networks as printed and with the choices that make them work."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cellfree_sim.results.figures import style
from cellfree_sim.results.formats import signed
from cellfree_sim.studies.plots import DASHED, REFERENCES, SOLID, Look, legend_below
from cellfree_sim.studies.study import Study, register
from cellfree_sim.studies.verdicts import ERRORS, SURE, Number, Verdict, cannot_hold, judged, positive, surely_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from cellfree_sim.studies.results import Place, Results

KEY = "downlink.loss_scheme"
SCHEMES = {
    "nfl": "Loss Scheme 1",
    "el": "Loss Scheme 2",
    "linear": "Loss Baseline 1",
    "negative-fraction": "Loss Baseline 2",
    "exponential": "Loss Baseline 3",
}
GROUPS = {"printed": "as printed", "ours": "with our choices"}
ALGORITHMS = ("cmtssl", "dmtssl")
SHOWN = ("nfl", "el")  # the loss schemes of Figure 5
PAPER = {
    "cmtssl": {"nfl": 0.796, "el": 0.687, "exponential": 0.249},
    "dmtssl": {"nfl": 0.911, "el": 0.986, "exponential": 0.381},
}
LARGEST_EXCESS = 0.1  # of the power budget, up to which a policy is said to keep it
FARTHER = 3.0  # times that of Loss Scheme 2, from which on the excess is the loss baseline's doing
LEAST_SHARE = 0.5  # of the sum rate that Loss Scheme 2 reaches, below which training is said to have failed
LOOKS: Mapping[str, Look] = {
    "cmtssl": Look("CMTSSL", style.VERMILION, marker="s"),
    "dmtssl": Look("DMTSSL", style.BLUE, marker="o"),
}
CURVES: Mapping[str, tuple[dict[str, Any], str]] = {
    "nfl": ({"linestyle": SOLID}, "Loss Scheme 1"),
    "el": ({"linestyle": DASHED}, "Loss Scheme 2"),
    "exponential": ({"linestyle": "none", "marker": "o", "markersize": 2.5, "markevery": 0.05}, "Loss Baseline 3"),
}
SMOOTHED_STEPS = 5
SETTLED = 0.05  # of the way from the first loss to the last, within which a curve has converged


def at(scheme: str) -> Place:
    """The place of a loss scheme."""
    return {KEY: scheme}


def draw_table(results: Results) -> Figure:
    """Sum rates of all schemes, and the paper's table below them."""
    figure, panels = style.new_figure(style.PAGE_IN, 3.8, 1, 2, sharey=True)
    for axes, letter, group in zip(panels, "ab", GROUPS, strict=True):
        for shift, (name, look) in zip((-0.13, 0.13), LOOKS.items(), strict=True):
            for index, scheme in enumerate(SCHEMES):
                number = results.sum_rate(f"{group}-{name}", at(scheme))
                if math.isfinite(number.value):
                    bar = ERRORS * number.error
                    axes.errorbar(index + shift, number.value, yerr=bar, capsize=2, elinewidth=0.8, **look.points)
                else:
                    axes.plot(index + shift, 0.2, marker="x", color=look.colour, markersize=5, linestyle="none")
        for reference in ("gsa-zf-literal", "gsa-zf", "wmmse"):
            number = results.sum_rate(reference)
            if math.isfinite(number.value):
                axes.axhline(number.value, zorder=1, **REFERENCES[reference].plot)
        axes.set_xticks(range(len(SCHEMES)), [title.replace(" ", "\n", 1) for title in SCHEMES.values()])
        axes.set_xlim(-0.5, len(SCHEMES) - 0.5)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y")
        style.panel_letter(axes, letter, GROUPS[group])
        _add_table(axes, results, group)
    panels[0].set_ylabel("sum rate (bit/s/Hz)")
    legend_below(figure, panels[0], columns=5)
    return figure


def _add_table(axes: Axes, results: Results, group: str) -> None:
    cells = []
    for name in ALGORITHMS:
        numbers = {scheme: results.sum_rate(f"{group}-{name}", at(scheme)) for scheme in SCHEMES}
        cells.append([f"{number.value:.2f}" if math.isfinite(number.value) else "–" for number in numbers.values()])
    place: Any = (0, -0.35, 1, 0.15)
    table = axes.table(cells, rowLabels=[LOOKS[name].label for name in ALGORITHMS], bbox=place, edges="")
    table.auto_set_font_size(False)
    table.set_fontsize(7)


def judge_table(results: Results) -> list[Verdict]:
    """Verdicts on what the paper reads from Table II."""
    verdicts = [
        cannot_hold(
            "Loss Scheme 2 significantly outperforms Loss Baseline 3 (CMTSSL 0.687 to 0.249, DMTSSL 0.986 to 0.381).",
            "with x2 = 0 they are one function where f <= 0 and r_i >= r_min, and nearly so elsewhere: the printed "
            "formulas leave no gap, and what is measured is the scatter of training",
            [_gap(results, group, name, "el", "exponential") for group in GROUPS for name in ALGORITHMS],
        )
    ]
    for group, words in GROUPS.items():
        verdicts += [
            positive(
                f"Loss Scheme 1 significantly outperforms Loss Baseline 3 ({words}).",
                [_gap(results, group, name, "nfl", "exponential") for name in ALGORITHMS],
            ),
            *(_does_not_converge(results, group, scheme) for scheme in ("linear", "negative-fraction")),
            positive(
                f"CMTSSL: Loss Scheme 1 is superior to Loss Scheme 2 ({words}).",
                [_gap(results, group, "cmtssl", "nfl", "el")],
            ),
            positive(
                f"DMTSSL: Loss Scheme 2 is superior to Loss Scheme 1 ({words}).",
                [_gap(results, group, "dmtssl", "el", "nfl")],
            ),
            positive(
                f"DMTSSL is superior to CMTSSL with either loss scheme ({words}).",
                [_gain(results, group, scheme) for scheme in ("nfl", "el")],
            ),
        ]
    verdicts.append(_absolute(results))
    return verdicts


def _gap(results: Results, group: str, name: str, first: str, second: str) -> Number:
    number = results.difference(f"{group}-{name}", f"{group}-{name}", at(first), at(second))
    what = f"{LOOKS[name].label} {GROUPS[group]}, {SCHEMES[first]} minus {SCHEMES[second]}"
    return number.changed(what, unit=number.unit)


def _gain(results: Results, group: str, scheme: str) -> Number:
    number = results.difference(f"{group}-dmtssl", f"{group}-cmtssl", at(scheme))
    return number.changed(f"DMTSSL minus CMTSSL {GROUPS[group]}, {SCHEMES[scheme]}", unit=number.unit)


def _does_not_converge(results: Results, group: str, scheme: str) -> Verdict:
    """Whether training with a loss baseline fails, with both algorithms: its loss is not finite any more, its power
    leaves the budget much farther than with Loss Scheme 2, or it reaches less than half of that one's sum rate.
    """
    claim = f"{SCHEMES[scheme]} does not converge ({GROUPS[group]})."
    numbers: list[Number] = []
    fine: list[str] = []
    unknown: list[str] = []
    failures: list[str] = []
    for name in ALGORITHMS:
        label = LOOKS[name].label
        measured, failure = _failure(results, group, name, scheme)
        numbers += measured
        if failure:
            failures.append(f"{label}: {failure}")
        else:
            (fine if all(number.known for number in measured) else unknown).append(label)
    if fine:
        good = f"the loss is finite, the power kept as well, the sum rate at least {LEAST_SHARE:.0%} of Loss Scheme 2's"
        return judged(claim, "does not hold", f"{' and '.join(fine)}: {good}", numbers)
    if unknown:
        return judged(claim, "undecided", "; ".join([*failures, f"{' and '.join(unknown)}: not measured"]), numbers)
    return judged(claim, "holds", "; ".join(failures), numbers)


def _failure(results: Results, group: str, name: str, scheme: str) -> tuple[list[Number], str]:
    """What is measured of one algorithm, and in what its training fails; nothing where it does not, or is not known."""
    label, line = LOOKS[name].label, f"{group}-{name}"
    states = [each.outcome.status for each, _ in results.at(line, at(scheme))]
    ended, diverged = sum(state in ("done", "diverged") for state in states), states.count("diverged")
    rate, usual = (results.sum_rate(line, at(each)) for each in (scheme, "el"))
    share = rate.changed(f"{label}: sum rate relative to Loss Scheme 2", times=1 / usual.value)
    excess, usual_excess = (
        Number(f"{label}: power above the budget before projection{what}", _excess(results, line, each), unit="P_max")
        for what, each in (("", scheme), (", with Loss Scheme 2", "el"))
    )
    stopped = Number(f"{label}: runs whose loss stopped being finite", diverged, unit=f"of {ended}")
    measured = [replace(stopped, one_training=ended == 1), share, excess, usual_excess]
    failures = []
    if diverged:
        failures.append(f"the loss stops being finite in {diverged} of {ended} runs")
    elif all(number.known for number in measured):
        if excess.value > max(LARGEST_EXCESS, FARTHER * usual_excess.value):
            failures.append(
                f"the power exceeds its budget by {excess.value:.2g} of it, more than {FARTHER:g} times as far as with "
                "Loss Scheme 2"
            )
        if share.value < LEAST_SHARE:
            failures.append(f"the sum rate is less than {LEAST_SHARE:.0%} of what Loss Scheme 2 reaches")
    return measured, " and ".join(failures)


def _excess(results: Results, line: str, scheme: str) -> float:
    """Largest power above the budget, in units of it, before projection; not a number where no run is done."""
    runs = [each for each, _ in results.at(line, at(scheme)) if each.outcome.status == "done"]
    return max((float(run.summary["downlink"]["power_violation"]) for run in runs), default=math.nan)


def _absolute(results: Results) -> Verdict:
    """The paper's absolute numbers."""
    numbers = []
    for name in ALGORITHMS:
        for scheme in ("nfl", "el"):
            number = results.sum_rate(f"printed-{name}", at(scheme))
            what = f"{LOOKS[name].label} as printed, {SCHEMES[scheme]}, minus the paper's {PAPER[name][scheme]:g}"
            numbers.append(number.changed(what, plus=-PAPER[name][scheme], unit=number.unit))
    claim = "The sum rates are 0.687 to 0.986 bit/s/Hz."
    either_side = [number.changed("", times=-math.copysign(1, number.value)) for number in numbers]
    if far := surely_below(either_side):
        reason = (
            f"{len(far)} of {len(numbers)} are others {SURE} (Holm): positions and numbers of drops are not given, and "
            "noise is printed as -26 dBm; absolute rates cannot be compared, orderings can"
        )
        return judged(claim, "does not hold", reason, numbers)
    unknown = sum(not number.known for number in numbers)
    reason = f"{unknown} of {len(numbers)} were not measured" if unknown else "none is surely another than the paper's"
    return judged(claim, "undecided", reason, numbers)


def draw_losses(results: Results) -> Figure:
    """The joint loss over training steps: mean over seeds, and their range."""
    figure, panels = style.new_figure(style.PAGE_IN, 2.9, 1, 2)
    for axes, letter, group in zip(panels, "ab", GROUPS, strict=True):
        lows, highs, peak = [], [], -math.inf
        for name, look in LOOKS.items():
            for scheme, (form, title) in CURVES.items():
                curves = list(_losses(results, group, name, scheme).values())
                if curves:
                    loss = np.array([curve[: min(map(len, curves))] for curve in curves])
                    steps = np.arange(1, loss.shape[1] + 1)
                    axes.plot(steps, loss.mean(0), color=look.colour, label=f"{look.label}, {title}", **form)
                    axes.fill_between(steps, loss.min(0), loss.max(0), color=look.colour, alpha=0.12, linewidth=0)
                    lows.append(loss.min())
                    highs.append(loss[:, SMOOTHED_STEPS:].max())
                    peak = max(peak, float(loss[:, :SMOOTHED_STEPS].max()))
        if lows:
            way = max(highs) - min(lows)
            axes.set_ylim(min(lows) - 0.05 * way, min(peak + 0.05 * way, max(highs) + way / 3))
        if peak > axes.get_ylim()[1]:
            text = f"up to {signed(peak, '.0f')} in the first {SMOOTHED_STEPS} steps"
            axes.annotate(text, (0.97, 0.93), xycoords="axes fraction", ha="right", fontsize=7)
        axes.set_xlabel("training step")
        axes.grid()
        style.panel_letter(axes, letter, GROUPS[group])
    panels[0].set_ylabel("joint loss (16)")
    legend_below(figure, panels[0], columns=3)
    return figure


def judge_losses(results: Results) -> list[Verdict]:
    """DMTSSL converges faster and stabler than CMTSSL."""
    verdicts = []
    for group, words in GROUPS.items():
        faster = [
            _between(results, group, scheme, "steps to the loss both reach", _sooner, "steps") for scheme in SHOWN
        ]
        verdicts.append(positive(f"DMTSSL converges faster than CMTSSL ({words}).", faster))
        stabler = [_between(results, group, scheme, "scatter from step to step", _calmer, "") for scheme in SHOWN]
        verdicts.append(positive(f"DMTSSL converges stabler than CMTSSL ({words}).", stabler))
    return verdicts


def steps_to(loss: NDArray[np.float64], level: float) -> float:
    """Steps until the smoothed loss is at `level` or below; NaN where it never is.

    >>> steps_to(np.linspace(1.0, 0.0, 101), 0.5)
    51.0
    """
    below = np.flatnonzero(_smoothed(loss) <= level)
    return float(below[0] + 1) if len(below) else math.nan


def unrest(loss: NDArray[np.float64]) -> float:
    """Standard deviation of the differences of neighbouring steps in the last half.

    >>> unrest(np.linspace(1.0, 0.0, 100)) < 1e-9
    True
    """
    return float(np.diff(loss[len(loss) // 2 :]).std())


def _sooner(central: NDArray[np.float64], distributed: NDArray[np.float64]) -> float:
    """How many steps sooner DMTSSL reaches the loss that both come near to in the end."""
    ends = [(_smoothed(loss)[0], _smoothed(loss)[-1]) for loss in (central, distributed)]
    level = max(last + SETTLED * abs(first - last) for first, last in ends)
    return steps_to(central, level) - steps_to(distributed, level)


def _calmer(central: NDArray[np.float64], distributed: NDArray[np.float64]) -> float:
    return unrest(central) - unrest(distributed)


def _between(results: Results, group: str, scheme: str, what: str, measure: Any, unit: str) -> Number:
    """Mean over seeds of a measure of both algorithms' losses, CMTSSL minus DMTSSL."""
    central, distributed = (_losses(results, group, name, scheme) for name in ALGORITHMS)
    gaps = np.array([measure(central[seed], distributed[seed]) for seed in central if seed in distributed])
    words = f"{SCHEMES[scheme]}, {what}: CMTSSL minus DMTSSL"
    if len(gaps) < 2:
        mean = float(gaps.mean()) if len(gaps) else math.nan
        return Number(words, mean, math.nan, unit, one_training=len(gaps) == 1)
    error, seeds = float(gaps.std(ddof=1)), len(gaps)
    finest = SMOOTHED_STEPS / math.sqrt(6) if unit == "steps" else 0.0  # smoothing hides what is finer
    if error < finest:
        error, seeds = finest, 0
    return Number(words, float(gaps.mean()), error / math.sqrt(len(gaps)), unit, seeds)


def _losses(results: Results, group: str, name: str, scheme: str) -> dict[int, NDArray[np.float64]]:
    found = {}
    for seed, rows in results.metrics(f"{group}-{name}", at(scheme)).items():
        loss = rows[rows["phase"] == "training"].sort_values("step")["joint_loss"].to_numpy(float)
        if len(loss) > SMOOTHED_STEPS and np.isfinite(loss).all():
            found[seed] = loss
    return found


def _smoothed(loss: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centred mean over `SMOOTHED_STEPS`, over fewer at the ends."""
    ones = np.ones(SMOOTHED_STEPS)
    return np.convolve(loss, ones, "same") / np.convolve(np.ones_like(loss), ones, "same")


register(Study("cmtssl/table2", "Table II: sum rate of each loss scheme", draw_table, judge_table))
register(Study("cmtssl/fig5", "Figure 5: training losses", draw_losses, judge_losses))
