"""Refusals that heal: a real EventSource comes back by itself, as it would not after a 503."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from bench.harness import NodeProcess, RedisProcess
from tests.support.nodes import active_streams, client_of, read_metrics, wait_until
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from tests.support.nodes import StartNode

pytestmark = [pytest.mark.integration, pytest.mark.browser]

CONNECTING, OPEN, CLOSED = 0, 1, 2


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    yield page
    page.close()


def open_event_source(page: Page, origin: str) -> None:
    page.goto(f"{origin}/health")
    page.evaluate(
        """() => {
          window.errors = 0;
          window.source = new EventSource("/events/sse/ann");
          window.source.onerror = () => { window.errors += 1; };
        }"""
    )


def ready_state(page: Page) -> int:
    return int(page.evaluate("window.source.readyState"))


def errors(page: Page) -> int:
    return int(page.evaluate("window.errors"))


def test_a_full_node_takes_the_stream_when_it_has_room(
    page: Page, redis: RedisProcess, start_node: StartNode
) -> None:
    node = start_node("--max-streams", "1", "--retry", "200", redis=redis)
    with client_of(node) as http:
        with StreamClient(node.url) as first:
            first.wait_open()
            assert http.get("/health/ready").status_code == 503
            open_event_source(page, node.url)
            wait_until(lambda: errors(page) >= 2, "it was refused twice")
            assert ready_state(page) == CONNECTING
            assert read_metrics(http)["sse_node_streams_refused_total", "full"] >= 2
        wait_until(lambda: ready_state(page) == OPEN, "it came back by itself")
        assert active_streams(http) == 1


def test_a_node_that_starts_without_redis_takes_the_stream_when_redis_is_there(page: Page) -> None:
    with RedisProcess() as own_redis:
        own_redis.kill()
        with NodeProcess("--redis-url", own_redis.url, "--retry", "200") as node:
            open_event_source(page, node.url)
            wait_until(lambda: errors(page) >= 2, "it was refused twice")
            assert ready_state(page) == CONNECTING
            own_redis.restart()
            wait_until(lambda: ready_state(page) == OPEN, "it came back by itself")


def test_a_node_that_is_replaced_gets_its_streams_back(
    page: Page, redis: RedisProcess, start_node: StartNode
) -> None:
    node = start_node("--retry", "200", redis=redis)
    open_event_source(page, node.url)
    wait_until(lambda: ready_state(page) == OPEN, "it is open")
    assert node.terminate() == 0
    wait_until(lambda: ready_state(page) == CONNECTING, "it was ended")
    node.start()
    wait_until(lambda: ready_state(page) == OPEN, "it came back by itself")


class _Unavailable(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        is_stream = self.path.startswith("/events")
        self.send_response(503 if is_stream else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Be quiet."""


def test_after_a_plain_503_an_event_source_gives_up_for_good(page: Page) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Unavailable) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            open_event_source(page, f"http://127.0.0.1:{server.server_port}")
            wait_until(lambda: errors(page) == 1, "it was refused")
            assert ready_state(page) == CLOSED
        finally:
            server.shutdown()
            thread.join()
