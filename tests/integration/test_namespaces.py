"""Nodes of different namespaces and databases on one Redis have nothing to do with each other."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from bench.harness import ROOT, NodeProcess, RedisProcess, environment_without_settings
from tests.support.nodes import client_of, read_metrics, wait_until
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

# (flags, database, prefix): the same names on different databases are different namespaces.
PLACES: list[tuple[tuple[str, ...], int, str]] = [
    ((), 0, ""),
    ((), 1, "db1:"),
    (("--namespace", "blue"), 0, "blue:"),
    (("--namespace", "{green}"), 0, "{green}:"),
    (("--namespace", "blue"), 1, "blue:db1:"),
]
PREFIXES = [prefix for _, _, prefix in PLACES]


@pytest.fixture
def redis() -> Iterator[RedisProcess]:
    with RedisProcess(tcp=True) as process:
        yield process


@pytest.fixture
def nodes(redis: RedisProcess) -> Iterator[dict[str, NodeProcess]]:
    """A node in each place, by prefix. All have one name, as copies of one deployment do."""
    with contextlib.ExitStack() as stack:
        started = {}
        for flags, database, prefix in PLACES:
            url = f"{redis.url}/{database}"
            own = ("--redis-url", url, "--server-id", "node-1", "--audit-interval", "0.2")
            started[prefix] = stack.enter_context(NodeProcess(*own, *flags))
        for prefix, node in started.items():
            node.wait_ready()
            said = [line for line in node.log if "keys and channels on Redis begin with" in line]
            assert [line.rpartition(" ")[2] for line in said] == [prefix] * bool(prefix)
        yield started


@pytest.fixture
def administrators(redis: RedisProcess) -> Iterator[dict[str, Redis]]:
    """A client of each place's database, by prefix."""
    with contextlib.ExitStack() as stack:
        yield {
            prefix: stack.enter_context(Redis(unix_socket_path=str(redis.socket_path), db=database))
            for _, database, prefix in PLACES
        }


def post(node: NodeProcess, path: str, content: dict[str, Any], **headers: str) -> Any:  # noqa: ANN401
    with client_of(node) as http:
        return http.post(path, json=content, headers=headers).raise_for_status().json()


def event(data: object) -> dict[str, Any]:
    return {"userId": "123", "eventType": "t", "data": data}


def test_each_hears_only_itself(
    nodes: dict[str, NodeProcess], administrators: dict[str, Redis]
) -> None:
    with contextlib.ExitStack() as stack:
        streams = {
            prefix: stack.enter_context(StreamClient(node.url)) for prefix, node in nodes.items()
        }
        for stream in streams.values():
            stream.wait_open()
        for prefix, node in nodes.items():
            post(node, "/events", event({"from": prefix}), **{"Idempotency-Key": "one"})
            broadcast = {"channel": "system-events", "eventType": "b", "data": {"from": prefix}}
            post(node, "/events", broadcast)
            account = post(node, "/accounts", {"name": "n", "balance": 1})
            assert account["id"] == 1
        for prefix, client in administrators.items():
            payload = json.dumps(event({"from": prefix, "by": "PUBLISH"}))
            assert client.publish(f"{prefix}user-events", payload) == 1
        for prefix, stream in streams.items():
            stream.wait_for_type("snapshots.generated")
            stream.wait_for(lambda event: event.json.get("by") == "PUBLISH")
            own = [each for each in stream.events if each.type in {"t", "b"}]
            assert [each.json["from"] for each in own] == [prefix] * 3
    for prefix, client in administrators.items():
        keys: Any = client.keys("*")
        names = [name.decode() for name in keys]
        assert f"{prefix}sse:account:1" in names
        assert {name.partition("sse:")[0] for name in names} <= set(PREFIXES)


