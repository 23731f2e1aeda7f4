"""From one shard to sixteen: everything is where nodes look for it, and counted."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from bench.harness import ROOT, Cluster, RedisProcess, environment_without_settings
from tests.support.nodes import client_of, wait_until
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration

USERS = [f"user-{number}" for number in range(12)]
SHARDS = 16


@pytest.fixture
def redis() -> Iterator[RedisProcess]:
    """A Redis of the test's own."""
    with RedisProcess() as process:
        yield process


def copy(redis: RedisProcess, *flags: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "sse_node", "copy-shards", "--redis-url", redis.url)
    return subprocess.run(
        [*command, "--to-shards", str(SHARDS), *flags],
        cwd=ROOT, env=environment_without_settings(), capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


def fill(http: httpx.Client) -> None:
    """Give every user an account of two versions, snapshots and events; and publish to all."""
    for user in USERS:
        account = {"name": "Mill", "balance": 1, "userId": user}
        where = http.post("/accounts", json=account).headers["location"]
        http.patch(where, json={"balance": 2}).raise_for_status()
        event = {"userId": user, "eventType": "before", "data": {"of": user}}
        http.post("/events", json=event).raise_for_status()
    for channel in ("system-events", "analytics-events"):
        to_all = {"channel": channel, "eventType": "to-all", "data": 1}
        http.post("/events", json=to_all).raise_for_status()
    wait_until(
        lambda: all(http.get(f"/snapshots?userId={user}").json() for user in USERS), "snapshots"
    )


def seen(http: httpx.Client) -> dict[str, object]:
    """Return what the node answers about every user."""
    answers: dict[str, object] = {}
    for user in USERS:
        query = {"userId": user}
        (account,) = http.get("/accounts", params=query).json()
        path = f"/accounts/{account['id']}"
        by_id = http.get(path)
        answers[user] = (
            account,
            (by_id.json(), by_id.headers["etag"]),
            http.get(f"{path}/events").json(),
            http.get(f"{path}?version=1").json(),
            http.get("/snapshots", params=query).json(),
            http.get("/events", params=query).json()["events"],
        )
    return answers


def check_new_deployment(http: httpx.Client, before: dict[str, object]) -> None:
    assert seen(http) == before
    ids = {http.get("/accounts", params={"userId": user}).json()[0]["id"] for user in USERS}
    for user in USERS:
        account = {"name": "New", "balance": 1, "userId": user}
        created = http.post("/accounts", json=account).json()["id"]
        assert created not in ids
        ids.add(created)
        old = min(each["id"] for each in http.get(f"/accounts?userId={user}").json())
        changed = http.patch(f"/accounts/{old}", json={"balance": 3})
        assert changed.headers["etag"] == '"3"'
        assert http.delete(f"/accounts/{old}").status_code == 204
        assert http.get(f"/accounts/{old}").status_code == 404


def test_sixteen_shards_on_the_same_redis(redis: RedisProcess, start_node: StartNode) -> None:
    node = start_node(redis=redis)
    with client_of(node) as http:
        fill(http)
        before = seen(http)
        with StreamClient(node.url, f"/events/sse/{USERS[0]}") as stream:
            stream.wait_open()
            last = {"userId": USERS[0], "eventType": "last-seen", "data": 1}
            http.post("/events", json=last).raise_for_status()
            position = stream.wait_for_type("last-seen").id
        http.post("/events", json=last | {"eventType": "missed"}).raise_for_status()
        before = seen(http)
    refused = copy(redis)
    assert refused.returncode == 3
    assert "expected none: stop all nodes, then copy" in refused.stderr
    node.terminate()
    ended = copy(redis)
    assert ended.returncode == 0, ended.stderr
    assert f"accounts: {len(USERS)} found, {len(USERS)} copied" in ended.stdout.splitlines()
    again = copy(redis)
    assert again.returncode == 3
    assert f"'{SHARDS} shards' is not allowed" in again.stderr
    redis.shards = SHARDS
    node = start_node(redis=redis, server_id="node-16")
    with client_of(node) as http:
        with StreamClient(
            node.url, f"/events/sse/{USERS[0]}", headers={"Last-Event-ID": position}
        ) as stream:
            assert stream.wait_open().json["resumed"]
            stream.wait_for_type("missed")
        check_new_deployment(http, before)
    node.terminate()
    with Redis.from_url(redis.url) as client:  # the way back, and there again
        client.delete("sse:shards")
        redis.shards = 1
        node = start_node(redis=redis, server_id="node-back")
        with client_of(node) as http:
            assert seen(http) == before
        node.terminate()
        client.delete(*client.keys("shard*"))
    assert copy(redis).returncode == 0


def test_sixteen_shards_on_a_cluster(redis: RedisProcess, start_node: StartNode) -> None:
    node = start_node(redis=redis)
    with client_of(node) as http:
        fill(http)
        before = seen(http)
    node.terminate()
    with Cluster(replicas=0) as cluster:
        ended = copy(redis, "--to-redis-url", cluster.url)
        assert ended.returncode == 0, ended.stderr
        with client_of(start_node(redis=cluster, server_id="node-16")) as http:
            check_new_deployment(http, before)


def test_what_is_missing_is_counted(redis: RedisProcess, start_node: StartNode) -> None:
    node = start_node(redis=redis)
    with client_of(node) as http:
        fill(http)
    node.terminate()
    with Redis.from_url(redis.url) as client:  # another account of that id is in the index already
        from sse_node.redis.keys import Keys, shard_keys
        from sse_node.wire.sharding import shard_of

        keys = shard_keys(Keys(), SHARDS)[shard_of(USERS[0], SHARDS)]
        client.zadd(keys.accounts_of(USERS[0]), {"1": 1})
    ended = copy(redis)
    assert ended.returncode == 1
    assert f"accounts: {len(USERS)} found, {len(USERS) - 1} copied" in ended.stdout.splitlines()
