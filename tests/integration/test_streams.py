"""The event stream: its head, its first event, its pings, and how it is resumed or refused."""

from __future__ import annotations

import random
import re
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from bench.harness import NodeProcess, RedisProcess
from tests.support.nodes import (
    active_streams,
    client_of,
    read_metrics,
    wait_until,
    wait_until_heard,
)
from tests.support.stream_client import Event, StreamClient

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import httpx
    from redis import Redis

    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration

HEAD = """\
HTTP/1.1 200 OK\r
Content-Type: text/event-stream; charset=utf-8\r
Cache-Control: no-store, no-transform\r
X-Accel-Buffering: no\r
Connection: close\r
Date: {date}\r
Server: sse-node\r
X-Server-Id: node-1\r
X-Content-Type-Options: nosniff\r
\r
"""

FROM_ID = [
    pytest.param("header", id="header"),
    pytest.param("lastEventId", id="lastEventId"),
    pytest.param("last_event_id", id="last_event_id"),
]


def publish(http: httpx.Client, user: str, numbers: range, pad: str = "") -> list[str]:
    """Publish an event for each number; return their ids."""
    events = [
        {"userId": user, "eventType": "tick", "data": {"number": number, "pad": pad}}
        for number in numbers
    ]
    ids: list[str] = http.post("/events", json=events).raise_for_status().json()["ids"]
    return ids


def resume(
    node: NodeProcess, user: str, last_event_id: str, by: str = "header", query: str = ""
) -> StreamClient:
    target, headers = f"/events/sse/{user}?{query}", {"Last-Event-ID": last_event_id}
    if by == "header":
        return StreamClient(node.url, target, headers)
    return StreamClient(node.url, f"{target}&{by}={last_event_id}")


def wait_for_number(stream: StreamClient, number: int) -> Event:
    return stream.wait_for(lambda event: event.json.get("number") == number)


def numbers_of(stream: StreamClient) -> list[int]:
    return [event.json["number"] for event in stream.published()]


# Opening


def test_head(node: NodeProcess, user: str) -> None:
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        date = stream.headers["date"]
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", date)
        assert stream.head == HEAD.format(date=date).encode()


def test_first_event_is_the_position(node: NodeProcess, http: httpx.Client, user: str) -> None:
    (last_id,) = publish(http, user, range(1))
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        frame = stream.wait_open().frame.decode()
    retry = re.match(r"retry: (\d+)\n", frame)
    assert retry
    assert frame == (
        f"{retry[0]}event: sse.open\nid: {last_id}\n"
        'data: {"serverId":"node-1","resumed":false,"replayed":0}\n\n'
    )


def test_reconnection_time_is_spread(node: NodeProcess, user: str) -> None:
    times = set()
    for _ in range(8):
        with StreamClient(node.url, f"/events/sse/{user}") as stream:
            stream.wait_open()
            times.add(stream.retry_ms)
            assert stream.retry_ms is not None
            assert 2250 <= stream.retry_ms <= 3750
    assert len(times) > 1


def test_event_is_one_frame_with_its_id(node: NodeProcess, http: httpx.Client, user: str) -> None:
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        (event_id,) = publish(http, user, range(7, 8))
        event = wait_for_number(stream, 7)
    assert event.name == "message"
    assert event.frame.decode() == (
        f'id: {event_id}\ndata: {{"eventType":"tick","number":7,"pad":""}}\n\n'
    )


def test_stream_without_user_is_the_default_users(node: NodeProcess, http: httpx.Client) -> None:
    with StreamClient(node.url) as stream:
        stream.wait_open()
        publish(http, "123", range(1))
        wait_for_number(stream, 0)


def test_default_user_is_configurable(start_node: StartNode, redis: RedisProcess) -> None:
    node = start_node("--default-user", "ann@example.com", redis=redis, server_id="node-3")
    with client_of(node) as http, StreamClient(node.url) as stream:
        stream.wait_open()
        publish(http, "ann@example.com", range(1))
        wait_for_number(stream, 0)


