"""One batch from Redis: probes out, events delivered, latency observed."""

from collections.abc import Sequence

import pytest

from sse_node.delivery.fanout import Fanout, Message
from sse_node.delivery.history import History
from sse_node.delivery.hub import Hub
from sse_node.delivery.ingest import Ingest
from sse_node.errors import PublisherError

PROBES = b"sse:probe:node-1"
NOW_S = 100.0


class Node:
    """An ingest with what it delivers to; probes and drops are recorded."""

    def __init__(self) -> None:
        self.history = History(100, 1 << 20)
        self.probes: list[bytes] = []
        self.dropped: list[PublisherError] = []
        self.fanout = Fanout(
            Hub(),
            self.history,
            max_event_bytes=1000,
            event_names=False,
            on_dropped=self.dropped.append,
        )
        self.fanout.log_name = b"log"
        self.ingest = Ingest(
            self.fanout,
            self.history,
            control={PROBES: self.probes.append},
            now_s=lambda: NOW_S,
        )

    @property
    def latencies(self) -> tuple[int, float]:
        """How many latencies were observed, and their sum in seconds."""
        histogram = self.ingest.publish_to_write
        return sum(histogram.counts), histogram.sum_s


def event(event_id: str, data: str = "1") -> Message:
    payload = f'{{"id":"{event_id}","log":"log","userId":"ann","eventType":"t","data":{data}}}'
    return [b"message", b"user-events", payload.encode()]


def probe(payload: bytes) -> Message:
    return [b"message", PROBES, payload]


@pytest.fixture
def node() -> Node:
    return Node()


def test_probes_are_split_off(node: Node) -> None:
    node.ingest.receive([probe(b"1"), event("1-0"), probe(b"2"), event("2-0")])
    assert node.probes == [b"1", b"2"]
    assert node.fanout.messages == 2
    assert node.dropped == []


@pytest.mark.parametrize(
    ("batch", "latencies"),
    [
        pytest.param([], (0, 0.0), id="nothing"),
        pytest.param([probe(b"1")], (0, 0.0), id="a probe alone"),
        pytest.param([event("99000-0")], (1, 1.0), id="one event"),
        pytest.param([event("98000-0"), event("99500-0")], (1, 2.0), id="the oldest of two"),
        pytest.param([event("100500-0")], (1, 0.0), id="Redis' clock is ahead"),
    ],
)
def test_latency_of_a_batch(
    node: Node, batch: Sequence[Message], latencies: tuple[int, float]
) -> None:
    node.ingest.receive(batch)
    assert node.latencies == latencies


def test_duplicates_have_no_latency(node: Node) -> None:
    node.ingest.receive([event("98000-0")])
    node.ingest.receive([event("98000-0")])
    assert node.latencies == (1, 2.0)
    node.ingest.receive([event("98000-0"), event("99000-0")])
    assert node.latencies == (2, 3.0)


def test_a_dropped_payload_stops_nothing(node: Node) -> None:
    node.ingest.receive([[b"message", b"user-events", b"no JSON"], probe(b"1"), event("99000-0")])
    assert [error.reason for error in node.dropped] == ["not-json"]
    assert node.probes == [b"1"]
    assert node.history.contains(node.history.position)
