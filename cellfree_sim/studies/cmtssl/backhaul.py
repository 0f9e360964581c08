"""What learning and deciding take on the backhaul, and what sum rate they leave at each precision.

Training time is simulated time: computing at the MEC servers' speeds, and every frame on its links. A run gives it for
the capacity it was built with; for others it follows from the frames themselves (`training_seconds`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cellfree_sim.results.figures import style
from cellfree_sim.scenario.parts import MBS_NAME
from cellfree_sim.studies.plots import DASHED, REFERENCES, SOLID, Look
from cellfree_sim.studies.study import Study, register
from cellfree_sim.studies.verdicts import ERRORS, Number, Verdict, cannot_hold, positive

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from cellfree_sim.studies.results import Ended, Results

PRECISION = "backhaul.precision"
CAPACITIES_BPS = {"100_mbps": 100e6, "1_gbps": 1e9, "10_gbps": 10e9}
SCALAR_BYTES = 4  # the paper's loss, as a float32
LARGEST_LOSS = 0.01
LOOKS = {
    "gradient": Look("DMTSSL, gradient returned", style.BLUE),
    "gradient-cached": Look("DMTSSL, gradient returned, cached", style.SKY),
    "outputs": Look("DMTSSL, outputs relayed", style.VERMILION),
    "outputs-cached": Look("DMTSSL, outputs relayed, cached", style.PURPLE),
    "cmtssl": Look("CMTSSL", style.GREEN),
}
MARKERS = {"float32": "o", "float16": "s", "bfloat16": "D", "int8": "v"}


def training_seconds(summary: dict[str, Any], frames: pd.DataFrame, built_bps: float, capacity_bps: float) -> float:
    """Simulated time of the training of a run, had all its links another capacity.

    For a star, where no two stations share a link: each round waits for the station with the most bits, and computing
    and latencies stay as they are. What the last round sends back is waited for by nobody; the few hundred bytes that
    a station needs to join are left out.

    Args:
        summary: of the run.
        frames: its frames (`RunFolder.backhaul`).
        built_bps, capacity_bps: what its links had, and what they would have.
    """
    sent = frames[(frames["phase"] == "training") & (frames["attempt"] == 0)]
    awaited = sent[(sent["kind"] != "loss_feedback") | (sent["step"] < summary["steps"])]
    station = awaited["sender"].where(awaited["sender"] != MBS_NAME, awaited["receiver"])
    bits = 8.0 * awaited.groupby([awaited["step"], station])["bytes"].sum().groupby(level=0).max().sum()
    return float(summary["simulated_seconds"] + bits * (1 / capacity_bps - 1 / built_bps))


def columns(each: Ended) -> dict[str, Any]:
    """Training time over each capacity, and the bytes of training as the paper would count them."""
    from cellfree_sim.results.run_folder import RunFolder

    frames = RunFolder(each.folder).backhaul()
    built = each.point.scenario.backhaul.capacity_bps
    feedback = frames[(frames["phase"] == "training") & (frames["kind"] == "loss_feedback")]
    scalars = SCALAR_BYTES * len(feedback) - int(feedback["bytes"].sum())
    return {
        "scalar_loss_training_bytes": each.summary["backhaul"]["training_bytes"] + scalars,
        **{
            f"training_seconds_{name}": training_seconds(each.summary, frames, built, capacity)
            for name, capacity in CAPACITIES_BPS.items()
        },
    }


def draw(results: Results) -> Figure:
    """Sum rate against bytes of training and of execution, and training time against the links' capacity."""
    figure, (training, execution, time) = style.new_figure(style.PAGE_IN, 3.1, 1, 3)
    _pareto(training, results, "training_bytes", 1e6)
    training.set_xscale("log")
    _plain(training.xaxis, subs=(1,))
    training.set_xlabel("training, all stations (MB)")
    training.set_ylabel("sum rate (bit/s/Hz)")
    style.panel_letter(training, "a", "bytes to train")
    _pareto(execution, results, "execution_bytes_per_realisation", 1e3)
    execution.set_xlabel("per realisation, all stations (kB)")
    execution.set_xlim(left=-0.6)
    execution.sharey(training)
    execution.tick_params(labelleft=False)
    style.panel_letter(execution, "b", "bytes to decide")
    _times(time, results)
    style.panel_letter(time, "c", "time to train")
    _legend(figure)
    return figure


def _pareto(axes: Axes, results: Results, column: str, unit: float) -> None:
    """A point for each run's kind, and a line along those that no other beats in both."""
    points = []
    for place in results.places:
        for line, look in LOOKS.items():
            bytes_, rate = results.column(column, line, place).value / unit, results.sum_rate(line, place)
            error = results.difference(line, "gsa-zf", place).error  # paired: all decide on the same realisations
            if math.isfinite(rate.value):
                axes.errorbar(
                    bytes_, rate.value, yerr=ERRORS * error, color=look.colour, marker=MARKERS[place[PRECISION]],
                    markersize=5.5, markeredgecolor="white", markeredgewidth=0.5, elinewidth=0.7, linestyle="none",
                    zorder=3,
                )  # fmt: skip
                points.append((bytes_, rate.value))
    front: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda pair: (pair[0], -pair[1])):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    axes.plot([at for at, _ in front], [rate for _, rate in front], color=style.GREY, linewidth=0.9, zorder=1)
    reference = results.sum_rate("gsa-zf")
    axes.axhline(reference.value, **{**REFERENCES["gsa-zf"].plot, "linestyle": DASHED})
    axes.grid()


