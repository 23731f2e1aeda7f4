"""The page at `/` with tokens, and why a stream ended, in a real Chromium."""

from __future__ import annotations

import re
from time import time
from typing import TYPE_CHECKING

import httpx
import jwt
import pytest
from playwright.sync_api import expect

from bench.harness import NodeProcess, free_port
from tests.support.pages import OtherSite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from bench.harness import RedisProcess

pytestmark = [pytest.mark.integration, pytest.mark.browser]

SECRET = "a secret of thirty-two bytes, or more"
EXPIRY_MS = 20_000


class GuardedNode(NodeProcess):
    """A node whose users need a token, in a header or a cookie."""

    def __init__(self, redis: RedisProcess, directory: Path) -> None:
        self._admin_port = free_port()
        key = directory / "secret"
        key.write_text(SECRET)
        super().__init__(
            *("--redis-url", redis.url, "--server-id", "node-1", "--retry", "500"),
            *("--auth", "jwt", "--jwt-key", str(key), "--auth-cookie", "token"),
            *("--admin-port", str(self._admin_port)),
        )

    def revoke(self, user: str) -> None:
        url = f"http://127.0.0.1:{self._admin_port}/revocations"
        httpx.post(url, json={"user": user, "until": time() + 5}).raise_for_status()


@pytest.fixture
def node(redis: RedisProcess, tmp_path: Path) -> Iterator[GuardedNode]:
    with GuardedNode(redis, tmp_path) as node:
        node.wait_ready()
        yield node


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context() as context:
        yield context.new_page()


def token_of(user: str, expires_in_s: float = 600) -> str:
    claims = {"sub": user, "exp": time() + expires_in_s, "publish": ["system-events"]}
    return jwt.encode(claims, SECRET)


def show(page: Page, token: str) -> None:
    page.get_by_label("with token").fill(token)
    page.get_by_role("button", name="Show").click()


def expect_state(page: Page, word: str, note: str | re.Pattern[str] = "") -> None:
    expect(page.locator("#word")).to_have_text(word, timeout=EXPIRY_MS)
    expect(page.locator("#note")).to_contain_text(note)


def create_account(page: Page, name: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Create account").click()


def test_page_asks_for_a_token_and_works_with_it(page: Page, node: GuardedNode, user: str) -> None:
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(node.url)
    expect_state(page, "Closed", "(401): expected a token or a key. Type a token")
    token = token_of(user)
    show(page, token)
    expect_state(page, "Open", "Live from node-1")
    create_account(page, "Harbour fund")
    made = page.locator(".event.made").first
    expect(made).to_contain_text("Harbour fund")
    expect(made).to_contain_text(re.compile(r"from click [\d.]+ m?s from publish"))
    expect(page.locator("#accounts")).to_contain_text("Harbour fund")
    page.get_by_role("button", name="Broadcast").click()
    expect(page.locator(".event.other")).to_contain_text("Hello, everyone")
    page.reload()
    expect_state(page, "Open")
    expect(page.locator("#accounts")).to_contain_text("Harbour fund")
    assert not [url for url in requested if token[-20:] in url]
    kept = "() => [Object.values(localStorage), document.cookie, Object.values(sessionStorage)]"
    assert page.evaluate(kept) == [[], "", [token]]
    show(page, "")
    expect_state(page, "Closed", "(401)")
    assert page.evaluate(kept) == [[], "", []]


def test_page_shows_why_a_stream_is_refused(page: Page, node: GuardedNode, user: str) -> None:
    page.goto(f"{node.url}/?user=somebody-else")
    show(page, token_of(user))
    expect_state(page, "Closed", "(403): not allowed: expected the user's own stream.")
    show(page, "no.token.atall")
    expect_state(page, "Closed", "(401): the token is malformed. Type a token")
    show(page, jwt.encode({"sub": user, "exp": time() + 60}, SECRET + "x"))
    expect_state(page, "Closed", "(401): the token is not valid: the signature is wrong.")


def test_stream_goes_on_with_a_new_token(page: Page, node: GuardedNode, user: str) -> None:
    page.goto(node.url)
    show(page, token_of(user, expires_in_s=4))
    expect_state(page, "Open")
    create_account(page, "Before")
    expect(page.locator(".event.kept")).to_be_visible()
    expect_state(page, "Closed", "The token has expired. Type a new one")
    expect(page.locator(".seam").first).to_contain_text("The token has expired")
    new = token_of(user)
    account = {"name": "Missed", "balance": 1}
    answer = httpx.post(f"{node.url}/accounts", json=account, headers=bearer(new))
    answer.raise_for_status()
    show(page, new)
    expect_state(page, "Open", "Resumed on node-1")
    expect(page.locator(".event.made", has_text="Missed")).to_contain_text("replayed")
    expect(page.locator(".event.made", has_text="Before")).to_be_visible()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_page_with_a_token_comes_back_after_a_restart(
    page: Page, node: GuardedNode, user: str
) -> None:
    page.goto(node.url)
    show(page, token_of(user))
    expect_state(page, "Open")
    create_account(page, "Before")
    expect(page.locator(".event.kept")).to_be_visible()
    node.kill()
    expect_state(page, "Reconnecting")
    node.start()
    expect_state(page, "Open", "Resumed on node-1")
    create_account(page, "After")
    expect(page.locator(".event.made").first).to_contain_text("After")


@pytest.mark.parametrize("way", ["token", "cookie"])
def test_page_shows_that_the_access_was_revoked(
    page: Page, node: GuardedNode, user: str, way: str
) -> None:
    if way == "cookie":
        cookie = {"name": "token", "value": token_of(user), "domain": "127.0.0.1", "path": "/"}
        page.context.add_cookies([cookie])  # type: ignore[list-item]
    page.goto(node.url)
    if way == "token":
        show(page, token_of(user))
    expect_state(page, "Open")
    streams: list[str] = []
    page.on("request", lambda request: streams.append(request.url))
    node.revoke(user)
    expect_state(page, "Closed", "The access has been revoked.")
    assert [url for url in streams if "/events/sse" in url] == []


# What the browser enforces


def test_nothing_inline_runs_in_the_page(page: Page, node: GuardedNode) -> None:
    page.goto(node.url)
    violated = page.evaluate(
        """() => new Promise((resolve) => {
          const violated = [];
          document.addEventListener("securitypolicyviolation", (event) => {
            if (violated.push(event.effectiveDirective) === 3) resolve(violated.sort());
          });
          const script = document.createElement("script");
          script.textContent = "window.ran = true";
          const image = document.createElement("div");
          image.innerHTML = '<b onclick="window.ran = true" style="color: red">x</b>';
          document.body.append(script, image);
          image.firstChild.click();
        })"""
    )
    assert violated == ["script-src-attr", "script-src-elem", "style-src-attr"]
    assert page.evaluate("window.ran") is None


def test_no_page_has_it_in_a_frame(page: Page, node: GuardedNode) -> None:
    with OtherSite() as site:
        page.goto(site.address)
        page.evaluate(
            """(url) => new Promise((resolve) => {
              const frame = document.createElement("iframe");
              frame.addEventListener("load", resolve);
              frame.src = url;
              document.body.append(frame);
            })""",
            f"{node.url}/",
        )
        assert page.frames[1].locator("#word").count() == 0
        assert page.frames[1].url.startswith("chrome-error:")
