"""`--log-bytes`: what a client sees of it, and what else writes to the log."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from bench.harness import ROOT, RedisProcess, environment_without_settings
from tests.support.nodes import client_of, wait_until_heard
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    import httpx

    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration

LIMIT = 4 * 1024 * 1024
FLAGS = ("--log-bytes", str(LIMIT), "--history", "10")


def post(http: httpx.Client, number: int, size: int = 100_000) -> str:
    event = {"userId": "ann", "eventType": "tick", "data": {"number": number, "pad": "x" * size}}
    ids: list[str] = http.post("/events", json=event).raise_for_status().json()["ids"]
    return ids[0]


def payload_bytes(commands: Redis) -> int:
    entries: Any = commands.xrange("sse:log")
    return sum(len(fields[b"payload"]) for _, fields in entries)


def test_who_comes_back_after_the_drop_is_told(start_node: StartNode) -> None:
    with RedisProcess() as redis, Redis.from_url(redis.url) as commands:
        node = start_node(*FLAGS, redis=redis)
        with client_of(node) as http:
            ids = [post(http, number) for number in range(100)]
        wait_until_heard(node, "ann", ids[-1])
        assert payload_bytes(commands) <= 1.1 * LIMIT
        with StreamClient(node.url, "/events/sse/ann", {"Last-Event-ID": ids[0]}) as stream:
            reset = stream.wait_for(lambda event: event.name == "sse.reset")
            assert reset.json == {"reason": "trimmed"}
        with StreamClient(node.url, "/events/sse/ann", {"Last-Event-ID": ids[70]}) as stream:
            assert stream.wait_open().json["replayed"] == 29
            stream.wait_for(lambda event: event.json.get("number") == 99)


def test_live_streams_notice_nothing(start_node: StartNode) -> None:
    with RedisProcess() as redis:
        node = start_node(*FLAGS, "--audit-interval", "0.2", redis=redis)
        with client_of(node) as http, StreamClient(node.url, "/events/sse/ann") as stream:
            stream.wait_open()
            for number in range(150):
                event_id = post(http, number)
                assert stream.wait_for_type("tick").id == event_id
            assert [event.json["number"] for event in stream.published()] == list(range(150))
            assert not [event for event in stream.events if event.name == "sse.reset"]


def test_accounts_and_the_command_keep_to_it(start_node: StartNode) -> None:
    with RedisProcess() as redis, Redis.from_url(redis.url) as commands:
        node = start_node(*FLAGS, redis=redis)
        with client_of(node) as http:
            for number in range(50):
                post(http, number, 80_000)
            before = commands.xlen("sse:log")
            account = {"name": "n", "balance": 1, "userId": "ann"}
            path = http.post("/accounts", json=account).headers["Location"]
            # Each change is in the log; a hundred of them are more than the step between two looks.
            for number in range(300):
                http.patch(path, json={"name": f"{number} {'x' * 240}"}).raise_for_status()
            http.delete(path).raise_for_status()
            assert commands.xlen("sse:log") > before
            assert payload_bytes(commands) <= 1.1 * LIMIT
        command = (sys.executable, "-m", "sse_node", "publish", "ann", "t")
        data = '"' + "x" * 120_000 + '"'
        for _ in range(2):
            subprocess.run(
                [*command, data, "--redis-url", redis.url, "--log-bytes", str(LIMIT)],
                cwd=ROOT, env=environment_without_settings(), check=True, capture_output=True,
            )  # fmt: skip
        assert payload_bytes(commands) <= 1.1 * LIMIT
