"""The history of accounts over HTTP: versions, past states, conditional changes, verification."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from bench.harness import ROOT, RedisProcess, environment_without_settings
from tests.support.nodes import client_of, keys_for
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from bench.harness import NodeProcess
    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration


@pytest.fixture
def path(http: httpx.Client, user: str) -> str:
    """An account of three versions: balance 1, 2, 3; the last one has another name, too."""
    answer = http.post("/accounts", json={"name": "Mill", "balance": 1, "userId": user})
    assert (answer.status_code, answer.headers["etag"]) == (201, '"1"')
    where = answer.headers["location"]
    answer = http.patch(where, json={"balance": 2})
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
    http.patch(where, json={"balance": 3, "name": "Quarry"}).raise_for_status()
    return where


def verify(redis: RedisProcess) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sse_node", "verify-accounts", "--redis-url", redis.nodes_url],
        cwd=ROOT,
        env=environment_without_settings(),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_every_change_is_an_event_with_a_version(http: httpx.Client, path: str) -> None:
    account = http.get(path)
    assert account.headers["etag"] == '"3"'
    events = http.get(f"{path}/events").json()
    assert [event["version"] for event in events] == [1, 2, 3]
    assert [event["eventType"] for event in events] == ["account.created"] + ["account.updated"] * 2
    assert events[0]["changes"]["balance"] == 1
    assert events[0]["at"] == account.json()["createdAt"]
    assert [event["changes"] for event in events[1:]] == [
        {"balance": 2},
        {"name": "Quarry", "balance": 3},
    ]
    times = [event["at"] for event in events]
    assert times == sorted(times)


def test_pages_of_a_history(http: httpx.Client, path: str) -> None:
    first = http.get(f"{path}/events?limit=2")
    assert [event["version"] for event in first.json()] == [1, 2]
    rest = http.get(first.links["next"]["url"])
    assert [event["version"] for event in rest.json()] == [3]
    assert "next" not in rest.links
    assert http.get(f"{path}/events?after=3").json() == []


def test_past_states(http: httpx.Client, path: str) -> None:
    events = http.get(f"{path}/events").json()
    for version, name, balance in ((1, "Mill", 1), (2, "Mill", 2), (3, "Quarry", 3)):
        answer = http.get(path, params={"version": version})
        assert (answer.json()["name"], answer.json()["balance"]) == (name, balance)
        assert answer.headers["etag"] == f'"{version}"'
    assert http.get(path, params={"version": 3}).content == http.get(path).content
    at = http.get(path, params={"at": events[2]["at"]})
    assert at.json()["balance"] == 3
    assert http.get(path, params={"at": "2999-01-01T00:00:00Z"}).json()["balance"] == 3
    for query, detail in (
        ("version=4", "it has no version 4, but 1 to 3"),
        ("at=2020-01-01T00:00:00Z", "it was created after 2020-01-01T00:00:00Z"),
    ):
        answer = http.get(f"{path}?{query}")
        assert (answer.status_code, answer.json()["detail"]) == (404, f"account: {detail}")
    for query in ("version=0", "at=noon", "version=1&at=2999-01-01T00:00:00Z"):
        assert http.get(f"{path}?{query}").status_code == 400


def test_a_change_in_another_version_than_expected_changes_nothing(
    http: httpx.Client, node: NodeProcess, path: str, user: str
) -> None:
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        refused = http.patch(path, json={"balance": 9}, headers={"If-Match": '"2"'})
        assert (refused.status_code, refused.headers["etag"]) == (412, '"3"')
        assert "version is 3" in refused.json()["detail"]
        assert http.delete(path, headers={"If-Match": 'W/"3"'}).status_code == 412
        assert http.patch(path, json={"balance": 9}, headers={"If-Match": "3"}).status_code == 400
        answer = http.patch(path, json={"balance": 4}, headers={"If-Match": '"1", "3"'})
        assert (answer.status_code, answer.headers["etag"]) == (200, '"4"')
        assert http.patch(path, json={"balance": 5}, headers={"If-Match": "*"}).status_code == 200
        assert http.delete(path, headers={"If-Match": '"5"'}).status_code == 204
        stream.wait_for_type("account.deleted")
        # The change to 3 may come when the stream is open.
        changed = [e.json["to"] for e in stream.published() if e.type == "balance.changed"]
        assert changed[-2:] == [4, 5]
    for where in (path, f"{path}/events", f"{path}?version=1"):
        assert http.get(where).status_code == 404
    assert http.patch(path, json={"balance": 1}, headers={"If-Match": '"5"'}).status_code == 404


def test_a_client_that_has_the_version_is_told_so(http: httpx.Client, path: str) -> None:
    answer = http.get(path, headers={"If-None-Match": '"3"'})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", '"3"')
    assert "content-length" not in answer.headers
    assert http.get(path, headers={"If-None-Match": '"2"'}).status_code == 200


def test_a_retried_creation_has_one_history(http: httpx.Client, user: str) -> None:
    account = {"name": "Mill", "balance": 1, "userId": user}
    headers = {"Idempotency-Key": f"key-of-{user}"}
    first, second = (http.post("/accounts", json=account, headers=headers) for _ in range(2))
    assert first.json() == second.json()
    assert len(http.get(f"{second.headers['location']}/events").json()) == 1


def test_an_account_from_before_there_were_histories(
    http: httpx.Client, publisher: Redis, redis: RedisProcess, user: str, path: str
) -> None:
    account_id = int(path.rpartition("/")[2])
    publisher.delete(keys_for(redis, user).account_history(account_id))
    before = http.get(path)
    assert before.headers["etag"] == '"1"'
    [event] = http.get(f"{path}/events").json()
    assert (event["version"], event["changes"]) == (1, before.json())
    assert http.get(f"{path}?version=1").json() == before.json()
    assert http.get(path, params={"at": "2999-01-01T00:00:00Z"}).json() == before.json()
    assert http.get(f"{path}?version=2").status_code == 404
    assert verify(redis).returncode == 0
    changed = http.patch(path, json={"balance": 7}, headers={"If-Match": '"1"'})
    assert changed.headers["etag"] == '"2"'
    first, second = http.get(f"{path}/events").json()
    assert (first["changes"], second["changes"]) == (before.json(), {"balance": 7})
    assert http.get(f"{path}?version=1").json() == before.json()
    assert verify(redis).returncode == 0


def test_verification_finds_what_was_changed_past_the_node(
    http: httpx.Client, publisher: Redis, redis: RedisProcess, user: str, path: str
) -> None:
    assert verify(redis).stdout.splitlines()[-1].split(",")[1] == " 0 different"
    account_id = int(path.rpartition("/")[2])
    publisher.hset(keys_for(redis, user).account(account_id), "balance", "1000000")
    found = verify(redis)
    assert found.returncode == 1
    expected = f"account {account_id}: balance is 1000000, its history gives 3"
    assert expected in found.stdout.splitlines()
    assert http.delete(path).status_code == 204
    assert verify(redis).returncode == 0


def test_verification_needs_a_redis() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "sse_node", "verify-accounts"],
        cwd=ROOT,
        env=environment_without_settings(),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert found.returncode == 3
    assert "--redis-url" in found.stderr


# Past events of a user


@pytest.fixture
def own_redis() -> Iterator[RedisProcess]:
    """A Redis whose log has the test's events alone."""
    with RedisProcess() as process:
        yield process


