"""Redis stops, dies, fills up, loses its memory: requests are told, streams stay open."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from redis import Redis

from bench.harness import DURABLE, NodeProcess, RedisProcess
from tests.support.nodes import client_of, read_metrics, wait_until
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration

ANSWERED_WITHIN_S = 2.0
FLOWING_WITHIN_S = 3.0
KILLS = 20


@pytest.fixture
def own_redis() -> Iterator[RedisProcess]:
    """A Redis that a test may do anything to; what it took is on its disk."""
    with RedisProcess(args=DURABLE) as process:
        yield process


@pytest.fixture
def own_node(start_node: StartNode, own_redis: RedisProcess) -> NodeProcess:
    return start_node("--ping-interval", "0.3", redis=own_redis)


def expect_503(answer: httpx.Response) -> None:
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) > 0
    assert "Redis" in answer.json()["detail"]


def publish_until_accepted(http: httpx.Client, user: str, number: int) -> None:
    """Publish as a careful client does: the same key until it is answered 202."""
    event = {"userId": user, "eventType": "tick", "data": {"number": number}}
    key = {"Idempotency-Key": f"{user} {number}"}

    def is_accepted() -> bool:
        return http.post("/events", json=event, headers=key).status_code == 202

    wait_until(is_accepted, "the event is accepted")


def wait_for_number(stream: StreamClient, number: int, timeout_s: float = 10.0) -> float:
    """When the event with this number came."""
    return stream.wait_for(lambda event: event.json.get("number") == number, timeout_s).received_s


def expect_flowing(http: httpx.Client, stream: StreamClient, user: str, since_s: float) -> None:
    """A new event comes within three seconds of Redis' return."""
    publish_until_accepted(http, user, 1)
    assert wait_for_number(stream, 1) - since_s < FLOWING_WITHIN_S


# Stopped: its sockets are open, and silent


