"""`POST /revocations`: what is accepted, until when, and what is refused."""

import json
from datetime import UTC, datetime, timedelta
from time import time
from typing import Any

import pytest

from sse_node.access.revocations import DEFAULT_S, Revocations
from sse_node.api.revocations import RevocationsResource
from sse_node.errors import RedisError, RequestError
from sse_node.redis.commands import RedisCommands
from sse_node.redis.keys import Keys
from sse_node.wire.http_head import Request

DAY_S = 24 * 3600


def request_of(content: Any) -> Request:  # noqa: ANN401
    return Request(
        "POST", "/revocations", "", {b"content-type": b"application/json"},
        json.dumps(content).encode(),
    )  # fmt: skip


class Node:
    """The resource on a real Valkey, and the names that were revoked."""

    def __init__(self, commands: RedisCommands) -> None:
        self.names: list[str] = []
        self.resource = RevocationsResource(Revocations(commands, Keys(), self.names.append))

    async def post(self, content: Any) -> dict[str, Any]:  # noqa: ANN401
        response = await self.resource.create(request_of(content))
        assert response.status == 200
        answer: dict[str, Any] = json.loads(response.content)
        return answer


@pytest.fixture
def node(commands: RedisCommands) -> Node:
    return Node(commands)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ({"user": "ann"}, "user:ann"),
        ({"user": "jti:x"}, "user:jti:x"),
        ({"jti": "t-1"}, "jti:t-1"),
        ({"jti": "any text: ä"}, "jti:any text: ä"),
    ],
)
async def test_a_user_or_a_token_is_revoked_for_a_day(
    node: Node, content: dict[str, str], name: str
) -> None:
    answer = await node.post(content)
    assert node.names == [name]
    assert abs(answer.pop("until") - time() - DEFAULT_S) < 5
    assert answer == content


@pytest.mark.parametrize("days", [1 / 24, 3999])
async def test_until_a_time(node: Node, days: float) -> None:
    until = datetime.now(UTC) + timedelta(days=days)
    for value in (until.timestamp(), int(until.timestamp()), until.isoformat()):
        assert await node.post({"user": "ann", "until": value}) == {
            "user": "ann",
            "until": int(until.timestamp()),
        }


async def test_a_time_that_is_past_ends_the_revocation(node: Node) -> None:
    await node.post({"user": "ann"})
    assert await node.post({"user": "ann", "until": 0}) == {"user": "ann", "until": 0}
    assert node.names == ["user:ann"]


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        ({}, "user or jti: expected exactly one"),
        ({"user": "ann", "jti": "t"}, "user or jti: expected exactly one"),
        ({"user": "ann", "jti": ""}, "user or jti: expected exactly one"),
        ({"user": ""}, "user: expected 1 to"),
        ({"user": "ann b"}, "user: expected 1 to"),
        ({"user": 1}, "user: expected a string"),
        ({"user": None}, "user: expected a string"),
        ({"jti": ""}, "jti: expected 1 to 255 characters"),
        ({"jti": "j" * 256}, "jti: expected 1 to 255 characters"),
        ({"user": "ann", "until": -1}, "until: expected a Unix time"),
        ({"user": "ann", "until": 1e300}, "until: expected a Unix time"),
        ({"user": "ann", "until": 4_102_444_801}, "until: expected a Unix time"),
        ({"user": "ann", "until": time() * 1000}, "until: expected a Unix time"),
        ({"user": "ann", "until": "tomorrow"}, "until: "),
        ({"user": "ann", "until": "2026-01-01T00:00:00"}, "until: expected a Unix time"),
        ({"user": "ann", "until": None}, "until: "),
        ([], "expected an object"),
    ],
)
async def test_what_is_refused(node: Node, content: Any, detail: str) -> None:  # noqa: ANN401
    with pytest.raises(RequestError) as caught:
        await node.resource.create(request_of(content))
    assert caught.value.status == 422
    assert detail in caught.value.detail
    assert node.names == []


async def test_text_that_is_no_unicode_is_refused(node: Node) -> None:
    request = request_of({})
    request.content = b'{"jti": "\\ud800"}'
    with pytest.raises(RequestError) as caught:
        await node.resource.create(request)
    assert caught.value.status in {400, 422}


async def test_without_redis_nothing_is_answered(no_redis: RedisCommands) -> None:
    node = Node(no_redis)
    with pytest.raises(RedisError):
        await node.resource.create(request_of({"user": "ann"}))
    assert node.names == []
