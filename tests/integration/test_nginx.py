"""Streams and requests through a real nginx, with the shipped nginx.conf."""

from __future__ import annotations

import json
import re
import socket
import statistics
import threading
import time
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import pytest

from bench.harness import ROOT, NginxProcess, NodeProcess, RedisProcess
from tests.support.nodes import active_streams, client_of, wait_until, wait_until_heard
from tests.support.stream_client import WAIT_S, StreamClient

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
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
    for node in site.nodes:
        wait_until_heard(node, user, ids[-1])
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
    assert site.http.get("/accounts", params={"token": token}).status_code == 400

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


class PreparedNginx(NginxProcess):
    """nginx with some of the lines that nginx.conf has prepared.

    Args:
        nodes: that it leads to.
        topic: a phrase in the comment above the lines.
        changes: what depends on the place, and what it is here.
    """

    def __init__(
        self,
        nodes: list[NodeProcess],
        topic: str,
        changes: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(ROOT / "nginx.conf", [node.address for node in nodes])
        self._topic = topic
        self._changes = changes

    def _configuration(self) -> str:
        paragraphs = super()._configuration().split("\n\n")
        prepared = [number for number, text in enumerate(paragraphs) if self._topic in text]
        assert prepared
        for number in prepared:
            paragraphs[number], count = re.subn(
                r"^( *)#(?=[^ ]|   )", r"\1", paragraphs[number], flags=re.MULTILINE
            )
            assert count
        text = "\n\n".join(paragraphs)
        for before, after in self._changes.items():
            assert before in text
            text = text.replace(before, after)
        return text


def test_behind_another_proxy_the_client_is_the_one_it_names(
    site: Site,
) -> None:
    changes = {"10.0.0.0/8": "127.0.0.0/8"}
    with PreparedNginx(site.nodes, "Behind another proxy", changes) as nginx:
        claimed = {"X-Forwarded-For": "203.0.113.9, 127.0.0.1"}
        httpx.get(f"{nginx.url}/health", headers=claimed).raise_for_status()
        httpx.get(f"{nginx.url}/health").raise_for_status()
        wait_until(lambda: nginx.access_log.read_text().count("\n") == 2, "two lines")
        lines = [json.loads(line) for line in nginx.access_log.read_text().splitlines()]
    assert [line["client"] for line in lines] == ["203.0.113.9", "127.0.0.1"]


@pytest.mark.parametrize(
    "target",
    ["/metrics", "/status", "/metrics?x", "//status", "/%6detrics", "/a/../status", "/./metrics"],
)
def test_figures_of_the_nodes_are_not_for_the_public(site: Site, target: str) -> None:
    answer = ask_nginx(site, f"GET {target} HTTP/1.1\nHost: localhost\nConnection: close")
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"X-Server-Id" not in answer
    assert b'"detail":"There is no such resource."' in answer


@pytest.mark.parametrize(
    "target", ["/metrics/", "/STATUS", "/metrics%2f", "/status;x", "/metrics%20", "/status%00"]
)
def test_no_other_spelling_leads_to_them(site: Site, target: str) -> None:
    answer = ask_nginx(site, f"GET {target} HTTP/1.1\nHost: localhost\nConnection: close")
    assert re.match(rb"HTTP/1.1 (400|404) ", answer)


def test_health_is_for_the_public(site: Site) -> None:
    for target in ("/health", "/health/live", "/health/ready"):
        assert site.http.get(target).status_code == 200


def test_every_host_leads_to_nodes_on_loopback(site: Site) -> None:
    host = {"Host": "app.example"}
    assert site.http.get("/accounts", headers=host).status_code == 200
    with site.stream("hosts", host) as stream:
        stream.wait_open()


def test_another_host_is_refused_where_the_hosts_are_named(site: Site) -> None:
    with (
        PreparedNginx(site.nodes, "DNS rebinding") as nginx,
        httpx.Client(base_url=nginx.url) as http,
    ):
        refused = http.get("/accounts", headers={"Host": "evil.example"})
        assert refused.status_code == 421
        assert refused.json()["title"] == "Misdirected Request"
        for host in ("localhost:8080", "127.0.0.1", "APP.example"):
            assert http.get("/accounts", headers={"Host": host}).status_code == 200


def test_pages_can_read_what_nginx_refuses_itself(site: Site) -> None:
    origin = {"Origin": "https://app.example"}
    for answer in (
        site.http.get("/status", headers=origin),
        site.http.post("/events", content=b"x" * (1024 * 1024 + 1), headers=origin),
    ):
        assert answer.status_code in {404, 413}
        assert answer.headers["access-control-allow-origin"] == origin["Origin"]
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["vary"] == "Origin"
    without = site.http.get("/status")
    assert not [name for name in without.headers if name.startswith("access-control-allow")]
    assert without.headers["vary"] == "Origin"


# Who the user is


SECRET = "a secret of thirty-two bytes, or more"


@contextmanager
def node_with(redis: RedisProcess, *flags: str) -> Iterator[list[NodeProcess]]:
    """Start one node, given twice, as nginx.conf has two."""
    with NodeProcess("--redis-url", redis.url, "--ping-interval", "0.5", *flags) as node:
        node.wait_ready()
        yield [node, node]


def token_of(user: str) -> str:
    return jwt.encode({"sub": user, "exp": time.time() + 600}, SECRET)


def test_the_one_cookie_with_a_token_is_passed_on(
    redis: RedisProcess, tmp_path: Path, user: str
) -> None:
    key = tmp_path / "secret"
    key.write_text(SECRET)
    auth = ("--auth", "jwt", "--jwt-key", str(key), "--auth-cookie", "token")
    cookies = f"other={'x' * 20_000}; token={token_of(user)}; token2=y"
    with (
        node_with(redis, *auth) as nodes,
        PreparedNginx(nodes, "With --auth-cookie token") as nginx,
        httpx.Client(base_url=nginx.url, headers={"Cookie": cookies}) as http,
    ):
        with StreamClient(nginx.url, "/events/sse", {"Cookie": cookies}) as stream:
            stream.wait_open()
            own = {"Origin": nginx.url}
            account = {"name": "n", "balance": 1}
            assert http.post("/accounts", json=account, headers=own).status_code == 201
            stream.wait_for_type("account.created")
        evil = {"Origin": "https://evil.example"}
        assert http.post("/accounts", json=account, headers=evil).status_code == 403
        localhost = {"Origin": "http://localhost"}  # the Host that the node gets
        assert http.post("/accounts", json=account, headers=localhost).status_code == 403
        for others in ("other=x", ""):
            answer = httpx.get(f"{nginx.url}/accounts", headers={"Cookie": others})
            assert answer.status_code == 401


class AuthenticationService:
    """Answers as oauth2-proxy does: 202 and the user whose session the cookie names, else 401."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                service.asked.append(headers)
                session, _, user = headers.get("cookie", "").partition("=")
                if session == "session" and user:
                    self.send_response(202)
                    self.send_header("X-Auth-Request-User", user)
                else:
                    self.send_response(401)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def service() -> Iterator[AuthenticationService]:
    service = AuthenticationService()
    yield service
    service.stop()


@pytest.fixture(scope="module")
def proxy_nodes(redis: RedisProcess) -> Iterator[list[NodeProcess]]:
    """Nodes that believe nginx who the user is."""
    with node_with(redis, "--auth", "proxy", "--cors-origin", "https://app.example") as nodes:
        yield nodes


@pytest.fixture(scope="module")
def guard(proxy_nodes: list[NodeProcess], service: AuthenticationService) -> Iterator[NginxProcess]:
    """nginx with its lines for an authentication service."""
    changes = {"127.0.0.1:4180/oauth2/auth": f"{service.address}/oauth2/auth"}
    with PreparedNginx(proxy_nodes, "With --auth proxy:", changes) as nginx:
        yield nginx


def session_of(user: str) -> dict[str, str]:
    return {"Cookie": f"session={user}"}


def test_the_service_names_the_user(guard: NginxProcess, user: str) -> None:
    with StreamClient(guard.url, "/events/sse", session_of(user)) as stream:
        stream.wait_open()
        account = {"name": "n", "balance": 1}
        made = httpx.post(f"{guard.url}/accounts", json=account, headers=session_of(user))
        assert made.json()["userId"] == user
        stream.wait_for_type("account.created")
    other = httpx.get(f"{guard.url}/events/sse/other", headers=session_of(user))
    assert other.status_code == 403
    assert "own stream" in other.json()["detail"]


@pytest.mark.parametrize("target", ["/accounts", "/events/sse", "/", "/nope"])
def test_without_a_session_nothing_is_answered(guard: NginxProcess, target: str) -> None:
    answer = httpx.get(f"{guard.url}{target}", headers={"Origin": "https://app.example"})
    assert answer.status_code == 401
    assert "knows no user" in answer.json()["detail"]
    assert answer.headers["access-control-allow-origin"] == "https://app.example"


@pytest.mark.parametrize("name", ["X-Forwarded-User", "x-forwarded-user", "X_Forwarded_User"])
def test_a_user_that_a_client_names_reaches_no_node(
    guard: NginxProcess, service: AuthenticationService, site: Site, user: str, name: str
) -> None:
    claim = {name: "somebody-else"}
    service.asked.clear()
    assert httpx.get(f"{guard.url}/accounts", headers=claim).status_code == 401
    assert "somebody-else" not in service.asked[0].values()
    account = {"name": "n", "balance": 1}
    made = httpx.post(f"{guard.url}/accounts", json=account, headers=claim | session_of(user))
    assert made.json()["userId"] == user
    # A preflight needs no session, and names no user either.
    assert httpx.options(f"{guard.url}/accounts", headers=claim).status_code == 204


@pytest.mark.parametrize("name", ["X-Forwarded-User", "x-forwarded-user", "X_Forwarded_User"])
def test_nor_does_it_without_the_service(proxy_nodes: list[NodeProcess], name: str) -> None:
    conf, addresses = ROOT / "nginx.conf", [node.address for node in proxy_nodes]
    with NginxProcess(conf, addresses) as nginx:
        answer = httpx.get(f"{nginx.url}/accounts", headers={name: "somebody-else"})
    assert answer.status_code == 401
    assert answer.headers["x-server-id"]


def test_preflights_and_probes_need_no_session(guard: NginxProcess) -> None:
    asking = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    preflight = httpx.options(f"{guard.url}/events", headers=asking)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "https://app.example"
    for target in ("/health", "/health/live", "/health/ready"):
        assert httpx.get(f"{guard.url}{target}").status_code == 200
    assert httpx.get(f"{guard.url}/metrics").status_code == 404


def test_a_page_of_another_site_changes_nothing_by_the_session(
    guard: NginxProcess, user: str
) -> None:
    account = {"name": "n", "balance": 1}
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = httpx.post(
            f"{guard.url}/accounts", json=account, headers=headers | session_of(user)
        )
        assert answer.status_code == 403
    own = {"Origin": guard.url} | session_of(user)
    assert httpx.post(f"{guard.url}/accounts", json=account, headers=own).status_code == 201


def test_without_the_service_streams_are_told_to_come_back(
    proxy_nodes: list[NodeProcess], user: str
) -> None:
    changes = {"127.0.0.1:4180/oauth2/auth": "127.0.0.1:1/oauth2/auth"}
    with PreparedNginx(proxy_nodes, "With --auth proxy:", changes) as nginx:
        refused = httpx.get(f"{nginx.url}/events/sse", headers=session_of(user))
        assert refused.status_code == 200
        assert re.fullmatch(r"retry: \d{4}\n\n", refused.text)
        answer = httpx.get(f"{nginx.url}/accounts", headers=session_of(user))
    assert answer.status_code == 500
    assert answer.json()["detail"] == "The authentication service did not answer."
    assert answer.headers["retry-after"] == "2"
