"""A receiver of webhooks on loopback that answers as a test wants."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from tests.support.nodes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    Answer = Callable[["Received"], bytes | None]

OK = b"HTTP/1.1 204 No Content\r\n\r\n"
_PADDING = b"x" * 65536


def answer(status: str, *headers: str, content: bytes = b"") -> bytes:
    """Return the bytes of a whole answer."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(content)}", "", ""]
    return "\r\n".join(lines).encode() + content


@dataclass
class Received:
    """One request.

    Attributes:
        path: of its target.
        headers: by name in lower case.
        content: its bytes.
        at: when its head had come, in monotonic seconds.
        address: that was connected to.
        number: how many came before on this path.
    """

    path: str
    headers: dict[str, str]
    content: bytes
    at: float
    address: str
    number: int

    @property
    def json(self) -> Any:  # noqa: ANN401
        """Its content."""
        return json.loads(self.content)

    @property
    def data(self) -> Any:  # noqa: ANN401
        """The data of its event."""
        return self.json["data"]


@dataclass
class Receiver:
    """Listens in its `with` block.

    Attributes:
        answers: by path, what returns the bytes of the answer: None cuts the connection. Without
            one, 204 is answered.
        requests: all that came.
        server_names: of SNI, of each connection.
        is_endless: paths whose answer never ends; the connection stays open, and is sent more.
    """

    certificate: tuple[str, str] | None = None
    host: str = "127.0.0.1"
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[Received] = field(default_factory=list)
    is_endless: set[str] = field(default_factory=set)
    sent_bytes: int = 0
    server_names: list[str | None] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._server = _Server((self.host, 0), _Handler)
        self._server.receiver = self
        if self.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.certificate)
            context.sni_callback = self._on_name
            self._server.context = context
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def _on_name(self, connection: ssl.SSLObject, name: str | None, _: object) -> None:
        self.server_names.append(name)

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._server.server_address[1]
        return port

    def url(self, path: str = "/") -> str:
        """Return a URL of it."""
        return f"http{'s' * bool(self.certificate)}://{self.host}:{self.port}{path}"

    def at(self, path: str) -> list[Received]:
        """Return the requests for a path."""
        return [request for request in list(self.requests) if request.path == path]

    def wait_for(self, path: str, count: int, timeout_s: float = 15.0) -> list[Received]:
        """Wait until so many requests for a path have come; return them."""
        wait_until(lambda: len(self.at(path)) >= count, f"{count} requests for {path}", timeout_s)
        return self.at(path)

    def wait_for_any(self, count: int, timeout_s: float = 30.0) -> None:
        """Wait until so many requests have come."""
        wait_until(lambda: len(self.requests) >= count, f"{count} requests", timeout_s)

    def wait_for_type(self, path: str, event_type: str, timeout_s: float = 20.0) -> Received:
        """Wait for a request with an event of a type."""
        wait_until(
            lambda: any(each.json["type"] == event_type for each in self.at(path)),
            f"{event_type} at {path}",
            timeout_s,
        )
        return next(each for each in self.at(path) if each.json["type"] == event_type)

    def wait_for_data(self, path: str, data: object, timeout_s: float = 30.0) -> None:
        """Wait until the last request for a path has this data."""
        wait_until(lambda: bool(self.at(path)) and self.at(path)[-1].data == data, path, timeout_s)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024
    receiver: Receiver
    context: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        with contextlib.suppress(OSError):
            if self.context is None:
                super().finish_request(request, client_address)
                return
            with self.context.wrap_socket(request, server_side=True) as secure:
                super().finish_request(secure, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone away is no error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        """Note a request, as after a redirect that was followed."""
        self.do_POST()

    def do_POST(self) -> None:
        """Note a request and answer it."""
        receiver = self.server.receiver
        at = time.monotonic()
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        received = Received(
            self.path,
            {name.lower(): value for name, value in self.headers.items()},
            content,
            at,
            self.connection.getsockname()[0],
            len(receiver.at(self.path)),
        )
        receiver.requests.append(received)
        make = receiver.answers.get(self.path)
        answered = OK if make is None else make(received)
        if answered is None:
            self.close_connection = True
            return
        self.wfile.write(answered)
        if self.path in receiver.is_endless:
            self.close_connection = True
            self._send_forever()
        elif b"\r\nConnection: close" in answered:
            self.close_connection = True

    def _send_forever(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(_PADDING)
                self.server.receiver.sent_bytes += len(_PADDING)

    def log_message(self, *_: object) -> None:
        """Write nothing."""


def refusing_port() -> tuple[socket.socket, int]:
    """Return a socket that is bound and does not listen, and its port."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    return bound, bound.getsockname()[1]
