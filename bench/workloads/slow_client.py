"""``slow``: one client that stops reading, beside streams that read, at a steady rate.

Windows without and with such a client take turns (A B A B) on one node, so that what else happens
on the machine falls on both. Told are when the node had cut it off, what the node's memory was
after, and whether the others' latency was different.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import statistics
import threading
import time
from typing import TYPE_CHECKING, Annotated

import msgspec

from bench.harness import NodeProcess, RedisProcess
from bench.measure import procfs as proc
from bench.measure.load import FIRST_NUMBER, Client, Publisher, Schedule
from bench.options import Pairs, Payload, Seconds
from bench.report.tables import Percentiles, Result, percentiles, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.report.tables import Screen, TextTable

COLUMNS = ("pair", "slow client", "p50 ms", "p99 ms", "gone after s")
TARGET = "/events/sse/bench"
_LOOK_S = 0.5  # seldom: the question is load, too


class Settings(msgspec.Struct, frozen=True):
    """What is measured."""

    streams: Annotated[int, msgspec.Meta(ge=1, le=5000, description="Streams that read.")] = 50
    rate: Annotated[float, msgspec.Meta(ge=1, le=10000, description="Events a second.")] = 1_000.0
    measured_s: Seconds = 10.0
    pairs: Pairs = 5
    payload_bytes: Payload = 200


class Window(msgspec.Struct):
    """One measured window."""

    with_slow_client: bool
    latency_ms: Percentiles
    gone_after_s: float | None = None
    """From the client's opening to its end; None where there was none, or it was not cut off."""


class SlowResult(Result):
    """What ``slow`` found."""

    p99_ratio: float
    """The others' p99, with the slow client by without: the median of the pairs."""
    p99_ratios: list[float]
    without_ms: Percentiles
    with_ms: Percentiles
    longest_gone_after_s: float
    memory_grown_bytes: int
    """Process memory after all windows, less that before the first."""
    windows: list[Window]

    def tables(self) -> list[TextTable]:
        """The result for people."""
        low, high = min(self.p99_ratios), max(self.p99_ratios)
        rows = [
            ("the others' p50", f"{self.without_ms.p50:.2f} ms", f"{self.with_ms.p50:.2f} ms"),
            ("the others' p99", f"{self.without_ms.p99:.2f} ms", f"{self.with_ms.p99:.2f} ms"),
            ("  by without, median", "1", f"{self.p99_ratio:.2f} ({low:.2f} to {high:.2f})"),
            ("gone after, at the longest", "", f"{self.longest_gone_after_s:.1f} s"),
            ("memory grown, all windows", "", f"{self.memory_grown_bytes / 1e6:.1f} MB"),
        ]
        return [table("slow", ("", "without", "with a slow client"), rows)]


class SlowClient:
    """A client that asks for a stream and never reads; lives as long as one window."""

    def __init__(self, node: NodeProcess) -> None:
        """Open the stream and watch from a thread when the node has cut it off."""
        self.gone_after_s: float | None = None
        self._node = node
        self._others = _active_streams(node)
        self._stop = threading.Event()
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.connect((node.host, node.port))
        self._socket.sendall(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % TARGET.encode())
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
        """Leave."""
        self._stop.set()
        self._watcher.join()
        self._socket.close()


def run(settings: Settings, core: int, screen: Screen) -> SlowResult:
    """Measure. Raises ProcessError."""
    with (
        RedisProcess() as redis,
        NodeProcess("--redis-url", redis.url, cpu=core) as node,
        Publisher(redis.url) as publisher,
        Client(node.host, node.port) as client,
    ):
        node.wait_ready()
        client.open_streams(settings.streams, TARGET)
        load = _Load(settings, node, publisher, client)
        screen.step("warming up")
        load.measure(with_slow_client=False)
        before_bytes = proc.settled_pss_bytes(node.pid)
        windows = []
        for pair in range(settings.pairs):
            for with_slow_client in (False, True):
                screen.step("with a slow client" if with_slow_client else "without")
                windows.append(load.measure(with_slow_client=with_slow_client))
                screen.add_row(str(pair + 1), *_cells(windows[-1]))
        grown_bytes = proc.settled_pss_bytes(node.pid) - before_bytes
    return _result(windows, grown_bytes, load)


class _Load:
    """The node under its load."""

    def __init__(
        self, settings: Settings, node: NodeProcess, publisher: Publisher, client: Client
    ) -> None:
        self.latencies: dict[bool, list[list[tuple[int, int]]]] = {False: [], True: []}
        self.problems: list[str] = []
        self._settings = settings
        self._node = node
        self._publisher = publisher
        self._client = client
        self._next_number = FIRST_NUMBER

    def measure(self, *, with_slow_client: bool) -> Window:
        """Publish for one window."""
        settings = self._settings
        count = round(settings.measured_s * settings.rate)
        schedule = Schedule(self._next_number, count, settings.rate, settings.payload_bytes)
        self._next_number += count
        with _maybe_slow(self._node, with_slow_client) as slow:
            _, received = self._client.measure(self._publisher, schedule)
        if not received.lossless(schedule):
            self.problems.append("a stream that reads missed an event")
        if slow is not None and slow.gone_after_s is None:
            self.problems.append("a client that does not read was not cut off")
        self.latencies[with_slow_client].append(received.latency_ns)
        return Window(
            with_slow_client=with_slow_client,
            latency_ms=percentiles([received.latency_ns]),
            gone_after_s=slow.gone_after_s if slow is not None else None,
        )


@contextlib.contextmanager
def _maybe_slow(node: NodeProcess, is_wanted: bool) -> Iterator[SlowClient | None]:
    if not is_wanted:
        yield None
        return
    slow = SlowClient(node)
    try:
        yield slow
    finally:
        slow.close()


def _active_streams(node: NodeProcess) -> int:
    connection = http.client.HTTPConnection(node.host, node.port, timeout=10)
    try:
        connection.request("GET", "/status")
        return int(json.loads(connection.getresponse().read())["activeStreams"])
    finally:
        connection.close()


def _cells(window: Window) -> tuple[str, ...]:
    gone = window.gone_after_s
    return (
        "yes" if window.with_slow_client else "no",
        f"{window.latency_ms.p50:.2f}",
        f"{window.latency_ms.p99:.2f}",
        "" if gone is None else f"{gone:.1f}",
    )


def _result(windows: list[Window], grown_bytes: int, load: _Load) -> SlowResult:
    without = [window.latency_ms.p99 for window in windows if not window.with_slow_client]
    with_slow = [window.latency_ms.p99 for window in windows if window.with_slow_client]
    ratios = [slow / fast for slow, fast in zip(with_slow, without, strict=True)]
    return SlowResult(
        p99_ratio=statistics.median(ratios),
        p99_ratios=ratios,
        without_ms=percentiles(load.latencies[False][1:]),  # the first one is the warm-up
        with_ms=percentiles(load.latencies[True]),
        longest_gone_after_s=max((w.gone_after_s or 0.0 for w in windows), default=0.0),
        memory_grown_bytes=grown_bytes,
        windows=windows,
        problems=load.problems,
    )
