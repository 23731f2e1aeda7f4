"""What a real Chromium sends and lets pages of other origins read and do."""

from __future__ import annotations

import json
import re
from time import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from bench.harness import ROOT, NginxProcess, NodeProcess
from tests.config.test_hosts import ORIGINS
from tests.support.pages import OtherSite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from bench.harness import RedisProcess

pytestmark = [pytest.mark.integration, pytest.mark.browser]

SECRET = "a secret of thirty-two bytes, or more"

# Returns [status, X-Server-Id, detail of a problem], or the name of the error.
REQUEST = """async ([url, options]) => {
  try {
    const response = await fetch(url, options);
    const server = response.headers.get("X-Server-Id");
    return [response.status, server, (await response.json()).detail ?? ""];
  } catch (error) {
    return error.name;
  }
}"""

# Returns the type of the first event of a stream, or the error's name.
STREAM = """async ([url, options]) => {
  try {
    const reader = (await fetch(url, options)).body.getReader();
    let text = "";
    while (!text.includes("\\n\\n")) text += new TextDecoder().decode((await reader.read()).value);
    await reader.cancel();
    return /event: (.*)/.exec(text)[1];
  } catch (error) {
    return error.name;
  }
}"""

# Sends a form whose content is `NAME="}`.
SEND_FORM = """([url, name]) => {
  const form = document.createElement("form");
  Object.assign(form, {action: url, method: "POST", enctype: "text/plain"});
  const field = document.createElement("input");
  Object.assign(field, {name, value: '"}'});
  form.append(field);
  document.body.append(form);
  form.submit();
}"""

NATIVE_STREAM = """(url) => new Promise((resolve) => {
  const source = new EventSource(url, {withCredentials: true});
  source.addEventListener("sse.open", () => { source.close(); resolve("sse.open"); });
  source.addEventListener("error", () => resolve("error"));
})"""

ACCOUNT = {
    "method": "POST",
    "headers": {"Content-Type": "application/json", "Idempotency-Key": "key-1"},
    "body": '{"name":"n","balance":1,"userId":"ann"}',
}
# All that polyfills of EventSource set, and the token for which they are used.
POLYFILL_HEADERS = {
    "Accept": "text/event-stream",
    "Authorization": "Bearer x",
    "Cache-Control": "no-cache",
    "Last-Event-ID": "1-0",
    "X-Requested-With": "XMLHttpRequest",
}


@pytest.fixture(scope="module")
def listed() -> Iterator[OtherSite]:
    with OtherSite() as site:
        yield site


@pytest.fixture(scope="module")
def unlisted() -> Iterator[OtherSite]:
    with OtherSite() as site:
        yield site


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context() as context:
        yield context.new_page()


def test_origins_in_settings_are_those_that_the_browser_sends(page: Page) -> None:
    sent = page.evaluate("urls => urls.map((url) => new URL(url).origin)", list(ORIGINS))
    assert dict(zip(ORIGINS, sent, strict=True)) == ORIGINS


# Cross-origin requests


@pytest.fixture(scope="module")
def open_node(redis: RedisProcess, listed: OtherSite) -> Iterator[NodeProcess]:
    """A node without authentication; pages of one origin may read its answers."""
    origins = listed.address.replace("http", "HTTP")
    flags = ("--redis-url", redis.url, "--server-id", "node-5", "--cors-origin", origins)
    with NodeProcess(*flags) as node:
        node.wait_ready()
        yield node


def test_page_of_a_listed_origin_reads_answers(
    page: Page, open_node: NodeProcess, listed: OtherSite
) -> None:
    page.goto(listed.address)
    assert page.evaluate(REQUEST, [f"{open_node.url}/accounts", ACCOUNT])[:2] == [201, "node-5"]
    refused = page.evaluate(REQUEST, [f"{open_node.url}/accounts/x", {"credentials": "include"}])
    assert refused[0] in {400, 404}
    assert page.evaluate(REQUEST, [f"{open_node.url}/nope", {}])[0] == 404


def test_page_of_a_listed_origin_hears_streams(
    page: Page, open_node: NodeProcess, listed: OtherSite
) -> None:
    page.goto(listed.address)
    url = f"{open_node.url}/events/sse/ann"
    assert page.evaluate(NATIVE_STREAM, url) == "sse.open"
    # This node asks for no token, and ignores the one that comes.
    assert page.evaluate(STREAM, [url, {"headers": POLYFILL_HEADERS}]) == "sse.reset"


def test_page_of_another_origin_reads_nothing(
    page: Page, open_node: NodeProcess, unlisted: OtherSite, listed: OtherSite
) -> None:
    for origin in (unlisted.address, unlisted.localhost, listed.localhost):
        page.goto(origin)
        for options in ({}, ACCOUNT, {"headers": POLYFILL_HEADERS}, {"method": "DELETE"}):
            assert page.evaluate(REQUEST, [f"{open_node.url}/accounts", options]) == "TypeError"
        assert page.evaluate(NATIVE_STREAM, f"{open_node.url}/events/sse/ann") == "error"


