"""The npm package, and EventSource without it, under the faults of real networks and servers.

README's table of what each survives is checked against `FAULTS`, and those in both browsers.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pytest

from bench.harness import ROOT, NginxProcess, NodeProcess, RedisProcess
from tests.support.browsers import Client
from tests.support.faulty_proxy import FaultyProxy, response
from tests.support.nodes import wait_until
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

    from tests.support.browsers import Profile, Tab

pytestmark = [pytest.mark.integration, pytest.mark.browser]

PING_INTERVAL_S = 1
Kind = Literal["EventSource", "connect", "connect over fetch"]
KINDS: tuple[Kind, ...] = ("EventSource", "connect", "connect over fetch")


@dataclass
class Scene:
    """A tab with a stream through a proxy to a node of the test's own."""

    tab: Tab
    client: Client
    proxy: FaultyProxy
    node: NodeProcess
    publish: Callable[[], int]


@pytest.fixture
def own_node(redis: RedisProcess) -> Iterator[NodeProcess]:
    """A node whose clients come back soon, and see its silence soon."""
    flags = ("--retry", "200", "--ping-interval", str(PING_INTERVAL_S), "--drain-delay", "0")
    with NodeProcess("--redis-url", redis.url, "--server-id", "node-4", *flags) as process:
        process.wait_ready()
        yield process


@pytest.fixture
def publish(http: httpx.Client, user: str) -> Callable[[], int]:
    """Publish events with the numbers 1, 2, 3, … through another node."""
    numbers = itertools.count(1)

    def publish() -> int:
        number = next(numbers)
        event = {"userId": user, "eventType": "tick", "data": {"number": number}}
        http.post("/events", json=event).raise_for_status()
        return number

    return publish


OPTIONS = {"pingInterval": PING_INTERVAL_S * 1000, "retry": 200, "maxRetry": 1000}


def open_client(kind: Kind, tab: Tab, script: str, origin: str, user: str) -> Client:
    url = f"{origin}/events/sse/{user}"
    client = Client(tab, script, origin)
    if kind == "EventSource":
        return client.connect_natively(url)
    return client.connect(url, transport="fetch" if "fetch" in kind else "native", **OPTIONS)


# The faults. Each takes the stream away, publishes event 2, and gives it back.


def kill_node(scene: Scene) -> None:
    scene.node.kill()
    scene.publish()
    scene.node.start()


def drain_node(scene: Scene) -> None:
    scene.node.terminate()
    scene.publish()
    scene.node.start()


def cut_connection(scene: Scene) -> None:
    scene.proxy.cut()
    scene.publish()


def half_open_connection(scene: Scene) -> None:
    scene.proxy.go_dark()
    scene.publish()


def answer_all(scene: Scene, answer: bytes) -> None:
    """Answer at least two requests of the client so, if it makes them."""
    before = len(scene.proxy.stream_requests)
    scene.proxy.answer = lambda _: answer
    scene.proxy.cut()
    scene.publish()
    wait_until(
        lambda: len(scene.proxy.stream_requests) >= before + 2 or scene.client.state() == "closed",
        "two requests, or the end",
    )
    scene.proxy.answer = lambda _: None


def status_503(scene: Scene) -> None:
    answer_all(scene, response("503 Service Unavailable"))


def status_500(scene: Scene) -> None:
    answer_all(scene, response("500 Internal Server Error"))


def wrong_content_type(scene: Scene) -> None:
    answer_all(scene, response("200 OK", "text/html", b"<p>Sign in to the WLAN"))


def network_away(scene: Scene) -> None:
    scene.proxy.go_offline()
    scene.publish()
    wait_until(lambda: scene.client.state() != "open", "it is noticed")
    scene.proxy.go_online()


