"""A local HTTP server of a JWK Set, which can be down, slow, wrong, or serve another set."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

from tests.support.tokens import key_set

if TYPE_CHECKING:
    from tests.support.tokens import Signer


class _Server(ThreadingHTTPServer):
    """Says nothing about clients that leave."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Log nothing."""


class JwksServer:
    """The server; up inside its `with` block, unless it is stopped.

    Attributes:
        content: of the answers.
        status: of the answers.
        location: of redirects; empty for none.
        claimed_bytes: beyond the content that the answers' Content-Length promises.
        requests: how many have come.
        gate: answers wait until it is set.
        drips: whether the content comes byte by byte and never ends.
    """

    def __init__(self, *signers: Signer) -> None:
        self.content = b""
        self.serve(*signers)
        self.status = 200
        self.location = ""
        self.claimed_bytes = 0
        self.requests = 0
        self.gate = threading.Event()
        self.gate.set()
        self.drips = False
        self._port = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """The URL of the set; the same one after a restart."""
        return f"http://127.0.0.1:{self._port}/keys?tenant=secret-tenant"

    def serve(self, *signers: Signer) -> None:
        """Answer with these keys from now on."""
        self.content = key_set(*(each.jwk() for each in signers))

    def start(self) -> None:
        """Listen."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                outer._answer(self)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = _Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def stop(self) -> None:
        """Refuse connections."""
        self.gate.set()
        self.drips = False
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.gate.wait()
        handler.send_response(self.status)
        if self.location:
            handler.send_header("Location", self.location)
        if self.drips:
            handler.end_headers()
            self._drip(handler)
            return
        handler.send_header("Content-Length", str(len(self.content) + self.claimed_bytes))
        handler.end_headers()
        handler.wfile.write(self.content)

    def _drip(self, handler: BaseHTTPRequestHandler) -> None:
        never = threading.Event()
        try:
            while self.drips:
                handler.wfile.write(b" ")
                handler.wfile.flush()
                never.wait(0.02)
        except OSError:  # the client has left
            return
