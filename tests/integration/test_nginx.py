"""Streams and requests through a real nginx, with the shipped nginx.conf."""

from __future__ import annotations

import json
import re
import socket
import statistics
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from bench.harness import ROOT, NginxProcess, NodeProcess, RedisProcess
from tests.support.nodes import active_streams, client_of, wait_until
from tests.support.stream_client import WAIT_S, StreamClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

TRIES = 15


class Site:
    """Two nodes behind nginx."""

    def __init__(self, nodes: list[NodeProcess], nginx: NginxProcess, http: httpx.Client) -> None:
        self.nodes = nodes
        self.nginx = nginx
        self.http = http

    def stream(self, user: str, headers: dict[str, str] | None = None) -> StreamClient:
        return StreamClient(self.nginx.url, f"/events/sse/{user}", headers)

    @contextmanager
    def streams(self, user: str, count: int) -> Iterator[dict[str, list[StreamClient]]]:
        """Open streams, by the server they are at."""
        by_server: dict[str, list[StreamClient]] = {"node-1": [], "node-2": []}
        with ExitStack() as opened:
            for _ in range(count):
                stream = opened.enter_context(self.stream(user))
                by_server[stream.wait_open().json["serverId"]].append(stream)
            yield by_server

    def publish(self, user: str, number: int) -> None:
        event = {"userId": user, "eventType": "tick", "data": {"number": number}}
        self.http.post("/events", json=event).raise_for_status()


@contextmanager
def site_on(redis: RedisProcess) -> Iterator[Site]:
    with ExitStack() as started:
        nodes = []
        for server_id in ("node-1", "node-2"):
            flags = ("--server-id", server_id, "--ping-interval", "0.5", "--drain-delay", "0")
            nodes.append(started.enter_context(NodeProcess("--redis-url", redis.url, *flags)))
        addresses = [node.address for node in nodes]
        nginx = started.enter_context(NginxProcess(ROOT / "nginx.conf", addresses))
        http = started.enter_context(httpx.Client(base_url=nginx.url, timeout=WAIT_S))
        for node in nodes:
            node.wait_ready()
        yield Site(nodes, nginx, http)


@pytest.fixture(scope="module")
def site(redis: RedisProcess) -> Iterator[Site]:
    with site_on(redis) as site:
        yield site


@pytest.fixture
def whole_site(site: Site) -> Iterator[Site]:
    """The site for a test that takes nodes away: they are all there again afterwards."""
    yield site
    for node in site.nodes:
        node.resume()
        if not node.running:
            node.start()
        node.wait_ready()
    wait_until(lambda: has_both(site), "nginx uses both nodes again")


def has_both(site: Site) -> bool:
    servers = {site.http.get("/health/live").headers.get("x-server-id") for _ in range(8)}
    return servers == {"node-1", "node-2"}


def wait_for_number(stream: StreamClient, number: int) -> None:
    stream.wait_for(lambda event: event.json.get("number") == number)


def numbers_of(stream: StreamClient) -> list[int]:
    return [event.json["number"] for event in stream.published()]


# In time: the median of some tries, because the machine may be busy with other things for a moment


def test_first_bytes_come_within_100_ms(site: Site, user: str) -> None:
    times_s = []
    for _ in range(TRIES):
        with site.stream(user) as stream:
            times_s.append(stream.wait_open().received_s - stream.asked_s)
    assert statistics.median(times_s) < 0.1


def test_event_comes_within_50_ms_of_its_post(site: Site, user: str) -> None:
    times_s = []
    with site.streams(user, 4) as by_server:
        for number in range(TRIES):
            posted_s = time.monotonic()
            site.publish(user, number)
            for stream in (*by_server["node-1"], *by_server["node-2"]):
                wait_for_number(stream, number)
            times_s.append(time.monotonic() - posted_s)
    assert statistics.median(times_s) < 0.05