FAULTS: dict[str, Callable[[Scene], None]] = {
    "the node is killed": kill_node,
    "the node is drained": drain_node,
    "the connection is cut": cut_connection,
    "the network is away": network_away,
    "the connection is half open": half_open_connection,
    "status 503 for a while": status_503,
    "status 500 for a while": status_500,
    "a captive portal: 200 with HTML": wrong_content_type,
}
NOT_SURVIVED_BY_EVENT_SOURCE = {
    "the connection is half open",
    "status 503 for a while",
    "status 500 for a while",
    "a captive portal: 200 with HTML",
}


@pytest.fixture
def scene_of(
    profile: Profile,
    client_script: str,
    own_node: NodeProcess,
    start_proxy: Callable[[str], FaultyProxy],
    publish: Callable[[], int],
    user: str,
) -> Callable[[Kind], Scene]:
    """Open a stream of a kind; its first event has arrived."""

    def scene_of(kind: Kind) -> Scene:
        proxy = start_proxy(own_node.url)
        tab = profile.new_tab()
        client = open_client(kind, tab, client_script, proxy.url, user)
        client.wait_for_state("open")
        publish()
        client.wait_for(1)
        return Scene(tab, client, proxy, own_node, publish)

    return scene_of


@pytest.mark.parametrize("kind", ["connect", "connect over fetch"])
@pytest.mark.parametrize("fault", FAULTS)
def test_package_survives(scene_of: Callable[[Kind], Scene], kind: Kind, fault: str) -> None:
    scene = scene_of(kind)
    FAULTS[fault](scene)
    scene.client.wait_for(1, 2)
    scene.publish()
    scene.client.wait_for(1, 2, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_only_others_had_events_meanwhile(
    scene_of: Callable[[Kind], Scene], http: httpx.Client, user: str, kind: Kind
) -> None:
    """Nothing is replayed then, and the stream opens after the events of the others."""
    scene = scene_of(kind)
    scene.proxy.go_offline()
    event = {"userId": f"{user}-other", "eventType": "tick", "data": {"number": 0}}
    http.post("/events", json=event).raise_for_status()
    wait_until(lambda: scene.client.state() != "open", "it is noticed")
    scene.proxy.go_online()
    scene.client.wait_for_state("open")
    scene.publish()
    scene.publish()
    scene.client.wait_for(1, 2, 3)


@pytest.mark.parametrize("fault", FAULTS)
def test_event_source_alone(scene_of: Callable[[Kind], Scene], fault: str) -> None:
    scene = scene_of("EventSource")
    FAULTS[fault](scene)
    if fault not in NOT_SURVIVED_BY_EVENT_SOURCE:
        scene.client.wait_for(1, 2)
    elif fault == "the connection is half open":
        # It believes that it is connected, for as long as the connection is there.
        wait_for_pings(scene.node, 5)
        assert scene.client.state() == "open"
        assert scene.client.told() == [1]
    else:
        scene.client.wait_for_state("closed")
        assert scene.client.told() == [1]


def test_table_of_readme_is_true() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    table = readme.partition("<!-- survives:begin -->\n")[2].partition("<!-- survives:end -->")[0]
    _, _, *lines = table.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    survived = {
        what: (alone.startswith("yes"), ours.startswith("yes")) for what, alone, ours in rows
    }
    elsewhere = {
        "nginx is restarted": True,
        "offline and online": True,
        "the page is frozen": True,
        "the computer sleeps": False,
        "the page is reloaded": False,
        "a token expires": False,  # test_client_auth.py
        "seven tabs over HTTP/1.1": False,  # test_client_tabs.py
    }
    assert survived == {
        fault: (fault not in NOT_SURVIVED_BY_EVENT_SOURCE, True) for fault in FAULTS
    } | {what: (alone, True) for what, alone in elsewhere.items()}


def wait_for_pings(node: NodeProcess, count: int) -> None:
    """Wait as long as a stream of the node takes for so many pings."""
    with StreamClient(node.url, "/events/sse/nobody") as stream:
        for _ in range(count):
            stream.wait_for(lambda event: event.name == "ping")


# What is for good


@pytest.mark.parametrize("kind", ["connect", "connect over fetch"])
@pytest.mark.parametrize(
    ("status", "reason"),
    [("204 No Content", "no-content"), ("401 Unauthorized", "unauthorized")],
)
def test_refusal_is_for_good(
    scene_of: Callable[[Kind], Scene], kind: Kind, status: str, reason: str
) -> None:
    scene = scene_of(kind)
    answer = (
        response(status, content=b"") if status[0] == "4" else b"HTTP/1.1 204 No Content\r\n\r\n"
    )
    scene.proxy.answer = lambda _: answer
    scene.proxy.cut()
    scene.client.wait_for(1, reason)
    assert scene.client.state() == "closed"
    requests = len(scene.proxy.stream_requests)
    wait_for_pings(scene.node, 3)
    assert len(scene.proxy.stream_requests) == requests


@pytest.mark.parametrize("kind", ["connect", "connect over fetch"])
def test_expired_token_is_renewed(
    profile: Profile,
    client_script: str,
    own_node: NodeProcess,
    start_proxy: Callable[[str], FaultyProxy],
    publish: Callable[[], int],
    user: str,
    kind: Kind,
) -> None:
    proxy = start_proxy(own_node.url)
    valid = "first"

    def check(head: str) -> bytes | None:
        has_token = f"access_token={valid}" in head or f"authorization: Bearer {valid}" in head
        is_known = has_token or f"Authorization: Bearer {valid}" in head
        return None if is_known else response("401 Unauthorized")

    proxy.answer = check
    client = Client(profile.new_tab(), client_script, proxy.url)
    client.connect(
        f"{proxy.url}/events/sse/{user}",
        transport="fetch" if "fetch" in kind else "native",
        tokens=["first", "second"],
        **OPTIONS,
    )
    client.wait_for_state("open")
    publish()
    client.wait_for(1)
    valid = "second"
    proxy.cut()
    publish()
    client.wait_for(1, 2)
    valid = "third"
    proxy.cut()
    client.wait_for(1, 2, "unauthorized")
    assert client.state() == "closed"


# Sleep, offline, clocks


@pytest.mark.parametrize("kind", ["EventSource", "connect"])
def test_frozen_page_catches_up(
    chromium: Profile,
    client_script: str,
    own_node: NodeProcess,
    publish: Callable[[], int],
    user: str,
    kind: Kind,
) -> None:
    tab = chromium.new_tab()
    client = open_client(kind, tab, client_script, own_node.url, user)
    client.wait_for_state("open")
    publish()
    client.wait_for(1)
    chromium.new_tab().show()
    tab.freeze()
    for _ in range(3):
        publish()
    wait_for_pings(own_node, 4)
    assert client.told() == [1]
    tab.thaw()
    client.wait_for(1, 2, 3, 4)
    publish()
    client.wait_for(1, 2, 3, 4, 5)


@pytest.mark.parametrize("kind", ["EventSource", "connect"])
def test_sleeping_computer_catches_up(
    profile: Profile,
    client_script: str,
    own_node: NodeProcess,
    start_proxy: Callable[[str], FaultyProxy],
    publish: Callable[[], int],
    user: str,
    kind: Kind,
) -> None:
    proxy = start_proxy(own_node.url)
    client = open_client(kind, profile.new_tab(), client_script, proxy.url, user)
    client.wait_for_state("open")
    publish()
    client.wait_for(1)
    with profile.browser.asleep():
        proxy.go_dark()  # its connections are gone when it wakes, and nothing says so
        for _ in range(3):
            publish()
        wait_for_pings(own_node, 4)
    if kind == "EventSource":
        wait_for_pings(own_node, 5)
        assert client.state() == "open"
        assert client.told() == [1]
    else:
        client.wait_for(1, 2, 3, 4, timeout_s=PING_INTERVAL_S * 3)


@pytest.mark.parametrize("kind", ["EventSource", "connect"])
def test_offline_and_online(
    chromium: Profile,
    client_script: str,
    own_node: NodeProcess,
    publish: Callable[[], int],
    user: str,
    kind: Kind,
) -> None:
    tab = chromium.new_tab()
    client = open_client(kind, tab, client_script, own_node.url, user)
    client.wait_for_state("open")
    publish()
    client.wait_for(1)
    tab.set_offline(True)
    publish()
    own_node.kill()
    own_node.start()
    wait_until(lambda: client.states().count("waiting") >= 2, "it has tried in vain")
    publish()
    tab.set_offline(False)
    client.wait_for(1, 2, 3)


@pytest.mark.parametrize("hours", [-24, 24])
def test_changed_clock_loses_nothing(scene_of: Callable[[Kind], Scene], hours: int) -> None:
    scene = scene_of("connect")
    scene.tab.evaluate(
        f"(() => {{ const now = Date.now; Date.now = () => now() + {hours} * 3600000; }})()"
    )
    scene.publish()
    scene.client.wait_for(1, 2)
    half_open_connection(scene)
    scene.client.wait_for(1, 2, 3)
    scene.publish()
    scene.client.wait_for(1, 2, 3, 4)


# nginx, reloads


@pytest.mark.parametrize("kind", ["EventSource", "connect"])
def test_nginx_is_restarted(
    profile: Profile,
    client_script: str,
    own_node: NodeProcess,
    publish: Callable[[], int],
    user: str,
    kind: Kind,
) -> None:
    with NginxProcess(ROOT / "nginx.conf", [own_node.address] * 2) as nginx:
        client = open_client(kind, profile.new_tab(), client_script, nginx.url, user)
        client.wait_for_state("open")
        publish()
        client.wait_for(1)
        nginx.kill()
        publish()
        nginx.start()
        client.wait_for(1, 2)
        own_node.kill()
        publish()
        wait_until(lambda: client.state() != "open", "nginx has refused it")
        own_node.start()
        client.wait_for(1, 2, 3)


def test_position_survives_a_reload(
    profile: Profile,
    client_script: str,
    own_node: NodeProcess,
    publish: Callable[[], int],
    user: str,
) -> None:
    tab = profile.new_tab()
    url = f"{own_node.url}/events/sse/{user}"
    client = Client(tab, client_script, own_node.url).connect(url, lastEventId="localStorage")
    client.wait_for_state("open")
    publish()
    client.wait_for(1)
    tab.goto("about:blank")
    publish()
    client = Client(tab, client_script, own_node.url).connect(url, lastEventId="localStorage")
    client.wait_for(2)
    publish()
    client.wait_for(2, 3)


def test_event_source_forgets_its_position_with_a_reload(
    profile: Profile,
    client_script: str,
    own_node: NodeProcess,
    publish: Callable[[], int],
    user: str,
) -> None:
    tab = profile.new_tab()
    client = open_client("EventSource", tab, client_script, own_node.url, user)
    client.wait_for_state("open")
    publish()
    client.wait_for(1)
    tab.goto("about:blank")
    publish()
    client = open_client("EventSource", tab, client_script, own_node.url, user)
    client.wait_for_state("open")
    publish()
    client.wait_for(3)


def test_reset_comes_before_anything_newer(
    profile: Profile,
    client_script: str,
    own_node: NodeProcess,
    publish: Callable[[], int],
    user: str,
) -> None:
    client = Client(profile.new_tab(), client_script, own_node.url)
    client.connect(f"{own_node.url}/events/sse/{user}", lastEventId="1-1")
    client.wait_for_state("open")
    publish()
    wait_until(lambda: len(client.told()) == 2, "a reset and an event")
    assert client.told()[0] in {"trimmed", "unknown-id"}
    assert client.told()[1] == 1
