"""Sixteen shards on a real cluster: failover, moving slots, masters without a replica."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.harness import DURABLE, ROOT, Cluster, NodeProcess, RedisProcess, valkey_binary
from bench.harness.cluster import slot_of
from sse_node.redis.keys import Keys, shard_keys
from sse_node.wire.sharding import shard_of
from tests.integration.test_shards import MODULES, OF_ONE_SHARD
from tests.support.nodes import client_of, read_metrics, wait_until
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration

SHARDS = 16
QUICK = ("--audit-interval", "1")
_USERS = [f"user-{number}" for number in range(64)]


def test_contract_on_a_cluster() -> None:
    files = [f"tests/integration/{name}" for name in MODULES]
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--redis", "cluster"]
    ended = subprocess.run(
        [*words, *OF_ONE_SHARD, *files], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert "skipped" not in ended.stdout


@pytest.fixture(params=["redis", "valkey"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster of the test's own."""
    binary: str | Path = "redis-server" if request.param == "redis" else valkey_binary()
    with Cluster(binary, shards=SHARDS) as cluster:
        yield cluster


def slot_for(user: str) -> int:
    """Return the slot of a user's shard."""
    return slot_of(shard_keys(Keys(), SHARDS)[shard_of(user, SHARDS)].log)


def users_of(cluster: Cluster, server: RedisProcess, *, others: bool = False) -> list[str]:
    """Return users whose shard a master has, or has not; each of another shard."""
    by_shard = {shard_of(user, SHARDS): user for user in _USERS}
    return [
        user
        for user in by_shard.values()
        if (cluster.master_of(slot_for(user)) is server) is not others
    ]


def post(http: httpx.Client, user: str, event_type: str, number: int = 0) -> int:
    """Publish an event; return the status of the answer."""
    event = {"userId": user, "eventType": event_type, "data": {"number": number}}
    return http.post("/events", json=event).status_code


def wait_accepted(http: httpx.Client, user: str) -> None:
    """Publish `after` until it is accepted."""
    wait_until(lambda: post(http, user, "after") == 202, "the shard takes writes", 20)


def is_usable(http: httpx.Client, user: str) -> bool:
    return bool(read_metrics(http)["sse_node_shard_usable", str(shard_of(user, SHARDS))])


class Load:
    """Publishes numbered events to users until it is stopped, each until it is accepted."""

    def __init__(self, node: NodeProcess, users: list[str]) -> None:
        self._node = node
        self._users = users
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.accepted = 0

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Publish no more."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with client_of(self._node) as http:
            while not self._stop.is_set():
                for user in self._users:
                    event = {"userId": user, "eventType": "load", "data": {"n": self.accepted}}
                    key = {"Idempotency-Key": f"{user} {self.accepted}"}
                    while http.post("/events", json=event, headers=key).status_code != 202:
                        self._stop.wait(0.02)
                self.accepted += 1

    def wait_for(self, count: int) -> None:
        """Wait until so many more events of each user are accepted."""
        wanted = self.accepted + count
        wait_until(lambda: self.accepted >= wanted, f"{wanted} events", 20)

    def check(self, stream: StreamClient) -> None:
        """Stop, and check that a stream got every event once, in order."""
        self.stop()
        last = self.accepted - 1
        stream.wait_for(lambda event: event.json.get("n") == last, 20)
        heard = [event.json["n"] for event in stream.published() if event.type == "load"]
        assert heard == list(range(self.accepted))


def test_a_killed_master_is_followed(cluster: Cluster, start_node: StartNode) -> None:
    node = start_node(*QUICK, redis=cluster)
    victim = cluster.servers[0]
    lost, kept = users_of(cluster, victim)[0], users_of(cluster, victim, others=True)[0]
    with (
        client_of(node) as http,
        StreamClient(node.url, f"/events/sse/{lost}") as of_lost,
        StreamClient(node.url, f"/events/sse/{kept}") as of_kept,
    ):
        of_lost.wait_open()
        of_kept.wait_open()
        victim.kill()
        wait_until(lambda: not is_usable(http, lost), "the shard is known to be away")
        ready = http.get("/health/ready")
        assert ready.status_code == 200
        assert ready.json()["shards"] == SHARDS
        assert shard_of(lost, SHARDS) in ready.json()["shardsAway"]
        assert post(http, kept, "meanwhile") == 202
        of_kept.wait_for_type("meanwhile")
        wait_until(lambda: post(http, lost, "after") == 202, "the replica is promoted", 20)
        of_lost.wait_for_type("after")
        assert "sse.reset" not in {event.type for event in of_kept.events}


def test_a_master_without_a_bus_is_left(start_node: StartNode) -> None:
    with Cluster(shards=SHARDS, has_bus=True) as cluster:
        node = start_node(*QUICK, redis=cluster)
        master = cluster.servers[0]
        user = users_of(cluster, master)[0]
        with client_of(node) as http, StreamClient(node.url, f"/events/sse/{user}") as stream:
            stream.wait_open()
            cluster.cut_off(master)
            cluster.wait_for_new_master(slot_for(user), master)
            assert cluster.is_master(master)  # it has heard nothing of that
            wait_until(lambda: post(http, user, "after") == 202, "the replica takes writes", 20)
            stream.wait_for_type("after")
            cluster.let_back(master)
            wait_until(lambda: not cluster.is_master(master), "the master has become a replica", 20)
            assert post(http, user, "healed") == 202
            stream.wait_for_type("healed")


