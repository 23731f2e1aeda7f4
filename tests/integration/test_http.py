"""What every route has in common, and what operators look at."""

from __future__ import annotations

import json
import re
import socket
from typing import TYPE_CHECKING

import pytest

from bench.harness import NodeProcess
from sse_node.access.rules import RULES
from tests.support.nodes import client_of, read_metrics
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from bench.harness import RedisProcess
    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration

APP = "https://app.example"

ROUTES = {
    "/": "GET, HEAD, OPTIONS",
    "/accounts": "GET, HEAD, OPTIONS, POST",
    "/accounts/1": "DELETE, GET, HEAD, OPTIONS, PATCH",
    "/events": "GET, HEAD, OPTIONS, POST",
    "/events/sse": "GET, HEAD, OPTIONS",
    "/events/sse/123": "GET, HEAD, OPTIONS",
    "/health": "GET, HEAD, OPTIONS",
    "/health/live": "GET, HEAD, OPTIONS",
    "/health/ready": "GET, HEAD, OPTIONS",
    "/metrics": "GET, HEAD, OPTIONS",
    "/snapshots": "GET, HEAD, OPTIONS",
    "/status": "GET, HEAD, OPTIONS",
}
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"]


@pytest.fixture(scope="module")
def app_http(redis: RedisProcess) -> Iterator[httpx.Client]:
    """Requests to a node whose answers the pages of two origins may read."""
    flags = ("--server-id", "node-3", "--cors-origin", f"{APP},http://localhost:5173")
    with NodeProcess("--redis-url", redis.url, *flags) as node:
        node.wait_ready()
        with client_of(node) as client:
            yield client


# Methods


@pytest.mark.parametrize(
    "target", ["/", "/accounts", "/health", "/health/live", "/health/ready", "/snapshots", "/nope"]
)
def test_head_is_get_without_its_content(http: httpx.Client, target: str) -> None:
    got, head = http.get(target), http.head(target)
    assert head.status_code == got.status_code
    assert head.content == b""
    assert got.content
    if target.startswith("/health"):  # it tells the uptime
        head.headers["content-length"] = got.headers["content-length"]
    head.headers["date"] = got.headers["date"]
    assert head.headers == got.headers


