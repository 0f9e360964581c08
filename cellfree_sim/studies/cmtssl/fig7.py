"""Figure 7: floating-point operations of one decision, by the paper's formulas and counted."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from cellfree_sim.results.figures import style
from cellfree_sim.scenario.sweep import short_name
from cellfree_sim.studies.plots import DASHED, DOTTED, SOLID, Look, draw_curves, legend_below
from cellfree_sim.studies.study import Row, Study, register
from cellfree_sim.studies.verdicts import Number, Verdict, judged, positive

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from cellfree_sim.downlink.policy import PolicyShape
    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.studies.results import Place, Results

STATIONS, USERS, SUBCARRIERS = "network.sbs.count", "network.users.count", "radio.subcarriers"
COLUMN = "flops_per_realisation"
PRINTED = ("rsa-zf printed", "gsa-zf printed")
LOOKS: Mapping[str, Look] = {
    "cmtssl printed": Look("CMTSSL", style.VERMILION, SOLID, "s"),
    "dmtssl printed": Look("DMTSSL, one station", style.BLUE, SOLID, "o"),
    "rsa-zf printed": Look("RSA+ZFBF, formula", style.GREY, DASHED, "v", filled=False),
    "gsa-zf printed": Look("GSA+ZFBF, formula", style.GREY, SOLID, "^", filled=False),
    "set": Look("set policy, one station (ours)", style.GREEN, SOLID, "D"),
    "central set": Look("central set policy (ours)", style.GREEN, DASHED, "D", filled=False),
    "gsa-zf": Look("GSA+ZF, one user, counted", style.ORANGE, SOLID, "^"),
    "wmmse": Look("WMMSE, counted", style.PURPLE, DASHED, "d", filled=False),
    "ascent": Look("ascent, counted", style.BLACK, DOTTED, "x"),
}


def evaluate(scenario: Scenario) -> list[Row]:
    """FLOPs of every method at the sizes of a scenario."""
    from cellfree_sim.downlink import flops
    from cellfree_sim.downlink.policies.set import Set
    from cellfree_sim.downlink.policy import PolicyShape
    from cellfree_sim.scenario.extensions import REFERENCES

    network = scenario.network
    stations, users = network.sbs.count, network.users.count
    shape = PolicyShape(
        subcarriers=scenario.radio.subcarriers,
        tx_antennas=network.sbs.antennas.count,
        users=users,
        rx_antennas=network.users.antennas,
        stations=stations,
        loss_weights=1 + users + stations,
    )
    channel = _test_channel(scenario)
    found: dict[str, float] = {
        "cmtssl printed": flops.cmtssl_flops(shape),
        "dmtssl printed": flops.dmtssl_flops(shape),
        "rsa-zf printed": flops.rsa_zfbf_flops(shape),
        "gsa-zf printed": flops.gsa_zfbf_flops(shape),
        "set": flops.flops_per_realisation(Set().build(shape, seed=0), shape),
    }
    for name in ("gsa-zf", "wmmse", "ascent"):
        found[name] = flops.reference_flops(REFERENCES.create(name), channel)
    found["central set"] = _central_flops(channel, shape)
    return [{"algorithm": name, "learned": False, COLUMN: value} for name, value in found.items()]


def _test_channel(scenario: Scenario) -> Tensor:
    """The test realisations of all stations, scaled, [S, B, N, T, I, R]."""
    import torch

    from cellfree_sim.channel import station_channels
    from cellfree_sim.network import build_network

    network = build_network(scenario)
    scale = np.float32(10 ** ((scenario.network.sbs.power_dbm - scenario.radio.noise_dbm) / 20))
    parts = [station_channels(scenario, network, name, "test") * scale for name in network.stations]
    return torch.from_numpy(np.stack(parts, axis=1))


def draw(along: str, axis: str, results: Results) -> Figure:
    """The figure."""
    figure, axes = style.new_figure(style.COLUMN_IN, 3.7)
    draw_curves(axes, results, along, LOOKS, column=COLUMN)
    axes.set_yscale("log")
    axes.set_xlabel(axis)
    axes.set_ylabel("FLOPs of one decision")
    legend_below(figure, axes)
    return figure


def judge(along: str, results: Results) -> list[Verdict]:
    """Verdicts by the paper's own formulas; its numbers of the networks come from an unnamed library."""
    dense = ("cmtssl printed", "dmtssl printed")
    verdicts = [
        _is_zero(
            "The complexities of CMTSSL and DMTSSL are linear functions of the axis.",
            [_bend(results, line, along) for line in dense],
        ),
        positive(
            "DMTSSL has fewer FLOPs than CMTSSL (per station, as the paper counts).",
            [_gap(results, "cmtssl printed", "dmtssl printed", at) for at in results.places if _stations(at) > 1],
        ),
    ]
    last = results.places[-1]
    if along == USERS:
        verdicts += [
            positive(
                "The complexities of RSA+ZFBF and GSA+ZFBF are power functions of the number of users.",
                [_exponent(results, line, along) for line in PRINTED],
                because="The exponent between the last two points, less one; it tends to 3",
            ),
            positive(
                "With many users, the FLOPs of CMTSSL and DMTSSL are significantly lower than those of the baselines.",
                [_gap(results, other, line, last) for other in PRINTED for line in dense],
            ),
        ]
    else:
        verdicts += [
            positive(
                "At the largest value, the FLOPs of DMTSSL are lower than those of the baselines.",
                [_gap(results, other, "dmtssl printed", last) for other in PRINTED],
                because=_halved(results, last),
            ),
            positive(
                "CMTSSL is not competitive there: it takes more FLOPs than the baselines.",
                [_gap(results, "cmtssl printed", other, last) for other in PRINTED],
            ),
        ]
    verdicts.append(
        positive(
            "GSA+ZF in its strong form takes fewer FLOPs than DMTSSL's network of one station.",
            [_gap(results, "dmtssl printed", "gsa-zf", at) for at in results.places],
            because="Ours, not the paper's: its baselines invert matrices that their strong form does not need",
        )
    )
    return verdicts


