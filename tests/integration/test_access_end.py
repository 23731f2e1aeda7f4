"""Streams whose access ends: by time, and by revocation on every node."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from bench.harness import DURABLE, NodeProcess, RedisProcess
from sse_node.access.api_keys import new_key
from tests.integration.test_access import ask, bearer
from tests.support.nodes import wait_until
from tests.support.stream_client import StreamClient
from tests.support.tokens import SECRET, signer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.nodes import StartNode

OWN = signer("HS256")


@pytest.fixture
def own_redis() -> Iterator[RedisProcess]:
    """A Redis of the test's own that keeps what it has."""
    with RedisProcess(args=DURABLE) as process:
        yield process


@pytest.fixture
def flags(tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "secret").write_bytes(SECRET)
    key, line = new_key("service", "revoke publish:user:*")
    (tmp_path / "keys").write_text(line)
    (tmp_path / "key").write_text(key)
    return (
        *("--auth", "jwt", "--jwt-key", str(tmp_path / "secret")),
        *("--api-keys", str(tmp_path / "keys"), "--ping-interval", "0.2"),
    )


@pytest.fixture
def key(flags: tuple[str, ...], tmp_path: Path) -> dict[str, str]:
    return bearer((tmp_path / "key").read_text())


def open_stream(node: NodeProcess, token: str, last_event_id: str = "") -> StreamClient:
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    return StreamClient(node.url, "/events/sse", {**bearer(token), **headers})


def publish(node: NodeProcess, key: dict[str, str], user: str, number: int) -> None:
    event = {"userId": user, "eventType": "t", "data": {"n": number}}
    assert ask(node.url, "POST", "/events", key, event).status == 202


def numbers_of(stream: StreamClient) -> list[int]:
    return [event.json["n"] for event in stream.published()]


def check_closed(stream: StreamClient, reason: str) -> None:
    """Check that a stream has ended with sse.closed, and nothing after it."""
    stream.wait_closed()
    last = stream.events[-1]
    assert (last.name, last.json, last.id) == ("sse.closed", {"reason": reason}, "")
    assert [event.name for event in stream.events].count("sse.closed") == 1
    assert stream.retry_ms is not None


def test_a_stream_ends_with_its_token_and_goes_on_with_the_next(
    start_node: StartNode, redis: RedisProcess, flags: tuple[str, ...], key: dict[str, str]
) -> None:
    node = start_node(*flags, redis=redis)
    expires_s = int(time.time()) + 2
    with open_stream(node, OWN.token("ann", exp=expires_s)) as stream:
        stream.wait_open()
        publish(node, key, "ann", 1)
        last_id = stream.wait_for_type("t").id
        stream.wait_for(lambda event: event.name == "sse.closed")
        assert expires_s <= time.time() <= expires_s + 1.5
        check_closed(stream, "token-expired")
    publish(node, key, "ann", 2)
    assert (
        ask(node.url, "GET", "/events/sse", bearer(OWN.token("ann", exp=expires_s))).status == 401
    )
    with open_stream(node, OWN.token("ann"), last_id) as stream:
        assert stream.wait_open().json["resumed"]
        publish(node, key, "ann", 3)
        stream.wait_for(lambda event: event.json.get("n") == 3)
        assert numbers_of(stream) == [2, 3]


def test_a_revocation_ends_streams_on_every_node(
    start_node: StartNode, redis: RedisProcess, flags: tuple[str, ...], key: dict[str, str]
) -> None:
    first = start_node(*flags, redis=redis)
    second = start_node(*flags, redis=redis, server_id="node-2")
    tokens = {
        "by user": OWN.token("eve", jti="e-1"),
        "by jti": OWN.token("ann", jti="a-1"),
        "same user, other token": OWN.token("ann", jti="a-2"),
        "other user": OWN.token("bob", jti="e-1x"),
        "user that looks alike": OWN.token("Eve"),
    }
    streams = {
        (name, node.url): open_stream(node, token)
        for name, token in tokens.items()
        for node in (first, second)
    }
    for stream in streams.values():
        stream.wait_open()
    begun_s = time.monotonic()
    for content in ({"user": "eve"}, {"jti": "a-1"}):
        assert ask(first.url, "POST", "/revocations", key, content).status == 200
    for name in ("by user", "by jti"):
        for node in (second, first):
            check_closed(streams[name, node.url], "revoked")
    assert time.monotonic() - begun_s < 2
    for user in ("eve", "ann", "bob", "Eve"):
        publish(first, key, user, 7)
    for (name, url), stream in streams.items():
        if name.startswith("by "):
            assert numbers_of(stream) == []
        else:
            stream.wait_for(lambda event: event.json.get("n") == 7)
            assert not stream.closed, (name, url)
        stream.close()
    for node in (first, second):
        for name, token in tokens.items():
            status = 401 if name.startswith("by ") else 200
            assert ask(node.url, "GET", "/events/sse", bearer(token)).status == status, name


