"""`slow`: one client that stops reading, beside streams that read, at a steady rate.

Windows without and with such a client alternate (A B A B) on one node, so that other load on the
machine affects both. The figures are when the node closed the slow stream, how much memory the
node had grown, and whether the latency of the other streams was different.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Annotated

import msgspec

from bench.harness import NodeProcess
from bench.harness.servers import SseNode
from bench.measure import procfs as proc
from bench.measure.sample import Figure, Sample, cells, spread_of
from bench.measure.steady import Load, under_load
from bench.options import Pairs, Payload, Rate, Seconds
from bench.report.tables import Measurements, Screen, measurements, percentiles, table

FIGURES = (
    Figure("p50_ms", "p50 ms", digits=2),
    Figure("p99_ms", "p99 ms", digits=2),
    Figure("gone_after_s", "gone after s", digits=1),
)
COLUMNS = ("pair", "slow client", *(figure.title for figure in FIGURES))
_LOOK_S = 0.5  # seldom, because the request is load, too


class Settings(msgspec.Struct, frozen=True):
    """What is measured."""

    streams: Annotated[int, msgspec.Meta(ge=1, le=5000, description="Streams that read.")] = 50
    rate: Rate = 1_000.0
    measured_s: Seconds = 10.0
    pairs: Pairs = 5
    payload_bytes: Payload = 200


class SlowClient:
    """A client that opens a stream and never reads; lives as long as one window."""

    def __init__(self, node: NodeProcess, target: str) -> None:
        """Open the stream. A thread watches when the node closes it."""
        self.gone_after_s: float | None = None
        self._node = node
        self._others = _active_streams(node)
        self._stop = threading.Event()
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.connect((node.host, node.port))
        self._socket.sendall(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % target.encode())
        self._opened = time.monotonic()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()

    def _watch(self) -> None:
        seen = False
        while not self._stop.wait(_LOOK_S):
            is_there = _active_streams(self._node) > self._others
            if seen and not is_there:
                self.gone_after_s = time.monotonic() - self._opened
                return
            seen = seen or is_there

    def close(self) -> None:
        """Close the connection."""
        self._stop.set()
        self._watcher.join()
        self._socket.close()


def measure(
    server: SseNode, load: Load, settings: Settings, screen: Screen, *, with_slow_client: bool
) -> Sample:
    """Measure one window. Raises ProcessError."""
    with _maybe_slow(server, with_slow_client) as slow:
        sending = load.send(settings.measured_s * settings.rate, settings.rate, screen)
    sample = Sample(sending.values(), latency_ns=sending.received.latency_ns)
    sample.notes += sending.problems
    if slow is not None and slow.gone_after_s is None:
        sample.notes.append("a client that does not read was not closed")
    if slow is not None:
        sample.values["gone_after_s"] = slow.gone_after_s or 0.0
    return sample


def run(settings: Settings, core: int, screen: Screen) -> Measurements:
    """Measure. Raises ProcessError."""
    without: list[Sample] = []
    with_slow: list[Sample] = []
    with (
        SseNode(core) as server,
        under_load(
            server, streams=settings.streams, payload_bytes=settings.payload_bytes, screen=screen
        ) as load,
    ):
        warmup = measure(server, load, settings, screen, with_slow_client=False)
        before_bytes = proc.settled_pss_bytes(*server.pids)
        for pair in range(settings.pairs):
            for group in (without, with_slow):
                is_slow = group is with_slow
                group.append(measure(server, load, settings, screen, with_slow_client=is_slow))
                shown = cells(FIGURES, group[-1].values)
                screen.add_row(str(pair + 1), "yes" if is_slow else "no", *shown)
        grown_bytes = proc.settled_pss_bytes(*server.pids) - before_bytes
    without[0].notes += warmup.notes
    with_slow[-1].values["memory_grown_bytes"] = grown_bytes
    samples = {"without": without, "with a slow client": with_slow}
    lines = _lines(without, with_slow, grown_bytes)
    return measurements(samples, table("slow", ("", *samples), lines))


def _lines(
    without: list[Sample], with_slow: list[Sample], grown_bytes: int
) -> list[tuple[str, ...]]:
    pairs = zip(with_slow, without, strict=True)
    ratio = spread_of(slow.values["p99_ms"] / fast.values["p99_ms"] for slow, fast in pairs)
    assert ratio is not None
    fast_ms, slow_ms = (
        percentiles(sample.latency_ns for sample in samples) for samples in (without, with_slow)
    )
    gone_s = max(sample.values["gone_after_s"] for sample in with_slow)
    return [
        ("the others' p50", f"{fast_ms.p50:.2f} ms", f"{slow_ms.p50:.2f} ms"),
        ("the others' p99", f"{fast_ms.p99:.2f} ms", f"{slow_ms.p99:.2f} ms"),
        ("  divided by without", "1", Figure("", "", digits=2).spread_text(ratio)),
        ("gone after, at the longest", "", f"{gone_s:.1f} s"),
        ("memory grown, all windows", "", f"{grown_bytes / 1e6:.1f} MB"),
    ]


@contextlib.contextmanager
def _maybe_slow(server: SseNode, is_wanted: bool) -> Iterator[SlowClient | None]:
    if not is_wanted:
        yield None
        return
    slow = SlowClient(server.node, server.target("bench"))
    try:
        yield slow
    finally:
        slow.close()


def _active_streams(node: NodeProcess) -> int:
    return int(node.get("/status").json()["activeStreams"])