def test_account_reaches_streams_on_both_nodes(site: Site, user: str) -> None:
    with site.streams(user, 4) as by_server:
        assert [len(streams) for streams in by_server.values()] == [2, 2]
        account = {"name": "Harbour fund", "balance": 5, "userId": user}
        answer = site.http.post("/accounts", json=account)
        assert answer.status_code == 201
        for stream in (*by_server["node-1"], *by_server["node-2"]):
            assert stream.wait_for_type("account.created").json["account"] == answer.json()
            stream.wait_for_type("snapshots.generated")


def test_nodes_may_listen_on_unix_sockets(redis: RedisProcess, tmp_path: Path, user: str) -> None:
    with ExitStack() as started:
        addresses = []
        for name in ("node-1.sock", "node-2.sock"):
            flags = ("--uds", str(tmp_path / name), "--redis-url", redis.url)
            node = started.enter_context(NodeProcess(*flags))
            node.wait_ready()
            addresses.append(node.address)
        nginx = started.enter_context(NginxProcess(ROOT / "nginx.conf", addresses))
        http = started.enter_context(httpx.Client(base_url=nginx.url, timeout=WAIT_S))
        stream = started.enter_context(StreamClient(nginx.url, f"/events/sse/{user}"))
        stream.wait_open()
        account = {"name": "Harbour fund", "balance": 5, "userId": user}
        http.post("/accounts", json=account).raise_for_status()
        stream.wait_for_type("snapshots.generated")


# Nothing is held back


def test_pings_arrive(site: Site, user: str) -> None:
    with site.stream(user) as stream:
        stream.wait_open()
        pings = [stream.wait_for(lambda event: event.name == "ping") for _ in range(3)]
    apart_s = pings[2].received_s - pings[1].received_s
    assert apart_s == pytest.approx(0.5, abs=0.25)


def test_nothing_is_compressed_or_cached(site: Site, user: str) -> None:
    with site.stream(user, {"Accept-Encoding": "gzip, br"}) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["cache-control"] == "no-store, no-transform"
        assert not {"content-encoding", "content-length", "etag"} & set(stream.headers)
        stream.wait_open()


def test_each_event_comes_alone(site: Site, user: str) -> None:
    with site.stream(user) as stream:
        stream.wait_open()
        for number in range(50):
            site.publish(user, number)
            wait_for_number(stream, number)
    assert numbers_of(stream) == list(range(50))


def test_resuming_passes_through(site: Site, user: str) -> None:
    events = [{"userId": user, "eventType": "t", "data": {"number": n}} for n in range(5)]
    ids = site.http.post("/events", json=events).json()["ids"]
    with site.stream(user, {"Last-Event-ID": ids[1]}) as stream:
        assert stream.wait_open().json["replayed"] == 3
        wait_for_number(stream, 4)


def test_clients_that_leave_are_noticed_behind_nginx(site: Site, user: str) -> None:
    with site.streams(user, 4):
        for node in site.nodes:
            with client_of(node) as http:
                assert active_streams(http) == 2
    for node in site.nodes:
        with client_of(node) as http:
            wait_for_no_streams(http)


def wait_for_no_streams(http: httpx.Client) -> None:
    wait_until(lambda: active_streams(http) == 0, "all streams have left", timeout_s=2)


# Nodes that go


@pytest.mark.parametrize("how", ["terminate", "kill", "suspend"])
def test_a_node_that_stops_costs_the_others_streams_nothing(
    whole_site: Site, user: str, how: str
) -> None:
    going, staying = whole_site.nodes
    with whole_site.streams(user, 6) as by_server, client_of(staying) as http:

        def publish(number: int) -> None:
            event = {"userId": user, "eventType": "tick", "data": {"number": number}}
            http.post("/events", json=event).raise_for_status()

        assert [len(streams) for streams in by_server.values()] == [3, 3]
        for number in range(10):
            publish(number)
        getattr(going, how)()
        for number in range(10, 40):
            publish(number)
        for stream in by_server["node-2"]:
            wait_for_number(stream, 39)
            stream.wait_for(lambda event: event.name == "ping")
            assert numbers_of(stream) == list(range(40))
            assert not stream.closed
        if how != "suspend":  # its connections are still there
            for stream in by_server["node-1"]:
                stream.wait_closed()
            with whole_site.streams(user, 4) as by_server_now:
                assert len(by_server_now["node-2"]) == 4
            for number in range(40, 60):  # by way of nginx, which tries the other node
                whole_site.publish(user, number)


