"""Figures 9 and 10: message error rates of learned and conventional schemes. Figure 5: learned constellations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cellfree_sim.results.figures import style
from cellfree_sim.studies.noma_link import evaluate, evaluate_codes
from cellfree_sim.studies.noma_plots import BROWN, Panel, claim, draw_panels
from cellfree_sim.studies.plots import DASHED, DOTTED, SOLID, Look, legend_below
from cellfree_sim.studies.study import Study, register
from cellfree_sim.studies.verdicts import Number, Verdict, positive

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from cellfree_sim.studies.results import Results

CASES = {"awgn": "no fading", "rayleigh": "Rayleigh"}
RATES = {"bler_1": "users of 1 bit", "bler_2": "users of 2 bits"}
YLABEL = "message error rate (BLER)"
LOOKS: Mapping[str, Look] = {
    "Mul-VAE": Look("Mul-VAE", style.BLUE, SOLID, "o", width=1.6),
    "E2E": Look("E2E", style.SKY, SOLID, "s"),
    "SCMA + MPA": Look("SCMA, MPA", style.VERMILION, DOTTED, "^", filled=False),
    "SCMA + MAP": Look("SCMA, exact MAP", style.VERMILION, SOLID, "^"),
    "MUSA + SIC": Look("MUSA, MMSE-SIC", style.GREEN, DOTTED, "v", filled=False),
    "MUSA + SIC by reliability": Look("MUSA, SIC by reliability", style.GREEN, DASHED, "d"),
    "learned code + PDA net": Look("learned code, PDA net (ours)", style.PURPLE, SOLID, "p"),
    "MAP-trained + MAP": Look("MAP-trained code, exact MAP (ours)", style.BLACK, DASHED, "P", filled=False),
}
FIRST: Mapping[str, Look] = {
    "mu = −1, gamma = 2": Look("μ = −1, γ = 2", style.BLUE, SOLID, "o"),
    "mu = −1, gamma = 4": Look("μ = −1, γ = 4", style.SKY, SOLID, "s"),
    "mu = 1, gamma = 2": Look("μ = 1, γ = 2", style.ORANGE, SOLID, "^"),
    "SCMA + MPA": Look("SCMA, MPA", style.VERMILION, DOTTED, "v", filled=False),
    "SCMA + MAP": Look("SCMA, exact MAP", BROWN, DASHED, "d", filled=False),
}
USERS = (style.BLUE, style.VERMILION, style.GREEN, style.PURPLE, style.ORANGE, style.BLACK)
MARKERS = "os^dvP"


def _panels() -> list[Panel]:
    return [
        Panel(case, rate, f"{channel}, {users}", YLABEL)
        for case, channel in CASES.items()
        for rate, users in RATES.items()
    ]


def draw(results: Results) -> Figure:
    """Four panels: both channels, users of each rate."""
    return draw_panels(results, _panels(), LOOKS, columns=2, height_in=6.0)


def judge(results: Results) -> list[Verdict]:
    """Verdicts on figure 9."""

    def pairs(case: str, better: str, *worse: str) -> list[tuple[str, str, str, str]]:
        return [(case, rate, better, other) for rate in RATES for other in worse]

    return [
        claim(
            results,
            "Without fading, Mul-VAE has fewer message errors than SCMA-MPA and MUSA-SIC.",
            pairs("awgn", "Mul-VAE", "SCMA + MPA", "MUSA + SIC"),
        ),
        claim(results, "Without fading, Mul-VAE is better than E2E for both rates.", pairs("awgn", "Mul-VAE", "E2E")),
        claim(
            results,
            "With Rayleigh fading, Mul-VAE has the fewest message errors.",
            pairs("rayleigh", "Mul-VAE", "SCMA + MPA", "MUSA + SIC", "E2E"),
            because="trainings here are hundreds of times shorter than the paper's",
        ),
        claim(
            results,
            "With Rayleigh fading, E2E has an error floor for users of 2 bits (above SCMA-MPA).",
            [("rayleigh", "bler_2", "SCMA + MPA", "E2E")],
        ),
        claim(
            results,
            "Ours: a code trained through exact MAP has fewer message errors than Mul-VAE, E2E, SCMA and MUSA at once.",
            [
                (case, rate, "MAP-trained + MAP", other)
                for case in CASES
                for rate in RATES
                for other in ("Mul-VAE", "SCMA + MPA", "MUSA + SIC")
            ],
        ),
        claim(
            results,
            "Ours: with Rayleigh fading, a learned code with a PDA network has fewer than SCMA, MUSA, E2E and Mul-VAE.",
            pairs("rayleigh", "learned code + PDA net", "SCMA + MPA", "MUSA + SIC", "E2E", "Mul-VAE"),
        ),
        claim(
            results,
            "Ours: message passing on SCMA is as good as exact MAP (within 10 %).",
            [(case, rate, "SCMA + MPA", "SCMA + MAP") for case in CASES for rate in RATES],
            within=0.1,
        ),
    ]


def draw_first(results: Results) -> Figure:
    """Figure 10."""
    return draw_panels(results, _panels(), FIRST, columns=2, height_in=5.6)


def judge_first(results: Results) -> list[Verdict]:
    """Verdicts on figure 10: mu = -1, gamma = 2 against the others."""
    best = "mu = −1, gamma = 2"
    return [
        claim(
            results,
            f"Without fading, {best} has fewer message errors than gamma = 4.",
            [("awgn", rate, best, "mu = −1, gamma = 4") for rate in RATES],
        ),
        claim(
            results,
            "Without fading, mu does not matter (within 20 %; |h|^mu is 1).",
            [("awgn", rate, best, "mu = 1, gamma = 2") for rate in RATES],
            within=0.2,
        ),
        claim(
            results,
            f"With Rayleigh fading, {best} has fewer message errors than mu = 1.",
            [("rayleigh", rate, best, "mu = 1, gamma = 2") for rate in RATES],
        ),
    ]


def _codewords(results: Results) -> pd.DataFrame:
    """The rows of codewords, of the first seed."""
    table = results.table
    if "resource" not in table:
        return table.iloc[:0]
    return table[table["resource"].notna() & (table["seed"] == results.seeds[0])]


def draw_constellations(results: Results) -> Figure:
    """What users send on each resource, one row for each code."""
    rows = _codewords(results)
    names = list(dict.fromkeys(rows["algorithm"]))
    resources = sorted(set(rows["resource"])) or [0]
    figure, grid = style.new_figure(
        style.PAGE_IN, 1.0 + 1.7 * max(len(names), 1), max(len(names), 1), len(resources), squeeze=False,
        sharex=True, sharey=True,
    )  # fmt: skip
    for row, name in enumerate(names):
        for column, resource in enumerate(resources):
            axes = grid[row][column]
            here = rows[(rows["algorithm"] == name) & (rows["resource"] == resource)]
            for user, own in here.groupby("user"):
                index = int(str(user).partition(".")[0])
                axes.plot(
                    own["real"], own["imag"], MARKERS[index % 6], color=USERS[index % 6], markersize=4,
                    markerfacecolor="none", label=f"user {index + 1}",
                )  # fmt: skip
            axes.axhline(0, color=style.GREY, linewidth=0.4)
            axes.axvline(0, color=style.GREY, linewidth=0.4)
            axes.set_aspect("equal")
            if row == 0:
                axes.set_title(f"resource {int(resource) + 1}")
            if row == len(names) - 1:
                axes.set_xlabel("in-phase")
            if column == 0:
                axes.set_ylabel(f"{name.partition(' + ')[0]}\nquadrature")
    legend_below(figure, grid[0][0], columns=6)
    return figure


def judge_constellations(results: Results) -> list[Verdict]:
    """Verdicts on figure 5: no two codewords of one user meet, and all users have the same energy."""
    rows = _codewords(results)
    apart, energies = [], []
    for name, code in rows.groupby("algorithm"):
        for user, own in code.groupby("user"):
            words = own.assign(word=own["real"] + 1j * own["imag"]).pivot(
                index="message", columns="resource", values="word"
            )
            values = words.to_numpy()
            distances = [abs(values[i] - values[j]).max() for i in range(len(values)) for j in range(i)]
            what = f"{name}, user {int(float(str(user))) + 1}"
            apart.append(Number(f"least distance, {what}", float(min(distances)) - 0.1, 0.0, ""))
            energy = float((abs(values) ** 2).sum(axis=1).mean())
            energies.append(Number(f"1e-3 minus |energy / 4 - 1|, {what}", 1e-3 - abs(energy / 4 - 1), 0.0, ""))
    return [
        positive("The messages of each user are apart on some resource (by more than 0.1).", apart),
        positive("Ours: all users of all codes send with the same mean energy.", energies),
    ]


register(Study("mul-vae/fig9", "Figure 9: message error rates", draw, judge, evaluate=evaluate))
register(Study("mul-vae/fig10", "Figure 10: first values of mu and gamma", draw_first, judge_first, evaluate=evaluate))
register(
    Study(
        "mul-vae/fig5",
        "Figure 5: learned constellations",
        draw_constellations,
        judge_constellations,
        evaluate=evaluate_codes,
    )
)
