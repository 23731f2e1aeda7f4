"""The servers that are measured: what a workload may know of one, and sse-node as one of them."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Protocol, Self

from bench.harness import NodeProcess, RedisProcess
from bench.harness.running import Running
from bench.measure.load import Publisher, Sender


class Server(Protocol):
    """A server of event streams with what it needs around it; up inside its `with` block."""

    name: str
    """In tables: `sse-node`, `nchan`."""
    publishing: str
    """How events are published to it, for people."""
    host: str
    port: int

    @property
    def pids(self) -> Sequence[int]:
        """The processes whose CPU and memory are the server's; not Redis'."""

    def target(self, user: str) -> str:
        """The request target of a user's stream; `{}` in `user` stays for its number."""

    def sender(self) -> AbstractContextManager[Sender]:
        """What publishes events to it, while its `with` block lasts."""

    def __enter__(self) -> Self:
        """Start it; it serves when this returns."""

    def __exit__(self, *exc_info: object) -> None:
        """End everything that was started."""


BY_REDIS = "PUBLISH on one connection to its own Redis, without waiting for answers"


class OwnServer(Running):
    """A server with what it needs around it, on one core if one is given."""

    def __init__(self, cpu: int | None) -> None:
        """Take the core it runs on."""
        self._cpu = cpu
        self.host = "127.0.0.1"
        self.port = 0

    def target(self, user: str) -> str:
        """Return the path of a user's stream."""
        return f"/events/sse/{user}"


ROOM = ("--write-limit", str(2**30), "--write-limit-total", str(2**31))
"""Flags of a node that is to outrun its client: what waits for a slow one is bounded by the events
that are sent, and not by the node, which would end the slowest streams."""


class SseNode(OwnServer):
    """One sse-node of one worker with a Redis of its own, on one core."""

    name = "sse-node"
    publishing = BY_REDIS

    def __init__(self, cpu: int | None, *flags: str, redis_args: Sequence[str] = ()) -> None:
        """Take the core and further flags of `sse-node serve` and of `redis-server`."""
        super().__init__(cpu)
        self._flags = flags
        self._redis_args = redis_args

    @property
    def pids(self) -> Sequence[int]:
        """The node's process."""
        return [self.node.pid]

    @property
    def redis_url(self) -> str:
        """The address of its Redis."""
        return self._redis.url

    def sender(self) -> AbstractContextManager[Sender]:
        """Return a publisher on the node's Redis."""
        return Publisher(self._redis.url)

    def _start(self, parts: ExitStack) -> None:
        self._redis = parts.enter_context(RedisProcess(args=self._redis_args))
        self.node = parts.enter_context(
            NodeProcess("--redis-url", self._redis.url, *self._flags, cpu=self._cpu)
        )
        self.node.wait_ready()
        self.host, self.port = self.node.host, self.node.port
