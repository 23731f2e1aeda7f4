"""The clients behave like EventSource and record everything that they receive."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from bench.chaos.checker import FaultBegan, Ledger, Note, Offence, Opened, Reset, Seen, Violation
from bench.chaos.clients import Freshness, Watcher, Watchers

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
OPEN = b"retry: 10\nevent: sse.open\nid: 5-1\ndata: {}\n\n"


def event(number: int, user: str = "ann") -> bytes:
    data = b'{"eventType":"chaos","user":"%b","number":%d}' % (user.encode(), number)
    return b"id: 6-%d\ndata: %b\n\n" % (number, data)


async def until(is_true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if is_true():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it has not come true in five seconds")


class Server:
    """Sends each connection the next answer and closes it; the last one stays open."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.answers: list[bytes] = []
        self.requests: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
            await until(lambda: bool(self.answers))
            writer.write(self.answers.pop(0))
            if not self.answers:
                await reader.read()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def shutdown(self) -> None:
        """Wait for the end of connections that the client has closed."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(str(tmp_path / "server.sock"))
    listener = await asyncio.start_unix_server(server.serve, server.path)
    yield server
    listener.close()
    server.answers.append(b"")  # wakes the waiting test
    await server.shutdown()


Run = Callable[..., Awaitable[Watcher]]


@pytest.fixture
def ledger() -> Ledger:
    """Return a ledger with five events of one user, sent one a second."""
    ledger = Ledger()
    for number in range(5):
        ledger.send("ann", float(number))
    return ledger


@pytest.fixture
async def run(server: Server, ledger: Ledger) -> AsyncIterator[Run]:
    """Runs one client against the server until it has `notes` notes."""
    watchers = Watchers(ledger)
    watchers.add("ann", server.path)
    (watcher,) = watchers.all
    task: asyncio.Task[None] | None = None

    async def run(*answers: bytes, notes: int) -> Watcher:
        nonlocal task
        server.answers += answers
        task = task or asyncio.create_task(watchers.run())
        await until(lambda: len(watcher.journal.notes) >= notes)
        return watcher

    yield run
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def kinds(watcher: Watcher) -> list[type[Note]]:
    return [type(note) for note in watcher.journal.notes]


async def test_it_reconnects_with_its_last_event_id(server: Server, run: Run) -> None:
    cut_off = HEAD + OPEN + event(1) + event(2)[:-1]
    watcher = await run(cut_off, HEAD + OPEN + event(2), notes=4)
    assert kinds(watcher) == [Opened, Seen, Opened, Seen]
    assert watcher.journal.notes[-1] == Seen(6 << 64 | 2, 2)
    assert watcher.connections == 2
    assert watcher.is_open
    first, second = server.requests
    assert first.startswith("GET /events/sse/ann HTTP/1.1\r\n")
    assert "Last-Event-ID" not in first
    assert "Last-Event-ID: 6-1\r\n" in second


async def test_a_refusal_is_no_opening_and_no_violation(server: Server, run: Run) -> None:
    refusal = HEAD[:-2] + b"Content-Length: 11\r\n\r\nretry: 10\n\n"
    watcher = await run(refusal, HEAD + OPEN, notes=1)
    assert kinds(watcher) == [Opened]


async def test_a_response_that_makes_a_browser_give_up_is_a_violation(
    server: Server, run: Run
) -> None:
    watcher = await run(b"HTTP/1.1 503 No\r\n\r\n", HEAD + OPEN, notes=2)
    assert kinds(watcher) == [Offence, Opened]
    offence = watcher.journal.notes[0]
    assert isinstance(offence, Offence)
    assert offence.violation is Violation.GIVEN_UP


@pytest.mark.parametrize(
    "frame",
    [event(1, "bob"), b"event: odd\ndata: x\n\n", b"odd\n\n", b"event: sse.open\ndata: {}\n\n"],
    ids=["of-another-user", "unknown-type", "no-frame", "opening-without-id"],
)
async def test_malformed_input_is_a_violation(server: Server, run: Run, frame: bytes) -> None:
    watcher = await run(HEAD + OPEN + frame, notes=2)
    offence = watcher.journal.notes[1]
    assert isinstance(offence, Offence)
    assert offence.violation is Violation.MALFORMED


async def test_resets_are_recorded_and_pings_are_not(server: Server, run: Run) -> None:
    reset = b'event: sse.reset\nid: 5-9\ndata: {"reason":"trimmed"}\n\n'
    watcher = await run(HEAD + OPEN + b"event: ping\ndata: {}\n\n" + reset, notes=2)
    assert kinds(watcher) == [Opened, Reset]
    note = watcher.journal.notes[1]
    assert isinstance(note, Reset)
    assert note.position == 5 << 64 | 9
    assert "trimmed" in note.reason


async def test_an_absent_client_stays_away_until_it_comes_back(server: Server, run: Run) -> None:
    watcher = await run(HEAD + OPEN, notes=1)
    watcher.go_away()
    await until(lambda: not watcher.is_open)
    await asyncio.sleep(0.05)  # five times its reconnection time
    assert len(server.requests) == 1
    watcher.come_back()
    await run(HEAD + OPEN, notes=2)
    assert len(server.requests) == 2


async def test_a_client_that_stops_reading_records_nothing_until_it_resumes(
    server: Server, run: Run
) -> None:
    watcher = await run(notes=0)
    watcher.stop_reading()
    server.answers.append(HEAD + OPEN)
    await until(lambda: bool(server.requests) and not server.answers)
    assert watcher.journal.notes == []
    watcher.resume_reading()
    await run(notes=1)


def test_a_stream_is_fresh_after_an_event_sent_since_then(ledger: Ledger) -> None:
    watchers = Watchers(ledger)
    for user in ("ann", "ann", "ann"):
        watchers.add(user, "nowhere")
    early, late, stray = watchers.all
    watchers.on_seen(early, Seen(1, 3), 3.5)
    freshness = Freshness(watchers.all, 3.0)
    assert freshness.waiting == {late, stray}
    stray.strayed = True
    for watcher, number, now in ((late, 2, 4.0), (late, 3, 5.0), (stray, 4, 9.0)):
        assert not freshness.done.is_set()
        watcher.newest_sent_at, watcher.newest_seen_at = float(number), now
        freshness.look_at(watcher)
    assert freshness.done.is_set()
    assert freshness.recovered_s == 2.0  # of `late`; the absence of a stray does not count


def test_every_journal_records_the_beginning_of_a_fault(ledger: Ledger) -> None:
    watchers = Watchers(ledger)
    watchers.add("ann", "nowhere")
    watchers.begin_fault(3)
    assert watchers.all[0].journal.notes == [FaultBegan(3)]
