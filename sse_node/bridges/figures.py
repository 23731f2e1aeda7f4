"""What a bridge counts, and what metrics are made of it."""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from sse_node.errors import RedisError, SseNodeError
from sse_node.wire.envelope import DROP_REASONS

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Figures:
    """The numbers of one bridge; lives as long as it.

    Attributes:
        published: events.
        repeated: records that had been published before.
        bad: records of which no event can be made, by reason.
        lag: records that wait at the broker, by part of the source; only of parts that this bridge
            reads, and as far as the broker says it.
        redis_up: whether Redis accepted what was published last.
        broker_up: whether there is a connection to the broker.
        obstacle: why the bridge waits, in a sentence; empty when it does not.
    """

    published: int = 0
    repeated: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    lag: dict[str, int] = field(default_factory=dict)
    redis_up: bool = True
    broker_up: bool = False
    obstacle: str = ""

    def on_failure(self, error: SseNodeError) -> None:
        """Note why the bridge waits."""
        if not self.obstacle:
            logger.warning("waiting: %s", error)
        self.obstacle = str(error)
        self.redis_up = not isinstance(error, RedisError)

    def on_success(self) -> None:
        """Note that the bridge goes on."""
        if self.obstacle:
            logger.info("going on")
        self.obstacle, self.redis_up = "", True

    def families(self) -> Iterator[Metric]:
        """Yield every metric family with its present values."""
        yield CounterMetricFamily(
            "sse_node_bridge_published", "Events published.", value=self.published
        )
        yield CounterMetricFamily(
            "sse_node_bridge_repeated",
            "Records skipped because they had been published before.",
            value=self.repeated,
        )
        bad = CounterMetricFamily(
            "sse_node_bridge_dead_letters",
            "Records of which no event can be made.",
            labels=["reason"],
        )
        for reason in DROP_REASONS:
            bad.add_metric([reason], self.bad[reason])
        yield bad
        lag = GaugeMetricFamily(
            "sse_node_bridge_lag", "Records that wait at the broker.", labels=["part"]
        )
        for part, waiting in sorted(self.lag.items()):
            lag.add_metric([part], waiting)
        yield lag
        for name, about, is_so in (
            ("redis_up", "Whether Redis accepts events.", self.redis_up),
            ("broker_up", "Whether the broker is connected.", self.broker_up),
            (
                "paused",
                "Whether the bridge waits for Redis or for its dead letters.",
                self.obstacle,
            ),
        ):
            yield GaugeMetricFamily(f"sse_node_bridge_{name}", about, value=float(bool(is_so)))