def test_a_revocation_ends_at_its_time(
    start_node: StartNode, redis: RedisProcess, flags: tuple[str, ...], key: dict[str, str]
) -> None:
    node = start_node(*flags, redis=redis)
    token = bearer(OWN.token("carl"))
    until = time.time() + 2
    content = {"user": "carl", "until": until}
    assert ask(node.url, "POST", "/revocations", key, content).status == 200
    assert ask(node.url, "GET", "/accounts", token).status == 401
    wait_until(lambda: ask(node.url, "GET", "/accounts", token).status == 200, "the end of it")
    assert int(until) <= time.time() <= until + 1
    assert ask(node.url, "POST", "/revocations", key, {"user": "carl"}).status == 200
    assert ask(node.url, "GET", "/accounts", token).status == 401
    content["until"] = 0
    assert ask(node.url, "POST", "/revocations", key, content).status == 200
    assert ask(node.url, "GET", "/accounts", token).status == 200


def test_a_revocation_survives_restarts_of_nodes_and_of_redis(
    start_node: StartNode, own_redis: RedisProcess, flags: tuple[str, ...], key: dict[str, str]
) -> None:
    node = start_node(*flags, redis=own_redis)
    eve, ann = OWN.token("eve"), OWN.token("ann")
    assert ask(node.url, "POST", "/revocations", key, {"user": "eve"}).status == 200
    node.stop()
    own_redis.restart()
    node.start()
    node.wait_ready()
    assert ask(node.url, "GET", "/events/sse", bearer(eve)).status == 401
    assert ask(node.url, "GET", "/accounts", bearer(eve)).status == 401
    with open_stream(node, ann) as stream:
        stream.wait_open()
        own_redis.restart()
        node.wait_ready()
        wait_until(
            lambda: ask(node.url, "GET", "/accounts", bearer(ann)).status == 200, "Redis is back"
        )
        assert ask(node.url, "GET", "/accounts", bearer(eve)).status == 401
        other = start_node(*flags, redis=own_redis, server_id="node-2")
        assert ask(other.url, "GET", "/events/sse", bearer(eve)).status == 401
        assert not stream.closed


def test_what_was_revoked_while_a_node_had_no_redis_ends_when_it_is_back(
    start_node: StartNode, own_redis: RedisProcess, flags: tuple[str, ...], key: dict[str, str]
) -> None:
    node = start_node(*flags, "--audit-interval", "0.5", redis=own_redis)
    with (
        open_stream(node, OWN.token("eve")) as stream,
        open_stream(node, OWN.token("ann")) as other,
    ):
        stream.wait_open()
        other.wait_open()
        own_redis.stop()
        own_redis.start()
        with Redis.from_url(own_redis.url) as client:
            client.zadd("sse:revocations", {"user:eve": int(time.time()) + 60})
            client.client_kill_filter(_type="pubsub")
        check_closed(stream, "revoked")
        publish(node, key, "ann", 1)
        other.wait_for_type("t")


def test_no_event_follows_the_end(
    start_node: StartNode, redis: RedisProcess, flags: tuple[str, ...], key: dict[str, str]
) -> None:
    # The client reads at the end only: it is not to be disconnected for that.
    node = start_node(*flags, "--write-limit", str(1 << 28), redis=redis)
    expires_s = int(time.time()) + 2
    with (
        open_stream(node, OWN.token("dora", exp=expires_s)) as stream,
        open_stream(node, OWN.token("dora", jti="d-1")) as other,
    ):
        stream.wait_open()
        other.wait_open()
        number = 0
        while time.time() < expires_s + 1:
            event = {"userId": "dora", "eventType": "t", "data": {"n": number}}
            batch = [{**event, "data": {"n": number + each}} for each in range(100)]
            assert ask(node.url, "POST", "/events", key, batch).status == 202
            number += 100
            if number == 500:
                content = {"jti": "d-1"}
                assert ask(node.url, "POST", "/revocations", key, content).status == 200
        for each, reason in ((stream, "token-expired"), (other, "revoked")):
            check_closed(each, reason)
            assert numbers_of(each) == list(range(len(numbers_of(each)))), "none is missing"
            assert numbers_of(each), "some came before"
