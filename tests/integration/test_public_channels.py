"""Channels that are heard without a token, by streams without a user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from bench.chaos.access import Access
from tests.support.nodes import client_of
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness import NodeProcess, RedisProcess
    from tests.support.nodes import StartNode

FLAGS = ("--channels", "system-events,news,room:*,score:*", "--public-channels", "news,score:*")


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return Access(tmp_path)


@pytest.fixture
def node(access: Access, start_node: StartNode, redis: RedisProcess) -> NodeProcess:
    return start_node(*FLAGS, *access.flags, redis=redis)


def status_of(node: NodeProcess, target: str, token: str = "") -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with client_of(node) as http, http.stream("HEAD", target, headers=headers) as answer:
        return answer.status_code


@pytest.mark.parametrize(
    ("query", "without", "with_token"),
    [
        ("", 401, 200),
        ("?channels=news", 200, 200),
        ("?channels=score:7", 200, 200),
        ("?channels=news,score:7", 200, 200),
        ("?channels=news,room:42", 401, 403),
        ("?channels=room:42", 401, 403),
        ("?channels=system-events", 401, 200),
        ("?channels=", 401, 200),
        ("?channels=other", 400, 400),
    ],
)
def test_who_may_hear_what(
    node: NodeProcess, access: Access, query: str, without: int, with_token: int
) -> None:
    assert status_of(node, f"/events/sse{query}") == without
    assert status_of(node, f"/events/sse{query}", access.token_for("ann").text) == with_token
    assert status_of(node, f"/events/sse/ann{query}") == 401


def test_a_stream_without_a_user_hears_its_channels_alone(
    node: NodeProcess, access: Access, redis: RedisProcess
) -> None:
    rights = {"Authorization": f"Bearer {access.key}"}

    def publish(http: httpx.Client, **event: str) -> str:
        answer = http.post("/events", json={"eventType": "t", "data": 1, **event}, headers=rights)
        return str(answer.raise_for_status().json()["ids"][0])

    with client_of(node) as http:
        with StreamClient(node.url, "/events/sse?channels=news,score:7") as stream:
            opened = stream.wait_open().id
            for address in ({"userId": "123"}, {"userId": "ann"}, {"channel": "system-events"},
                            {"channel": "score:8"}, {"channel": "room:7"}):  # fmt: skip
                publish(http, **address)
            ids = [publish(http, channel="news"), publish(http, channel="score:7")]
            stream.wait_for(lambda event: event.id == ids[1])
            assert [event.id for event in stream.published()] == ids
        with StreamClient(
            node.url, "/events/sse?channels=news", {"Last-Event-ID": opened}
        ) as stream:
            assert stream.wait_for_type("t").id == ids[0]
