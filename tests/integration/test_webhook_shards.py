"""Webhooks of several shards: each shard's log is read, and one that is away leaves the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.harness import DURABLE, Cluster, NodeProcess, RedisProcess, WebhooksProcess
from sse_node.redis.keys import keys_of, shard_keys
from sse_node.wire.sharding import shard_of, slot_of
from tests.support.nodes import client_of, wait_until
from tests.support.receiver import Receiver
from tests.support.webhook_stack import FLAGS, Stack

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

SHARDS = 16
USERS = [f"user-{number}" for number in range(24)]
EVENTS = 5


@pytest.fixture(params=["one Redis", "cluster"])
def sharded(request: pytest.FixtureRequest) -> Iterator[RedisProcess | Cluster]:
    if request.param == "cluster":
        with Cluster(shards=SHARDS, replicas=0) as cluster:
            yield cluster
    else:
        with RedisProcess() as redis:
            yield redis


@pytest.fixture
def stack(sharded: RedisProcess | Cluster) -> Iterator[Stack]:
    where = ("--redis-url", sharded.url)
    with (
        NodeProcess(*where, "--shards", str(SHARDS), *FLAGS) as node,
        WebhooksProcess(*where, *FLAGS) as process,
        client_of(node) as http,
    ):
        node.wait_ready()
        process.wait_ready()
        yield Stack(sharded.url, http, process)


def test_every_user_gets_what_is_the_users(stack: Stack) -> None:
    with Receiver() as receiver:
        webhooks = {user: stack.create(receiver.url(f"/{user}"), user) for user in USERS}
        assert len({shard_of(user, SHARDS) for user in USERS}) > SHARDS / 2
        for number in range(EVENTS):
            stack.publish_to_all(USERS, number)
        for user in USERS:
            received = receiver.wait_for(f"/{user}", EVENTS)
            assert [request.data for request in received] == list(range(EVENTS))
        wait_until(
            lambda: stack.process.metric("sse_node_webhooks") == len(USERS), "all are counted"
        )
        queued = stack.process.metric("sse_node_webhook_queued_total")
        assert queued == len(USERS) * EVENTS
        user = USERS[0]
        webhook = webhooks[user]
        assert [each["id"] for each in stack.http.get(f"/webhooks?userId={user}").json()] == [
            webhook["id"]
        ]
        assert len(stack.attempts(webhook, EVENTS)) == EVENTS
        path = f"/webhooks/{webhook['id']}"
        assert stack.http.patch(path, json={"events": ["u"]}).json()["events"] == ["u"]
        assert stack.http.post(f"{path}/test").status_code == 202
        receiver.wait_for(f"/{user}", EVENTS + 1)
        assert stack.http.delete(path).status_code == 204
        assert stack.http.get(path).status_code == 404


def test_a_repeated_request_creates_one(stack: Stack) -> None:
    key = {"Idempotency-Key": "once"}
    content = {"url": "http://127.0.0.1:1/", "events": ["t"], "userId": "ann"}
    first, second = (stack.http.post("/webhooks", json=content, headers=key) for _ in range(2))
    assert first.json() == second.json()
    other = stack.http.post("/webhooks", json=content | {"userId": "bob"}, headers=key)
    assert (first.status_code, other.status_code) == (201, 201)  # every user has keys of their own
    assert len(stack.http.get("/webhooks?userId=ann").json()) == 1


def test_a_process_that_comes_before_the_nodes_waits_for_them(
    sharded: RedisProcess | Cluster,
) -> None:
    where = ("--redis-url", sharded.url)
    with WebhooksProcess(*where, *FLAGS) as process, Receiver() as receiver:
        process.wait_for_log("there is no event log yet; waiting for a node")
        assert process.get("/health/ready").status_code == 503
        with (
            NodeProcess(*where, "--shards", str(SHARDS), *FLAGS) as node,
            client_of(node) as http,
        ):
            node.wait_ready()
            process.wait_ready()
            stack = Stack(sharded.url, http, process)
            for user in USERS:
                stack.create(receiver.url(f"/{user}"), user)
            stack.publish_to_all(USERS, 7)
            for user in USERS:
                assert receiver.wait_for(f"/{user}", 1)[0].data == 7


def test_a_lost_master_leaves_the_webhooks_of_others() -> None:
    with (
        Cluster(shards=SHARDS, replicas=0, args=DURABLE) as cluster,
        NodeProcess("--redis-url", cluster.url, "--shards", str(SHARDS), *FLAGS) as node,
        WebhooksProcess("--redis-url", cluster.url, *FLAGS) as process,
        client_of(node) as http,
        Receiver() as receiver,
    ):
        node.wait_ready()
        process.wait_ready()
        stack = Stack(cluster.url, http, process)
        keys = shard_keys(keys_of("", 0), SHARDS, in_cluster=True)
        master_of = {
            user: cluster.master_of(slot_of(keys[shard_of(user, SHARDS)].log)) for user in USERS
        }
        lost = master_of[USERS[0]]
        others = [user for user in USERS if master_of[user] is not lost]
        for user in USERS:
            stack.create(receiver.url(f"/{user}"), user)
        lost.kill()
        for number in range(EVENTS):
            stack.publish_to_all(others, number)
        for user in others:
            received = receiver.wait_for(f"/{user}", EVENTS)
            assert [request.data for request in received] == list(range(EVENTS))
        assert process.get("/health/ready").status_code == 200
        lost.start()
        user = USERS[0]
        event = [{"userId": user, "eventType": "t", "data": 7}]
        wait_until(
            lambda: http.post("/events", json=event).status_code == 202, "its shard is back", 20
        )
        assert receiver.wait_for(f"/{user}", 1)[0].data == 7
