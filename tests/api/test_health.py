"""What operators look at, of a node that serves and of one that had better be left alone."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from sse_node.api.health import Health
from sse_node.errors import RequestError
from sse_node.redis.commands import RedisCommands
from sse_node.redis.server_checks import ServerChecks
from sse_node.wire.http_head import Request, Response
from tests.support.redis_fixtures import Node

REQUEST = Request("GET", "/", "", {})


@dataclass
class State:
    redis_usable: bool = True
    draining: bool = False
    obstacle: str = ""


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
def node(make_node: Callable[..., Node]) -> Node:
    return make_node(max_streams=1)


@pytest.fixture
def checks(no_redis: RedisCommands, state: State) -> ServerChecks:
    checks = ServerChecks(lambda: [no_redis], 1)
    checks.obstacle = state.obstacle
    return checks


@pytest.fixture
def health(node: Node, state: State, checks: ServerChecks) -> Health:
    return Health(
        "node-1",
        node.hub,
        node.streams,
        checks,
        redis_usable=lambda: state.redis_usable,
        draining=lambda: state.draining,
        leaving=lambda: state.draining,
        exposition=lambda: b"# HELP a A.\n",
    )


def content_of(response: Response) -> dict[str, Any]:
    assert response.status == 200
    assert (b"Cache-Control", b"no-store") in response.headers
    content = json.loads(response.content)
    assert isinstance(content, dict)
    return content


def test_health_and_status_show_the_same_figures(health: Health) -> None:
    first, second = content_of(health.health(REQUEST)), content_of(health.status(REQUEST))
    assert first.pop("status") == "ok"
    assert first.pop("warnings") == []
    assert second.pop("uptime_s") >= first.pop("uptime_s") >= 0
    assert (
        first
        == second
        == {
            "serverId": "node-1",
            "pid": os.getpid(),
            "connectedUsers": 0,
            "activeStreams": 0,
            "maxStreams": 1,
            "redisConnected": True,
            "draining": False,
        }
    )


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (State(redis_usable=False), "Redis is not usable"),
        (State(draining=True), "the node is draining"),
        (State(obstacle="no XAUTOCLAIM"), "no XAUTOCLAIM"),
    ],
    ids=["no Redis", "draining", "a command is missing"],
)
def test_node_that_had_better_be_left_alone_is_alive_and_not_ready(
    health: Health, state: State, why: str
) -> None:
    assert content_of(health.live(REQUEST)) == {"status": "ok", "serverId": "node-1"}
    assert content_of(health.health(REQUEST))["redisConnected"] is state.redis_usable
    assert content_of(health.status(REQUEST))["draining"] is state.draining
    with pytest.raises(RequestError, match=f"not ready: {why}") as caught:
        health.ready(REQUEST)
    assert caught.value.status == 503


def test_warnings_of_redis_are_shown(health: Health, checks: ServerChecks) -> None:
    checks.warnings["eviction"] = "maxmemory-policy is allkeys-lru"
    assert content_of(health.health(REQUEST))["warnings"] == ["maxmemory-policy is allkeys-lru"]


def test_node_is_ready_until_it_is_full(health: Health, node: Node) -> None:
    assert content_of(health.ready(REQUEST)) == {"status": "ready", "serverId": "node-1"}
    node.streams.max_streams = 0
    with pytest.raises(RequestError, match="not ready: the node holds all the streams it may"):
        health.ready(REQUEST)


def test_node_is_not_ready_while_it_is_overloaded(health: Health, node: Node) -> None:
    admission = node.streams.admission
    for second in range(10):
        admission.on_lag(2.0)
        admission.look(0, second)
    with pytest.raises(RequestError, match="not ready: the event loop is later than --lag-limit"):
        health.ready(REQUEST)
    refusal = node.opening.refusal()
    assert refusal is not None
    assert refusal.status == 200
    assert node.streams.refused == {"lag": 1}


def test_metrics_are_answered_as_prometheus_wants_them(health: Health) -> None:
    response = health.metrics(REQUEST)
    assert dict(response.headers)[b"Content-Type"].startswith(b"text/plain; version=")
    assert response.content == b"# HELP a A.\n"
