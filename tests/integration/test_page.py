"""The page at ``/`` in a real Chromium, against real nodes on a real Redis."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import pytest
from playwright.sync_api import expect

from bench.harness import RedisProcess
from tests.support.pages import DESKTOP, PHONE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import ViewportSize

    from bench.harness import NodeProcess
    from tests.support.nodes import StartNode
    from tests.support.pages import OpenPage, Scheme, Visit

pytestmark = [pytest.mark.integration, pytest.mark.browser]

# Every element with text of its own, and every placeholder: [what, contrast]. The ground is the
# nearest ancestor's background colour that is not transparent.
CONTRASTS = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => {
    const [r, g, b] = channels(colour).map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (channels(colour)[3] !== 0) return colour;
    }
    throw new Error("no background colour");
  };
  const contrast = (text, element) => {
    const [dark, light] = [luminance(text), luminance(ground(element))].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    if (!element.checkVisibility()) continue;
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const name = `${element.tagName} ${element.className} ${element.textContent.slice(0, 30)}`;
    const check = (what, style) => found.push([what, contrast(style.color, element)]);
    if (own || element.value) check(name, getComputedStyle(element));
    if (element.placeholder) check(`${name} hint`, getComputedStyle(element, "::placeholder"));
  }
  return found;
}"""


@pytest.fixture
def visit(open_page: OpenPage, node: NodeProcess, user: str) -> Visit:
    """The page of a user that no other test has, on the node that tests share."""
    return open_page(f"{node.url}/?user={user}")


@pytest.fixture
def own_redis() -> Iterator[RedisProcess]:
    """A Redis that the test may stop; it keeps nothing."""
    with RedisProcess() as process:
        yield process


@pytest.fixture
def own_node(start_node: StartNode, own_redis: RedisProcess) -> NodeProcess:
    """A node that the test may stop; its streams come back soon."""
    return start_node("--retry", "500", redis=own_redis)


def test_created_account_arrives_with_latency_and_both_servers(
    visit: Visit, node: NodeProcess
) -> None:
    visit.create_account("Harbour fund")
    row = visit.page.locator(".event", has_text="account.created").first
    expect(row).to_contain_text("Harbour fund")
    expect(row).to_contain_text(re.compile(r"[\d.]+ m?s from click [\d.]+ m?s from publish"))
    expect(row).to_contain_text("answered by node-1, delivered by node-1")
    expect(row).to_contain_text(re.compile(r"\d{13}-\d+"))
    expect(visit.page.locator(".event", has_text="snapshots.generated").first).to_be_visible()
    expect(visit.page.locator("#answered")).to_have_text(re.compile(r"node-1201 in [\d.]+ m?s"))
    expect(visit.page.locator("#ping")).to_have_text(re.compile(r"\d+ s ago"))
    assert visit.complaints == []
    assert {httpx.URL(url).netloc for url in visit.requested if not url.startswith("data:")} == {
        httpx.URL(node.url).netloc
    }


def test_balance_is_updated_and_account_deleted(visit: Visit) -> None:
    visit.create_account("Quarry trust", "50")
    account = visit.page.locator("#accounts li", has_text="Quarry trust").first
    account.get_by_role("button", name="Update balance").click()
    expect(visit.page.locator(".event", has_text="account.updated")).to_have_count(0)
    account.get_by_role("spinbutton").fill("75.5")
    account.get_by_role("button", name="Update balance").click()
    changed = visit.page.locator(".event", has_text="balance.changed").first
    expect(changed.locator("pre")).to_contain_text(re.compile(r'"from": 50,.*"to": 75\.5'))
    expect(changed).to_contain_text("from click")
    account.get_by_role("button", name="Delete").click()
    expect(account).to_have_count(0)
    expect(visit.page.locator(".event", has_text="account.deleted")).to_contain_text("from click")
    assert visit.complaints == []


def test_broadcast_reaches_another_users_page(
    visit: Visit, open_page: OpenPage, node: NodeProcess
) -> None:
    other = open_page(node.url)
    other.page.get_by_label("of user").fill("auth0|b+x/y@example")
    other.page.get_by_role("button", name="Show").click()
    expect(other.page).to_have_url(f"{node.url}/?user=auth0%7Cb%2Bx%2Fy%40example")
    other.expect_open()
    visit.page.get_by_label("Message").fill("<b>to all</b>")
    visit.page.get_by_role("button", name="Broadcast").click()
    for page in (visit.page, other.page):
        expect(page.locator(".event pre").first).to_contain_text('"<b>to all</b>"')
    visit.create_account("Only mine")
    expect(visit.page.locator(".event.made").first).to_contain_text("Only mine")
    other.create_account("Only theirs")
    expect(other.page.locator(".event.made").first).to_contain_text("Only theirs")
    assert other.page.get_by_text("Only mine").count() == 0
    assert visit.complaints + other.complaints == []