def test_a_stopped_master_that_continues_is_left(cluster: Cluster, start_node: StartNode) -> None:
    node = start_node(*QUICK, redis=cluster)
    master = cluster.servers[0]
    user = users_of(cluster, master)[0]
    with client_of(node) as http, StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        cluster.suspend(master)
        wait_until(lambda: post(http, user, "after") == 202, "the replica takes writes", 20)
        stream.wait_for_type("after")
        cluster.resume(master)
        wait_until(lambda: not cluster.is_master(master), "the master has become a replica", 20)
        assert post(http, user, "continued") == 202
        stream.wait_for_type("continued")
        types = [event.type for event in stream.published()]
        assert types.count("after") == types.count("continued") == 1


def test_a_slot_that_moves_key_by_key_loses_nothing(
    cluster: Cluster, start_node: StartNode
) -> None:
    node = start_node(*QUICK, redis=cluster)
    source, target = cluster.servers[:2]
    user = users_of(cluster, source)[0]
    slot = slot_for(user)
    with StreamClient(node.url, f"/events/sse/{user}") as stream, Load(node, [user]) as load:
        stream.wait_open()
        load.wait_for(20)
        cluster.move_slot(slot, target)
        load.wait_for(20)
        cluster.move_slot(slot, source)
        load.wait_for(20)
        load.check(stream)


def test_a_failover_by_command_loses_nothing(cluster: Cluster, start_node: StartNode) -> None:
    node = start_node(*QUICK, redis=cluster)
    master = cluster.servers[0]
    user = users_of(cluster, master)[0]
    with StreamClient(node.url, f"/events/sse/{user}") as stream, Load(node, [user]) as load:
        stream.wait_open()
        load.wait_for(20)
        cluster.ask(cluster.replica_of(master), "CLUSTER", "FAILOVER")
        cluster.wait_for_new_master(slot_for(user), master)
        load.wait_for(20)
        load.check(stream)


def test_a_master_without_a_replica_comes_back(
    start_node: StartNode,
) -> None:
    with Cluster(shards=SHARDS, replicas=0, args=DURABLE) as cluster:
        node = start_node(*QUICK, redis=cluster)
        victim = cluster.servers[0]
        lost, kept = users_of(cluster, victim)[0], users_of(cluster, victim, others=True)[0]
        with client_of(node) as http, StreamClient(node.url, f"/events/sse/{lost}") as stream:
            stream.wait_open()
            assert post(http, lost, "before") == 202
            stream.wait_for_type("before")
            victim.kill()
            wait_until(lambda: not is_usable(http, lost), "the shard is known to be away")
            assert post(http, lost, "lost") == 503
            assert post(http, kept, "kept") == 202
            assert http.get("/health/ready").status_code == 200
            with NodeProcess("--redis-url", cluster.url, "--shards", str(SHARDS)) as late:
                late.wait_ready()
                with client_of(late) as other:
                    assert post(other, kept, "kept") == 202
            victim.start()
            wait_until(lambda: post(http, lost, "after") == 202, "the master is back", 20)
            stream.wait_for_type("after")


def test_a_slot_that_moves_at_once_loses_nothing(start_node: StartNode) -> None:
    with Cluster(valkey_binary(), shards=SHARDS, replicas=0) as cluster:
        node = start_node(*QUICK, redis=cluster)
        source, target = cluster.servers[:2]
        user = users_of(cluster, source)[0]
        with StreamClient(node.url, f"/events/sse/{user}") as stream, Load(node, [user]) as load:
            stream.wait_open()
            load.wait_for(20)
            cluster.migrate_slot(slot_for(user), target)
            load.wait_for(20)
            load.check(stream)


def test_a_cluster_that_restarts_as_a_whole(start_node: StartNode) -> None:
    with Cluster(shards=SHARDS, replicas=0, args=DURABLE) as cluster:
        node = start_node(*QUICK, redis=cluster)
        users = [users_of(cluster, server)[0] for server in cluster.servers]
        with client_of(node) as http, contextlib.ExitStack() as opened:
            streams = [
                opened.enter_context(StreamClient(node.url, f"/events/sse/{user}"))
                for user in users
            ]
            for user, stream in zip(users, streams, strict=True):
                stream.wait_open()
                assert post(http, user, "before") == 202
            for server in cluster.servers:
                server.kill()
            wait_until(
                lambda: http.get("/health/ready").status_code == 503, "nothing is usable", 20
            )
            for server in cluster.servers:
                server.start()
            for user, stream in zip(users, streams, strict=True):
                wait_accepted(http, user)
                stream.wait_for_type("after")
                assert "sse.reset" not in {event.type for event in stream.events}


def test_every_master_is_looked_at(start_node: StartNode) -> None:
    with Cluster(shards=SHARDS, replicas=0) as cluster:
        victim = cluster.servers[1]
        cluster.ask(victim, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        node = start_node(*QUICK, redis=cluster)
        with client_of(node) as http:
            warnings = http.get("/health").json()["warnings"]
            (warning,) = (each for each in warnings if "maxmemory-policy" in each)
            assert warning.startswith(f"127.0.0.1:{victim.port}: maxmemory-policy is allkeys-lru")
            told = b"".join(cluster.ask(each, "INFO", "memory") for each in cluster.servers)
            least = sum(map(int, re.findall(rb"used_memory:(\d+)", told))) / 2
            wait_until(
                lambda: read_metrics(http)["sse_node_redis_memory_bytes", ""] > least,
                "the memory of all masters",
            )
