"""The errors that a person meets, each made to happen while the page is written, with what to do about it."""

from __future__ import annotations

import argparse
import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from cellfree_sim import errors as kinds
from cellfree_sim.cli import parser
from cellfree_sim.errors import CellfreeError
from reference.markdown import code, docstring, table

SMALL = """\
name: small
engine: inline
network: {sbs: {count: 2}, users: {count: 3}}
radio: {subcarriers: 2}
channel: {model: rayleigh, realisations: {train: 20, validation: 5, test: 6}, cache: false}
downlink: {epochs: 1, batch: 10, references: [gsa-zf]}
"""


@dataclass(frozen=True)
class Sample:
    """One way to meet an error: a command line, or Python.

    Attributes:
        remedy: what to do about it.
        command: what is typed; or what is done, in words, where `make` does it.
        files: that lie in the folder.
        make: raises the error.
    """

    remedy: str
    command: str
    files: Mapping[str, str] = field(default_factory=dict)
    make: Callable[[], object] | None = None

    def happen(self) -> tuple[CellfreeError, str]:
        """The error as it is raised in a folder of its own, and its text, in which that folder is somebody's home."""
        with _in_a_folder(self.files) as folder:
            try:
                if self.make is not None:
                    self.make()
                else:
                    _handled(self.command)
            except CellfreeError as error:
                return error, str(error).replace(folder, "/home/you")
        raise AssertionError(f"nothing is wrong with: {self.command}")


@contextmanager
def _in_a_folder(files: Mapping[str, str]) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        for name, text in files.items():
            Path(name).write_text(text, encoding="utf-8")
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            yield folder


def _handled(command: str) -> None:
    program, *argv = shlex.split(command)
    assert program == "cellfree"
    arguments: argparse.Namespace = parser.parse(argv)
    arguments.handler(arguments)


def _wrong_trace() -> None:
    import numpy as np

    np.savez("campus.npz", channel=np.ones((31, 2, 2, 4, 3, 1), np.complex64))
    Path("s.yaml").write_text(SMALL.replace("model: rayleigh", "model: {name: trace, path: campus.npz}"))
    _handled("cellfree run s.yaml")


def _two_words_alike() -> None:
    from cellfree_sim.uplink import Codebook

    Codebook([[[1, 1], [1, 1]]])


def _wrong_shape() -> None:
    import torch

    from cellfree_sim.detection import create_detector
    from cellfree_sim.uplink import MimoProblem

    detector = create_detector("lmmse", MimoProblem(n_rx=4, n_tx=2, constellation="qpsk"))
    detector(torch.zeros(10, 4, dtype=torch.complex64), torch.zeros(10, 2, 4, dtype=torch.complex64), 0.1)


def _cut_frame() -> None:
    from cellfree_sim.backhaul import Header, decode, encode
    from cellfree_sim.backhaul.messages import Heartbeat

    header = Header("small", "control", 0, 0, "sbs-0", "mbs", ("sbs-0", "mbs"), 0.0)
    decode(encode(header, Heartbeat(now_s=0.0))[:-4], run="small")


def _no_room() -> None:
    from agents.packing import Node
    from agents.seats import plan_seats
    from cellfree_sim.scenario import find_scenario, load_scenario

    scenario = load_scenario(find_scenario("quickstart"), overrides={"placement.sbs.gpus": 1})
    laptop = Node("0", "laptop", cpus=8, gpus=0, free_cpus=8, free_gpus=0)
    plan_seats(scenario, "mbs", scenario.station_names, [laptop])


def _homeless() -> None:
    from agents.packing import Node
    from agents.seats import seat_for
    from cellfree_sim.scenario import find_scenario, load_scenario

    full = Node("0", "node-a", cpus=2, gpus=0, free_cpus=0, free_gpus=0)
    try:
        seat_for(load_scenario(find_scenario("quickstart")), "sbs-1", [full], [])
    except kinds.ResourceShortError as error:  # as the engine does
        raise kinds.NotRestartedError(("sbs-1",), str(error)) from error


