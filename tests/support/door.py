"""A small site behind `HttpConnection`, whose handlers do what the tests need."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sse_node.config.sections import HttpSettings
from sse_node.errors import RequestError
from sse_node.http.connection import HttpConnection
from sse_node.http.site import HttpSite, Route
from sse_node.streams.event_stream import EventStream
from sse_node.wire.http_head import Headers, Request, Response
from tests.support.fakes import FakeTransport, RecordingOwner, Watched
from tests.support.responses import Reply, read_replies

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sse_node.http.site import Answer

    Handler = Callable[[Request], Answer | Awaitable[Answer]]

HEAD_TIMEOUT_S, CONTENT_TIMEOUT_S, KEEP_ALIVE_TIMEOUT_S = 10, 30, 75
MAX_CONTENT_BYTES = 64 * 1024
HTTP_LIMIT_TOTAL = 4 * 1024 * 1024
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n: open\n\n"


class Door(Watched):
    """The site, and what has come through it.

    Attributes:
        requests: all that were answered, in order.
        gate: opens what `/later` waits for.
        room: how many connections there is room for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self.gate = asyncio.Event()
        self.owner = RecordingOwner()
        self.room = 100
        self.site = HttpSite(
            find_route=self._find_route,
            response_headers=lambda request: ((b"X-Server-Id", b"node-1"),),
            settings=HttpSettings(
                timeout_keep_alive=KEEP_ALIVE_TIMEOUT_S,
                timeout_head=HEAD_TIMEOUT_S,
                timeout_content=CONTENT_TIMEOUT_S,
                http_limit_total=HTTP_LIMIT_TOTAL,
                cors_origin=(),
                allowed_hosts=(),
            ),
            room=lambda: self.room - len(self.site.connections),
        )

    def _find_route(self, request: Request) -> Route:
        handlers: dict[str, Handler] = {
            "/echo": self._echo,
            "/later": self._later,
            "/big": self._answer_big,
            "/reserved": self._echo,
            "/empty": lambda _: Response(204),
            "/refused": self._refuse,
            "/refused-later": self._refuse_later,
            "/bug": self._bug,
            "/bug-later": self._bug_later,
            "/stream": lambda _: self,
            "/stream-later": self._stream_later,
        }
        handler = handlers.get(request.path, self._echo)
        return Route(handler, MAX_CONTENT_BYTES, has_reserve=request.path == "/reserved")

    def _echo(self, request: Request) -> Response:
        self._note(request)
        content = f"{request.method} {request.path}?{request.query} ".encode() + request.content
        return Response(200, ((b"Content-Type", b"text/plain"),), content)

    def _note(self, request: Request) -> None:
        self.requests.append(request)
        self.on_change()

    def _answer_big(self, request: Request) -> Response:
        self._note(request)
        return Response(200, content=b"b" * 300_000)

    async def _later(self, request: Request) -> Answer:
        await self.gate.wait()
        return self._echo(request)

    def _refuse(self, request: Request) -> Response:
        raise RequestError(409, "balance: expected a number", ((b"X-Why", b"because"),))

    async def _refuse_later(self, request: Request) -> Answer:
        await self.gate.wait()
        return self._refuse(request)

    def _bug(self, request: Request) -> Response:
        raise ZeroDivisionError("secret")

    async def _bug_later(self, request: Request) -> Answer:
        await self.gate.wait()
        return self._bug(request)

    def open(self, transport: asyncio.Transport, headers: Headers) -> None:
        """Open a stream."""
        EventStream(transport, "u", (), self.owner).start(STREAM_HEAD)

    async def _stream_later(self, request: Request) -> Answer:
        await self.gate.wait()
        return self


class Client:
    """A client of the door, on a fake transport."""

    def __init__(self, door: Door, transport: FakeTransport) -> None:
        self._door = door
        self.transport = transport
        self.received = b""
        transport.connect(HttpConnection(door.site))

    def send(self, *pieces: bytes) -> None:
        """Send; every piece is a read of its own at the server."""
        self.transport.feed(*pieces)

    def read(self) -> bytes:
        """Read what there is; return all that was ever read."""
        while data := self.transport.received():
            self.received += data
            self.transport.flush()
        return self.received

    def replies(self, *methods: str) -> list[Reply]:
        """Return all responses so far; raises when they are not whole."""
        return read_replies(self.read(), methods, closed=self.is_closed())

    def reply(self, *methods: str) -> Reply:
        """Return the only response so far."""
        replies = self.replies(*methods)
        assert len(replies) == 1, replies
        return replies[0]

    def is_closed(self) -> bool:
        """Return whether the server has closed its side, and all was read."""
        self.read()
        return self.transport.received_eof()
