"""The work that servers are compared at: each kind is one function over a :class:`Server`.

A measurement has a server of its own, started for it and ended after it, so that none leaves
anything behind for the next and nobody else's pings fall into it. Load is open-loop: an event is
due by the clock, whatever became of the one before, and its latency counts from then. A server
that loses events or is late is not an error here: :attr:`Sample.notes` say so.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from bench import proc
from bench.load import FIRST_NUMBER, Client, Publisher, Received, Schedule, Subscriber
from bench.processes import RedisProcess
from bench.report import percentiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.load import Reader, Sender, Sent
    from bench.report import Screen
    from bench.servers import Server

_HELD_MARGIN = 1.1  # arbitrary: a schedule that takes 10 % longer than it should was not held
_HELD_GRACE_S = 0.2  # arbitrary: latency that is no backlog yet
_OFFERED_SHARE = 0.6  # arbitrary: of what a server held, so that it is measured with room to spare
_LEAST_SHARE = 0.01  # arbitrary: of the rate asked for, or a measurement would not end
_LATE_S = 1.0  # arbitrary: a last event that comes so late is told
_PROBE_EVENTS = 20  # arbitrary: enough to see how fast a server is when events come at once
_SATURATED_S = 4.0  # arbitrary: about how long a saturated measurement takes
_IDLE_STEPS = 4  # points of the plot of memory against streams
_OPEN_WARMUP = 0.1  # arbitrary: share of the streams that are opened before those that count


class Settings(msgspec.Struct, frozen=True):
    """What is measured; a server that cannot hold a rate is offered less, and that is said."""

    payload_bytes: int = 200
    measured_s: float = 5.0
    warmup_s: float = 1.0
    fanout_streams: int = 1000
    fanout_rate: float = 50.0
    saturate_streams: int = 1000
    saturate_events: int = 3000
    """At most: a server that would take long for them gets fewer."""
    unicast_users: int = 10_000
    unicast_rate: float = 10_000.0
    latency_rate: float = 100.0
    idle_streams: int = 10_000
    idle_s: float = 30.0
    """Two pings of every stream."""
    opened_streams: int = 5000


QUICK_SETTINGS = Settings(
    measured_s=1.0,
    warmup_s=0.3,
    fanout_streams=100,
    saturate_streams=100,
    saturate_events=300,
    unicast_users=1000,
    unicast_rate=1000.0,
    idle_streams=1000,
    idle_s=3.0,
    opened_streams=500,
)
"""A tenth of everything."""


class Sample(msgspec.Struct):
    """One measurement of one server."""

    values: dict[str, float]
    """By the keys of the work's figures; what could not be measured is not there."""
    latency_ns: list[tuple[int, int]] = []
    """Latency: (value, how often)."""
    memory: list[tuple[int, int]] = []
    """Process memory in bytes with so many idle streams: (streams, bytes)."""
    notes: list[str] = []
    """What was lost, late, or not offered."""


class Figure(msgspec.Struct, frozen=True):
    """A kind of value in a sample."""

    key: str
    title: str
    unit: str = ""
    digits: int = 0

    def text(self, value: float) -> str:
        """The value for people."""
        return f"{value:,.{self.digits}f}{' ' if self.unit else ''}{self.unit}"


class Work(msgspec.Struct, frozen=True):
    """A kind of work that servers are compared at."""

    name: str
    about: str
    """What is done, for people; settings stand in braces."""
    measure: Callable[[Server, Settings, Screen], Sample]
    figures: tuple[Figure, ...]
    """The first one is what the work is about."""
    with_floor: bool = False
    """Whether the floor can do it: it knows no Redis, no pings and no end of a queue."""


