"""A server under load: its streams are open, its events numbered; what each schedule cost it."""

import contextlib
import statistics
from collections.abc import Iterator, Sequence

import msgspec

from bench.harness.servers import Server
from bench.measure import procfs as proc
from bench.measure.load import FIRST_NUMBER, Client, Reader, Received, Schedule, Sender, Sent
from bench.report.tables import Percentiles, Screen, percentiles


class Sending(msgspec.Struct):
    """One schedule: what was sent and read of it, and what it cost the server."""

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
        """Why it counts for nothing; empty when every stream received every event."""
        return problems_of(self.server, self.schedule, self.sent, self.received)


class Window(msgspec.Struct):
    """What one schedule came to; CPU is the server's, for a delivery."""

    server: str
    events: int
    deliveries: int
    deliveries_per_s: float
    frame_bytes: float
    user_us: float
    system_us: float
    server_busy: float
    """Share of one core."""
    client_busy: float
    latest_ms: float
    """How late the sender sent the latest event."""
    latency_ms: Percentiles

    @property
    def cpu_us(self) -> float:
        """In user mode and in the kernel."""
        return self.user_us + self.system_us


class Measured(msgspec.Struct):
    """The windows of one server."""

    server: str
    cpu_us: float
    """CPU time a delivery: the median of the windows."""
    latency_ms: Percentiles
    """Over all windows."""
    windows: list[Window]
    problems: list[str]


class Load:
    """A server, what reads its streams and what sends to it; lives as long as they do."""

    def __init__(
        self,
        name: str,
        pids: Sequence[int],
        reader: Reader,
        sender: Sender,
        *,
        payload_bytes: int,
        streams: int = 1,
        users: int = 1,
    ) -> None:
        """Take what runs, its streams open. With users, events go round among them."""
        self.name = name
        self.pids = pids
        self._streams_per_user = streams // users
        self._users = users
        self._reader = reader
        self._sender = sender
        self._payload_bytes = payload_bytes
        self._next_number = FIRST_NUMBER
        self._counted: list[Sending] = []

    def send(self, count: float, rate: float, screen: Screen) -> Sending:
        """Send about so many events, as many to each user, and wait for them. Raises ProcessError.

        With rate 0, as fast as they go.
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

    def measure(self, seconds: float, rate: float, screen: Screen) -> Window:
        """Send events that count. Raises ProcessError."""
        self._counted.append(self.send(seconds * rate, rate, screen))
        return window(self._counted[-1])

    def measured(self) -> Measured:
        """What has counted until now; at least one window."""
        windows = [window(sending) for sending in self._counted]
        return Measured(
            server=self.name,
            cpu_us=statistics.median(each.cpu_us for each in windows),
            latency_ms=percentiles(sending.received.latency_ns for sending in self._counted),
            windows=windows,
            problems=[problem for sending in self._counted for problem in sending.problems],
        )


@contextlib.contextmanager
def under_load(
    server: Server, *, streams: int, payload_bytes: int, screen: Screen, users: int = 1
) -> Iterator[Load]:
    """A server that is up, its streams open, as many for each user. Raises ProcessError."""
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


def window(sending: Sending) -> Window:
    """What a schedule came to."""
    divisor = max(1, sending.received.deliveries)
    return Window(
        server=sending.server,
        events=sending.schedule.count,
        deliveries=sending.received.deliveries,
        deliveries_per_s=sending.received.deliveries / sending.seconds,
        frame_bytes=sending.received.bytes / divisor,
        user_us=sending.cpu.user_s / divisor * 1e6,
        system_us=sending.cpu.system_s / divisor * 1e6,
        server_busy=sending.cpu.total_s / sending.seconds,
        client_busy=sending.received.cpu_s / sending.seconds,
        latest_ms=sending.sent.latest_ns / 1e6,
        latency_ms=percentiles([sending.received.latency_ns]),
    )


def rounded_to_users(events: float, users: int) -> int:
    """How many events are nearest to so many, with as many for each user; at least one."""
    return max(1, round(events / users)) * users


def problems_of(name: str, schedule: Schedule, sent: Sent, received: Received) -> list[str]:
    """Why a schedule counts for nothing; empty when every stream received every event."""
    if not sent.refused and received.lossless(schedule):
        return []
    return [
        f"{name}: {received.complete} of {received.streams} streams received the last event, "
        f"{received.alive} are open; {received.gaps} gaps, {received.duplicates} events twice, "
        f"{sent.refused} refused by a full socket"
    ]
