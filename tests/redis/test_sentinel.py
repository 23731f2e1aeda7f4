"""What sentinels say that disagree, are silent, or are none; real ones are in integration."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

import pytest

from sse_node.errors import RedisError
from sse_node.redis import inquiry, masters
from sse_node.redis.sentinel import SentinelPlaces, Sentinels
from sse_node.redis.tcp import Dialer, Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOWHERE = b"-ERR No such master with that name\r\n"


def bulk(*words: object) -> bytes:
    encoded = [str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in encoded)


def names(port: int, epoch: int) -> bytes:
    """What a sentinel answers to both questions."""
    return bulk("name", "main", "config-epoch", epoch) + bulk("127.0.0.1", port)


class Scripted:
    """A server that answers each connection's first bytes with the same bytes; empty: never."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.connections = 0
        self.received = b""
        self._open: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._open:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.append(writer)
        self.received += await reader.read(65536)
        writer.write(self.answer)


@pytest.fixture
async def servers() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def sentinels_of(
    servers: AsyncExitStack, *answers: bytes
) -> tuple[Sentinels, list[Scripted]]:
    scripted = [await servers.enter_async_context(Scripted(answer)) for answer in answers]
    places = tuple(Server("127.0.0.1", each.port) for each in scripted)
    return Sentinels("main", SentinelPlaces(places), Dialer()), scripted


async def connect(sentinels: Sentinels) -> None:
    transport, _ = await sentinels.connect([], asyncio.Protocol)
    transport.abort()


async def master(servers: AsyncExitStack, role: bytes = b"master") -> int:
    """Start a server that answers ROLE; return its port."""
    scripted = await servers.enter_async_context(Scripted(bulk(role.decode(), 0)))
    return scripted.port


@pytest.mark.parametrize("order", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (0, 0, 1)])
async def test_the_newest_epoch_counts(servers: AsyncExitStack, order: tuple[int, ...]) -> None:
    ports = [await master(servers), await master(servers)]
    sentinels, _ = await sentinels_of(servers, *(names(ports[each], each) for each in order))
    await connect(sentinels)
    assert sentinels.master == Server("127.0.0.1", ports[1])


@pytest.mark.parametrize(
    "others", [[b"", b""], [NOWHERE, NOWHERE], [b"+OK\r\n", b"\x00"], [b"*0\r\n*0\r\n", b""]]
)
async def test_one_that_answers_is_enough(servers: AsyncExitStack, others: list[bytes]) -> None:
    port = await master(servers)
    sentinels, _ = await sentinels_of(servers, others[0], names(port, 1), others[1])
    await connect(sentinels)
    assert sentinels.master == Server("127.0.0.1", port)


async def test_credentials_come_first(servers: AsyncExitStack) -> None:
    answer = b"+OK\r\n" + names(await master(servers), 1)
    scripted = await servers.enter_async_context(Scripted(answer))
    places = SentinelPlaces((Server("127.0.0.1", scripted.port),), "eve", "s3cr3t")
    sentinels = Sentinels("main", places, Dialer())
    await connect(sentinels)
    first, second, third = scripted.received.split(b"*")[1:]
    assert (b"AUTH" in first, b"eve" in first, b"s3cr3t" in first) == (True, True, True)
    assert b"MASTER" in second
    assert b"GET-MASTER-ADDR-BY-NAME" in third
    assert "s3cr3t" not in f"{sentinels} {sentinels.located!r}"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "no answer within 0.4 s"),
        (NOWHERE, "refused: ERR No such master with that name"),
        (b"\x00", "sent what is not RESP"),
        (b"*0\r\n*0\r\n", "answered what no sentinel does"),
        (b"+OK\r\n$-1\r\n", "answered what no sentinel does"),
    ],
)
async def test_why_there_is_no_master(servers: AsyncExitStack, answer: bytes, reason: str) -> None:
    sentinels, scripted = await sentinels_of(servers, answer)
    with pytest.raises(RedisError, match=f"no sentinel names the master of main: .*{reason}") as it:
        await connect(sentinels)
    assert f"127.0.0.1:{scripted[0].port}" in str(it.value)


async def test_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        places = (Server("127.0.0.1", bound.getsockname()[1]),)
        with pytest.raises(RedisError, match="Connection refused"):
            await connect(Sentinels("main", SentinelPlaces(places), Dialer()))


