"""The publisher retries every event with its key until it is accepted."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator

import pytest

from bench.chaos.checker import Acknowledged, Ledger
from bench.chaos.publisher import Publisher

Request = tuple[str, str, int]  # key, user, number


class Server:
    """Accepts posted events; responds from a list first, and then like a node."""

    def __init__(self) -> None:
        self.port = 0
        self.answers: list[bytes | None] = []
        self.requests: list[Request] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                length = re.search(r"Content-Length: (\d+)", head)
                key = re.search(r"Idempotency-Key: (.+)\r", head)
                assert length is not None
                assert key is not None
                event = json.loads(await reader.readexactly(int(length[1])))
                assert event["userId"] == event["data"]["user"]
                self.requests.append((key[1], event["userId"], event["data"]["number"]))
                answer = self.answers.pop(0) if self.answers else self._accepted()
                if answer is None:
                    break
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def _accepted(self) -> bytes:
        content = b'{"ids":["7-%d"]}' % len(self.requests)
        return b"HTTP/1.1 202 Accepted\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    yield server
    listener.close()
    await asyncio.gather(*server.tasks)


UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
REFUSED = b"HTTP/1.1 422 Unprocessable Content\r\nContent-Length: 3\r\n\r\nbad"


async def publish(server: Server, ledger: Ledger, events: int) -> Publisher:
    """Publish for one user until `events` events are acknowledged, and one more."""
    publisher = Publisher(server.port, ledger, ["ann"], rate=100)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(publisher.run())
        for _ in range(1000):
            if len(ledger.acknowledged.get("ann", ())) >= events or publisher.problems:
                break
            await asyncio.sleep(0.005)
        publisher.end()
    return publisher


async def test_an_accepted_event_is_recorded_with_its_id(server: Server) -> None:
    ledger = Ledger()
    publisher = await publish(server, ledger, 3)
    acknowledged = ledger.acknowledged["ann"]
    assert list(acknowledged) == list(range(len(server.requests)))
    assert acknowledged[1] == Acknowledged(1, 7 << 64 | 2, acknowledged[1].at)
    assert acknowledged[1].at > ledger.sent_at["ann"][1]
    *others, last = acknowledged.values()
    assert others[-1].at <= publisher.last_s <= last.at
    assert len({key for key, _, _ in server.requests}) == len(server.requests)
    assert publisher.problems == []


async def test_an_event_that_is_not_accepted_is_retried_with_its_key(server: Server) -> None:
    server.answers = [UNAVAILABLE, None, None]
    ledger = Ledger()
    publisher = await publish(server, ledger, 1)
    first = server.requests[:4]
    assert len(set(first)) == 1
    assert [number for _, _, number in server.requests] == [
        0,
        0,
        0,
        *range(len(server.requests) - 3),
    ]
    assert publisher.problems == []
    assert ledger.acknowledged["ann"][0].position == 7 << 64 | 4


async def test_a_rejected_event_is_a_problem(server: Server) -> None:
    server.answers = [REFUSED]
    ledger = Ledger()
    publisher = await publish(server, ledger, 1)
    assert len(publisher.problems) == 1
    assert "422" in publisher.problems[0]
    assert 0 not in ledger.acknowledged.get("ann", {})


async def test_a_big_event_can_be_published_on_demand(server: Server) -> None:
    ledger = Ledger()
    publisher = Publisher(server.port, ledger, ["ann"], rate=100)
    assert await publisher.publish("ann", pad_bytes=100_000) == 0
    assert 0 in ledger.acknowledged["ann"]
    publisher.end()
    await publisher.run()
