"""Sixteen shards on one Redis: the contract holds, and other programs need not know."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from bench.harness import ROOT, NodeProcess, RedisProcess, environment_without_settings
from sse_node.wire.sharding import shard_of
from tests.support.nodes import client_of, read_metrics
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration

SHARDS = 16
MODULES = (
    "test_events.py",
    "test_accounts.py",
    "test_account_history.py",
    "test_idempotency.py",
    "test_two_nodes.py",
    "test_first_connection.py",
)
# With several shards events travel by channels that other programs do not know, and in no order
# with what those publish.
OF_ONE_SHARD = [
    f"--deselect=tests/integration/test_two_nodes.py::{name}"
    for name in (
        "test_another_node_of_this_format_hears_what_is_published_here",
        "test_foreign_and_own_events_keep_redis_order",
    )
]


def test_contract_with_shards() -> None:
    files = [f"tests/integration/{name}" for name in MODULES]
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--redis", "shards"]
    ended = subprocess.run(
        [*words, *OF_ONE_SHARD, *files], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert "skipped" not in ended.stdout


@pytest.fixture
def redis() -> Iterator[RedisProcess]:
    """A Redis of the test's own, divided into shards."""
    with RedisProcess() as process:
        process.shards = SHARDS
        yield process


def test_what_others_publish_is_heard_once_by_every_node(
    redis: RedisProcess, start_node: StartNode
) -> None:
    nodes = [start_node(redis=redis, server_id=name) for name in ("node-1", "node-2")]
    users = [f"user-{number}" for number in range(8)]
    assert len({shard_of(user, SHARDS) for user in users}) > 3
    streams = [StreamClient(node.url, f"/events/sse/{user}") for node in nodes for user in users]
    for stream in streams:
        stream.wait_open()
    with Redis.from_url(redis.url) as other:
        for user in users:
            message = {"userId": user, "eventType": "theirs", "data": {"for": user}}
            other.publish("user-events", json.dumps(message))
        other.publish("system-events", '{"eventType":"to-all","data":1}')
    with client_of(nodes[0]) as http:
        last = {"channel": "system-events", "eventType": "last", "data": 1}
        for stream in streams:
            stream.wait_for_type("to-all")
        http.post("/events", json=last).raise_for_status()
    for stream, user in zip(streams, users * 2, strict=True):
        stream.wait_for_type("last")
        heard = [(event.type, event.json.get("for")) for event in stream.published()]
        assert heard == [("theirs", user), ("to-all", None), ("last", None)]
        stream.close()


def test_a_node_with_another_number_of_shards_does_not_start(
    redis: RedisProcess, start_node: StartNode
) -> None:
    start_node(redis=redis)
    for shards in ("1", "4"):
        words = (sys.executable, "-m", "sse_node", "serve", "--port", "0", "--shards", shards)
        ended = subprocess.run(
            [*words, "--redis-url", redis.url],
            cwd=ROOT, env=environment_without_settings(), capture_output=True, text=True,
            timeout=20, check=False,
        )  # fmt: skip
        assert ended.returncode == 3
        assert f"--shards: {shards} is not allowed; expected 16" in ended.stderr


def test_one_shard_that_loses_its_log_resets_its_own_streams_only(
    redis: RedisProcess, start_node: StartNode
) -> None:
    node = start_node("--audit-interval", "0.4", redis=redis)
    lost, kept = "user-1", "user-2"
    assert shard_of(lost, SHARDS) != shard_of(kept, SHARDS)
    with (
        client_of(node) as http,
        Redis.from_url(redis.url) as other,
        StreamClient(node.url, f"/events/sse/{lost}") as of_lost,
        StreamClient(node.url, f"/events/sse/{kept}") as of_kept,
    ):
        of_lost.wait_open()
        of_kept.wait_open()
        (log,) = other.scan_iter(f"shard{shard_of(lost, SHARDS)}{{*}}:sse:log")
        other.delete(log)
        assert of_lost.wait_for_type("sse.reset").json == {"reason": "rollback"}
        for user in (lost, kept):
            event = {"userId": user, "eventType": "after", "data": 1}
            http.post("/events", json=event).raise_for_status()
        of_lost.wait_for_type("after")
        of_kept.wait_for_type("after")
        assert [event.type for event in of_kept.published()] == ["after"]
        assert {key for key in read_metrics(http) if key[0] == "sse_node_shard_usable"} == {
            ("sse_node_shard_usable", str(number)) for number in range(SHARDS)
        }


def test_commands_find_the_shard(redis: RedisProcess, start_node: StartNode) -> None:
    node: NodeProcess = start_node(redis=redis)
    command = (sys.executable, "-m", "sse_node", "publish", "ann", "by-command", "1")
    with StreamClient(node.url, "/events/sse/ann") as stream:
        stream.wait_open()
        printed = subprocess.run(
            [*command, "--redis-url", redis.url],
            cwd=ROOT, env=environment_without_settings(), capture_output=True, text=True,
            check=True,
        ).stdout.strip()  # fmt: skip
        assert stream.wait_for_type("by-command").id == printed