class _Load:
    """A server under load: its streams are open, its events numbered."""

    def __init__(
        self,
        pids: Sequence[int],
        reader: Reader,
        sender: Sender,
        users: int,
        payload_bytes: int,
    ) -> None:
        self.notes: list[str] = []
        self._pids = pids
        self._reader = reader
        self._sender = sender
        self._users = users
        self._payload_bytes = payload_bytes
        self._next_number = FIRST_NUMBER

    def send(self, count: float, rate: float, screen: Screen) -> tuple[Schedule, Sent, Received]:
        """Send about `count` events, at least one to each user."""
        count = max(1, round(count / self._users)) * self._users
        schedule = Schedule(self._next_number, count, rate, self._payload_bytes, self._users)
        self._next_number += count
        sent, received = self._reader.measure(
            self._sender, schedule, lambda now: screen.advance_to(now.deliveries)
        )
        return schedule, sent, received

    def rate_it_holds(self, rate: float, seconds: float, screen: Screen) -> float:
        """Warm up; return `rate`, or less when the server is too slow for it."""
        for _ in range(2):  # the second time it is warm
            schedule, sent, received = self.send(rate * seconds, rate, screen)
            took_s = max(1, received.last_ns - sent.first_ns) / 1e9
            due_s = schedule.count / rate
            if took_s <= due_s * _HELD_MARGIN + _HELD_GRACE_S and received.lossless(schedule):
                return rate
        held = min(rate, schedule.count / took_s)
        offered = max(rate * _LEAST_SHARE, float(f"{held * _OFFERED_SHARE:.2g}"))
        self.notes.append(
            f"cannot hold {rate:,.0f} events/s (it did {held:,.0f}): offered {offered:,g}"
        )
        return offered

    def measure(self, count: float, rate: float, screen: Screen) -> Sample:
        """Send events that count."""
        before = proc.cpu_time(*self._pids)
        tcp_before_bytes = proc.tcp_bytes()
        schedule, sent, received = self.send(count, rate, screen)
        cpu = proc.cpu_time(*self._pids) - before
        deliveries = max(1, received.deliveries)
        seconds = max(1, received.last_ns - sent.first_ns) / 1e9
        latency = percentiles([received.latency_ns])
        values = {
            "offered_per_s": rate,
            "events": schedule.count,
            "deliveries_per_s": deliveries / seconds,
            "p50_ms": latency.p50,
            "p99_ms": latency.p99,
            "p99_9_ms": latency.p99_9,
            "frame_bytes": received.bytes / deliveries,
            "client_busy": received.cpu_s / seconds * 100,
            "socket_kb": max(0, proc.tcp_bytes() - tcp_before_bytes) / 1000,
        }
        if self._pids:
            values |= {
                "cpu_us": cpu.total_s / deliveries * 1e6,
                "user_us": cpu.user_s / deliveries * 1e6,
                "system_us": cpu.system_s / deliveries * 1e6,
                "busy": cpu.total_s / seconds * 100,
                "memory_mb": proc.pss_bytes(*self._pids) / 1e6,
            }
        notes = self.notes + _notes(schedule, sent, received)
        return Sample(values, latency_ns=received.latency_ns, notes=notes)


def measure_fanout(server: Server, settings: Settings, screen: Screen) -> Sample:
    """One user with many streams, events at a steady rate."""
    with _load(server, settings.fanout_streams, 1, settings) as load:
        rate = load.rate_it_holds(settings.fanout_rate, settings.warmup_s, screen)
        return load.measure(rate * settings.measured_s, rate, screen)


def measure_unicast(server: Server, settings: Settings, screen: Screen) -> Sample:
    """Many users with one stream each, events go round among them."""
    with _load(server, settings.unicast_users, settings.unicast_users, settings) as load:
        rate = load.rate_it_holds(settings.unicast_rate, settings.warmup_s, screen)
        return load.measure(rate * settings.measured_s, rate, screen)


def measure_latency(server: Server, settings: Settings, screen: Screen) -> Sample:
    """One stream, few events."""
    with _load(server, 1, 1, settings) as load:
        rate = load.rate_it_holds(settings.latency_rate, settings.warmup_s, screen)
        return load.measure(rate * settings.measured_s, rate, screen)


def measure_bare_latency(cpu: int, settings: Settings, screen: Screen) -> Sample:
    """The same events, read from Redis by a C program and nobody else."""
    rate = settings.latency_rate
    with (
        RedisProcess() as redis,
        Publisher(redis.url) as publisher,
        Subscriber(redis.url, cpu) as subscriber,
    ):
        load = _Load([subscriber.pid], subscriber, publisher, 1, settings.payload_bytes)
        load.send(rate * settings.warmup_s, rate, screen)
        sample = load.measure(rate * settings.measured_s, rate, screen)
    del sample.values["frame_bytes"], sample.values["client_busy"]
    return sample


