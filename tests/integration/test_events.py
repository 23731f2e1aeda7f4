"""`POST /events`: what is accepted is in the log and reaches the streams it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from bench.harness import RedisProcess
from tests.support.nodes import client_of, keys_for
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    import httpx
    from redis import Redis

    from bench.harness import NodeProcess
    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration

KIB = 1024


def event(user: str, number: object, event_type: str = "tick") -> dict[str, Any]:
    return {"userId": user, "eventType": event_type, "data": {"number": number}}


def test_one_event_is_answered_with_the_id_it_arrives_with(
    http: httpx.Client, node: NodeProcess, redis: RedisProcess, publisher: Redis, user: str
) -> None:
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        answer = http.post("/events", json=event(user, 1))
        arrived = stream.wait_for_type("tick")
    assert answer.status_code == 202
    assert answer.json() == {"ids": [arrived.id]}
    assert arrived.json == {"eventType": "tick", "number": 1}
    entries: Any = publisher.xrange(keys_for(redis, user).log, arrived.id, arrived.id)
    assert [entry[0].decode() for entry in entries] == [arrived.id]


def test_an_array_is_published_in_its_order(
    http: httpx.Client, node: NodeProcess, user: str
) -> None:
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        answer = http.post("/events", json=[event(user, number) for number in range(1000)])
        stream.wait_for(lambda event: event.json.get("number") == 999)
    assert [event.json["number"] for event in stream.published()] == list(range(1000))
    assert [event.id for event in stream.published()] == answer.json()["ids"]
    assert len(set(answer.json()["ids"])) == 1000


def test_an_array_may_be_for_many(http: httpx.Client, node: NodeProcess, user: str) -> None:
    other = f"{user}-other"
    with (
        StreamClient(node.url, f"/events/sse/{user}") as stream,
        StreamClient(node.url, f"/events/sse/{other}") as other_stream,
    ):
        stream.wait_open()
        other_stream.wait_open()
        events = [event(user, 1), event(other, 2), event(user, 3), event(other, 4)]
        http.post("/events", json=events).raise_for_status()
        stream.wait_for(lambda event: event.json.get("number") == 3)
        other_stream.wait_for(lambda event: event.json.get("number") == 4)
    assert [event.json["number"] for event in stream.published()] == [1, 3]
    assert [event.json["number"] for event in other_stream.published()] == [2, 4]


@pytest.mark.parametrize(
    ("text", "arrives"),
    [
        ("{}", '{"eventType":"tick"}'),
        ('{"a": 1.0 }', '{"eventType":"tick","a": 1.0 }'),
        ('{"a":1e3,"b":"\\u00e5/\\/"}', '{"eventType":"tick","a":1e3,"b":"\\u00e5/\\/"}'),
        ("[1, 2]", '{"eventType":"tick","data":[1, 2]}'),
        ('"text"', '{"eventType":"tick","data":"text"}'),
        ("null", '{"eventType":"tick","data":null}'),
        ("-0.0", '{"eventType":"tick","data":-0.0}'),
        ('{\n"a":\r\n[1]}', '{"eventType":"tick", "a":  [1]}'),
        ("{ }", '{"eventType":"tick"}'),
    ],
)
def test_data_is_passed_through(
    http: httpx.Client, node: NodeProcess, user: str, text: str, arrives: str
) -> None:
    content = f'{{"userId":"{user}","eventType":"tick","data": \t{text} }}'
    headers = {"Content-Type": "application/json"}
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        http.post("/events", content=content, headers=headers).raise_for_status()
        assert stream.wait_for_type("tick").data == arrives


def test_a_broadcast_reaches_every_stream_that_has_the_channel(
    http: httpx.Client, node: NodeProcess, redis: RedisProcess, user: str
) -> None:
    with (
        StreamClient(node.url, f"/events/sse/{user}") as without,
        StreamClient(node.url, f"/events/sse/{user}?channels=analytics-events") as asking,
    ):
        without.wait_open()
        asking.wait_open()
        analytics = {"channel": "analytics-events", "eventType": "seen", "data": {"user": user}}
        system = {"channel": "system-events", "eventType": "notice", "data": {"user": user}}
        answer = http.post("/events", json=[analytics, system])
        first = without.wait_for(lambda event: event.json.get("user") == user)
        both = [asking.wait_for(lambda event: event.json.get("user") == user) for _ in range(2)]
    assert first.type == "notice"
    assert [event.type for event in both] == ["seen", "notice"]
    ids = answer.json()["ids"]
    if redis.shards > 1:  # the ids of the first shard
        assert len(ids) == len({event.id for event in both}) == 2
    else:
        assert [event.id for event in both] == ids


def test_retry_with_the_same_key_publishes_nothing(
    http: httpx.Client, node: NodeProcess, user: str
) -> None:
    key = {"Idempotency-Key": f"key of {user}"}
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        first = http.post("/events", json=[event(user, 1), event(user, 2)], headers=key)
        again = http.post("/events", json=[event(user, 1), event(user, 2)], headers=key)
        other = http.post("/events", json=event(user, 3), headers=key)
        http.post("/events", json=event(user, "last")).raise_for_status()
        stream.wait_for(lambda event: event.json.get("number") == "last")
    assert first.status_code == again.status_code == 202
    assert first.json() == again.json()
    assert other.status_code == 422
    assert "Idempotency-Key" in other.json()["detail"]
    assert [event.json["number"] for event in stream.published()] == [1, 2, "last"]


@pytest.mark.parametrize("key", ["k" * 256, "k\tk"], ids=["too-long", "control-character"])
def test_key_that_cannot_be_one(http: httpx.Client, user: str, key: str) -> None:
    answer = http.post("/events", json=event(user, 1), headers={"Idempotency-Key": key})
    assert answer.status_code == 400
    assert "Idempotency-Key" in answer.json()["detail"]


def test_all_or_none_of_an_array(http: httpx.Client, node: NodeProcess, user: str) -> None:
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        answer = http.post("/events", json=[event(user, 1), event(user, 2, "not a type")])
        http.post("/events", json=event(user, "last")).raise_for_status()
        stream.wait_for(lambda event: event.json.get("number") == "last")
    assert answer.status_code == 422
    assert "[1].eventType" in answer.json()["detail"]
    assert [event.json["number"] for event in stream.published()] == ["last"]


@pytest.mark.parametrize(
    "user_id",
    ["a", "x" * 255, "...", "-", "auth0|5f7c", "ann+x@example.com", "a/b?c#d%41", "*",
     "A-Z_a.z@0:9", "{a},(b)&c=d;e'f`g~h<i>j[k]^l!m$n"],
)  # fmt: skip
def test_every_form_of_user(http: httpx.Client, node: NodeProcess, user_id: str) -> None:
    with StreamClient(node.url, f"/events/sse/{quote(user_id, safe='')}") as stream:
        stream.wait_open()
        http.post("/events", json=event(user_id, 1)).raise_for_status()
        assert stream.wait_for_type("tick").json["number"] == 1
    account = {"name": "n", "balance": 1, "userId": user_id}
    assert http.post("/accounts", json=account).json()["userId"] == user_id
    accounts = http.get("/accounts", params={"userId": user_id}).json()
    assert [account["userId"] for account in accounts] == [user_id]


def test_users_are_compared_byte_for_byte(http: httpx.Client, node: NodeProcess, user: str) -> None:
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        others = (user.upper(), f"{user}.0", f"0{user}", f"{user}.", user.replace("-", "%2D"))
        http.post("/events", json=[event(other, 1) for other in others]).raise_for_status()
        http.post("/events", json=event(user, "last")).raise_for_status()
        stream.wait_for(lambda event: event.json.get("number") == "last")
    assert len(stream.published()) == 1


def test_the_largest_event_passes_and_a_larger_one_does_not(
    http: httpx.Client, node: NodeProcess, user: str
) -> None:
    around = len(f'{{"userId":"{user}","eventType":"tick","data":{{"pad":""}}}}')
    pad = "x" * (256 * KIB - around)
    largest = {"userId": user, "eventType": "tick", "data": {"pad": pad}}
    larger = {"userId": user, "eventType": "tick", "data": {"pad": pad + "x"}}
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        refused = http.post("/events", json=larger)
        http.post("/events", json=largest).raise_for_status()
        assert stream.wait_for_type("tick").json["pad"] == pad
    assert refused.status_code == 413
    assert "data" in refused.json()["detail"]
    assert str(256 * KIB) in refused.json()["detail"]


def test_content_over_one_mebibyte_is_refused(http: httpx.Client, user: str) -> None:
    answer = http.post("/events", json=[event(user, "x" * 100 * KIB) for _ in range(11)])
    assert answer.status_code == 413
    assert str(KIB * KIB) in answer.json()["detail"]


@pytest.mark.parametrize("count", [0, 1001])
def test_as_many_events_as_may_be_in_an_array(http: httpx.Client, user: str, count: int) -> None:
    answer = http.post("/events", json=[event(user, number) for number in range(count)])
    assert answer.status_code == 422
    assert "length" in answer.json()["detail"]


def test_channels_and_sizes_are_configurable(start_node: StartNode) -> None:
    with RedisProcess() as redis:
        node = start_node("--channels", "news", "--max-event-bytes", "256", redis=redis)
        with client_of(node) as http, StreamClient(node.url, "/events/sse?channels=news") as stream:
            stream.wait_open()
            news = {"channel": "news", "eventType": "tick", "data": 1}
            http.post("/events", json=news).raise_for_status()
            assert stream.wait_for_type("tick").json["data"] == 1
            assert http.post("/events", json={**news, "data": "x" * 256}).status_code == 413
            no_channel = http.post("/events", json={**news, "channel": "analytics-events"})
            assert no_channel.status_code == 422
            assert "news" in no_channel.json()["detail"]
