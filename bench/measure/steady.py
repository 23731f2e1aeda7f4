"""A server under load: open streams, numbered events, and the cost of each schedule."""

import contextlib
from collections.abc import Iterator, Sequence

import msgspec

from bench.harness.servers import Server
from bench.measure import procfs as proc
from bench.measure.load import FIRST_NUMBER, Client, Reading, Received, Schedule, Sender, Sent
from bench.report.tables import Screen, latency_values


class Sending(msgspec.Struct):
    """One schedule: what was sent and read, and the CPU time of the server."""

    server: str
    schedule: Schedule
    sent: Sent
    received: Received
    cpu: proc.CpuTime

    @property
    def seconds(self) -> float:
        """From the first event sent to the last byte read."""
        return max(1, self.received.last_ns - self.sent.first_ns) / 1e9

    @property
    def problems(self) -> list[str]:
        """Why it does not count; empty when every stream received every event."""
        return problems_of(self.server, self.schedule, self.sent, self.received)

    def values(self) -> dict[str, float]:
        """Return the figures of a sample; CPU is the server's, in µs per delivery."""
        deliveries = max(1, self.received.deliveries)
        return {
            "offered_per_s": self.schedule.rate,
            "events": self.schedule.count,
            "deliveries": self.received.deliveries,
            "deliveries_per_s": self.received.deliveries / self.seconds,
            "frame_bytes": self.received.bytes / deliveries,
            "cpu_us": self.cpu.total_s / deliveries * 1e6,
            "user_us": self.cpu.user_s / deliveries * 1e6,
            "system_us": self.cpu.system_s / deliveries * 1e6,
            "busy": self.cpu.total_s / self.seconds * 100,
            "client_busy": self.received.cpu_s / self.seconds * 100,
            "latest_ms": self.sent.latest_ns / 1e6,
            **latency_values([self.received.latency_ns]),
        }


class Load:
    """A server with its reader and its sender; lives as long as they do."""

    def __init__(
        self,
        name: str,
        pids: Sequence[int],
        reader: Reading,
        sender: Sender,
        *,
        payload_bytes: int,
        streams: int = 1,
        users: int = 1,
    ) -> None:
        """Take running processes with open streams. Events are sent to the users in turn."""
        self.name = name
        self.pids = pids
        self._streams_per_user = streams // users
        self._users = users
        self._reader = reader
        self._sender = sender
        self._payload_bytes = payload_bytes
        self._next_number = FIRST_NUMBER

    def send(self, count: float, rate: float, screen: Screen) -> Sending:
        """Send events and wait until they have been read. Raises ProcessError.

        Args:
            count: rounded so that every user gets the same number of events.
            rate: events per second; 0 for as fast as possible.
            screen: shows the progress.
        """
        events = rounded_to_users(count, self._users)
        schedule = Schedule(self._next_number, events, rate, self._payload_bytes, self._users)
        self._next_number += events
        screen.step(f"{self.name}: {events:,} events", total=events * self._streams_per_user)
        before = proc.cpu_time(*self.pids)
        sent, received = self._reader.measure(
            self._sender, schedule, lambda now: screen.advance_to(now.deliveries)
        )
        return Sending(self.name, schedule, sent, received, proc.cpu_time(*self.pids) - before)


@contextlib.contextmanager
def under_load(
    server: Server, *, streams: int, payload_bytes: int, screen: Screen, users: int = 1
) -> Iterator[Load]:
    """Open streams to a running server, the same number for each user. Raises ProcessError."""
    target = server.target("bench" if users == 1 else "bench-{}")
    portion = streams if users == 1 else users
    with server.sender() as sender, Client(server.host, server.port) as client:
        screen.step(f"{server.name}: opening {streams:,} streams")
        for _ in range(streams // portion):
            client.open_streams(portion, target)
        yield Load(
            server.name,
            server.pids,
            client,
            sender,
            payload_bytes=payload_bytes,
            streams=streams,
            users=users,
        )


def rounded_to_users(events: float, users: int) -> int:
    """Return the nearest number of events that is a multiple of `users`, at least `users`."""
    return max(1, round(events / users)) * users


def problems_of(name: str, schedule: Schedule, sent: Sent, received: Received) -> list[str]:
    """Return why a schedule does not count; empty when every stream received every event."""
    if not sent.refused and received.lossless(schedule):
        return []
    return [
        f"{name}: {received.complete} of {received.streams} streams received the last event, "
        f"{received.alive} are open; {received.gaps} gaps, {received.duplicates} events twice, "
        f"{sent.refused} refused by a full socket"
    ]
