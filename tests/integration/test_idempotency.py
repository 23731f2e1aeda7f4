"""Idempotency keys: of one route and one user; no record is named by what a client sends."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from bench.harness import ROOT, environment_without_settings
from tests.support.nodes import keys_for

if TYPE_CHECKING:
    import httpx
    from redis import Redis

    from bench.harness import RedisProcess

pytestmark = pytest.mark.integration


def post_event(http: httpx.Client, user: str, key: str, data: object = 1) -> httpx.Response:
    event = {"userId": user, "eventType": "t", "data": data}
    return http.post("/events", json=event, headers={"Idempotency-Key": key})


def post_account(http: httpx.Client, user: str, key: str, name: str = "n") -> httpx.Response:
    account = {"name": name, "balance": 1, "userId": user}
    return http.post("/accounts", json=account, headers={"Idempotency-Key": key})


def test_one_key_on_two_routes(http: httpx.Client, user: str) -> None:
    event = post_event(http, user, f"key {user}")
    account = post_account(http, user, f"key {user}")
    assert (event.status_code, account.status_code) == (202, 201)
    assert post_event(http, user, f"key {user}").json() == event.json()
    assert post_account(http, user, f"key {user}").json() == account.json()


def test_one_key_of_two_users(http: httpx.Client, user: str) -> None:
    """Neither gets, blocks or learns the answer of the other."""
    key, other = f"key {user}", f"{user}-other"
    first = [post_event(http, user, key, "mine"), post_account(http, user, key, "mine")]
    second = [post_event(http, other, key, "yours"), post_account(http, other, key, "yours")]
    assert [answer.status_code for answer in first + second] == [202, 201, 202, 201]
    assert first[0].json() != second[0].json()
    assert first[1].json()["userId"] == user
    assert second[1].json()["userId"] == other
    assert post_event(http, user, key, "mine").json() == first[0].json()
    assert post_event(http, user, key, "other content").status_code == 422


def test_one_key_for_a_user_for_several_and_for_a_channel(http: httpx.Client, user: str) -> None:
    headers = {"Idempotency-Key": f"key {user}"}
    own = {"userId": user, "eventType": "t", "data": 1}
    several = [own, {**own, "userId": f"{user}-other"}]
    answers = [
        http.post("/events", json=content, headers=headers) for content in (own, several) * 2
    ]
    assert [answer.status_code for answer in answers] == [202] * 4
    assert answers[0].json() == answers[2].json()
    assert answers[1].json() == answers[3].json()
    assert answers[0].json()["ids"][0] not in answers[1].json()["ids"]
    # All that is for no single user shares its keys, so that a retry with other content is found.
    channel = {"channel": "system-events", "eventType": "t", "data": 1}
    assert http.post("/events", json=channel, headers=headers).status_code == 422


def test_a_key_names_no_record(
    http: httpx.Client, redis: RedisProcess, publisher: Redis, user: str
) -> None:
    """Not that of another program, which chooses the names itself, and none with a wildcard."""
    (record,) = keys_for(redis, user).idempotency_record(user)
    stem = record.removesuffix(user)
    publisher.hset(record, mapping={"content": "0" * 40, "answer": "1-1"})
    before: Any = set(publisher.scan_iter(f"{stem}*"))
    assert post_event(http, user, user).status_code == 202
    (new,) = set(publisher.scan_iter(f"{stem}*")) - before
    assert len(new) == len(stem) + 64
    assert 0 < publisher.pttl(new) <= 600_000
    publisher.delete(record)


def test_the_command_has_keys_of_its_own(
    http: httpx.Client, redis: RedisProcess, user: str
) -> None:
    by_http = post_event(http, user, user).json()["ids"]

    def publish(to: str) -> str:
        command = (sys.executable, "-m", "sse_node", "publish", to, "t", json.dumps(1))
        return subprocess.run(
            [*command, "--idempotency-key", user, "--redis-url", redis.nodes_url],
            cwd=ROOT, env=environment_without_settings(), check=True,
            capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip

    first = publish(user)
    assert publish(user) == first
    assert len({*by_http, first, publish(f"{user}-other")}) == 3
