"""What Ray is asked for, on a cluster that is there: nodes, groups on the node of a seat, and who may join."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.cluster import Cluster, Target, connect, join_run
from agents.placement import (
    RESERVE_TIMEOUT_S,
    Seat,
    cluster_nodes,
    dry_run,
    find_seat,
    find_seats,
    reserve,
)
from cellfree_sim.errors import ResourceShortError, UserError
from cellfree_sim.network import build_network

TIMEOUT_S = 120


@pytest.fixture
def groups() -> Iterator[list[Any]]:
    """Groups that are removed after the test."""
    from ray.util.placement_group import remove_placement_group

    made: list[Any] = []
    yield made
    for group in made:
        remove_placement_group(group)


def test_nodes_are_those_of_the_cluster(cluster: Any) -> None:
    (node,) = cluster_nodes()
    assert (node.id, node.cpus, node.gpus, node.alive) == (cluster.address_info["node_id"], 4.0, 4.0, True)
    assert 0 <= node.free_cpus <= 4
    assert 0 <= node.free_gpus <= 4


def test_a_group_lies_on_the_node_of_its_seat(cluster: Any, small_scenario: Any, groups: list[Any]) -> None:
    from ray.util.placement_group import placement_group_table

    scenario = small_scenario(placement={"mbs": {"cpus": 0.5}, "sbs": {"cpus": 0.5, "gpus": 0.5}})
    seats = find_seats(scenario, "mbs", scenario.station_names)
    for seat in seats:
        groups.append(reserve(seat, "tests"))
    tables = [placement_group_table(group) for group in groups]
    assert [list(table["bundles_to_node_id"].values()) for table in tables] == [[seat.node] for seat in seats]
    assert [list(table["bundles"].values()) for table in tables] == [[seat.bundle] for seat in seats]
    assert [table["state"] for table in tables] == ["CREATED"] * 4


def test_a_seat_that_is_taken_is_refused_in_seconds(cluster: Any, groups: list[Any]) -> None:
    (node,) = cluster_nodes()
    groups.append(reserve(Seat("first", node.cpus, 0, node.id, node.name), "tests"))
    started = time.monotonic()
    with pytest.raises(ResourceShortError, match=r"^second: no room for 1 CPU on .* has 0 of 4 CPUs .* free; wait for"):
        reserve(Seat("second", 1, 0, node.id, node.name), "tests")
    assert time.monotonic() - started < RESERVE_TIMEOUT_S + 2


def test_a_node_that_is_gone_is_named(cluster: Any) -> None:
    with pytest.raises(ResourceShortError, match=r"^sbs-1: no room for 1 CPU on lost .*that node is gone"):
        reserve(Seat("sbs-1", 1, 0, "f" * 56, "lost"), "tests")


def test_a_seat_that_was_given_back_is_found_again(cluster: Any, small_scenario: Any) -> None:
    from ray.util.placement_group import placement_group_table, remove_placement_group

    (node,) = cluster_nodes()
    scenario = small_scenario(placement={"sbs": {"cpus": node.cpus}})
    seat = find_seat(scenario, "sbs-0", [])
    group = reserve(seat, "tests")
    remove_placement_group(group)
    assert find_seat(scenario, "sbs-0", []) == seat
    again = reserve(seat, "tests")  # by the same name, at once
    remove_placement_group(again)
    assert placement_group_table(again)["state"] == "REMOVED"


def test_more_than_there_is_is_refused_in_seconds(cluster: Any, small_scenario: Any) -> None:
    started = time.monotonic()
    with pytest.raises(ResourceShortError, match=r"sbs-3 asks for 9 CPUs; no node that the strategy allows can ever"):
        find_seat(small_scenario(placement={"sbs": {"cpus": 9}}), "sbs-3", [])
    assert time.monotonic() - started < 5


def test_a_dry_run_leaves_the_cluster_as_it_was(cluster: Any, small_scenario: Any) -> None:
    import ray
    from ray.util.placement_group import placement_group_table

    scenario = small_scenario(placement={"sbs": {"cpus": 0.5, "gpus": "auto"}})
    before = placement_group_table()
    plan = dry_run(scenario, build_network(scenario), None)
    assert plan.fits
    assert [seat.gpus for seat in plan.seats] == [0, 1, 1, 1]
    assert plan.cluster.startswith(f"would join the Ray cluster at {cluster.address_info['gcs_address']}: 1 node, ")
    assert ray.is_initialized()
    assert placement_group_table().keys() == before.keys()


def test_a_connected_process_stays_connected(cluster: Any) -> None:
    import ray

    with join_run("127.0.0.1:1", "any", ""):
        assert ray.is_initialized()
    assert ray.is_initialized()
    shared = Cluster(address=None, namespace="tests", cpus=1)
    assert (shared.owned, shared.joined, shared.note) == (False, None, "")
    shared.close()
    assert ray.is_initialized()


@pytest.mark.parametrize(
    ("greeting", "text"),
    [
        (None, r"no Ray cluster answers there \(Connection refused\)"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "what answers there is not a Ray cluster's GCS"),
        (b"", "what answers there is not a Ray cluster's GCS"),
    ],
)
def test_a_server_of_another_kind_is_told_at_once(greeting: bytes | None, text: str) -> None:
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        if greeting is None:
            server.close()
        else:

            def greet() -> None:
                connection, _ = server.accept()
                with connection:
                    connection.recv(1024)
                    connection.sendall(greeting)

            threading.Thread(target=greet, daemon=True).start()
        with pytest.raises(UserError, match=f"^RAY_ADDRESS {address}: {text}"):
            connect(Target(address, "RAY_ADDRESS"), "tests")


JOIN = """
import sys, time
from agents.cluster import Cluster, join_run
from cellfree_sim.errors import UserError
started = time.monotonic()
try:
    if sys.argv[2:]:
        with join_run(sys.argv[1], "tests", sys.argv[2]):
            import ray
            print("joined", ray.get_runtime_context().namespace)
    else:
        cluster = Cluster(address=None, namespace="tests", cpus=1)
        print(cluster.note)
        cluster.close()
