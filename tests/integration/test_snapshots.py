"""Snapshots and the jobs that make them, which any node takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from bench.harness import RedisProcess
from tests.support.nodes import client_of, wait_until
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    import httpx

    from bench.harness import NodeProcess
    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration


def create(http: httpx.Client, user: str, count: int) -> list[dict[str, Any]]:
    answers = [
        http.post("/accounts", json={"name": f"n {number}", "balance": number, "userId": user})
        for number in range(count)
    ]
    return [answer.raise_for_status().json() for answer in answers]


def wait_for_snapshots(stream: StreamClient, count: int) -> None:
    while sum(event.type == "snapshots.generated" for event in stream.published()) < count:
        stream.wait_for_type("snapshots.generated")


def test_a_snapshot_is_the_account_as_it_was(
    http: httpx.Client, node: NodeProcess, user: str
) -> None:
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        (account,) = create(http, user, 1)
        generated = stream.wait_for_type("snapshots.generated")
    (snapshot,) = http.get("/snapshots", params={"userId": user}).json()
    assert snapshot == {
        "account": account,
        "date": generated.json["timestamp"],
        "userId": user,
    }


def test_snapshots_are_listed_newest_last_and_bounded(
    http: httpx.Client, node: NodeProcess, user: str
) -> None:
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        accounts = create(http, user, 105)
        wait_for_snapshots(stream, 105)

    def listed(limit: str | None = None) -> list[int]:
        query = {"userId": user} if limit is None else {"userId": user, "limit": limit}
        answer = http.get("/snapshots", params=query).raise_for_status()
        return [snapshot["account"]["id"] for snapshot in answer.json()]

    ids = [account["id"] for account in accounts]
    assert listed() == ids[-100:]
    assert listed("3") == ids[-3:]
    assert listed("1000") == ids
    for limit in ("0", "1001", "-1", "x", ""):
        answer = http.get("/snapshots", params={"userId": user, "limit": limit})
        assert answer.status_code == 400
        assert "limit" in answer.json()["detail"]


def test_a_user_without_snapshots_has_an_empty_list(http: httpx.Client, user: str) -> None:
    assert http.get("/snapshots", params={"userId": user}).json() == []


def test_no_more_snapshots_are_kept_than_configured(start_node: StartNode, user: str) -> None:
    with RedisProcess() as redis:
        node = start_node("--snapshots-kept", "3", redis=redis)
        with client_of(node) as http, StreamClient(node.url, f"/events/sse/{user}") as stream:
            stream.wait_open()
            accounts = create(http, user, 5)
            wait_for_snapshots(stream, 5)
            kept = http.get("/snapshots", params={"userId": user, "limit": "1000"}).json()
    assert [snapshot["account"] for snapshot in kept] == accounts[-3:]


def keys_of(redis: Redis, pattern: str = "*") -> set[bytes]:
    return set(redis.scan_iter(pattern, count=10_000))


def test_nothing_is_left_of_a_user_who_has_nothing(start_node: StartNode) -> None:
    with RedisProcess() as redis, Redis.from_url(redis.url) as redis_client:
        node = start_node(redis=redis)
        with client_of(node) as http:
            for number in range(200):
                (account,) = create(http, f"user-{number}", 1)
                http.delete(f"/accounts/{account['id']}").raise_for_status()
            wait_until(lambda: redis_client.xlen("sse:jobs") == 0, "the jobs are finished")
            kept = create(http, "staying", 2)
            http.delete(f"/accounts/{kept[0]['id']}").raise_for_status()
            wait_until(lambda: len(http.get("/snapshots?userId=staying").json()) == 2, "snapshots")
        assert keys_of(redis_client) - keys_of(redis_client, "sse:probe:*") == {
            b"sse:log",
            b"sse:jobs",
            b"sse:account-counter",
            f"sse:account:{kept[1]['id']}".encode(),
            f"sse:account-history:{kept[1]['id']}".encode(),
            b"sse:accounts:staying",
            b"sse:snapshots:staying",
        }


def test_a_job_after_the_last_account_keeps_nothing(start_node: StartNode, user: str) -> None:
    with RedisProcess() as redis, Redis.from_url(redis.url) as redis_client:
        # A job that was created with an account that has been deleted before the job is read.
        account = f'{{"id":1,"name":"n","balance":1,"userId":"{user}","createdAt":"x"}}'
        job: Any = {"job": "snapshots.generate", "userId": user, "account": account}
        redis_client.xadd("sse:jobs", job)
        node = start_node(redis=redis)
        wait_until(lambda: redis_client.xlen("sse:jobs") == 0, "the job is finished")
        with client_of(node) as http:
            assert http.get("/snapshots", params={"userId": user}).json() == []
        assert keys_of(redis_client, "sse:snapshots:*") == set()
        entries: Any = redis_client.xrevrange("sse:log", count=1)
        assert b'"eventType":"snapshots.generated"' in entries[0][1][b"payload"]
        assert b'"snapshotCount":0' in entries[0][1][b"payload"]


def test_job_of_a_killed_node_is_finished_once_by_another(start_node: StartNode, user: str) -> None:
    with RedisProcess() as redis, Redis.from_url(redis.url) as redis_client:
        dying = start_node(redis=redis, server_id="dying")
        living = start_node(redis=redis, server_id="living")

        def dying_has_a_job() -> bool:
            pending: Any = redis_client.xpending("sse:jobs", "snapshots")
            return any(consumer["name"] == b"dying" for consumer in pending["consumers"])

        accounts = []
        with client_of(living) as http, StreamClient(living.url, f"/events/sse/{user}") as stream:
            stream.wait_open()
            for _ in range(20):  # Redis gives it a job only if it was asking when it was stopped
                dying.suspend()
                accounts += create(http, user, 2)
                if dying_has_a_job():
                    break
                dying.resume()
            assert dying_has_a_job()
            dying.kill()
            wait_for_snapshots(stream, len(accounts))
            query = {"userId": user, "limit": "1000"}
            snapshots = http.get("/snapshots", params=query).json()
            http.delete(f"/accounts/{accounts[0]['id']}").raise_for_status()
            stream.wait_for_type("account.deleted")
        assert not dying_has_a_job()
    ids = [snapshot["account"]["id"] for snapshot in snapshots]
    assert sorted(ids) == [account["id"] for account in accounts]
    types = [event.type for event in stream.published()]
    assert types.count("snapshots.generated") == len(accounts)
