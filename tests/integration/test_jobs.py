"""Snapshot jobs and nodes that die: no account is without its snapshot, none has two."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
from redis import Redis

from bench.harness import NodeProcess, RedisProcess
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
