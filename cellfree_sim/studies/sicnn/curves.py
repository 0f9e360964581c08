"""Figures 6 to 9: bit error rates of signatures and receivers against SNR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cellfree_sim.results.figures import style
from cellfree_sim.studies.noma_link import evaluate
from cellfree_sim.studies.noma_plots import BROWN, Panel, claim, draw_panels
from cellfree_sim.studies.plots import DASHED, DOTTED, SOLID, Look
from cellfree_sim.studies.study import Study, register
from cellfree_sim.studies.verdicts import Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cellfree_sim.studies.results import Results

YLABEL = "bit error rate of active users"
BEYOND = [20.0, 25.0]
SIMILAR = 0.1
PROFILES = {"asymmetric": "p = .8, .8, .8, .4, .4, .4", "high": "p = .8 for all", "low": "p = .4 for all"}
SIGNATURES: Mapping[str, Look] = {
    "QNN + SIC": Look("QNN, MMSE-SIC", style.BLUE, SOLID, "o"),
    "WBE + SIC": Look("WBE, MMSE-SIC", style.VERMILION, SOLID, "s"),
    "MUSA + SIC": Look("MUSA, MMSE-SIC", style.GREEN, SOLID, "^"),
    "QNN + MF": Look("QNN, MF", style.BLUE, DOTTED, "o", filled=False),
    "WBE + MF": Look("WBE, MF", style.VERMILION, DOTTED, "s", filled=False),
    "MUSA + MF": Look("MUSA, MF", style.GREEN, DOTTED, "^", filled=False),
    "searched + SIC by reliability": Look("searched, SIC by reliability", style.PURPLE, DASHED, "d"),
    "WBE + K-best": Look("WBE, K-best", style.BLACK, DASHED, "P", filled=False),
}
RECEIVERS: Mapping[str, Look] = {
    "QNN + SICNN": Look("QNN, SICNN (MMSE front end)", style.BLUE, SOLID, "o", width=1.6),
    "WBE + SICNN": Look("WBE, SICNN (MMSE front end)", style.SKY, SOLID, "o"),
    "unquantised + SICNN": Look("unquantised, SICNN", style.ORANGE, SOLID, "p"),
    "QNN + SIC": Look("QNN, MMSE-SIC", style.BLUE, DOTTED, "s", filled=False),
    "unquantised + SIC": Look("unquantised, MMSE-SIC", style.ORANGE, DOTTED, "p", filled=False),
    "WBE + SIC": Look("WBE, MMSE-SIC", style.VERMILION, DOTTED, "s", filled=False),
    "MUSA + SIC": Look("MUSA, MMSE-SIC", style.GREEN, DOTTED, "^", filled=False),
    "WBE + oracle LS": Look("WBE, oracle LS", style.GREY, DASHED, "v", filled=False),
    "QNN + SIC by reliability": Look("QNN, SIC by reliability", style.PURPLE, DASHED, "d"),
    "QNN + K-best": Look("QNN, K-best", style.BLACK, DASHED, "P", filled=False),
    "QNN + MAP": Look("QNN, exact MAP", BROWN, SOLID, "*"),
}


def draw_signatures(results: Results) -> Figure:
    """One panel for each activity profile."""
    panels = [Panel(case, "ber", title, YLABEL) for case, title in PROFILES.items()]
    return draw_panels(results, panels, SIGNATURES, columns=3, height_in=3.5)


def judge_signatures(results: Results) -> list[Verdict]:
    """Verdicts on figure 6."""

    def pairs(cases: list[str], better: str, *worse: str) -> list[tuple[str, str, str, str]]:
        return [
            (case, "ber", f"{better} + {receiver}", f"{other} + {receiver}")
            for case in cases
            for receiver in ("SIC", "MF")
            for other in worse
        ]

    return [
        claim(
            results,
            "Unequal activity: QNN signatures have fewer bit errors than WBE and MUSA, under MMSE-SIC and MF.",
            pairs(["asymmetric"], "QNN", "WBE", "MUSA"),
        ),
        claim(
            results,
            f"Equal activity: QNN signatures are as good as WBE (within {SIMILAR:.0%}).",
            pairs(["high", "low"], "QNN", "WBE"),
            within=SIMILAR,
        ),
        claim(
            results,
            "Equal activity: QNN signatures have fewer bit errors than MUSA.",
            pairs(["high", "low"], "QNN", "MUSA"),
        ),
        claim(
            results,
            "Ours: with WBE, K-best has fewer bit errors than MMSE-SIC has with any of these signatures.",
            [(case, "ber", "WBE + K-best", f"{name} + SIC") for case in PROFILES for name in ("QNN", "WBE", "MUSA")],
        ),
    ]  # fmt: skip


def draw_quantised(results: Results) -> Figure:
    """One panel."""
    return draw_panels(results, [Panel("", "ber", PROFILES["asymmetric"], YLABEL)], RECEIVERS, columns=1, height_in=4.2)


def judge_quantised(results: Results) -> list[Verdict]:
    """Verdicts on figure 7."""
    return [
        claim(
            results,
            f"Quantised signatures do as well as unquantised ones, under SICNN and MMSE-SIC (within {SIMILAR:.0%}).",
            [("", "ber", f"QNN + {name}", f"unquantised + {name}") for name in ("SICNN", "SIC")],
            within=SIMILAR,
        ),
        claim(
            results,
            "SICNN mitigates the error floor of MMSE-SIC (fewer bit errors at 20 and 25 dB).",
            [("", "ber", "QNN + SICNN", "QNN + SIC")],
            snrs=BEYOND,
        ),
        *_yardsticks(results, ""),
    ]


def judge_receivers(results: Results) -> list[Verdict]:
    """Verdicts on figure 8."""
    return [
        claim(
            results,
            "QNN with SICNN has fewer bit errors than WBE and MUSA with MMSE-SIC.",
            [("", "ber", "QNN + SICNN", name) for name in ("WBE + SIC", "MUSA + SIC")],
        ),
        claim(
            results,
            "SICNN for WBE has fewer bit errors than MMSE-SIC for WBE.",
            [("", "ber", "WBE + SICNN", "WBE + SIC")],
        ),
        claim(
            results,
            "Joint design pays: QNN with SICNN has fewer bit errors than QNN with MMSE-SIC and WBE with SICNN.",
            [("", "ber", "QNN + SICNN", name) for name in ("QNN + SIC", "WBE + SICNN")],
            snrs=BEYOND,
        ),
        claim(
            results,
            "Oracle least squares is a bound.",
            [("", "ber", "WBE + oracle LS", name) for name in ("QNN + SICNN", "WBE + SIC")],
            because="least squares floors where more users are active than there are resources",
        ),
        *_yardsticks(results, ""),
        claim(
            results,
            "Ours: K-best is within 5 % of exact MAP.",
            [("", "ber", "QNN + K-best", "QNN + MAP")],
            within=0.05,
        ),
    ]


def _yardsticks(results: Results, case: str, where: str = "") -> list[Verdict]:
    """What the paper has no lines for."""
    return [
        claim(
            results,
            f"Ours{where}: SICNN has fewer bit errors than cancellation in the order of reliability, too.",
            [(case, "ber", "QNN + SICNN", "QNN + SIC by reliability")],
        ),
        claim(
            results,
            f"Ours{where}: K-best has fewer bit errors than SICNN.",
            [(case, "ber", "QNN + K-best", "QNN + SICNN")],
        ),
    ]


USERS = {"users-6": "N = 6, H = 4", "users-12": "N = 12, H = 8"}


def draw_users(results: Results) -> Figure:
    """One panel for each number of users."""
    panels = [Panel(case, "ber", title, YLABEL) for case, title in USERS.items()]
    return draw_panels(results, panels, RECEIVERS, columns=2, height_in=3.6)


def judge_users(results: Results) -> list[Verdict]:
    """Verdicts on figure 9."""
    return [
        claim(
            results,
            "With 12 users on 8 resources the gain over WBE and MUSA with MMSE-SIC is there, too.",
            [("users-12", "ber", "QNN + SICNN", name) for name in ("WBE + SIC", "MUSA + SIC")],
        ),
        *(verdict for case in USERS for verdict in _yardsticks(results, case, f", {case.rpartition('-')[2]} users")),
    ]


def _draw_receivers(results: Results) -> Figure:
    return draw_quantised(results)


for _name, _title, _draw, _judge in (
    ("fig6", "Figure 6: signatures under conventional receivers", draw_signatures, judge_signatures),
    ("fig7", "Figure 7: quantised and unquantised signatures", draw_quantised, judge_quantised),
    ("fig8", "Figure 8: the learned receiver and conventional ones", _draw_receivers, judge_receivers),
    ("fig9", "Figure 9: 6 and 12 users", draw_users, judge_users),
):
    register(Study(f"sicnn/{_name}", _title, _draw, _judge, evaluate=evaluate))