def _aborted() -> None:
    Path("s.yaml").write_text(
        SMALL.replace("epochs: 1", "epochs: 3") + "on_failure: abort\nevents: [{at_step: 2, fail_sbs: sbs-1}]\n"
    )
    _handled("cellfree run s.yaml --quiet")


KINDS: dict[type[CellfreeError], Sample] = {
    kinds.UserError: Sample(
        "Read the line from left to right: what, what was found, what is allowed. Nothing was changed; mend it "
        "and run the "
        "command again. `--help` of any command shows its options and examples.",
        "cellfree run tiny --engin inline",
    ),
    kinds.ScenarioError: Sample(
        "The line names the file, the line and column, and the key. `cellfree scenarios check FILE` checks without "
        "running; [the reference of keys](scenario.md) says what each may hold.",
        "cellfree run my-network.yaml",
        {"my-network.yaml": "network:\n  sbs: {cuont: 3}\n"},
    ),
    kinds.ResourceShortError: Sample(
        "Ask for less (`placement.*.cpus`, `placement.*.gpus`; `gpus: auto` takes what there is), join a larger "
        "cluster "
        "with `--address`, or use `--engine inline`. `cellfree run SCENARIO --dry-run` shows the plan first.",
        "a GPU for each station, on a machine with eight CPUs and none",
        make=_no_room,
    ),
    kinds.ChannelError: Sample(
        "Compare the shape of your array with the order of `axes`; see [channel data of your "
        "own](../guides/channel-data.md).",
        "cellfree run s.yaml, with users of two antennas, and channels to one in campus.npz",
        make=_wrong_trace,
    ),
    kinds.CodebookError: Sample(
        "Two messages with one codeword cannot be told apart, and no user may have more energy than another. "
        "Change the "
        "codewords; the line says which.",
        "Codebook([[[1, 1], [1, 1]]])",
        make=_two_words_alike,
    ),
    kinds.DetectorError: Sample(
        "Compare the shapes with [those of the family](../guides/detectors.md): MIMO detectors take `y [S, R]` and "
        "`h [S, R, N]`.",
        "detector(y, h.mT, 0.1)",
        make=_wrong_shape,
    ),
    kinds.RunFolderError: Sample(
        "A new run needs a folder that does not exist yet, or is empty. `cellfree status` lists the runs below "
        "`./runs`.",
        "cellfree run tiny --out taken",
        {"taken": ""},
    ),
    kinds.FrameError: Sample(
        "A frame was damaged on its way, or is of another run or version. It never reaches a station. Where you "
        "see this, all nodes of the cluster must have the same version of this package.",
        'decode(frame[:-4], run="small")',
        make=_cut_frame,
    ),
    kinds.RunFailedError: Sample(
        "The run folder keeps what was reached, and the last checkpoint: the report can be built, and run.log "
        "says what "
        "happened when. Where training diverged, lower `downlink.learning_rate`, set `downlink.gradient_clip`, or "
        "choose "
        "another `downlink.loss_scheme`.",
        "cellfree run tiny --set downlink.learning_rate=10 --set downlink.loss_scheme=linear --quiet",
    ),
    kinds.StationLostError: Sample(
        "With `on_failure: restart` (default) or `drop` the run goes on by itself, and you do not see this. With "
        "`abort`: "
        "`cellfree run --resume DIR` goes on from the last checkpoint, to the same result.",
        "cellfree run s.yaml --quiet, with on_failure: abort and events: [{at_step: 2, fail_sbs: sbs-1}]",
        make=_aborted,
    ),
    kinds.NotRestartedError: Sample(
        "The run goes on without these stations, and says so. A node that joins the cluster later gives room again for "
        "`cellfree inject`.",
        "a node of the cluster is lost, and the others are full",
        make=_homeless,
    ),
}


