"""The link forwards bytes, drops them, or closes connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from bench.chaos.tcp_proxy import Link

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[Link], Awaitable[Connection]]


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
    writer.close()


@pytest.fixture
async def link(tmp_path: Path) -> AsyncIterator[Link]:
    """A link to a server that sends every line back."""
    server = await asyncio.start_unix_server(_echo, tmp_path / "echo.sock")
    link = Link(tmp_path / "echo.sock")
    await link.start()
    yield link
    await link.shutdown()
    server.close()


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Connects to a link; closes all connections at the end."""
    writers: list[asyncio.StreamWriter] = []

    async def connect(link: Link) -> Connection:
        reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
        writers.append(writer)
        return reader, writer

    yield connect
    for writer in writers:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def ask(connection: Connection) -> bytes:
    reader, writer = connection
    writer.write(b"hello\n")
    async with asyncio.timeout(5):
        return await reader.readline()


async def end_of(connection: Connection) -> bytes:
    async with asyncio.timeout(5):
        return await connection[0].read()


async def test_bytes_pass_both_ways(link: Link, connect: Connect) -> None:
    connection = await connect(link)
    assert await ask(connection) == b"hello\n"
    connection[1].write_eof()
    assert await end_of(connection) == b""


async def test_what_is_dark_stays_dark_and_open(link: Link, connect: Connect) -> None:
    dark = await connect(link)
    assert await ask(dark) == b"hello\n"
    link.go_dark()
    dark[1].write(b"swallowed\n")
    lit = await connect(link)
    for _ in range(3):
        assert await ask(lit) == b"hello\n"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(dark[0].read(1), 0.05)


async def test_a_cut_link_ends_connections_until_it_is_restored(
    link: Link, connect: Connect
) -> None:
    before = await connect(link)
    assert await ask(before) == b"hello\n"
    link.cut()
    assert await end_of(before) == b""
    assert await end_of(await connect(link)) == b""
    link.restore()
    after = await connect(link)
    assert await ask(after) == b"hello\n"


async def test_a_server_that_is_away_ends_connections(tmp_path: Path, connect: Connect) -> None:
    link = Link(tmp_path / "nobody.sock")
    await link.start()
    assert await end_of(await connect(link)) == b""
    await link.shutdown()
