"""Any bytes in any pieces on the front door of a whole node: well-formed answers, then a close.

The node is real but for its Redis, which is away, so that every route can be asked for anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

import pytest
import uvloop
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sse_node.config.reading import read_settings
from sse_node.http.connection import HttpConnection
from sse_node.node.server import Server
from tests.support.door import Client, Door
from tests.support.fakes import FakeClockLoop, FakeTransport, pieces_of
from tests.support.responses import Reply, read_replies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sse_node.http.site import Route
    from sse_node.wire.http_head import Request

EXAMPLES = settings(deadline=None, max_examples=300)
FEW_EXAMPLES = settings(deadline=None, max_examples=40)
GO_ON = b"HTTP/1.1 100 \r\n\r\n"


class FrontDoor:
    """A node that is not started and has no Redis; made in its event loop.

    Attributes:
        methods: of the requests whose route was looked up, in order.
        errors: what was logged at ERROR, or raised where nobody catches it.
    """

    def __init__(self) -> None:
        flags = {
            "server_id": "node-1",
            "cors_origin": "https://app.example",
            "allowed_hosts": "a",
        }
        self.server = Server(read_settings(flags, {}), "unix:///nowhere/redis.sock")
        self.server.node.streams.serving = True
        for shard in self.server.node.shards:
            shard.serving = True
        self.methods: list[str] = []
        self.errors: list[object] = []
        self._find_route = self.server.node.site.find_route
        self.server.node.site.find_route = self._note_method
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.errors.append(context))

    def _note_method(self, request: Request) -> Route:
        self.methods.append(request.method)
        return self._find_route(request)

    def connect(self) -> HttpConnection:
        """Return what the listener makes for an accepted connection."""
        return HttpConnection(self.server.node.site)

    async def exchange(self, pieces: Sequence[bytes]) -> list[Reply]:
        """Send the pieces, each when nothing is left to do, then close our half."""
        self.methods.clear()
        transport = FakeTransport()
        received = bytearray()
        try:
            transport.connect(self.connect())
            for piece in pieces:
                transport.feed(piece)
                await asyncio.sleep(30)  # by the fake clock: longer than any try to reach Redis
                received += transport.received()
                transport.flush()
            transport.feed_eof()
            for _ in range(100):
                await asyncio.sleep(1)
                received += transport.received()
                transport.flush()
                if transport.closed:
                    break
            assert transport.closed, "neither an answer nor a close"
        finally:
            transport.dispose()
        return self.read(bytes(received))

    def read(self, received: bytes) -> list[Reply]:
        """Return the replies to what was sent; raises when something about them is wrong."""
        assert self.errors == []
        assert not self.server.node.site.connections
        assert len(self.server.node.streams) == 0
        received = received.removesuffix(GO_ON)  # who gave up then has no other answer
        replies = read_replies(received, self.methods, closed=True)
        # The last head may have had no content behind it, or have been no head at all.
        assert abs(len(replies) - len(self.methods)) <= 1
        for reply in replies:
            assert reply.headers["x-server-id"] == "node-1"
            if reply.status >= 400 and reply.content:
                assert reply.problem
        return replies


@contextlib.contextmanager
def logged_errors(errors: list[object]) -> Iterator[None]:
    """Add what is logged at ERROR to a list."""
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: errors.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=FakeClockLoop) as runner:
        yield runner


@pytest.fixture(scope="module")
def front_door(runner: asyncio.Runner) -> Iterator[FrontDoor]:
    async def make() -> FrontDoor:
        return FrontDoor()

    front_door = runner.run(make())
    with logged_errors(front_door.errors):
        yield front_door
    runner.run(front_door.server.shutdown())


def essence_of(reply: Reply) -> tuple[object, ...]:
    """Return what of a reply depends on the request alone, not on the time it came."""
    names = sorted(reply.headers)
    is_problem = reply.headers.get("content-type") == "application/problem+json"
    return reply.status, reply.informational, names, reply.content if is_problem else b""


METHODS = st.sampled_from(
    [b"GET", b"GET", b"POST", b"HEAD", b"PATCH", b"DELETE", b"OPTIONS", b"PUT", b"CONNECT", b"get"]
)
TARGETS = st.sampled_from(
    [
        *(b"/", b"/accounts", b"/accounts/1", b"/accounts/%FF", b"/events", b"/events/sse", b"*"),
        *(b"/events/sse/123?lastEventId=1-1", b"/events/sse/%00", b"/events/sse?channels=x&y=%FF"),
        *(b"/events/sse/a%0Db?last_event_id=x", b"/health", b"/health/ready", b"/status", b"//"),
        *(b"/metrics", b"/snapshots?limit=-1", b"/nowhere", b"http://a/health", b"a:80", b"/#"),
    ]
)
VERSIONS = st.sampled_from([b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.10", b""])
FIELDS = st.lists(
    st.sampled_from(
        [
            *(b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: 70000"),
            *(b"Content-Length: 5,5", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip"),
            *(b"Expect: 100-continue", b"Connection: close", b"Connection: keep-alive, Upgrade"),
            *(b"Upgrade: h2c", b"Content-Type: application/json", b"Content-Encoding: gzip"),
            *(b"Last-Event-ID: 1763900000000-4", b"Last-Event-ID: \xff", b"Idempotency-Key: k"),
            *(b"Origin: https://app.example", b"Origin: null", b"Host: b", b" folded", b"X: a\0"),
            *(b"Accept: text/event-stream", b"X-Empty:", b"x : y", b"Cookie: a=b; c=d"),
        ]
    ),
    max_size=4,
)
CONTENTS = (
    *(b"", b"", b"hello", b'{"name":"a","balance":1}', b'{"userId":"1","eventType":"t"}'),
    *(b"5\r\nhello\r\n0\r\n\r\n", b"0\r\n\r\n", b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n", b"-1\r\n"),
    *(b"ffffffffffffffff\r\n", b"x" * 70_000, b"\r\n", b"[" * 5000),
)
REQUESTS = st.builds(
    lambda method, target, version, fields, content: b"\r\n".join(
        (b"%b %b %b" % (method, target, version), b"Host: a", *fields, b"", content)
    ),
    METHODS,
    TARGETS,
    VERSIONS,
    FIELDS,
    st.integers(0, len(CONTENTS) - 1).map(CONTENTS.__getitem__),
)


@st.composite
def spoilt_requests(draw: Callable[..., bytes]) -> bytes:
    """A request of which some bytes are others, missing or doubled."""
    request = bytearray(draw(REQUESTS))
    places = st.integers(0, max(0, min(len(request), 200) - 1))
    for place in draw(st.lists(places, min_size=1, max_size=3)):
        request[place : place + 1] = draw(st.binary(max_size=2))
    return bytes(request)


BYTES = st.lists(
    st.one_of(REQUESTS, REQUESTS, spoilt_requests(), st.binary(max_size=40)), max_size=5
).map(b"".join)
CUTS = st.lists(st.integers(1, 400), max_size=12)


@EXAMPLES
@given(data=BYTES, cuts=CUTS)
@example(data=b"\r\n\r\n", cuts=[1, 1, 1])
@example(data=b"HEAD /events HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n", cuts=[3])
@example(
    data=b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", cuts=[]
)
@example(data=b"GET / HTTP/9.9\r\nHost: a\r\nX: \0\r\n\r\n", cuts=[28, 1])
@example(data=b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0\r\n\r\n", cuts=[])
def test_any_bytes_in_any_pieces_have_the_same_answers(
    runner: asyncio.Runner, front_door: FrontDoor, data: bytes, cuts: list[int]
) -> None:
    whole = runner.run(front_door.exchange([data]))
    in_pieces = runner.run(front_door.exchange(pieces_of(data, cuts)))
    assert [essence_of(reply) for reply in in_pieces] == [essence_of(reply) for reply in whole]


@settings(EXAMPLES, max_examples=100)
@given(data=BYTES.filter(lambda data: len(data) < 3000))
def test_any_bytes_one_at_a_time_have_the_same_answers(
    runner: asyncio.Runner, front_door: FrontDoor, data: bytes
) -> None:
    whole = runner.run(front_door.exchange([data]))
    in_bytes = runner.run(front_door.exchange(pieces_of(data)))
    assert [essence_of(reply) for reply in in_bytes] == [essence_of(reply) for reply in whole]


GOOD_REQUESTS = st.lists(
    st.tuples(st.sampled_from(["/echo", "/later"]), st.binary(max_size=30), st.booleans()),
    min_size=1,
    max_size=12,
)


def encode_good_request(path: str, content: bytes, *, is_chunked: bool) -> bytes:
    head = b"POST %b HTTP/1.1\r\nHost: a\r\n" % path.encode()
    if not is_chunked:
        return head + b"Content-Length: %d\r\n\r\n%b" % (len(content), content)
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in content)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


@settings(EXAMPLES, max_examples=100)
@given(requests=GOOD_REQUESTS, cuts=CUTS, waits=st.booleans())
def test_good_requests_are_answered_in_order_with_their_own_content(
    runner: asyncio.Runner,
    requests: list[tuple[str, bytes, bool]],
    cuts: list[int],
    waits: bool,
) -> None:
    data = b"".join(encode_good_request(p, c, is_chunked=chunked) for p, c, chunked in requests)

    async def exchange() -> list[Reply]:
        door, transport = Door(), FakeTransport()
        try:
            client = Client(door, transport)
            for piece in pieces_of(data, cuts):
                client.send(piece)
                if waits:
                    await asyncio.sleep(0)
            door.gate.set()
            await asyncio.sleep(1)
            assert not client.is_closed()
            return client.replies()
        finally:
            transport.dispose()

    replies = runner.run(exchange())
    expected = [f"POST {path}? ".encode() + content for path, content, _ in requests]
    assert [reply.content for reply in replies] == expected


@pytest.fixture(
    params=[asyncio.SelectorEventLoop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def listening(request: pytest.FixtureRequest) -> Iterator[tuple[asyncio.Runner, FrontDoor, str]]:
    """A node on a socket of the kernel's."""

    async def listen() -> tuple[FrontDoor, asyncio.Server]:
        front_door = FrontDoor()
        loop = asyncio.get_running_loop()
        return front_door, await loop.create_server(front_door.connect, "127.0.0.1", 0)

    with asyncio.Runner(loop_factory=request.param) as runner:
        front_door, listener = runner.run(listen())
        with logged_errors(front_door.errors):
            yield runner, front_door, listener.sockets[0].getsockname()
        listener.close()
        runner.run(front_door.server.shutdown())


def test_any_bytes_are_answered_on_a_real_connection(
    listening: tuple[asyncio.Runner, FrontDoor, tuple[str, int]],
) -> None:
    runner, front_door, address = listening

    async def exchange(pieces: Sequence[bytes]) -> bytes:
        front_door.methods.clear()
        reader, writer = await asyncio.open_connection(*address)
        received = b""
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            writer.write_eof()
            received = await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        await front_door.server.node.site.wait_closed()
        return received

    @FEW_EXAMPLES
    @given(data=BYTES, cuts=CUTS)
    def check(data: bytes, cuts: list[int]) -> None:
        async def bounded() -> bytes:
            async with asyncio.timeout(10):
                return await exchange(pieces_of(data, cuts))

        front_door.read(runner.run(bounded()))

    check()
