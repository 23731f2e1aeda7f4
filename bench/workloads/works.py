"""The workloads that servers are compared at: each is a function of a `Server`.

Every measurement starts a server of its own and ends it, so that nothing is left behind for the
next one. Load is open-loop: an event is due by the clock, whatever became of the one before, and
its latency counts from then. A server that loses events or is late is not an error here:
`Sample.notes` report it.

Memory is the PSS of the process after it has settled. The kernel's memory is that of the machine:
both ends of each stream, and everything else that runs.
"""

import contextlib
from collections.abc import Iterator, Sequence

from bench.harness import RedisProcess
from bench.harness.servers import Server
from bench.measure import procfs as proc
from bench.measure.load import Client, Publisher, Subscriber
from bench.measure.sample import Figure, Sample
from bench.measure.steady import Load, Sending, under_load
from bench.report.tables import Screen
from bench.workloads.work import Settings, Work

_HELD_MARGIN = 1.1  # arbitrary: a rate was not held if its events took 10 % longer
_HELD_GRACE_S = 0.2  # arbitrary: this much latency is no backlog
_OFFERED_SHARE = 0.6  # arbitrary: of the rate a server held, to leave room
_LEAST_SHARE = 0.01  # arbitrary: of the requested rate, so that a measurement ends
_LATE_S = 1.0  # arbitrary: report the last event if it is later than this
_PROBE_EVENTS = 20  # arbitrary: enough for an estimate of a server's speed
_SATURATED_S = 4.0  # arbitrary: approximate duration of a saturated measurement
_IDLE_STEPS = 4  # points of the memory plot
_OPEN_WARMUP = 0.1  # arbitrary: share of the streams that are opened as a warm-up


def _rate_it_holds(
    load: Load, rate: float, seconds: float, notes: list[str], screen: Screen
) -> float:
    """Warm up; return `rate`, or a lower rate that the server can hold, and add a note."""
    for _ in range(2):  # the second time it is warm
        sending = load.send(rate * seconds, rate, screen)
        due_s = sending.schedule.count / rate
        in_time = sending.seconds <= due_s * _HELD_MARGIN + _HELD_GRACE_S
        if in_time and sending.received.lossless(sending.schedule):
            return rate
    held = min(rate, sending.schedule.count / sending.seconds)
    offered = max(rate * _LEAST_SHARE, float(f"{held * _OFFERED_SHARE:.2g}"))
    notes.append(f"cannot hold {rate:,.0f} events/s (it did {held:,.0f}): offered {offered:,g}")
    return offered


def _measure(
    load: Load, count: float, rate: float, screen: Screen, notes: Sequence[str] = ()
) -> Sample:
    """Send events that count."""
    tcp_before_bytes = proc.tcp_bytes()
    sending = load.send(count, rate, screen)
    values = sending.values()
    values["socket_kb"] = max(0, proc.tcp_bytes() - tcp_before_bytes) / 1000
    if load.pids:
        values["memory_mb"] = proc.pss_bytes(*load.pids) / 1e6
    else:
        for key in ("cpu_us", "user_us", "system_us", "busy"):
            del values[key]
    return Sample(values, latency_ns=sending.received.latency_ns, notes=[*notes, *_notes(sending)])


def _measure_at_rate(
    server: Server, streams: int, users: int, rate: float, settings: Settings, screen: Screen
) -> Sample:
    """Send events at a rate, or at a lower one that the server holds."""
    notes: list[str] = []
    with under_load(
        server,
        streams=streams,
        users=users,
        payload_bytes=settings.payload_bytes,
        screen=screen,
    ) as load:
        offered = _rate_it_holds(load, rate, settings.warmup_s, notes, screen)
        return _measure(load, offered * settings.measured_s, offered, screen, notes)


def measure_fanout(server: Server, settings: Settings, screen: Screen) -> Sample:
    """One user with many streams, events at a steady rate."""
    streams, rate = settings.fanout_streams, settings.fanout_rate
    return _measure_at_rate(server, streams, 1, rate, settings, screen)


def measure_unicast(server: Server, settings: Settings, screen: Screen) -> Sample:
    """Many users with one stream each, events for each of them in turn."""
    users, rate = settings.unicast_users, settings.unicast_rate
    return _measure_at_rate(server, users, users, rate, settings, screen)


def measure_latency(server: Server, settings: Settings, screen: Screen) -> Sample:
    """One stream, few events."""
    return _measure_at_rate(server, 1, 1, settings.latency_rate, settings, screen)


@contextlib.contextmanager
def bare_subscriber(core: int, payload_bytes: int) -> Iterator[Load]:
    """Start a bare subscriber on this core and its Redis. Raises ProcessError."""
    with (
        RedisProcess() as redis,
        Publisher(redis.url) as publisher,
        Subscriber(redis.url, cpu=core) as subscriber,
    ):
        yield Load(
            "bare subscriber", [subscriber.pid], subscriber, publisher, payload_bytes=payload_bytes
        )


def measure_bare_latency(core: int, settings: Settings, screen: Screen) -> Sample:
    """The same events, read from Redis by a C program, without a server."""
    rate = settings.latency_rate
    with bare_subscriber(core, settings.payload_bytes) as load:
        load.send(rate * settings.warmup_s, rate, screen)
        sample = _measure(load, rate * settings.measured_s, rate, screen)
    del sample.values["frame_bytes"], sample.values["client_busy"]
    return sample


def measure_saturate(server: Server, settings: Settings, screen: Screen) -> Sample:
    """One user with many streams, events as fast as possible."""
    streams = settings.saturate_streams

    def events_of(seconds: float, before: Sending) -> float:
        due = before.received.deliveries / before.seconds * seconds / streams
        return min(settings.saturate_events, max(_PROBE_EVENTS, due))

    with under_load(
        server, streams=streams, payload_bytes=settings.payload_bytes, screen=screen
    ) as load:
        probe = load.send(_PROBE_EVENTS, 0, screen)
        warmup = load.send(events_of(settings.warmup_s, probe), 0, screen)
        return _measure(load, events_of(_SATURATED_S, warmup), 0, screen)