def test_reconnects_after_a_restart_and_replays_what_was_missed(
    open_page: OpenPage, own_node: NodeProcess, own_redis: RedisProcess, start_node: StartNode
) -> None:
    second = start_node(redis=own_redis, server_id="node-2")
    visit = open_page(own_node.url)
    visit.create_account("Before")
    expect(visit.page.locator(".event.kept")).to_be_visible()
    own_node.kill()
    expect(visit.page.locator("#word")).to_have_text("Reconnecting")
    expect(visit.page.locator("#clock")).to_have_text(re.compile(r"^[1-9]\d*\.\d s$"))
    account = {"name": "Missed", "balance": 1}
    httpx.post(f"{second.url}/accounts", json=account).raise_for_status()
    own_node.start()
    visit.expect_open()
    expect(visit.page.locator(".event.made", has_text="Missed")).to_contain_text("replayed")
    expect(visit.page.locator(".seam")).to_contain_text("Resumed on node-1")
    expect(visit.page.locator("#reconnects")).to_contain_text("1last gap")
    expect(visit.page.locator("#accounts")).to_contain_text("Missed")
    visit.create_account("After")
    expect(visit.page.locator(".event.made").first).to_contain_text("After")
    # The console has only what Chromium itself says of a server that is not there.
    assert [text for text in visit.complaints if "net::ERR_" not in text] == []


def test_reset_reads_the_accounts_again(
    open_page: OpenPage, own_node: NodeProcess, own_redis: RedisProcess
) -> None:
    visit = open_page(own_node.url)
    visit.create_account("Forgotten")
    expect(visit.page.locator("#accounts")).to_contain_text("Forgotten")
    own_node.kill()
    expect(visit.page.locator("#word")).to_have_text("Reconnecting")
    own_redis.restart()
    own_node.start()
    visit.expect_open()
    expect(visit.page.locator(".seam")).to_contain_text(re.compile(r"Reset \([a-z-]+\)"))
    expect(visit.page.locator("#accounts-note")).to_have_text("None yet.")
    visit.create_account("New start")
    expect(visit.page.locator(".event.made").first).to_contain_text("New start")


def test_comes_back_after_the_browser_gave_up(open_page: OpenPage, own_node: NodeProcess) -> None:
    visit = open_page(own_node.url)
    visit.page.route("**/events/sse*", lambda route: route.fulfill(status=502, body="no"))
    own_node.kill()
    expect(visit.page.locator("#note")).to_contain_text("The browser gave up", timeout=20_000)
    own_node.start()
    visit.page.unroute("**/events/sse*")
    visit.expect_open()
    expect(visit.page.locator(".seam")).to_contain_text("Resumed on node-1")


def test_shows_the_problems_detail(visit: Visit, node: NodeProcess) -> None:
    answer = httpx.post(f"{node.url}/accounts", json={"name": "No balance", "balance": None})
    assert answer.status_code == 422
    visit.page.locator("#balance").evaluate("input => { input.required = false }")
    visit.create_account("No balance", balance="")
    expect(visit.page.locator("#create-error")).to_have_text(answer.json()["detail"])
    visit.create_account("With balance", balance="-0.5")
    expect(visit.page.locator("#create-error")).to_be_hidden()
    expect(visit.page.locator("#accounts")).to_contain_text("With balance")


def test_says_when_the_clocks_differ(visit: Visit) -> None:
    visit.create_account("In time")
    expect(visit.page.locator(".event.made").first).to_be_visible()
    expect(visit.page.locator("#skew")).to_be_hidden()
    visit.page.clock.install(time=datetime.now(UTC) - timedelta(seconds=5))
    visit.page.reload()
    expect(visit.page.locator("#skew")).to_contain_text("behind the server")
    visit.create_account("Before its time")
    row = visit.page.locator(".event.made").first
    expect(row).to_contain_text(re.compile(r"[\d.]+ m?s from click 0 ms from publish"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_text_has_contrast_and_fits_the_screen(
    open_page: OpenPage, node: NodeProcess, user: str, viewport: ViewportSize, scheme: Scheme
) -> None:
    visit = open_page(f"{node.url}/?user={user}", viewport, scheme)
    visit.create_account("A name that is rather long for a phone " + "x" * 60)
    visit.page.get_by_role("button", name="Broadcast").click()
    for kind in ("made", "kept", "other"):
        expect(visit.page.locator(f".event.{kind}").first).to_be_visible()
    contrasts = visit.page.evaluate(CONTRASTS)
    assert len(contrasts) > 40
    assert [(name, round(ratio, 2)) for name, ratio in contrasts if ratio < 4.5] == []  # WCAG AA
    assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert visit.complaints == []
