"""`scale`: as many streams as several processes on this machine hold, a user each.

It measures how fast they open, how much memory they take, whether every stream's pings are on time
while all are open, and when the last stream has read one event that is for all of them. Server,
clients and Redis share all cores. A process may have some 20,000 descriptors unless the limit was
raised, so there are several workers and several clients; each client has its own source addresses.
The kernel's hash distributes streams over workers, so workers need room to spare.
"""

import contextlib
import math
import os
import resource
import time
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from redis import Redis

from bench.harness.fleet import Fleet, shares
from bench.measure import procfs as proc
from bench.measure.load import (
    FIRST_NUMBER,
    Client,
    Clients,
    Heard,
    Opened,
    Schedule,
    Sent,
    tick_payload,
)
from bench.measure.sample import Figure, Sample, spreads_of
from bench.measure.steady import problems_of
from bench.options import Payload
from bench.report.tables import Measurements, Screen, measurements, table

COLUMNS = ("what", "figure")
BAR_STREAMS = 100_000
BAR_BYTES = 400_000_000  # of all processes, with that many streams
BAR_BROADCAST_S = 2.0
PING_SLACK_S = 1.0
STREAMS_PER_CLIENT = 16_000
_OTHER_DESCRIPTORS = 600  # a node keeps these free
_UNEVENNESS = 1.1  # arbitrary: workers with 15,000 streams differ by 3 % or so
_SOURCES_PER_CLIENT = 4  # arbitrary: one has 28,000 ports, found faster when few are taken


class Settings(msgspec.Struct, frozen=True):
    """What is measured."""

    streams: Annotated[
        int, msgspec.Meta(ge=10, le=1000000, description="Open streams, a user each.")
    ] = 100_000
    workers: Annotated[
        int, msgspec.Meta(ge=0, le=1000, description="0 for as many as the streams need.")
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
        int, msgspec.Meta(ge=1, le=100, description="Intervals between pings to listen to.")
    ] = 2
    broadcasts: Annotated[
        int, msgspec.Meta(ge=1, le=1000, description="Events for all streams.")
    ] = 5
    payload_bytes: Payload = 200


def workers_for(streams: int, descriptors: int, cores: int) -> int:
    """Return how many workers `streams` need: one for each core, or more because of the limit."""
    return max(cores, math.ceil(streams * _UNEVENNESS / (descriptors - _OTHER_DESCRIPTORS)))


def run(settings: Settings, screen: Screen) -> Measurements:
    """Measure. Raises ProcessError."""
    flags = ("--ping-interval", str(settings.ping_interval_s))
    workers = settings.workers or workers_for(
        settings.streams, resource.getrlimit(resource.RLIMIT_NOFILE)[1], os.cpu_count() or 1
    )
    with Fleet(workers, *flags, as_workers=not settings.as_nodes) as fleet:
        sample, broadcasts = measure(fleet, settings, screen)
    summary = table("scale", ("", "node", "bar"), _lines(sample.values, broadcasts))
    return measurements({"all streams": [sample], "broadcasts": broadcasts}, summary)


def measure(fleet: Fleet, settings: Settings, screen: Screen) -> tuple[Sample, list[Sample]]:
    """Measure running nodes or workers that have had no streams. Raises ProcessError.

    Returns:
        The figures of all streams, and a sample for each broadcast.
    """
    with contextlib.ExitStack() as running:
        clients = [running.enter_context(client) for client in _clients(fleet, settings.streams)]
        values = _memory(fleet, "_before")
        screen.step(f"opening {settings.streams} streams")
        values |= _open(fleet, clients, settings)
        screen.add_row("streams", f"{values['streams']:,.0f}")
        screen.add_row("opened per second", f"{values['opened_per_s']:,.0f}")
        by_process = fleet.streams_by_worker()
        values |= {"fewest_streams": min(by_process), "most_streams": max(by_process)}
        values |= _memory(fleet)
        screen.add_row("process memory", f"{values['process_bytes'] / 1e6:,.0f} MB")
        screen.step("listening to pings")
        sample = Sample(values)
        _listen(fleet, clients, settings, sample)
        apart = f"{values['shortest_s']:.2f} to {values['longest_s']:.2f} s apart"
        screen.add_row("pings", apart)
        broadcasts = []
        with Redis.from_url(fleet.redis.url) as redis:
            for number in range(settings.broadcasts):
                screen.step(f"broadcast {number + 1}")
                schedule = Schedule(FIRST_NUMBER + number, 1, 0, settings.payload_bytes)
                broadcasts.append(_broadcast(fleet, Clients(clients), redis, schedule))
                screen.add_row("one event to all", f"{broadcasts[-1].values['seconds']:.2f} s")
        values["processes"] = len(fleet.pids)
    return sample, broadcasts


