"""The npm package in many tabs, under load, in React, and for long."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from bench.harness import ROOT, NodeProcess, RedisProcess
from tests.support.browsers import Client, bundle
from tests.support.nodes import active_streams, client_of, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.browsers import Profile
    from tests.support.faulty_proxy import FaultyProxy

pytestmark = [pytest.mark.integration, pytest.mark.browser]

# How long the test of memory lasts at least; it has always 30 rounds.
PAGE_MINUTES = float(os.environ.get("SSE_PAGE_MINUTES", "0"))
TABS = 7  # one more than the connections that a browser opens to a host over HTTP/1.1


@pytest.fixture
def own_node(redis: RedisProcess) -> Iterator[NodeProcess]:
    """A node that has no streams but the test's."""
    with NodeProcess(
        "--redis-url", redis.url, "--server-id", "node-5", "--retry", "200"
    ) as process:
        process.wait_ready()
        yield process


@pytest.fixture
def own_http(own_node: NodeProcess) -> Iterator[httpx.Client]:
    with client_of(own_node) as client:
        yield client


class Publisher:
    """Publishes events with the numbers 1, 2, 3, …"""

    def __init__(self, http: httpx.Client, user: str) -> None:
        self._http = http
        self._user = user
        self.last = 0

    def publish(self, count: int = 1) -> list[int]:
        """Publish so many events; return the numbers of all so far."""
        events = [
            {"userId": self._user, "eventType": "tick", "data": {"number": self.last + 1 + index}}
            for index in range(count)
        ]
        self._http.post("/events", json=events).raise_for_status()
        self.last += count
        return self.all()

    def all(self) -> list[int]:
        return list(range(1, self.last + 1))


@pytest.fixture
def publisher_of_numbers(own_http: httpx.Client, user: str) -> Publisher:
    return Publisher(own_http, user)


# Counts the streams that a tab has itself.
COUNT_SOURCES = """(() => {
  globalThis.sources = [];
  const Native = EventSource;
  globalThis.EventSource = class extends Native {
    constructor(...args) { super(...args); sources.push(this); }
  };
})()"""


def is_leading(client: Client) -> bool:
    return bool(client.tab.evaluate("sources.some(({ readyState }) => readyState < 2)"))


def open_shared(
    profile: Profile, count: int, script: str, node: NodeProcess, user: str
) -> list[Client]:
    clients = []
    for _ in range(count):
        client = Client(profile.new_tab(), script, node.url)
        client.tab.evaluate(COUNT_SOURCES)
        clients.append(client.connect(f"{node.url}/events/sse/{user}", shared=True))
    for client in clients:
        client.wait_for_state("open")
    return clients


@pytest.fixture
def open_tabs(
    profile: Profile, client_script: str, own_node: NodeProcess, user: str
) -> Callable[[int], list[Client]]:
    """Open tabs of one browser that share a stream; all are open when this returns."""

    return lambda count: open_shared(profile, count, client_script, own_node, user)


def leader_of(clients: list[Client]) -> Client:
    (leader,) = [client for client in clients if is_leading(client)]
    return leader


def wait_for_all(clients: list[Client], numbers: list[int]) -> None:
    for client in clients:
        with contextlib.suppress(TimeoutError):  # what is missing says more
            client.wait_for_count(len(numbers))
        assert client.told() == numbers, (client.state(), client.states())


def test_seven_tabs_are_live_with_one_stream(
    open_tabs: Callable[[int], list[Client]],
    own_http: httpx.Client,
    publisher_of_numbers: Publisher,
) -> None:
    clients = open_tabs(TABS)
    assert active_streams(own_http) == 1
    wait_for_all(clients, publisher_of_numbers.publish(3))
    assert [is_leading(client) for client in clients].count(True) == 1
    assert active_streams(own_http) == 1


def test_seventh_event_source_waits_for_a_connection(
    profile: Profile,
    client_script: str,
    own_node: NodeProcess,
    own_http: httpx.Client,
    publisher_of_numbers: Publisher,
    user: str,
) -> None:
    clients = [Client(profile.new_tab(), client_script, own_node.url) for _ in range(TABS)]
    for client in clients:
        client.connect_natively(f"{own_node.url}/events/sse/{user}")
    wait_until(lambda: active_streams(own_http) == TABS - 1, "six streams")
    numbers = publisher_of_numbers.publish()
    by_state = {
        state: [c for c in clients if c.state() == state] for state in ("connecting", "open")
    }
    wait_for_all(by_state["open"], numbers)
    assert [len(clients) for clients in by_state.values()] == [1, TABS - 1]
    by_state["open"][0].tab.close()
    by_state["connecting"][0].wait_for_state("open")
    assert by_state["connecting"][0].told() == []  # the event is missed


