"""One client connection until its request is answered or becomes a stream.

Requests are read strictly by `wire`; h11 is given their heads and frames the answers. Pipelined
requests wait here, bounded, and have an h11 object each, unless they become a stream. What waits
for the client is counted in the site's backlog.
"""

import asyncio
import logging
from collections.abc import Awaitable
from math import inf
from typing import cast

from sse_node.errors import RequestError
from sse_node.http.backlog import UNCOUNTED_BYTES
from sse_node.http.failures import response_to
from sse_node.http.framing import Framing
from sse_node.http.site import Answer, HttpSite, Route, Upgrade
from sse_node.wire.http_body import ContentReader
from sse_node.wire.http_head import (
    Request,
    Response,
    encode_head,
    parse_head,
    problem_response,
    take_head,
)

# What may wait behind the request in hand; a client that pipelines more is not read from.
_MAX_PIPELINED_BYTES = 64 * 1024
# Of one connection, before others have their turn; at worst 1 ms each.
_REQUESTS_PER_TURN = 5
# How long a client may take to read an error while it is still sending (RFC 9112 §9.6).
_LINGER_S = 2.0
_WRITE_TIMEOUT_S = 30.0
_SLOW_HEAD_S = 1.0  # heads come in one piece: until then nobody has to make room
# Longer content is not copied behind its head, so that it is in memory once for all clients.
_COPIED_BYTES = 16 * 1024

logger = logging.getLogger(__name__)


