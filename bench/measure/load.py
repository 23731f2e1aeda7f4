"""The load: a client that reads event streams, and what sends events on a schedule.

Time is CLOCK_MONOTONIC in nanoseconds everywhere, in C and in Python, so it can be compared
across the processes of one machine.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

import msgspec

from bench.harness.c_program import CProgram

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

FIRST_NUMBER = 1_000_000
"""Numbers of events start here, so that they all have the same width and their frames one size."""

OPENED_AT_ONCE = 256
"""Streams opened at a time: enough to keep a server busy, less than any listen backlog."""

_OPEN_TIMEOUT_S = 30.0  # arbitrary: for a client to open its streams
_OPEN_TIMEOUT_S_PER_STREAM = 0.005  # arbitrary: a server that is slower is not worth waiting for
_LEAD_NS = 50_000_000  # arbitrary: from a command to the first event of its schedule
_MARGIN_S = 20.0  # arbitrary: what a measurement may take longer than its schedule


class Opened(msgspec.Struct):
    """What became of opening streams."""

    opened: int
    failed: int
    seconds: float
    cpu_s: float
    """CPU time of the client."""
    refused: int = 0
    """Answers after which a stream was asked for again."""
    start_ns: int = 0
    end_ns: int = 0


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
    """Events that had a higher number than the one after the one before."""
    duplicates: int = 0
    """Events that had a lower number, and count for nothing else."""
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
            self.gaps == self.duplicates == 0
            and self.alive == self.complete == self.streams
            and self.deliveries * schedule.users == self.streams * schedule.count
        )


class Stormed(Received):
    """What they received of one in the middle of which all were cut off and came back."""

    cut_ns: int = 0
    reopened_ns: int = 0
    """When the last stream was open again; 0 when it never was."""
    recovered_ns: int = 0
    """When the last event had been read that was due before that moment."""
    resumed: int = 0
    """Streams that were told that they are."""
    resets: int = 0
    """Streams that were told that they may have missed events."""
    refused: int = 0
    """Answers after which a stream was asked for again."""
    ended_by_server: int = 0


class Heard(msgspec.Struct):
    """When the streams of one client had their pings."""

    streams: int
    alive: int
    pings: int
    fewest: int
    """Of one stream; -1 when there is none."""
    shortest_ns: int
    """Between two pings of a stream; 0 when none had two."""
    longest_ns: int
    silent_ns: int
    """The longest time for which a stream had no ping up to the end."""
    cpu_s: float
    """CPU time of the client."""


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


class _Tokens(msgspec.Struct):
    """Tokens that were read."""

    tokens: int


class Sender(Protocol):
    """What sends the events of a schedule: the publisher or the floor."""

    def send(self, schedule: Schedule) -> None:
        """Begin; return before the first event is due."""

    def sent(self, schedule: Schedule) -> Sent:
        """Wait for the end of it."""


class ScheduledProgram(CProgram):
    """A C program that knows the command ``run``."""

    _start_ns = 0

    def send(self, schedule: Schedule) -> None:
        """Begin; return before the first event is due."""
        self._start_ns = time.monotonic_ns() + _LEAD_NS
        self.command(schedule.command(self._start_ns))

    def sent(self, schedule: Schedule) -> Sent:
        """Wait for the end of it. Raises ProcessError."""
        sent = self.answer(Sent, schedule.timeout_s)
        sent.first_ns = sent.first_ns or self._start_ns  # the floor does not say it
        return sent


class Publisher(ScheduledProgram):
    """Publishes events to a Redis, by HTTP POSTs, or to the stdin of a command."""

    source = "publish.c"

    def __init__(self, url: str, batch: int = 0) -> None:
        """Take where to publish.

        Args:
            url: ``unix:///path`` or ``redis://127.0.0.1:port`` for the channel ``user-events``,
                ``http://…/{}`` for POSTs on one connection, ``pipe:COMMAND``.
            batch: events as fast as they go are sent in batches of this size, each after the
                answers to the one before; 0 for without waiting.
        """
        super().__init__(url, str(batch))


class Reader(CProgram):
    """What reads the events of a schedule: streams of a server, or Redis itself."""

    def expect(self, schedule: Schedule) -> None:
        """Begin to read what a sender is going to send."""
        self.command(
            f"expect {schedule.first} {schedule.last} {schedule.timeout_s} {schedule.users}"
        )

    def received(
        self, schedule: Schedule, on_progress: Callable[[Received], None] = lambda _: None
    ) -> Received:
        """Wait until everything has come. Raises ProcessError."""
        return self.answer(Received, schedule.timeout_s + _MARGIN_S, on_progress)

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
        self.expect(schedule)
        sender.send(schedule)
        received = self.received(schedule, on_progress)
        return sender.sent(schedule), received


class Subscriber(Reader):
    """One bare connection to Redis, subscribed to ``user-events``."""

    source = "subscriber.c"

    def __init__(self, redis_url: str, cpu: int | None = None) -> None:
        """Take the address, ``unix:///path``, and the core."""
        super().__init__(redis_url, cpu=cpu)


