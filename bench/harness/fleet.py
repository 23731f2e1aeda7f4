"""Several nodes on one Redis, or several workers of one node, measured together."""

from collections.abc import Sequence
from contextlib import ExitStack

from bench.harness import NodeProcess, ProcessError
from bench.harness.servers import RedisServer
from bench.measure import procfs as proc

_READY_TIMEOUT_S = 30.0  # arbitrary: many processes start at the same time


class Fleet(RedisServer):
    """`count` nodes with a port each, or with `as_workers` one node of `count` workers.

    They share one Redis and, if a core is given, that core.
    """

    def __init__(
        self, count: int, *flags: str, as_workers: bool = False, cpu: int | None = None
    ) -> None:
        """Take the number, and further flags of `sse-node serve`."""
        super().__init__(cpu)
        self.name = f"{count} workers" if as_workers else f"{count} nodes"
        self.count = count
        self._as_workers = as_workers
        self._flags = flags
        self._nodes: list[NodeProcess] = []

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """One address for each node, one for all workers."""
        return [(node.host, node.port) for node in self._nodes]

    @property
    def pids(self) -> Sequence[int]:
        """All processes: the supervisor and its workers, or the nodes."""
        return [pid for node in self._nodes for pid in (node.pid, *proc.children(node.pid))]

    @property
    def worker_pids(self) -> Sequence[int]:
        """The processes that hold streams."""
        if not self._as_workers:
            return [node.pid for node in self._nodes]
        supervisor = self._nodes[0].pid
        return proc.children(supervisor) or [supervisor]

    def streams_by_worker(self) -> list[int]:
        """Return the number of connections of each, in the order of `worker_pids`."""
        return proc.connection_counts(self.worker_pids, [port for _, port in self.addresses])

    def _start(self, parts: ExitStack) -> None:
        super()._start(parts)
        flags = ("--redis-url", self.redis.url, *self._flags)
        if self._as_workers:
            flags = (*flags, "--workers", str(self.count))
        self._nodes = [
            parts.enter_context(NodeProcess(*flags, cpu=self._cpu))
            for _ in range(1 if self._as_workers else self.count)
        ]
        for node in self._nodes:
            node.wait_ready(_READY_TIMEOUT_S)
        self.host, self.port = self.addresses[0]
        if len(self.worker_pids) != self.count:
            raise ProcessError(f"{len(self.worker_pids)} workers run, expected {self.count}")


def shares(total: int, count: int) -> list[int]:
    """Split `total` into `count` parts that differ by one at most, the larger ones first."""
    return [total // count + (number < total % count) for number in range(count)]