def test_without_any_node_streams_are_told_to_come_back(whole_site: Site, user: str) -> None:
    for node in whole_site.nodes:
        node.kill()
    times = set()
    for target in ("/events/sse", f"/events/sse/{user}", "/events/sse?channels=analytics-events"):
        for _ in range(4):
            origin = {"Origin": "https://app.example"}
            with StreamClient(whole_site.nginx.url, target, origin) as stream:
                assert stream.status == 200
                assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
                assert stream.headers["cache-control"] == "no-store"
                assert stream.headers["access-control-allow-origin"] == origin["Origin"]
                stream.wait_closed()
            assert stream.events == []
            assert stream.retry_ms is not None
            assert 2000 <= stream.retry_ms < 6000
            times.add(stream.retry_ms)
    assert len(times) > 1
    for answer in (
        whole_site.http.post("/accounts", json={"name": "n", "balance": 1}),
        whole_site.http.post("/events", json={"userId": user, "eventType": "t", "data": 1}),
        whole_site.http.get("/accounts"),
    ):
        assert answer.status_code == 502
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["retry-after"] == "2"
        assert answer.json()["status"] == 502


def test_they_come_back_soon_after_the_nodes_do(whole_site: Site, user: str) -> None:
    for node in whole_site.nodes:
        node.kill()
    with whole_site.stream(user) as stream:
        stream.wait_closed()
    whole_site.nodes[0].start()
    whole_site.nodes[0].wait_ready()

    def is_served() -> bool:
        with whole_site.stream(user) as stream:
            return "x-server-id" in stream.headers

    wait_until(is_served, "a stream is served again", timeout_s=3)


def test_a_reload_leaves_the_streams(site: Site, user: str) -> None:
    with site.streams(user, 4) as by_server:
        site.publish(user, 1)
        site.nginx.reload()
        site.publish(user, 2)
        with site.stream(user) as new:
            new.wait_open()
            site.publish(user, 3)
            wait_for_number(new, 3)
        for stream in (*by_server["node-1"], *by_server["node-2"]):
            wait_for_number(stream, 3)
            assert numbers_of(stream) == [1, 2, 3]


# What nginx says itself, and what it passes on


def test_a_nodes_own_refusals_pass_unchanged(user: str) -> None:
    with RedisProcess() as redis, site_on(redis) as site:
        redis.suspend()
        asked_s = time.monotonic()
        answer = site.http.post("/accounts", json={"name": "n", "balance": 1, "userId": user})
        assert time.monotonic() - asked_s < 2.5
        redis.resume()
        assert answer.status_code == 503
        assert answer.headers["x-server-id"] in {"node-1", "node-2"}
        assert answer.headers["content-type"] == "application/problem+json"
        assert int(answer.headers["retry-after"]) > 0
        wrong = site.http.post("/accounts", content=b"{}", headers={"Content-Type": "text/plain"})
        assert wrong.status_code == 415
        assert "Content-Type" in wrong.json()["detail"]
        wrong = site.http.get("/events/sse/a%20b")
        assert wrong.status_code == 400
        assert "userId" in wrong.json()["detail"]


def test_content_that_is_too_large_for_any_route(site: Site) -> None:
    answer = site.http.post("/events", content=b"x" * (1024 * 1024 + 1))
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "The content is larger than 1 MiB."


def test_logs_hold_no_query_strings(site: Site, user: str) -> None:
    token = f"token-of-{user}"
    with StreamClient(site.nginx.url, f"/events/sse/{user}?token={token}") as stream:
        stream.wait_open()
    site.http.get("/accounts", params={"token": token}).raise_for_status()

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in site.nginx.access_log.read_text().splitlines()]

    wait_until(lambda: any(line["path"] == f"/events/sse/{user}" for line in lines()), "a line")
    assert lines()[-1].keys() >= {"time", "client", "method", "path", "status", "upstream"}
    assert token not in site.nginx.access_log.read_text()
    assert token not in "".join(site.nginx.last_output())


