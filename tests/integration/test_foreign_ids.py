"""Ids that are not of this node's log, and channels that look like the log's own."""

from __future__ import annotations

import httpx
import pytest
from redis import Redis

from bench.harness import NodeProcess, RedisProcess
from tests.support.nodes import client_of, read_metrics
from tests.support.stream_client import StreamClient

pytestmark = pytest.mark.integration

FAR_AHEAD = "9999999999999-0"


def post(http: httpx.Client, user: str, number: int) -> str:
    event = {"userId": user, "eventType": "tick", "data": {"number": number}}
    ids: list[str] = http.post("/events", json=event).raise_for_status().json()["ids"]
    return ids[0]


def resets(http: httpx.Client) -> float:
    return sum(
        value for (name, _), value in read_metrics(http).items() if name == "sse_node_resets_total"
    )


@pytest.mark.parametrize(
    "members",
    [
        f'"id":"{FAR_AHEAD}",',
        f'"id":"{FAR_AHEAD}","log":"0123456789abcdef",',
        f'"id":"{FAR_AHEAD}","log":"",',
    ],
)
def test_an_invented_id_is_delivered_without_it_and_changes_nothing(
    node: NodeProcess, http: httpx.Client, publisher: Redis, user: str, members: str
) -> None:
    before = resets(http)
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        first = post(http, user, 1)
        publisher.publish(
            "user-events", f'{{{members}"userId":"{user}","eventType":"forged","data":{{}}}}'
        )
        last = post(http, user, 2)
        stream.wait_for(lambda event: event.json.get("number") == 2)
        seen = [(event.json["eventType"], event.id) for event in stream.published()]
    assert seen == [("tick", first), ("forged", ""), ("tick", last)]
    with StreamClient(node.url, f"/events/sse/{user}", {"Last-Event-ID": first}) as stream:
        assert stream.wait_open().json == {"serverId": "node-1", "resumed": True, "replayed": 1}
    assert resets(http) == before


def test_an_event_of_another_log_is_delivered_without_its_id(
    node: NodeProcess, http: httpx.Client, publisher: Redis, user: str, redis: RedisProcess
) -> None:
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        with RedisProcess() as elsewhere, Redis.from_url(elsewhere.url) as other:
            listening = other.pubsub()
            listening.subscribe("user-events")
            assert listening.get_message(timeout=5)
            from sse_node.redis.event_log import PUBLISH

            payload = f'{{"userId":"{user}","eventType":"elsewhere","data":{{}}}}'
            other.eval(PUBLISH.text, 1, "sse:log", 100, 0, 1000, "user-events", payload)
            heard = listening.get_message(timeout=5)
            assert heard is not None
            listening.close()
        publisher.publish("user-events", heard["data"])
        event = stream.wait_for_type("elsewhere")
        assert event.id == ""
        last = post(http, user, 1)
        assert stream.wait_for(lambda e: e.json.get("number") == 1).id == last


def test_a_channel_named_like_the_log_s_own_entries_loses_nothing() -> None:
    with (
        RedisProcess() as redis,
        Redis.from_url(redis.url) as administrator,
        NodeProcess("--channels", "sse:news", "--redis-url", redis.url) as node,
        client_of(node) as http,
        StreamClient(node.url, "/events/sse/ann?channels=sse:news") as stream,
    ):
        stream.wait_open()
        for number in range(20):
            administrator.client_kill_filter(_type="pubsub")
            event = {"channel": "sse:news", "eventType": "news", "data": {"number": number}}
            http.post("/events", json=event).raise_for_status()
        stream.wait_for(lambda event: event.json.get("number") == 19)
        assert [event.json["number"] for event in stream.published()] == list(range(20))
