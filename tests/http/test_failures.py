"""What a client is told when the handler of its request raises."""

import msgspec
import pytest

from sse_node.errors import RedisBusyError, RedisError, RequestError
from sse_node.http.failures import response_to
from sse_node.wire.http_head import Request

REQUEST = Request("GET", "/accounts", "", {})


def detail_of(error: Exception, status: int) -> str:
    response = response_to(error, REQUEST)
    assert response.status == status
    retries = [header for header in response.headers if header[0] == b"Retry-After"]
    assert retries == ([(b"Retry-After", b"2")] if status == 503 else [])
    problem = msgspec.json.decode(response.content)
    assert problem["status"] == status
    return str(problem["detail"])


def test_a_refusal_is_what_it_says(caplog: pytest.LogCaptureFixture) -> None:
    assert detail_of(RequestError(422, "no"), 422) == "no"
    assert caplog.records == []


def test_redis_away_is_503_with_retry_after(caplog: pytest.LogCaptureFixture) -> None:
    detail = detail_of(RedisError("Redis is away: no such socket"), 503)
    assert "nothing was changed" in detail
    assert "socket" not in detail
    assert caplog.records == []  # who asked Redis has logged it


def test_too_many_requests_for_redis_is_503_with_retry_after() -> None:
    detail = detail_of(RedisBusyError("7 read requests wait; 4 run at once"), 503)
    assert detail == "Redis: too many requests wait for it; nothing was changed"


def test_a_bug_is_logged_and_says_nothing_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    assert "secret" not in detail_of(KeyError("secret"), 500)
    assert "GET /accounts failed" in caplog.text
    assert "secret" in caplog.text
