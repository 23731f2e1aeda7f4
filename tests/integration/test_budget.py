"""What opening a stream, an idle stream and an event cost, in counts that no machine changes.

The figures stand in tests/budget.json; a count that is more than a tenth above its figure fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import re
import shutil
import sys
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uvloop
from redis import Redis

from bench.harness import NodeProcess, RedisProcess
from bench.measure.load import Client
from sse_node.config.reading import read_settings
from sse_node.delivery.fanout import Fanout
from sse_node.delivery.history import History
from sse_node.delivery.hub import Hub
from sse_node.http.connection import HttpConnection
from sse_node.node.composition import Node
from tests.support.nodes import wait_until
from tests.support.swarm import Member, Swarm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import FrameType

    from sse_node.delivery.fanout import Message

pytestmark = pytest.mark.integration

_BUDGET = Path(__file__).parent.parent / "budget.json"
_TOLERANCE = 1.1


def assert_within_budget(name: str, count: float) -> None:
    budget = json.loads(_BUDGET.read_text())[name]
    assert count <= budget * _TOLERANCE, (
        f"{name} has grown to {count:.2f}; tests/budget.json has {budget:g}, and a tenth more is "
        "let through. Find what has grown. Where it is worth its price, put the new count into "
        "that file and say in the commit what for."
    )


# Idle streams


def anonymous_pss_bytes(pid: int) -> int:
    """A process's memory without its share of files: that changes with who else has them open."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return 1024 * int(rollup.partition("Pss_Anon:")[2].split()[0])


def memory_bytes_per_stream() -> float:
    streams = 2_000
    with RedisProcess() as redis, NodeProcess("--redis-url", redis.url) as node:
        node.wait_ready()
        with Client(node.host, node.port) as first, Client(node.host, node.port) as client:
            first.open_streams(200, "/events/sse/first-{}")  # what the first ones make grow
            before = anonymous_pss_bytes(node.pid)
            client.open_streams(streams, "/events/sse/user-{}")
            return (anonymous_pss_bytes(node.pid) - before) / streams


def test_process_memory_of_a_stream() -> None:
    assert_within_budget("memory_bytes_per_stream", memory_bytes_per_stream())


@contextlib.asynccontextmanager
async def node_in_this_process() -> AsyncIterator[tuple[str, int]]:
    """A node that opens streams without Redis, in this thread; its address."""
    server = Node(read_settings({"server_id": "node-1"}, {}), "unix:///nowhere/redis.sock")
    server.streams.serving = True
    for shard in server.shards:
        shard.serving = True
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(
        lambda: HttpConnection(server.site), "127.0.0.1", 0, backlog=1000
    )
    try:
        yield listener.sockets[0].getsockname()
    finally:
        listener.close()
        server.streams.shutdown()
        await server.streams.wait_closed()


async def gc_objects_per_stream() -> float:
    streams = 500

    async def objects_with(client: Client, more: int, target: str) -> int:
        await asyncio.to_thread(client.open_streams, more, target)
        gc.collect()
        return len(gc.get_objects())

    async with node_in_this_process() as address:
        with Client(*address) as first, Client(*address) as client:
            before = await objects_with(first, 20, "/events/sse/first-{}")  # what these make grow
            count = await objects_with(client, streams, "/events/sse/user-{}") - before
    return count / streams


def test_objects_of_a_stream_that_the_collector_looks_at() -> None:
    assert_within_budget("gc_objects_per_stream", uvloop.run(gc_objects_per_stream()))


async def calls_per_opened_stream() -> float:
    """Count the functions that are called, of Python and of C, from the accept to `sse.open`."""
    streams = 500
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    async with node_in_this_process() as address:
        with Client(*address) as first, Client(*address) as client:
            await asyncio.to_thread(first.open_streams, 20, "/events/sse/first-{}")
            sys.setprofile(count)
            try:
                await asyncio.to_thread(client.open_streams, streams, "/events/sse/user-{}")
            finally:
                sys.setprofile(None)
    return calls / streams


def test_calls_that_open_a_stream() -> None:
    assert_within_budget("calls_per_opened_stream", uvloop.run(calls_per_opened_stream()))


# Events