def _times(axes: Axes, results: Results) -> None:
    """Training time at the largest and the smallest precision."""
    places = {place[PRECISION]: place for place in results.places}
    for line, look in LOOKS.items():
        for precision, dashes in (("float32", SOLID), ("int8", DASHED)):
            if precision in places:
                seconds = [
                    results.column(f"training_seconds_{name}", line, places[precision]).value for name in CAPACITIES_BPS
                ]
                axes.plot(
                    [bps / 1e9 for bps in CAPACITIES_BPS.values()], seconds, color=look.colour, linestyle=dashes,
                    marker=MARKERS[precision], markersize=3.5,
                )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    _plain(axes.yaxis, subs=(1, 2, 5))
    axes.set_xlabel("capacity of each link (Gbit/s)")
    axes.set_ylabel("simulated time (s)")
    axes.set_xticks([bps / 1e9 for bps in CAPACITIES_BPS.values()], ["0.1", "1", "10"])
    axes.minorticks_off()
    axes.grid()


def _plain(axis: Axis, subs: tuple[int, ...]) -> None:
    """Numbers in place of powers of ten on a logarithmic axis."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FormatStrFormatter("%g"))
    axis.set_minor_locator(NullLocator())


def _legend(figure: Figure) -> None:
    """Colours say who sends what, markers the precision."""
    from matplotlib.lines import Line2D

    colours = [Line2D([], [], color=look.colour, linewidth=3, label=look.label) for look in LOOKS.values()]
    reference = Line2D([], [], color=REFERENCES["gsa-zf"].colour, linestyle=DASHED, label="GSA+ZF, one user")
    front = Line2D([], [], color=style.GREY, linewidth=0.9, label="no other has more for less")
    bars = Line2D([], [], color=style.BLACK, marker="|", linestyle="none", markersize=7, markeredgewidth=0.7)
    bars.set_label("2 SE of the gap to GSA+ZF")
    markers = [
        Line2D([], [], color=style.BLACK, marker=marker, linestyle="none", markersize=4.5, label=precision)
        for precision, marker in MARKERS.items()
    ]
    figure.legend(handles=[*colours, reference, front, bars, *markers], loc="outside lower center", ncols=4)


def judge(results: Results) -> list[Verdict]:
    """Verdicts on what the paper says of a scalar loss, and on what precision and CMTSSL cost."""
    places = {place[PRECISION]: place for place in results.places}
    whole = places["float32"]
    return [
        _scalar_loss(results),
        positive(
            "Once trained, DMTSSL decides with fewer bytes on the backhaul than CMTSSL.",
            [_bytes(results, "execution_bytes_per_realisation", "cmtssl", "gradient", place, "B")
             for place in places.values()],
        ),
        positive(
            "Over links of 100 Mbit/s, training DMTSSL takes more than twice as long as over 10 Gbit/s (float32).",
            [_slower(results, line, whole) for line in LOOKS if line != "cmtssl"],
        ),
        positive(
            "To learn, CMTSSL sends fewer bytes than DMTSSL with channels cached.",
            [_bytes(results, "training_bytes", "gradient-cached", "cmtssl", place, "B") for place in places.values()],
            because="It uploads its training channels once and learns at the MBS",
        ),
        *(
            positive(
                f"Frames of {precision} leave more than 99 % of the sum rate.",
                [_kept(results, line, places[precision], whole) for line in LOOKS],
            )
            for precision in places
            if precision != "float32"
        ),
    ]  # fmt: skip


def _bytes(results: Results, column: str, more: str, less: str, place: Any, unit: str) -> Number:
    """How many more bytes line `more` takes than line `less`."""
    first, second = results.column(column, more, place), results.column(column, less, place)
    return _minus(f"{column} of {more} minus {less} at {place[PRECISION]}", first, second, unit)


def _minus(what: str, first: Number, second: Number, unit: str) -> Number:
    seeds = max(first.seeds, second.seeds)
    return Number(what, first.value - second.value, math.hypot(first.error, second.error), unit, seeds)


def _slower(results: Results, line: str, place: Any) -> Number:
    """How much longer training takes over the slowest links than twice over the fastest."""
    slowest, fastest = (
        results.column(f"training_seconds_{name}", line, place, exact=True) for name in ("100_mbps", "10_gbps")
    )
    what = f"training of {line} over 100 Mbit/s minus twice that over 10 Gbit/s"
    return _minus(what, slowest, fastest.changed(fastest.what, times=2), "s")


def _kept(results: Results, line: str, place: Any, whole: Any) -> Number:
    """How far the loss of sum rate against float32 is below `LARGEST_LOSS`, as a part of the sum rate."""
    loss, reference = results.difference(line, line, whole, place), results.sum_rate(line, whole).value
    what = f"{100 * LARGEST_LOSS:g} % minus the loss of {line}"
    return loss.changed(what, times=-1 / reference, plus=LARGEST_LOSS, unit="of float32's sum rate")


def _scalar_loss(results: Results) -> Verdict:
    """What a scalar loss would take, and what is needed."""
    numbers = []
    for line in ("gradient", "outputs"):
        counted = results.column("scalar_loss_training_bytes", line, results.places[0], "B", exact=True)
        needed = results.column("training_bytes", line, results.places[0], "B")
        numbers += [
            counted.changed(f"{line}: bytes of training by the paper's accounting", unit="B"),
            needed.changed(f"{line}: bytes of training needed", unit="B"),
        ]
    return cannot_hold(
        "It is enough that the MBS broadcasts the joint loss, a number (Algorithm 2).",
        "A number cannot be differentiated in another process: each station needs the gradient with respect to its "
        "outputs, or all outputs and channels",
        numbers,
    )


register(
    Study(
        "cmtssl/backhaul", "Bytes and time on the backhaul, and the sum rate they leave", draw, judge, columns=columns
    )
)