def test_head_of_a_stream_is_its_head(node: NodeProcess, user: str) -> None:
    target = f"/events/sse/{user}"
    with (
        StreamClient(node.url, target) as stream,
        socket.create_connection((node.host, node.port), timeout=10) as connection,
    ):
        connection.sendall(f"HEAD {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    without_date = re.compile(rb"Date: [^\r]*\r\n")
    assert without_date.sub(b"", answer) == without_date.sub(b"", stream.head)


@pytest.mark.parametrize(("target", "allowed"), ROUTES.items())
def test_options_names_the_methods(http: httpx.Client, target: str, allowed: str) -> None:
    answer = http.options(target)
    assert answer.status_code == 204
    assert answer.headers["allow"] == allowed
    assert answer.content == b""
    assert "content-length" not in answer.headers


@pytest.mark.parametrize(("target", "allowed"), ROUTES.items())
def test_other_methods_are_not_allowed(http: httpx.Client, target: str, allowed: str) -> None:
    for method in METHODS:
        if method not in allowed.split(", "):
            answer = http.request(method, target)
            assert answer.status_code == 405
            assert answer.headers["allow"] == allowed
            assert method in answer.json()["detail"]


@pytest.mark.parametrize(
    "target", ["/nope", "/accounts/", "/accounts/1/2", "/events/sse/", "/health/", "//", "/STATUS"]
)
def test_what_is_not_there(http: httpx.Client, target: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        answer = http.request(method, f"{http.base_url}".rstrip("/") + target)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
        assert target in answer.json()["detail"]


def test_every_answer_says_which_server(http: httpx.Client) -> None:
    for answer in (http.get("/"), http.get("/nope"), http.post("/events"), http.options("/")):
        assert answer.headers["x-server-id"] == "node-1"
        assert answer.headers["server"] == "sse-node"


# Other origins


def test_allowed_origin_may_ask_and_read(app_http: httpx.Client) -> None:
    asking = {
        "Origin": APP,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,idempotency-key",
    }
    preflight = app_http.options("/events", headers=asking)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == APP
    assert preflight.headers["access-control-allow-credentials"] == "true"
    assert "POST" in preflight.headers["access-control-allow-methods"]
    allowed = preflight.headers["access-control-allow-headers"].lower()
    assert {"content-type", "idempotency-key", "last-event-id"} <= set(allowed.split(", "))
    for answer in (
        app_http.get("/accounts", headers={"Origin": APP}),
        app_http.get("/nope", headers={"Origin": APP}),
        app_http.post("/events", headers={"Origin": APP}),
    ):
        assert answer.headers["access-control-allow-origin"] == APP
        assert answer.headers["vary"] == "Origin"
        assert "Location" in answer.headers["access-control-expose-headers"]


def test_other_origins_may_not(app_http: httpx.Client, http: httpx.Client) -> None:
    for client, origin in ((app_http, "https://evil.example"), (app_http, "null"), (http, APP)):
        for answer in (
            client.get("/accounts", headers={"Origin": origin}),
            client.options("/events", headers={"Origin": origin}),
        ):
            assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_streams_are_open_to_allowed_origins(app_http: httpx.Client) -> None:
    address = f"{app_http.base_url}".rstrip("/")
    with StreamClient(address, headers={"Origin": "http://localhost:5173"}) as stream:
        assert stream.headers["access-control-allow-origin"] == "http://localhost:5173"
        assert stream.headers["vary"] == "Origin"
    with StreamClient(address, headers={"Origin": "https://evil.example"}) as stream:
        assert "access-control-allow-origin" not in stream.headers


def test_any_origin_means_any(start_node: StartNode, redis: RedisProcess) -> None:
    node = start_node("--cors-origin", "*", redis=redis, server_id="node-4")
    with client_of(node) as http:
        answer = http.get("/accounts", headers={"Origin": "https://any.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


# Connections


def exchange(node: NodeProcess, sent: bytes) -> bytes:
    """What a node answers to these bytes until it closes the connection."""
    with socket.create_connection((node.host, node.port), timeout=10) as connection:
        connection.sendall(sent)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_connection_serves_many_requests_in_their_order(node: NodeProcess) -> None:
    targets = ["/health/live", "/accounts/999999999", "/nope", "/status", "/snapshots"]
    request = "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answers = exchange(node, ("".join(map(request.format, targets)) + last).encode())
    statuses = re.findall(rb"HTTP/1\.1 (\d+) ", answers)
    assert statuses == [b"200", b"404", b"404", b"200", b"200", b"200"]
    assert answers.count(b"Connection: close") == 1


def test_http_1_0_gets_its_answer_and_the_close(node: NodeProcess) -> None:
    answer = exchange(node, b"GET /health/live HTTP/1.0\r\n\r\n")
    head, _, content = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"chunked" not in head
    assert json.loads(content)["status"] == "ok"


def test_a_request_and_then_a_stream_on_one_connection(node: NodeProcess, user: str) -> None:
    with socket.create_connection((node.host, node.port), timeout=10) as connection:
        connection.sendall(
            b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
            b"GET /events/sse/%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % user.encode()
        )
        answers = b""
        while b"sse.open" not in answers:
            answers += connection.recv(65536)
    assert re.findall(rb"Content-Type: ([\w/-]+)", answers) == [
        b"application/json",
        b"text/event-stream",
    ]


def test_continue_is_said_before_the_content(node: NodeProcess, user: str) -> None:
    content = b'{"name":"n","balance":1,"userId":"%b"}' % user.encode()
    head = (
        b"POST /accounts HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n" % len(content)
    )
    with socket.create_connection((node.host, node.port), timeout=10) as connection:
        connection.sendall(head)
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(content)
        assert connection.recv(65536).startswith(b"HTTP/1.1 201 ")


# What operators look at


def test_status_and_health(http: httpx.Client, node: NodeProcess, user: str) -> None:
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        status = http.get("/status").json()
        health = http.get("/health").json()
    assert status["serverId"] == "node-1"
    assert status["pid"] == node.pid
    assert status["redisConnected"] is True
    assert status["connectedUsers"] >= 1
    assert status["activeStreams"] >= 1
    assert 0 < status["uptime_s"] < 3600
    assert health["status"] == "ok"
    assert http.get("/health/live").json() == {"status": "ok", "serverId": "node-1"}
    assert http.get("/health/ready").json() == {"status": "ready", "serverId": "node-1"}
    for target in ("/status", "/health", "/health/live", "/health/ready"):
        assert http.get(target).headers["cache-control"] == "no-store"


def test_metrics_tell_what_happened(http: httpx.Client, node: NodeProcess, user: str) -> None:
    before = read_metrics(http)
    with (
        StreamClient(node.url, f"/events/sse/{user}") as first,
        StreamClient(node.url, f"/events/sse/{user}") as second,
    ):
        for stream in (first, second):
            stream.wait_open()
        events = [{"userId": user, "eventType": "t", "data": n} for n in range(10)]
        http.post("/events", json=events).raise_for_status()
        for stream in (first, second):
            stream.wait_for(lambda event: event.json.get("data") == 9)
        after = read_metrics(http)

    def grown(name: str, label: str = "") -> float:
        return after[name, label] - before[name, label]

    assert grown("sse_node_streams_opened_total") == 2
    assert grown("sse_node_messages_received_total") >= 10
    assert grown("sse_node_deliveries_total") == 20
    sent = sum(len(event.frame) for stream in (first, second) for event in stream.published())
    assert grown("sse_node_delivered_bytes_total") == sent
    assert grown("sse_node_publish_to_write_seconds_count") >= 1
    assert grown("sse_node_event_loop_lag_seconds_count") >= 0
    assert after["sse_node_redis_up", "subscriber"] == after["sse_node_redis_up", "commands"] == 1
    assert grown("sse_node_redis_reconnects_total", "subscriber") == 0
    assert any(name == "sse_node_build_info" for name, _ in after)
    assert all(name.startswith("sse_node_") for name, _ in after)


def test_metrics_have_the_type_that_prometheus_expects(http: httpx.Client) -> None:
    assert http.get("/metrics").headers["content-type"].startswith("text/plain; version=")


def test_page_needs_nothing_from_elsewhere(http: httpx.Client) -> None:
    answer = http.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.text.startswith("<!doctype html>")
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']*//""", answer.text)


@pytest.mark.parametrize(
    "target", ["/accounts", "/accounts/1", "/snapshots", "/status", "/metrics", "/health", "/nope"]
)
def test_no_cache_stores_an_answer(http: httpx.Client, target: str) -> None:
    assert http.get(target).headers.get_list("cache-control") == ["no-store"]


@pytest.mark.parametrize("target", ["/", "/accounts", "/nope", "/health/live", "/metrics"])
def test_no_browser_guesses_the_type_of_an_answer(http: httpx.Client, target: str) -> None:
    assert http.get(target).headers.get_list("x-content-type-options") == ["nosniff"]


def test_a_stream_s_type_is_not_guessed_either(http: httpx.Client) -> None:
    with http.stream("GET", "/events/sse/ann") as stream:
        assert stream.headers.get_list("x-content-type-options") == ["nosniff"]
        assert stream.headers.get_list("cache-control") == ["no-store, no-transform"]


# What a form of another site could send


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b",
     "text/plain; application/json", "text/plain, application/json", "text/json", None],
)  # fmt: skip
@pytest.mark.parametrize(
    ("method", "path"), [rule for rule in RULES if rule[0] in {"POST", "PATCH", "PUT"}]
)
def test_content_of_another_type_than_json_changes_nothing(
    http: httpx.Client, method: str, path: str, content_type: str | None
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    target = path.replace("{id}", "1")
    answer = http.request(method, target, content=b'{"user":"nobody"}', headers=headers)
    assert answer.status_code == 415
    assert "expected application/json" in answer.json()["detail"]
