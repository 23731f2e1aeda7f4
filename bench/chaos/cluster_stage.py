"""The processes of a run with a cluster: nodes with 16 shards on three masters."""

import time
from collections.abc import Sequence
from contextlib import ExitStack

import redis

from bench.chaos.environment import NEIGHBOUR_NAMESPACE, Stage, events_of
from bench.chaos.workload import Traffic
from bench.harness import DURABLE, Cluster, NodeProcess, ProcessError, RedisProcess
from bench.harness.cluster import slot_of
from sse_node.redis.keys import Keys, keys_of, shard_keys
from sse_node.wire.sharding import shard_of

_SERVED_S = 15.0  # arbitrary: several times what a node takes
_REPLAY_LIMIT = 64 * 1024 * 1024  # the default, for one shard


class ClusterStage(Stage):
    """All processes of a run; lives as long as its `with` block."""

    def __init__(
        self, traffic: Traffic, neighbour_traffic: Traffic, launcher: Sequence[str], shards: int
    ) -> None:
        """Take the loads, the command of a node, and how many shards there are."""
        super().__init__(traffic, neighbour_traffic, launcher, None)
        self.cluster = Cluster(shards=shards, args=DURABLE, has_bus=True)

    def _start_first_redis(self, parts: ExitStack) -> None:
        parts.enter_context(self.cluster)

    def _url(self, traffic: Traffic, database: int = 0) -> str:
        return self.cluster.url

    def _url_by_socket(self) -> str:
        return self.cluster.url

    def _node(self, server_id: str, redis_url: str, *flags: str) -> NodeProcess:
        shards = self.cluster.shards
        # The limit is of all shards: what a fault sends to one user must fit into one shard's.
        own = ("--shards", str(shards), "--replay-limit", str(shards * _REPLAY_LIMIT))
        return super()._node(server_id, redis_url, *own, *flags)

    @property
    def redis(self) -> RedisProcess:
        """The master of the first shard."""
        return self.master_of(self.keys()[0])

    def keys(self, namespace: str = "") -> list[Keys]:
        """Return the keys of each shard."""
        return shard_keys(keys_of(namespace, 0), self.cluster.shards, in_cluster=True)

    def keys_of_users(self) -> list[Keys]:
        """Return the keys of each shard of which streams are."""
        users = {watcher.journal.user for watcher in self.traffic.watchers.all}
        keys = self.keys()
        return [keys[number] for number in sorted({shard_of(user, len(keys)) for user in users})]

    def master_of(self, keys: Keys) -> RedisProcess:
        """Return the server that has a shard."""
        return self.cluster.master_of(slot_of(keys.log))

    def wait_served(self, slot: int) -> None:
        """Wait until the open streams of the shard in a slot have new events. Raises ProcessError.

        What a fault has moved must work before the fault is over.
        """
        shard = [slot_of(keys.log) for keys in self.keys()].index(slot)
        streams = [
            watcher
            for watcher in self.traffic.watchers.all
            if watcher.is_open and shard_of(watcher.journal.user, self.cluster.shards) == shard
        ]
        _, without = self.traffic.wait_fresh(streams, time.monotonic(), _SERVED_S)
        if without:
            raise ProcessError(
                f"{len(without)} streams had no new event within {_SERVED_S:g} s from the new"
                f" master, such as {without[0]}"
            )

    def events_held(self, log: str = "", database: int = 0) -> set[tuple[str, int]]:
        """Return user and number of every event of this benchmark, of all shards."""
        held: set[tuple[str, int]] = set()
        for keys in self.keys(NEIGHBOUR_NAMESPACE if database else ""):
            path = str(self.master_of(keys).socket_path)
            with redis.Redis(unix_socket_path=path, socket_timeout=30) as client:
                held |= events_of(client, keys.log)
        return held