def test_an_address_that_asks_too_often_is_told_so() -> None:
    with NginxProcess(ROOT / "nginx.conf", ["127.0.0.1:1", "127.0.0.1:2"]) as nginx:
        answers = b""
        request = "GET /health/live HTTP/1.1\r\nHost: localhost\r\n"
        for _ in range(200):  # the burst is 4,000; without a node nginx answers 502 at once
            with socket.create_connection((nginx.host, nginx.port), timeout=10) as connection:
                last = f"{request}Connection: close\r\n\r\n"
                connection.sendall((f"{request}\r\n" * 99 + last).encode())
                answers = b"".join(iter(lambda: connection.recv(65536), b""))
            if b"HTTP/1.1 429 " in answers:
                break
    assert set(re.findall(rb"HTTP/1\.1 (\d+) ", answers)) <= {b"429", b"502"}
    assert b"More than 2,000 requests a second came from this address." in answers
    assert b"Retry-After: 2\r\n" in answers


# What clients send besides


def ask_nginx(site: Site, head: str) -> bytes:
    """Return the whole answer to one request on a connection of its own."""
    with socket.create_connection((site.nginx.host, site.nginx.port), timeout=WAIT_S) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        answer = b""
        while data := connection.recv(65536):
            answer += data
    return answer


def test_a_request_without_a_host_is_answered(site: Site) -> None:
    assert ask_nginx(site, "GET /health HTTP/1.0").startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "cookies", [["a=" + "x" * 9_000], [f"c{n}=" + "x" * 9_000 for n in range(3)]]
)
def test_cookies_of_others_stop_no_stream(site: Site, cookies: list[str]) -> None:
    with site.stream("cookies", {"Cookie": "; ".join(cookies)}) as stream:
        stream.wait_open()
        assert stream.status == 200


def test_a_head_too_large_for_a_node_is_a_refusal_that_heals(site: Site) -> None:
    headers = {f"X-{n}": "x" * 6_000 for n in range(4)}
    refused = site.http.get("/events/sse/ann", headers=headers)
    assert refused.status_code == 200
    assert refused.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert re.fullmatch(r"retry: \d{4}\n\n", refused.text)
    assert site.http.get("/accounts", headers=headers).status_code == 431


@pytest.mark.parametrize("path", ["/events/sse/%2e%2e", "/events/sse/..", "/events/sse/%2e"])
def test_a_user_that_is_a_path_segment_reaches_no_stream(site: Site, path: str) -> None:
    answer = ask_nginx(site, f"GET {path} HTTP/1.1\nHost: localhost\nConnection: close")
    assert not re.search(rb"(?i)\r\ncontent-type: text/event-stream", answer)
    assert re.match(rb"HTTP/1.1 (400|404) ", answer)


class BehindAnother(NginxProcess):
    """nginx with its lines for another proxy in front of it."""

    def _configuration(self) -> str:
        text = super()._configuration()
        prepared = re.findall(r"^    #(?:set_real_ip_from|real_ip_\w+) .*;$", text, re.MULTILINE)
        assert len(prepared) == 3
        for line in prepared:
            text = text.replace(line, line.replace("#", "", 1))
        return text.replace("10.0.0.0/8", "127.0.0.0/8")


def test_behind_another_proxy_the_client_is_the_one_it_names(
    site: Site,
) -> None:
    with BehindAnother(ROOT / "nginx.conf", [node.address for node in site.nodes]) as nginx:
        claimed = {"X-Forwarded-For": "203.0.113.9, 127.0.0.1"}
        httpx.get(f"{nginx.url}/health", headers=claimed).raise_for_status()
        httpx.get(f"{nginx.url}/health").raise_for_status()
        wait_until(lambda: nginx.access_log.read_text().count("\n") == 2, "two lines")
        lines = [json.loads(line) for line in nginx.access_log.read_text().splitlines()]
    assert [line["client"] for line in lines] == ["203.0.113.9", "127.0.0.1"]
