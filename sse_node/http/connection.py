"""One client connection until its request is answered or becomes a stream.

Requests are read strictly by `wire`; h11 is given their heads and frames the answers. Pipelined
requests wait here, bounded, and have an h11 object each, unless they become a stream.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable
from typing import cast

import h11

from sse_node.errors import RequestError
from sse_node.http.framing import frame_response
from sse_node.http.site import Answer, HttpSite, Route, Upgrade
from sse_node.wire.http_body import ContentReader
from sse_node.wire.http_head import (
    HEAD_END,
    Request,
    Response,
    check_incomplete_head,
    encode_head,
    parse_head,
    problem_response,
)

# What may wait behind the request in hand; a client that pipelines more is not read from.
_MAX_PIPELINED_BYTES = 64 * 1024
# Of one connection, before others have their turn; about 2 ms.
_REQUESTS_PER_TURN = 10
# How long a client may take to read an error while it is still sending (RFC 9112 §9.6).
_LINGER_S = 2.0
_WRITE_TIMEOUT_S = 30.0

logger = logging.getLogger(__name__)


class HttpConnection(asyncio.Protocol):
    """One accepted connection; created by the listener, gone when it closes or is upgraded."""

    __slots__ = ("_buffer", "_checked_bytes", "_content", "_eof", "_h11", "_head", "_lingering",
                 "_loop", "_next_turn", "_request", "_route", "_site", "_task", "_transport",
                 "_unsent_bytes", "_write_paused", "deadline")  # fmt: skip

    def __init__(self, site: HttpSite) -> None:
        # Per connection
        self._site = site
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._checked_bytes = 0  # of the buffer, when it holds the beginning of a head
        self._next_turn: asyncio.Handle | None = None
        self._lingering = False
        self._eof = False  # the client has closed its side
        self._write_paused = False  # the client does not read its answers
        self._unsent_bytes = 0  # at the last deadline, while it does not
        self.deadline = self._loop.time() + site.settings.timeout_head
        # Per request
        self._head = b""
        self._h11: h11.Connection | None = None
        self._request: Request | None = None
        self._route: Route | None = None
        self._content: ContentReader | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a request has begun and is not answered."""
        return bool(self._buffer) or self._request is not None

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection has been accepted."""
        # uvloop's transports do not subclass asyncio.Transport
        self._transport = cast(asyncio.Transport, transport)
        self._site.connections.add(self)
        if not self._site.has_room():
            self._site.refused_connections += 1
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes of requests: of the one in hand, or of later ones."""
        if self._lingering:
            return
        was_busy = self.busy
        self._buffer += data
        if not was_busy and not self._write_paused:
            self._restart_deadline()
        self._process_input()

    def eof_received(self) -> bool:
        """The client has closed its side; what it has asked for is still answered."""
        self._eof = True
        self._process_input()
        return True

    def pause_writing(self) -> None:
        """The write buffer is full: stop answering until it drains."""
        self._write_paused = True
        self._unsent_bytes = self._unsent()
        self._restart_deadline()

    def resume_writing(self) -> None:
        """The write buffer has drained."""
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
        if self._eof and (lacks_bytes or self._lingering):
            self.close()

    def _process_requests(self) -> bool:
        """Answer requests from the buffer; return True when only further bytes can help."""
        try:
            for _ in range(_REQUESTS_PER_TURN):
                if not self._can_process():
                    return False
                if self._request is None and not self._read_head():
                    return True
                if not self._read_content():
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
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):  # RFC 9112 §2.2: before a request line, ignored
            del buffer[:2]
            self._checked_bytes = 0
        end = buffer.find(HEAD_END, max(0, self._checked_bytes - len(HEAD_END)))
        if end < 0:
            check_incomplete_head(buffer, self._checked_bytes)
            self._checked_bytes = len(buffer)
            return False
        self._head = bytes(buffer[: end + len(HEAD_END)])
        del buffer[: len(self._head)]
        self._checked_bytes = 0
        self._h11 = None
        self._request = parse_head(self._head)
        self._route = self._site.route_of(self._request, self._transport)
        if self._request.has_content:
            self._content = ContentReader(self._request, self._route.max_content_bytes)
            self._restart_deadline()
            self._send_100_continue()
        return True

    def _send_100_continue(self) -> None:
        """Answer `Expect: 100-continue`."""
        framing = self._framing()
        if framing.they_are_waiting_for_100_continue:
            self._write(framing.send(h11.InformationalResponse(status_code=100, headers=[])))

    def _read_content(self) -> bool:
        """Return whether the request is complete; False when bytes are missing."""
        return self._content is None or self._content.take(self._buffer)

    # Answering

    def _framing(self) -> h11.Connection:
        """Return the request's h11 object; a request that becomes a stream never needs one."""
        if self._h11 is None:
            self._h11 = h11.Connection(h11.SERVER)
            self._h11.receive_data(self._head)
            self._h11.next_event()
        return self._h11

    def _answer(self) -> None:
        request, route = self._request, self._route
        assert request is not None
        assert route is not None
        if self._content is not None:
            request.content = bytes(self._content.content)
            self._content = None
        self.deadline = float("inf")
        try:
            answer = route.handler(request)
        except RequestError as error:
            answer = problem_response(error)
        except Exception:
            answer = self._on_bug(request)
        if inspect.isawaitable(answer):
            self._task = self._loop.create_task(self._await_answer(answer, request))
        else:
            self._send_answer(answer)

    async def _await_answer(self, awaitable: Awaitable[Answer], request: Request) -> None:
        try:
            answer = await awaitable
        except RequestError as error:
            answer = problem_response(error)
        except Exception:
            answer = self._on_bug(request)
        self._task = None
        if self._transport is not None:
            self._send_answer(answer)
            self._process_input()

    def _on_bug(self, request: Request) -> Response:
        logger.exception("%s %s failed", request.method, request.path)
        return problem_response(RequestError(500, "The server failed; this has been logged."))

    def _send_answer(self, answer: Answer) -> None:
        if not isinstance(answer, Response):
            self._detach(answer)
            return
        self._respond(answer)
        self._request = self._route = None
        if self._framing().our_state is not h11.DONE:
            self._linger()
        else:
            self._restart_deadline()

    def _detach(self, upgrade: Upgrade) -> None:
        """Give the transport up to what is opened on it."""
        transport = self._transport
        headers = self._site.response_headers(self._request)
        self._site.discard(self)
        self._transport = self._h11 = self._request = self._route = None
        self._buffer.clear()
        if transport is None or transport.is_closing():
            return
        if self._eof:
            transport.abort()
        else:
            transport.resume_reading()
            upgrade.open(transport, headers)

    def _respond(self, response: Response) -> None:
        assert self._request is not None
        framing = self._framing()
        self._site.count(response)
        headers = self._site.headers_of(response, self._request)
        if self._site.draining and all(name != b"Connection" for name, _ in headers):
            headers.append((b"Connection", b"close"))
        content = response.content if self._request.method != "HEAD" else b""
        self._write(frame_response(framing, response.status, headers, content))

    def _refuse(self, error: RequestError) -> None:
        """Answer a request that is not read to its end, then close."""
        logger.debug("request refused: %s", error)
        response = problem_response(error)
        self._site.count(response)
        head = encode_head(
            response.status,
            [*self._site.headers_of(response, self._request), (b"Connection", b"close")],
        )
        has_content = self._request is None or self._request.method != "HEAD"
        self._write(head + response.content if has_content else head)
        self._request = self._route = None
        self._linger()

    def _write(self, data: bytes | None) -> None:
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    # Closing

    def _linger(self) -> None:
        """Close our side, and read on for a while so that the client gets to see the answer."""
        self._lingering = True
        self._buffer.clear()
        self._restart_deadline()
        if self._transport is None or self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def close(self) -> None:
        """Close in order; what has been written is still sent."""
        if self._transport is not None:
            self._transport.close()

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
