"""The servers that are measured, and sse-node as one of them."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack

from bench.harness import NodeProcess, RedisProcess
from bench.harness.running import Running
from bench.measure.load import Publisher, Sender


class Server(Running):
    """A server of event streams with everything around it, on one core if one is given."""

    name: str
    """In tables: `sse-node`, `nchan`."""
    publishing: str
    """How events are published to it, for people."""

    def __init__(self, cpu: int | None) -> None:
        """Take the core it runs on."""
        self._cpu = cpu
        self.host = "127.0.0.1"
        self.port = 0

    @property
    def pids(self) -> Sequence[int]:
        """The processes whose CPU and memory are the server's, without Redis."""
        raise NotImplementedError

    def target(self, user: str) -> str:
        """Return the path of a user's stream; `{}` in `user` stays for its number."""
        return f"/events/sse/{user}"

    def sender(self) -> AbstractContextManager[Sender]:
        """Return a context manager for what publishes events to it."""
        raise NotImplementedError

    @staticmethod
    def missing() -> str:
        """Return what is not installed, such as "the program node is"; empty if nothing is."""
        return ""

    @staticmethod
    def versions() -> str:
        """Return the versions of its programs and packages."""
        return ""


class RedisServer(Server):
    """A server that reads events from a Redis of its own, `redis`."""

    publishing = "PUBLISH on one connection to its own Redis, without waiting for answers"
    redis_args: Sequence[str] = ()

    def sender(self) -> Publisher:
        """Return a publisher on its Redis."""
        return Publisher(self.redis.url)

    def _start(self, parts: ExitStack) -> None:
        self.redis = parts.enter_context(RedisProcess(args=self.redis_args))


ROOM = ("--write-limit", str(2**30), "--write-limit-total", str(2**31))
"""Flags of a node that is faster than its client. The node does not end streams that are too slow,
so the waiting bytes are limited by the number of events only."""


class SseNode(RedisServer):
    """One sse-node of one worker, on one core."""

    name = "sse-node"

    def __init__(self, cpu: int | None, *flags: str, redis_args: Sequence[str] = ()) -> None:
        """Take the core and further flags of `sse-node serve` and of `redis-server`."""
        super().__init__(cpu)
        self._flags = flags
        self.redis_args = redis_args

    @property
    def pids(self) -> Sequence[int]:
        """The node's process."""
        return [self.node.pid]

    def _start(self, parts: ExitStack) -> None:
        super()._start(parts)
        flags = ("--redis-url", self.redis.url, *self._flags)
        self.node = parts.enter_context(NodeProcess(*flags, cpu=self._cpu))
        self.node.wait_ready()
        self.host, self.port = self.node.host, self.node.port
