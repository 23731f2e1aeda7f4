"""CloudEvents published over HTTP: they reach their streams once, whatever is sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    import httpx

    from bench.harness import NodeProcess

pytestmark = pytest.mark.integration

STRUCTURED = {"Content-Type": "application/cloudevents+json"}
BATCHED = {"Content-Type": "application/cloudevents-batch+json"}


def cloudevent(user: str, number: int, **others: object) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"{user}-{number}",
        "source": "https://orders.example",
        "type": "order.paid",
        "subject": user,
        "data": {"number": number},
        **others,
    }


def test_each_mode_reaches_the_stream_and_nothing_twice(
    node: NodeProcess, http: httpx.Client, user: str
) -> None:
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        for _ in range(2):
            answer = http.post("/events", json=cloudevent(user, 1), headers=STRUCTURED)
            assert answer.status_code == 202
            first = answer.json()["ids"]
        binary = {
            "ce-specversion": "1.0",
            "ce-id": f"{user}-2",
            "ce-source": "https://orders.example",
            "ce-type": "order.paid",
            "ce-subject": user,
        }
        for _ in range(2):
            answer = http.post("/events", json={"number": 2}, headers=binary)
            assert answer.status_code == 202
        batch = [cloudevent(user, number) for number in (1, 3, 4)]
        answer = http.post("/events", json=batch, headers=BATCHED)
        assert answer.json()["ids"][0] == first[0], "published before, alone"
        http.post("/events", json=cloudevent(user, 5), headers=STRUCTURED)
        stream.wait_for(lambda event: event.json.get("number") == 5)
        published = stream.published()
        assert [event.json["number"] for event in published] == [1, 2, 3, 4, 5]
        assert [event.id for event in published[2:4]] == answer.json()["ids"][1:]
        assert {event.type for event in published} == {"order.paid"}


def test_a_wrong_event_of_a_batch_publishes_nothing_of_it(
    node: NodeProcess, http: httpx.Client, user: str
) -> None:
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        batch = [cloudevent(user, 1), cloudevent(user, 2, type="sse.open")]
        answer = http.post("/events", json=batch, headers=BATCHED)
        assert answer.status_code == 422
        assert "[1].eventType" in answer.json()["detail"]
        assert http.post("/events", json=[cloudevent(user, 3)], headers=BATCHED).status_code == 202
        stream.wait_for_type("order.paid")
        assert [event.json["number"] for event in stream.published()] == [3]


def test_a_channel(node: NodeProcess, http: httpx.Client, user: str) -> None:
    with StreamClient(node.url, f"/events/sse/{user}?channels=analytics-events") as stream:
        stream.wait_open()
        event = cloudevent(user, 1, channel="analytics-events", type=f"for.{user}")
        assert http.post("/events", json=event, headers=STRUCTURED).status_code == 202
        assert stream.wait_for_type(f"for.{user}").json["number"] == 1


def test_one_id_for_two_events_is_told(http: httpx.Client, user: str) -> None:
    http.post("/events", json=cloudevent(user, 1), headers=STRUCTURED).raise_for_status()
    batch = [cloudevent(user, 2), cloudevent(user, 1, data="another")]
    answer = http.post("/events", json=batch, headers=BATCHED)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("content: [1].id: another event had this source")
