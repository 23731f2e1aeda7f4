"""One connection for several shards: each hears its own, and catches up for itself."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from bench.harness import RedisProcess
from sse_node.errors import RedisError
from sse_node.redis.address import RedisAddress
from sse_node.redis.commands import RedisCommands
from sse_node.redis.master_link import MasterLink
from sse_node.redis.shard_link import ShardLink
from sse_node.redis.subscriber import Message

CHANNELS = [b"user-events", b"system-events"]


class Side:
    """A shard's side: what it heard, and whether its log can be read."""

    def __init__(self, number: int) -> None:
        self.prefix = f"shard{number}{{{number}}}:"
        self.heard: asyncio.Queue[Message] = asyncio.Queue()
        self.catch_ups = 0
        self.begun: asyncio.Queue[int] = asyncio.Queue()
        self.is_readable = True
        self.link = ShardLink(
            f"shard {number}",
            CHANNELS,
            prefix=self.prefix.encode(),
            on_batch=self._on_batch,
            catch_up=self._catch_up,
            sharers=2,
        )

    def _on_batch(self, batch: list[Message]) -> None:
        for message in batch:
            self.heard.put_nowait(message)

    async def _catch_up(self) -> None:
        self.catch_ups += 1
        self.begun.put_nowait(self.catch_ups)
        if not self.is_readable:
            raise RedisError("not readable")

    async def up(self) -> None:
        """Wait for the next catch-up, and its end."""
        await asyncio.wait_for(self.begun.get(), 5)
        await asyncio.wait_for(self.link.up.wait(), 5)

    async def next(self) -> tuple[bytes, bytes]:
        _, channel, payload = await asyncio.wait_for(self.heard.get(), 5)
        return channel, payload


@pytest.fixture
def sides() -> list[Side]:
    return [Side(0), Side(1)]


@pytest.fixture(params=["redis", "valkey"])
async def commands(request: pytest.FixtureRequest) -> AsyncIterator[RedisCommands]:
    server: RedisProcess = request.getfixturevalue(request.param)
    address = RedisAddress(unix_socket_path=str(server.socket_path))
    commands = RedisCommands(address, name="test", timeout_s=5, max_connections=2)
    yield commands
    await commands.shutdown()


@pytest.fixture
async def master(commands: RedisCommands, sides: list[Side]) -> AsyncIterator[MasterLink]:
    master = MasterLink(commands.address, name="test-master", ping_interval_s=5)
    for side in sides:
        master.add(side.link)
    yield master
    await master.shutdown()


@pytest.fixture
def publish(commands: RedisCommands) -> Callable[[Side, str, str], "asyncio.Future[int]"]:
    async def run(side: Side, channel: str, payload: str) -> int:
        heard: int = await commands.execute("SPUBLISH", side.prefix + channel, payload)
        return heard

    return lambda *arguments: asyncio.ensure_future(run(*arguments))


Publish = Callable[[Side, str, str], "asyncio.Future[int]"]


async def test_each_shard_hears_its_own_by_plain_names(
    master: MasterLink, sides: list[Side], publish: Publish
) -> None:
    master.start()
    for side in sides:
        await side.up()
    for number, side in enumerate(sides):
        for channel in ("user-events", "system-events", "user-events"):
            assert await publish(side, channel, f"{channel} {number}") == 1
    for number, side in enumerate(sides):
        for name in (b"user-events", b"system-events", b"user-events"):
            assert await side.next() == (name, b"%b %d" % (name, number))
        assert side.heard.empty()


async def test_a_batch_is_split_into_runs(master: MasterLink, sides: list[Side]) -> None:
    master.start()
    for side in sides:
        await side.up()
    batch = [
        [b"smessage", f"{sides[number].prefix}user-events".encode(), b"%d" % place]
        for place, number in enumerate((0, 0, 1, 0, 1, 1))
    ]
    batch.insert(1, [b"smessage", b"of nobody", b"x"])
    master._receive(batch)
    assert [(await sides[0].next())[1] for _ in range(3)] == [b"0", b"1", b"3"]
    assert [(await sides[1].next())[1] for _ in range(3)] == [b"2", b"4", b"5"]


async def test_a_log_that_cannot_be_read_leaves_the_other_shard_alone(
    master: MasterLink, sides: list[Side], publish: Publish
) -> None:
    ill, well = sides
    ill.is_readable = False
    master.start()
    await well.up()
    await publish(ill, "user-events", "held")
    await publish(well, "user-events", "live")
    assert await well.next() == (b"user-events", b"live")
    assert not ill.link.up.is_set()
    assert ill.link.failures
    ill.is_readable = True
    ill.link.wake()
    await ill.up()
    assert await ill.next() == (b"user-events", b"held")
    assert well.catch_ups == 1


async def test_a_new_connection_catches_every_shard_up(
    master: MasterLink, sides: list[Side], commands: RedisCommands
) -> None:
    master.start()
    for side in sides:
        await side.up()
    await commands.execute("CLIENT", "KILL", "TYPE", "pubsub")
    for side in sides:
        await side.up()
    sides[0].link.reconnect("a test")
    for side in sides:
        await side.up()
    assert [side.link.subscriptions for side in sides] == [3, 3]


async def test_other_channels_are_caught_up(
    master: MasterLink, sides: list[Side], publish: Publish
) -> None:
    master.start()
    await sides[0].up()
    sides[0].link.change_channels([b"news"])
    await sides[0].up()
    assert await publish(sides[0], "user-events", "x") == 0
    assert await publish(sides[0], "news", "x") == 1
    assert await sides[0].next() == (b"news", b"x")


async def test_a_shard_that_is_carried_no_more_hears_nothing(
    master: MasterLink, sides: list[Side], publish: Publish
) -> None:
    master.start()
    for side in sides:
        await side.up()
    master.remove(sides[0].link)
    assert not sides[0].link.up.is_set()
    await publish(sides[0], "user-events", "x")
    await publish(sides[1], "user-events", "y")
    assert await sides[1].next() == (b"user-events", b"y")
    assert sides[0].heard.empty()


async def test_a_server_without_sharded_pubsub_is_named(caplog: pytest.LogCaptureFixture) -> None:
    side, failed = Side(0), asyncio.Event()
    with RedisProcess(args=("--rename-command", "SSUBSCRIBE", "")) as old:
        address = RedisAddress(unix_socket_path=str(old.socket_path))
        master = MasterLink(address, name="test-old", ping_interval_s=5, on_failure=failed.set)
        master.add(side.link)
        master.start()
        await asyncio.wait_for(failed.wait(), 5)
        await master.shutdown()
    assert "several shards need Redis 7.0 or Valkey" in caplog.text
