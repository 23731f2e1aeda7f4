"""Several nodes on one Redis, or several workers of one node: what of them is measured together."""

from collections.abc import Sequence
from contextlib import ExitStack

from bench.harness import NodeProcess, ProcessError, RedisProcess
from bench.harness.running import Running
from bench.measure import procfs as proc
from bench.measure.load import Publisher

_READY_TIMEOUT_S = 30.0  # arbitrary: many processes start at a time


class Fleet(Running):
    """`count` nodes with a port each, or with `as_workers` one node of so many workers.

    They share one Redis; up inside their `with` block. With a core they all share that, too.
    """

    def __init__(
        self, count: int, *flags: str, as_workers: bool = False, cpu: int | None = None
    ) -> None:
        """Take how many, and further flags of `sse-node serve`."""
        self.count = count
        self._as_workers = as_workers
        self._flags = flags
        self._cpu = cpu
        self._nodes: list[NodeProcess] = []

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where they listen: one address for each node, one for all workers."""
        return [(node.host, node.port) for node in self._nodes]

    @property
    def pids(self) -> Sequence[int]:
        """All their processes: the supervisor and its workers, or the nodes."""
        return [pid for node in self._nodes for pid in (node.pid, *proc.children(node.pid))]

    @property
    def worker_pids(self) -> Sequence[int]:
        """The processes that hold streams."""
        if not self._as_workers:
            return [node.pid for node in self._nodes]
        supervisor = self._nodes[0].pid
        return proc.children(supervisor) or [supervisor]

    def streams_by_worker(self) -> list[int]:
        """How many connections each of them has now, in the order of `worker_pids`."""
        return proc.connection_counts(self.worker_pids, [port for _, port in self.addresses])

    def target(self, user: str) -> str:
        """Return the path of a user's stream."""
        return f"/events/sse/{user}"

    def sender(self) -> Publisher:
        """Return a publisher on their Redis."""
        return Publisher(self.redis.url)

    def _start(self, parts: ExitStack) -> None:
        self.redis = parts.enter_context(RedisProcess())
        flags = ("--redis-url", self.redis.url, *self._flags)
        if self._as_workers:
            flags = (*flags, "--workers", str(self.count))
        self._nodes = [
            parts.enter_context(NodeProcess(*flags, cpu=self._cpu))
            for _ in range(1 if self._as_workers else self.count)
        ]
        for node in self._nodes:
            node.wait_ready(_READY_TIMEOUT_S)
        if len(self.worker_pids) != self.count:
            raise ProcessError(f"{len(self.worker_pids)} workers run, expected {self.count}")


def shares(total: int, count: int) -> list[int]:
    """`total` in `count` parts that differ by one at most, the larger ones first."""
    return [total // count + (number < total % count) for number in range(count)]
