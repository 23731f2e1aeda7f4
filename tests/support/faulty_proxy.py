"""A proxy on loopback between a browser and a node, with the faults of a real network.

Each connection carries one request: the proxy adds `Connection: close`, so that a browser cannot
reuse one that a fault applies to.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

    Answer = Callable[[str], bytes | None]

_READ_BYTES = 65536  # arbitrary


def response(status: str, content_type: str = "text/plain", content: bytes = b"no") -> bytes:
    """Return the bytes of a whole response, for `FaultyProxy.answer`."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(content)}"
    return f"{head}\r\nConnection: close\r\n\r\n".encode() + content


class FaultyProxy:
    """Passes requests to a node; listens in its `with` block.

    Attributes:
        answer: gets the head of each stream's request; bytes that it returns are the response,
            otherwise the node answers.
        stream_requests: the heads of all requests for a stream.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = (urlsplit(upstream).hostname, urlsplit(upstream).port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.answer: Answer = lambda _: None
        self.stream_requests: list[str] = []
        self._is_offline = False
        self._relays: set[_Relay] = set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """End all connections; further ones work."""
        for relay in list(self._relays):
            relay.close()

    def go_offline(self) -> None:
        """End all connections, and further ones before they are answered."""
        self._is_offline = True
        self.cut()

    def go_online(self) -> None:
        """Answer again."""
        self._is_offline = False

    def go_dark(self) -> None:
        """Swallow what the node sends on the present connections; further ones work."""
        for relay in list(self._relays):
            relay.is_dark = True

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                relay = _Relay(client)
                self._relays.add(relay)
                threading.Thread(target=self._serve, args=(relay,), daemon=True).start()

    def _serve(self, relay: _Relay) -> None:
        try:
            with contextlib.suppress(OSError):
                head = relay.read_head()
                is_stream = head.startswith("GET /events/sse")
                if self._is_offline or not head:
                    return
                answer = None
                if is_stream:
                    self.stream_requests.append(head)
                    answer = self.answer(head)
                if answer is not None:
                    relay.client.sendall(answer)
                else:
                    relay.run(self._upstream, head)
        finally:
            relay.close()
            self._relays.discard(relay)


class _Relay:
    """One connection through the proxy."""

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self.is_dark = False
        self._node: socket.socket | None = None

    def read_head(self) -> str:
        """Return the head of the request, empty if there is none."""
        received = b""
        while b"\r\n\r\n" not in received:
            data = self.client.recv(_READ_BYTES)
            if not data:
                return ""
            received += data
        return received.decode("latin-1")

    def run(self, upstream: tuple[str | None, int | None], head: str) -> None:
        """Pass the request on, and bytes both ways until one side ends."""
        self._node = node = socket.create_connection(upstream)
        lines = [line for line in head.split("\r\n") if not line.lower().startswith("connection:")]
        lines.insert(1, "Connection: close")
        node.sendall("\r\n".join(lines).encode("latin-1"))
        threading.Thread(target=self._pass_requests, args=(node,), daemon=True).start()
        while data := node.recv(_READ_BYTES):
            if not self.is_dark:
                self.client.sendall(data)
        if self.is_dark:  # a link that is down carries no end either
            self.client.recv(1)

    def _pass_requests(self, node: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := self.client.recv(_READ_BYTES):
                node.sendall(data)
            node.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End both sides at once."""
        for end in filter(None, (self.client, self._node)):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
