"""Real nodes for the integration tests.

Most tests share one node (or two) and have a user of their own each, so that they cannot hear each
other. What a test stops, empties or configures, it starts itself.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright
from redis import Redis

from bench.harness import NodeProcess, RedisProcess
from tests.support.nodes import client_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from playwright.sync_api import Browser

    from tests.support.nodes import StartNode

_user_numbers = itertools.count(1)

_CHROMIUM_FLAGS = [
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="session")
def node(redis: RedisProcess) -> Iterator[NodeProcess]:
    """The node that most tests share; pings twice a second."""
    flags = ("--server-id", "node-1", "--ping-interval", "0.5")
    with NodeProcess("--redis-url", redis.url, *flags) as process:
        process.wait_ready()
        yield process


@pytest.fixture(scope="session")
def other_node(redis: RedisProcess) -> Iterator[NodeProcess]:
    """A second node on the same Redis."""
    with NodeProcess("--redis-url", redis.url, "--server-id", "node-2") as process:
        process.wait_ready()
        yield process


@pytest.fixture(scope="session")
def http(node: NodeProcess) -> Iterator[httpx.Client]:
    """Requests to the shared node."""
    with client_of(node) as client:
        yield client


@pytest.fixture(scope="session")
def publisher(redis: RedisProcess) -> Iterator[Redis]:
    """Another program on the shared nodes' Redis."""
    with Redis.from_url(redis.url) as client:
        yield client


@pytest.fixture
def user() -> str:
    """A user that no other test has."""
    return f"user-{next(_user_numbers)}"


@pytest.fixture
def start_node() -> Iterator[StartNode]:
    """Start nodes of the test's own; each is ready when this returns it."""
    with contextlib.ExitStack() as nodes:

        def start(*flags: str, redis: RedisProcess, server_id: str = "node-1") -> NodeProcess:
            own = ("--redis-url", redis.url, "--server-id", server_id)
            process = nodes.enter_context(NodeProcess(*own, *flags))
            process.wait_ready()
            return process

        yield start


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, headless; it ends with the module, and so does its event loop."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=_CHROMIUM_FLAGS
        )
        yield browser
        browser.close()