except UserError as error:
    print(error)
print(time.monotonic() - started < 10, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, list[str]]]:
    """A cluster of another process, as a run starts it: its address, its token's file, and where it listens."""
    code = textwrap.dedent("""
        import os, sys
        from agents.cluster import Cluster
        import psutil
        cluster = Cluster(address=None, namespace="tests", cpus=1)
        family = [psutil.Process(), *psutil.Process().children(recursive=True)]
        listening = {c.laddr.ip for p in family for c in p.net_connections() if c.status == psutil.CONN_LISTEN}
        print(cluster.address, os.environ["RAY_AUTH_TOKEN_PATH"], *sorted(listening), flush=True)
        sys.stdin.read()
        cluster.close()
    """)
    process = python(code, stdin=subprocess.PIPE)
    assert process.stdout is not None
    address, token, *listening = process.stdout.readline().split()
    yield address, token, listening
    process.communicate(timeout=TIMEOUT_S)


def python(code: str, *arguments: str, stdin: int | None = None, **environment: str) -> subprocess.Popen[str]:
    """A process without this one's settings of Ray."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    command = [sys.executable, "-c", code, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=stdin, stdout=pipe, stderr=pipe, text=True, env=kept | environment)


def test_an_own_cluster_listens_on_loopback_and_guards_itself(guarded: tuple[str, str, list[str]]) -> None:
    address, token, listening = guarded
    assert address.startswith("127.0.0.1:")
    assert {place.removeprefix("::ffff:") for place in listening} == {"127.0.0.1"}
    assert Path(token).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("with_path", "environment", "text"),
    [
        (True, {}, "joined tests"),
        (False, {"RAY_AUTH_TOKEN_PATH": "its own"}, "joined the Ray cluster at {}, because RAY_ADDRESS is set"),
        (False, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "its own"}, "joined the Ray cluster at {}, because"),
        (False, {}, "RAY_ADDRESS {}: the cluster asks for a token; set RAY_AUTH_TOKEN_PATH to the file with the"),
        (False, {"RAY_AUTH_MODE": "token"}, "RAY_ADDRESS {}: RAY_AUTH_MODE is token, but no token was found; set RAY_"),
        (
            False,
            {"RAY_AUTH_MODE": "disabled"},
            "RAY_ADDRESS {}: the cluster asks for a token, but RAY_AUTH_MODE is dis",
        ),
        (False, {"RAY_AUTH_TOKEN": "wrong"}, "RAY_ADDRESS {}: the cluster asks for another token than this process"),
    ],
)
def test_who_has_the_token_joins_and_who_has_not_is_told_quickly(
    guarded: tuple[str, str, list[str]], tmp_path: Path, with_path: bool, environment: dict[str, str], text: str
) -> None:
    address, token, _ = guarded
    environment = {key: token if value == "its own" else value for key, value in environment.items()}
    arguments = [address, token] if with_path else [address]
    joined = python(JOIN, *arguments, RAY_ADDRESS=address, HOME=str(tmp_path), **environment)
    out, err = joined.communicate(timeout=TIMEOUT_S)
    assert out.startswith(text.format(address))
    assert out.count("\n") == 1
    assert err == "True\n"
    assert list(tmp_path.iterdir()) == []  # no token of Ray's own is left in the home folder
