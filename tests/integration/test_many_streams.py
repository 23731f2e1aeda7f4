"""Thousands of streams on one node: back at once after a cut, away in order on a stop signal."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections import Counter
from typing import TYPE_CHECKING

import httpx
import pytest
import uvloop
from redis import Redis

from tests.support.nodes import active_streams, client_of, read_metrics, wait_until
from tests.support.swarm import Member, a_swarm

if TYPE_CHECKING:
    from bench.harness import NodeProcess, RedisProcess
    from tests.support.nodes import StartNode

USERS = 1000


def publish_numbers(http: httpx.Client, number: int) -> list[str]:
    """Publish one numbered event to each user; return the ids."""
    events = [
        {"userId": f"u{user}", "eventType": "count.up", "data": {"number": number}}
        for user in range(USERS)
    ]
    ids: list[str] = http.post("/events", json=events).raise_for_status().json()["ids"]
    return ids


@pytest.mark.parametrize("history", [16_384, 100], ids=["from memory", "from the log"])
def test_ten_thousand_streams_are_back_within_five_seconds(
    redis: RedisProcess, start_node: StartNode, history: int
) -> None:
    streams = 10_000
    node = start_node("--history", str(history), redis=redis)
    with client_of(node) as http, Redis.from_url(redis.url) as commands:
        first = publish_numbers(http, 0)[-1]
        for number in range(1, 6):
            publish_numbers(http, number)

        async def come_back() -> float:
            async with a_swarm(node.port) as swarm:
                members = [Member(f"u{i % USERS}", first) for i in range(streams)]
                before = commands.info("stats")["total_commands_processed"]
                started = time.monotonic()
                async with asyncio.timeout(30):
                    await swarm.open(members)
                    took = time.monotonic() - started
                    await swarm.wait_for_numbers(5)
                after = commands.info("stats")["total_commands_processed"]
                assert all(member.resumed == 1 for member in members)
                assert all(member.numbers == [1, 2, 3, 4, 5] for member in members)
                assert after - before < 100
                return took

        assert uvloop.run(come_back()) <= 5.0


def test_a_drain_ends_five_thousand_streams_at_a_flat_rate_and_loses_nothing(
    redis: RedisProcess, start_node: StartNode
) -> None:
    streams = 5_000
    leaving = start_node("--drain-delay", "0.5", redis=redis, server_id="leaving")
    staying = start_node(redis=redis, server_id="staying")

    async def deploy() -> tuple[list[Member], int]:
        async with a_swarm(leaving.port, comes_back=True) as swarm:
            members = [Member(f"u{i % USERS}") for i in range(streams)]
            await swarm.open(members)
            swarm.port = staying.port
            exited = asyncio.create_task(asyncio.to_thread(leaving.terminate, 30))
            number = 0
            while not exited.done() or len(swarm.transports) < streams:
                await asyncio.to_thread(publish_numbers, http, number)
                number += 1
                await asyncio.sleep(0.25)
            async with asyncio.timeout(20):
                await swarm.wait_for_opens(2 * streams)
                await swarm.wait_for_numbers(number)
            assert await exited == 0
            return members, number

    with client_of(staying) as http:
        members, published = uvloop.run(deploy())
    assert all(member.numbers == list(range(published)) for member in members)
    assert all(member.resumed == 1 for member in members)
    assert all(member.resets == 0 for member in members)
    ended = [member.ended_s[0] for member in members]
    per_second = Counter(int(moment - min(ended)) for moment in ended)
    assert 4 <= max(ended) - min(ended) <= 7  # 1,000 streams a second
    full_seconds = [per_second[second] for second in range(4)]
    assert max(full_seconds) <= 1.25 * min(full_seconds)


def pss_bytes(node: NodeProcess) -> int:
    """The node's process memory."""
    with open(f"/proc/{node.pid}/smaps_rollup", encoding="ascii") as rollup:
        return 1024 * int(next(line for line in rollup if line.startswith("Pss:")).split()[1])


def test_a_client_that_stops_reading_is_gone_within_ten_seconds_and_its_memory_too(
    redis: RedisProcess, start_node: StartNode
) -> None:
    node = start_node(redis=redis)
    payload = json.dumps({"pad": "x" * 400})
    message = f'{{"userId":"slow","eventType":"tick.tock","data":{payload}}}'.encode()
    with client_of(node) as http, Redis.from_url(redis.url) as publisher:
        before = pss_bytes(node)
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", node.port))
            slow.sendall(b"GET /events/sse/slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
            wait_until(lambda: active_streams(http) == 1, "the stream is open")
            started = time.monotonic()
            sent = 0
            while active_streams(http) == 1:
                with publisher.pipeline(transaction=False) as batch:  # 1,000 events a second
                    for _ in range(100):
                        batch.publish("user-events", message)
                    batch.execute()
                sent += 100
                assert time.monotonic() - started <= 10, f"still there after {sent} events"
                time.sleep(max(0.0, started + sent / 1000 - time.monotonic()))
        assert read_metrics(http)["sse_node_streams_closed_total", "slow-client"] == 1
        wait_until(lambda: pss_bytes(node) < before + 2_000_000, "the memory is back")