def test_leader_is_closed_under_load(
    open_tabs: Callable[[int], list[Client]],
    own_node: NodeProcess,
    own_http: httpx.Client,
    publisher_of_numbers: Publisher,
) -> None:
    clients = open_tabs(5)
    is_over = threading.Event()

    def publish_on() -> None:
        while not is_over.wait(0.02):  # a pace that five tabs keep up with on a busy machine
            publisher_of_numbers.publish(20)

    thread = threading.Thread(target=publish_on)
    thread.start()
    try:
        for _ in range(3):
            leader = leader_of(clients)
            leader.wait_until_told(lambda told: len(told) > 100)
            leader.tab.close()
            clients.remove(leader)
            wait_until(lambda: any(map(is_leading, clients)), "another tab leads")
    finally:
        is_over.set()
        thread.join()
    wait_for_all(clients, publisher_of_numbers.publish())
    wait_until(lambda: active_streams(own_http) == 1, "one stream")


def test_frozen_leader_is_replaced_within_two_seconds(
    chromium: Profile,
    client_script: str,
    own_node: NodeProcess,
    publisher_of_numbers: Publisher,
    user: str,
) -> None:
    clients = open_shared(chromium, 3, client_script, own_node, user)
    leader = leader_of(clients)
    followers = [client for client in clients if client is not leader]
    followers[0].tab.show()
    leader.tab.freeze()
    frozen_s = time.monotonic()
    numbers = publisher_of_numbers.publish()
    wait_for_all(followers, numbers)
    assert time.monotonic() - frozen_s < 2
    numbers = publisher_of_numbers.publish(3)
    wait_for_all(followers, numbers)
    assert not is_leading(leader)
    leader.tab.thaw()
    wait_for_all(clients, numbers)
    wait_for_all(clients, publisher_of_numbers.publish())
    assert not is_leading(leader)


def test_blocked_leader_is_replaced_within_two_seconds(
    chromium: Profile,
    client_script: str,
    own_node: NodeProcess,
    publisher_of_numbers: Publisher,
    user: str,
) -> None:
    clients = open_shared(chromium, 3, client_script, own_node, user)
    leader = leader_of(clients)
    followers = [client for client in clients if client is not leader]
    followers[0].tab.show()
    leader.tab.evaluate(
        "void setTimeout(() => { const end = Date.now() + 5000; while (Date.now() < end); })"
    )
    blocked_s = time.monotonic()
    numbers = publisher_of_numbers.publish()
    wait_for_all(followers, numbers)
    assert time.monotonic() - blocked_s < 2
    wait_for_all(clients, numbers)  # when it is no longer blocked
    wait_until(lambda: not is_leading(leader), "it follows")
    wait_for_all(clients, publisher_of_numbers.publish())


def test_tabs_of_two_users_share_nothing(
    profile: Profile, client_script: str, own_node: NodeProcess, own_http: httpx.Client
) -> None:
    clients = []
    for user in ("ann", "ann", "bob"):
        client = Client(profile.new_tab(), client_script, own_node.url)
        clients.append(client.connect(f"{own_node.url}/events/sse", user=user))
    for client in clients:
        client.wait_for_state("open")
    assert active_streams(own_http) == 2


def test_every_tab_has_a_stream_of_its_own_where_nothing_can_be_shared(
    profile: Profile, client_script: str, own_node: NodeProcess, own_http: httpx.Client, user: str
) -> None:
    clients = []
    for _ in range(2):
        client = Client(profile.new_tab(), client_script, own_node.url)
        client.tab.evaluate("delete globalThis.BroadcastChannel")
        clients.append(client.connect(f"{own_node.url}/events/sse/{user}", shared=True))
    for client in clients:
        client.wait_for_state("open")
    assert active_streams(own_http) == 2


def test_fifty_thousand_events(
    open_tabs: Callable[[int], list[Client]], publisher_of_numbers: Publisher
) -> None:
    (client,) = open_tabs(1)
    for _ in range(50):
        publisher_of_numbers.publish(1000)
    client.wait_for_count(50_000, timeout_s=60)
    assert client.count() == 50_000
    assert client.tab.evaluate("told.every((number, index) => number === index + 1)") is True


