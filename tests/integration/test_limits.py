"""What one client can take of a real node: addresses, rates, streams, memory."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from bench.harness import NodeProcess
from sse_node.access.api_keys import new_key
from tests.support.nodes import active_streams, client_of, read_metrics, wait_until
from tests.support.stream_client import WAIT_S, StreamClient

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness import RedisProcess
    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration

# Loopback has 127.0.0.0/8: clients from different addresses of it.
TRUSTED, UNTRUSTED = "127.0.0.1", "127.0.0.2"


def client_from(
    node: NodeProcess, address: str = TRUSTED, headers: dict[str, str] | None = None
) -> httpx.Client:
    """Return an HTTP client that connects from an address of loopback."""
    transport = httpx.HTTPTransport(local_address=address)
    return httpx.Client(base_url=node.url, timeout=WAIT_S, transport=transport, headers=headers)


# Proxies


def test_a_user_header_counts_from_a_trusted_peer_only(
    redis: RedisProcess, start_node: StartNode
) -> None:
    node = start_node("--auth", "proxy", redis=redis)
    ann = {"X-Forwarded-User": "ann"}
    with client_from(node, TRUSTED, ann) as trusted, client_from(node, UNTRUSTED, ann) as spoofer:
        assert trusted.get("/accounts").status_code == 200
        refused = spoofer.get("/accounts")
        assert refused.status_code == 403
        assert refused.json()["detail"] == "X-Forwarded-User: not accepted from this address"
        for path in ("/events/sse", "/events/sse/ann"):
            assert spoofer.get(path).status_code == 403
    with client_from(node, UNTRUSTED) as anonymous:
        assert anonymous.get("/accounts").status_code == 401


def test_another_peer_is_trusted_when_it_is_named(
    redis: RedisProcess, start_node: StartNode
) -> None:
    node = start_node("--auth", "proxy", "--forwarded-allow-ips", "127.0.0.2/31", redis=redis)
    ann = {"X-Forwarded-User": "ann"}
    with client_from(node, UNTRUSTED, ann) as trusted, client_from(node, TRUSTED, ann) as spoofer:
        assert trusted.get("/accounts").status_code == 200
        assert spoofer.get("/accounts").status_code == 403


# Requests and events per second. The windows are long enough for no token to come back meanwhile.


def test_requests_of_an_address_over_its_limit_get_429(
    redis: RedisProcess, start_node: StartNode
) -> None:
    node = start_node("--requests-per-address", "1", "--rate-window", "60", redis=redis)
    with client_from(node) as http, client_from(node, UNTRUSTED) as other:
        answers = [http.get("/accounts") for _ in range(100)]
        statuses = [answer.status_code for answer in answers]
        accepted = statuses.index(429)
        assert 60 <= accepted <= 62
        assert set(statuses[:accepted]) == {200}
        assert answers[0].headers["ratelimit-policy"] == '"requests-per-address";q=60;w=60'
        assert answers[0].headers["ratelimit"] == '"requests-per-address";r=59;t=1'
        refused = answers[accepted]
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["status"] == 429
        assert int(refused.headers["retry-after"]) == 1
        assert refused.headers["ratelimit"] == '"requests-per-address";r=0;t=1'
        assert other.get("/accounts").status_code == 200
        for path in ("/health", "/health/live", "/health/ready"):
            answer = http.get(path)
            assert answer.status_code == 200, "health is never limited"
            assert "ratelimit" not in answer.headers
        metrics = read_metrics(other)
        limited = metrics["sse_node_requests_limited_total", "requests-per-address"]
        assert limited == statuses.count(429)


def test_clients_behind_a_proxy_have_limits_of_their_own(
    redis: RedisProcess, start_node: StartNode
) -> None:
    node = start_node("--requests-per-address", "1", "--rate-window", "30", redis=redis)

    def accepted(forwarded_for: str, address: str = TRUSTED) -> int:
        with client_from(node, address, {"X-Forwarded-For": forwarded_for}) as http:
            return sum(http.get("/accounts").status_code == 200 for _ in range(50))

    assert accepted("192.0.2.1") >= 30
    assert accepted("10.0.0.1, 192.0.2.1") <= 2
    assert accepted("2001:db8::1") >= 30
    assert accepted("2001:db8::ffff") <= 2
    assert accepted("192.0.2.3", UNTRUSTED) >= 30
    assert accepted("192.0.2.4", UNTRUSTED) <= 2, "it is no proxy"


def test_a_stream_over_the_request_limit_is_told_to_come_back(
    redis: RedisProcess, start_node: StartNode
) -> None:
    node = start_node("--requests-per-address", "1", "--rate-window", "2", redis=redis)
    with client_from(node) as http:
        while http.get("/accounts").status_code == 200:
            pass
        with StreamClient(node.url) as stream:
            assert_refused(stream)
    with client_from(node, UNTRUSTED) as other:
        assert read_metrics(other)["sse_node_streams_refused_total", "requests-per-address"] == 1


def test_requests_of_a_user_and_of_a_key_over_their_limits_get_429(
    redis: RedisProcess, start_node: StartNode, tmp_path: Path
) -> None:
    key, line = new_key("billing", "read:accounts")
    (tmp_path / "keys").write_text(line + "\n")
    node = start_node(
        "--auth", "proxy", "--api-keys", str(tmp_path / "keys"),
        "--requests-per-caller", "1", "--rate-window", "30", redis=redis,
    )  # fmt: skip
    callers = [
        {"X-Forwarded-User": "ann"},
        {"X-Forwarded-User": "bob"},
        {"Authorization": f"Bearer {key}"},
    ]
    for headers in callers:
        with client_from(node, headers=headers) as http:
            statuses = [http.get("/accounts").status_code for _ in range(40)]
        accepted = statuses.index(429)
        assert 30 <= accepted <= 32
        assert set(statuses[:accepted]) == {200}


def test_events_of_a_caller_over_its_limit_get_429_and_are_not_published(
    redis: RedisProcess, start_node: StartNode
) -> None:
    node = start_node("--events-per-caller", "10", "--rate-window", "60", redis=redis)
    event = {"userId": "eve", "eventType": "count.up", "data": 1}
    last = {"userId": "eve", "eventType": "last", "data": 1}
    with client_from(node) as http, client_from(node, UNTRUSTED) as other:
        with StreamClient(node.url, "/events/sse/eve") as stream:
            stream.wait_open()
            accepted = http.post("/events", json=[event] * 590)
            assert accepted.status_code == 202
            assert accepted.headers["ratelimit-policy"] == '"events-per-caller";q=600;w=60'
            assert accepted.headers["ratelimit"] == '"events-per-caller";r=10;t=59'
            refused = http.post("/events", json=[event] * 500)
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 45
            assert other.post("/events", json=last).status_code == 202
            stream.wait_for_type("last")
            assert len(stream.published()) == 591
        limited = read_metrics(http)["sse_node_requests_limited_total", "events-per-caller"]
        assert limited == 1


# Streams


def test_a_users_further_stream_closes_the_oldest(
    redis: RedisProcess, start_node: StartNode
) -> None:
    node = start_node("--streams-per-user", "2", redis=redis)
    with contextlib.ExitStack() as on_exit, client_of(node) as http:
        streams = []
        for user in ("ann", "bob", "ann", "ann"):
            stream = StreamClient(node.url, f"/events/sse/{user}")
            streams.append(on_exit.enter_context(stream))
            stream.wait_open()
        closed = streams[0].wait_for(lambda event: event.name == "sse.closed")
        assert (closed.data, closed.id) == ('{"reason":"replaced"}', "")
        streams[0].wait_closed()
        assert streams[0].retry_ms is not None
        assert active_streams(http) == 3
        assert read_metrics(http)["sse_node_streams_closed_total", "replaced"] == 1
        for user in ("ann", "bob"):
            http.post("/events", json={"userId": user, "eventType": "t.x", "data": 1})
        for stream in streams[1:]:
            stream.wait_for_type("t.x")


def open_from(node: NodeProcess, client: str) -> StreamClient:
    """Open a stream as a proxy does for a client of this address."""
    return StreamClient(node.url, "/events/sse/ann", {"X-Forwarded-For": client})


def assert_refused(stream: StreamClient) -> None:
    stream.wait_closed()
    assert stream.status == 200
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.retry_ms is not None
    assert stream.events == []


def test_an_address_with_all_its_streams_is_told_to_come_back(
    redis: RedisProcess, start_node: StartNode
) -> None:
    node = start_node("--streams-per-address", "2", redis=redis)
    with contextlib.ExitStack() as on_exit, client_of(node) as http:
        first, _ = [on_exit.enter_context(open_from(node, "2001:db8::1")) for _ in range(2)]
        first.wait_open()
        with open_from(node, "2001:db8::2") as refused:
            assert_refused(refused)
        with open_from(node, "2001:db8:0:1::1") as other:
            other.wait_open()
        with StreamClient(node.url) as direct:
            direct.wait_open()
        refusals = read_metrics(http)["sse_node_streams_refused_total", "streams-per-address"]
        assert refusals == 1
        first.close()
        wait_until(lambda: active_streams(http) == 1, "the others have left")
        with open_from(node, "2001:db8::3") as stream:
            stream.wait_open()


def test_an_address_that_opens_streams_too_fast_is_told_to_come_back(
    redis: RedisProcess, start_node: StartNode
) -> None:
    node = start_node("--new-streams-per-address", "1", "--rate-window", "30", redis=redis)
    with client_of(node) as http:
        for _ in range(30):
            with open_from(node, "192.0.2.1") as stream:
                stream.wait_open()
        refused = [open_from(node, "192.0.2.1") for _ in range(5)]
        assert_refused(refused[-1])
        for stream in refused:
            stream.close()
        with open_from(node, "192.0.2.2") as stream:
            stream.wait_open()
        refusals = read_metrics(http)["sse_node_streams_refused_total", "new-streams-per-address"]
        assert 1 <= refusals <= 5


# Admission


def overloads(http: httpx.Client) -> dict[str, float]:
    """Return the reasons for which streams are refused, as the metric has them."""
    metrics = read_metrics(http)
    return {reason: metrics["sse_node_overloaded", reason] for reason in ("memory", "lag")}


def test_a_node_that_is_short_of_memory_refuses_streams_until_others_leave(
    redis: RedisProcess, start_node: StartNode
) -> None:
    with client_of(start_node(redis=redis)) as http:
        name = ("sse_node_memory_bytes", "")
        wait_until(lambda: read_metrics(http)[name] > 0, "memory was looked at")
        metrics = read_metrics(http)
        base = int(metrics[name])
        assert metrics["sse_node_memory_limit_bytes", ""] > base
    limit = base + 16 * 1024 * 1024
    node = start_node("--memory-limit", str(limit), redis=redis)
    with contextlib.ExitStack() as on_exit, client_of(node) as http:
        streams = [on_exit.enter_context(StreamClient(node.url)) for _ in range(10)]
        for stream in streams:
            stream.wait_open()
        # What the history keeps is not freed.
        event = {"userId": "nobody", "eventType": "t.x", "data": "x" * 100_000}
        for _ in range(50):
            assert http.post("/events", json=[event] * 10).status_code == 202
        wait_until(lambda: http.get("/health/ready").status_code == 503, "it is not ready")
        assert http.get("/health/ready").json()["detail"].endswith("memory is over --memory-limit")
        assert overloads(http) == {"memory": 1, "lag": 0}
        with StreamClient(node.url) as refused:
            assert_refused(refused)
        assert read_metrics(http)["sse_node_streams_refused_total", "memory"] == 1
        assert http.get("/health").status_code == 200
        for stream in streams[:4]:
            stream.close()
        wait_until(lambda: http.get("/health/ready").status_code == 200, "streams have left")
        with StreamClient(node.url) as stream:
            stream.wait_open()
        assert active_streams(http) >= 6, "the streams that were there stay"


class StallingNode(NodeProcess):
    """A node whose event loop is blocked while a file is there."""

    command = (sys.executable, "-m", "tests.support.stalling_node", "serve")


def test_a_node_whose_event_loop_stays_late_refuses_streams_until_it_is_in_time(
    redis: RedisProcess, tmp_path: Path
) -> None:
    file = tmp_path / "stall"
    environment = {"STALL_FILE": str(file)}
    with (
        StallingNode("--redis-url", redis.url, env=environment) as node,
        client_of(node) as http,
        contextlib.ExitStack() as on_exit,
    ):
        node.wait_ready()
        stream = on_exit.enter_context(StreamClient(node.url, "/events/sse/ann"))
        stream.wait_open()
        file.touch()
        node.wait_for_log(r"event loop: \S+ s late; refusing new streams", 30)
        with StreamClient(node.url) as refused:
            assert_refused(refused)
        ready = http.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json()["detail"].endswith("the event loop is later than --lag-limit")
        assert overloads(http) == {"memory": 0, "lag": 1}
        file.unlink()
        node.wait_for_log(r"event loop: \S+ s late; accepting new streams", 30)
        assert http.get("/health/ready").status_code == 200
        with StreamClient(node.url) as accepted:
            accepted.wait_open()
        http.post("/events", json={"userId": "ann", "eventType": "t.x", "data": 1})
        stream.wait_for_type("t.x")
