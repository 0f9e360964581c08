"""All figures of a run, into its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from cellfree_sim.errors import RunFolderError
from cellfree_sim.results.figures import (
    distributions,
    interactive,
    simulated_time,
    style,
    topology,
    traffic,
    training,
    uplink,
)
from cellfree_sim.results.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib import figure as mpl

    from cellfree_sim.results.analysis import RunData

ENDINGS = ("pdf", "png")
NAME_LENGTH = 60


class Figure(NamedTuple):
    """A figure that was drawn.

    Attributes:
        name: its file name without ending.
        caption: what it shows.
        svg, readout, dark: for a page, see `interactive.embed`.
        png, pdf: contents of its files.
        wide: whether it takes the width of a page, not of a column.
    """

    name: str
    caption: str
    svg: str
    readout: dict[str, Any]
    dark: dict[str, str]
    png: bytes
    pdf: bytes
    wide: bool


class _Plan(NamedTuple):
    name: str
    draw: Callable[[RunData], mpl.Figure | None]
    caption: str
    caption_of_events: str = ""  # added where something happened to the network


PLANS = (
    _Plan(
        "topology",
        topology.draw,
        "The network. Lines are backhaul links, the wider the more bytes they carried.",
        " It is drawn as it was at the end of the run.",
    ),
    _Plan(
        "training",
        training.draw,
        "Sum rate on the training batches and on the validation split (band: 95 % confidence interval of the mean over "
        "its realisations), with test means: a star for the learned algorithm, with its interval, level lines for the "
        "references; joint loss.",
        " Test means are those of the network as it was at the end. Where its stations changed, the validation curve "
        "jumps from a hollow point (before) to a filled one (after); lanes name the events, a bar is what a restart "
        "did again.",
    ),
    _Plan(
        "rates",
        distributions.draw_cdf,
        "Rates on the held-out test realisations: empirical distribution functions, with pointwise 95 % confidence "
        "bands that count only realisations as independent, not the users of one.",
    ),
    _Plan(
        "paired",
        distributions.draw_paired,
        "Sum rate gained over each reference on the same test realisation: every dot is one realisation, the diamond "
        "the mean with its 95 % confidence interval.",
    ),
    _Plan(
        "error-rates",
        uplink.draw_rates,
        "Error rates of each edge service against the SNR that power control aims at, with 95 % intervals; services "
        "are moved a little aside; a hollow triangle is the upper end of the interval where nothing went wrong.",
    ),
    _Plan(
        "state-errors",
        uplink.draw_states,
        "Errors in users' states, silence being one of them, and what they are made of: active users that were missed, "
        "false alarms, wrong data. Shares of all states, with the 95 % interval of their sum where there is one SNR; a "
        "detector that finds nobody is at the dashed line.",
    ),
    _Plan(
        "error-rate-bytes",
        uplink.draw_bytes,
        "What cooperation buys: error rate of symbols (of users' states, where they may be silent) against the bytes "
        "that cross the backhaul for each slot, with 95 % intervals; SNRs are moved a little aside; a hollow mark "
        "is the upper end of the interval where nothing went wrong.",
    ),
    _Plan(
        "latency",
        uplink.draw_latency,
        "Simulated latency of a burst, from its end on the air to its last decision: means, by what they went into.",
    ),
    _Plan(
        "services",
        uplink.draw_time,
        "The edge services over the bursts of the run; a hollow triangle at the bottom is a mean without any error.",
        " Vertical lines are what happened to them.",
    ),
    _Plan("backhaul", traffic.draw, "Bytes on the wire. Frames that cross several links count on each of them in (b)."),
    _Plan(
        "simulated-time",
        simulated_time.draw,
        "Simulated time of each training round on its critical path.",
        " Thin lines are events.",
    ),
)


def draw_figures(run: RunData) -> list[Figure]:
    """Draw what the run has data for, as ``figures/<name>.pdf`` and ``.png``; the same files give the same bytes.

    Raises:
        RunFolderError: the folder cannot be written.
    """
    folder = make_folder(run.files.figures_path)
    source = source_of(run)
    drawn = []
    for plan in PLANS:
        with style.journal():
            figure = plan.draw(run)
            if figure is not None:
                caption = plan.caption + (plan.caption_of_events if run.happened else "")
                drawn.append(publish(figure, plan.name, caption, source, folder))
                continue
        for ending in ENDINGS:
            (folder / f"{plan.name}.{ending}").unlink(missing_ok=True)
    return drawn


def make_folder(folder: Path) -> Path:
    """A folder for figures, which may be there.

    Raises:
        RunFolderError: it cannot be made.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return folder


def source_of(run: RunData) -> str:
    """What stands on each figure of a run: its name and seed, and whether it is less than a whole run."""
    seed = run.summary.get("seed", run.scenario.get("seed"))
    status = run.summary.get("status") or "unfinished"
    parts = [
        shortened(run.name),
        *([f"seed {seed}"] if seed is not None else []),
        *([status] if status != "done" else []),
    ]
    return ", ".join(parts).replace("$", r"\$")  # a dollar would begin a formula


def shortened(name: str) -> str:
    """A name, cut where it would leave the figure."""
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…"


def publish(figure: mpl.Figure, name: str, caption: str, source: str, folder: Path) -> Figure:
    """Write the files of a figure into `folder`, and make it ready for a page. From within `style.journal`."""
    style.name_source(figure, source)
    style.lay_out(figure)
    made = {ending: style.render(figure, ending) for ending in ENDINGS}
    for ending, content in made.items():
        write_atomically(folder / f"{name}.{ending}", content)
    wide = figure.get_figwidth() > style.COLUMN_IN
    return Figure(name, caption, *interactive.embed(figure, name), made["png"], made["pdf"], wide)
