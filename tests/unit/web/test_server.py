"""The server of the live view, asked by a plain HTTP client."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fake_watched import FakeRun
from starlette.datastructures import Headers

from cellfree_sim.errors import UserError
from cellfree_sim.results.runs import RunStatus
from cellfree_sim.web import PageServer
from cellfree_sim.web.app import static_files
from cellfree_sim.web.feed import MOST_PAGES
from cellfree_sim.web.guard import Guard

INJECT = {"position_m": [75.0, 12.5], "transfer": "random", "after": "execute", "azimuth_deg": 90.0, "name": "east"}


class Client:
    """A program that talks to a server."""

    def __init__(self, server: PageServer) -> None:
        self.server = server

    def ask(
        self, method: str, path: str, body: Any = None, *, token: str | None = "right", **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        try:
            connection.request(method, path, self._data(body), self._headers(token, headers))
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def order(self, name: str, body: Any = None, **options: Any) -> tuple[int, dict[str, Any]]:
        status, headers, content = self.ask("POST", f"/api/orders/{name}", {} if body is None else body, **options)
        assert headers["Content-Type"] == "application/json"
        return status, json.loads(content)

    def _data(self, body: Any) -> bytes | None:
        return body if body is None or isinstance(body, bytes) else json.dumps(body).encode()

    def _headers(self, token: str | None, headers: dict[str, str]) -> dict[str, str]:
        sent = {"Content-Type": "application/json"} | {key.replace("_", "-"): value for key, value in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {self.server.token if token == 'right' else token}"
        return sent


class Stream:
    """A page that listens."""

    def __init__(self, client: Client) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", client.server.port, timeout=20)
        self.connection.request("GET", "/api/events", headers=client._headers("right", {}))
        self.answer = self.connection.getresponse()

    def event(self) -> tuple[str, dict[str, Any]]:
        kind, data, empty = (self.answer.readline().decode().rstrip("\n") for _ in range(3))
        assert empty == ""
        return kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))

    def until(self, key: str) -> Any:
        """The next news of one part of the state."""
        while True:
            kind, data = self.event()
            assert kind == "state"
            if key in data["parts"]:
                return data["parts"][key]

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


@pytest.fixture
def run() -> FakeRun:
    return FakeRun()


@pytest.fixture
def client(run: FakeRun) -> Iterator[Client]:
    server = PageServer(run)
    with server.in_background():
        yield Client(server)


def test_the_page_is_whole_and_asks_nobody_else(client: Client) -> None:
    status, headers, content = client.ask("GET", "/", token=None)
    assert status == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'self'; ")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")
    page = content.decode()
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", page)
    files = static_files()
    texts = {name: text.decode() for name, (text, _) in files.items()}
    used = set(re.findall(r'(?:href|src)="/([^"]+)"', page))
    for name, text in texts.items():
        if name.endswith(".js"):
            used |= set(re.findall(r'from "\./([^"]+)"', text))
            assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
        hosts = set(re.findall(r"https?://[^\s\"']+", text))
        assert hosts <= {"http://www.w3.org/2000/svg"}, name
    assert used == set(files) - {"index.html"}
    for name in used:
        status, headers, content = client.ask("GET", f"/{name}", token=None)
        assert (status, headers["Content-Type"], content) == (200, files[name][1], files[name][0])


@pytest.mark.parametrize("token", [None, "", "wrong"])
def test_without_the_token_there_is_nothing_to_see_or_do(client: Client, run: FakeRun, token: str | None) -> None:
    for method, path in (("GET", "/api/events"), ("POST", "/api/orders/stop"), ("GET", "/api/nothing")):
        status, _, content = client.ask(method, path, token=token)
        assert status == 401
        assert "token" in json.loads(content)["error"]
    assert run.asked == []


def test_each_server_has_a_token_of_its_own_that_stays_out_of_requests(client: Client, run: FakeRun) -> None:
    other = PageServer(run)
    other.close()
    assert other.token != client.server.token
    assert len(client.server.token) >= 32
    assert client.server.url == f"http://127.0.0.1:{client.server.port}/#{client.server.token}"


def test_names_that_lead_here_but_are_not_ours_are_refused(client: Client, run: FakeRun) -> None:
    for host in ("evil.example", "evil.example:8642", "127.0.0.1.evil.example", "192.0.2.7", ""):
        for method, path in (("GET", "/"), ("POST", "/api/orders/stop")):
            status, _, content = client.ask(method, path, {}, Host=host)
            assert (status, "Host" in json.loads(content)["error"]) == (403, True), host
    for host in ("localhost", "localhost:9000", "127.0.0.1", "[::1]:80"):
        assert client.ask("GET", "/", Host=host)[0] == 200
    assert run.asked == []


def test_a_server_for_other_machines_answers_by_address_and_by_its_own_name(run: FakeRun) -> None:
    server = PageServer(run, host="0.0.0.0")
    client = Client(server)
    with server.in_background():
        for host in ("192.0.2.7:80", socket.gethostname(), "localhost"):
            assert client.ask("GET", "/", Host=host)[0] == 200
        assert client.ask("GET", "/", Host="evil.example")[0] == 403
        assert client.order("pause", token=None)[0] == 401


def test_names_are_known_as_browsers_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """In small letters, whatever the machine calls itself; and by the address that was asked for, if not 127.0.0.1."""
    monkeypatch.setattr(socket, "gethostname", lambda: "Lab-PC")
    for host, names in (("0.0.0.0", ["lab-pc:80", "192.0.2.7"]), ("Lab-PC", ["lab-pc"]), ("127.0.0.2", ["127.0.0.2"])):
        guard = Guard(lambda *_: None, host, "token")  # type: ignore[arg-type,return-value]
        for name in names:
            assert guard._refusal("GET", "/", Headers({"host": name})) is None
        assert guard._refusal("GET", "/", Headers({"host": "evil.example"})) is not None


def test_orders_of_other_pages_are_refused(client: Client, run: FakeRun) -> None:
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://127.0.0.1:{client.server.port + 1}"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ):
        assert client.order("stop", **headers)[0] == 403
    assert run.asked == []
    assert (
        client.order("pause", Origin=f"http://127.0.0.1:{client.server.port}", Sec_Fetch_Site="same-origin")[0] == 200
    )
    assert run.asked == [{"pause": True}]


def test_orders_reach_the_run_and_its_answer_the_page(client: Client, run: FakeRun) -> None:
    status, answer = client.order("inject", INJECT)
    assert (status, answer["done"]["station"], answer["done"]["at_step"]) == (200, "east", 0)
    assert run.asked == [{"inject": [75.0, 12.5], "name": "east", "azimuth": 90.0, "how": ["random", "execute"]}]
    assert client.order("remove", {"station": "east"})[1]["done"]["sum_rate_after"] == 2.9
    assert [client.order(name) for name in ("pause", "resume", "stop")] == [(200, {"done": {}})] * 3
    assert run.asked[1:] == [{"remove": "east"}, {"pause": True}, {"resume": True}, {"stop": True}]


def test_a_refusal_comes_in_the_words_of_the_run(client: Client) -> None:
    assert client.order("remove", {"station": "x"}) == (409, {"error": "there is no station 'x'"})
    assert client.order("inject", {"position_m": [50.0, 50.0]}) == (409, {"error": "a station stands there already"})


@pytest.mark.parametrize(
    ("name", "body", "fragment"),
    [
        ("inject", {}, "inject: position_m: found nothing"),
        ("inject", {"position_m": [1, "b"]}, "inject: position_m.1: found 'b'; allowed: a number"),
        ("inject", {"position_m": [1, 2], "transfer": "best"}, "inject: transfer: found 'best'"),
        ("inject", {"position_m": [1, 2], "speed": 3}, "inject: speed"),
        ("inject", b'{"position_m": [1, NaN]}', "inject: position_m.1: found nan"),
        ("remove", {"station": 3}, 'allowed: {"station": NAME}'),
        ("pause", {"for": 3}, "pause: takes nothing; found for"),
        ("pause", [], "allowed: a JSON object"),
        ("pause", b"{", "an order is JSON"),
        ("pause", b"[" * 4000, "an order is JSON"),
        ("pause", b" " * 5000, "at most 4096 bytes"),
        ("format", {}, "allowed: inject, remove, pause, resume, stop"),
    ],
)
def test_what_is_no_order_is_refused_in_json(client: Client, run: FakeRun, name: str, body: Any, fragment: str) -> None:
    status, answer = client.order(name, body)
    assert status == 400
    assert fragment in answer["error"]
    assert run.asked == []


def test_what_is_not_there_says_so_in_json(client: Client) -> None:
    for method, path, expected in (("GET", "/nothing.js", 404), ("GET", "/api/orders/stop", 405), ("GET", "/a/b", 404)):
        status, _, content = client.ask(method, path)
        assert (status, bool(json.loads(content)["error"])) == (expected, True)
    assert client.ask("POST", "/api/orders/stop", b"a=1", Content_Type="application/x-www-form-urlencoded")[0] == 400


def test_there_is_an_end_to_how_many_look_however_fast_they_come(client: Client) -> None:
    streams = [http.client.HTTPConnection("127.0.0.1", client.server.port, timeout=20) for _ in range(MOST_PAGES + 8)]
    for each in streams:
        each.request("GET", "/api/events", headers=client._headers("right", {}))
    statuses = [each.getresponse().status for each in streams]
    assert (statuses.count(200), statuses.count(503)) == (MOST_PAGES, 8)
    for each in streams:
        each.close()
    until = time.monotonic() + 20
    while client.ask("HEAD", "/api/events")[0] != 200:
        assert time.monotonic() < until
        threading.Event().wait(0.05)


def test_several_pages_follow_the_same_run(client: Client, run: FakeRun) -> None:
    pages = [Stream(client) for _ in range(3)]
    assert pages[0].answer.headers["Content-Type"].startswith("text/event-stream")
    for page in pages:
        steps = [page.until("step") for _ in range(3)]
        assert steps == sorted(set(steps))
    for page in pages:
        page.close()


def test_a_page_too_many_is_refused(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cellfree_sim.web.app.MOST_PAGES", 1)
    page = Stream(client)
    page.until("step")
    status, _, content = client.ask("GET", "/api/events")
    assert (status, "close one" in json.loads(content)["error"]) == (503, True)
    page.close()


def test_the_end_of_the_server_leaves_nobody_waiting(run: FakeRun) -> None:
    run.hold = threading.Event()
    server = PageServer(run)
    client = Client(server)
    answers: list[Any] = []
    with server.in_background():
        page = Stream(client)
        page.until("step")
        waiting = threading.Thread(target=lambda: answers.append(client.order("inject", INJECT)))
        waiting.start()
        assert page.until("orders")[0]["position_m"] == [75.0, 12.5]
    waiting.join()
    assert answers == [(503, {"error": "this page's server has ended; the order stays in force"})]
    kinds = []
    while "goodbye" not in kinds:
        kinds.append(page.event()[0])
    run.hold.set()
    page.close()
    with pytest.raises(ConnectionError):
        client.ask("GET", "/")


def test_a_page_that_has_stopped_to_read_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("cellfree_sim.web.feed.PERIOD_S", 0.01)
    monkeypatch.setattr("cellfree_sim.web.server.PATIENCE_S", 0)
    run = Talkative()
    server = PageServer(run)
    client = Client(server)
    with server.in_background():
        asleep = Stream(client)
        awake = Stream(client)
        for _ in range(20):  # ten times what the buffers between two sockets hold
            assert len(awake.until("phase")) == 2**21
    asleep.close()
    awake.close()
    assert caplog.records == []


class Talkative(FakeRun):
    """Says two megabytes with each look."""

    def status(self) -> RunStatus:
        self.facts["phase"] = f"{self.step:08}" * 2**18
        return super().status()


def test_a_port_in_use_is_one_clear_line(run: FakeRun) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"^--port {number}: is in use on 127.0.0.1 .*give another one, such as"):
            PageServer(run, port=number)
    for host in ("no.such.host.invalid", "192.0.2.7"):
        with pytest.raises(UserError, match=f"^--host {host}: is no address of this machine"):
            PageServer(run, host=host)
