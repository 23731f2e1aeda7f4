"""Visits to the page at `/`, and pages of other sites, for tests that drive a browser."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Literal, Protocol

from playwright.sync_api import expect

if TYPE_CHECKING:
    from types import TracebackType

    from playwright.sync_api import ConsoleMessage, Page, ViewportSize

Scheme = Literal["light", "dark"]

DESKTOP: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}

_PAGE = b'<!doctype html><title>a page</title><link rel="icon" href="data:,">'


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(_PAGE)))
        self.end_headers()
        self.wfile.write(_PAGE)

    def log_message(self, *args: object) -> None:
        """Log nothing."""


class OtherSite:
    """A server with one empty page, of a port of its own.

    Attributes:
        localhost: its origin by name; of the same site as a node on localhost.
        address: its origin by address; of another site.
    """

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        port = self._server.server_address[1]
        self.localhost = f"http://localhost:{port}"
        self.address = f"http://127.0.0.1:{port}"

    def __enter__(self) -> OtherSite:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class Visit:
    """One open page, and what it asked for and complained of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requested: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requested.append(request.url))
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def expect_open(self) -> None:
        expect(self.page.locator("#word")).to_have_text("Open", timeout=20_000)

    def create_account(self, name: str, balance: str = "1000") -> None:
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Balance", exact=True).fill(balance)
        self.page.get_by_role("button", name="Create account").click()


class OpenPage(Protocol):
    """Opens the page at a URL; its stream is open when this returns, unless `is_open` is false."""

    def __call__(
        self,
        url: str,
        viewport: ViewportSize = DESKTOP,
        scheme: Scheme = "light",
        *,
        is_open: bool = True,
    ) -> Visit: ...
