"""Several nodes with shards, on one Redis or on the masters of a cluster."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.harness import Cluster, NodeProcess, RedisProcess
from bench.harness.cluster import slot_of
from bench.harness.running import Running
from sse_node.redis.keys import Keys, shard_keys

_READY_TIMEOUT_S = 30.0  # arbitrary: many processes start at the same time


class ShardFleet(Running):
    """`count` nodes with a port each, on one core; lives as long as its `with` block.

    Args:
        count: of the nodes.
        shards: of the deployment.
        masters: 1 for one Redis, 3 for a cluster.
        cpu: the core of the nodes.
    """

    def __init__(self, count: int, shards: int, masters: int, *, cpu: int) -> None:
        self.name = f"{count} nodes, {masters} masters"
        self._count = count
        self._shards = shards
        self._masters = masters
        self._cpu = cpu
        self.nodes: list[NodeProcess] = []
        self.servers: list[RedisProcess] = []
        self.places: list[tuple[Path, str]] = []
        """Of each shard: the socket of its server, and the key of its log."""

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where each node listens."""
        return [(node.host, node.port) for node in self.nodes]

    @property
    def pids(self) -> Sequence[int]:
        """The processes of the nodes."""
        return [node.pid for node in self.nodes]

    def _start(self, parts: ExitStack) -> None:
        if self._masters == 1:
            redis = parts.enter_context(RedisProcess())
            self.servers, url = [redis], redis.url
            keys = shard_keys(Keys(), self._shards)
            self.places = [(redis.socket_path, each.log) for each in keys]
        else:
            cluster = parts.enter_context(Cluster(shards=self._shards, replicas=0))
            self.servers, url = cluster.servers, cluster.url
            keys = shard_keys(Keys(), self._shards, in_cluster=True)
            self.places = [
                (cluster.master_of(slot_of(each.log)).socket_path, each.log) for each in keys
            ]
        flags = ("--redis-url", url, "--shards", str(self._shards))
        self.nodes = [
            parts.enter_context(NodeProcess(*flags, cpu=self._cpu)) for _ in range(self._count)
        ]
        for node in self.nodes:
            node.wait_ready(_READY_TIMEOUT_S)
