"""Snapshot jobs and nodes that die: no account is without its snapshot, none has two."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
from redis import Redis

from bench.harness import NodeProcess, RedisProcess, valkey_binary
from tests.support.nodes import client_of, wait_until

if TYPE_CHECKING:
    from tests.support.nodes import StartNode

KILLS = 8


def events_of(commands: Redis, event_type: str) -> list[dict[str, object]]:
    entries: Any = commands.xrange("sse:log")
    payloads = [fields[b"payload"] for _, fields in entries]
    events = [msgspec.json.decode(payload) for payload in payloads]
    return [event for event in events if event.get("eventType") == event_type]


def post_until_killed(node: NodeProcess, kill_after_s: float) -> None:
    deadline = time.monotonic() + kill_after_s
    with client_of(node) as http:
        while time.monotonic() < deadline:
            http.post("/accounts", json={"name": "A", "balance": 1}).raise_for_status()
    node.kill()


def test_nodes_killed_between_accounts_and_snapshots_lose_and_double_nothing(
    start_node: StartNode,
) -> None:
    chance = random.Random(7)
    with RedisProcess() as own_redis, Redis.from_url(own_redis.url) as commands:
        staying = start_node(redis=own_redis, server_id="staying")
        for kill in range(KILLS):
            dying = start_node(redis=own_redis, server_id=f"dying-{kill}")
            post_until_killed(dying, chance.uniform(0.05, 0.3))
        created = len(events_of(commands, "account.created"))
        assert created > KILLS

        def jobs_left() -> int:
            return int(commands.xlen("sse:jobs"))

        wait_until(lambda: jobs_left() == 0, "all jobs are finished", 20)
        with client_of(staying) as http:
            snapshots = http.get("/snapshots?limit=1000").json()
        by_account = Counter(snapshot["account"]["id"] for snapshot in snapshots)
        assert sorted(by_account) == list(range(1, created + 1))
        assert set(by_account.values()) == {1}
        assert len(events_of(commands, "snapshots.generated")) == created


# Valkey has a consumer from its first reading on, Redis before 7.2 from its first job on.


def consumers_of(commands: Redis) -> set[str]:
    found: Any = commands.xinfo_consumers("sse:jobs", "snapshots")
    return {consumer["name"].decode() for consumer in found}


def test_a_consumer_is_removed_with_its_node(start_node: StartNode) -> None:
    with RedisProcess(valkey_binary()) as own_redis, Redis.from_url(own_redis.url) as commands:
        start_node(redis=own_redis, server_id="staying")
        names = {"staying"}
        for number in range(3):
            node = start_node(redis=own_redis, server_id=f"ending-{number}")
            names.add(f"ending-{number}")
            wait_until(lambda: consumers_of(commands) == names, "all consumers have read")
            assert node.terminate() == 0
            names.remove(f"ending-{number}")
            assert consumers_of(commands) == names


def test_consumers_of_workers_are_removed_with_them(start_node: StartNode) -> None:
    with RedisProcess(valkey_binary()) as own_redis, Redis.from_url(own_redis.url) as commands:
        node = start_node("--workers", "2", redis=own_redis)
        wait_until(lambda: consumers_of(commands) == {"node-1.1", "node-1.2"}, "both have read")
        assert node.terminate() == 0
        assert consumers_of(commands) == set()


def test_a_consumer_of_a_killed_node_is_removed_by_another(start_node: StartNode) -> None:
    with RedisProcess(valkey_binary()) as own_redis, Redis.from_url(own_redis.url) as commands:
        start_node("--audit-interval", "0.2", redis=own_redis, server_id="staying")
        dying = start_node(redis=own_redis, server_id="dying")
        both = {"dying", "staying"}
        wait_until(lambda: consumers_of(commands) == both, "both have read")
        dying.kill()
        wait_until(lambda: consumers_of(commands) == {"staying"}, "the other one is removed", 20)


def test_a_node_that_may_not_remove_consumers_works(start_node: StartNode) -> None:
    with RedisProcess() as own_redis, Redis.from_url(own_redis.url) as commands:
        execute: Any = commands.execute_command
        execute("ACL", "SETUSER", "default", "-xinfo|consumers")
        node = start_node("--audit-interval", "0.2", redis=own_redis)
        node.wait_for_log("consumers of ended nodes stay in sse:jobs: ")
        with client_of(node) as http:
            for _ in range(2):
                http.post("/accounts", json={"name": "A", "balance": 1}).raise_for_status()
            wait_until(lambda: len(http.get("/snapshots").json()) == 2, "the jobs are finished")
        assert node.terminate() == 0
        assert len([line for line in node.log if "consumers of ended nodes" in line]) == 1


def test_a_job_that_redis_refuses_keeps_no_other_waiting(start_node: StartNode) -> None:
    with RedisProcess() as own_redis, Redis.from_url(own_redis.url) as commands:
        node = start_node(redis=own_redis)
        commands.set("sse:snapshots:bad", "no list")
        with client_of(node) as http:
            http.post("/accounts", json={"name": "A", "balance": 1, "userId": "bad"})
            http.post("/accounts", json={"name": "A", "balance": 1, "userId": "good"})
            wait_until(
                lambda: len(http.get("/snapshots?userId=good").json()) == 1, "the other is done"
            )
