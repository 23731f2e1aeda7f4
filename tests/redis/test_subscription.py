"""The subscription over all its connections: nothing is delivered out of order or too soon."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis

from sse_node.errors import RedisError
from sse_node.redis.address import RedisAddress
from sse_node.redis.subscription import Subscription
from tests.support.fakes import (
    BOTH_LOOPS,
    FAKE_CLOCK,
    FakeClockLoop,
    FakeRedis,
    FakeRedisServer,
    Watched,
    confirmation,
    push,
    settle,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bench.harness import RedisProcess
    from sse_node.redis.address import RedisAddress
from sse_node.redis.subscriber import Message

CHANNELS = [b"user-events", b"system-events"]


class Node(Watched):
    """What a node does with a link: it notes what is delivered, and catches up as told.

    Attributes:
        payloads: what was delivered.
        catch_ups: how often the log was to be read.
        failures: what the next times of catching up raise.
        log_is_slow: catching up waits until this is cleared and `on_change` called.
    """

    def __init__(self, address: RedisAddress, ping_interval_s: float = 5.0) -> None:
        super().__init__()
        self.payloads: list[bytes] = []
        self.catch_ups = 0
        self.failures: list[Exception] = []
        self.log_is_slow = False
        self.link = Subscription(
            address,
            name="node-1",
            channels=CHANNELS,
            on_batch=self._on_batch,
            catch_up=self._catch_up,
            ping_interval_s=ping_interval_s,
        )

    def _on_batch(self, batch: list[Message]) -> None:
        self.payloads += [message[2] for message in batch]
        self.on_change()

    async def _catch_up(self) -> None:
        self.catch_ups += 1
        self.on_change()
        if self.failures:
            raise self.failures.pop(0)
        await self.until(lambda: not self.log_is_slow)
        self.payloads.append(b"caught up")
        asyncio.get_running_loop().call_soon(self.on_change)  # the link is up then

    async def until_delivered(self, *payloads: bytes) -> None:
        await self.until(lambda: self.payloads == list(payloads))

    async def until_caught_up(self, times: int) -> None:
        await self.until(lambda: self.catch_ups == times)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[FakeRedisServer]:
    server = FakeRedisServer(tmp_path / "redis.sock")
    await server.start()
    yield server
    await server.shutdown()


@pytest.fixture
async def node(server: FakeRedisServer) -> AsyncIterator[Node]:
    node = Node(RedisAddress(unix_socket_path=server.path))
    yield node
    await node.link.shutdown()


def message(payload: bytes) -> bytes:
    return push(b"message", b"user-events", payload)


async def until_up(node: Node, times: int = 1) -> None:
    """Wait until the link is up for the n-th time."""
    await node.until(lambda: node.link.subscriptions >= times)
    assert node.link.up.is_set()


async def nth_connection(server: FakeRedisServer, number: int) -> FakeRedis:
    """Wait for the n-th connection, counted from 1, and its SUBSCRIBE."""
    await server.until(lambda: len(server.connections) >= number)
    connection = server.connections[number - 1]
    await server.until(lambda: b"SUBSCRIBE" in connection.names)
    return connection


@BOTH_LOOPS
class TestSubscribing:
    async def test_it_is_up_when_it_is_subscribed_and_caught_up(
        self, server: FakeRedisServer, node: Node
    ) -> None:
        assert not node.link.up.is_set()
        node.link.start()
        await until_up(node)
        [connection] = server.connections
        assert connection.commands == [
            [b"CLIENT", b"SETNAME", b"node-1"],
            [b"SUBSCRIBE", *CHANNELS],
        ]
        assert (node.catch_ups, node.link.subscriptions, node.link.failures) == (1, 1, 0)
        connection.send(message(b"1") + message(b"2"))
        await node.until_delivered(b"caught up", b"1", b"2")

    async def test_live_messages_wait_while_the_node_catches_up(
        self, server: FakeRedisServer, node: Node
    ) -> None:
        node.log_is_slow = True
        node.link.start()
        connection = await nth_connection(server, 1)
        await node.until_caught_up(1)
        connection.send(message(b"1"))
        connection.send(message(b"2") + message(b"3"))
        connection.send(push(b"pong", b""))
        await settle()
        assert node.payloads == []
        assert not node.link.up.is_set()
        node.log_is_slow = False
        node.on_change()
        await node.until_delivered(b"caught up", b"1", b"2", b"3")

    async def test_a_message_that_comes_with_the_confirmation_waits_too(
        self, server: FakeRedisServer, node: Node
    ) -> None:
        confirmed = b"".join(confirmation(c, n) for n, c in enumerate(CHANNELS, 1))
        for number in (1, 2):
            server.answers = {b"SUBSCRIBE": confirmed + message(b"%d" % number)}
            if number == 1:
                node.link.start()
            else:
                server.connections[0].close()
            await until_up(node, number)
        assert node.payloads == [b"caught up", b"1", b"caught up", b"2"]

    async def test_too_much_while_it_catches_up_makes_it_catch_up_again(
        self, server: FakeRedisServer, node: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sse_node.redis.holding._MAX_HELD_BYTES", 20)
        node.log_is_slow = True
        node.link.start()
        connection = await nth_connection(server, 1)
        await node.until_caught_up(1)
        for _ in range(3):
            connection.send(message(b"ten bytes."))
            await settle()
        connection.send(message(b"kept"))
        await settle()
        node.log_is_slow = False
        node.on_change()
        await until_up(node)
        # The first three are read from the log, as those that are held no longer prove anything.
        assert node.payloads[0] == b"caught up"
        assert node.payloads[-2:] == [b"caught up", b"kept"]
        assert node.catch_ups == 2

    async def test_what_has_arrived_is_read_before_it_is_rebuilt(
        self, server: FakeRedisServer, node: Node
    ) -> None:
        node.link.start()
        connection = await nth_connection(server, 1)
        await until_up(node)
        connection.send(b"".join(message(b"%d" % number) for number in range(1000)))
        node.link.reconnect("Redis has a new master")  # nothing of this has been read yet
        await until_up(node, 2)
        live = [b"%d" % number for number in range(1000)]
        assert node.payloads == [b"caught up", *live, b"caught up"]

    async def test_it_comes_back_when_redis_closes_the_connection(
        self, server: FakeRedisServer, node: Node
    ) -> None:
        node.link.start()
        for number in range(1, 5):
            connection = await nth_connection(server, number)
            await until_up(node, number)
            connection.send(message(b"%d" % number))
            await node.until(lambda: node.payloads[-1] != b"caught up")
            connection.close()
        connection = await nth_connection(server, 5)
        await until_up(node, 5)
        assert (node.catch_ups, node.link.subscriptions) == (5, 5)
        assert node.payloads[-1] == b"caught up"

    async def test_it_is_down_from_the_moment_redis_closes_the_connection(
        self, server: FakeRedisServer, node: Node
    ) -> None:
        node.link.start()
        await until_up(node)
        node.log_is_slow = True
        server.connections[0].close()
        await node.until_caught_up(2)
        assert not node.link.up.is_set()

    async def test_a_connection_lost_while_catching_up_is_not_up(
        self, server: FakeRedisServer, node: Node
    ) -> None:
        node.log_is_slow = True
        node.link.start()
        await node.until_caught_up(1)
        connection = await nth_connection(server, 1)
        connection.send(message(b"never delivered live: the log has it"))
        connection.close()
        await server.until(lambda: connection.lost)
        await settle()
        node.log_is_slow = False
        node.on_change()
        await nth_connection(server, 2)
        await until_up(node)
        assert node.payloads == [b"caught up", b"caught up"]
        assert node.link.subscriptions == 1

    async def test_when_the_log_cannot_be_read_all_begins_anew(
        self, server: FakeRedisServer, node: Node
    ) -> None:
        node.failures = [RedisError("the log is away"), RedisError("still")]
        node.link.start()
        await nth_connection(server, 3)
        await until_up(node)
        assert node.catch_ups == 3
        assert node.link.subscriptions == 1
        await server.until(lambda: server.connections[0].lost and server.connections[1].lost)

    async def test_a_bug_does_not_end_it(
        self, server: FakeRedisServer, node: Node, caplog: pytest.LogCaptureFixture
    ) -> None:
        node.failures = [ZeroDivisionError("a bug")]
        node.link.start()
        await nth_connection(server, 2)
        await until_up(node)
        [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert record.exc_info is not None
        assert record.exc_info[0] is ZeroDivisionError

    async def test_a_rebuilt_link_has_a_new_connection(
        self, server: FakeRedisServer, node: Node, caplog: pytest.LogCaptureFixture
    ) -> None:
        node.link.reconnect("nothing to rebuild")
        node.link.start()
        await until_up(node)
        node.link.reconnect("2 probes were not heard in time")
        await nth_connection(server, 2)
        await until_up(node, 2)
        await server.until(lambda: server.connections[0].lost)
        assert "2 probes were not heard in time" in caplog.text
        assert node.catch_ups == 2

    async def test_an_ended_link_has_no_connection(
        self, server: FakeRedisServer, node: Node
    ) -> None:
        await node.link.shutdown()
        node.link.start()
        await until_up(node)
        await node.link.shutdown()
        await server.until(lambda: server.connections[0].lost)
        assert not node.link.up.is_set()
        await node.link.shutdown()
        assert len(server.connections) == 1


@FAKE_CLOCK
class TestWaiting:
    async def test_attempts_come_seldom_while_redis_refuses(
        self, server: FakeRedisServer, node: Node, caplog: pytest.LogCaptureFixture
    ) -> None:
        server.answers = {b"SUBSCRIBE": b"-LOADING Redis is loading the dataset in memory\r\n"}
        node.link.start()
        await asyncio.sleep(1.0)
        assert 3 <= len(server.connections) <= 6  # after 0.1, 0.2, 0.4 s at most
        before = len(server.connections)
        await asyncio.sleep(100)
        assert 20 <= len(server.connections) - before <= 45  # every 2.5 to 5 s
        assert node.link.failures == len(server.connections)
        assert not node.link.up.is_set()
        warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert len(warnings) == 1, "one line per outage"
        assert "LOADING" in caplog.text

        server.answers = {}
        await asyncio.sleep(5)
        assert node.link.up.is_set()
        assert node.link.failures == 0

    async def test_the_first_attempt_after_a_good_time_comes_soon(
        self, server: FakeRedisServer, node: Node, clock: FakeClockLoop
    ) -> None:
        server.answers = {b"SUBSCRIBE": b"-ERR\r\n"}
        node.link.start()
        await asyncio.sleep(60)
        server.answers = {}
        await asyncio.sleep(5)
        assert node.link.up.is_set()
        number = len(server.connections)
        server.connections[-1].close()
        await asyncio.sleep(0.11)
        assert len(server.connections) == number + 1
        assert node.link.up.is_set()

    async def test_a_missing_redis_is_waited_for(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        node = Node(RedisAddress(unix_socket_path=str(tmp_path / "redis.sock")))
        node.link.start()
        await asyncio.sleep(30)
        assert node.link.failures > 5
        assert len(caplog.records) == 1
        server = FakeRedisServer(tmp_path / "redis.sock")
        await server.start()
        await asyncio.sleep(5)
        assert node.link.up.is_set()
        await node.link.shutdown()
        await server.shutdown()

    async def test_an_attempt_can_be_hurried(self, server: FakeRedisServer, node: Node) -> None:
        server.answers = {b"SUBSCRIBE": b"-ERR\r\n"}
        node.link.start()
        await asyncio.sleep(60)
        server.answers = {}
        number = len(server.connections)
        node.link.wake()
        await asyncio.sleep(0.001)
        assert len(server.connections) == number + 1
        assert node.link.up.is_set()

    async def test_hurrying_a_link_that_is_up_changes_nothing(
        self, server: FakeRedisServer, node: Node, clock: FakeClockLoop
    ) -> None:
        node.link.start()
        await asyncio.sleep(1)
        node.link.wake()
        await asyncio.sleep(1)
        assert len(server.connections) == 1
        assert node.link.up.is_set()

    async def test_a_redis_that_does_not_confirm_is_given_up(
        self, server: FakeRedisServer, node: Node
    ) -> None:
        server.answers = {b"SUBSCRIBE": b""}
        node.link.start()
        await asyncio.sleep(1.9)
        assert len(server.connections) == 1
        await asyncio.sleep(0.3)
        assert len(server.connections) == 2
        assert server.connections[0].lost
        assert node.catch_ups == 0

    async def test_a_redis_that_falls_silent_is_given_up_and_why_is_said(
        self, server: FakeRedisServer, node: Node, caplog: pytest.LogCaptureFixture
    ) -> None:
        node.link.start()
        await asyncio.sleep(60)
        assert len(server.connections) == 1, "it answers its PINGs"
        server.connections[0].answers = {b"PING": b""}
        await asyncio.sleep(15.2)
        assert server.connections[0].lost
        assert len(server.connections) == 2
        assert node.link.up.is_set()
        assert "Redis was silent for 10 s" in caplog.text


@BOTH_LOOPS
async def test_a_name_that_is_none_is_an_outage_like_any_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    node = Node(RedisAddress(host="a..b"))
    node.link.start()
    async with asyncio.timeout(10):
        while node.link.failures < 2:  # noqa: ASYNC110  (nothing announces it)
            await asyncio.sleep(0.01)
    await node.link.shutdown()
    assert not [record for record in caplog.records if record.levelno == logging.ERROR]


@BOTH_LOOPS
@pytest.mark.integration
async def test_a_real_redis_may_cut_the_link_off_at_any_time(redis: RedisProcess) -> None:
    node = Node(RedisAddress(unix_socket_path=str(redis.socket_path)), ping_interval_s=0.05)
    node.link.start()
    async with Redis.from_url(redis.url) as publisher:
        for times in range(1, 6):
            await until_up(node, times)
            payload = b'{"n":%d}' % times
            await publisher.publish("user-events", payload)
            await node.until(lambda: node.payloads[-1] != b"caught up")
            await publisher.client_kill_filter(_type="pubsub")
        await until_up(node, 6)
    await node.link.shutdown()
    assert node.payloads == [
        payload for n in range(1, 6) for payload in (b"caught up", b'{"n":%d}' % n)
    ] + [b"caught up"]
