from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from cellfree_sim.results import create_observer
from cellfree_sim.results.live_display import STATIONS_SHOWN, LiveDisplay, sparkline
from cellfree_sim.results.observer import PlainDisplay, Quiet


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def training(step: int, **more: float) -> dict[str, object]:
    return {"phase": "training", "step": step, "steps": 150, "joint_loss": -1.5, "bytes": 10**6 * step, **more}


def play(observer) -> None:
    """A run as it calls its observer."""
    observer.phase("channels", "tr38901-uma")
    for done in (0, 50, 100):
        for station in ("sbs-0", "sbs-1"):
            observer.channels(station, done, 100)
    observer.phase("training", "dmtssl")
    for step in range(1, 151):
        observer.round(training(step, sum_rate=20.0))
        if step % 50 == 0:
            validated = {
                "phase": "validation",
                "step": step,
                "steps": 150,
                "sum_rate": step / 7,
                "joint_loss": math.nan,
            }
            observer.round({**validated, "min_rate_satisfied": 0.9})
    observer.note("no GPU in the cluster: [bold]gpus: auto[/bold] becomes CPU")
    observer.close()
    observer.close()


def test_plain_lines_are_few_and_name_what_matters():
    stream = io.StringIO()
    play(PlainDisplay(stream, clock=Clock()))
    lines = [line.split("] ", 1)[1] for line in stream.getvalue().splitlines()]
    assert lines == [
        "channels: tr38901-uma",
        "channels: 0/100 realisations, 1 stations",
        "channels: 200/200 realisations, 2 stations",
        "training: dmtssl",
        "training 1/150: joint loss -1.5, sum rate 20.00 bit/s/Hz, 1.0 MB moved",
        "validation 50/150: sum rate 7.14 bit/s/Hz, 90 % of users meet r_min",
        "validation 100/150: sum rate 14.29 bit/s/Hz, 90 % of users meet r_min",
        "training 150/150: joint loss -1.5, sum rate 20.00 bit/s/Hz, 150.0 MB moved, 0 ms per step",
        "validation 150/150: sum rate 21.43 bit/s/Hz, 90 % of users meet r_min",
        "note: no GPU in the cluster: [bold]gpus: auto[/bold] becomes CPU",
    ]


def test_plain_steps_come_every_two_seconds_with_their_pace():
    stream, clock = io.StringIO(), Clock()
    display = PlainDisplay(stream, clock=clock)
    for step in range(1, 22):
        display.round(training(step))
        clock.now += 0.5
    lines = stream.getvalue().splitlines()
    assert [line.split("training ")[1].split("/")[0] for line in lines] == ["1", "5", "9", "13", "17", "21"]
    assert lines[-1].startswith("[   10.0 s]")
    assert lines[-1].endswith("500 ms per step")


def test_the_kind_of_display_follows_the_stream():
    assert isinstance(create_observer(quiet=True), Quiet)
    assert isinstance(create_observer(stream=io.StringIO()), PlainDisplay)
    live = create_observer(title="quickstart", stream=Terminal())
    assert isinstance(live, LiveDisplay)
    live.close()


def test_quiet_says_nothing(capsys):
    play(Quiet())
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("width", [12, 30, 60, 120])
def test_the_live_panel_fits_the_terminal(width):
    display = LiveDisplay("quickstart", console=Console(file=Terminal(), width=width, height=30, force_terminal=True))
    play(display)
    page = Console(file=io.StringIO(), width=width)
    page.print(display.render())
    lines = page.file.getvalue().splitlines()
    assert lines
    assert all(len(line) <= width for line in lines)
    if width >= 60:
        text = "\n".join(lines)
        for expected in (
            "quickstart",
            "step 150/150",
            "21.43",
            "90 %",
            "150.0",
            "-1.5",
            "▁▅█",
            "[bold]gpus: auto",
        ):
            assert expected in text


def test_many_stations_share_few_lines():
    display = LiveDisplay(console=Console(file=Terminal(), width=80, force_terminal=True))
    for station in range(1000):
        display.channels(f"sbs-{station}", station % 3, 3)
    page = Console(file=io.StringIO(), width=80)
    page.print(display.render())
    display.close()
    text = page.file.getvalue()
    assert f"{1000 - STATIONS_SHOWN} more" in text
    assert len(text.splitlines()) == STATIONS_SHOWN + 4


@pytest.mark.parametrize("width", [12, 40, 120])
def test_the_live_panel_shows_bursts_and_some_of_the_services(width):
    display = LiveDisplay("uplink", console=Console(file=Terminal(), width=width, height=30, force_terminal=True))
    services = [{"name": f"service-{i}", "ser": 10.0**-i, "latency_ms": 2.5} for i in range(STATIONS_SHOWN + 3)]
    display.bursts({"burst": 12, "bursts": 30, "services": services})
    page = Console(file=io.StringIO(), width=width)
    page.print(display.render())
    display.close()
    lines = page.file.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    if width >= 40:
        text = "\n".join(lines)
        for expected in ("burst 12/30", "service-2", "SER 0.01", "2.5 ms", "3 more"):
            assert expected in text
        assert "service-7" not in text


def test_an_ascii_terminal_gets_no_sparkline():
    class Ascii(Terminal):
        encoding = "ascii"

    display = LiveDisplay(console=Console(file=Ascii(), width=80, force_terminal=True))
    play(display)
    page = Console(file=Ascii(), width=80)
    page.print(display.render())
    assert not set("▁▂▃▄▅▆▇█") & set(page.file.getvalue())


def test_sparkline_shows_the_last_values_between_their_extremes():
    assert sparkline([9, 9, 0, 7], width=2) == "▁█"
    assert sparkline([5, 5], width=10) == "▁▁"
