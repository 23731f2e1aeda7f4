"""The load: a client that reads event streams, and what sends events on a schedule.

Time is CLOCK_MONOTONIC in nanoseconds everywhere, in C and in Python, so it can be compared
across the processes of one machine.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from bench.harness.c_program import CProgram

FIRST_NUMBER = 1_000_000
"""The number of the first event: all numbers have the same width and all frames the same size."""

OPENED_AT_ONCE = 256
"""Streams opened at a time: enough to keep a server busy, less than any listen backlog."""

_OPEN_TIMEOUT_S = 30.0  # arbitrary: for a client to open its streams
_OPEN_TIMEOUT_S_PER_STREAM = 0.005  # arbitrary: a slower server is an error
_LEAD_NS = 50_000_000  # arbitrary: from a command to the first event of its schedule
_MARGIN_S = 20.0  # arbitrary: how much longer a measurement may take than its schedule


class Opened(msgspec.Struct):
    """The result of opening streams."""

    opened: int
    failed: int
    seconds: float
    cpu_s: float
    """CPU time of the client."""
    refused: int = 0
    """Requests that were refused and repeated."""
    start_ns: int = 0
    end_ns: int = 0


class Schedule(msgspec.Struct, frozen=True):
    """`count` events numbered from `first`, `rate` a second; rate 0 is as fast as possible.

    With one user, every event is for all streams; with more, event `n` is for
    `bench-<n % users>`, and `first`, `count` and the streams are multiples of `users`.
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
        """The time from one event to the next."""
        return round(1e9 / self.rate) if self.rate else 0

    @property
    def timeout_s(self) -> float:
        """The timeout of a measurement of this schedule."""
        return self.count * self.interval_ns / 1e9 + _MARGIN_S

    def command(self, start_ns: int) -> str:
        """Return the command that makes a sender send it."""
        return (
            f"run {self.first} {self.count} {start_ns} {self.interval_ns} {self.data_bytes} "
            f"{self.users}"
        )


class Received(msgspec.Struct):
    """What the streams of one client received in one measurement."""

    deliveries: int
    streams: int = 0
    alive: int = 0
    """Streams that the server has not ended."""
    complete: int = 0
    """Streams that received the last event."""
    bytes: int = 0
    gaps: int = 0
    """Events whose number was too high: events before them were lost."""
    duplicates: int = 0
    """Events whose number was too low; they are not deliveries."""
    other: int = 0
    """Events without a number: pings."""
    first_ns: int = 0
    last_ns: int = 0
    cpu_s: float = 0.0
    """CPU time of the client."""
    latency_ns: list[tuple[int, int]] = []
    """From when an event was due to when it was read: (value, how often)."""

    def lossless(self, schedule: Schedule) -> bool:
        """Return whether every stream is open and received every event in order."""
        return (
            self.gaps == self.duplicates == 0
            and self.alive == self.complete == self.streams
            and self.deliveries * schedule.users == self.streams * schedule.count
        )


class Stormed(Received):
    """What the streams received when all of them were cut and opened again."""

    cut_ns: int = 0
    reopened_ns: int = 0
    """When the last stream was open again; 0 when it never was."""
    recovered_ns: int = 0
    """When all events that were due before that moment had been read."""
    resumed: int = 0
    """Streams whose `sse.open` says that they were resumed."""
    resets: int = 0
    """Streams that got `sse.reset`."""
    refused: int = 0
    """Requests that were refused and repeated."""
    ended_by_server: int = 0


class Heard(msgspec.Struct):
    """When the streams of one client got their pings."""

    streams: int
    alive: int
    pings: int
    fewest: int
    """Of one stream; -1 without streams."""
    shortest_ns: int
    """Between two pings of a stream; 0 when no stream got two."""
    longest_ns: int
    silent_ns: int
    """The longest time from a stream's last ping to the end."""
    cpu_s: float
    """CPU time of the client."""


class Sent(msgspec.Struct):
    """What a sender sent of one schedule."""

    events: int
    first_ns: int = 0
    last_ns: int = 0
    latest_ns: int = 0
    """How late the latest event was sent: beyond this, latency is not the server's."""
    deliveries: int = 0
    refused: int = 0
    """Sends for which a socket was full (floor only)."""
    user_s: float = 0.0
    system_s: float = 0.0


class Closed(msgspec.Struct):
    """The result of closing all streams."""

    ended_by_server: int


class _Tokens(msgspec.Struct):
    """Tokens that were read."""

    tokens: int


class Sender(Protocol):
    """Sends the events of a schedule: the publisher or the floor."""

    def send(self, schedule: Schedule) -> None:
        """Begin; return before the first event is due."""

    def sent(self, schedule: Schedule) -> Sent:
        """Wait until all events have been sent."""


class ScheduledProgram(CProgram):
    """A C program that knows the command `run`."""

    _start_ns = 0

    def send(self, schedule: Schedule) -> None:
        """Begin; return before the first event is due."""
        self._start_ns = time.monotonic_ns() + _LEAD_NS
        self.command(schedule.command(self._start_ns))

    def sent(self, schedule: Schedule) -> Sent:
        """Wait until all events have been sent. Raises ProcessError."""
        sent = self.answer(Sent, schedule.timeout_s)
        sent.first_ns = sent.first_ns or self._start_ns  # the floor does not report it
        return sent


