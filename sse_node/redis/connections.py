"""The connections for commands of a process: one pool, or one for each shard of a cluster."""

from collections.abc import Callable

from sse_node.redis.address import RedisAddress
from sse_node.redis.cluster_commands import ClusterCommands
from sse_node.redis.commands import RedisCommands
from sse_node.wire.sharding import slot_of


class Connections:
    """Makes the commands for keys; lives as long as the process.

    In a cluster each shard has a pool of its own, which follows the shard: a server that does not
    answer keeps nothing from the shards of others.

    Args:
        address: of Redis.
        name: what CLIENT LIST shows.
        timeout_s: the most that one call may take.
        max_connections: of each pool.
        on_read_only: called when a command met a replica where a master should be.
    """

    def __init__(
        self,
        address: RedisAddress,
        *,
        name: str,
        timeout_s: float,
        max_connections: int,
        on_read_only: Callable[[], None] = lambda: None,
    ) -> None:
        self.address = address
        self._name = name
        self._timeout_s = timeout_s
        self._max_connections = max_connections
        self._on_read_only = on_read_only
        self._alone = None if address.cluster is not None else self._make(address)
        self._by_slot: dict[int, RedisCommands] = {}
        self._all: list[RedisCommands] = [self._alone] if self._alone is not None else []

    def _make(self, address: RedisAddress) -> RedisCommands:
        make = ClusterCommands if address.cluster is not None else RedisCommands
        return make(
            address,
            name=self._name,
            timeout_s=self._timeout_s,
            max_connections=self._max_connections,
            on_read_only=self._on_read_only,
        )

    def commands_for(self, key: str) -> RedisCommands:
        """Return commands for a key and all keys in its slot."""
        if self._alone is not None:
            return self._alone
        slot = slot_of(key)
        if slot not in self._by_slot:
            self._by_slot[slot] = self._make(self.address.of_key(key))
            self._all.append(self._by_slot[slot])
        return self._by_slot[slot]

    def of_servers(self) -> list[RedisCommands]:
        """Return commands to each server that is in use: one, and in a cluster all masters."""
        return list({each.server: each for each in self._all}.values())

    @property
    def up(self) -> bool:
        """Whether all that have been used are."""
        return any(each.up for each in self._all) and not any(
            each.failures and not each.up for each in self._all
        )

    @property
    def failures(self) -> int:
        """Commands that failed."""
        return sum(each.failures for each in self._all)

    @property
    def reconnects(self) -> int:
        """How often commands came back."""
        return sum(each.reconnects for each in self._all)

    @property
    def failovers(self) -> int:
        """How often another master was named, of those of all shards."""
        return sum(each.failovers for each in self._all)

    async def shutdown(self) -> None:
        """Close all connections."""
        for each in self._all:
            await each.shutdown()
