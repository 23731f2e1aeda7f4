"""The load: a client that reads event streams, and what sends events on a schedule.

Time is CLOCK_MONOTONIC in nanoseconds everywhere, in C and in Python, so it can be compared
across the processes of one machine.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

import msgspec

from bench.program import CProgram

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_NUMBER = 1_000_000
"""Numbers of events start here, so that they all have the same width and their frames one size."""

OPENED_AT_ONCE = 256
"""Streams opened at a time: enough to keep a server busy, less than any listen backlog."""

_OPEN_TIMEOUT_S = 40.0  # the client itself gives up after 30 s
_LEAD_NS = 50_000_000  # arbitrary: from a command to the first event of its schedule
_MARGIN_S = 20.0  # arbitrary: what a measurement may take longer than its schedule


class Opened(msgspec.Struct):
    """What became of opening streams."""

    opened: int
    failed: int
    seconds: float
    cpu_s: float
    """CPU time of the client."""


class Received(msgspec.Struct):
    """What the streams of one client received of one measurement."""

    deliveries: int
    streams: int = 0
    alive: int = 0
    """Streams that the server has not ended."""
    complete: int = 0
    """Streams that received the last event."""
    bytes: int = 0
    gaps: int = 0
    """Events that did not have the number after the one before."""
    other: int = 0
    """Events that carry no number: pings."""
    first_ns: int = 0
    last_ns: int = 0
    cpu_s: float = 0.0
    """CPU time of the client."""
    latency_ns: list[tuple[int, int]] = []
    """From when an event was due to when it was read: (value, how often)."""

    def lossless(self, schedule: Schedule) -> bool:
        """Whether every stream is there and received every event in order."""
        return (
            self.gaps == 0
            and self.alive == self.complete == self.streams
            and self.deliveries * schedule.users == self.streams * schedule.count
        )


class Sent(msgspec.Struct):
    """What a sender has sent of one schedule."""

    events: int
    first_ns: int = 0
    last_ns: int = 0
    latest_ns: int = 0
    """How late the latest event was sent: beyond this, latency is not the server's."""
    deliveries: int = 0
    refused: int = 0
    """Sends that a full socket did not take whole (floor only)."""
    user_s: float = 0.0
    system_s: float = 0.0


class Closed(msgspec.Struct):
    """What became of the streams until they were closed."""

    ended_by_server: int


class Schedule(msgspec.Struct, frozen=True):
    """``count`` events numbered from ``first``, ``rate`` a second; rate 0 is as fast as they go.

    With one user, every event is for all streams; with more, event ``n`` is for
    ``bench-<n % users>``, and ``first``, ``count`` and the streams are multiples of ``users``.
    """

    first: int
    count: int
    rate: float
    data_bytes: int
    users: int = 1

    @property
    def last(self) -> int:
        """The number of the last event."""
        return self.first + self.count - 1

    @property
    def interval_ns(self) -> int:
        """From one event to the next."""
        return round(1e9 / self.rate) if self.rate else 0

    @property
    def timeout_s(self) -> float:
        """When a measurement of this schedule is given up."""
        return self.count * self.interval_ns / 1e9 + _MARGIN_S

    def command(self, start_ns: int) -> str:
        """The command that makes a sender send it."""
        return (
            f"run {self.first} {self.count} {start_ns} {self.interval_ns} {self.data_bytes} "
            f"{self.users}"
        )


class Sender(Protocol):
    """What sends the events of a schedule: the publisher or the floor."""

    def send(self, schedule: Schedule) -> None:
        """Begin; return before the first event is due."""

    def sent(self, schedule: Schedule) -> Sent:
        """Wait for the end of it."""


class ScheduledProgram(CProgram):
    """A C program that knows the command ``run``."""

    def send(self, schedule: Schedule) -> None:
        """Begin; return before the first event is due."""
        self.command(schedule.command(time.monotonic_ns() + _LEAD_NS))

    def sent(self, schedule: Schedule) -> Sent:
        """Wait for the end of it. Raises ProcessError."""
        return self.answer(Sent, schedule.timeout_s)


class Publisher(ScheduledProgram):
    """Publishes events on the channel ``user-events`` of a Redis."""

    source = "publish.c"

    def __init__(self, redis_url: str) -> None:
        """Take the address: ``unix:///path`` or ``redis://127.0.0.1:port``."""
        super().__init__(redis_url)


class Client(CProgram):
    """Opens many event streams to one address and reads them."""

    source = "client.c"

    def __init__(self, host: str, port: int) -> None:
        """Take the server's address; it is not asked before :meth:`open_streams`."""
        super().__init__(host, str(port))

    def open_streams(self, count: int, target: str) -> Opened:
        """Open ``count`` streams; ``{}`` in ``target`` is their number. Raises ProcessError."""
        self.command(f"open {count} {OPENED_AT_ONCE} {target}")
        opened = self.answer(Opened, _OPEN_TIMEOUT_S)
        if opened.failed:
            raise self._failed(f"could not open {opened.failed} of {count} streams")
        return opened

    def close_streams(self) -> Closed:
        """Close all streams."""
        self.command("close")
        return self.answer(Closed, _OPEN_TIMEOUT_S)

    def measure(
        self,
        sender: Sender,
        schedule: Schedule,
        on_progress: Callable[[Received], None] = lambda _: None,
    ) -> tuple[Sent, Received]:
        """Have ``sender`` send a schedule's events and read them until all streams have them.

        ``on_progress`` is called about twice a second. Streams that miss the last event end it
        by its timeout: :attr:`Received.lossless` tells. Raises ProcessError.
        """
        self.command(
            f"expect {schedule.first} {schedule.last} {schedule.timeout_s} {schedule.users}"
        )
        sender.send(schedule)
        received = self.answer(Received, schedule.timeout_s + _MARGIN_S, on_progress)
        return sender.sent(schedule), received
