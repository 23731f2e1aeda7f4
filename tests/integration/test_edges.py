"""Statuses, headers and parameters that RFC 9110 and 9112 define, asked of a real node."""

from __future__ import annotations

import re
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.nodes import client_of, wait_until

if TYPE_CHECKING:
    import httpx

    from bench.harness import NodeProcess, RedisProcess
    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration

JSON = "Content-Type: application/json\r\n"


def request_of(line: str, fields: str = "", content: str = "") -> bytes:
    length = f"Content-Length: {len(content)}\r\n" if content else ""
    return f"{line}\r\nHost: localhost\r\n{fields}{length}\r\n{content}".encode()


# (id, request, status line, header that must be there)
EXCHANGES = [
    ("other method", request_of("PUT /health HTTP/1.1"), "405 Method Not Allowed", "Allow: GET,"),
    ("unknown method", request_of("BREW / HTTP/1.1"), "405 Method Not Allowed", "Allow: GET,"),
    ("connect", request_of("CONNECT a:80 HTTP/1.1"), "400 Bad Request", "Connection: close"),
    ("http 2", request_of("GET / HTTP/2.0"), "505 HTTP Version Not Supported", "Connection: close"),
    ("http 0.9", b"GET /health\r\n\r\n", "400 Bad Request", "Connection: close"),
    ("preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 HTTP Version", "Connection: close"),
    ("long target", request_of(f"GET /{'x' * 20_480} HTTP/1.1"), "414 URI Too Long", "Connection:"),
    ("long head", request_of("GET / HTTP/1.1", f"X: {'x' * 20_480}\r\n"),
     "431 Request Header Fields Too Large", "Connection: close"),
    ("two codings", request_of("POST /events HTTP/1.1", "Transfer-Encoding: gzip, chunked\r\n"),
     "400 Bad Request", "Connection: close"),
    ("identity", request_of("POST /events HTTP/1.1", "Transfer-Encoding: identity\r\n"),
     "400 Bad Request", "Connection: close"),
    ("unknown expectation", request_of("POST /events HTTP/1.1", "Expect: magic\r\n", "{}"),
     "417 Expectation Failed", "Connection: close"),
    ("expectation of HTTP/1.0", request_of("GET /health/live HTTP/1.0", "Expect: magic\r\n"),
     "200 OK", "Connection: close"),
    ("long content", request_of("POST /accounts HTTP/1.1", JSON, "x" * 70_000),
     "413 Content Too Large", "Connection: close"),
    ("no content", request_of("POST /events HTTP/1.1", JSON), "400 Bad Request", "Date: "),
    ("no type", request_of("POST /events HTTP/1.1", "", "{}"),
     "415 Unsupported Media Type", "Accept: application/json"),
    ("other type", request_of("PATCH /accounts/1 HTTP/1.1", "Content-Type: text/plain\r\n", "{}"),
     "415 Unsupported Media Type", "Accept: application/json"),
    ("coding", request_of("POST /events HTTP/1.1", JSON + "Content-Encoding: br\r\n", "{}"),
     "415 Unsupported Media Type", "Accept-Encoding: identity"),
    ("other shape", request_of("POST /events HTTP/1.1", JSON, "5"),
     "422 Unprocessable Content", "Content-Type: application/problem+json"),
    ("unknown account", request_of("GET /accounts/999999999 HTTP/1.1"), "404 Not Found", "Date: "),
    ("preferences", request_of("GET /status HTTP/1.1", "Accept: text/xml\r\nRange: bytes=0-1\r\n"),
     "200 OK", "Content-Type: application/json"),
    ("page", request_of("GET / HTTP/1.1"), "200 OK", "Cache-Control: no-cache"),
    ("head", request_of("HEAD /status HTTP/1.1"), "200 OK", "Content-Length: "),
    ("options", request_of("OPTIONS * HTTP/1.1"), "204 No Content", "Allow: "),
    ("last request", request_of("GET /health HTTP/1.1", "Connection: close\r\n"),
     "200 OK", "Connection: close"),
    ("stream", request_of("GET /events/sse HTTP/1.1"), "200 OK", "Cache-Control: no-store, no-tr"),
    ("head of a stream", request_of("HEAD /events/sse HTTP/1.1"), "200 OK", "Connection: close"),
]  # fmt: skip


def head_of(node: NodeProcess, data: bytes) -> tuple[str, list[str]]:
    """Return the status line and the header lines of the answer."""
    with socket.create_connection((node.host, node.port), timeout=10) as connection:
        connection.sendall(data)
        answer = b""
        while b"\r\n\r\n" not in answer:
            received = connection.recv(65536)
            assert received, answer
            answer += received
    status_line, *lines = answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    return status_line, lines


