"""The example of a Next.js front end, behind the shipped nginx.conf, in a real Chromium."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import httpx
import pytest
from playwright.sync_api import expect

from bench.harness import ROOT, NginxProcess, NodeProcess, RedisProcess, free_port
from tests.support.next_app import NextProcess, build
from tests.support.nodes import wait_until
from tests.support.pages import Visit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Locator, Page

pytestmark = [pytest.mark.integration, pytest.mark.browser]

SECRET = "a secret of thirty-two bytes, or more"
TOKEN_LIFETIME_S = 3


@pytest.fixture(scope="module")
def api_port(client_package: None) -> int:
    """The port of nginx, for which the example is built."""
    port = free_port()
    build(f"http://127.0.0.1:{port}")
    return port


@pytest.fixture
def cleanup() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def start_nginx(
    node: NodeProcess, port: int, cleanup: contextlib.ExitStack, conf: Path = ROOT / "nginx.conf"
) -> None:
    nginx = NginxProcess(conf, [node.address] * 2)
    nginx.port = port
    cleanup.enter_context(nginx)


def visit_of(browser: Browser, cleanup: contextlib.ExitStack) -> Visit:
    """Return a tab of a browser of its own."""
    return Visit(cleanup.enter_context(browser.new_context()).new_page())


def create_account(page: Page, name: str, balance: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Balance").fill(balance)
    page.get_by_role("button", name="Create account").click()


def account(page: Page, name: str) -> Locator:
    return page.get_by_role("listitem").filter(has_text=name)


def log_in(page: Page, url: str, user: str) -> None:
    page.goto(url)
    page.get_by_label("User").fill(user)
    page.get_by_role("button", name="Log in").click()


def test_list_moves_by_events(
    browser: Browser, api_port: int, cleanup: contextlib.ExitStack
) -> None:
    redis = cleanup.enter_context(RedisProcess())
    flags = ("--redis-url", redis.url, "--retry", "200")
    node = cleanup.enter_context(NodeProcess(*flags, "--server-id", "node-1"))
    other = cleanup.enter_context(NodeProcess(*flags, "--server-id", "node-2"))
    other.wait_ready()
    start_nginx(node, api_port, cleanup)
    front_end = cleanup.enter_context(NextProcess({}))
    visitor, other_visitor = (visit_of(browser, cleanup) for _ in range(2))
    for each in (visitor, other_visitor):
        each.page.goto(front_end.url)
        expect(each.page.get_by_role("status")).to_contain_text("Live")
    create_account(visitor.page, "Harbour fund", "100")
    for each in (visitor, other_visitor):
        expect(account(each.page, "Harbour fund")).to_contain_text("100")
        expect(each.page.get_by_role("status")).to_contain_text(
            re.compile(r"1 snapshots by node-[12]")
        )
    (created,) = httpx.get(f"{other.url}/accounts").json()
    where = f"{other.url}/accounts/{created['id']}"
    httpx.patch(where, json={"balance": 250}).raise_for_status()
    expect(account(visitor.page, "Harbour fund")).to_contain_text("250")
    assert visitor.complaints + other_visitor.complaints == []

    node.kill()
    expect(visitor.page.get_by_role("status")).to_contain_text("Reconnecting")
    httpx.post(f"{other.url}/accounts", json={"name": "Missed", "balance": 1}).raise_for_status()
    node.start()
    expect(account(visitor.page, "Missed")).to_have_count(1, timeout=20_000)
    expect(visitor.page.get_by_role("status")).to_contain_text("Live")
    visitor.page.get_by_role("button", name="Delete Harbour fund").click()
    for each in (visitor, other_visitor):
        expect(account(each.page, "Harbour fund")).to_have_count(0)
    visitor.page.get_by_label("Name").evaluate("input => { input.maxLength = 1000 }")
    create_account(visitor.page, "x" * 300, "1")
    expect(visitor.page.locator("main").get_by_role("alert")).not_to_be_empty()


def test_login_sets_the_cookie_and_renews_it(
    browser: Browser, api_port: int, cleanup: contextlib.ExitStack, tmp_path: Path
) -> None:
    redis = cleanup.enter_context(RedisProcess())
    key = tmp_path / "secret"
    key.write_text(SECRET)
    node = cleanup.enter_context(
        NodeProcess(
            *("--redis-url", redis.url, "--retry", "200"),
            *("--auth", "jwt", "--jwt-key", str(key), "--auth-cookie", "token"),
        )
    )
    node.wait_ready()
    conf = tmp_path / "nginx.conf"
    conf.write_text(with_cookie((ROOT / "nginx.conf").read_text("utf-8")))
    start_nginx(node, api_port, cleanup, conf)
    env = {"JWT_SECRET": SECRET, "TOKEN_LIFETIME_S": str(TOKEN_LIFETIME_S)}
    front_end = cleanup.enter_context(NextProcess(env))
    visitor, stranger = (visit_of(browser, cleanup) for _ in range(2))
    log_in(visitor.page, front_end.url, "ann")
    log_in(stranger.page, front_end.url, "bob")
    second_tab = visitor.page.context.new_page()
    second_tab.goto(front_end.url)
    tabs = (visitor.page, second_tab)
    for page in (*tabs, stranger.page):
        expect(page.get_by_role("status")).to_contain_text("Live")
    first = cookie_of(visitor)
    assert first["httpOnly"]
    assert first["secure"]
    assert first["sameSite"] == "Lax"

    create_account(visitor.page, "Ann's", "1")
    for page in tabs:
        expect(account(page, "Ann's")).to_have_count(1)
    wait_until(lambda: cookie_of(visitor)["value"] != first["value"], "a new token")
    create_account(visitor.page, "Later", "2")
    for page in tabs:
        expect(account(page, "Later")).to_have_count(1)
    expect(account(stranger.page, "Ann's")).to_have_count(0)
    visitor.page.get_by_role("button", name="Log out ann").click()
    expect(visitor.page.get_by_label("User")).to_be_visible()
    assert httpx.get(f"http://127.0.0.1:{api_port}/events/sse").status_code == 401


def with_cookie(conf: str) -> str:
    """Return nginx.conf with the line that a cookie needs, as its comment says."""
    changed = conf.replace('    proxy_set_header Cookie "";\n', "").replace(
        '#proxy_set_header Cookie "token=$cookie_token";',
        'proxy_set_header Cookie "token=$cookie_token";',
    )
    assert changed.count("proxy_set_header Cookie") == 1
    return changed


def cookie_of(visitor: Visit) -> dict[str, object]:
    (cookie,) = visitor.page.context.cookies()
    return dict(cookie)
