"""Hosts that requests may name, against DNS rebinding, also on the listener of operators."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import httpx
import pytest

from bench.harness import NodeProcess, ask, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

    from bench.harness import RedisProcess
    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration

EVIL = {"Host": "evil.example"}


@pytest.mark.parametrize(
    "target", ["/", "/accounts", "/events/sse", "/status", "/metrics", "/nope"]
)
def test_another_host_is_misdirected(http: httpx.Client, target: str) -> None:
    for method in ("GET", "POST", "OPTIONS", "HEAD"):
        answer = http.request(method, target, headers=EVIL)
        assert answer.status_code == 421
        assert answer.headers["content-type"] == "application/problem+json"
    assert http.get(target, headers=EVIL).json()["title"] == "Misdirected Request"


def test_loopback_and_health_by_any_name_are_answered(http: httpx.Client) -> None:
    for host in ("localhost", "localhost:1", "127.0.0.1:3000", "[::1]:3000", "LOCALHOST"):
        assert http.get("/accounts", headers={"Host": host}).status_code == 200
    for target in ("/health", "/health/live", "/health/ready"):
        assert http.get(target, headers=EVIL).status_code == 200


def test_hosts_of_the_setting(start_node: StartNode, redis: RedisProcess) -> None:
    node = start_node("--allowed-hosts", "App.example,.site.example", redis=redis)
    statuses = {
        host: httpx.get(f"{node.url}/accounts", headers={"Host": host}).status_code
        for host in ("app.example:8080", "a.site.example", "localhost", "evil.example", "10.0.0.1")
    }
    assert [*statuses.values()] == [200, 200, 200, 421, 421]


@pytest.mark.parametrize("where", ["uds", "any address"])
def test_behind_a_proxy_and_on_other_addresses_any_host_is_answered(
    start_node: StartNode, redis: RedisProcess, tmp_path: Path, where: str
) -> None:
    flags = {
        "uds": ("--uds", str(tmp_path / "node.sock")),
        "any address": ("--host", "0.0.0.0", "--auth", "none"),
    }
    node = start_node(*flags[where], redis=redis)
    address = node.address.replace("0.0.0.0", "127.0.0.1")
    answer = ask(address, b"GET /accounts HTTP/1.0\r\nHost: app.example\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")


# The listener of operators


@pytest.fixture
def admin(redis: RedisProcess) -> Iterator[httpx.Client]:
    """The admin listener of a node whose public one has every origin and host."""
    port = free_port()
    flags = ("--admin-port", str(port), "--cors-origin", "*", "--allowed-hosts", "*")
    with (
        NodeProcess("--redis-url", redis.url, *flags) as node,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        node.wait_ready()
        yield client


def test_no_page_gets_in_where_operators_look(admin: httpx.Client) -> None:
    assert admin.get("/metrics").status_code == 200
    for target in ("/metrics", "/status", "/revocations"):
        assert admin.get(target, headers=EVIL).status_code == 421
    asking = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    for answer in (
        admin.options("/revocations", headers=asking),
        admin.get("/status", headers={"Origin": "https://app.example"}),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    form = admin.post(
        "/revocations", content='{"user":"ann"}', headers={"Content-Type": "text/plain"}
    )
    assert form.status_code == 415


def test_socket_of_operators_has_any_host(
    start_node: StartNode, redis: RedisProcess, tmp_path: Path
) -> None:
    start_node("--admin-uds", str(tmp_path / "admin.sock"), redis=redis)
    request = b"GET /metrics HTTP/1.0\r\nHost: operators\r\n\r\n"
    assert ask(f"unix:{tmp_path}/admin.sock", request).startswith(b"HTTP/1.1 200 ")


# A real browser, for which names of others lead to this machine


@pytest.fixture
def rebound(browser: Browser) -> Iterator[Browser]:
    rules = "--host-resolver-rules=MAP *.example 127.0.0.1"
    browser = browser.browser_type.launch(
        executable_path=shutil.which("chromium"), args=["--no-sandbox", rules]
    )
    yield browser
    browser.close()


@pytest.mark.browser
def test_page_of_a_name_that_leads_here_reads_nothing(
    rebound: Browser, start_node: StartNode, redis: RedisProcess
) -> None:
    node = start_node("--allowed-hosts", "app.example", redis=redis)
    page = rebound.new_page()
    evil = page.goto(f"http://evil.example:{node.port}/")
    assert evil is not None
    assert evil.status == 421
    read = "(path) => fetch(path).then((answer) => answer.status)"
    assert page.evaluate(read, "/accounts") == 421
    assert page.evaluate(read, "/events/sse") == 421
    own = page.goto(f"http://app.example:{node.port}/")
    assert own is not None
    assert own.status == 200
    assert page.evaluate(read, "/accounts") == 200
