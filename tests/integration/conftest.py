"""Real nodes for the integration tests.

Most tests share one node (or two) and have a user of their own each, so that they cannot hear each
other. What a test stops, empties or configures, it starts itself.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import subprocess
from typing import TYPE_CHECKING, cast

import pytest
from playwright.sync_api import sync_playwright
from redis import Redis, RedisCluster

from bench.harness import ROOT, NodeProcess, RedisProcess
from tests.support.browsers import BrowserProcess, Profile, bundle
from tests.support.faulty_proxy import FaultyProxy
from tests.support.nodes import client_of, flags_for
from tests.support.pages import DESKTOP, Visit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx
    from playwright.sync_api import Browser, ViewportSize

    from tests.support.nodes import Addressed, StartNode
    from tests.support.pages import OpenPage, Scheme

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
    with NodeProcess(*flags_for(redis), *flags) as process:
        process.wait_ready()
        yield process


@pytest.fixture(scope="session")
def other_node(redis: RedisProcess) -> Iterator[NodeProcess]:
    """A second node on the same Redis."""
    with NodeProcess(*flags_for(redis), "--server-id", "node-2") as process:
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
    if redis.cluster_url:
        with RedisCluster(host="127.0.0.1", port=redis.port) as cluster:
            yield cast(Redis, cluster)
    else:
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

        def start(*flags: str, redis: Addressed, server_id: str = "node-1") -> NodeProcess:
            own = (*flags_for(redis), "--server-id", server_id)
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


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Open pages of the test's own, as different visitors have them."""
    with contextlib.ExitStack() as contexts:

        def open_page(
            url: str,
            viewport: ViewportSize = DESKTOP,
            scheme: Scheme = "light",
            *,
            is_open: bool = True,
        ) -> Visit:
            context = browser.new_context(viewport=viewport, color_scheme=scheme)
            visit = Visit(contexts.enter_context(context).new_page())
            visit.page.goto(url)
            if is_open:
                visit.expect_open()
            return visit

        yield open_page


# The npm package in browsers


@pytest.fixture(scope="session")
def client_package() -> None:
    """Install and build the npm package, if that is not up to date."""
    subprocess.run(["make", "--silent", "client/node_modules/.built"], cwd=ROOT, check=True)


@pytest.fixture(scope="session")
def client_script(client_package: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The built package as a script for a page."""
    dist = ROOT / "client/dist"
    source = f"""export {{ connect }} from "{dist}/index.js";
export {{ connect as connectOverFetch }} from "{dist}/fetch.js";"""
    return bundle(source, tmp_path_factory.mktemp("client"))


@pytest.fixture(scope="session")
def chromium_process(client_package: None) -> Iterator[BrowserProcess]:
    """Debian's Chromium, for `Profile`."""
    with BrowserProcess("chrome") as process:
        yield process


@pytest.fixture(scope="session")
def firefox_process(client_package: None) -> Iterator[BrowserProcess]:
    """Debian's Firefox, for `Profile`."""
    with BrowserProcess("firefox") as process:
        yield process


@pytest.fixture
def chromium(chromium_process: BrowserProcess) -> Iterator[Profile]:
    """A user of Chromium."""
    profile = Profile(chromium_process)
    yield profile
    profile.close()


@pytest.fixture
def firefox(firefox_process: BrowserProcess) -> Iterator[Profile]:
    """A user of Firefox."""
    profile = Profile(firefox_process)
    yield profile
    profile.close()


@pytest.fixture(params=["chromium", "firefox"])
def profile(request: pytest.FixtureRequest) -> Profile:
    """A user of each browser."""
    profile: Profile = request.getfixturevalue(request.param)
    return profile


@pytest.fixture
def start_proxy() -> Iterator[Callable[[str], FaultyProxy]]:
    """Start proxies with faults in front of a URL."""
    with contextlib.ExitStack() as proxies:
        yield lambda upstream: proxies.enter_context(FaultyProxy(upstream))
