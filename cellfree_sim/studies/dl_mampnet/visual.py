"""Figure 10: what the parts of DL-mAMPnet give out, for one frame; and how often that is right, for many.

The network is trained at the point, as `uplink.training` of the scenario says.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import UserError
from cellfree_sim.results.figures import style
from cellfree_sim.studies import mmtc_link
from cellfree_sim.studies.dl_mampnet.curves import DAMPED
from cellfree_sim.studies.study import Study, register
from cellfree_sim.studies.training import trained_once
from cellfree_sim.studies.verdicts import Number, Verdict, positive

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import Tensor

    from cellfree_sim.scenario.schema import Scenario
    from cellfree_sim.studies.results import Results

Row = dict[str, Any]
NAME = "dl-mampnet"
SHOWN = 2  # devices that are active in the frame that is drawn
FRAMES = 4000  # over which shares are taken
IN_ROWS = 0.9  # of the energy of X_T, that "recovered" asks for in the rows that are not zero
KEPT = 0.95  # of the sent pilots, that "preserved" asks for
RIGHT = 0.01  # wrong states, that "well-trained" allows
WHY = "at quick scale it is trained for seconds, and its denoisers cannot add up what the antennas say"
MAPS = {
    "estimate": "|X|, AMP layers",
    "truth": "|X|, truth",
    "kept": "unpooled",
    "decided": "decided",
    "sent": "sent",
}


def evaluate(scenario: Scenario) -> list[Row]:
    """Rows of `mmtc_link.evaluate` with the trained network, of its training curve, of the maps, and of the shares.

    Maps have `map`, `row`, `column` and `value`: all parts of all pilots (real parts before imaginary ones) by
    antennas, or single columns. Shares have `share`, `value` and `error`.

    Raises:
        UserError: the scenario has no link of mMTC, or no training of DL-mAMPnet.
    """
    import tempfile
    from pathlib import Path

    link = mmtc_link.link_of(scenario)
    training = None if scenario.uplink is None else scenario.uplink.training
    if training is None or training.detector.name != NAME:
        raise UserError(f"uplink.training: found none of {NAME}; allowed: a training of the network that is shown")
    with tempfile.TemporaryDirectory(prefix="cellfree-") as folder:
        trained, path = trained_once(training, scenario, Path(folder) / f"{NAME}.detector")
        options = training.detector.model_copy(update={"checkpoint": str(path)})
        detectors = [options if each.name == NAME else each for each in link.detectors]
        measured = scenario.model_copy(update={"link": link.model_copy(update={"detectors": detectors})})
        rows = mmtc_link.evaluate(measured) + _looked_into(options, measured)
    curve = zip(*(trained.curve[key] for key in ("iteration", "loss", "ser")), strict=True)
    return rows + [{"algorithm": NAME, "iteration": i, "loss": loss, "training_ser": ser} for i, loss, ser in curve]


def _looked_into(options: Any, scenario: Scenario) -> list[Row]:
    import torch

    from cellfree_sim.detection.learned.trained import load
    from cellfree_sim.detection.mmtc.networks.dense import DenseLayer, DenseNet, what_was_sent
    from cellfree_sim.seeds import integer
    from cellfree_sim.uplink import MmtcProblem

    problem = MmtcProblem(**mmtc_link.link_of(scenario).problem.options(scenario.seed))
    _, network = load(options, problem)
    assert isinstance(network, DenseNet)
    network.eval()
    last = network.layers[-1]
    assert isinstance(last, DenseLayer)
    frames = problem.sample(FRAMES, generator=torch.Generator().manual_seed(integer(scenario.seed, "visual")))
    with torch.no_grad():
        estimates, _ = network.estimates(frames.y, frames.noise_variance, len(network.layers))
        kept = network.refinement.chosen(estimates[-1], last.log_gain)
        decided = network(frames.y, None, frames.noise_variance)[-1].argmax(dim=-1)
        truth = what_was_sent(network.pilots, frames.y, frames.h, frames.noise_variance, frames.messages)
    sent = _parts(frames.messages, problem.per_device)
    at = int(((frames.messages > 0).sum(dim=1) == SHOWN).int().argmax())
    maps = {
        "estimate": estimates[-1][at].abs().T,
        "truth": truth[at].abs().T,
        "kept": kept[at].unsqueeze(-1),
        "decided": _parts(decided[at : at + 1], problem.per_device)[0].unsqueeze(-1),
        "sent": sent[at].unsqueeze(-1),
    }
    return [row for name, values in maps.items() for row in _map(name, values)] + _shares(
        estimates[-1], kept, decided, frames.messages, sent
    )


def _parts(messages: Tensor, per_device: int) -> Tensor:
    """1 at both parts of each pilot that was sent, float32 [S, 2 N Q]."""
    import torch

    one = torch.nn.functional.one_hot(messages, per_device + 1)[..., 1:].flatten(1).float()
    return torch.cat([one, one], dim=-1)


def _map(name: str, values: Tensor) -> list[Row]:
    return [
        {"algorithm": NAME, "map": name, "row": row, "column": column, "value": value}
        for row, line in enumerate(values.tolist())
        for column, value in enumerate(line)
    ]


def _shares(estimate: Tensor, kept: Tensor, decided: Tensor, messages: Tensor, sent: Tensor) -> list[Row]:
    """Means over frames, each with its standard error."""
    frames, devices = messages.shape
    active = messages > 0
    energy = estimate.square().sum(dim=1)  # [S, 2 N Q]
    some = active.any(dim=1)
    halves = kept.reshape(frames, 2, devices, -1)
    both = (halves > 0).any(dim=-1)  # [S, 2, N], which parts of a device have anything left
    choice = halves.argmax(dim=-1)  # [S, 2, N]
    apart = both.all(dim=1) & (choice[:, 0] != choice[:, 1])
    right = (both & (choice == (messages - 1).unsqueeze(1))).any(dim=1)
    found = {
        "energy": ((energy * sent).sum(dim=1) / energy.sum(dim=1).clamp_min(1e-30))[some],
        "two pilots kept, active": apart[active],
        "two pilots kept, silent": apart[~active],
        "sent pilot kept": right[active],
        "right frames": (decided == messages).all(dim=1),
    }
    rows = []
    for name, values in found.items():
        values = values.double()
        error = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        rows.append({"algorithm": NAME, "share": name, "value": float(values.mean()), "error": error})
    return rows


def maps_of(results: Results) -> dict[str, NDArray[np.float64]]:
    """The maps of the first seed, [rows, columns]."""
    table = results.table
    if "map" not in table:
        return {}
    rows = table[table["map"].notna() & (table["seed"] == results.seeds[0])]
    return {
        str(name): found.pivot_table(index="row", columns="column", values="value").to_numpy(float)
        for name, found in rows.groupby("map", sort=False)
    }


def share_of(results: Results, name: str) -> Number:
    """A share, the mean over seeds."""
    table = results.table
    rows = table[table["share"] == name] if "share" in table else table.iloc[:0]
    if not len(rows):
        return Number(name, math.nan, math.nan, "")
    values, errors = rows["value"].to_numpy(float), rows["error"].to_numpy(float)
    within = float((errors**2).sum() ** 0.5) / len(errors)
    between = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    seeds = len(values) if between > within else 0
    return Number(name, float(values.mean()), max(within, between), "", seeds=seeds, one_training=len(values) == 1)


def draw(results: Results) -> Figure:
    """Grey maps, white for zero: what the layers estimate and what was sent, and what the refinement makes of it."""
    found = maps_of(results)
    figure, grid = style.new_figure(
        style.PAGE_IN, 3.6, 1, len(MAPS), squeeze=False, sharey=True, width_ratios=[2, 2, 1, 1, 1]
    )
    for letter, axes, (name, title) in zip("abcde", grid.flat, MAPS.items(), strict=True):
        style.panel_letter(axes, letter, title)
        if name not in found:
            continue
        values = found[name]
        count = len(values)
        axes.pcolormesh(
            values / max(values.max(), 1e-30), cmap="Greys", vmin=0, vmax=1, edgecolors="#DDDDDD", linewidth=0.2
        )
        axes.axhline(count / 2, color=style.VERMILION, linewidth=0.8)
        axes.set_ylim(count, 0)
        axes.set_xticks([column + 0.5 for column in range(values.shape[1])], range(1, values.shape[1] + 1))
        axes.set_yticks([row + 0.5 for row in range(0, count, 4)], range(1, count + 1, 4))
        axes.set_xlabel("antenna" if values.shape[1] > 1 else "")
        if values.shape[1] == 1:
            axes.set_xticks([])
    grid[0][0].set_ylabel("row: real parts of all pilots above, imaginary below")
    return figure


def judge(results: Results) -> list[Verdict]:
    """Verdicts on figure 10, on many frames in place of one."""
    energy, kept = share_of(results, "energy"), share_of(results, "sent pilot kept")
    two = [share_of(results, f"two pilots kept, {which}") for which in ("active", "silent")]
    return [
        positive(
            f"The AMP layers recover the rows that are not zero (more than {IN_ROWS:.0%} of the energy is in them).",
            [energy.changed(f"share of energy in them minus {IN_ROWS:g}", plus=-IN_ROWS)],
        ),
        positive(
            "MaxPool and MaxUnpool leave at most one pilot of each device.",
            [number.changed(f"minus the share of devices with two, {which}", times=-1.0) for number, which in
             zip(two, ("active", "silent"), strict=True)],
            because="real and imaginary parts choose by themselves",
        ),
        positive(
            f"They preserve the pilot that was sent (in at least one part, of more than {KEPT:.0%} of active devices).",
            [kept.changed(f"share preserved minus {KEPT:g}", plus=-KEPT)],
        ),
        positive(
            f"Well-trained, the network decides rightly (fewer than {RIGHT:.0%} wrong states).",
            [_rate(results).changed(f"{RIGHT:g} minus wrong states", times=-1.0, plus=RIGHT)],
            because=WHY,
        ),
        positive(
            "Ours: damped AMP with the prior, which is not trained, has fewer wrong states.",
            [_less(results, DAMPED)],
        ),
        positive("Ours: MAP by coordinate ascent has fewer wrong states.", [_less(results, "map-cd")]),
    ]  # fmt: skip


def _seeds(results: Results, algorithm: str, column: str) -> list[tuple[float, float]]:
    """Values and errors of a rate, one of each seed."""
    table = results.table
    if "ser" not in table or column not in table:
        return []
    rows = table[(table["algorithm"] == algorithm) & table["ser"].notna()]
    error = f"{column}_error" if column == "ser" else f"{column}, error"
    return list(zip(rows[column].astype(float), rows[error].astype(float), strict=True))


def _mean(what: str, found: list[tuple[float, float]], unit: str = "") -> Number:
    if not found:
        return Number(what, math.nan, math.nan, unit)
    values = [value for value, _ in found]
    mean = sum(values) / len(values)
    within = math.sqrt(sum(error**2 for _, error in found)) / len(found)
    between = 0.0
    if len(values) > 1:
        between = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
    seeds = len(values) if between > within else 0
    return Number(what, mean, max(within, between), unit, seeds=seeds, one_training=len(values) == 1)


def _rate(results: Results) -> Number:
    return _mean("wrong states", _seeds(results, NAME, "ser"))


def _less(results: Results, other: str) -> Number:
    return _mean(f"SER of {NAME} minus that of {other}", _seeds(results, NAME, f"minus {other}"))


register(Study("dl-mampnet/fig10", "Figure 10: inside DL-mAMPnet, for one frame", draw, judge, evaluate=evaluate))