def test_stopped_redis_is_told_in_time_and_nothing_is_done_later(
    own_node: NodeProcess, own_redis: RedisProcess, user: str
) -> None:
    account = {"name": "Harbour fund", "balance": 1, "userId": user}
    with client_of(own_node) as http, StreamClient(own_node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        made = http.post("/accounts", json={**account, "userId": f"{user}-before"}).json()
        target = f"/accounts/{made['id']}"
        requests: list[Callable[[], httpx.Response]] = [
            lambda: http.post("/accounts", json=account),
            lambda: http.post("/events", json={"userId": user, "eventType": "t", "data": 1}),
            lambda: http.patch(target, json={"balance": 2}),
            lambda: http.delete(target),
            lambda: http.get("/accounts"),
            lambda: http.get("/snapshots"),
        ]

        def timed(request: Callable[[], httpx.Response]) -> tuple[httpx.Response, float]:
            asked_s = time.monotonic()
            return request(), time.monotonic() - asked_s

        own_redis.suspend()
        with ThreadPoolExecutor(30) as clients:  # more at once than the node has connections
            answers = list(clients.map(timed, 5 * requests))
        wait_until(lambda: http.get("/health/ready").status_code == 503, "the node is not ready")
        assert http.get("/health").json()["redisConnected"] is False
        for _ in range(3):
            stream.wait_for(lambda event: event.name == "ping")
        own_redis.resume()
        returned_s = time.monotonic()
        for answer, took_s in answers:
            expect_503(answer)
            assert took_s < ANSWERED_WITHIN_S
        expect_flowing(http, stream, user, returned_s)
        own_node.wait_ready()
        assert http.get("/accounts", params={"userId": user}).json() == []
        assert http.get(target).json() == made
    assert [event.type for event in stream.published()] == ["tick"]
    assert "sse.reset" not in [event.name for event in stream.events]


def test_retry_after_a_503_creates_one_account(
    own_node: NodeProcess, own_redis: RedisProcess, user: str
) -> None:
    account = {"name": "Once", "balance": 1, "userId": user}
    key = {"Idempotency-Key": user}
    with client_of(own_node) as http:
        own_redis.suspend()
        expect_503(http.post("/accounts", json=account, headers=key))
        own_redis.resume()
        wait_until(
            lambda: http.post("/accounts", json=account, headers=key).status_code == 201,
            "the account is created",
        )
        again = http.post("/accounts", json=account, headers=key).json()
        assert http.get("/accounts", params={"userId": user}).json() == [again]


def test_redis_that_is_silent_for_long_is_connected_anew(
    start_node: StartNode, own_redis: RedisProcess, user: str
) -> None:
    node = start_node("--audit-interval", "0.5", "--ping-interval", "0.3", redis=own_redis)
    with client_of(node) as http, StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        own_redis.suspend()
        node.wait_for_log("subscriber: Redis is away")
        stream.wait_for(lambda event: event.name == "ping")
        own_redis.resume()
        expect_flowing(http, stream, user, time.monotonic())
    assert "sse.reset" not in [event.name for event in stream.events]


# Killed


def test_killed_redis_comes_back_with_what_it_took(
    own_node: NodeProcess, own_redis: RedisProcess, user: str
) -> None:
    account = {"name": "Harbour fund", "balance": 1, "userId": user}
    with client_of(own_node) as http, StreamClient(own_node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        made = http.post("/accounts", json=account).json()
        stream.wait_for_type("snapshots.generated")
        own_redis.kill()
        asked_s = time.monotonic()
        expect_503(http.post("/accounts", json=account))
        expect_503(http.post("/events", json={"userId": user, "eventType": "t", "data": 1}))
        assert time.monotonic() - asked_s < ANSWERED_WITHIN_S
        own_node.wait_for_log("subscriber: Redis is away")
        for _ in range(3):
            stream.wait_for(lambda event: event.name == "ping")
        with StreamClient(own_node.url, f"/events/sse/{user}") as opened_meanwhile:
            own_redis.start()
            expect_flowing(http, stream, user, time.monotonic())
            wait_for_number(opened_meanwhile, 1)
        own_node.wait_ready()
        assert http.get("/accounts", params={"userId": user}).json() == [made]
        assert len(http.get("/snapshots", params={"userId": user}).json()) == 1
        metrics = read_metrics(http)
    assert metrics["sse_node_redis_reconnects_total", "subscriber"] == 1
    assert "sse.reset" not in [event.name for event in stream.events]
    assert own_node.running


def test_redis_that_lost_its_memory_is_told_to_every_stream(
    start_node: StartNode, user: str
) -> None:
    with RedisProcess() as redis:
        node = start_node(redis=redis)
        with client_of(node) as http, StreamClient(node.url, f"/events/sse/{user}") as stream:
            stream.wait_open()
            publish_until_accepted(http, user, 0)
            before = stream.wait_for_type("tick").id
            redis.kill()
            redis.start()
            returned_s = time.monotonic()
            reset = stream.wait_for(lambda event: event.name == "sse.reset")
            assert reset.json == {"reason": "rollback"}
            assert reset.received_s - returned_s < FLOWING_WITHIN_S
            expect_flowing(http, stream, user, returned_s)
            target, last_seen = f"/events/sse/{user}", {"Last-Event-ID": before}
            with StreamClient(node.url, target, last_seen) as resumed:
                opening = resumed.wait_open()
            assert resumed.events[0].name == "sse.reset"
            assert opening.json["resumed"] is False


# Alive, and of no use


def test_full_redis_takes_nothing_and_nothing_is_told(
    own_node: NodeProcess, own_redis: RedisProcess, user: str
) -> None:
    event = {"userId": user, "eventType": "never", "data": 1}
    with (
        client_of(own_node) as http,
        StreamClient(own_node.url, f"/events/sse/{user}") as stream,
        Redis.from_url(own_redis.url) as administrator,
    ):
        stream.wait_open()
        administrator.config_set("maxmemory", "1")
        expect_503(http.post("/events", json=event))
        expect_503(http.post("/accounts", json={"name": "n", "balance": 1, "userId": user}))
        wait_until(lambda: http.get("/health/ready").status_code == 503, "the node is not ready")
        administrator.config_set("maxmemory", "0")
        expect_flowing(http, stream, user, time.monotonic())
        own_node.wait_ready()
        assert http.get("/accounts", params={"userId": user}).json() == []
    assert [event.type for event in stream.published()] == ["tick"]


def test_replica_takes_nothing_and_nothing_is_told(
    own_node: NodeProcess, own_redis: RedisProcess, user: str
) -> None:
    event = {"userId": user, "eventType": "never", "data": 1}
    with (
        client_of(own_node) as http,
        StreamClient(own_node.url, f"/events/sse/{user}") as stream,
        Redis.from_url(own_redis.url) as administrator,
    ):
        stream.wait_open()
        administrator.execute_command("REPLICAOF", "127.0.0.1", "1")
        expect_503(http.post("/events", json=event))
        wait_until(lambda: http.get("/health/ready").status_code == 503, "the node is not ready")
        administrator.execute_command("REPLICAOF", "NO", "ONE")
        expect_flowing(http, stream, user, time.monotonic())
    assert [event.type for event in stream.published()] == ["tick"]


# Killed again and again, under load


class Publisher:
    """A careful client in the background: publishes numbers in order, each until it is accepted."""

    def __init__(self, node: NodeProcess, user: str) -> None:
        self._node = node
        self._user = user
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.accepted: list[tuple[int, str]] = []  # number, id

    def __enter__(self) -> Publisher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        with client_of(self._node) as http:
            while not self._stop.is_set():
                event = {"userId": self._user, "eventType": "tick", "data": {"number": number}}
                key = {"Idempotency-Key": f"{self._user} {number}"}
                answer = http.post("/events", json=event, headers=key)
                if answer.status_code == 202:
                    self.accepted.append((number, answer.json()["ids"][0]))
                    number += 1
                else:
                    expect_503(answer)
                self._stop.wait(0.004)  # the load: 200 a second or so, asked as often while away


def wait_for_more(stream: StreamClient, count: int) -> float:
    """Wait for so many further events; when the first of them came."""
    times_s = [stream.wait_for_type("tick").received_s for _ in range(count)]
    return times_s[0]


def expect_complete(stream: StreamClient, publisher: Publisher) -> None:
    """The stream held what was accepted: all of it, once, in order, with the ids answered."""
    last_number, _ = publisher.accepted[-1]
    if last_number not in [event.json["number"] for event in stream.published()]:
        wait_for_number(stream, last_number)
    received = [(event.json["number"], event.id) for event in stream.published()]
    assert received == publisher.accepted
    assert "sse.reset" not in [event.name for event in stream.events]


def test_redis_killed_at_random_under_load(
    own_node: NodeProcess, own_redis: RedisProcess, user: str
) -> None:
    choice = random.Random(20)
    pid = own_node.pid
    with StreamClient(own_node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        with Publisher(own_node, user) as publisher:
            for _ in range(KILLS):
                wait_for_more(stream, choice.randrange(1, 40))
                own_redis.kill()
                newest = len(publisher.accepted)
                own_redis.start()
                returned_s = time.monotonic()
                first_s = wait_for_number(stream, newest + 1)
                assert first_s - returned_s < FLOWING_WITHIN_S
        expect_complete(stream, publisher)
    assert own_node.running
    assert own_node.pid == pid
    assert not [line for line in own_node.log if "Traceback" in line]


def test_private_valkey_killed_at_random_under_load(user: str) -> None:
    choice = random.Random(21)
    with NodeProcess("--server-id", "node-1") as node:
        node.wait_ready()
        socket_path = node.wait_for_log(r"private Redis: .* serves on unix://(\S+)")[1]
        with StreamClient(node.url, f"/events/sse/{user}") as stream:
            stream.wait_open()
            with Publisher(node, user) as publisher:
                for _ in range(KILLS):
                    wait_for_more(stream, choice.randrange(1, 40))
                    log_length = len(node.log)
                    os.kill(server_at(socket_path), signal.SIGKILL)
                    node.wait_for_log("serves again", since=log_length)
                    returned_s = time.monotonic()
                    first_s = wait_for_number(stream, len(publisher.accepted) + 1)
                    assert first_s - returned_s < FLOWING_WITHIN_S
            expect_complete(stream, publisher)
        assert node.running
        assert not [line for line in node.log if "Traceback" in line]


def server_at(socket_path: str) -> int:
    with Redis(unix_socket_path=socket_path) as client:
        info: dict[str, Any] = client.info("server")
        return int(info["process_id"])


def test_links_cut_at_random_under_load(
    own_node: NodeProcess, own_redis: RedisProcess, user: str
) -> None:
    choice = random.Random(22)
    with (
        StreamClient(own_node.url, f"/events/sse/{user}") as stream,
        Redis.from_url(own_redis.url) as administrator,
    ):
        stream.wait_open()
        with Publisher(own_node, user) as publisher:
            for _ in range(KILLS):
                wait_for_more(stream, choice.randrange(1, 20))
                administrator.client_kill_filter(_type=choice.choice(["pubsub", "normal"]))
        expect_complete(stream, publisher)
