"""A server under a steady load: events at a rate, and what each window of them cost."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import msgspec

from bench import proc
from bench.load import FIRST_NUMBER, Reader, Schedule
from bench.report import Percentiles, percentiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.load import Received, Sender, Sent
    from bench.report import Screen


class Window(msgspec.Struct):
    """One measured window of one server."""

    server: str
    events: int
    deliveries: int
    user_us: float
    """CPU time of the server an event, in user mode."""
    system_us: float
    server_busy: float
    """Share of one core."""
    client_busy: float
    latest_ms: float
    """How late the sender sent the latest event."""
    latency_ms: Percentiles

    @property
    def cpu_us(self) -> float:
        """CPU time of the server an event."""
        return self.user_us + self.system_us


class Load:
    """A server, what reads its streams and what sends to it; lives as long as they do."""

    def __init__(
        self,
        name: str,
        pids: Sequence[int],
        reader: Reader,
        sender: Sender,
        *,
        rate: float,
        payload_bytes: int,
        users: int = 1,
    ) -> None:
        """Take what runs, its streams open. With users, events go round among them."""
        self.name = name
        self.windows: list[Window] = []
        self.problems: list[str] = []
        self._latencies: list[list[tuple[int, int]]] = []
        self._pids = pids
        self._reader = reader
        self._sender = sender
        self._rate = rate
        self._payload_bytes = payload_bytes
        self._users = users
        self._next_number = FIRST_NUMBER

    def warm_up(self, seconds: float, screen: Screen) -> None:
        """Send events that don't count. Raises ProcessError."""
        if seconds > 0:
            self._send(seconds, screen)

    def measure(self, seconds: float, screen: Screen) -> Window:
        """Send events that count, and keep what they cost. Raises ProcessError."""
        before = proc.cpu_time(*self._pids)
        schedule, sent, received = self._send(seconds, screen)
        cpu = proc.cpu_time(*self._pids) - before
        self.windows.append(window(self.name, schedule, cpu, sent, received))
        self._latencies.append(received.latency_ns)
        return self.windows[-1]

    def latency_ms(self) -> Percentiles:
        """Latency over all windows."""
        return percentiles(self._latencies)

    def median_cpu_us(self) -> float:
        """CPU per event over the windows."""
        return statistics.median(measured.cpu_us for measured in self.windows)

    def _send(self, seconds: float, screen: Screen) -> tuple[Schedule, Sent, Received]:
        count = rounded_to_users(seconds * self._rate, self._users)
        schedule = Schedule(
            self._next_number, count, self._rate, self._payload_bytes, users=self._users
        )
        self._next_number += count
        screen.step(f"{self.name}: {count} events", total=count)
        sent, received = self._reader.measure(
            self._sender, schedule, lambda now: screen.advance_to(now.deliveries)
        )
        self.problems += problems_of(self.name, schedule, sent, received)
        return schedule, sent, received


def cpu_ratios(windows: Sequence[Window], floors: Sequence[Window]) -> list[float]:
    """CPU per event of each window by that of its partner; the kernel tells no less than a tick."""
    return [
        ours.cpu_us / max(floor.cpu_us, proc.TICK_S * 1e6 / floor.events)
        for ours, floor in zip(windows, floors, strict=True)
    ]


def rounded_to_users(events: float, users: int) -> int:
    """How many events are nearest to so many, with as many for each user; at least one."""
    return max(1, round(events / users)) * users


def problems_of(name: str, schedule: Schedule, sent: Sent, received: Received) -> list[str]:
    """Why a window counts for nothing; empty when every stream received every event."""
    if not sent.refused and received.lossless(schedule):
        return []
    return [
        f"{name}: {received.complete} of {received.streams} streams received the last event, "
        f"{received.alive} are open; {received.gaps} gaps, {received.duplicates} events twice, "
        f"{sent.refused} refused by a full socket"
    ]


def window(
    server: str, schedule: Schedule, cpu: proc.CpuTime, sent: Sent, received: Received
) -> Window:
    """What one schedule cost a server."""
    seconds = schedule.count / schedule.rate
    return Window(
        server=server,
        events=schedule.count,
        deliveries=received.deliveries,
        user_us=cpu.user_s / schedule.count * 1e6,
        system_us=cpu.system_s / schedule.count * 1e6,
        server_busy=cpu.total_s / seconds,
        client_busy=received.cpu_s / seconds,
        latest_ms=sent.latest_ns / 1e6,
        latency_ms=percentiles([received.latency_ns]),
    )
