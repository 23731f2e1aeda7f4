"""`scale`: as many streams as several processes on this machine hold, a user each.

Four questions: how fast they open, what memory they take, whether every stream's pings come on
time while all are open, and when the last stream has read one event that is for all of them.
Server, clients and Redis share all cores. A process may have some 20,000 descriptors where nobody
has raised the limit, which is why there are several workers and several clients; a client has some
addresses of its own to come from. Workers get their streams by the kernel's hash, so they need room
to spare.
"""

import contextlib
import math
import os
import resource
import statistics
import time
from collections.abc import Sequence
from typing import Annotated

import msgspec
from redis import Redis

from bench.harness.fleet import Fleet, shares
from bench.measure import procfs as proc
from bench.measure.load import FIRST_NUMBER, Client, Heard, Opened, Schedule, Sent
from bench.measure.steady import problems_of
from bench.options import Payload
from bench.report.tables import Result, Screen, TextTable, table

COLUMNS = ("what", "figure")
BAR_STREAMS = 100_000
BAR_BYTES = 400_000_000  # for so many
BAR_BROADCAST_S = 2.0
PING_SLACK_S = 1.0
STREAMS_PER_CLIENT = 16_000
_OTHER_DESCRIPTORS = 600  # what a node keeps free of streams
_UNEVENNESS = 1.1  # arbitrary: workers with 15,000 streams differ by 3 % or so
_SOURCES_PER_CLIENT = 4  # arbitrary: one has 28,000 ports, found faster when few are taken


class Settings(msgspec.Struct, frozen=True):
    """What is measured."""

    streams: Annotated[
        int, msgspec.Meta(ge=10, le=1000000, description="Open streams, a user each.")
    ] = 100_000
    workers: Annotated[
        int, msgspec.Meta(ge=0, le=1000, description="0 for as many as hold the streams.")
    ] = 0
    as_nodes: Annotated[
        bool, msgspec.Meta(description="Nodes with a port each instead of workers.")
    ] = False
    at_once: Annotated[
        int, msgspec.Meta(ge=1, le=16000, description="Requests of a client that wait at a time.")
    ] = 256
    ping_interval_s: Annotated[
        float, msgspec.Meta(ge=0.1, le=300, description="Seconds between two pings.")
    ] = 15.0
    intervals: Annotated[
        int, msgspec.Meta(ge=1, le=100, description="Between pings, that are listened to.")
    ] = 2
    broadcasts: Annotated[
        int, msgspec.Meta(ge=1, le=1000, description="Events for all streams.")
    ] = 5
    payload_bytes: Payload = 200


class Opening(msgspec.Struct):
    """How all streams were opened."""

    streams: int
    seconds: float
    refused: int
    """Answers after which a stream was asked for again."""
    cpu_s: float
    """CPU time of the server."""
    client_cpu_s: float


class Memory(msgspec.Struct):
    """What the machine holds, in bytes."""

    process_bytes: int
    """PSS of all processes of the server."""
    buffer_bytes: int
    """Of all TCP sockets of the machine, both ends of each stream."""
    slab_bytes: int
    """Of its kernel; the sockets themselves are in there."""


class Pings(msgspec.Struct):
    """When the pings of all streams came."""

    seconds: float
    fewest: int
    """Of one stream."""
    shortest_s: float
    """Between two pings of a stream."""
    longest_s: float
    silent_s: float
    """The longest time for which a stream had no ping up to the end."""
    cpu_us: float
    """CPU time of the server a second and stream."""
    on_time: bool


class Broadcast(msgspec.Struct):
    """One event for all streams."""

    seconds: float
    """From PUBLISH to the last stream's read."""
    cpu_s: float
    """CPU time of the server."""
    client_cpu_s: float


