"""`webhooks`: a webhook of every user on one dead host, beside streams at a steady rate.

Windows without and with webhooks alternate (A B A B) on one node, so that other load on the machine
affects both. Every user has a stream and a webhook; each event is for one user. The dead host takes
no connection, so that each attempt to reach it lasts three seconds. Registered just before its
window, all webhooks fail for the first time inside it.

Node, Redis and webhooks share a core, the last with `cpu.idle` as in its systemd unit. The client
and the publisher have the others, so that what they measure is not their own waiting.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Annotated

import msgspec

from bench.harness import WebhooksProcess
from bench.harness.servers import SseNode
from bench.measure import procfs as proc
from bench.measure.background import in_background
from bench.measure.log_publisher import LogPublisher, one_log
from bench.measure.sample import Figure, Sample, cells, spread_of
from bench.measure.steady import Load, under_load
from bench.options import Pairs, Payload, Rate, Seconds
from bench.report.tables import Measurements, Screen, measurements, percentiles, table
from sse_node.config.reading import read_settings
from sse_node.redis.address import redis_address
from sse_node.redis.commands import RedisCommands
from sse_node.redis.event_log import EventLog
from sse_node.redis.event_logs import EventLogs
from sse_node.webhooks.dispatcher import GROUP
from sse_node.webhooks.registry import WebhookRegistry, new_id
from sse_node.webhooks.secrets import new_secret

FIGURES = (
    Figure("p50_ms", "p50 ms", digits=2),
    Figure("p99_ms", "p99 ms", digits=2),
    Figure("attempts", "attempts", digits=0),
    Figure("webhooks_busy", "CPU of webhooks %", digits=0),
)
COLUMNS = ("pair", "webhooks", *(figure.title for figure in FIGURES))
_READ_S = 30.0  # arbitrary: 10,000 events take a second
_QUEUED_S = 2.0  # arbitrary; the process gathers events for 25 ms
_FLAGS = ("--webhook-allow-http", "yes", "--webhook-allow-hosts", "127.0.0.1")


class Settings(msgspec.Struct, frozen=True):
    """What is measured."""

    webhooks: Annotated[int, msgspec.Meta(ge=1, le=10_000, description="Users.")] = 1_000
    rate: Rate = 1_000.0
    measured_s: Seconds = 10.0
    pairs: Pairs = 5
    payload_bytes: Payload = 200


class SseNodeWithLog(SseNode):
    """A node whose events are appended to the log, as nodes do it."""

    publishing = "the script of the log by EVALSHA on one connection"

    def sender(self) -> LogPublisher:  # type: ignore[override]
        """Return a publisher on its Redis."""
        return LogPublisher(one_log(self.redis.socket_path))


@contextlib.contextmanager
def dead_host(address: str = "127.0.0.1") -> Iterator[int]:
    """Yield a port where connections are neither accepted nor refused.

    Args:
        address: of loopback, or 0.0.0.0 for all of them.
    """
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.create_server((address, 0), backlog=0))
        port: int = listener.getsockname()[1]
        for _ in range(4):  # fill the queue of connections
            filler = sockets.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port


async def _register(redis_url: str, count: int, port: int) -> list[tuple[str, str]]:
    """Register a webhook of each user; return their ids and users."""
    address = redis_address(redis_url)
    commands = RedisCommands(address, name="bench", timeout_s=10, max_connections=4)
    limits = read_settings({}, {}).webhooks.queue_limits()
    log = EventLog(commands, 1)
    registry = WebhookRegistry(EventLogs([log]), limits, 1)
    await _until_all_read(log)  # what came before the window is no load of it
    made = []
    for number in range(count):
        fields = {
            "id": new_id(),
            "user": f"bench-{number}",
            "url": f"http://127.0.0.1:{port}/",
            "events": '["*"]',
            "secret": new_secret(),
            "enabled": "1",
            "created_at": "",
        }
        await registry.create(fields, b"{}", "", b"")
        made.append((fields["id"], fields["user"]))
    await commands.shutdown()
    return made


async def _until_all_read(log: EventLog) -> None:
    """Wait until the log has no event that the webhooks process has not read and finished."""
    async with asyncio.timeout(_READ_S):
        while True:
            shown = await log.commands.execute("XINFO", "GROUPS", log.keys.log)
            groups = [dict(zip(each[::2], each[1::2], strict=True)) for each in shown]
            of_webhooks = [each for each in groups if each[b"name"] == GROUP.encode()]
            newest = await log.commands.execute("XREVRANGE", log.keys.log, "+", "-", "COUNT", 1)
            if any(
                each[b"pending"] == 0 and each[b"last-delivered-id"] == newest[0][0]
                for each in of_webhooks
            ):
                return
            await asyncio.sleep(0.02)


async def _delete(redis_url: str, webhooks: list[tuple[str, str]]) -> None:
    address = redis_address(redis_url)
    commands = RedisCommands(address, name="bench", timeout_s=10, max_connections=4)
    registry = WebhookRegistry(EventLogs([EventLog(commands, 1)]), "1:1:1", 1)
    for webhook_id, user in webhooks:
        await registry.delete(webhook_id, user)
    await commands.shutdown()


@contextlib.contextmanager
def _maybe_webhooks(
    server: SseNode, settings: Settings, core: int, is_wanted: bool
) -> Iterator[tuple[WebhooksProcess | None, bool]]:
    """Yield the process, if one is wanted, and whether it gives way to others at once."""
    if not is_wanted:
        yield None, False
        return
    url = server.redis.url
    with dead_host() as port:
        with WebhooksProcess("--redis-url", url, *_FLAGS) as process:
            webhooks = asyncio.run(_register(url, settings.webhooks, port))
            with in_background(process.pid, core) as means:
                yield process, means == "cpu.idle"
        asyncio.run(_delete(url, webhooks))


def _all_queued(process: WebhooksProcess, count: int) -> bool:
    """Return whether so many events are in queues, the last ones soon after they were sent."""
    deadline_s = time.monotonic() + _QUEUED_S
    while process.metric("sse_node_webhook_queued_total") < count:
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return True


def measure(
    server: SseNode,
    load: Load,
    settings: Settings,
    screen: Screen,
    *,
    core: int,
    with_webhooks: bool,
) -> Sample:
    """Measure one window. Raises ProcessError."""
    with _maybe_webhooks(server, settings, core, with_webhooks) as (process, gives_way):
        before = proc.cpu_time(process.pid) if process else None
        sending = load.send(settings.measured_s * settings.rate, settings.rate, screen)
        sample = Sample(sending.values(), latency_ns=sending.received.latency_ns)
        sample.notes += sending.problems
        if process is not None and before is not None:
            spent = proc.cpu_time(process.pid) - before
            attempts = process.metric("sse_node_webhook_messages_total", outcome="retry")
            sample.values["attempts"] = attempts
            sample.values["gives_way"] = gives_way
            sample.values["webhooks_busy"] = spent.total_s / sending.seconds * 100
            if not attempts:
                sample.notes.append("nothing was tried at the dead host")
            if not _all_queued(process, sending.schedule.count):
                sample.notes.append("not every event was queued for its webhook")
    return sample


def run(settings: Settings, core: int, screen: Screen) -> Measurements:
    """Measure. Raises ProcessError."""
    without: list[Sample] = []
    with_webhooks: list[Sample] = []
    count = settings.webhooks
    with (
        SseNodeWithLog(core) as server,
        under_load(
            server, streams=count, users=count, payload_bytes=settings.payload_bytes, screen=screen
        ) as load,
    ):
        proc.share_core(server.redis.pid, core)
        warmup = measure(server, load, settings, screen, core=core, with_webhooks=False)
        for pair in range(settings.pairs):
            for group in (without, with_webhooks):
                is_with = group is with_webhooks
                group.append(
                    measure(server, load, settings, screen, core=core, with_webhooks=is_with)
                )
                shown = cells(FIGURES, group[-1].values)
                screen.add_row(str(pair + 1), "yes" if is_with else "no", *shown)
    without[0].notes += warmup.notes
    samples = {"without": without, f"with {count:,} webhooks": with_webhooks}
    return measurements(samples, table("webhooks", ("", *samples), _lines(without, with_webhooks)))


def _lines(without: list[Sample], with_webhooks: list[Sample]) -> list[tuple[str, ...]]:
    pairs = list(zip(with_webhooks, without, strict=True))
    p50, p99 = (
        spread_of(one.values[name] / other.values[name] for one, other in pairs)
        for name in ("p50_ms", "p99_ms")
    )
    assert p50 is not None
    assert p99 is not None
    base, beside = (
        percentiles(sample.latency_ns for sample in samples) for samples in (without, with_webhooks)
    )
    ratio = Figure("", "", digits=2)
    attempts = sum(sample.values["attempts"] for sample in with_webhooks)
    gives_way = all(sample.values["gives_way"] for sample in with_webhooks)
    busy = max(sample.values["webhooks_busy"] for sample in with_webhooks)
    return [
        ("the streams' p50", f"{base.p50:.2f} ms", f"{beside.p50:.2f} ms"),
        ("  divided by without", "1", ratio.spread_text(p50)),
        ("the streams' p99", f"{base.p99:.2f} ms", f"{beside.p99:.2f} ms"),
        ("  divided by without", "1", ratio.spread_text(p99)),
        ("attempts to reach the host", "", f"{attempts:.0f}"),
        ("CPU of the webhooks process, at most", "", f"{busy:.0f} %"),
        ("  which gives way to the others by", "", "cpu.idle" if gives_way else "niceness"),
    ]
