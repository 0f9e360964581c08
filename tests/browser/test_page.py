"""The live page in a real browser, of a run that is made up."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import pytest
from browser_support import NARROW, WIDE, Visitor
from fake_watched import FakeRun

from cellfree_sim.web import PageServer

pytestmark = pytest.mark.browser
Watch = Callable[..., Any]

LOSS = "#curves .chart:first-child .plot .line path"


def on_the_map(page: Any, x_m: float, y_m: float) -> dict[str, float]:
    """Pixels of a place on the square of 100 m, from the lines that the axes label."""
    ground = page.locator("svg.map .ground").bounding_box()
    return {"x": ground["x"] + ground["width"] * x_m / 100, "y": ground["y"] + ground["height"] * (1 - y_m / 100)}


def click_the_map(page: Any, x_m: float, y_m: float) -> None:
    place = on_the_map(page, x_m, y_m)
    page.mouse.click(place["x"], place["y"])


def station(page: Any, name: str) -> Any:
    return page.locator(f"[data-station={name}]")


def test_the_page_shows_the_run_and_moves_without_reloading(watch: Watch) -> None:
    page = watch(FakeRun())
    page.get_by_role("heading", name="fake-20260101T120000Z").wait_for()
    assert page.url.count("#") == 0  # the token is kept by the tab, not by the address bar
    page.evaluate("window.sameDocument = true")
    page.wait_for_selector(LOSS)
    drawn = page.get_attribute(LOSS, "d")
    step = page.inner_text("#steps-text")
    page.wait_for_function("([path, d]) => document.querySelector(path).getAttribute('d') !== d", arg=[LOSS, drawn])
    page.wait_for_function("(text) => document.getElementById('steps-text').textContent !== text", arg=step)
    assert page.evaluate("window.sameDocument")
    assert page.locator("svg.map .station").count() == 4
    assert page.locator("svg.map .users circle").count() == 40
    assert page.inner_text("#chip") == "running"
    assert page.locator("#stations-card tbody tr").count() == 4
    widths = page.eval_on_selector_all(
        ".map .link .wire", "(all) => all.map((each) => Number(each.getAttribute('stroke-width')))"
    )
    assert widths == sorted(set(widths)), "traffic of 10, 100 and 1000 kB/s in ever wider lines"
    page.reload()
    page.wait_for_selector(LOSS)


def test_a_click_on_the_map_adds_a_station_there(watch: Watch) -> None:
    run = FakeRun()
    run.hold = threading.Event()
    page = watch(run)
    station(page, "mbs").wait_for()
    click_the_map(page, 75, 75)
    form = page.get_by_role("form", name="Add a station")
    shown = [float(form.get_by_label(f"{axis} (m)").input_value()) for axis in "xy"]
    assert shown == pytest.approx([75, 75], abs=0.3)
    assert page.locator(".ghost.pending text").text_content() == f"({shown[0]:g}, {shown[1]:g}) m"
    form.get_by_label("Model of").select_option("farthest")
    form.get_by_role("button", name="Add station").click()
    page.wait_for_selector(".ghost.joining")
    assert station(page, "sbs-3").count() == 0
    run.hold.set()
    station(page, "sbs-3").wait_for()
    assert run.asked == [{"inject": shown, "name": None, "azimuth": None, "how": ["farthest", "fine-tune"]}]
    assert page.locator(".ghost").count() == 0
    told = page.get_by_role("status").filter(has_text="sbs-3 joined after step").inner_text()
    assert "with the model of sbs-1 (2.50 MB moved)" in told
    page.locator("#events li", has_text="sbs-3: injected").wait_for()
    page.locator(".chart .marks text", has_text="+sbs-3").first.wait_for()


def test_all_pages_see_what_one_of_them_orders(visitor: Visitor) -> None:
    run = FakeRun()
    run.hold = threading.Event()
    server = PageServer(run)
    with server.in_background():
        mine, other = (visitor.visit(server.url) for _ in range(2))
        station(mine, "mbs").wait_for()
        click_the_map(mine, 20, 70)
        mine.keyboard.press("Enter")
        other.wait_for_selector(".ghost.joining")
        run.hold.set()
        station(mine, "sbs-3").wait_for()
        station(other, "sbs-3").wait_for()
        visitor.close()


def test_a_refusal_is_told_beside_the_map(watch: Watch, visitor: Visitor) -> None:
    page = watch(FakeRun())
    station(page, "mbs").wait_for()
    page.get_by_role("button", name="Add a station").click()
    page.get_by_role("button", name="Add station").click()
    assert page.get_by_role("alert").locator("span").inner_text() == "a station stands there already"
    page.get_by_role("button", name="Dismiss").click()
    assert page.get_by_role("alert").count() == 0
    assert [each.partition(": ")[0] for each in visitor.troubles if "409" in each] != []
    visitor.troubles.clear()  # browsers write refusals of their servers into the console


def test_a_station_is_removed_after_one_question(watch: Watch) -> None:
    run = FakeRun()
    page = watch(run)
    station(page, "sbs-1").click()
    facts = page.locator("#panel")
    assert "1.30 bit/s/Hz" in facts.inner_text()
    assert "(75, 25) m" in facts.inner_text()
    facts.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert run.asked == []
    facts.get_by_role("button", name="Remove").click()
    assert "Remove sbs-1?" in page.get_by_role("dialog").inner_text()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    page.wait_for_selector("[data-station=sbs-1].removed")
    assert run.asked == [{"remove": "sbs-1"}]
    assert page.locator(".map .link").count() == 2
    page.locator(".legend-item", has_text="SBS, removed").wait_for()
    station(page, "mbs").click()
    assert facts.get_by_role("button", name="Remove").count() == 0


def test_a_run_is_held_continued_and_stopped(watch: Watch) -> None:
    run = FakeRun()
    page = watch(run)
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Continue").wait_for()
    assert page.inner_text("#chip") == "paused"
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("button", name="Pause").wait_for()
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop the run").click()
    page.locator("#banner", has_text="what you see is its last state").wait_for()
    assert run.asked == [{"pause": True}, {"resume": True}, {"stop": True}]
    for name in ("Pause", "Stop", "Add a station"):
        assert page.get_by_role("button", name=name).is_disabled()
    click_the_map(page, 10, 10)
    assert page.locator("#panel").is_hidden()


def test_the_keyboard_is_enough(watch: Watch) -> None:
    run = FakeRun()
    page = watch(run)
    station(page, "mbs").wait_for()
    page.locator("svg.map").focus()
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowUp", "Enter"):
        page.keyboard.press(key)
    assert page.locator(".ghost.pending text").text_content() == "(54, 60) m"
    page.keyboard.press("Escape")
    assert page.locator("#panel").is_hidden()
    assert page.evaluate("document.activeElement.classList.contains('map')")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("#panel h3").inner_text() == "mbs"
    page.keyboard.press("Escape")
    page.locator("svg.plot").first.focus()
    page.keyboard.press("Home")
    assert "at 5" in page.locator(".chart-legend").first.inner_text()
    nameless = page.eval_on_selector_all(
        "button, input, select, svg[tabindex], progress, [role=button]",
        "(all) => all.filter((each) => !each.ariaLabel && !each.textContent.trim() && !each.labels?.length).length",
    )
    assert nameless == 0
    assert run.asked == []


def test_light_and_dark(watch: Watch) -> None:
    page = watch(FakeRun(), color_scheme="dark")

    def ground() -> int:
        colour: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(each) for each in colour.removeprefix("rgb(").removesuffix(")").split(","))

    assert ground() < 100
    page.get_by_role("button", name="Switch between light and dark").click()
    assert ground() > 700
    page.reload()
    assert ground() > 700, "the choice is kept"
    page.get_by_role("button", name="Switch between light and dark").click()
    page.emulate_media(color_scheme="light")
    assert ground() < 100, "and stronger than the system's"


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_nothing_is_wider_than_the_screen(watch: Watch, size: dict[str, int]) -> None:
    page = watch(FakeRun(), viewport=size)
    station(page, "sbs-0").click()
    page.wait_for_selector(LOSS)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= size["width"]
    cut_off = page.eval_on_selector_all(
        "button, .card, .tile, #panel",
        f"(all) => all.filter((each) => each.getBoundingClientRect().right > {size['width']}).length",
    )
    assert cut_off == 0


@pytest.mark.parametrize(
    ("facts", "banner", "chip"),
    [
        ({"status": "starting", "stations": (), "area_m": (), "curves": {}}, "The run has not begun yet", "starting"),
        ({"status": "done"}, "The run has ended; what you see is its last state", "done"),
        ({"status": "vanished"}, "cellfree run --resume /runs/fake-20260101T120000Z", "vanished"),
        ({"status": "silent"}, "The run does not answer", "does not answer"),
        ({"engine": "inline", "told_at": 4e9}, "can be watched, but not changed", "running"),
    ],
    ids=["starting", "done", "vanished", "silent", "inline"],
)
def test_the_state_of_the_run_is_said(watch: Watch, facts: dict[str, Any], banner: str, chip: str) -> None:
    page = watch(FakeRun(**facts))
    page.locator("#banner", has_text=banner).wait_for()
    page.locator("#chip", has_text=chip).wait_for()
    assert page.get_by_role("button", name="Pause").is_disabled()
    assert page.locator(".map .station").count() == (0 if chip == "starting" else 4)


def test_a_server_that_is_gone_and_comes_back(visitor: Visitor) -> None:
    run = FakeRun()
    first = PageServer(run)
    with first.in_background():
        page = visitor.visit(first.url)
        station(page, "mbs").wait_for()
    page.locator("#banner", has_text="The server of this page has ended; the run goes on").wait_for()
    assert page.locator(".map .station").count() == 4
    again = PageServer(run, port=first.port, token=first.token)
    with again.in_background():
        page.wait_for_selector("body:not(.stale)")
    stranger = PageServer(run, port=first.port)
    with stranger.in_background():
        page.locator("#banner", has_text="open the address that it printed").wait_for()
        page.goto(stranger.url)
        page.wait_for_selector("body:not(.stale) .map .station")
    visitor.troubles.clear()  # browsers tell in their consoles whom they could not reach


def test_an_uplink_of_a_hundred_thousand_users(watch: Watch) -> None:
    bursts = list(range(1, 51))
    services = [{"name": name, "detector": "amp", "cooperation": "local", "ser": 1e-3} for name in ("a", "b")]
    run = FakeRun(
        step=None,
        steps=None,
        burst=50,
        bursts=200,
        sum_rate=None,
        services=tuple(services),
        users={"count": 100_000, "positions_m": [[x / 5, 100 * math.sin(x) ** 2] for x in range(500)]},
        curves={
            "training": {},
            "uplink": {n: {"burst": bursts, "ser": [10 ** (-b / 20) for b in bursts]} for n in "ab"},
        },
    )
    page = watch(run)
    page.locator(".legend-item", has_text="user (500 of 100 000)").wait_for()
    assert page.locator("#curves figure:visible").count() == 1
    assert page.locator("figure:visible .ticks text").all_text_contents()[:4] == ["10⁻³", "10⁻²", "10⁻¹", "10⁰"]
    assert page.locator("#services-card tbody tr").count() == 2
    assert page.locator("#steps-line").is_hidden()
    assert page.inner_text("#bursts-text") == "burst 50 of 200"
    assert page.locator("#rate-tile").is_hidden()


def test_links_tell_what_they_carry(watch: Watch) -> None:
    run = FakeRun()
    page = watch(run)
    station(page, "sbs-2").wait_for()
    place = on_the_map(page, 50, 67)
    page.mouse.move(place["x"], place["y"])
    tip = page.locator(".tooltip").inner_text()
    for fact in ("mbs–sbs-2", "1.00 MB/s", "10.0 Gbit/s", "4.00 %", "30.0 µs"):
        assert fact in tip
    link = {"a": "mbs", "b": "sbs-0", "up": False, "bytes": 5, "bytes_per_s": 0.0, "capacity_bps": 1e9}
    run.facts["links"] = (link,)
    page.wait_for_selector(".link.cut")
    assert page.evaluate("getComputedStyle(document.querySelector('.link.cut .wire')).strokeDasharray") != "none"
    page.locator(".legend-item", has_text="link, cut").wait_for()


def test_what_a_run_tells_is_text_and_nothing_else(watch: Watch) -> None:
    evil = "<img src=x onerror=alert(1)>"
    run = FakeRun(run=evil, phase=evil)
    run.stations[evil] = (10.0, 90.0)
    run.events.append({"event": evil, "at_step": 1, "station": evil, "refused": evil})
    page = watch(run)
    page.get_by_role("heading", name=evil).wait_for()
    page.get_by_role("row", name=evil).get_by_role("button").click()
    assert page.locator("#panel h3").inner_text() == evil
    assert page.locator("#events li", has_text=evil).count() == 1
    assert page.locator("img").count() == 1, "the icon of the page"