def measure_idle(server: Server, settings: Settings, screen: Screen) -> Sample:
    """Streams without events, only pings: memory in steps, then CPU while all are open."""
    streams, seconds = settings.idle_streams, settings.idle_s
    memory = [(0, proc.settled_pss_bytes(*server.pids))]
    buffers_before, slabs_before = proc.tcp_bytes(), proc.slab_bytes()
    with Client(server.host, server.port) as client:
        for step in range(1, _IDLE_STEPS + 1):
            opened, wanted = memory[-1][0], streams * step // _IDLE_STEPS
            screen.step(f"{server.name}: opening {wanted} streams")
            client.open_streams(wanted - opened, server.target("bench-{}"), first=opened)
            memory.append((wanted, proc.settled_pss_bytes(*server.pids)))
        buffer_bytes = max(0, proc.tcp_bytes() - buffers_before)
        slab_bytes = proc.slab_bytes() - slabs_before
        screen.step(f"{server.name}: listening for {seconds:.0f} s")
        cpu_before = proc.cpu_time(*server.pids)
        client.start_listening(seconds)
        heard = client.heard(seconds)
        cpu = proc.cpu_time(*server.pids) - cpu_before
    values = {
        "streams": streams,
        "pings": heard.pings / streams,
        "client_busy": heard.cpu_s / seconds * 100,
        "socket_bytes": buffer_bytes / streams,
        "kernel_bytes": (buffer_bytes + slab_bytes) / streams,
    }
    if server.pids:
        values |= {
            "stream_bytes": (memory[-1][1] - memory[0][1]) / streams,
            "idle_us": cpu.total_s / seconds / streams * 1e6,
            "memory_mb": memory[-1][1] / 1e6,
        }
    ended = heard.streams - heard.alive
    notes = [f"{ended} streams were ended"] if ended else []
    return Sample(values, memory=memory if server.pids else [], notes=notes)


def measure_open(server: Server, settings: Settings, screen: Screen) -> Sample:
    """Streams opened as fast as possible, 256 at a time, a user each."""
    count = settings.open_streams
    with Client(server.host, server.port) as client:
        client.open_streams(max(1, round(count * _OPEN_WARMUP)), server.target("early-{}"))
        screen.step(f"{server.name}: opening {count} streams")
        before = proc.cpu_time(*server.pids)
        opened = client.open_streams(count, server.target("bench-{}"))
        cpu = proc.cpu_time(*server.pids) - before
    values = {
        "streams": opened.opened,
        "opened_per_s": opened.opened / opened.seconds,
        "client_busy": opened.cpu_s / opened.seconds * 100,
        "refused": opened.refused,
    }
    if server.pids:
        values |= {
            "cpu_us": cpu.total_s / opened.opened * 1e6,
            "busy": cpu.total_s / opened.seconds * 100,
        }
    return Sample(values)


def _notes(sending: Sending) -> list[str]:
    """Return what went wrong: lost, late or unordered events, and ended streams."""
    schedule, sent, received = sending.schedule, sending.sent, sending.received
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
_BUSY = (Figure("busy", "its core busy", "%"), Figure("client_busy", "client's core busy", "%"))
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
_DELIVERIES = Figure("deliveries_per_s", "deliveries", "/s")
_CPU_PER_DELIVERY = Figure("cpu_us", "CPU per delivery", "µs", 2)
_WINDOW = ("warmup_s", "measured_s", "payload_bytes")


def _figures_at_rate(cpu: Figure, offered_digits: int) -> tuple[Figure, ...]:
    offered = Figure("offered_per_s", "events offered", "/s", offered_digits)
    return (cpu, *_CPU, offered, _DELIVERIES, *_LATENCY, *_BUSY, *_SIZES)


WORKS = {
    work.name: work
    for work in (
        Work(
            "fanout",
            "{fanout_streams:,} streams of one user, {fanout_rate:g} events a second",
            measure_fanout,
            _figures_at_rate(_CPU_PER_DELIVERY, 1),
            _WINDOW,
            with_floor=True,
        ),
        Work(
            "saturate",
            "{saturate_streams:,} streams of one user, events as fast as they go",
            measure_saturate,
            (
                _DELIVERIES,
                Figure("events", "events sent"),
                *(_CPU_PER_DELIVERY, *_CPU, *_BUSY, *_SIZES),
            ),
            ("warmup_s", "payload_bytes"),
        ),
        Work(
            "unicast",
            "{unicast_users:,} users with one stream each, {unicast_rate:,g} events a second",
            measure_unicast,
            _figures_at_rate(Figure("cpu_us", "CPU per event", "µs", 2), 0),
            _WINDOW,
            with_floor=True,
        ),
        Work(
            "latency",
            "one stream, {latency_rate:g} events a second",
            measure_latency,
            (*_LATENCY, Figure("cpu_us", "CPU per event", "µs", 1), *_SIZES),
            _WINDOW,
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
                Figure("pings", "pings per stream", "", 2),
                Figure("memory_mb", "process memory in all", "MB", 1),
                Figure("client_busy", "client's core busy", "%"),
            ),
        ),
        Work(
            "open",
            "{open_streams:,} streams opened, a user each, 256 at a time",
            measure_open,
            (
                Figure("opened_per_s", "streams opened", "/s"),
                Figure("cpu_us", "CPU per stream", "µs"),
                *_BUSY,
            ),
        ),
    )
}
"""All workloads by name."""