class TracedNode(NodeProcess):
    """A node whose system calls are written down; strace is its child (-D), not its parent."""

    def __init__(self, trace: Path, *flags: str) -> None:
        super().__init__(*flags)
        strace = shutil.which("strace")
        assert strace is not None, "strace is missing; `make test-servers` installs it"
        options = ("-D", "-f", "-s", "256", "-o", str(trace))
        self.command = (strace, *options, *NodeProcess.command)


def system_calls_per_delivery(trace: Path) -> float:
    """Count from the read that brings the second event to the last write of the last one."""
    streams, events = 100, 100

    async def publish_one_by_one(node: NodeProcess, publisher: Redis) -> None:
        swarm = Swarm(node.port)
        await swarm.open([Member("ann") for _ in range(streams)])
        for number in range(events + 1):
            data = {"userId": "ann", "eventType": "count.up", "data": {"number": number}}
            publisher.publish("user-events", json.dumps(data, separators=(",", ":")))
            async with asyncio.timeout(10):
                await swarm.wait_for_numbers(number + 1)
        await swarm.close()

    with RedisProcess() as redis, TracedNode(trace, "--redis-url", redis.url) as node:
        node.wait_ready()
        with Redis.from_url(redis.url) as publisher:
            uvloop.run(publish_one_by_one(node, publisher))
        node.terminate()
        wait_until(lambda: "+++ exited" in trace.read_text(), "strace has written all")
    calls = [line for line in trace.read_text().splitlines() if "resumed>" not in line]
    number = re.compile(r'number\\":(\d+)')
    carriers = [i for i, line in enumerate(calls) if number.search(line)]
    first = next(i for i in carriers if r"number\":1}" in calls[i])
    return (carriers[-1] + 1 - first) / (streams * events)


def test_system_calls_of_a_delivery(tmp_path: Path) -> None:
    assert_within_budget("system_calls_per_delivery", system_calls_per_delivery(tmp_path / "trace"))


class NoStream:
    """What the fan-out needs of a stream."""

    def write(self, data: bytes) -> None:
        """Write nothing."""


def allocations_per_event() -> dict[str, float]:
    """What an event leaves in memory besides its payload, and what a batch needs on its way."""
    users, batch_size, batches = 10, 10, 100
    hub = Hub()
    for user in range(users):
        for _ in range(3):
            hub.add(NoStream(), (f"user-{user}", " system-events"))
    fanout = Fanout(
        hub,
        History(100_000, 100_000_000),
        max_event_bytes=100_000,
        event_names=False,
        on_dropped=lambda error: None,
    )
    fanout.log_name = b"0123456789abcdef"
    payload = (
        b'{"id":"1763900000%03d-0","log":"0123456789abcdef","userId":"user-%d","eventType":"snapshots.generated",'
        b'"data":{"snapshotCount":1,"timestamp":"2025-08-26T03:44:57.419Z","serverId":"node-2"}}'
    )
    messages: list[Message] = [
        [b"message", b"user-events", payload % (n, n % users)]
        for n in range((batches + 10) * batch_size)
    ]
    todo = [messages[i : i + batch_size] for i in range(0, len(messages), batch_size)]
    ours = [tracemalloc.Filter(True, "*/sse_node/*")]
    tracemalloc.start()
    for batch in todo[:10]:  # what the first ones make grow
        fanout.deliver(batch)
    gc.collect()
    before = tracemalloc.take_snapshot().filter_traces(ours).traces
    peaks = []
    for batch in todo[10:]:
        tracemalloc.reset_peak()
        start, _ = tracemalloc.get_traced_memory()
        fanout.deliver(batch)
        peaks.append(tracemalloc.get_traced_memory()[1] - start)
    gc.collect()
    after = tracemalloc.take_snapshot().filter_traces(ours).traces
    tracemalloc.stop()
    assert not fanout.dropped
    assert fanout.deliveries == len(messages) * 3
    events = batches * batch_size
    return {
        "kept_blocks_per_event": (len(after) - len(before)) / events,
        "kept_bytes_per_event": (
            sum(trace.size for trace in after) - sum(trace.size for trace in before)
        )
        / events,
        "peak_bytes_per_event": sorted(peaks)[batches // 2] / batch_size,
    }


def test_allocations_of_an_event() -> None:
    for name, count in allocations_per_event().items():
        assert_within_budget(name, count)