def test_all_streams_of_a_user_and_no_other_get_an_event(
    node: NodeProcess, http: httpx.Client, user: str
) -> None:
    with (
        StreamClient(node.url, f"/events/sse/{user}") as first,
        StreamClient(node.url, f"/events/sse/{user}") as second,
        StreamClient(node.url, f"/events/sse/{user}-other") as other,
    ):
        for stream in (first, second, other):
            stream.wait_open()
        publish(http, user, range(3))
        publish(http, f"{user}-other", range(9, 10))
        assert wait_for_number(first, 2).frame == wait_for_number(second, 2).frame
        wait_for_number(other, 9)
    assert numbers_of(first) == numbers_of(second) == [0, 1, 2]
    assert numbers_of(other) == [9]


@pytest.mark.parametrize("user_id", ["a%20b", "%C3%A9", "x" * 256, "%22", "a%5Cb", "%0a", "%2E"])
def test_user_that_cannot_be_one(http: httpx.Client, user_id: str) -> None:
    answer = http.get(f"/events/sse/{user_id}")
    assert answer.status_code == 400
    assert "userId" in answer.json()["detail"]


def test_a_user_beside_the_path_is_refused(http: httpx.Client) -> None:
    for path in ("/events/sse", "/events/sse/ann"):
        answer = http.get(path, params={"userId": "ann"})
        assert answer.status_code == 400
        assert answer.json()["detail"] == "userId: expected in the path, as in /events/sse/ann"


# Pings


def test_pings_come_without_an_id(node: NodeProcess, user: str) -> None:
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        pings = [stream.wait_for(lambda event: event.name == "ping") for _ in range(3)]
    for ping in pings:
        timestamp = ping.json["timestamp"]
        assert ping.frame.decode() == (
            f'event: ping\ndata: {{"type":"ping","serverId":"node-1","timestamp":{timestamp}}}\n\n'
        )
    assert abs(pings[-1].json["timestamp"] / 1000 - time.time()) < 5
    apart_ms = pings[2].json["timestamp"] - pings[1].json["timestamp"]
    assert apart_ms == pytest.approx(500, abs=250)


# Channels and names


def test_unknown_channel_is_named(http: httpx.Client) -> None:
    answer = http.get("/events/sse", params={"channels": "analytics-events,no-such"})
    assert answer.status_code == 400
    assert "no-such" in answer.json()["detail"]
    assert "analytics-events" in answer.json()["detail"]


def test_channels_are_replayed_in_the_logs_order(
    node: NodeProcess, http: httpx.Client, user: str
) -> None:
    (start,) = publish(http, user, range(1))
    events = [
        {"channel": "analytics-events", "eventType": "seen", "data": {"user": user}},
        {"userId": user, "eventType": "tick", "data": {"user": user}},
        {"channel": "system-events", "eventType": "notice", "data": {"user": user}},
        {"userId": user, "eventType": "last", "data": {"user": user}},
    ]
    http.post("/events", json=events).raise_for_status()
    for query, types in (
        ("channels=analytics-events", ["seen", "tick", "notice", "last"]),
        ("channels=system-events", ["tick", "notice", "last"]),
        ("channels=", ["tick", "notice", "last"]),
    ):
        with resume(node, user, start, query=query) as stream:
            stream.wait_for_type("last")
        own = [event.type for event in stream.published() if event.json.get("user") == user]
        assert own == types


def test_event_names_for_add_event_listener(
    start_node: StartNode, redis: RedisProcess, user: str
) -> None:
    node = start_node("--event-names", "yes", redis=redis, server_id="node-3")
    with client_of(node) as http, StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        (event_id,) = publish(http, user, range(1))
        live = wait_for_number(stream, 0)
        assert live.name == "tick"
        before = stream.events[0].id
        with resume(node, user, before) as resumed:
            replayed = wait_for_number(resumed, 0)
    assert live.frame.decode() == (
        f'id: {event_id}\nevent: tick\ndata: {{"eventType":"tick","number":0,"pad":""}}\n\n'
    )
    assert replayed.frame == live.frame


# Resuming


