"""The node's numbers as metrics, from a node that is built and not started."""

import re

import msgspec
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from sse_node import __version__
from sse_node.config.reading import read_settings
from sse_node.node.composition import Node
from sse_node.streams.event_stream import CloseReason
from sse_node.streams.opening import REFUSAL_REASONS
from sse_node.wire.envelope import DROP_REASONS, encode_envelope, insert_id
from sse_node.wire.http_head import Request, Response
from sse_node.wire.prometheus import PackedFamily, expose, pack, unpack

PAYLOAD = insert_id(encode_envelope("1", "t", b"1", broadcast=False), b"5-1", b"log")


class RecordingStream:
    """A stream whose client reads everything at once."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data


@pytest.fixture
def node() -> Node:
    """Return a node whose Redis is nowhere."""
    settings = read_settings({"server_id": "node-1", "max_streams": "7"}, {})
    return Node(settings, "unix:///nowhere/redis.sock")


def exposed(node: Node) -> dict[str, Metric]:
    """Return the metric families that the node answers, by name."""
    request = Request("GET", "/metrics", "", {})
    response = node.site.find_route(request).handler(request)
    assert isinstance(response, Response)
    assert response.status == 200
    families = list(text_string_to_metric_families(response.content.decode()))
    assert len({family.name for family in families}) == len(families)
    return {family.name: family for family in families}


def values(family: Metric) -> dict[str, float]:
    """Return a family's samples by the values of their labels."""
    return {",".join(sample.labels.values()): sample.value for sample in family.samples}


def test_names_follow_the_rules_of_prometheus(node: Node) -> None:
    for name, family in exposed(node).items():
        assert re.fullmatch(r"sse_node_[a-z]+(_[a-z]+)*", name)
        assert re.fullmatch(r"[A-Z].*\.", family.documentation), name
        assert family.type in {"gauge", "counter", "histogram"}
        assert not re.search(r"_(ms|milliseconds|kb|kilobytes|count|sum|bucket|total)\b", name)
        assert family.type != "histogram" or name.endswith("_seconds")
        for sample in family.samples:
            assert family.type != "counter" or sample.name == f"{name}_total"
            assert all(re.fullmatch(r"[a-z_]+", label) for label in sample.labels)


def test_all_of_them_reach_another_worker(node: Node) -> None:
    packed = pack(node.metrics.families())
    received = msgspec.msgpack.decode(msgspec.msgpack.encode(packed), type=list[PackedFamily])
    exposition = expose(unpack({"1": received})).decode()
    assert {family.name for family in text_string_to_metric_families(exposition)} == set(
        exposed(node)
    )


def test_what_an_operator_asks_for_is_there(node: Node) -> None:
    assert exposed(node).keys() >= {
        "sse_node_build_info",
        "sse_node_streams",
        "sse_node_streams_limit",
        "sse_node_streams_opened",
        "sse_node_streams_closed",
        "sse_node_streams_refused",
        "sse_node_connected_users",
        "sse_node_messages_received",
        "sse_node_messages_dropped",
        "sse_node_deliveries",
        "sse_node_delivered_bytes",
        "sse_node_waiting_bytes",
        "sse_node_publish_to_write_seconds",
        "sse_node_event_loop_lag_seconds",
        "sse_node_http_responses",
        "sse_node_redis_up",
        "sse_node_redis_reconnects",
    }


def test_every_reason_is_there_before_it_first_happens(node: Node) -> None:
    families = exposed(node)
    assert values(families["sse_node_streams_closed"]) == {str(each): 0 for each in CloseReason}
    assert values(families["sse_node_messages_dropped"]) == dict.fromkeys(DROP_REASONS, 0)
    assert values(families["sse_node_streams_refused"]) == dict.fromkeys(REFUSAL_REASONS, 0)
    assert values(families["sse_node_requests_limited"]) == {
        "requests-per-address": 0,
        "requests-per-caller": 0,
        "events-per-caller": 0,
    }
    for name in ("sse_node_redis_up", "sse_node_redis_reconnects"):
        assert values(families[name]) == {"subscriber": 0, "commands": 0}


def test_node_says_what_it_is(node: Node) -> None:
    families = exposed(node)
    (build,) = families["sse_node_build_info"].samples
    assert build.labels["version"] == __version__
    assert build.labels["server_id"] == "node-1"
    assert values(families["sse_node_streams_limit"]) == {"": 7}


def test_numbers_are_those_of_the_node(node: Node) -> None:
    stream = RecordingStream()
    (shard,) = node.shards
    shard.hub.add(stream, ("1", " system-events"))
    shard.fanout.log_name = b"log"
    shard.fanout.deliver([[b"message", b"user-events", PAYLOAD]] * 2)
    shard.fanout.deliver([[b"message", b"user-events", b"{"]])
    node.opening.refuse("full")
    node.streams.closed[CloseReason.SLOW_CLIENT] += 2
    node.streams.resets["trimmed"] += 3
    node.site.answered[404] = 4
    shard.link.subscriptions = 3
    shard.link.up.set()
    families = exposed(node)
    for name, expected in {
        "connected_users": {"": 1},
        "messages_received": {"": 3},
        "messages_seen_before": {"": 1},
        "deliveries": {"": 1},
        "delivered_bytes": {"": len(stream.written)},
        "history_events": {"": 1},
        "history_bytes": {"": len(PAYLOAD)},
        "resets": {"trimmed": 3, "unknown-id": 0, "bad-id": 0, "rollback": 0, "unavailable": 0},
        "http_responses": {"404": 4},
        "redis_up": {"subscriber": 1, "commands": 0},
        "redis_reconnects": {"subscriber": 2, "commands": 0},
    }.items():
        assert values(families[f"sse_node_{name}"]) == expected, name
    assert values(families["sse_node_messages_dropped"])["not-json"] == 1
    assert values(families["sse_node_streams_refused"])["full"] == 1
    assert values(families["sse_node_streams_closed"])["slow-client"] == 2