class Publisher(ScheduledProgram):
    """Publishes events to a Redis, by HTTP POSTs, or to the stdin of a command."""

    source = "publish.c"

    def __init__(self, url: str, batch: int = 0) -> None:
        """Take where to publish.

        Args:
            url: `unix:///path` or `redis://127.0.0.1:port` for the channel `user-events`,
                `http://…/{}` for POSTs on one connection, `pipe:COMMAND`.
            batch: at rate 0, the number of events that are sent before waiting for all answers;
                0 for never waiting.
        """
        super().__init__(url, str(batch))


class Reading:
    """Reads the events of a schedule."""

    def expect(self, schedule: Schedule) -> None:
        """Begin to read the events that a sender is going to send."""
        raise NotImplementedError

    def received(
        self, schedule: Schedule, on_progress: Callable[[Received], None] = lambda _: None
    ) -> Received:
        """Wait until everything has arrived. Raises ProcessError."""
        raise NotImplementedError

    def measure(
        self,
        sender: Sender,
        schedule: Schedule,
        on_progress: Callable[[Received], None] = lambda _: None,
    ) -> tuple[Sent, Received]:
        """Have `sender` send a schedule and read until all streams have its last event.

        Args:
            sender: sends the events.
            schedule: when a stream misses its last event, its timeout ends the measurement.
            on_progress: called about twice a second.

        Raises:
            ProcessError: a program ended or did not answer.
        """
        self.expect(schedule)
        sender.send(schedule)
        received = self.received(schedule, on_progress)
        return sender.sent(schedule), received


class Reader(CProgram, Reading):
    """One program that reads: streams of a server, or Redis itself."""

    def expect(self, schedule: Schedule) -> None:
        """Begin to read the events that a sender is going to send."""
        self.command(
            f"expect {schedule.first} {schedule.last} {schedule.timeout_s} {schedule.users}"
        )

    def received(
        self, schedule: Schedule, on_progress: Callable[[Received], None] = lambda _: None
    ) -> Received:
        """Wait until everything has arrived. Raises ProcessError."""
        return self.answer(Received, schedule.timeout_s + _MARGIN_S, on_progress)


class Subscriber(Reader):
    """One bare connection to Redis, subscribed to `user-events`."""

    source = "subscriber.c"

    def __init__(self, redis_url: str, cpu: int | None = None) -> None:
        """Take the address, `unix:///path`, and the core."""
        super().__init__(redis_url, cpu=cpu)


class Client(Reader):
    """Opens many event streams to one address and reads them."""

    source = "client.c"

    def __init__(self, host: str, port: int, source: str = "", sources: int = 1) -> None:
        """Take the server's address.

        Streams come from `sources` consecutive addresses, the first of which is `source`, an IPv4
        address of this machine; each address has some 28,000 ports.
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
        """Begin to open `count` more streams; `opened` waits for them.

        `{}` in `target` is a stream's number, from `first`; `at_once` requests wait at a time.
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
        """Open `count` more streams; see `start_opening`. Raises ProcessError."""
        self.start_opening(count, target, first=first, at_once=at_once)
        return self.opened(count)

    def close_streams(self) -> Closed:
        """Close all streams."""
        self.command("close")
        return self.answer(Closed, _OPEN_TIMEOUT_S)

    def start_listening(self, seconds: float) -> None:
        """Begin to read for some seconds; `heard` waits for the end."""
        self.command(f"listen {seconds}")

    def heard(self, seconds: float) -> Heard:
        """Return when pings came meanwhile. Raises ProcessError."""
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
        """Measure, but close all streams after `cut_after_s` and open them again at once.

        The new requests have the last event IDs; `at_once` wait at a time. Raises ProcessError.
        """
        cut_ns = time.monotonic_ns() + round(cut_after_s * 1e9)
        self.command(
            f"storm {schedule.first} {schedule.last} {schedule.timeout_s} {schedule.users} "
            f"{cut_ns} {at_once}"
        )
        sender.send(schedule)
        stormed = self.answer(Stormed, schedule.timeout_s + _MARGIN_S, on_progress)
        return sender.sent(schedule), stormed


class Clients(Reading):
    """Several running clients that read the same events at the same time."""

    def __init__(self, clients: Sequence[Client]) -> None:
        """Take the clients, with open streams."""
        self._clients = clients

    def expect(self, schedule: Schedule) -> None:
        """Begin to read the events of a schedule."""
        for client in self._clients:
            client.expect(schedule)

    def received(
        self, schedule: Schedule, on_progress: Callable[[Received], None] = lambda _: None
    ) -> Received:
        """Wait until everything has arrived, and add it up; reports no progress."""
        return together([client.received(schedule) for client in self._clients])


def together(parts: Sequence[Received]) -> Received:
    """Add up what several clients received of one schedule."""
    counts = ("deliveries", "streams", "alive", "complete", "bytes", "gaps", "duplicates", "other")
    return Received(
        **{name: sum(getattr(part, name) for part in parts) for name in counts},
        first_ns=min(part.first_ns for part in parts),
        last_ns=max(part.last_ns for part in parts),
        cpu_s=sum(part.cpu_s for part in parts),
        latency_ns=[bucket for part in parts for bucket in part.latency_ns],
    )


def tick_payload(start: str, number: int, due_ns: int, data_bytes: int) -> bytes:
    """Return the payload of one event, byte for byte as `publish.c` writes it.

    Args:
        start: the first members of the envelope, such as `"userId":"bench",`.
        number: of the event.
        due_ns: when the event is due.
        data_bytes: size of the event's data.
    """
    data = f'{{"t":{due_ns},"n":{number},"pad":"'
    pad = "x" * max(0, data_bytes - len(data) - 2)
    return f'{{{start}"eventType":"tick","data":{data}{pad}"}}}}'.encode()