def _lines(values: Mapping[str, float], broadcasts: Sequence[Sample]) -> list[tuple[str, ...]]:
    kernel_bytes = sum(
        values[name] - values[f"{name}_before"] for name in ("slab_bytes", "buffer_bytes")
    )
    times = Figure("", "", "s", 2).spread_text(spreads_of(broadcasts)["seconds"])
    on_time = "on time" if values["on_time"] else "MISSED"
    memory_bar = f"≤ {BAR_BYTES / 1e6:,.0f} MB" if values["streams"] == BAR_STREAMS else ""
    return [
        ("streams open at once", f"{values['streams']:,.0f}", ""),
        (
            "  of a process",
            f"{values['fewest_streams']:,.0f} to {values['most_streams']:,.0f}",
            "",
        ),
        ("opened per second", f"{values['opened_per_s']:,.0f}", ""),
        ("  refused and opened again", f"{values['refused']:,.0f}", ""),
        ("process memory in all", f"{values['process_bytes'] / 1e6:,.0f} MB", memory_bar),
        ("  before", f"{values['process_bytes_before'] / 1e6:,.0f} MB", ""),
        ("kernel memory, both ends", f"{kernel_bytes / 1e6:,.0f} MB", ""),
        (
            f"between two of {values['fewest_pings']:.0f} pings",
            f"{values['shortest_s']:.2f} to {values['longest_s']:.2f} s",
            f"± {PING_SLACK_S:.0f} s: {on_time}",
        ),
        ("CPU per second and stream", f"{values['idle_us']:.2f} µs", ""),
        ("one event to all", times, f"≤ {BAR_BROADCAST_S:.0f} s"),
    ]


def _clients(fleet: Fleet, streams: int) -> list[Client]:
    """Return a client for each node, or as many as the streams of one port need."""
    addresses = fleet.addresses
    if len(addresses) == 1:
        addresses = addresses * math.ceil(streams / STREAMS_PER_CLIENT)
    return [
        Client(host, port, f"127.0.{number + 1}.1", _SOURCES_PER_CLIENT)
        for number, (host, port) in enumerate(addresses)
    ]


def _memory(fleet: Fleet, suffix: str = "") -> dict[str, float]:
    """Return the memory of all processes of the server and of the machine's kernel, in bytes."""
    return {
        f"process_bytes{suffix}": proc.settled_pss_bytes(*fleet.pids),
        f"buffer_bytes{suffix}": proc.tcp_bytes(),
        f"slab_bytes{suffix}": proc.slab_bytes(),
    }


def _open(fleet: Fleet, clients: Sequence[Client], settings: Settings) -> dict[str, float]:
    counts = shares(settings.streams, len(clients))
    before = proc.cpu_time(*fleet.pids)
    for number, (client, count) in enumerate(zip(clients, counts, strict=True)):
        target = fleet.target(f"bench-{number}-{{}}")
        client.start_opening(count, target, at_once=settings.at_once)
    opened = [client.opened(count) for client, count in zip(clients, counts, strict=True)]
    cpu = proc.cpu_time(*fleet.pids) - before
    return opening_of(opened, cpu.total_s)


def opening_of(opened: Sequence[Opened], cpu_s: float) -> dict[str, float]:
    """Combine the results of clients that opened streams at the same time."""
    streams = sum(one.opened for one in opened)
    seconds = (max(one.end_ns for one in opened) - min(one.start_ns for one in opened)) / 1e9
    return {
        "streams": streams,
        "opening_s": seconds,
        "opened_per_s": streams / seconds,
        "refused": sum(one.refused for one in opened),
        "opening_cpu_s": cpu_s,
        "opening_client_cpu_s": sum(one.cpu_s for one in opened),
    }


def _listen(fleet: Fleet, clients: Sequence[Client], settings: Settings, sample: Sample) -> None:
    seconds = settings.ping_interval_s * (settings.intervals + 1) + PING_SLACK_S
    before = proc.cpu_time(*fleet.pids)
    for client in clients:
        client.start_listening(seconds)
    heard = [client.heard(seconds) for client in clients]
    cpu = proc.cpu_time(*fleet.pids) - before
    sample.values |= pings_of(heard, seconds, settings.ping_interval_s, cpu.total_s)
    if ended := sum(one.streams - one.alive for one in heard):
        sample.notes.append(f"{ended} streams were ended")


def pings_of(
    heard: Sequence[Heard], seconds: float, interval_s: float, cpu_s: float
) -> dict[str, float]:
    """Combine the pings of clients that listened at the same time.

    `fewest_pings` is of one stream, `silent_s` the longest time of a stream without a ping up to
    the end, and `on_time` is 1 when every ping arrived within the slack.
    """
    shortest_s = min(one.shortest_ns for one in heard) / 1e9
    longest_s = max(one.longest_ns for one in heard) / 1e9
    silent_s = max(one.silent_ns for one in heard) / 1e9
    fewest = min(one.fewest for one in heard)
    return {
        "listened_s": seconds,
        "fewest_pings": fewest,
        "shortest_s": shortest_s,
        "longest_s": longest_s,
        "silent_s": silent_s,
        "idle_us": cpu_s / seconds / sum(one.streams for one in heard) * 1e6,
        "on_time": (
            fewest > 1
            and shortest_s >= interval_s - PING_SLACK_S
            and max(longest_s, silent_s) <= interval_s + PING_SLACK_S
        ),
    }


def _broadcast(fleet: Fleet, clients: Clients, redis: Redis, schedule: Schedule) -> Sample:
    """Measure one event for all streams, from PUBLISH to the last stream's read."""
    before = proc.cpu_time(*fleet.pids)
    clients.expect(schedule)
    due_ns = time.monotonic_ns()
    payload = tick_payload("", schedule.first, due_ns, schedule.data_bytes)
    redis.publish("system-events", payload)
    received = clients.received(schedule)
    cpu = proc.cpu_time(*fleet.pids) - before
    values = {
        "seconds": (received.last_ns - due_ns) / 1e9,
        "cpu_s": cpu.total_s,
        "client_cpu_s": received.cpu_s,
    }
    return Sample(values, notes=problems_of("scale", schedule, Sent(1), received))