def test_sandboxed_page_of_a_listed_origin_reads_nothing(
    page: Page, open_node: NodeProcess, listed: OtherSite
) -> None:
    page.goto(listed.address)
    script = f"fetch('{open_node.url}/accounts').then(() => 'read', (e) => e.name)"
    frame = f"<script>{script}.then((said) => parent.postMessage(said, '*'))</script>"
    said: Any = page.evaluate(
        """(text) => new Promise((resolve) => {
          addEventListener("message", (event) => resolve([event.origin, event.data]));
          const frame = document.createElement("iframe");
          Object.assign(frame, {sandbox: "allow-scripts", srcdoc: text});
          document.body.append(frame);
        })""",
        frame,
    )
    assert said == ["null", "TypeError"]


# Requests that other sites make the browser send, with the user's cookie


@pytest.fixture(scope="module")
def cookie_node(
    redis: RedisProcess, listed: OtherSite, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeProcess]:
    """A node whose users log in by a cookie."""
    key = tmp_path_factory.mktemp("keys") / "secret"
    key.write_text(SECRET)
    flags = ("--auth", "jwt", "--jwt-key", str(key), "--auth-cookie", "token")
    with NodeProcess("--redis-url", redis.url, "--cors-origin", listed.localhost, *flags) as node:
        node.wait_ready()
        yield node


@pytest.fixture
def user_page(page: Page, cookie_node: NodeProcess, user: str) -> Page:
    """A page of a browser whose user has logged in at the node on localhost."""
    page.context.add_cookies(
        [
            {
                "name": "token",
                "value": jwt.encode({"sub": user, "exp": time() + 600}, SECRET),
                "domain": "localhost",
                "path": "/",
                "sameSite": "None",  # so that the browser does not protect the user itself
                "secure": True,
                "httpOnly": True,
            }
        ]
    )
    return page


def site_of(node: NodeProcess) -> str:
    return f"http://localhost:{node.port}"


def names_of(page: Page, node: NodeProcess) -> list[str]:
    """Return the names of the user's accounts, asked for by the node's own page."""
    own = page.context.new_page()
    own.goto(site_of(node))
    accounts = own.evaluate("() => fetch('/accounts').then((answer) => answer.json())")
    return [account["name"] for account in accounts]


def account_named(name: str, content_type: str = "application/json") -> dict[str, Any]:
    return {
        "method": "POST",
        "credentials": "include",
        "headers": {"Content-Type": content_type},
        "body": json.dumps({"name": name, "balance": 1}),
    }


def test_own_page_and_listed_page_change_something_with_the_cookie(
    user_page: Page, cookie_node: NodeProcess, listed: OtherSite
) -> None:
    url = f"{site_of(cookie_node)}/accounts"
    user_page.goto(site_of(cookie_node))
    assert user_page.evaluate(REQUEST, [url, account_named("own")])[0] == 201
    user_page.goto(listed.localhost)
    assert user_page.evaluate(REQUEST, [url, account_named("listed")])[0] == 201
    assert user_page.evaluate(NATIVE_STREAM, f"{site_of(cookie_node)}/events/sse") == "sse.open"
    assert names_of(user_page, cookie_node) == ["own", "listed"]


@pytest.mark.parametrize("origin", ["localhost", "address"], ids=["another port", "another site"])
def test_page_of_another_origin_changes_nothing_with_the_cookie(
    user_page: Page, cookie_node: NodeProcess, unlisted: OtherSite, origin: str
) -> None:
    url = f"{site_of(cookie_node)}/accounts"
    user_page.goto(getattr(unlisted, origin))
    # By fetch: JSON needs a preflight, which is not granted; a simple type is sent, and refused.
    assert user_page.evaluate(REQUEST, [url, account_named("fetch")]) == "TypeError"
    simple = account_named("simple", "text/plain") | {"mode": "no-cors"}
    with user_page.expect_response(url) as response:
        user_page.evaluate("([url, options]) => fetch(url, options).then(() => 0)", [url, simple])
    # 403 shows that the cookie was sent; this browser sends none to other sites by fetch.
    assert response.value.status == (403 if origin == "localhost" else 401)
    # By a form, which goes to another page: JSON in the name of a field.
    with user_page.expect_response(url) as response:
        user_page.evaluate(SEND_FORM, [url, '{"name":"form","balance":1,"x":"'])
    assert response.value.status == 403
    assert names_of(user_page, cookie_node) == []


# nginx in front, when no node answers


def test_page_of_another_origin_reads_what_nginx_refuses(page: Page, listed: OtherSite) -> None:
    page.goto(listed.address)
    with NginxProcess(ROOT / "nginx.conf", ["127.0.0.1:1", "127.0.0.1:2"]) as nginx:
        status, _, detail = page.evaluate(REQUEST, [f"{nginx.url}/accounts", {}])
        assert status == 502
        assert detail.startswith("No node answered")
        credentials = {"credentials": "include"}
        assert page.evaluate(REQUEST, [f"{nginx.url}/status", credentials])[0] == 404
        refused = page.evaluate(
            "([url, options]) => fetch(url, options).then((answer) => answer.text())",
            [f"{nginx.url}/events/sse/ann", credentials],
        )
        assert re.fullmatch(r"retry: \d{4}\n\n", refused)