def measure_saturate(server: Server, settings: Settings, screen: Screen) -> Sample:
    """One user with many streams, events as fast as they go."""
    streams = settings.saturate_streams

    def events_of(seconds: float, before: tuple[Schedule, Sent, Received]) -> float:
        _, sent, received = before
        rate = received.deliveries / (max(1, received.last_ns - sent.first_ns) / 1e9)
        return min(settings.saturate_events, max(_PROBE_EVENTS, rate * seconds / streams))

    with _load(server, streams, 1, settings) as load:
        probe = load.send(_PROBE_EVENTS, 0, screen)
        warmup = load.send(events_of(settings.warmup_s, probe), 0, screen)
        return load.measure(events_of(_SATURATED_S, warmup), 0, screen)


def measure_idle(server: Server, settings: Settings, screen: Screen) -> Sample:
    """Streams that nothing happens on but their pings."""
    pids = server.pids
    portion = settings.idle_streams // _IDLE_STEPS
    streams = portion * _IDLE_STEPS
    tcp_before_bytes = proc.tcp_bytes()
    memory = [(0, proc.settled_pss_bytes(*pids))]
    with contextlib.ExitStack() as stack:
        clients = []
        for step in range(_IDLE_STEPS):
            clients.append(stack.enter_context(Client(server.host, server.port)))
            clients[-1].open_streams(portion, server.target(f"idle-{step}-{{}}"))
            memory.append(((step + 1) * portion, proc.settled_pss_bytes(*pids)))
            screen.advance_to((step + 1) * portion)
        before = proc.cpu_time(*pids)
        for client in clients:
            client.command(f"expect 0 0 {settings.idle_s} 1")
        received = [client.answer(Received, settings.idle_s + 10) for client in clients]
        cpu = proc.cpu_time(*pids) - before
        after_bytes = proc.settled_pss_bytes(*pids)
        tcp_bytes = max(0, proc.tcp_bytes() - tcp_before_bytes)
    values = {
        "streams": streams,
        "pings": sum(each.other for each in received) / streams,
        "client_busy": sum(each.cpu_s for each in received) / settings.idle_s * 100,
        "socket_bytes": tcp_bytes / streams,
    }
    if pids:
        values |= {
            "stream_bytes": (after_bytes - memory[0][1]) / streams,
            "idle_us": cpu.total_s / settings.idle_s / streams * 1e6,
            "user_us": cpu.user_s / settings.idle_s / streams * 1e6,
            "system_us": cpu.system_s / settings.idle_s / streams * 1e6,
            "memory_mb": after_bytes / 1e6,
        }
    ended = streams - sum(each.alive for each in received)
    return Sample(
        values,
        memory=memory if pids else [],
        notes=[f"{ended:,} streams ended by the server"] if ended else [],
    )


def measure_open(server: Server, settings: Settings, screen: Screen) -> Sample:
    """Streams opened as fast as they go, 256 at a time, a user each."""
    warmup = max(1, round(settings.opened_streams * _OPEN_WARMUP))
    with (
        Client(server.host, server.port) as warmup_client,
        Client(server.host, server.port) as client,
    ):
        warmup_client.open_streams(warmup, server.target("early-{}"))
        before = proc.cpu_time(*server.pids)
        opened = client.open_streams(settings.opened_streams, server.target("late-{}"))
        cpu = proc.cpu_time(*server.pids) - before
        screen.advance_to(opened.opened)
    values = {
        "opened_per_s": opened.opened / opened.seconds,
        "client_busy": opened.cpu_s / opened.seconds * 100,
    }
    if server.pids:
        values |= {
            "cpu_us": cpu.total_s / opened.opened * 1e6,
            "busy": cpu.total_s / opened.seconds * 100,
        }
    return Sample(values)


@contextlib.contextmanager
def _load(server: Server, streams: int, users: int, settings: Settings) -> Iterator[_Load]:
    target = server.target("bench" if users == 1 else "bench-{}")
    with server.sender() as sender, Client(server.host, server.port) as client:
        client.open_streams(streams, target)
        yield _Load(server.pids, client, sender, users, settings.payload_bytes)


