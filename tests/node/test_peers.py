"""Workers that ask each other, and those that do not answer."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from typing import TYPE_CHECKING

import pytest

from sse_node.node.peers import Peers
from tests.support.fakes import BOTH_LOOPS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Start = Callable[[str], Awaitable[Peers]]

pytestmark = BOTH_LOOPS

BIG = bytes(8 * 1024 * 1024)  # more than any buffer on the way


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start workers, by name, which end with the test."""
    started: list[Peers] = []

    async def start(name: str) -> Peers:
        answers = {b"who": lambda: name.encode(), b"big": lambda: BIG}
        started.append(Peers(tmp_path / f"{name}.sock", answers))
        await started[-1].start()
        return started[-1]

    yield start
    for siblings in started:
        await siblings.shutdown()


async def test_whoever_is_asked_answers_first(start: Start) -> None:
    one, two, three = [await start(name) for name in ("one", "two", "three")]
    assert await one.query(b"who") == [b"one", b"three", b"two"]
    assert await two.query(b"who") == [b"two", b"one", b"three"]
    assert (await three.query(b"who"))[0] == b"three"


async def test_a_worker_alone_answers(start: Start) -> None:
    assert await (await start("one")).query(b"who") == [b"one"]


async def test_answers_may_be_big(start: Start) -> None:
    one = await start("one")
    await start("two")
    assert await one.query(b"big") == [BIG, BIG]


async def test_who_does_not_know_a_question_is_left_out(start: Start, tmp_path: Path) -> None:
    await start("one")
    newer = Peers(tmp_path / "new.sock", {b"what": lambda: b"new"})
    assert await newer.query(b"what") == [b"new"]


async def test_who_has_shut_down_is_left_out(start: Start, tmp_path: Path) -> None:
    one, two = await start("one"), await start("two")
    await two.shutdown()
    assert await one.query(b"who") == [b"one"]
    assert not (tmp_path / "two.sock").exists()


async def test_a_socket_that_nobody_listens_on_is_left_out(start: Start, tmp_path: Path) -> None:
    one = await start("one")
    (tmp_path / "killed.sock").touch()
    assert await one.query(b"who") == [b"one"]


async def test_who_does_not_answer_in_time_is_left_out(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sse_node.node.peers._TIMEOUT_S", 0.05)
    one = await start("one")
    asked = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            await reader.read()
            asked.set()

    server = await asyncio.start_unix_server(say_nothing, tmp_path / "stopped.sock")
    assert await one.query(b"who") == [b"one"]
    await asked.wait()
    server.close()


async def test_who_asks_nothing_is_not_waited_for(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sse_node.node.peers._TIMEOUT_S", 0.05)
    await start("one")
    reader, writer = await asyncio.open_unix_connection(tmp_path / "one.sock")
    assert await reader.read() == b""
    writer.close()


async def test_who_was_not_started_may_be_shut_down(tmp_path: Path) -> None:
    await Peers(tmp_path / "never.sock", {}).shutdown()


async def test_a_deleted_socket_is_made_again(start: Start, tmp_path: Path) -> None:
    one, two = await start("one"), await start("two")
    assert [one.is_lost, two.is_lost] == [False, False]
    shutil.rmtree(tmp_path)
    assert [one.is_lost, two.is_lost] == [True, True]
    assert await one.query(b"who") == [b"one"]
    for peers in (one, two):
        await peers.start()
    assert await one.query(b"who") == [b"one", b"two"]
