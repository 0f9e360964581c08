"""The live page of a network that really runs on Ray: what a person does with the mouse, the network does."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from browser_support import Visitor, chromium

from agents import Simulation
from cellfree_sim.results.observer import Quiet
from cellfree_sim.watching import watch
from cellfree_sim.web import PageServer

ENDLESS = 100_000


@pytest.mark.browser
def test_a_station_joins_and_leaves_by_the_mouse(cluster: Any, small_scenario: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    scenario = small_scenario(**{"downlink.epochs": ENDLESS})
    over = threading.Event()
    with Simulation.launch(scenario, engine="ray", out=folder, observer=Quiet()) as simulation:

        def train() -> None:
            while not over.is_set():
                simulation.advance(steps=5)

        training = threading.Thread(target=train)
        training.start()
        try:
            with watch(str(folder), None) as watched, chromium() as browser, Visitor(browser) as visitor:
                server = PageServer(watched)
                with server.in_background():
                    page = visitor.visit(server.url)
                    _add_and_remove(page)
                    visitor.close()
        finally:
            over.set()
            training.join()
        events = [event["event"] for event in simulation.result().summary["events"]]
    assert events == ["inject_sbs", "remove_sbs"]


def _add_and_remove(page: Any) -> None:
    loss = "#curves .chart:first-child .plot .line path"
    page.wait_for_selector(loss)
    drawn = page.get_attribute(loss, "d")
    page.wait_for_function("([path, d]) => document.querySelector(path).getAttribute('d') !== d", arg=[loss, drawn])
    assert page.locator(".map .station").count() == 4
    assert page.locator(".map .users circle").count() == 4
    page.wait_for_function("() => document.querySelector('.map .link .wire').getAttribute('stroke-width') > 1.5")

    ground = page.locator("svg.map .ground").bounding_box()
    page.mouse.click(ground["x"] + 0.75 * ground["width"], ground["y"] + 0.25 * ground["height"])
    shown = [page.get_by_label(f"{axis} (m)").input_value() for axis in "xy"]
    page.get_by_role("button", name="Add station").click()
    page.wait_for_selector("[data-station=sbs-3].active")
    told = page.get_by_role("status").filter(has_text="sbs-3 joined after step").inner_text()
    assert "with the model of sbs-" in told
    page.locator("[data-station=sbs-3]").click()
    assert f"({float(shown[0]):g}, {float(shown[1]):g}) m" in page.inner_text("#panel")

    page.locator("[data-station=sbs-0]").click()
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    page.wait_for_selector("[data-station=sbs-0].removed")
    assert page.locator("#events li").count() == 2
