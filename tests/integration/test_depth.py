"""Events that are nested deep: refused when published, or delivered live and in every replay."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from bench.harness import ROOT, RedisProcess, environment_without_settings
from sse_node.redis.event_log import PUBLISH
from tests.support.nodes import client_of, read_metrics
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    import httpx

    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration

HEADERS = {"Content-Type": "application/json"}
EXPECTED = "expected at most 128 levels"


def nested(levels: int, opening: str = "[") -> str:
    closing = "]" if opening == "[" else "}"
    return opening * levels + "1" + closing * levels


def post_event(
    http: httpx.Client, user: str, data: str, *, in_array: bool = False
) -> httpx.Response:
    content = f'{{"userId":"{user}","eventType":"t","data":{data}}}'
    return http.post("/events", content=f"[{content}]" if in_array else content, headers=HEADERS)


@pytest.mark.parametrize("in_array", [False, True], ids=["one", "array"])
@pytest.mark.parametrize("opening", ["[", '{"a":'], ids=["arrays", "objects"])
def test_publishing_has_one_limit(
    http: httpx.Client, user: str, opening: str, in_array: bool
) -> None:
    for levels in (129, 130, 131, 978, 19_000):
        answer = post_event(http, user, nested(levels, opening), in_array=in_array)
        assert answer.status_code == 400
        assert EXPECTED in answer.json()["detail"]
    assert post_event(http, user, nested(128, opening), in_array=in_array).status_code == 202
    brackets = '"' + "[" * 1000 + '"'
    assert post_event(http, user, brackets, in_array=in_array).status_code == 202


@pytest.mark.parametrize("levels", [128, 129])
def test_accounts_have_the_same_limit(http: httpx.Client, user: str, levels: int) -> None:
    content = f'{{"name":"n","balance":1,"userId":"{user}","more":{nested(levels)}}}'
    created = http.post("/accounts", content=content, headers=HEADERS)
    path = http.post("/accounts", json={"name": "n", "balance": 1, "userId": user})
    changed = http.patch(path.headers["Location"], content=content, headers=HEADERS)
    assert [created.status_code, changed.status_code] == (
        [201, 200] if levels == 128 else [400, 400]
    )
    if levels > 128:
        assert EXPECTED in created.json()["detail"]
        assert EXPECTED in changed.json()["detail"]


def test_the_command_has_the_same_limit(redis: RedisProcess, user: str) -> None:
    def publish(levels: int) -> subprocess.CompletedProcess[str]:
        command = (sys.executable, "-m", "sse_node", "publish", user, "t", nested(levels))
        return subprocess.run(
            [*command, "--redis-url", redis.url], check=False,
            cwd=ROOT, env=environment_without_settings(), capture_output=True, text=True,
        )  # fmt: skip

    assert publish(128).returncode == 0
    for levels in (129, 978):
        refused = publish(levels)
        assert refused.returncode == 3
        assert EXPECTED in refused.stderr


def test_the_deepest_event_is_in_every_replay_and_a_deeper_one_in_none(
    start_node: StartNode,
) -> None:
    with RedisProcess() as redis, Redis.from_url(redis.url) as publisher:
        nodes = [
            start_node("--history", "1000", redis=redis, server_id="memory"),
            start_node("--history", "1", redis=redis, server_id="log"),
        ]
        publish = publisher.register_script(PUBLISH.text)
        with client_of(nodes[0]) as http, StreamClient(nodes[0].url, "/events/sse/ann") as live:
            start = live.wait_open().id
            ids = post_event(http, "ann", nested(128)).json()["ids"]
            for levels in (129, 500, 978, 5000):
                event = f'{{"userId":"ann","eventType":"t","data":{nested(levels)}}}'
                publish(keys=["sse:log"], args=[1000, 0, 0, "user-events", event])
                publisher.publish("user-events", event)
            ids += post_event(http, "ann", "1").json()["ids"]
            live.wait_for(lambda event: event.id == ids[-1])
            assert [event.id for event in live.published()] == ids
            assert read_metrics(http)["sse_node_messages_dropped_total", "too-deep"] == 8
        for node in nodes:
            with StreamClient(node.url, "/events/sse/ann", {"Last-Event-ID": start}) as stream:
                stream.wait_for(lambda event: event.id == ids[-1])
                assert [event.id for event in stream.published()] == ids
                assert not [event for event in stream.events if event.name == "sse.reset"]