def test_no_loss_of_one_resets_another(
    nodes: dict[str, NodeProcess], administrators: dict[str, Redis]
) -> None:
    with contextlib.ExitStack() as stack:
        streams = {
            prefix: stack.enter_context(StreamClient(node.url)) for prefix, node in nodes.items()
        }
        for stream in streams.values():
            stream.wait_open()
        for prefix, node in nodes.items():
            post(node, "/events", event({"from": prefix}))
        for prefix, client in administrators.items():
            before = {other: resets_of(node) for other, node in nodes.items()}
            client.xtrim(f"{prefix}sse:log", maxlen=0, approximate=False)
            streams[prefix].wait_for(lambda each: each.name == "sse.reset")
            nodes[prefix].wait_ready()
            for other, node in nodes.items():
                assert (resets_of(node) > before[other]) == (other == prefix)
        for prefix, stream in streams.items():
            post(nodes[prefix], "/events", event({"last": prefix}))
            assert stream.wait_for(lambda each: "last" in each.json).json["last"] == prefix
            assert len([each for each in stream.events if each.name == "sse.reset"]) == 1


def resets_of(node: NodeProcess) -> float:
    with client_of(node) as http:
        metrics = read_metrics(http)
    return sum(value for (name, _), value in metrics.items() if name == "sse_node_resets_total")


def test_subscriptions_are_found_again(
    nodes: dict[str, NodeProcess], administrators: dict[str, Redis]
) -> None:
    administrators[""].client_kill_filter(_type="pubsub")
    for node in nodes.values():
        wait_until(partial(is_back, node), "the subscription is back")
    for prefix, node in nodes.items():
        with StreamClient(node.url) as stream:
            stream.wait_open()
            post(node, "/events", event({"from": prefix}))
            assert stream.wait_for_type("t").json["from"] == prefix


def is_back(node: NodeProcess) -> bool:
    with client_of(node) as http:
        return read_metrics(http)["sse_node_redis_reconnects_total", "subscriber"] == 1


def test_commands_and_script(nodes: dict[str, NodeProcess], redis: RedisProcess) -> None:
    command = (sys.executable, "-m", "sse_node")
    env = environment_without_settings()
    script = subprocess.run(
        [*command, "script"], cwd=ROOT, env=env, check=True, capture_output=True
    )
    for flags, database, prefix in PLACES:
        where = ("--redis-url", f"{redis.url}/{database}", *flags)
        with (
            StreamClient(nodes[prefix].url) as stream,
            Redis(unix_socket_path=str(redis.socket_path), db=database) as client,
        ):
            stream.wait_open()
            published = subprocess.run(
                [*command, "publish", "123", "t", f'{{"from":"{prefix}"}}', *where],
                cwd=ROOT, env=env, check=True, capture_output=True, text=True,
            )  # fmt: skip
            assert stream.wait_for_type("t").id == published.stdout.strip()
            payload = '{"userId":"123","eventType":"u","data":1}'
            keys_and_arguments = (1, f"{prefix}sse:log", 1000, 0, 0, "user-events", payload)
            answer: Any = client.eval(script.stdout.decode(), *keys_and_arguments)
            assert stream.wait_for_type("u").id == answer.decode()


def test_tail(nodes: dict[str, NodeProcess], redis: RedisProcess) -> None:
    where = ("--redis-url", f"{redis.url}/1", "--namespace", "blue")
    command = (sys.executable, "-m", "sse_node", "tail", "123", *where)
    with (
        Redis(unix_socket_path=str(redis.socket_path)) as client,
        subprocess.Popen(
            command, cwd=ROOT, env=environment_without_settings(), stdout=subprocess.PIPE, text=True
        ) as tail,
    ):
        try:
            channel = "blue:db1:user-events"
            wait_until(lambda: client.pubsub_numsub(channel)[0][1] == 2, "tail is subscribed")
            for prefix, node in nodes.items():
                post(node, "/events", event({"from": prefix}))
            assert tail.stdout is not None
            assert '{"from":"blue:db1:"}' in tail.stdout.readline()
        finally:
            tail.terminate()
