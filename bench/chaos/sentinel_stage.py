"""The processes of a run with Sentinel: nodes that find their master by three sentinels."""

from collections.abc import Sequence
from contextlib import ExitStack

from bench.chaos.environment import Stage
from bench.chaos.workload import Traffic
from bench.harness import DURABLE, RedisProcess, SentinelTrio


class SentinelStage(Stage):
    """All processes of a run; lives as long as its `with` block."""

    def __init__(
        self, traffic: Traffic, neighbour_traffic: Traffic, launcher: Sequence[str]
    ) -> None:
        """Take the loads and the command of a node."""
        super().__init__(traffic, neighbour_traffic, launcher, None)
        self.trio = SentinelTrio(args=DURABLE)

    def _start_first_redis(self, parts: ExitStack) -> None:
        parts.enter_context(self.trio)

    def _url(self, traffic: Traffic, database: int = 0) -> str:
        return f"{self.trio.url}/{database}"

    def _url_by_socket(self) -> str:
        return self.trio.url

    @property
    def redis(self) -> RedisProcess:
        """The present master."""
        return self.trio.master