@pytest.mark.parametrize(
    ("role", "reason"),
    [
        (bulk("slave", "h", 1), "is no master yet, or not any more: b'slave'"),
        (b"-NOPERM this user has no permissions to run the 'role' command\r\n", "NOPERM"),
        (b"", "no answer within 0.5 s"),
        (b"*0\r\n", "answered what no server does"),
    ],
)
async def test_a_server_has_to_say_that_it_is_a_master(
    servers: AsyncExitStack, role: bytes, reason: str
) -> None:
    server = await servers.enter_async_context(Scripted(role))
    sentinels, _ = await sentinels_of(servers, names(server.port, 1))
    with pytest.raises(RedisError, match=reason):
        await connect(sentinels)


async def test_another_master_is_followed_once(servers: AsyncExitStack) -> None:
    ports = [await master(servers), await master(servers)]
    sentinels, scripted = await sentinels_of(servers, names(ports[0], 1))
    followed: list[int] = []
    sentinels.follow(lambda: followed.append(sentinels.failovers))
    for port in (0, 0, 1, 1, 0):
        scripted[0].answer = names(ports[port], 1)
        await connect(sentinels)
    assert followed == [1, 2]


async def test_a_failover_is_not_taken_back(servers: AsyncExitStack) -> None:
    old, new = await master(servers), await master(servers)
    sentinels, scripted = await sentinels_of(servers, *3 * [names(new, 2)])
    await connect(sentinels)
    for each in scripted[1:]:  # they have not heard of it, and the one that has is silent
        each.answer = names(old, 1)
    scripted[0].answer = b""
    await connect(sentinels)
    assert sentinels.master == Server("127.0.0.1", new)
    scripted[0].answer = names(old, 1)  # all of them: they were set up anew
    await connect(sentinels)
    assert sentinels.master == Server("127.0.0.1", old)


# Answers that are late


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the sentinels see, which the test moves."""
    time_s = [1000.0]
    for module in (masters, inquiry):
        monkeypatch.setattr(module, "monotonic", lambda: time_s[0])
    return time_s


async def confirmed(servers: AsyncExitStack) -> tuple[Sentinels, Scripted, Server, Any]:
    """Return sentinels that have named a master, and another master."""
    ports = [await master(servers), await master(servers)]
    sentinels, [scripted] = await sentinels_of(servers, names(ports[0], 1))
    await connect(sentinels)
    assert sentinels.master is not None
    return sentinels, scripted, sentinels.master, names(ports[1], 2)


async def test_a_server_that_answers_is_believed(servers: AsyncExitStack, now: list[float]) -> None:
    sentinels, scripted, server, another = await confirmed(servers)
    scripted.answer = another
    asked = scripted.connections
    for _ in range(2):
        now[0] += 0.4
        assert await sentinels.confirm(server)
    assert scripted.connections == asked


async def test_after_a_silence_the_sentinels_are_asked(
    servers: AsyncExitStack, now: list[float]
) -> None:
    sentinels, scripted, server, another = await confirmed(servers)
    now[0] += 0.6
    assert await sentinels.confirm(server)
    scripted.answer = another
    now[0] += 0.6
    assert not await sentinels.confirm(server)
    assert sentinels.master != server
    assert not await sentinels.confirm(server)


async def test_without_sentinels_a_server_is_believed(
    servers: AsyncExitStack, now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    sentinels, scripted, server, _ = await confirmed(servers)
    scripted.answer = NOWHERE
    for _ in range(3):
        now[0] += 0.6
        assert await sentinels.confirm(server)
    assert caplog.text.count("no sentinel names the master") == 1


async def test_the_sentinels_are_asked_again_in_any_case(
    servers: AsyncExitStack, now: list[float]
) -> None:
    sentinels, scripted, server, another = await confirmed(servers)
    scripted.answer = another
    changed = asyncio.Event()
    sentinels.follow(changed.set)
    async with asyncio.timeout(20):
        while not changed.is_set():  # a question on a busy machine may find no answer in time
            now[0] += 0.4
            await sentinels.confirm(server)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), 0.1)
    assert not await sentinels.confirm(server)


async def test_a_question_that_comes_while_another_is_asked_is_asked_after_it(
    servers: AsyncExitStack,
) -> None:
    sentinels, scripted, server, another = await confirmed(servers)
    changed = asyncio.Event()
    sentinels.follow(changed.set)
    asking = asyncio.ensure_future(sentinels.ask())
    await asyncio.sleep(0)
    sentinels.ask_soon()
    await asking
    scripted.answer = another
    async with asyncio.timeout(5):
        await changed.wait()
    assert sentinels.master != server
