"""Channels that applications name: patterns, one Redis channel for all names, resume and replay."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest
from redis import Redis

from bench.harness import NodeProcess, RedisProcess
from sse_node.redis.event_log import PUBLISH
from tests.support.nodes import client_of, read_metrics, wait_until
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sse_node.redis.event_log import PUBLISH
from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration

CHANNELS = ("--channels", "news,room:*,order:*:status")


@pytest.fixture(scope="module")
def own_redis() -> Iterator[RedisProcess]:
    """A Redis whose nodes know named channels."""
    with RedisProcess() as redis:
        yield redis


@pytest.fixture(scope="module")
def own_node(own_redis: RedisProcess) -> Iterator[NodeProcess]:
    """A node that knows named channels."""
    with NodeProcess("--redis-url", own_redis.url, "--server-id", "node-1", *CHANNELS) as process:
        process.wait_ready()
        yield process


@pytest.fixture(scope="module")
def http(own_node: NodeProcess) -> Iterator[httpx.Client]:
    """Requests to that node."""
    with client_of(own_node) as client:
        yield client


@pytest.fixture(scope="module")
def publisher(own_redis: RedisProcess) -> Iterator[Redis]:
    """Another program on its Redis."""
    with Redis.from_url(own_redis.url) as client:
        yield client


def event(channel: str, number: object) -> dict[str, Any]:
    return {"channel": channel, "eventType": "tick", "data": {"number": number}}


def to_user(user: str, number: object) -> dict[str, Any]:
    return {"userId": user, "eventType": "tick", "data": {"number": number}}


def publish(http: httpx.Client, *events: dict[str, Any]) -> list[str]:
    ids: list[str] = http.post("/events", json=events).raise_for_status().json()["ids"]
    return ids


def numbers_until(stream: StreamClient, number: object) -> list[object]:
    """Return the numbers of the published events up to the one with this number."""
    stream.wait_for(lambda event: event.json.get("number") == number)
    return [event.json["number"] for event in stream.published()]


@pytest.mark.parametrize(
    "query", ["channels={a},{b},news", "channels={a}&channels={b}&channels=news"]
)
def test_stream_hears_the_channels_it_names_in_the_order_of_publishing(
    http: httpx.Client, own_node: NodeProcess, user: str, query: str
) -> None:
    room, order = f"room:{user}/x?&%41", f"order:{user}:status"
    target = query.format(a=quote(room, safe=""), b=quote(order, safe=""))
    with StreamClient(own_node.url, f"/events/sse/{user}?{target}") as stream:
        stream.wait_open()
        events = [
            event(room, 1), to_user(user, 2), event(order, 3), event(room, 4), event("news", 5),
            event(f"{room}-other", 6), event(f"room:{user}/X?&%41", 7),
            to_user(f"{user}-other", 8), event(order, 9), event("system-events", 10),
            event(room, 11),
        ]  # fmt: skip
        ids = publish(http, *events)
        assert numbers_until(stream, 11) == [1, 2, 3, 4, 5, 9, 10, 11]
        heard = [at for at in range(11) if at not in (5, 6, 7)]
        assert [event.id for event in stream.published()] == [ids[at] for at in heard]


@pytest.mark.parametrize(
    ("channel", "detail"),
    [
        ("rooms", "channels 'rooms': expected some of system-events, news, room:*, order:*:status"),
        ("room:", "channels 'room:'"),
        ("order:7:state", "channels 'order:7:state'"),
        ("room:a b", "channels 'room:a b'"),
        ("room:é", "channels 'room:é'"),
        ("room:" + "x" * 251, "channels 'room:xxx"),
    ],
)
def test_channel_that_matches_nothing_is_refused(
    http: httpx.Client, channel: str, detail: str
) -> None:
    answer = http.get("/events/sse", params={"channels": channel})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(detail)
    answer = http.post("/events", json=event(channel, 1))
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(f"content: channel {channel[:20]!r:.20}")


def test_stream_has_at_most_50_channels(
    http: httpx.Client, own_node: NodeProcess, user: str
) -> None:
    names = [f"room:{user}-{number}" for number in range(51)]
    assert http.get("/events/sse", params={"channels": names}).status_code == 400
    target = "/events/sse?" + str(httpx.QueryParams({"channels": names[:50]}))
    with StreamClient(own_node.url, target) as stream:
        stream.wait_open()
        publish(http, *(event(name, number) for number, name in enumerate(names)))
        assert numbers_until(stream, 49) == list(range(50))


@pytest.mark.parametrize("history", ["16384", "1"], ids=["from-memory", "from-the-log"])
def test_stream_resumes_on_another_node(
    http: httpx.Client, own_redis: RedisProcess, start_node: StartNode, user: str, history: str
) -> None:
    (start,) = publish(http, to_user("nobody", 0))
    events = []
    for number in range(40):
        events += [event(f"room:{user}-{number % 4}", number), to_user(f"{user}-x", number)]
    ids = publish(http, *events)[::2]
    other = start_node(*CHANNELS, "--history", history, redis=own_redis, server_id="node-2")
    target = f"/events/sse/{user}?channels=room:{user}-1,room:{user}-2,room:{user}-3"
    with StreamClient(other.url, target, {"Last-Event-ID": start}) as stream:
        assert stream.wait_open().json == {"serverId": "node-2", "resumed": True, "replayed": 30}
        publish(http, event(f"room:{user}-1", 41), event(f"room:{user}-2", 42))
        expected = [number for number in range(40) if number % 4]
        assert numbers_until(stream, 42) == [*expected, 41, 42]
        replayed = [event.id for event in stream.published()][:30]
        assert replayed == [ids[number] for number in expected]
    seen = replayed[10]
    with StreamClient(other.url, target, {"Last-Event-ID": seen}) as stream:
        assert numbers_until(stream, 42) == [*expected[11:], 41, 42]


def test_plain_publish_is_delivered_at_most_once(
    http: httpx.Client, own_node: NodeProcess, publisher: Redis, user: str
) -> None:
    target = f"/events/sse/{user}?channels=room:{user},news"
    with StreamClient(own_node.url, target) as stream:
        stream.wait_open()
        for channel in (f"room:{user}", f"rooms:{user}", f"room:{user}-other", "news"):
            publisher.publish("channel-events", json.dumps(event(channel, channel)))
        (last_id,) = publish(http, event(f"room:{user}", "last"))
        assert numbers_until(stream, "last") == [f"room:{user}", "news", "last"]
        assert [event.id for event in stream.published()] == ["", "", last_id]


def test_other_programs_publish_with_the_script(
    http: httpx.Client, own_node: NodeProcess, publisher: Redis, user: str
) -> None:
    script = publisher.register_script(PUBLISH.text)
    with StreamClient(own_node.url, f"/events/sse/{user}?channels=room:{user}") as stream:
        stream.wait_open()
        payload = json.dumps(event(f"room:{user}", 1))
        unknown = json.dumps(event(f"rooms:{user}", 2))
        arguments: list[str | int] = [
            1000,
            0,
            0,
            "channel-events",
            payload,
            "channel-events",
            unknown,
        ]
        first, second = script(keys=["sse:log"], args=arguments).decode().split()
        arrived = stream.wait_for_type("tick")
        assert arrived.id == first
    # An event of a channel that this node does not know moves its position all the same.
    with StreamClient(own_node.url, f"/events/sse/{user}") as stream:
        assert stream.wait_open().id == second


def test_volatile_events_are_live_in_order_and_kept_nowhere(
    http: httpx.Client, own_node: NodeProcess, publisher: Redis, user: str
) -> None:
    target = f"/events/sse/{user}?channels=room:{user},news"
    (start,) = publish(http, to_user(user, "start"))
    with StreamClient(own_node.url, target) as stream:
        stream.wait_open()
        length = publisher.xlen("sse:log")
        events = [event(f"room:{user}", 1), event(f"room:{user}", 2), to_user(user, 3),
                  to_user(user, 4), event("news", 5), event("news", 6)]  # fmt: skip
        for at in (0, 2, 4):
            events[at]["volatile"] = True
        ids = http.post("/events", json=events).raise_for_status().json()["ids"]
        assert [event_id is None for event_id in ids] == [True, False] * 3
        assert numbers_until(stream, 6) == [1, 2, 3, 4, 5, 6]
        assert [event.id for event in stream.published()] == [each or "" for each in ids]
        assert publisher.xlen("sse:log") == length + 3
    with StreamClient(own_node.url, target, {"Last-Event-ID": start}) as stream:
        assert numbers_until(stream, 6) == [2, 4, 6]
    with StreamClient(own_node.url, f"{target}&replay=3") as stream:
        assert numbers_until(stream, 6) == [2, 4, 6]


@pytest.mark.parametrize("payload", ["{", '{"eventType":"t","data":1}', '{"channel":1,"x":"\xff"}'])
def test_payload_of_no_event_is_counted(http: httpx.Client, publisher: Redis, payload: str) -> None:
    def dropped() -> float:
        metrics = read_metrics(http)
        name = "sse_node_messages_dropped_total"
        return sum(value for (metric, _), value in metrics.items() if metric == name)

    before = dropped()
    publisher.publish("channel-events", payload)
    wait_until(lambda: dropped() == before + 1, "the payload is counted")


def test_no_node_subscribes_for_each_name(
    own_node: NodeProcess, publisher: Redis, user: str
) -> None:
    with StreamClient(own_node.url, f"/events/sse/{user}?channels=room:{user}") as stream:
        stream.wait_open()
        found: list[Any] = publisher.pubsub_channels()
        channels = {channel.decode() for channel in found}
        assert {"user-events", "system-events", "news", "channel-events"} < channels
        assert not [channel for channel in channels if channel.startswith("room:")]
        assert publisher.pubsub_numpat() == 0


def test_node_without_patterns_needs_no_shared_redis_channel(start_node: StartNode) -> None:
    with RedisProcess() as redis, Redis.from_url(redis.url) as publisher:
        start_node("--channels", "news", redis=redis)
        assert publisher.pubsub_numsub("channel-events") == [(b"channel-events", 0)]


def test_named_channels_are_of_one_namespace(start_node: StartNode, user: str) -> None:
    with RedisProcess() as redis:
        nodes = [
            start_node(*CHANNELS, "--namespace", name, redis=redis, server_id=name)
            for name in ("blue", "green")
        ]
        target = f"/events/sse/{user}?channels=room:{user}"
        with (
            StreamClient(nodes[0].url, target) as blue,
            StreamClient(nodes[1].url, target) as green,
        ):
            blue.wait_open()
            green.wait_open()
            for number, node in enumerate(nodes):
                with client_of(node) as http:
                    publish(http, event(f"room:{user}", number))
            assert numbers_until(blue, 0) == [0]
            assert numbers_until(green, 1) == [1]
