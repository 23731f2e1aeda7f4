"""Two nodes on one Redis, and other programs beside them."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from redis.client import PubSub

from tests.support.nodes import client_of
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from redis import Redis

    from bench.harness import NodeProcess, RedisProcess

pytestmark = pytest.mark.integration

# What other programs put into `data`, down to the byte.
DATA = [
    '{"accountId":1,"to":1.0}',
    '{"a":1e3,"b":1E+3,"c":0.1e-7,"d":-0.0,"e":100000000000000000000000000000001}',
    '{"a": 1 ,\t"b" :[ ] , "c":{ } }',
    '{ "first":  true}',
    '{"text":"\\u00e5\\u0041\\/\\b\\ud83d\\ude00 åA/😀"}',
    '{"separators":"\u2028\u2029\u0085\u00a0\ufeff"}',
    '{"b":1,"a":2,"b":3}',
    '{"eventType":"of their own"}',
    '{"snapshotCount":3,"timestamp":"2025-08-26T03:44:57.419Z","serverId":"nest-1"}',
]


@pytest.fixture
def streams(node: NodeProcess, other_node: NodeProcess, user: str) -> Iterator[list[StreamClient]]:
    """Streams of the test's user: two on the one node, one on the other."""
    with ExitStack() as opened:
        streams = [
            opened.enter_context(StreamClient(at.url, f"/events/sse/{user}"))
            for at in (node, node, other_node)
        ]
        assert [stream.wait_open().json["serverId"] for stream in streams] == [
            "node-1",
            "node-1",
            "node-2",
        ]
        yield streams


@pytest.mark.parametrize("posted_to", ["node", "other_node"])
def test_account_posted_to_either_reaches_streams_on_both(
    request: pytest.FixtureRequest, streams: list[StreamClient], user: str, posted_to: str
) -> None:
    with client_of(request.getfixturevalue(posted_to)) as http:
        account = {"name": "Harbour fund", "balance": 5, "userId": user}
        answer = http.post("/accounts", json=account).raise_for_status()
    for stream in streams:
        assert stream.wait_for_type("account.created").json["account"] == answer.json()
        assert stream.wait_for_type("snapshots.generated").json["snapshotCount"] == 1
    frames = [[event.frame for event in stream.published()] for stream in streams]
    assert frames[0] == frames[1] == frames[2]
    assert len(frames[0]) == 2


def test_account_is_the_same_on_both(
    http: httpx.Client, other_node: NodeProcess, user: str
) -> None:
    account = {"name": "Mill", "balance": 5, "userId": user}
    at = http.post("/accounts", json=account).headers["location"]
    with client_of(other_node) as other_http:
        assert other_http.get(at).json() == http.get(at).json()
        changed = other_http.patch(at, json={"balance": 6}).raise_for_status().json()
    assert http.get(at).json() == changed


@pytest.mark.parametrize("data", DATA)
def test_foreign_data_arrives_byte_for_byte(
    streams: list[StreamClient], redis: RedisProcess, publisher: Redis, user: str, data: str
) -> None:
    payload = f'{{"userId":"{user}","eventType":"snapshots.generated","data":{data}}}'
    nodes = publisher.publish("user-events", payload)
    # A server of a cluster counts those that are connected to it.
    assert nodes == 2 or redis.cluster_url
    for stream in streams:
        frame = stream.wait_for(lambda event: "eventType" in event.json).frame.decode()
        assert frame == f'data: {{"eventType":"snapshots.generated",{data[1:]}\n\n'


def test_foreign_messages_may_be_written_loosely(
    streams: list[StreamClient], publisher: Redis, user: str
) -> None:
    payload = f' {{ "data" : {{"n": 1}},\r\n "eventType": "t", "userId" :\t"{user}" }} \n'
    publisher.publish("user-events", payload)
    for stream in streams:
        assert stream.wait_for_type("t").frame == b'data: {"eventType":"t","n": 1}\n\n'


def test_foreign_messages_are_for_their_user_alone(
    node: NodeProcess, streams: list[StreamClient], publisher: Redis, user: str
) -> None:
    with StreamClient(node.url, f"/events/sse/{user}-other") as other:
        other.wait_open()
        for number in range(5):
            payload = f'{{"userId":"{user}","eventType":"t","data":{{"number":{number}}}}}'
            publisher.publish("user-events", payload)
        last = f'{{"userId":"{user}-other","eventType":"last","data":{{}}}}'
        publisher.publish("user-events", last)
        other.wait_for_type("last")
        for stream in streams:
            stream.wait_for(lambda event: event.json.get("number") == 4)
    assert [event.type for event in other.published()] == ["last"]
    for stream in streams:
        assert [event.json["number"] for event in stream.published()] == [0, 1, 2, 3, 4]


def test_foreign_and_own_events_keep_redis_order(
    http: httpx.Client, streams: list[StreamClient], publisher: Redis, user: str
) -> None:
    for number in range(0, 40, 2):
        own = {"userId": user, "eventType": "t", "data": {"number": number}}
        http.post("/events", json=own).raise_for_status()
        payload = f'{{"userId":"{user}","eventType":"t","data":{{"number":{number + 1}}}}}'
        publisher.publish("user-events", payload)
    for stream in streams:
        stream.wait_for(lambda event: event.json.get("number") == 39)
        assert [event.json["number"] for event in stream.published()] == list(range(40))


def test_another_node_of_this_format_hears_what_is_published_here(
    http: httpx.Client, publisher: Redis, user: str
) -> None:
    event = {"userId": user, "eventType": "tick", "data": {"n": 1}}
    subscriber = PubSub(publisher.connection_pool)
    with subscriber:
        subscriber.subscribe("user-events")
        assert subscriber.get_message(timeout=5)
        (event_id,) = http.post("/events", json=event).json()["ids"]
        expected = (
            rf'{{"id":"{event_id}","log":"[0-9a-f]{{16}}","userId":"{user}",'
            r'"eventType":"tick","data":{"n":1}}'
        ).encode()
        heard: list[bytes] = []
        while not any(re.fullmatch(expected, each) for each in heard):
            message = subscriber.get_message(timeout=5)
            assert message is not None
            heard.append(message["data"])


def test_foreign_broadcasts_reach_every_stream_of_both(
    streams: list[StreamClient], publisher: Redis, user: str
) -> None:
    publisher.publish("system-events", f'{{"eventType":"notice","data":{{"of":"{user}"}}}}')
    for stream in streams:
        notice = stream.wait_for(lambda event: event.json.get("of") == user)
        assert notice.frame.decode() == f'data: {{"eventType":"notice","of":"{user}"}}\n\n'