@pytest.mark.parametrize("by", FROM_ID)
def test_resumed_stream_holds_exactly_what_was_missed(
    node: NodeProcess, http: httpx.Client, user: str, by: str
) -> None:
    with StreamClient(node.url, f"/events/sse/{user}") as live:
        live.wait_open()
        ids = publish(http, user, range(6))
        publish(http, f"{user}-other", range(3))
        publish(http, user, range(6, 8))
        wait_for_number(live, 7)
        with resume(node, user, ids[2], by) as resumed:
            opening = resumed.wait_open()
            wait_for_number(resumed, 7)
            publish(http, user, range(8, 10))
            wait_for_number(live, 9)
            wait_for_number(resumed, 9)
    assert opening.json == {"serverId": "node-1", "resumed": True, "replayed": 5}
    assert opening.id == ids[2]
    assert [event.frame for event in resumed.published()] == [
        event.frame for event in live.published()[3:]
    ]


def test_resuming_at_the_newest_event_replays_nothing(
    node: NodeProcess, http: httpx.Client, user: str
) -> None:
    ids = publish(http, user, range(2))
    with resume(node, user, ids[-1]) as stream:
        opening = stream.wait_open()
        publish(http, user, range(2, 3))
        wait_for_number(stream, 2)
    assert opening.json == {"serverId": "node-1", "resumed": True, "replayed": 0}
    assert numbers_of(stream) == [2]


def test_position_of_sse_open_is_enough_to_resume(
    node: NodeProcess, http: httpx.Client, user: str
) -> None:
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        position = stream.wait_open().id
    publish(http, user, range(3))
    with resume(node, user, position) as stream:
        wait_for_number(stream, 2)
    assert numbers_of(stream) == [0, 1, 2]


def test_the_browsers_header_wins_over_a_polyfills_query(
    node: NodeProcess, http: httpx.Client, user: str
) -> None:
    ids = publish(http, user, range(5))
    target = f"/events/sse/{user}?lastEventId={ids[0]}"
    with StreamClient(node.url, target, {"Last-Event-ID": ids[3]}) as stream:
        wait_for_number(stream, 4)
    assert numbers_of(stream) == [4]


def test_another_node_resumes_where_the_first_ended(
    node: NodeProcess, other_node: NodeProcess, http: httpx.Client, user: str
) -> None:
    ids = publish(http, user, range(5))
    wait_until_heard(other_node, user, ids[-1])
    with resume(other_node, user, ids[1]) as stream:
        opening = stream.wait_open()
        wait_for_number(stream, 4)
    assert opening.json == {"serverId": "node-2", "resumed": True, "replayed": 3}


def test_resuming_while_events_come_misses_and_repeats_nothing(
    node: NodeProcess, http: httpx.Client, user: str
) -> None:
    ids = publish(http, user, range(10))

    def publish_more() -> None:
        with client_of(node) as own_http:
            for start in range(10, 410, 4):
                ids.extend(publish(own_http, user, range(start, start + 4)))

    choice = random.Random(1)
    background = threading.Thread(target=publish_more)
    background.start()
    try:
        for _ in range(25):
            start = choice.randrange(len(ids))
            with resume(node, user, ids[start]) as stream:
                last = wait_for_number(stream, min(409, len(ids) + 8)).json["number"]
            assert numbers_of(stream)[: last - start] == list(range(start + 1, last + 1))
    finally:
        background.join()


def test_event_that_is_not_in_the_log_leaves_the_position(
    node: NodeProcess, http: httpx.Client, publisher: Redis, user: str
) -> None:
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        publisher.publish("user-events", f'{{"userId":"{user}","eventType":"t","data":{{}}}}')
        assert stream.wait_for_type("t").frame == b'data: {"eventType":"t"}\n\n'


@pytest.fixture(scope="module")
def small_redis() -> Iterator[RedisProcess]:
    """For the node with a short memory and a short log."""
    with RedisProcess() as process:
        yield process