REACT_APP = """
import {{ StrictMode, useState }} from "react";
import {{ createRoot }} from "react-dom/client";
import {{ EventsProvider, useEvents, useEventState }} from "{dist}/react.js";

function List() {{
  const [numbers, setNumbers] = useState([]);
  useEvents(["tick"], (eventType, data) => setNumbers((all) => [...all, data.number]));
  return <p>{{numbers.join(" ")}}</p>;
}}
const State = () => <output>{{useEventState()}}</output>;

const container = document.createElement("main");
document.body.append(container);
const root = createRoot(container);
export const render = (url, count) =>
  root.render(
    <StrictMode>
      <EventsProvider url={{url}}>
        {{count > 0 && <State />}}
        {{Array.from({{ length: count }}, (_, index) => <List key={{index}} />)}}
      </EventsProvider>
    </StrictMode>,
  );
"""


@pytest.fixture(scope="module")
def react_script(client_package: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    source = REACT_APP.format(dist=ROOT / "client/dist")
    return bundle(source, tmp_path_factory.mktemp("react"))


def test_react_settles_to_what_is_mounted(
    profile: Profile,
    react_script: str,
    own_node: NodeProcess,
    own_http: httpx.Client,
    publisher_of_numbers: Publisher,
    user: str,
) -> None:
    page = Client(profile.new_tab(), react_script, own_node.url)

    def render(count: int) -> None:
        page.tab.evaluate(f"SseNode.render('/events/sse/{user}', {count})")

    def shown() -> list[str]:
        texts: list[str] = page.tab.evaluate(
            "[...document.querySelectorAll('main *')].map((element) => element.textContent)"
        )
        return texts

    render(3)
    wait_until(lambda: shown() == ["open", "", "", ""], "open")
    assert active_streams(own_http) == 1
    publisher_of_numbers.publish(2)
    wait_until(lambda: shown() == ["open", "1 2", "1 2", "1 2"], "both events, once")
    for _ in range(100):
        render(0)
        render(10)
    wait_until(lambda: len(shown()) == 11 and shown()[0] == "open", "open")
    assert active_streams(own_http) == 1
    publisher_of_numbers.publish()
    wait_until(lambda: shown() == ["open", *["3"] * 10], "the event, once")
    render(0)
    wait_until(lambda: active_streams(own_http) == 0, "no stream is left")
    render(1000)
    wait_until(lambda: active_streams(own_http) == 1, "one stream")
    render(0)
    wait_until(lambda: active_streams(own_http) == 0, "no stream is left")


def test_thousand_connections_leave_nothing(
    profile: Profile,
    client_script: str,
    own_node: NodeProcess,
    own_http: httpx.Client,
    publisher_of_numbers: Publisher,
    user: str,
) -> None:
    client = Client(profile.new_tab(), client_script, own_node.url)
    url = f"{own_node.url}/events/sse/{user}"
    client.tab.evaluate(
        """async (url) => {
          for (let i = 0; i < 1000; i++) {
            const abort = new AbortController();
            const connection = SseNode.connect(url, { shared: i % 2 === 0, signal: abort.signal });
            if (i % 10 === 0) await new Promise((resolve) => setTimeout(resolve));
            if (i % 3 === 0) abort.abort();
            else connection.close();
          }
        }""",
        url,
    )
    wait_until(lambda: active_streams(own_http) == 0, "no stream is left")
    locks = client.tab.evaluate(
        "navigator.locks.query().then(({ held, pending }) => held.length + pending.length)"
    )
    assert locks == 0
    client.connect(url, shared=True)
    client.wait_for_state("open")
    wait_for_all([client], publisher_of_numbers.publish())


def test_memory_is_flat(
    chromium: Profile,
    client_script: str,
    own_node: NodeProcess,
    start_proxy: Callable[[str], FaultyProxy],
    publisher_of_numbers: Publisher,
    user: str,
) -> None:
    proxy = start_proxy(own_node.url)
    tab = chromium.new_tab()
    client = Client(tab, client_script, proxy.url)
    client.connect(f"{proxy.url}/events/sse/{user}", shared=True, retry=20, maxRetry=20)
    client.wait_for_state("open")
    heap: list[int] = []
    end_s = time.monotonic() + PAGE_MINUTES * 60
    while len(heap) < 30 or time.monotonic() < end_s:
        publisher_of_numbers.publish(1000)
        client.wait_for_count(1000)
        assert client.count() == 1000
        tab.evaluate("told.length = ids.length = states.length = 0")
        proxy.cut()
        client.wait_for_state("open")
        heap.append(tab.used_heap_bytes())
    # 20,000 events and 20 reconnects or more after it has warmed up: less than 5 bytes an event.
    assert min(heap[-5:]) - min(heap[5:10]) < 100_000, heap