REFUSALS: dict[str, tuple[Sample, ...]] = {
    "In a scenario": (
        Sample(
            "a key is spelt otherwise; the nearest is named",
            "cellfree run s.yaml",
            {"s.yaml": "downlink: {epohcs: 3}\n"},
        ),
        Sample(
            "a key stands in the wrong section; its right path is named",
            "cellfree run s.yaml",
            {"s.yaml": "epochs: 3\n"},
        ),
        Sample("numbers stand without quotes", "cellfree run s.yaml", {"s.yaml": "network: {sbs: {count: '3'}}\n"}),
        Sample("a space follows each colon", "cellfree run s.yaml", {"s.yaml": "network:\n  sbs:\n    count:3\n"}),
        Sample("spaces indent, tabs do not", "cellfree run s.yaml", {"s.yaml": "network:\n\tsbs: {count: 3}\n"}),
        Sample("choose one of the names", "cellfree run s.yaml", {"s.yaml": "channel: {model: tr38901}\n"}),
        Sample(
            "options of a model need its name", "cellfree run s.yaml", {"s.yaml": "downlink: {policy: {width: 64}}\n"}
        ),
        Sample("lower the batch, or make more drops", "cellfree run s.yaml", {"s.yaml": "downlink: {batch: 500}\n"}),
        Sample(
            "move the station, or enlarge `area_m`",
            "cellfree run s.yaml",
            {"s.yaml": "network: {sbs: {positions_m: [[20, 20], [120, 20]]}}\n"},
        ),
        Sample(
            "an event must happen during the run: epochs times batches per epoch",
            "cellfree run s.yaml",
            {"s.yaml": "events: [{at_step: 400, remove_sbs: sbs-0}]\n"},
        ),
        Sample(
            "give the file, relative to the scenario", "cellfree run s.yaml", {"s.yaml": "channel: {model: trace}\n"}
        ),
    ),
    "On the command line": (
        Sample("an unknown name: the list is `cellfree scenarios list`", "cellfree run quikstart"),
        Sample(
            "`--set` takes the same keys as a file, and says what it cannot take",
            "cellfree run tiny --set radio.subcarriers=four",
        ),
        Sample("a sweep is run by `cellfree sweep`", "cellfree run papers/cmtssl/fig6a"),
        Sample("studies are named paper/figure", "cellfree reproduce cmtssl/fig9"),
        Sample("`cellfree status` lists the runs below ./runs", "cellfree report monday"),
        Sample("there is nothing to go on with in this folder", "cellfree run --resume runs/monday"),
        Sample(
            "no run is going on here; `cellfree status` lists those below ./runs", "cellfree inject --position 75,75"
        ),
        Sample("a position is two numbers in metres", "cellfree inject --position 75"),
        Sample("a shipped file by name, or a file", "cellfree policies show set-shred"),
    ),
}


def errors() -> str:
    """Every class of errors with a real message."""
    parts = []
    for kind, sample in KINDS.items():
        error, message = sample.happen()
        assert type(error) is kind, (kind, error)
        prompt = "$" if sample.command.startswith("cellfree") else "#"
        parts.append(
            f"### {code(kind.__name__)}\n\nExit status {kind.exit_status}. {docstring(kind)}\n\n"
            f"```{{code-block}} text\n:class: wrap\n\n{prompt} {sample.command}\ncellfree: error: {message}\n```\n\n"
            f"**What to do.** {sample.remedy}"
        )
    return "\n\n".join(parts)


def refusals() -> str:
    """What is refused most often, with the line that says so."""
    parts = []
    for title, samples in REFUSALS.items():
        rows = [(_asked(sample), code(_shortened(sample.happen()[1])), sample.remedy) for sample in samples]
        parts.append(f"### {title}\n\n" + table(("What was asked", "What is said", "What to do"), rows))
    return "\n\n".join(parts)


def _asked(sample: Sample) -> str:
    text = sample.files.get("s.yaml")
    return code(sample.command) if text is None else code(" ".join(text.replace("\t", "⇥").split()))


def _shortened(message: str) -> str:
    """A message whose list of what is allowed is cut, where it is long."""
    before, allowed, rest = message.partition("allowed: ")
    words, semicolon, after = rest.partition("; ")
    names = words.split(", ")
    return message if len(names) < 8 else f"{before}{allowed}{', '.join(names[:5])}, …{semicolon}{after}"