@pytest.fixture(scope="module")
def small_node(small_redis: RedisProcess) -> Iterator[NodeProcess]:
    """A node that remembers 16 events, and whose log keeps 100, about."""
    small = ("--history", "16", "--log-length", "100", "--replay-limit", "65536")
    own = ("--redis-url", small_redis.url, "--server-id", "node-1")
    with NodeProcess(*own, *small) as process:
        process.wait_ready()
        yield process


def test_what_memory_does_not_hold_comes_from_the_log(small_node: NodeProcess, user: str) -> None:
    with client_of(small_node) as http:
        ids = publish(http, user, range(60))
        other = publish(http, f"{user}-other", range(20))
        wait_until_heard(small_node, f"{user}-other", other[-1])
        with resume(small_node, user, ids[9]) as stream:
            opening = stream.wait_open()
            wait_for_number(stream, 59)
            publish(http, user, range(60, 61))
            wait_for_number(stream, 60)
    assert opening.json == {"serverId": "node-1", "resumed": True, "replayed": 50}
    assert numbers_of(stream) == list(range(10, 61))
    assert [event.id for event in stream.published()][:50] == ids[10:]


def expect_reset(node: NodeProcess, user: str, last_event_id: str, reason: str, by: str) -> None:
    """The first event is a reset; the stream goes on from the id it names."""
    with client_of(node) as http, resume(node, user, last_event_id, by) as stream:
        opening = stream.wait_open()
        publish(http, user, range(1000, 1001))
        wait_for_number(stream, 1000)
    reset = stream.events[0]
    assert reset.name == "sse.reset"
    assert reset.json == {"reason": reason}
    assert opening.json["resumed"] is False
    assert opening.id == reset.id
    with resume(node, user, reset.id) as stream:
        wait_for_number(stream, 1000)
    assert numbers_of(stream) == [1000]


@pytest.mark.parametrize("by", FROM_ID)
@pytest.mark.parametrize("bad_id", ["abc", "5", "1-2-3", "-1-1", "1e3-0", f"{2**64}-0"])
def test_reset_for_what_is_no_id(node: NodeProcess, user: str, bad_id: str, by: str) -> None:
    expect_reset(node, user, bad_id, "bad-id", by)


def test_reset_for_an_id_that_never_was(node: NodeProcess, http: httpx.Client, user: str) -> None:
    newest = publish(http, user, range(2))[-1]
    milliseconds, _, sequence = newest.partition("-")
    expect_reset(node, user, f"{milliseconds}-{int(sequence) + 7}", "unknown-id", "header")
    expect_reset(node, user, f"{int(milliseconds) + 10**6}-0", "unknown-id", "header")


def test_reset_when_the_log_was_trimmed(small_node: NodeProcess, user: str) -> None:
    with client_of(small_node) as http:
        ids = publish(http, user, range(350))
        expect_reset(small_node, user, ids[0], "trimmed", "header")
        expect_reset(small_node, user, "1-1", "trimmed", "header")


def test_reset_when_more_was_missed_than_is_replayed(small_node: NodeProcess, user: str) -> None:
    with client_of(small_node) as http:
        ids = publish(http, user, range(75), pad="x" * 4000)
        publish(http, f"{user}-other", range(20))
        expect_reset(small_node, user, ids[0], "unavailable", "header")


def test_reset_when_the_log_cannot_be_read(
    small_node: NodeProcess, small_redis: RedisProcess, user: str
) -> None:
    with client_of(small_node) as http, StreamClient(small_node.url, f"/events/sse/{user}") as live:
        live.wait_open()
        ids = publish(http, user, range(40))
        wait_for_number(live, 39)
        small_redis.suspend()
        try:
            with resume(small_node, user, ids[0]) as stream:
                reset = stream.wait_for_type("sse.reset")
                opening = stream.wait_open()
        finally:
            small_redis.resume()
        small_node.wait_ready()
    assert reset.json == {"reason": "unavailable"}
    assert opening.id == reset.id == ids[-1]


# Refusing


def expect_refused(node: NodeProcess, headers: Mapping[str, str] | None = None) -> None:
    """The answer after which a browser's EventSource comes back by itself."""
    with StreamClient(node.url, headers=headers) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert "no-store" in stream.headers["cache-control"]
        stream.wait_closed()
    assert stream.events == []
    assert stream.retry_ms is not None
    assert 2250 <= stream.retry_ms <= 3750


