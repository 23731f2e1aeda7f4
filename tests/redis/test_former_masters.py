"""What a former master acknowledged is known before its node hears the new one."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import pytest
from redis import Redis

from bench.harness import RedisProcess, valkey_binary
from sse_node.delivery.fanout import Fanout
from sse_node.delivery.history import History
from sse_node.delivery.hub import Hub
from sse_node.errors import RedisError
from sse_node.redis.address import RedisAddress
from sse_node.redis.catch_up import CatchUp
from sse_node.redis.commands import RedisCommands, Script
from sse_node.redis.event_log import EventLog
from sse_node.redis.tcp import Dialer, P, Server
from sse_node.wire.envelope import encode_envelope
from sse_node.wire.event_id import format_position, parse_position
from tests.support.nodes import wait_until

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

PAYLOAD = encode_envelope("1", "t", b"1", broadcast=False)
SUPERSEDE = Script("log", "supersede")


class Named:
    """Names the master that it is told; how sentinels do that is tested elsewhere."""

    def __init__(self, master: Server) -> None:
        self.master = master
        self.failovers = 0
        self.former: deque[Server] = deque(maxlen=4)

    def name(self, master: Server) -> None:
        self.former.append(self.master)
        self.failovers += 1
        self.master = master

    async def connect(
        self, first: Sequence[tuple[bytes, ...]], make_protocol: Callable[[], P]
    ) -> tuple[asyncio.Transport, P]:
        return await Dialer().connect(self.master, make_protocol)

    async def refresh(self) -> None:
        pass

    async def confirm(self, server: Server) -> bool:
        return server == self.master


class Node:
    """What a node has of a log, and the reasons of its resets."""

    def __init__(self, finder: Named) -> None:
        address = RedisAddress(finder=cast("Any", finder))
        self.commands = RedisCommands(address, name="test", timeout_s=2, max_connections=2)
        self.log = EventLog(self.commands, 1000)
        self.lost: list[str] = []
        history = History(100, 1 << 20)
        fanout = Fanout(
            Hub(), history, max_event_bytes=1000, event_names=False, on_dropped=lambda _: None
        )
        self.catch_up = CatchUp(
            self.log, history, fanout, history_limit=100, on_position_lost=self.lost.append
        )

    async def publish(self) -> str:
        return (await self.log.publish([("user-events", PAYLOAD)]))[0]


@pytest.fixture(params=["redis-server", "valkey"])
def servers(request: pytest.FixtureRequest) -> Iterator[tuple[RedisProcess, RedisProcess]]:
    """A master, and a replica that has what it has."""
    binary = valkey_binary() if request.param == "valkey" else request.param
    flags = ["--repl-diskless-sync-delay", "0"]
    with RedisProcess(binary, flags, tcp=True) as old, RedisProcess(binary, flags, tcp=True) as new:
        yield old, new


def client_of(process: RedisProcess) -> Redis:
    return Redis(unix_socket_path=str(process.socket_path))


def server_of(process: RedisProcess) -> Server:
    return Server("127.0.0.1", process.port)


@pytest.fixture
async def nodes(servers: tuple[RedisProcess, RedisProcess]) -> AsyncIterator[list[Node]]:
    """Two nodes of the same log, which each have their own view of who is the master."""
    nodes = [Node(Named(server_of(servers[0]))) for _ in range(2)]
    yield nodes
    for node in nodes:
        await node.commands.shutdown()


def finder_of(node: Node) -> Named:
    return cast("Named", node.commands.address.finder)


async def replicate(nodes: list[Node], servers: tuple[RedisProcess, RedisProcess]) -> None:
    """Fill both nodes, and promote a replica that has everything until now."""
    old, new = servers
    await nodes[0].publish()
    for node in nodes:
        await node.catch_up.run()
    tail = await nodes[0].log.open()
    with client_of(new) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", old.port)
        wait_until(
            lambda: client.xrange("sse:log", format_position(tail).decode()), "the replica has it"
        )
        client.execute_command("REPLICAOF", "NO", "ONE")


async def test_what_only_the_former_master_has_is_told_by_the_first_node_that_leaves_it(
    nodes: list[Node], servers: tuple[RedisProcess, RedisProcess]
) -> None:
    await replicate(nodes, servers)
    quick, slow = nodes
    lost = await slow.publish()  # the quick node has not heard it, nor acknowledged it
    finder_of(quick).name(server_of(servers[1]))
    await quick.catch_up.run()
    assert quick.lost == ["rollback"]
    assert (await quick.log.rollback()).reached == parse_position(lost)
    with pytest.raises(RedisError, match="not the master any more"):
        await slow.publish()
    finder_of(slow).name(server_of(servers[1]))
    await slow.catch_up.run()
    assert slow.lost == ["rollback"]
    assert (await slow.log.rollback()).number == 1  # one mark for all
    await slow.publish()
    await quick.catch_up.run()
    assert quick.lost == ["rollback"]


async def test_the_former_master_takes_nothing_once_the_new_one_has(
    nodes: list[Node], servers: tuple[RedisProcess, RedisProcess]
) -> None:
    """Else streams of the slow node would see the event of the former master first."""
    await replicate(nodes, servers)
    quick, slow = nodes
    finder_of(quick).name(server_of(servers[1]))
    await quick.publish()  # its subscription is not there yet
    with pytest.raises(RedisError, match="not the master any more"):
        await slow.publish()


async def test_nothing_is_told_when_the_new_master_has_everything(
    nodes: list[Node], servers: tuple[RedisProcess, RedisProcess]
) -> None:
    await replicate(nodes, servers)
    for node in nodes:
        finder_of(node).name(server_of(servers[1]))
        await node.catch_up.run()
        await node.publish()
    assert [node.lost for node in nodes] == [[], []]


async def test_a_former_master_that_is_gone_is_no_hindrance(
    nodes: list[Node], servers: tuple[RedisProcess, RedisProcess]
) -> None:
    await replicate(nodes, servers)
    quick, slow = nodes
    await slow.publish()
    servers[0].kill()
    for node in (quick, slow):
        finder_of(node).name(server_of(servers[1]))
        await node.catch_up.run()
    assert slow.lost == ["rollback"]  # it knows what was acknowledged to it, though not heard
    await quick.catch_up.run()
    assert quick.lost == ["rollback"]  # from the mark


async def test_a_server_takes_events_again_after_a_while(
    nodes: list[Node], servers: tuple[RedisProcess, RedisProcess]
) -> None:
    """If it is the master after all, nothing has to be repaired."""
    node = nodes[0]
    last = await node.publish()
    await node.catch_up.run()
    name = node.log.name
    for _ in range(2):
        assert await node.commands.run(SUPERSEDE, ["sse:log"], [300]) == last.encode()
    with pytest.raises(RedisError, match="not the master any more"):
        await node.publish()
    await node.catch_up.run()
    assert node.log.name == name

    accepted: list[str] = []
    while not accepted:
        with contextlib.suppress(RedisError):
            accepted.append(await node.publish())
    await node.catch_up.run()
    assert node.lost == []


async def test_a_server_without_a_log_is_left_as_it_is(
    nodes: list[Node], servers: tuple[RedisProcess, RedisProcess]
) -> None:
    assert await nodes[0].commands.run(SUPERSEDE, ["sse:log"], [1000]) == b"0-0"
    with client_of(servers[0]) as client:
        assert client.keys("*") == []