def _notes(schedule: Schedule, sent: Sent, received: Received) -> list[str]:
    """What was not as it should be."""
    wanted = received.streams * schedule.count // schedule.users
    last_due_ns = sent.first_ns + (schedule.count - 1) * schedule.interval_ns
    late_s = (received.last_ns - last_due_ns) / 1e9
    notes = []
    if lost := wanted - received.deliveries:
        notes.append(f"lost {lost:,} of {wanted:,}")
    if received.gaps:
        notes.append(f"{received.gaps:,} out of order or after a gap")
    if ended := received.streams - received.alive:
        notes.append(f"{ended:,} streams ended by the server")
    if schedule.rate and late_s > _LATE_S:
        notes.append(f"late: the last event came {late_s:.1f} s after it was due")
    return notes


_CPU = (
    Figure("user_us", "in user mode", "µs", 2),
    Figure("system_us", "in the kernel", "µs", 2),
)
_BUSY = (
    Figure("busy", "its core busy", "%"),
    Figure("client_busy", "client's core busy", "%"),
)
_LATENCY = (
    Figure("p50_ms", "latency p50", "ms", 2),
    Figure("p99_ms", "p99", "ms", 2),
    Figure("p99_9_ms", "p99.9", "ms", 2),
)
_SIZES = (
    Figure("memory_mb", "process memory", "MB", 1),
    Figure("socket_kb", "TCP buffers", "kB"),
    Figure("frame_bytes", "bytes of an event", "B"),
)

WORKS = {
    work.name: work
    for work in (
        Work(
            "fanout",
            "{fanout_streams:,} streams of one user, {fanout_rate:g} events a second",
            measure_fanout,
            (
                Figure("cpu_us", "CPU per delivery", "µs", 2),
                *_CPU,
                Figure("offered_per_s", "events offered", "/s", 1),
                Figure("deliveries_per_s", "deliveries", "/s"),
                *_LATENCY,
                *_BUSY,
                *_SIZES,
            ),
            with_floor=True,
        ),
        Work(
            "saturate",
            "{saturate_streams:,} streams of one user, events as fast as they go",
            measure_saturate,
            (
                Figure("deliveries_per_s", "deliveries", "/s"),
                Figure("events", "events sent"),
                Figure("cpu_us", "CPU per delivery", "µs", 2),
                *_CPU,
                *_BUSY,
                *_SIZES,
            ),
        ),
        Work(
            "unicast",
            "{unicast_users:,} users with one stream each, {unicast_rate:,g} events a second",
            measure_unicast,
            (
                Figure("cpu_us", "CPU per event", "µs", 2),
                *_CPU,
                Figure("offered_per_s", "events offered", "/s"),
                Figure("deliveries_per_s", "deliveries", "/s"),
                *_LATENCY,
                *_BUSY,
                *_SIZES,
            ),
            with_floor=True,
        ),
        Work(
            "latency",
            "one stream, {latency_rate:g} events a second",
            measure_latency,
            (*_LATENCY, Figure("cpu_us", "CPU per event", "µs", 1), *_SIZES),
            with_floor=True,
        ),
        Work(
            "idle",
            "{idle_streams:,} streams, a user each, nothing but pings for {idle_s:g} s",
            measure_idle,
            (
                Figure("stream_bytes", "process memory per stream", "B"),
                Figure("socket_bytes", "TCP buffers per stream", "B"),
                Figure("idle_us", "CPU per second and stream", "µs", 2),
                *_CPU,
                Figure("pings", "pings per stream", "", 2),
                Figure("memory_mb", "process memory in all", "MB", 1),
                Figure("client_busy", "client's core busy", "%"),
            ),
        ),
        Work(
            "open",
            "{opened_streams:,} streams opened, a user each, 256 at a time",
            measure_open,
            (
                Figure("opened_per_s", "streams opened", "/s"),
                Figure("cpu_us", "CPU per stream", "µs"),
                *_BUSY,
            ),
        ),
    )
}
"""All of them by name."""
