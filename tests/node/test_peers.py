"""Workers that ask each other, and those that do not answer."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from sse_node.node.peers import Siblings
from tests.support.fakes import BOTH_LOOPS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Start = Callable[[str], Awaitable[Siblings]]

pytestmark = BOTH_LOOPS

BIG = bytes(8 * 1024 * 1024)  # more than any buffer on the way


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start workers, by name, which end with the test."""
    started: list[Siblings] = []

    async def start(name: str) -> Siblings:
        answers = {b"who": lambda: name.encode(), b"big": lambda: BIG}
        started.append(Siblings(tmp_path / f"{name}.sock", answers))
        await started[-1].start()
        return started[-1]

    yield start
    for siblings in started:
        await siblings.shutdown()


async def test_whoever_is_asked_answers_first(start: Start) -> None:
    one, two, three = [await start(name) for name in ("one", "two", "three")]
    assert await one.ask(b"who") == [b"one", b"three", b"two"]
    assert await two.ask(b"who") == [b"two", b"one", b"three"]
    assert (await three.ask(b"who"))[0] == b"three"


async def test_a_worker_alone_answers(start: Start) -> None:
    assert await (await start("one")).ask(b"who") == [b"one"]


async def test_answers_may_be_big(start: Start) -> None:
    one = await start("one")
    await start("two")
    assert await one.ask(b"big") == [BIG, BIG]


async def test_who_does_not_know_a_question_is_left_out(start: Start, tmp_path: Path) -> None:
    await start("one")
    newer = Siblings(tmp_path / "new.sock", {b"what": lambda: b"new"})
    assert await newer.ask(b"what") == [b"new"]


async def test_who_has_shut_down_is_left_out(start: Start, tmp_path: Path) -> None:
    one, two = await start("one"), await start("two")
    await two.shutdown()
    assert await one.ask(b"who") == [b"one"]
    assert not (tmp_path / "two.sock").exists()


async def test_a_socket_that_nobody_listens_on_is_left_out(start: Start, tmp_path: Path) -> None:
    one = await start("one")
    (tmp_path / "killed.sock").touch()
    assert await one.ask(b"who") == [b"one"]


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
    assert await one.ask(b"who") == [b"one"]
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
    await Siblings(tmp_path / "never.sock", {}).shutdown()
