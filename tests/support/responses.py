"""What an HTTP client makes of a server's bytes: whole responses, or an error."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import h11

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass
class Reply:
    """One response.

    Attributes:
        informational: the statuses of the responses before it, e.g. 100.
        headers: by lower-case name; of a repeated one the last.
        closes: whether the connection ends with it.
    """

    status: int
    headers: dict[str, str]
    content: bytes = b""
    closes: bool = False
    informational: list[int] = field(default_factory=list)

    @property
    def problem(self) -> str:
        """The detail of a problem+json response; raises when it is none."""
        assert self.headers["content-type"] == "application/problem+json", self
        content: dict[str, Any] = json.loads(self.content)
        assert set(content) == {"type", "title", "status", "detail"}, self
        assert content["status"] == self.status, self
        detail: str = content["detail"]
        assert detail, self
        assert detail.isprintable(), self
        return detail


def read_replies(data: bytes, methods: Sequence[str] = (), *, closed: bool = False) -> list[Reply]:
    """Return the responses in what a client has read.

    Args:
        data: all of it; may be empty.
        methods: of the requests, in order; GET when there are more responses than these.
        closed: whether the server has closed the connection after it.

    Raises:
        h11.RemoteProtocolError: it is not a series of whole responses, or bytes follow the last.
    """
    replies: list[Reply] = []
    while data:
        method = methods[len(replies)] if len(replies) < len(methods) else "GET"
        reply, data = _read_reply(data, method, closed=closed)
        replies.append(reply)
        if reply.closes and data:
            raise h11.RemoteProtocolError(f"bytes after the last response: {data[:200]!r}")
    return replies


def _read_reply(data: bytes, method: str, *, closed: bool) -> tuple[Reply, bytes]:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "test")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    if closed:
        client.receive_data(b"")
    informational: list[int] = []
    reply: Reply | None = None
    while True:
        h11_event = client.next_event()
        if isinstance(h11_event, h11.InformationalResponse):
            informational.append(h11_event.status_code)
        elif isinstance(h11_event, h11.Response):
            headers = {name.decode(): value.decode() for name, value in h11_event.headers}
            reply = Reply(h11_event.status_code, headers, informational=informational)
        elif isinstance(h11_event, h11.Data) and reply is not None:
            reply.content += h11_event.data
        elif isinstance(h11_event, h11.EndOfMessage) and reply is not None:
            reply.closes = client.their_state is not h11.DONE
            return reply, client.trailing_data[0]
        else:
            raise h11.RemoteProtocolError(f"no whole response: {data[:200]!r}")