class Client(Reader):
    """Opens many event streams to one address and reads them."""

    source = "client.c"

    def __init__(self, host: str, port: int, source: str = "", sources: int = 1) -> None:
        """Take the server's address; it is not asked before :meth:`open_streams`.

        With ``source``, an IPv4 address of this machine, streams come from so many addresses from
        that one on; each has some 28,000 ports.
        """
        super().__init__(host, str(port), *((source, str(sources)) if source else ()))

    def use_tokens(self, path: Path) -> int:
        """Send a token with every request from now on; return how many the file has.

        It has one token a line; a stream has the token of its number, in turn.
        """
        self.command(f"tokens {path}")
        return self.answer(_Tokens, _OPEN_TIMEOUT_S).tokens

    def start_opening(
        self, count: int, target: str, *, first: int = 0, at_once: int = OPENED_AT_ONCE
    ) -> None:
        """Begin to open ``count`` streams more; :meth:`opened` waits for them.

        ``{}`` in ``target`` is a stream's number, from ``first``; ``at_once`` wait at a time.
        """
        timeout_s = _OPEN_TIMEOUT_S + count * _OPEN_TIMEOUT_S_PER_STREAM
        self.command(f"open {count} {at_once} {first} {timeout_s} {target}")

    def opened(self, count: int) -> Opened:
        """Wait until they are open. Raises ProcessError."""
        timeout_s = _OPEN_TIMEOUT_S + count * _OPEN_TIMEOUT_S_PER_STREAM
        opened = self.answer(Opened, timeout_s + _MARGIN_S)
        if opened.failed:
            raise self._failed(f"could not open {opened.failed} of {count} streams")
        return opened

    def open_streams(
        self, count: int, target: str, *, first: int = 0, at_once: int = OPENED_AT_ONCE
    ) -> Opened:
        """Open ``count`` streams more; see :meth:`start_opening`. Raises ProcessError."""
        self.start_opening(count, target, first=first, at_once=at_once)
        return self.opened(count)

    def close_streams(self) -> Closed:
        """Close all streams."""
        self.command("close")
        return self.answer(Closed, _OPEN_TIMEOUT_S)

    def start_listening(self, seconds: float) -> None:
        """Begin to read for so long; :meth:`heard` waits for the end of it."""
        self.command(f"listen {seconds}")

    def heard(self, seconds: float) -> Heard:
        """When pings came meanwhile. Raises ProcessError."""
        return self.answer(Heard, seconds + _MARGIN_S)

    def storm(
        self,
        sender: Sender,
        schedule: Schedule,
        *,
        cut_after_s: float,
        at_once: int,
        on_progress: Callable[[Stormed], None] = lambda _: None,
    ) -> tuple[Sent, Stormed]:
        """As :meth:`measure`, but all streams are cut after so long, and back at once.

        They come back with their last event IDs, ``at_once`` at a time. Raises ProcessError.
        """
        cut_ns = time.monotonic_ns() + round(cut_after_s * 1e9)
        self.command(
            f"storm {schedule.first} {schedule.last} {schedule.timeout_s} {schedule.users} "
            f"{cut_ns} {at_once}"
        )
        sender.send(schedule)
        stormed = self.answer(Stormed, schedule.timeout_s + _MARGIN_S, on_progress)
        return sender.sent(schedule), stormed


def measure_together(
    clients: Sequence[Client], sender: Sender, schedule: Schedule
) -> tuple[Sent, list[Received]]:
    """As :meth:`Reader.measure` for several clients that read the same events at a time."""
    for client in clients:
        client.expect(schedule)
    sender.send(schedule)
    received = [client.received(schedule) for client in clients]
    return sender.sent(schedule), received
