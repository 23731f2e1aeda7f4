"""Keys of tokens and services that change while a node runs, and a URL of keys that is down."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from bench.harness import NodeProcess, RedisProcess
from sse_node.access.api_keys import new_key
from tests.integration.test_access import ask, bearer
from tests.support.jwks_server import JwksServer
from tests.support.nodes import wait_until
from tests.support.stream_client import StreamClient
from tests.support.tokens import SECRET, key_set, signer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.nodes import StartNode

A, B, C = signer("RS256", "a"), signer("ES256", "b"), signer("EdDSA", "c")


def status_of(node: NodeProcess, token: str) -> int:
    return ask(node.url, "GET", "/accounts", bearer(token)).status


def test_new_keys_of_a_url_are_fetched_within_one_request(
    start_node: StartNode, redis: RedisProcess
) -> None:
    with JwksServer(A) as server:
        node = start_node("--auth", "jwt", "--jwks-url", server.url, redis=redis)
        assert status_of(node, A.token()) == 200
        assert server.requests == 1
        server.serve(A, B)
        assert status_of(node, B.token()) == 200
        assert server.requests == 2
        server.serve(A, B, C)
        for _ in range(5):
            assert status_of(node, C.token()) == 401, "at most one fetch in 30 s"
            assert status_of(node, A.token()) == 200
        assert server.requests == 2


def test_the_keys_of_a_url_that_is_down_are_kept(
    start_node: StartNode, redis: RedisProcess
) -> None:
    with JwksServer(A) as server:
        node = start_node("--auth", "jwt", "--jwks-url", server.url, redis=redis)
        assert status_of(node, A.token()) == 200
        server.stop()
        assert status_of(node, B.token()) == 401
        assert status_of(node, A.token("bob")) == 200
        assert any("fetch failed: Connection refused; keeping 1 keys" in each for each in node.log)
        assert not any("secret-tenant" in line for line in node.log)


def test_a_url_that_is_down_does_not_stop_the_start(
    start_node: StartNode, redis: RedisProcess
) -> None:
    with JwksServer(A) as server:
        server.stop()
        node = start_node("--auth", "jwt", "--jwks-url", server.url, redis=redis)
        answer = ask(node.url, "GET", "/accounts", bearer(A.token()))
        assert (answer.status, answer.headers["retry-after"]) == (503, "2")
        # An EventSource comes back only after 200.
        with StreamClient(node.url, "/events/sse", bearer(A.token())) as stream:
            stream.wait_closed()
            assert (stream.status, stream.events) == (200, [])
            assert stream.retry_ms is not None
        server.start()
        wait_until(lambda: status_of(node, A.token()) == 200, "the keys of the URL")
        with StreamClient(node.url, "/events/sse", bearer(A.token())) as stream:
            stream.wait_open()


def test_a_slow_url_stops_neither_the_start_nor_other_requests(
    start_node: StartNode, redis: RedisProcess
) -> None:
    with JwksServer(A) as server:
        server.gate.clear()
        node = start_node("--auth", "jwt", "--jwks-url", server.url, redis=redis)
        begun_s = time.monotonic()
        assert ask(node.url, "GET", "/health").status == 200
        assert ask(node.url, "GET", "/accounts").status == 401
        assert time.monotonic() - begun_s < 1
        begun_s = time.monotonic()
        node.stop()
        assert time.monotonic() - begun_s < 4, "the end does not wait for the URL"
        server.gate.set()


def test_files_of_keys_are_read_again(
    start_node: StartNode, redis: RedisProcess, tmp_path: Path
) -> None:
    secret, keys = tmp_path / "secret", tmp_path / "keys"
    secret.write_bytes(SECRET + b"\n")
    old, line = new_key("service", "observe")
    keys.write_text(line)
    flags = ("--auth", "jwt", "--jwt-key", str(secret), "--api-keys", str(keys))
    node = start_node(*flags, redis=redis)
    first = signer("HS256").token()
    assert status_of(node, first) == 200
    assert ask(node.url, "GET", "/status", bearer(old)).status == 200
    with StreamClient(node.url, "/events/sse", bearer(first)) as stream:
        stream.wait_open()
        secret.write_bytes(key_set(B.jwk()))
        closed = stream.wait_for_type("sse.closed")
        assert json.loads(closed.data) == {"reason": "token-expired"}
        stream.wait_closed()
    new, line = new_key("service", "observe")
    keys.write_text(line)
    wait_until(lambda: status_of(node, B.token()) == 200, "the new key of tokens")
    assert status_of(node, first) == 401
    wait_until(
        lambda: ask(node.url, "GET", "/status", bearer(new)).status == 200, "the new API key"
    )
    assert ask(node.url, "GET", "/status", bearer(old)).status == 401
    keys.write_text("half a line")
    node.wait_for_log("keeping the API keys as they are: --api-keys: line 1")
    assert json.loads(ask(node.url, "GET", "/status", bearer(new)).content)["redisConnected"]