class ScaleResult(Result):
    """What `scale` found."""

    processes: int
    """Of the server: the supervisor, too."""
    streams_by_process: list[int]
    opening: Opening
    before: Memory
    after: Memory
    """With all streams open."""
    pings: Pings
    broadcasts: list[Broadcast]

    def tables(self) -> list[TextTable]:
        """The result for people."""
        opening, pings, streams = self.opening, self.pings, self.opening.streams
        times_s = [broadcast.seconds for broadcast in self.broadcasts]
        kernel_bytes = (
            self.after.slab_bytes
            + self.after.buffer_bytes
            - self.before.slab_bytes
            - self.before.buffer_bytes
        )
        few, many = min(self.streams_by_process), max(self.streams_by_process)
        memory_bar = f"≤ {BAR_BYTES / 1e6:,.0f} MB" if streams == BAR_STREAMS else ""
        rows = [
            ("streams open at once", f"{streams:,}", ""),
            ("  of a process", f"{few:,} to {many:,}", ""),
            ("opened per second", f"{streams / opening.seconds:,.0f}", ""),
            ("  refused and opened again", f"{opening.refused:,}", ""),
            ("process memory in all", f"{self.after.process_bytes / 1e6:,.0f} MB", memory_bar),
            ("  before", f"{self.before.process_bytes / 1e6:,.0f} MB", ""),
            ("kernel memory, both ends", f"{kernel_bytes / 1e6:,.0f} MB", ""),
            (
                f"between two of {pings.fewest} pings",
                f"{pings.shortest_s:.2f} to {pings.longest_s:.2f} s",
                f"± {PING_SLACK_S:.0f} s: {'on time' if pings.on_time else 'MISSED'}",
            ),
            ("CPU per second and stream", f"{pings.cpu_us:.2f} µs", ""),
            (
                "one event to all, median",
                f"{statistics.median(times_s):.2f} s",
                f"≤ {BAR_BROADCAST_S:.0f} s",
            ),
            ("  lowest", f"{min(times_s):.2f} s", ""),
            ("  highest", f"{max(times_s):.2f} s", ""),
        ]
        return [table("scale", ("", "node", "bar"), rows)]


def workers_for(streams: int, descriptors: int, cores: int) -> int:
    """How many workers hold so many streams: one for each core, or what the limit asks for."""
    return max(cores, math.ceil(streams * _UNEVENNESS / (descriptors - _OTHER_DESCRIPTORS)))


def run(settings: Settings, screen: Screen) -> ScaleResult:
    """Measure. Raises ProcessError."""
    flags = ("--ping-interval", str(settings.ping_interval_s))
    workers = settings.workers or workers_for(
        settings.streams, resource.getrlimit(resource.RLIMIT_NOFILE)[1], os.cpu_count() or 1
    )
    with Fleet(workers, *flags, as_workers=not settings.as_nodes) as fleet:
        return measure(fleet, settings, screen)


def measure(fleet: Fleet, settings: Settings, screen: Screen) -> ScaleResult:
    """Measure nodes or workers that are up and have had no streams. Raises ProcessError."""
    with contextlib.ExitStack() as running:
        clients = [running.enter_context(client) for client in _clients(fleet, settings.streams)]
        before = _memory(fleet)
        screen.step(f"opening {settings.streams} streams")
        opening = _open(fleet, clients, settings)
        screen.add_row("streams", f"{opening.streams:,}")
        screen.add_row("opened per second", f"{opening.streams / opening.seconds:,.0f}")
        by_process = fleet.streams_by_worker()
        after = _memory(fleet)
        screen.add_row("process memory", f"{after.process_bytes / 1e6:,.0f} MB")
        screen.step("listening to pings")
        pings, problems = _listen(fleet, clients, settings)
        screen.add_row("pings", f"{pings.shortest_s:.2f} to {pings.longest_s:.2f} s apart")
        broadcasts = []
        with Redis.from_url(fleet.redis.url) as redis:
            for number in range(settings.broadcasts):
                screen.step(f"broadcast {number + 1}")
                schedule = Schedule(FIRST_NUMBER + number, 1, 0, settings.payload_bytes)
                broadcast, found = _broadcast(fleet, clients, redis, schedule)
                broadcasts.append(broadcast)
                problems += found
                screen.add_row("one event to all", f"{broadcast.seconds:.2f} s")
        processes = len(fleet.pids)
    return ScaleResult(
        problems=problems,
        processes=processes,
        streams_by_process=by_process,
        opening=opening,
        before=before,
        after=after,
        pings=pings,
        broadcasts=broadcasts,
    )


