"""Redis' own figures as a node's metrics, and the warning of a replica that may lack writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from bench.harness import RedisProcess, valkey_binary
from tests.support.nodes import client_of, read_metrics, wait_until

if TYPE_CHECKING:
    import httpx

    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration

BINARIES: dict[str, Any] = {"redis": "redis-server", "valkey": valkey_binary()}
EVENT = {"userId": "ann", "eventType": "t", "data": 1}


@pytest.mark.parametrize("kind", BINARIES)
def test_a_server_with_a_replica(start_node: StartNode, kind: str) -> None:
    flags = ("--repl-diskless-sync-delay", "0", "--maxmemory", "256mb")
    with RedisProcess(BINARIES[kind], flags, tcp=True) as master:
        follow = ("--replicaof", f"127.0.0.1 {master.port}")
        with RedisProcess(BINARIES[kind], follow, tcp=True) as replica:
            wait_until(lambda: "up" in _link_of(replica), "the replica is in sync")
            node = start_node("--audit-interval", "0.2", redis=master)
            node.wait_for_log("Redis: a replica may be promoted without the last second of writes")
            with client_of(node) as http:
                [warning] = [w for w in http.get("/health").json()["warnings"] if "replica" in w]
                assert "min-replicas-to-write is 0" in warning
                http.post("/events", json=[EVENT] * 5).raise_for_status()
                wait_until(lambda: figure(http, "log_events") >= 6, "the log is measured")
                assert figure(http, "log_events_added_total") >= 6
                assert figure(http, "memory_limit_bytes") == 256 * 1024 * 1024
                assert figure(http, "memory_bytes") > 0
                assert figure(http, "evicted_keys_total") == 0
                assert figure(http, "replicas") == 1
                assert figure(http, "replication_lag_seconds") <= 5
                assert figure(http, "replication_lag_bytes") >= 0
                checks = read_metrics(http)
                assert checks["sse_node_redis_warnings", "replication"] == 1

                replica.stop()
                wait_until(lambda: figure(http, "replicas") == 0, "the replica has left")
                names = {name for name, _ in read_metrics(http)}
                assert "sse_node_redis_replication_lag_seconds" not in names
                assert not [w for w in http.get("/health").json()["warnings"] if "replica" in w]

                master.stop()
                wait_until(
                    lambda: ("sse_node_redis_memory_bytes", "") not in read_metrics(http),
                    "nothing is known of a Redis that is away",
                )


def _link_of(replica: RedisProcess) -> str:
    with Redis(unix_socket_path=str(replica.socket_path)) as client:
        return str(client.info("replication")["master_link_status"])


def figure(http: httpx.Client, name: str) -> float:
    """Return a figure of Redis; one that is not known is less than any."""
    return read_metrics(http).get((f"sse_node_redis_{name}", ""), -1)
