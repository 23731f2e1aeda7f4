"""What is refused of `POST /events`, before anything is asked of Redis; and what is published."""

import json
from typing import Any

import pytest

from sse_node.api.event_content import MAX_EVENTS
from sse_node.api.events import Events
from sse_node.errors import RequestError
from sse_node.redis.commands import RedisCommands
from sse_node.redis.event_log import EventLog
from sse_node.redis.event_logs import EventLogs
from sse_node.wire.channels import Channels
from sse_node.wire.event_id import format_position
from sse_node.wire.http_head import Request

CHANNELS = Channels(["news", "room:*"])
GOOD = {"userId": "1", "eventType": "t", "data": 1}


def request_of(content: bytes, key: bytes = b"") -> Request:
    headers = {b"content-type": b"application/json"}
    if key:
        headers[b"idempotency-key"] = key
    return Request("POST", "/events", "", headers, content)


async def refusal_of(no_redis: RedisCommands, content: Any) -> tuple[int, str]:  # noqa: ANN401
    events = Events(EventLogs([EventLog(no_redis, 100)]), CHANNELS, max_event_bytes=100)
    with pytest.raises(RequestError) as caught:
        await events.publish(request_of(json.dumps(content).encode()))
    return caught.value.status, caught.value.detail


@pytest.mark.parametrize(
    ("event", "detail"),
    [
        ({"eventType": None}, "eventType: expected a string, got null"),
        ({"eventType": "a b"}, "eventType 'a b': expected 1 to 64 of"),
        ({"eventType": "sse.open"}, "eventType 'sse.open': expected 1 to 64 of"),
        ({"userId": "a b"}, "userId 'a b': expected 1 to 255 printable"),
        ({"userId": 1}, "userId: expected a string, got a number"),
        ({"userId": "x" * 99_999}, "userId 'xxx"),
        ({"channel": "news"}, "userId or channel: expected exactly one of them"),
        (
            {"userId": ..., "channel": "old"},
            "channel 'old': expected one of system-events, news, room:*",
        ),
        ({"userId": ...}, "userId or channel: expected exactly one of them"),
        ({"volatile": 1}, "volatile: expected true or false, got a number"),
        ({"userId": ..., "channel": "room:"}, "channel 'room:': expected one of"),
        ({"userId": ..., "channel": "room:a,b"}, "channel 'room:a,b': expected one of"),
        ({"userId": ..., "channel": "room:*" * 99}, "channel 'room:*"),
        ({"userId": ..., "channel": "user-events"}, "channel 'user-events': expected one of"),
    ],
)
async def test_event_is_refused_with_the_members_name(
    no_redis: RedisCommands, event: dict[str, Any], detail: str
) -> None:
    wrong = {name: value for name, value in {**GOOD, **event}.items() if value is not ...}
    status, alone = await refusal_of(no_redis, wrong)
    assert status == 422
    assert alone.startswith(f"content: {detail}")
    assert len(alone) < 300
    status, in_an_array = await refusal_of(no_redis, [GOOD, wrong])
    assert status == 422
    assert in_an_array.startswith(f"content: [1].{detail}")
    assert no_redis.failures == 0


@pytest.mark.parametrize("member", ["eventType", "data"])
async def test_event_without_a_member_is_refused(no_redis: RedisCommands, member: str) -> None:
    wrong = {name: value for name, value in GOOD.items() if name != member}
    expected = f"{member} is missing"
    assert await refusal_of(no_redis, wrong) == (422, f"content: {expected}")
    assert await refusal_of(no_redis, [wrong]) == (422, f"content: [0].{expected}")


async def test_event_that_is_too_large_is_refused(no_redis: RedisCommands) -> None:
    status, detail = await refusal_of(no_redis, [GOOD, {**GOOD, "data": "x" * 100}])
    assert status == 413
    assert detail == "content: [1].data: at most 100 bytes for an event"


@pytest.mark.parametrize("count", [0, MAX_EVENTS + 1])
async def test_number_of_events_is_bounded(no_redis: RedisCommands, count: int) -> None:
    status, detail = await refusal_of(no_redis, [GOOD] * count)
    assert status == 422
    assert "expected an array with a length of at" in detail


async def test_events_are_published_in_order_with_their_bytes(
    log: EventLog,
) -> None:
    events = Events(EventLogs([log]), CHANNELS, max_event_bytes=1000)
    start = await log.open()
    response = await events.publish(
        request_of(
            b'[{"userId":"1","eventType":"t","data":{ "a" : 1.0 }},'
            b'{"channel":"news","eventType":"u","data":"\\u00fc"},'
            b'{"channel":"room:%d[x","eventType":"u","data":1}]'
        )
    )
    assert response.status == 202
    entries = (await log.read_from(start, 10))[1:]
    assert [(entry.channel, entry.payload) for entry in entries] == [
        (b"user-events", b'{"userId":"1","eventType":"t","data":{ "a" : 1.0 }}'),
        (b"news", b'{"eventType":"u","data":"\\u00fc"}'),
        (b"channel-events", b'{"channel":"room:%d[x","eventType":"u","data":1}'),
    ]
    assert [entry.audience for entry in entries] == ["1", " news", " room:%d[x"]
    assert len(json.loads(response.content)["ids"]) == 3


async def test_volatile_event_has_no_id_and_no_entry(log: EventLog) -> None:
    events = Events(EventLogs([log]), CHANNELS, max_event_bytes=1000)
    tail = await log.open()
    volatile = {**GOOD, "volatile": True}
    response = await events.publish(
        request_of(json.dumps([volatile, {**GOOD, "volatile": False}]).encode())
    )
    (first, second) = json.loads(response.content)["ids"]
    assert first is None
    (entry,) = (await log.read_from(tail, 10))[1:]
    assert format_position(entry.position).decode() == second
    response = await events.publish(request_of(json.dumps(volatile).encode()))
    assert response.status == 202
    assert json.loads(response.content) == {"ids": [None]}


async def test_all_events_are_published_or_none(log: EventLog) -> None:
    events = Events(EventLogs([log]), CHANNELS, max_event_bytes=1000)
    tail = await log.open()
    with pytest.raises(RequestError):
        await events.publish(request_of(json.dumps([GOOD, {**GOOD, "userId": ""}]).encode()))
    assert await log.open() == tail


async def test_key_that_was_used_publishes_nothing(log: EventLog) -> None:
    events = Events(EventLogs([log]), CHANNELS, max_event_bytes=1000)
    content = json.dumps(GOOD).encode()
    first = await events.publish(request_of(content, b"key"))
    tail = await log.open()
    assert await events.publish(request_of(content, b"key")) == first
    assert await log.open() == tail
    with pytest.raises(RequestError, match="used with another content") as caught:
        await events.publish(request_of(content.replace(b": 1}", b": 2}"), b"key"))
    assert caught.value.status == 422
    assert await log.open() == tail