def _clients(fleet: Fleet, streams: int) -> list[Client]:
    """A client for each node, or as many as it takes for the workers' one port."""
    addresses = fleet.addresses
    if len(addresses) == 1:
        addresses = addresses * math.ceil(streams / STREAMS_PER_CLIENT)
    return [
        Client(host, port, f"127.0.{number + 1}.1", _SOURCES_PER_CLIENT)
        for number, (host, port) in enumerate(addresses)
    ]


def _open(fleet: Fleet, clients: Sequence[Client], settings: Settings) -> Opening:
    counts = shares(settings.streams, len(clients))
    before = proc.cpu_time(*fleet.pids)
    for number, (client, count) in enumerate(zip(clients, counts, strict=True)):
        target = fleet.target(f"bench-{number}-{{}}")
        client.start_opening(count, target, at_once=settings.at_once)
    opened = [client.opened(count) for client, count in zip(clients, counts, strict=True)]
    cpu = proc.cpu_time(*fleet.pids) - before
    return opening_of(opened, cpu.total_s)


def opening_of(opened: Sequence[Opened], cpu_s: float) -> Opening:
    """What the clients' openings come to, which went on at the same time."""
    return Opening(
        streams=sum(one.opened for one in opened),
        seconds=(max(one.end_ns for one in opened) - min(one.start_ns for one in opened)) / 1e9,
        refused=sum(one.refused for one in opened),
        cpu_s=cpu_s,
        client_cpu_s=sum(one.cpu_s for one in opened),
    )


def _memory(fleet: Fleet) -> Memory:
    return Memory(proc.settled_pss_bytes(*fleet.pids), proc.tcp_bytes(), proc.slab_bytes())


def _listen(fleet: Fleet, clients: Sequence[Client], settings: Settings) -> tuple[Pings, list[str]]:
    seconds = settings.ping_interval_s * (settings.intervals + 1) + PING_SLACK_S
    before = proc.cpu_time(*fleet.pids)
    for client in clients:
        client.start_listening(seconds)
    heard = [client.heard(seconds) for client in clients]
    cpu = proc.cpu_time(*fleet.pids) - before
    pings = pings_of(heard, seconds, settings.ping_interval_s, cpu.total_s)
    ended = sum(one.streams - one.alive for one in heard)
    return pings, [f"{ended} streams were ended"] if ended else []


def pings_of(heard: Sequence[Heard], seconds: float, interval_s: float, cpu_s: float) -> Pings:
    """What the clients heard at the same time; on time is each ping within the slack."""
    shortest_s = min(one.shortest_ns for one in heard) / 1e9
    longest_s = max(one.longest_ns for one in heard) / 1e9
    silent_s = max(one.silent_ns for one in heard) / 1e9
    fewest = min(one.fewest for one in heard)
    return Pings(
        seconds=seconds,
        fewest=fewest,
        shortest_s=shortest_s,
        longest_s=longest_s,
        silent_s=silent_s,
        cpu_us=cpu_s / seconds / sum(one.streams for one in heard) * 1e6,
        on_time=(
            fewest > 1
            and shortest_s >= interval_s - PING_SLACK_S
            and max(longest_s, silent_s) <= interval_s + PING_SLACK_S
        ),
    )


def _broadcast(
    fleet: Fleet, clients: Sequence[Client], redis: Redis, schedule: Schedule
) -> tuple[Broadcast, list[str]]:
    before = proc.cpu_time(*fleet.pids)
    for client in clients:
        client.expect(schedule)
    due_ns = time.monotonic_ns()
    redis.publish("system-events", broadcast_payload(schedule, due_ns))
    received = [client.received(schedule) for client in clients]
    cpu = proc.cpu_time(*fleet.pids) - before
    broadcast = Broadcast(
        seconds=(max(one.last_ns for one in received) - due_ns) / 1e9,
        cpu_s=cpu.total_s,
        client_cpu_s=sum(one.cpu_s for one in received),
    )
    problems = [found for one in received for found in problems_of("scale", schedule, Sent(1), one)]
    return broadcast, problems


def broadcast_payload(schedule: Schedule, due_ns: int) -> bytes:
    """The payload of one event for every stream, as the client reads it."""
    start = f'{{"t":{due_ns},"n":{schedule.first},"pad":"'
    pad = "x" * max(0, schedule.data_bytes - len(start) - 2)
    return f'{{"eventType":"tick","data":{start}{pad}"}}}}'.encode()