def expect_each_header_once(lines: list[str]) -> None:
    names = [line.partition(":")[0].lower() for line in lines]
    assert sorted(names) == sorted(set(names)), lines
    assert {"date", "server", "x-server-id", "x-content-type-options"} <= set(names)
    assert "X-Content-Type-Options: nosniff" in lines
    if "Content-Type: application/json; charset=utf-8" in lines:
        assert "Cache-Control: no-store" in lines


@pytest.mark.parametrize(
    ("data", "status", "header"), [pytest.param(*case[1:], id=case[0]) for case in EXCHANGES]
)
def test_answer(node: NodeProcess, data: bytes, status: str, header: str) -> None:
    status_line, lines = head_of(node, data)
    assert status_line.startswith(f"HTTP/1.1 {status}")
    assert [line for line in lines if line.startswith(header)], lines
    expect_each_header_once(lines)


def test_answers_of_a_node_that_drains(start_node: StartNode, redis: RedisProcess) -> None:
    node = start_node("--drain-delay", "20", "--cors-origin", "https://a.example", redis=redis)
    with client_of(node) as http:
        node.send_signal(signal.SIGTERM)
        wait_until(lambda: http.get("/health/ready").status_code == 503, "it drains")
        stream = request_of("GET /events/sse HTTP/1.1", "Origin: https://a.example\r\n")
        for data in (stream, *(case[1] for case in EXCHANGES)):
            _, lines = head_of(node, data)
            expect_each_header_once(lines)
            assert "connection: close" in [line.lower() for line in lines]
        node.send_signal(signal.SIGINT)


# Parameters


@pytest.mark.parametrize(
    ("method", "target", "detail"),
    [
        ("GET", "/accounts?userid=ann", "query: 'userid': expected one of userId, limit, after"),
        ("GET", "/accounts?userId=ann&userId=bob", "query: userId: expected once"),
        ("GET", "/snapshots?after=1", "query: 'after': expected one of userId, limit"),
        ("GET", "/accounts/1?verison=1", "query: 'verison': expected one of version, at"),
        ("PATCH", "/accounts/1?userId=ann", "query: 'userId': expected no query"),
        ("DELETE", "/accounts/1?force", "query: 'force': expected no query"),
        ("POST", "/accounts?userId=ann", "query: 'userId': expected no query"),
        ("POST", "/events?channel=a", "query: 'channel': expected no query"),
    ],
)
def test_parameter_that_would_be_ignored_is_refused(
    http: httpx.Client, method: str, target: str, detail: str
) -> None:
    answer = http.request(method, target)
    assert answer.status_code == 400
    assert answer.json()["detail"] == detail


@pytest.mark.parametrize("target", ["/health?x=1", "/health/live?_=5", "/metrics?a&a", "/?utm=1"])
def test_parameters_of_resources_without_any_are_ignored(http: httpx.Client, target: str) -> None:
    assert http.get(target).status_code == 200


def test_repeated_channels_are_all_meant(http: httpx.Client, user: str) -> None:
    target = f"/events/sse/{user}?channels=analytics-events&channels=&channels=nope&_=17"
    answer = http.get(target)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("channels 'nope': expected some of")
    with http.stream("GET", target.replace("nope", "system-events")) as stream:
        event = {"channel": "analytics-events", "eventType": "seen", "data": user}
        http.post("/events", json=event).raise_for_status()
        assert next(line for line in stream.iter_lines() if user in line)


def test_an_account_has_one_address(http: httpx.Client, user: str) -> None:
    account = {"name": "n", "balance": 1, "userId": user}
    location = http.post("/accounts", json=account).headers["location"]
    assert http.get(location).status_code == 200
    assert http.get(location.replace("/accounts/", "/accounts/0")).status_code == 404


# Library wording


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[1,", '{"a":1,}', "\ufeff{}", "[NaN]", "5", "[]", "[5]", "null",
        '{"userId":1,"eventType":"t","data":1}', '{"userId":"a","data":1}',
        '{"userId":"a","eventType":"t","data":"\\udfff"}', '{"name":1,"balance":1}',
        '{"name":"","balance":1}', '{"name":"n","balance":1e999}', '{"name":"n","balance":"1"}',
        '{"name":"n","balance":true}', '{"name":"%s","balance":1}' % ("n" * 300),
    ],
)  # fmt: skip
@pytest.mark.parametrize("target", ["/accounts", "/events"])
def test_no_error_speaks_of_parsers_or_python(
    http: httpx.Client, target: str, content: str
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = http.post(target, content=content.encode(), headers=headers)
    assert answer.is_client_error
    words = r"`|\b(?:str|int|float|bool|dict|list|char|delimiter|decode|malformed|truncated)\b"
    assert not re.search(words, answer.json()["detail"]), answer.text