def _central_flops(channel: Tensor, shape: PolicyShape) -> int:
    """FLOPs of the central set policy for one realisation of all stations."""
    from torch import nn

    from cellfree_sim.downlink.flops import flops_per_realisation
    from cellfree_sim.downlink.policies.set import Set

    class AllStations(nn.Module):
        """The counter makes the channel of one station; this repeats it for all."""

        def __init__(self) -> None:
            super().__init__()
            self.policy = Set().build_central(shape, seed=0)

        def forward(self, one: Tensor) -> object:
            return self.policy(one.unsqueeze(1).repeat_interleave(channel.shape[1], 1))

    return flops_per_realisation(AllStations(), shape)


def _stations(place: Place) -> int:
    return int(place.get(STATIONS, 3))


def _halved(results: Results, place: Place) -> str:
    """What the comparison is where the library counts a multiply-add as one operation, as many do."""
    half = _value(results, "dmtssl printed", place) / 2
    gaps = [_value(results, other, place) - half for other in PRINTED]
    if not np.isfinite(gaps).all():
        return ""
    lower = "lower" if min(gaps) > 0 else "not lower either"
    return f"Two operations are counted for each weight; with one, half of it, DMTSSL is {lower} there"


def _value(results: Results, line: str, place: Place) -> float:
    return results.column(COLUMN, line, place).value


def _gap(results: Results, first: str, second: str, place: Place) -> Number:
    gap = _value(results, first, place) - _value(results, second, place)
    where = ", ".join(f"{short_name(key)} {value}" for key, value in place.items())
    return Number(f"{LOOKS[first].label} minus {LOOKS[second].label} at {where}", gap / 1e6, unit="MFLOP")


def _bend(results: Results, line: str, along: str) -> Number:
    """Largest distance of a curve from the straight line through its ends, relative to its last value."""
    x = np.array([float(place[along]) for place in results.places])
    y = np.array([_value(results, line, place) for place in results.places])
    straight = y[0] + (y[-1] - y[0]) * (x - x[0]) / (x[-1] - x[0])
    return Number(
        f"{LOOKS[line].label}: largest distance from a straight line",
        float(np.abs(y - straight).max() / y[-1]),
        unit="",
    )


def _exponent(results: Results, line: str, along: str) -> Number:
    before, last = results.places[-2], results.places[-1]
    growth = np.log(_value(results, line, last) / _value(results, line, before))
    return Number(
        f"{LOOKS[line].label}: exponent minus 1", float(growth / np.log(last[along] / before[along]) - 1), unit=""
    )


def _is_zero(claim: str, numbers: list[Number]) -> Verdict:
    if not all(number.known for number in numbers):
        return judged(claim, "undecided", "not all points were measured", numbers)
    worst = max(numbers, key=lambda number: number.value)
    if worst.value < 1e-9:
        return judged(claim, "holds", "they are, exactly", numbers)
    return judged(claim, "does not hold", str(worst), numbers)


for _letter, _along, _axis in (
    ("a", STATIONS, "number of stations B"),
    ("b", USERS, "number of users I"),
    ("c", SUBCARRIERS, "number of subcarriers N"),
):
    register(
        Study(
            f"cmtssl/fig7{_letter}",
            f"Figure 7({_letter}): FLOPs against the {_axis}",
            partial(draw, _along, _axis),
            partial(judge, _along),
            evaluate=evaluate,
        )
    )