class HttpConnection(asyncio.Protocol):
    """One accepted connection; created by the listener, gone when it closes or is upgraded."""

    __slots__ = ("_buffer", "_checked_bytes", "_content", "_eof", "_framing", "_head",
                 "_is_counted", "_is_extra", "_lingering", "_loop", "_next_turn", "_request",
                 "_route", "_site", "_task", "_transport", "_unsent_bytes", "_write_paused",
                 "deadline")  # fmt: skip

    def __init__(self, site: HttpSite) -> None:
        # Per connection
        self._site = site
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._checked_bytes = 0  # of the buffer, when it holds the beginning of a head
        self._next_turn: asyncio.Handle | None = None
        self._lingering = False
        self._is_counted = False  # in the backlog
        self._is_extra = False  # one more than there is room for
        self._eof = False  # the client has closed its side
        self._write_paused = False  # the client does not read its answers
        self._unsent_bytes = 0  # at the last deadline, while it does not
        self.deadline = self._loop.time() + site.settings.timeout_head
        # Per request
        self._head = b""
        self._framing: Framing | None = None
        self._request: Request | None = None
        self._route: Route | None = None
        self._content: ContentReader | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a request has begun and is not answered."""
        return bool(self._buffer) or self._request is not None

    @property
    def held_bytes(self) -> int:
        """Bytes that wait in this process: of requests that are not whole, or of answers."""
        content_bytes = 0 if self._content is None else len(self._content.content)
        return len(self._buffer) + content_bytes + self._unsent()

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection has been accepted."""
        # uvloop's transports do not subclass asyncio.Transport
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)  # pause_writing: "something waits"
        self._is_extra = not self._site.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes of requests: of the one in hand, or of later ones."""
        if self._lingering:
            return
        if not self._buffer and self._request is None and not self._write_paused:
            self.deadline = self._loop.time() + self._site.settings.timeout_head
        self._buffer += data
        self._process_input()

    def eof_received(self) -> bool:
        """The client has closed its side; what it has asked for is still answered."""
        self._eof = True
        self._process_input()
        return True

    def pause_writing(self) -> None:
        """Bytes wait in the transport: stop answering until they are gone."""
        self._write_paused = True
        self._unsent_bytes = self._unsent()
        self._restart_deadline()
        self._count()

    def resume_writing(self) -> None:
        """The transport has passed on all that waited."""
        self._write_paused = False
        self._restart_deadline()
        self._process_input()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; a request in hand is carried out, its answer dropped."""
        self._transport = None
        self._site.discard(self)

    # Reading

    def _process_input(self) -> None:
        """Process buffered requests, then pause or resume reading; close at EOF."""
        lacks_bytes = self._process_requests()
        if self._transport is None:
            return
        if len(self._buffer) > _MAX_PIPELINED_BYTES:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
        if self._buffer or self._content is not None or self._is_counted:
            self._count()
        if self._eof and (lacks_bytes or self._lingering):
            self.close()

    def _count(self) -> None:
        """Count what is held; the backlog may close this connection for it."""
        held_bytes = self.held_bytes
        self._is_counted = held_bytes > UNCOUNTED_BYTES
        self._site.backlog.update(self, held_bytes)

    def _process_requests(self) -> bool:
        """Answer requests from the buffer; return True when only further bytes can help."""
        try:
            for _ in range(_REQUESTS_PER_TURN):
                if not self._can_process():
                    return False
                if self._request is None and not self._read_head():
                    return True
                if self._content is not None and not self._content.take(self._buffer):
                    return True
                self._answer()
        except RequestError as error:
            self._refuse(error)
            return False
        self._next_turn = self._loop.call_soon(self._resume_after_yield)
        return False

    def _can_process(self) -> bool:
        return not (
            self._transport is None
            or self._task is not None
            or self._next_turn is not None
            or self._lingering
            or self._write_paused
        )

    def _resume_after_yield(self) -> None:
        self._next_turn = None
        self._process_input()

    def _read_head(self) -> bool:
        self._head = take_head(self._buffer, self._checked_bytes)
        if not self._head:
            self._checked_bytes = len(self._buffer)
            return False
        self._checked_bytes = 0
        self._framing = None
        self._request = parse_head(self._head)
        self._route = self._site.route_of(self._request, self._transport)
        if self._is_extra and not self._route.has_reserve and not self._site.make_room(self):
            self._site.refuse(self)
            return False
        if self._request.has_content:
            self._content = ContentReader(self._request, self._route.max_content_bytes)
            self._restart_deadline()
            self._framing = Framing(self._head)
            if interim := self._framing.interim_response():
                self._write(interim)
        return True

    # Answering

    def _answer(self) -> None:
        request, route = self._request, self._route
        assert request is not None
        assert route is not None
        if self._content is not None:
            request.content = bytes(self._content.content)
            self._content = None
        self.deadline = inf
        try:
            answer = route.handler(request)
        except Exception as exc:
            answer = response_to(exc, request)
        if not isinstance(answer, Response) and isinstance(answer, Awaitable):
            self._task = self._loop.create_task(self._await_answer(answer, request))
        else:
            self._send_answer(answer)

    async def _await_answer(self, awaitable: Awaitable[Answer], request: Request) -> None:
        try:
            answer = await awaitable
        except Exception as exc:
            answer = response_to(exc, request)
        self._task = None
        if self._transport is not None:
            self._send_answer(answer)
            self._process_input()

    def _send_answer(self, answer: Answer) -> None:
        if not isinstance(answer, Response):
            self._detach(answer)
            return
        assert self._request is not None
        self._site.count(answer)
        framing = self._framing or Framing(self._head)
        headers = self._site.headers_of(answer, self._request)
        content = answer.content if self._request.method != "HEAD" else b""
        self._write(*framing.response(answer.status, headers, content))
        self._request = self._route = self._framing = None
        if framing.keeps_connection:
            self._restart_deadline()
            self._site.on_idle(self)
        else:
            self._linger()

    def _detach(self, upgrade: Upgrade) -> None:
        """Give the transport up to what is opened on it."""
        transport = self._transport
        headers = self._site.response_headers(self._request)
        self._site.discard(self)
        self._transport = None  # a stream replaces this protocol; else the transport closes
        self._buffer.clear()
        if transport is None or transport.is_closing():
            return
        if self._eof:
            transport.abort()
        else:
            transport.resume_reading()
            upgrade.open(transport, headers)

    def _refuse(self, error: RequestError) -> None:
        """Answer a request that is not read to its end, then close."""
        logger.debug("request refused: %s", error)
        response = problem_response(error)
        self._site.count(response)
        headers = self._site.headers_of(response, self._request, closes=True)
        head = encode_head(response.status, headers)
        has_content = self._request is None or self._request.method != "HEAD"
        self._write(head, response.content if has_content else b"")
        self._request = self._route = None
        self._linger()

    def _write(self, head: bytes, content: bytes = b"") -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if len(content) < _COPIED_BYTES:
            self._transport.write(head + content)
        else:
            self._transport.writelines((head, content))

    # Closing

    def _linger(self) -> None:
        """Close our side, and read on for a while so that the client gets to see the answer."""
        self._lingering = True
        self._buffer.clear()
        self._content = self._framing = None
        self._restart_deadline()
        if self._transport is None or self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def close(self) -> None:
        """Close in order; what has been written is still sent."""
        if self._transport is not None:
            self._transport.close()

    def close_if_idle(self) -> bool:
        """Close when no request has begun, or a head has not come for a while; return whether."""
        if self._request is not None or self._write_paused or self._next_turn is not None:
            return False
        began = self.deadline - self._site.settings.timeout_head
        if self._buffer and self._loop.time() < began + _SLOW_HEAD_S:
            return False
        self.close()
        return True

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _restart_deadline(self) -> None:
        """Reset the deadline for the current phase: write, linger, content, head or keep-alive."""
        if self._write_paused:
            time_s = _WRITE_TIMEOUT_S
        elif self._lingering:
            time_s = _LINGER_S
        elif self._request is not None:
            time_s = self._site.settings.timeout_content
        elif self._buffer:
            time_s = self._site.settings.timeout_head
        else:
            time_s = self._site.settings.timeout_keep_alive
        self.deadline = self._loop.time() + time_s

    def on_deadline(self) -> bool:
        """End what a client is too slow for, unless it has read some of its answer meanwhile.

        Returns:
            Whether the client was too slow.
        """
        if self._transport is None:
            return False
        if self._write_paused and (unsent_bytes := self._unsent()) < self._unsent_bytes:
            self._unsent_bytes = unsent_bytes
            self._restart_deadline()
            return False
        if self._write_paused or self._transport.is_closing():
            self._transport.abort()
        elif self._lingering or not self.busy:
            self.close()
        else:
            self._refuse(RequestError(408, "request: it did not arrive in time"))
        return True

    def _unsent(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()
