"""More than a node can do at once: the excess is refused, everything else goes on."""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
from typing import TYPE_CHECKING

import pytest
import uvloop

from tests.support.load import Load, a_load, request_bytes
from tests.support.nodes import client_of, read_metrics

if TYPE_CHECKING:
    from bench.harness import NodeProcess, RedisProcess
    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration

ACCOUNTS = 1000
PING_INTERVAL_S = 0.5


@pytest.fixture
def rich_node(start_node: StartNode, redis: RedisProcess) -> NodeProcess:
    """A node with a user `rich` whose accounts are 1.1 MB of JSON."""
    node = start_node("--ping-interval", str(PING_INTERVAL_S), redis=redis)
    with client_of(node) as http:
        missing = ACCOUNTS - len(http.get("/accounts?userId=rich&limit=1000").json())
        account = json.dumps({"name": "😀" * 256, "balance": 1, "userId": "rich"})
        if missing:
            uvloop.run(_create(node, account.encode(), missing))
        assert len(http.get("/accounts?userId=rich&limit=1000").content) > 1_100_000
    return node


async def _create(node: NodeProcess, account: bytes, count: int) -> None:
    async with a_load(node.port, request_bytes("POST", "/accounts", account)) as creating:
        await creating.wait_for_answers(count)


def test_a_large_answer_takes_at_most_20_ms(rich_node: NodeProcess) -> None:
    request = request_bytes("GET", "/accounts?userId=rich&limit=1000")

    async def best_s() -> float:
        async with asyncio.timeout(60), a_load(rich_node.port, request) as reading:
            await reading.wait_for_answers(5)
            while min(reading.took_s[200]) > 0.02:  # other processes have their share of the CPU
                await reading.wait_for_answers(len(reading.took_s[200]) + 1)
            assert list(reading.took_s) == [200]
            return min(reading.took_s[200])

    assert uvloop.run(best_s()) <= 0.02


def worst_s(load: Load) -> float:
    """The longest that an answer took."""
    return max(itertools.chain(*load.took_s.values()))


async def ping_gaps_s(node: NodeProcess, count: int) -> list[float]:
    """Return the times between the pings of one stream."""
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(b"GET /events/sse/quiet HTTP/1.1\r\nHost: localhost\r\n\r\n")
    times: list[float] = []
    while len(times) <= count:
        if await reader.readline() == b"event: ping\n":
            times.append(asyncio.get_running_loop().time())
    writer.close()
    return [after - before for before, after in itertools.pairwise(times)]


def test_publishing_and_the_link_check_never_wait_behind_reads(rich_node: NodeProcess) -> None:
    read = request_bytes("GET", "/accounts?userId=rich&limit=1000")
    event = b'{"userId":"quiet","eventType":"t","data":1}'

    async def overload() -> tuple[Load, Load, Load, list[float]]:
        async with (
            asyncio.timeout(60),
            a_load(rich_node.port, request_bytes("POST", "/events", event)) as posts,
            a_load(rich_node.port, request_bytes("GET", "/health/ready")) as ready,
            a_load(rich_node.port, read, connections=600) as reads,
        ):
            gaps = await ping_gaps_s(rich_node, 8)  # so for four seconds and more
            await posts.wait_for_answers(20)
            await reads.wait_for_statuses(200, 503)
            return reads, posts, ready, gaps

    reads, posts, ready, gaps = uvloop.run(overload())
    assert set(posts.took_s) == {202}
    assert worst_s(posts) < 5  # a read waits for 0.75 s, a machine may be busy
    assert set(ready.took_s) == {200}
    assert set(reads.took_s) == {200, 503}
    assert b"\r\nRetry-After: " in reads.heads[503]
    assert worst_s(reads) < 10
    assert max(gaps) < PING_INTERVAL_S + 3
    assert statistics.median(gaps) < PING_INTERVAL_S + 0.2
    assert posts.lost == ready.lost == reads.lost == 0
    assert not [line for line in rich_node.log if "away" in line]
    with client_of(rich_node) as http:
        metrics = read_metrics(http)
        assert metrics["sse_node_redis_requests_refused_total", "read"] > 0
        assert metrics["sse_node_redis_requests_refused_total", "write"] == 0
        assert metrics["sse_node_redis_command_failures_total", ""] == 0
        assert http.get("/accounts?userId=rich&limit=1000").status_code == 200


def test_link_check_never_waits_behind_writes(start_node: StartNode, redis: RedisProcess) -> None:
    node = start_node("--redis-connections", "3", "--audit-interval", "1", redis=redis)
    events = json.dumps([{"userId": "a", "eventType": "t", "data": "x" * 500}] * 200).encode()

    async def overload() -> tuple[Load, Load]:
        async with (
            asyncio.timeout(60),
            a_load(node.port, request_bytes("GET", "/health/ready")) as ready,
            a_load(node.port, request_bytes("POST", "/events", events), 600) as posts,
        ):
            await posts.wait_for_answers(1200)
            await posts.wait_for_statuses(202, 503)
            return ready, posts

    ready, posts = uvloop.run(overload())
    assert set(ready.took_s) == {200}
    assert set(posts.took_s) == {202, 503}
    assert b"\r\nRetry-After: " in posts.heads[503]
    assert not [line for line in node.log if "away" in line]
    with client_of(node) as http:
        assert read_metrics(http)["sse_node_redis_requests_refused_total", "write"] > 0
