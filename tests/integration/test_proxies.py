"""HAProxy, Caddy and Apache in front of two nodes: each passes the table in docs/deploying.md."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import pytest

from bench.harness import NodeProcess, RedisProcess
from tests.support.nodes import wait_until
from tests.support.proxies import PROXIES, ProxyProcess
from tests.support.stream_client import WAIT_S, Event, StreamClient

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration


@dataclass
class Site:
    proxy: ProxyProcess
    nodes: list[NodeProcess]
    http: httpx.Client

    def publish(self, user: str, number: int) -> None:
        event = {"userId": user, "eventType": "count.up", "data": {"number": number}}
        self.http.post("/events", json=event).raise_for_status()

    def publish_after_a_kill(self, user: str, number: int) -> None:
        """Caddy 2.6 may answer 502 until it has noticed: then the sender sends it again."""
        if self.proxy.name != "caddy":
            self.publish(user, number)
            return
        event = {"userId": user, "eventType": "count.up", "data": {"number": number}}
        key = {"Idempotency-Key": f"{user}-{number}"}
        wait_until(
            lambda: self.http.post("/events", json=event, headers=key).is_success, "it is accepted"
        )

    def wait_for_both(self) -> None:
        """Wait until the proxy sends to both nodes."""
        seen: set[str] = set()

        def asks_both() -> bool:
            answer = self.http.get("/health/live")
            seen.add(answer.headers.get("x-server-id", ""))
            return {"node-1", "node-2"} <= seen

        wait_until(asks_both, "both nodes answer", 20)

    def node_of(self, stream: StreamClient) -> NodeProcess:
        opened = next(event for event in stream.events if event.name == "sse.open")
        return self.nodes[int(opened.json["serverId"][-1]) - 1]


@pytest.fixture
def nodes(redis: RedisProcess) -> Iterator[list[NodeProcess]]:
    flags = ("--redis-url", redis.url, "--ping-interval", "62", "--drain-delay", "2")
    with ExitStack() as running:
        nodes = [
            running.enter_context(NodeProcess(*flags, "--server-id", f"node-{number}"))
            for number in (1, 2)
        ]
        for node in nodes:
            node.wait_ready()
        yield nodes


@contextmanager
def a_site(name: str, nodes: list[NodeProcess]) -> Iterator[Site]:
    limits = httpx.Limits(max_keepalive_connections=0)
    with (
        PROXIES[name]([node.port for node in nodes]) as proxy,
        httpx.Client(base_url=proxy.url, timeout=WAIT_S, limits=limits) as http,
    ):
        site = Site(proxy, nodes, http)
        site.wait_for_both()
        yield site


@pytest.fixture(params=list(PROXIES))
def site(request: pytest.FixtureRequest, nodes: list[NodeProcess]) -> Iterator[Site]:
    with a_site(request.param, nodes) as site:
        yield site


def numbers_of(stream: StreamClient) -> list[int]:
    return [event.json["number"] for event in stream.published()]


def is_ping(event: Event) -> bool:
    return event.name == "ping"


def wait_for(stream: StreamClient, number: int) -> Event:
    return stream.wait_for(lambda event: event.json.get("number") == number)


def resumed(site: Site, stream: StreamClient, target: str) -> StreamClient:
    """Open the stream again as an EventSource does: at once, then until it is open."""
    last = [event.id for event in stream.events if event.id][-1]
    deadline_s = time.monotonic() + WAIT_S
    while True:
        again = StreamClient(site.proxy.url, target, {"Last-Event-ID": last})
        try:
            again.wait_open()
        except Exception:
            again.close()
            if time.monotonic() > deadline_s:
                raise
        else:
            return again


def test_the_table(site: Site, user: str) -> None:
    """Latency, resume, a drain, a killed node, no node at all: one site for all of it."""
    target = f"/events/sse/{user}"
    with StreamClient(site.proxy.url, target) as stream:
        stream.wait_open()
        delays_s = []
        for number in range(5):
            sent_s = time.monotonic()
            site.publish(user, number)
            delays_s.append(wait_for(stream, number).received_s - sent_s)
        assert sorted(delays_s)[2] < 0.05, delays_s

    # Missed events come before live ones.
    site.publish(user, 5)
    with resumed(site, stream, target) as again:
        wait_for(again, 5)
        assert numbers_of(again) == [5]

        # A drain: no request fails, the stream goes on at the other node.
        draining = site.node_of(again)
        draining.send_signal(signal.SIGTERM)
        number = 6
        while draining.running:
            site.publish(user, number)
            number += 1
        again.wait_closed()
        with resumed(site, again, target) as third:
            if number - 1 not in numbers_of(again):
                wait_for(third, number - 1)
            assert numbers_of(again) + numbers_of(third) == list(range(5, number))
            draining.start()
            draining.wait_ready()
            site.wait_for_both()

            # A killed node: the client is told by the end of its connection.
            killed = site.node_of(third)
            killed.kill()
            third.wait_closed()
            with resumed(site, third, target) as fourth:
                assert site.node_of(fourth) is draining
                site.publish_after_a_kill(user, number)
                wait_for(fourth, number)

    # No node at all: an EventSource is told to come back, by a status that it accepts.
    draining.kill()
    if site.proxy.name == "apache":
        wait_until(lambda: site.http.get(target).status_code == 503, "it is told so", 20)
        return
    wait_until(
        lambda: site.http.get(target).text.startswith("retry: "), "it is told to come back", 20
    )
    answer = site.http.get(target)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream"


def test_silence_and_figures(nodes: list[NodeProcess], user: str) -> None:
    """60 s without a byte end no stream; the nodes' figures are not for the public."""
    with ExitStack() as opened:
        sites = [opened.enter_context(a_site(name, nodes)) for name in PROXIES]
        streams = []
        for site in sites:
            statuses = [site.http.get(path).status_code for path in ("/metrics", "/status")]
            assert statuses == [404, 404], site.proxy.name
            stream = opened.enter_context(StreamClient(site.proxy.url, f"/events/sse/{user}"))
            stream.wait_open()
            streams.append(stream)
        # The first ping comes at any time within an interval.
        sent_ms = [
            [stream.wait_for(is_ping, 70).json["timestamp"] for stream in streams] for _ in range(2)
        ]
        for first, second in zip(*sent_ms, strict=True):
            assert second - first > 60_000
        sites[0].publish(user, 1)
        for stream in streams:
            wait_for(stream, 1)