def test_stream_over_the_limit_is_told_to_come_back(
    start_node: StartNode, redis: RedisProcess
) -> None:
    node = start_node("--max-streams", "2", redis=redis, server_id="node-3")
    with client_of(node) as http, StreamClient(node.url) as first:
        first.wait_open()
        with StreamClient(node.url) as second:
            second.wait_open()
            expect_refused(node)
            expect_refused(node, {"Last-Event-ID": "nonsense"})
            not_ready = http.get("/health/ready")
            assert not_ready.status_code == 503
            assert "streams" in not_ready.json()["detail"]
        wait_until(lambda: active_streams(http) == 1, "one stream has left")
        with StreamClient(node.url) as third:
            third.wait_open()


def test_streams_wait_for_redis_at_the_start() -> None:
    redis = RedisProcess()
    with (
        NodeProcess("--redis-url", redis.url, "--server-id", "node-1") as node,
        client_of(node) as http,
    ):
        expect_refused(node)
        assert http.get("/health").status_code == http.get("/health/live").status_code == 200
        assert http.get("/health/ready").status_code == 503
        assert http.get("/status").json()["redisConnected"] is False
        with redis:
            node.wait_ready()
            with StreamClient(node.url) as stream:
                stream.wait_open()
            assert http.get("/status").json()["redisConnected"] is True


def test_streams_go_elsewhere_while_the_node_drains(
    start_node: StartNode, redis: RedisProcess
) -> None:
    node = start_node("--drain-delay", "1", redis=redis, server_id="node-3")
    with client_of(node) as http, StreamClient(node.url) as stream:
        stream.wait_open()
        node.send_signal(signal.SIGTERM)
        node.wait_for_log("draining")
        expect_refused(node)
        not_ready = http.get("/health/ready")
        stream.wait_closed()
        assert node.wait(5) == 0
    assert not_ready.status_code == 503
    assert "draining" in not_ready.json()["detail"]
    assert stream.retry_ms is not None


# Clients that leave, and clients that don't read


def test_leaving_is_noticed_at_once(start_node: StartNode, redis: RedisProcess) -> None:
    node = start_node(redis=redis, server_id="node-3")
    with client_of(node) as http:
        with StreamClient(node.url, "/events/sse/a") as stream, StreamClient(node.url) as other:
            stream.wait_open()
            other.wait_open()
            assert http.get("/status").json()["activeStreams"] == 2
            assert http.get("/status").json()["connectedUsers"] == 2
            stream.close()
            wait_until(lambda: active_streams(http) == 1, "one has left", timeout_s=2)
            assert http.get("/status").json()["connectedUsers"] == 1
        wait_until(lambda: active_streams(http) == 0, "both have left", timeout_s=2)
        metrics = read_metrics(http)
    assert metrics["sse_node_streams_opened_total", ""] == 2
    assert metrics["sse_node_streams_closed_total", "client-left"] == 2
    assert metrics["sse_node_streams", ""] == 0


def test_client_that_does_not_read_is_cut_off_alone(
    start_node: StartNode, redis: RedisProcess, user: str
) -> None:
    node = start_node("--write-limit", "65536", redis=redis, server_id="node-3")
    with (
        client_of(node) as http,
        StreamClient(node.url, f"/events/sse/{user}") as reading,
        socket.create_connection((node.host, node.port)) as silent,
    ):
        reading.wait_open()
        silent.sendall(f"GET /events/sse/{user} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        wait_until(lambda: active_streams(http) == 2, "both are open")
        number = 0
        while active_streams(http) == 2:
            publish(http, user, range(number, number + 1), pad="x" * 50_000)
            wait_for_number(reading, number)
            number += 1
            assert number < 1000
        metrics = read_metrics(http)
    assert metrics["sse_node_streams_closed_total", "slow-client"] == 1
    assert metrics["sse_node_streams", ""] == 1
    assert numbers_of(reading) == list(range(number))
