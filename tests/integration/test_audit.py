"""Links to Redis that look alive and are not: each is found within twice the audit's interval."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx
import pytest
from redis import Redis

from bench.chaos.environment import Clock
from bench.harness import RedisProcess
from tests.support.nodes import client_of, read_metrics, wait_until
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.nodes import StartNode

INTERVAL_S = 1.0


@pytest.fixture
def own_redis() -> Iterator[RedisProcess]:
    """A Redis that the test may break."""
    with RedisProcess() as process:
        yield process


def is_ready(http: httpx.Client) -> bool:
    return http.get("/health/ready").status_code == 200


def test_a_redis_that_hangs(own_redis: RedisProcess, start_node: StartNode) -> None:
    node = start_node(
        "--audit-interval", str(INTERVAL_S), "--redis-timeout", "0.5", redis=own_redis
    )
    with client_of(node) as http, StreamClient(node.url, "/events/sse/ann") as stream:
        stream.wait_open()
        own_redis.suspend()
        suspended = time.monotonic()
        try:
            wait_until(lambda: not is_ready(http), "the node is not ready")
            assert time.monotonic() - suspended <= 2 * INTERVAL_S
        finally:
            own_redis.resume()
        wait_until(lambda: is_ready(http), "the node is ready again")
        http.post("/events", json={"userId": "ann", "eventType": "a.b", "data": 1})
        stream.wait_for_type("a.b")


def test_a_subscriber_that_redis_has_dropped(
    own_redis: RedisProcess, start_node: StartNode
) -> None:
    node = start_node("--audit-interval", str(INTERVAL_S), redis=own_redis)
    with (
        client_of(node) as http,
        Redis.from_url(own_redis.url) as commands,
        StreamClient(node.url, "/events/sse/ann") as stream,
    ):
        stream.wait_open()
        commands.client_kill_filter(_type="pubsub")
        killed = time.monotonic()
        event_id = http.post(
            "/events", json={"userId": "ann", "eventType": "a.b", "data": 1}
        ).json()["ids"][0]
        event = stream.wait_for_type("a.b")
        assert event.id == event_id
        assert event.received_s - killed <= 2 * INTERVAL_S
        metrics = read_metrics(http)
        assert metrics["sse_node_redis_reconnects_total", "subscriber"] == 1


def test_a_master_that_became_a_replica(own_redis: RedisProcess, start_node: StartNode) -> None:
    node = start_node("--audit-interval", str(INTERVAL_S), redis=own_redis)
    with client_of(node) as http, Redis.from_url(own_redis.url) as commands:
        commands.execute_command("REPLICAOF", "127.0.0.1", "1")
        demoted = time.monotonic()
        wait_until(lambda: not is_ready(http), "the node is not ready")
        assert time.monotonic() - demoted <= 2 * INTERVAL_S
        answer = http.post("/accounts", json={"name": "A", "balance": 1})
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        commands.execute_command("REPLICAOF", "NO", "ONE")
        wait_until(lambda: is_ready(http), "the node is ready again")
        assert http.post("/accounts", json={"name": "A", "balance": 1}).status_code == 201


def test_a_clock_of_redis_that_jumps_ahead(start_node: StartNode, tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    with RedisProcess(env=clock.environment()) as redis:
        node = start_node("--audit-interval", "60", redis=redis)
        with client_of(node) as http, StreamClient(node.url, "/events/sse/ann") as stream:
            stream.wait_open()
            for offset_s in (5, 3600, -3600):
                clock.set(offset_s)
                event_type = f"at.{offset_s}"
                event = {"userId": "ann", "eventType": event_type, "data": 1}
                answer = http.post("/events", json=event)
                assert answer.status_code == 202
                assert stream.wait_for_type(event_type).id in answer.json()["ids"]
                assert http.post("/accounts", json={"name": "A", "balance": 1}).status_code == 201
            assert is_ready(http)
        node.stop()
        assert not any("away" in line or "refused" in line for line in node.last_output())


def test_a_stop_of_the_node_is_not_taken_for_redis(
    own_redis: RedisProcess, start_node: StartNode
) -> None:
    node = start_node("--audit-interval", str(INTERVAL_S), redis=own_redis)
    with client_of(node) as http, StreamClient(node.url, "/events/sse/ann") as stream:
        stream.wait_open()
        node.suspend()
        time.sleep(6)  # longer than every time limit of a command, the reader of jobs included
        node.resume()
        account = {"name": "A", "balance": 1, "userId": "ann"}
        assert http.post("/accounts", json=account).status_code == 201
        stream.wait_for_type("snapshots.generated")
        assert is_ready(http)
        metrics = read_metrics(http)
        assert metrics["sse_node_redis_command_failures_total", ""] == 0
        assert metrics["sse_node_redis_reconnects_total", "subscriber"] == 0
    node.stop()
    assert "Redis is away" not in "".join(node.last_output())


def test_a_log_that_was_wiped_behind_the_node(
    own_redis: RedisProcess, start_node: StartNode
) -> None:
    node = start_node("--audit-interval", str(INTERVAL_S), redis=own_redis)
    with (
        client_of(node) as http,
        Redis.from_url(own_redis.url) as commands,
        StreamClient(node.url, "/events/sse/ann") as stream,
    ):
        stream.wait_open()
        http.post("/events", json={"userId": "ann", "eventType": "a.b", "data": 1})
        stream.wait_for_type("a.b")
        commands.flushall()
        wiped = time.monotonic()
        reset = stream.wait_for_type("sse.reset")
        assert reset.received_s - wiped <= 2 * INTERVAL_S
        assert reset.json == {"reason": "rollback"}
        log = commands.xrevrange("sse:log", count=1)
        assert reset.id == log[0][0].decode()