@pytest.fixture
def alone(own_redis: RedisProcess, start_node: StartNode) -> Iterator[httpx.Client]:
    with client_of(start_node(redis=own_redis)) as client:
        yield client


def publish(http: httpx.Client, user: str, *numbers: int) -> list[str]:
    events = [{"userId": user, "eventType": "t", "data": {"number": n}} for n in numbers]
    ids: list[str] = http.post("/events", json=events).raise_for_status().json()["ids"]
    return ids


def page(http: httpx.Client, **query: Any) -> dict[str, Any]:  # noqa: ANN401
    answer: dict[str, Any] = http.get("/events", params=query).raise_for_status().json()
    return answer


def test_pages_of_a_users_events(alone: httpx.Client, user: str) -> None:
    ids = publish(alone, user, 1, 2, 3)
    publish(alone, f"{user}-other", 99)
    volatile = {"userId": user, "eventType": "t", "data": 0, "volatile": True}
    alone.post("/events", json=volatile).raise_for_status()
    found = page(alone, userId=user)
    assert found["trimmed"] is False
    assert found["next"] is None
    assert found["events"] == [
        {"id": event_id, "eventType": "t", "data": {"number": number}}
        for number, event_id in enumerate(ids, 1)
    ]
    first = page(alone, userId=user, limit=2)
    assert [event["id"] for event in first["events"]] == ids[:2]
    assert first["next"] == ids[1]
    rest = page(alone, userId=user, limit=2, after=first["next"])
    assert [event["id"] for event in rest["events"]] == ids[2:]
    assert (rest["trimmed"], rest["next"]) == (False, None)
    assert page(alone, userId=f"{user}-nobody")["events"] == []


def test_a_page_that_cannot_be_complete_says_so(alone: httpx.Client, user: str) -> None:
    publish(alone, user, 1)
    found = page(alone, userId=user, after="1-0")
    assert found["trimmed"] is True
    assert [event["data"]["number"] for event in found["events"]] == [1]


@pytest.mark.parametrize(
    "query",
    ["after=x", "after=", "limit=0", "limit=1001", "userId=a%20b", "channel=a", "after=1&after=2"],
)
def test_what_is_wrong_with_a_page(alone: httpx.Client, query: str) -> None:
    assert alone.get(f"/events?{query}").status_code == 400


def test_a_log_that_was_trimmed(alone: httpx.Client, own_redis: RedisProcess, user: str) -> None:
    ids = publish(alone, user, *range(1, 6))
    with Redis.from_url(own_redis.url) as publisher:
        publisher.xtrim("sse:log", minid=ids[2], approximate=False)
    found = page(alone, userId=user)
    assert found["trimmed"] is True
    assert [event["id"] for event in found["events"]] == ids[2:]
    assert page(alone, userId=user, after=ids[0])["trimmed"] is True
    assert page(alone, userId=user, after=ids[2])["trimmed"] is False
