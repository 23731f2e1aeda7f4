"""What servers say of a cluster: claims of different ages, and what is followed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from sse_node.errors import RedisError
from sse_node.redis.cluster import Claim, Cluster, ClusterPlace
from sse_node.redis.tcp import Dialer, Server

A, B, C = "a" * 40, "b" * 40, "c" * 40


def node(name: str, port: int, flags: str, epoch: int, slots: str = "") -> str:
    """Return a line of CLUSTER NODES."""
    return f"{name} 127.0.0.1:{port}@{port + 1} {flags} - 0 0 {epoch} connected {slots}".rstrip()


class Told:
    """A server that answers CLUSTER NODES with given lines; None: it closes the connection."""

    def __init__(self) -> None:
        self.lines: list[str] | None = []
        self.port = 0
        self.asked = 0

    async def start(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._server = server

    async def shutdown(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"NODES\r\n")
        self.asked += 1
        if self.lines is not None:
            text = "".join(f"{line}\n" for line in self.lines).encode()
            writer.write(b"$%d\r\n%b\r\n" % (len(text), text))
        writer.close()


@pytest.fixture
async def servers() -> AsyncIterator[list[Told]]:
    async with AsyncExitStack() as stack:
        told = [Told() for _ in range(3)]
        for each in told:
            await each.start()
            stack.push_async_callback(each.shutdown)
        yield told


@pytest.fixture
def cluster(servers: list[Told]) -> Cluster:
    return Cluster([Server("127.0.0.1", each.port) for each in servers], Dialer(), [])


def tell(servers: list[Told], *lines: str) -> None:
    """Let all servers say the same."""
    for each in servers:
        each.lines = list(lines)


async def test_slots_lead_to_their_masters(servers: list[Told], cluster: Cluster) -> None:
    tell(
        servers,
        node(A, servers[0].port, "myself,master", 1, "0-5460 5462 [7->-x]"),
        node(B, servers[1].port, "master", 2, "5461 5463-16383"),
        node(C, servers[2].port, "slave", 2),
    )
    assert await cluster.ask() == ""
    ports = [server.port for server in servers]
    found = [cluster.master_of(slot) for slot in (0, 5460, 5461, 5462, 16383)]
    assert [each.port for each in found if each] == [ports[at] for at in (0, 0, 1, 0, 1)]


async def test_the_higher_epoch_decides(servers: list[Told], cluster: Cluster) -> None:
    old = node(A, servers[0].port, "myself,master", 1, "0-16383")
    new = node(B, servers[1].port, "master", 7, "0-16383")
    tell(servers, new)
    servers[0].lines = [old]  # has not heard of its end
    await cluster.ask()
    master = cluster.master_of(0)
    assert master is not None
    assert master.port == servers[1].port


async def test_a_server_that_does_not_know_its_address(
    servers: list[Told], cluster: Cluster
) -> None:
    line = f"{A} :0@0 myself,master - 0 0 1 connected 0-16383".replace(":0", f":{servers[0].port}")
    tell(servers)
    servers[0].lines = [line]
    await cluster.ask()
    assert cluster.master_of(0) == Server("127.0.0.1", servers[0].port)


@pytest.mark.parametrize("lines", [["nonsense"], ["a b c d e f g h"], [""], None])
async def test_what_is_no_answer(
    servers: list[Told], cluster: Cluster, lines: list[str] | None
) -> None:
    for each in servers:
        each.lines = lines
    why_not = await cluster.ask()
    assert "no server of the cluster answers" in why_not
    assert cluster.master_of(0) is None


async def test_who_follows_is_told_of_changes_only(servers: list[Told], cluster: Cluster) -> None:
    changes: list[tuple[Claim, ...]] = []
    place = ClusterPlace(cluster, 5)
    moves: list[Server | None] = []
    place.follow(lambda: moves.append(place.master))
    cluster.follow(lambda: changes.append(cluster.claims))
    tell(servers, node(A, servers[0].port, "master", 1, "0-16383"))
    await cluster.ask()
    await cluster.ask()
    assert (len(changes), moves, place.failovers) == (1, [], 0)
    tell(servers, node(A, servers[0].port, "master", 1, "6-16383"),
         node(B, servers[1].port, "master", 2, "0-5"))  # fmt: skip
    await cluster.ask()
    assert (len(changes), place.failovers) == (2, 1)
    assert moves == [Server("127.0.0.1", servers[1].port)]


async def test_those_that_ask_at_once_ask_together(servers: list[Told], cluster: Cluster) -> None:
    tell(servers, node(A, servers[0].port, "master", 1, "0-16383"))
    await asyncio.gather(*(cluster.ask() for _ in range(20)))
    assert [each.asked for each in servers] == [1, 1, 1]


async def test_a_slot_that_nobody_has(servers: list[Told], cluster: Cluster) -> None:
    tell(servers, node(A, servers[0].port, "master", 1, "1-16383"))
    with pytest.raises(RedisError, match="no server of the cluster has slot 0"):
        await ClusterPlace(cluster, 0).connect([], asyncio.Protocol)
