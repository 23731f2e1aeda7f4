"""Silence is never taken for quiet: what the audit finds, on a real Valkey."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from bench.harness import RedisProcess
from sse_node.delivery.history import History, RollbackMark
from sse_node.redis.address import RedisAddress
from sse_node.redis.commands import RedisCommands
from sse_node.redis.event_log import EventLog
from sse_node.redis.keys import probe_channel
from sse_node.redis.link_check import LinkCheck
from sse_node.redis.namesakes import Namesakes
from sse_node.redis.subscriber import Message
from sse_node.redis.subscription import Subscription
from sse_node.wire.envelope import encode_envelope

CHANNEL = probe_channel("node-1")


class Node:
    """An audit with a link that hears probes, unless it is told not to."""

    def __init__(self, valkey: RedisProcess, log: EventLog) -> None:
        self.deaf = False
        self.history = History(10, 1000)
        self.link = Subscription(
            RedisAddress(unix_socket_path=str(valkey.socket_path)),
            name="test",
            channels=[CHANNEL.encode()],
            on_batch=self._on_batch,
            catch_up=self._catch_up,
            ping_interval_s=5,
        )
        self._log = log
        self._health: asyncio.Queue[bool] = asyncio.Queue()
        self.namesakes = Namesakes("node-1", overlap_s=0.5, silence_s=1)
        self.link_check = LinkCheck(
            log,
            self.history,
            self.link,
            server_id="node-1",
            interval_s=0.2,
            on_health=self._health.put_nowait,
            namesakes=self.namesakes,
        )

    def _on_batch(self, batch: list[Message]) -> None:
        for _, _, payload in batch:
            if not self.deaf:
                self.link_check.on_probe(payload)

    async def _catch_up(self) -> None:
        self.history.reset(await self._log.open())
        self.history.rollback = await self._log.rollback()

    async def start(self) -> None:
        """Start the link, then the audit."""
        self.link.start()
        async with asyncio.timeout(10):
            await self.link.up.wait()
        self.link_check.start()

    async def next_health(self) -> bool:
        """Wait for the next probe; return whether Redis took it."""
        async with asyncio.timeout(10):
            return await self._health.get()

    async def until_rebuilt(self) -> None:
        """Wait until the audit has had the link rebuilt; twenty probes at most."""
        for _ in range(20):
            assert await self.next_health()
            if self.link_check.rebuilds:
                return
        pytest.fail("the audit has found nothing")

    async def shutdown(self) -> None:
        """End both."""
        await self.link_check.shutdown()
        await self.link.shutdown()


@pytest.fixture
async def node(valkey: RedisProcess, log: EventLog) -> AsyncIterator[Node]:
    node = Node(valkey, log)
    yield node
    await node.shutdown()


async def test_quiet_is_no_silence(node: Node) -> None:
    await node.start()
    for _ in range(8):
        assert await node.next_health()
    assert node.link_check.rebuilds == 0
    assert node.link.subscriptions == 1


async def test_link_that_hears_nothing_is_rebuilt(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    await node.start()
    node.deaf = True
    await node.until_rebuilt()
    assert "2 probes were not heard in time" in caplog.text
    node.deaf = False
    async with asyncio.timeout(10):
        while node.link.subscriptions < 2:
            await node.next_health()
    assert node.link_check.rebuilds == 1


async def test_link_that_has_not_brought_what_is_in_the_log_is_rebuilt(
    node: Node, log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    await node.start()
    await log.publish([("user-events", encode_envelope("1", "t", b"1", broadcast=False))])
    await node.until_rebuilt()
    assert "the log has entries that were not heard" in caplog.text
    async with asyncio.timeout(10):
        while node.history.position < await log.open():
            await node.next_health()


async def test_log_that_ends_before_the_position_is_found_at_once(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    await node.start()
    await node.next_health()
    node.history.reset(2**127)
    await node.next_health()
    await node.until_rebuilt()
    assert "the log does not hold this node's position" in caplog.text


async def test_probes_of_another_node_with_this_name_are_not_its_own(
    node: Node, commands: RedisCommands
) -> None:
    await node.start()
    for number in (b"999999", b"-1", b"", b"\xb2", b"9" * 5000):
        await commands.execute("PUBLISH", CHANNEL, number)
    for _ in range(8):
        assert await node.next_health()
    assert node.link_check.rebuilds == 0


async def test_two_nodes_of_one_name_find_each_other(
    node: Node, valkey: RedisProcess, log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    other = Node(valkey, log)
    await node.start()
    await other.start()
    async with asyncio.timeout(10):
        while not (node.namesakes.is_found and other.namesakes.is_found):
            await node.next_health()
    assert node.link_check.rebuilds == other.link_check.rebuilds == 0
    assert f"another live process has the server id node-1 ('{socket.gethostname()} pid" in (
        caplog.text
    )
    await other.shutdown()
    async with asyncio.timeout(10):
        while node.namesakes.is_found:
            await node.next_health()


async def test_redis_away_is_told_and_rebuilds_nothing(
    valkey: RedisProcess, no_redis: RedisCommands
) -> None:
    node = Node(valkey, EventLog(no_redis, 100))
    node.link_check.start()
    for _ in range(3):
        assert not await node.next_health()
    await node.shutdown()
    assert node.link_check.rebuilds == 0


async def test_what_never_started_is_shut_down_as_well(node: Node) -> None:
    await node.link_check.shutdown()


async def test_link_is_rebuilt_when_another_node_has_marked_a_rollback(
    node: Node, log: EventLog
) -> None:
    await node.start()
    mark = await log.mark_rollback(RollbackMark(), RollbackMark())
    node.history.append(mark.position, "", b"")  # nothing else is wrong
    await node.until_rebuilt()
    async with asyncio.timeout(10):
        while node.link.subscriptions < 2:
            await node.next_health()
    assert node.link_check.rebuilds == 1
