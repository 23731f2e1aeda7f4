"""`?replay=N` and `?since=ID`: a first connection that begins in the past."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from bench.harness import NodeProcess, RedisProcess
from tests.support.nodes import client_of, wait_until_heard
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

CHANNELS = ("--channels", "news,room:*")


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisProcess]:
    with RedisProcess() as redis:
        yield redis


@pytest.fixture(scope="module", params=["16384", "5"], ids=["from-memory", "from-the-log"])
def node(redis: RedisProcess, request: pytest.FixtureRequest) -> Iterator[NodeProcess]:
    """A node whose memory has everything, or nearly nothing."""
    flags = ("--redis-url", redis.url, "--server-id", "node-1", "--history", request.param)
    with NodeProcess(*flags, *CHANNELS) as process:
        process.wait_ready()
        yield process


@pytest.fixture(scope="module")
def http(node: NodeProcess) -> Iterator[httpx.Client]:
    with client_of(node) as client:
        yield client


def post(http: httpx.Client, user: str, numbers: range) -> list[str]:
    """Publish to the user, to a room and to `news` by turns; return the ids."""
    addresses = [{"userId": user}, {"channel": f"room:{user}"}, {"channel": "news"}]
    events: list[dict[str, Any]] = [
        {**addresses[number % 3], "eventType": "tick", "data": {"of": user, "number": number}}
        for number in numbers
    ]
    ids: list[str] = http.post("/events", json=events).raise_for_status().json()["ids"]
    return ids


def publish(node: NodeProcess, http: httpx.Client, user: str, numbers: range) -> list[str]:
    """Publish as `post` does, and wait until the node has all of it."""
    ids = post(http, user, numbers)
    wait_until_heard(node, user, ids[-1])
    return ids


def numbers_until(stream: StreamClient, user: str, number: int) -> list[int]:
    stream.wait_for(lambda event: event.json.get("number") == number)
    return [event.json["number"] for event in stream.published() if event.json["of"] == user]


def test_replay_is_the_last_events_of_everything_the_stream_hears(
    node: NodeProcess, http: httpx.Client, user: str
) -> None:
    ids = publish(node, http, user, range(30))
    publish(node, http, f"{user}-other", range(90, 120, 3))  # for a user alone
    target = f"/events/sse/{user}?channels=room:{user},news&replay=20"
    with StreamClient(node.url, target) as stream:
        opened = stream.wait_open()
        assert opened.json == {"serverId": "node-1", "resumed": False, "replayed": 20}
        assert opened.id == ids[9]
        live = publish(node, http, user, range(30, 33))
        assert numbers_until(stream, user, 32) == list(range(10, 33))
        assert [event.id for event in stream.published()] == [*ids[10:], *live]
    # The last event ID goes before it, as when an EventSource reconnects.
    for last_event_id, numbers in ((opened.id, range(10, 33)), (ids[25], range(26, 33))):
        with StreamClient(node.url, target, {"Last-Event-ID": last_event_id}) as stream:
            assert numbers_until(stream, user, 32) == list(numbers)


def test_replay_of_more_than_there_is(node: NodeProcess, http: httpx.Client, user: str) -> None:
    publish(node, http, user, range(4))
    with StreamClient(node.url, f"/events/sse/{user}?replay=1000&channels=room:{user}") as stream:
        assert stream.wait_open().json["replayed"] == 3
        publish(node, http, user, range(6, 7))
        assert numbers_until(stream, user, 6) == [0, 1, 3, 6]
    with StreamClient(node.url, f"/events/sse/{user}-nobody?replay=7") as stream:
        opened = stream.wait_open()
        assert opened.json["replayed"] == 0
        assert opened.id
        publish(node, http, f"{user}-nobody", range(1))
        assert numbers_until(stream, f"{user}-nobody", 0) == [0]


def test_since_is_everything_after_an_id(node: NodeProcess, http: httpx.Client, user: str) -> None:
    ids = publish(node, http, user, range(30))
    target = f"/events/sse/{user}?channels=room:{user},news&since={ids[4]}"
    with StreamClient(node.url, target) as stream:
        opened = stream.wait_open()
        assert (opened.id, opened.json["replayed"]) == (ids[4], 25)
        publish(node, http, user, range(30, 33))
        assert numbers_until(stream, user, 32) == list(range(5, 33))
    with StreamClient(node.url, target, {"Last-Event-ID": ids[20]}) as stream:
        assert numbers_until(stream, user, 32) == list(range(21, 33))


def test_since_an_id_that_proves_nothing_is_reset(node: NodeProcess, user: str) -> None:
    with StreamClient(node.url, f"/events/sse/{user}?since=5-5") as stream:
        first = stream.wait_for(lambda event: True)
        assert first.name == "sse.reset"
        assert first.json["reason"] in {"trimmed", "unknown-id"}


@pytest.mark.parametrize(
    "query", ["replay=-1", "replay=1001", "replay=x", "replay=", "replay=1.0", "since=x", "since=",
              "since=1", "since=1-1&replay=1"],
)  # fmt: skip
def test_wrong_values_are_refused(http: httpx.Client, query: str) -> None:
    answer = http.get(f"/events/sse?{query}")
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(query.partition("=")[0])


def test_streams_that_open_while_events_are_published_have_no_gap(
    node: NodeProcess, http: httpx.Client, user: str
) -> None:
    total, last = 400, 399

    def publish_all() -> None:
        with client_of(node) as own:
            for number in range(0, total, 4):
                post(own, user, range(number, number + 4))

    publish(node, http, user, range(-40, 0))
    publishing = threading.Thread(target=publish_all)
    publishing.start()
    target = f"/events/sse/{user}?channels=room:{user},news&replay=30"
    streams = [StreamClient(node.url, target) for _ in range(20)]
    try:
        for stream in streams:
            numbers = numbers_until(stream, user, last)
            assert numbers == list(range(numbers[0], total))
            assert stream.events[0].json["replayed"] == 30
            assert len({event.id for event in stream.published()}) == len(numbers)
    finally:
        publishing.join()
        for stream in streams:
            stream.close()
