"""The smallest rights of a node with shards, on one Redis and on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from bench.harness import Cluster, NodeProcess, RedisProcess
from tests.integration.test_redis_acl import OPTIONAL, PASSWORD, refusals, rule_of
from tests.support.nodes import client_of
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.integration

SHARDS = "16"
USERS = [f"user-{number}" for number in range(8)]


def give_rights(servers: Sequence[RedisProcess], *further: str) -> str:
    """Make the user of the documented rules on every server; return its name."""
    name, *rights = rule_of("acl")
    for server in servers:
        with Redis(unix_socket_path=str(server.socket_path)) as client:
            execute: Any = client.execute_command
            execute("ACL", "SETUSER", name, *rights, *rule_of("acl-shards")[1:], *further)
    return f"{name}:{PASSWORD}@"


def use(url: str) -> None:
    """Let a node do for users of several shards what it does for one."""
    with (
        NodeProcess("--redis-url", url, "--shards", SHARDS) as node,
        client_of(node) as http,
    ):
        node.wait_ready()
        for user in USERS:
            with StreamClient(node.url, f"/events/sse/{user}") as stream:
                stream.wait_open()
                key = {"Idempotency-Key": user}
                account = {"name": "Mill", "balance": 1, "userId": user}
                where = http.post("/accounts", json=account, headers=key).headers["Location"]
                stream.wait_for_type("snapshots.generated")
                http.patch(where, json={"balance": 2}).raise_for_status()
                http.get(f"{where}?version=1").raise_for_status()
                http.delete(where).raise_for_status()
                events = [
                    {"userId": user, "eventType": "t", "data": 1},
                    {"channel": "system-events", "eventType": "last", "data": 1},
                ]
                http.post("/events", json=events, headers=key).raise_for_status()
                stream.wait_for_type("last")


def check_refusals(servers: Sequence[RedisProcess], user: str) -> None:
    name = user.partition(":")[0]
    for server in servers:
        with Redis(unix_socket_path=str(server.socket_path)) as client:
            assert set(refusals(client)) <= {f"{name}: {each}" for each in OPTIONAL}


def test_shards_on_one_redis() -> None:
    with RedisProcess(tcp=True) as redis:
        user = give_rights([redis])
        use(f"redis://{user}127.0.0.1:{redis.port}")
        check_refusals([redis], user)


def test_shards_on_a_cluster() -> None:
    with Cluster(replicas=0) as cluster:
        user = give_rights(cluster.servers, "+cluster|nodes")
        use(cluster.url.replace("://", f"://{user}"))
        check_refusals(cluster.servers, user)
