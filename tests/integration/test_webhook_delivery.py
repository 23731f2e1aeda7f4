"""Webhooks against receivers of every kind: delivered as promised, or refused with the reason."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from redis import Redis
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from bench.harness import (
    ROOT,
    NodeProcess,
    RedisProcess,
    WebhooksProcess,
    environment_without_settings,
)
from bench.workloads.webhooks import dead_host
from tests.support.certificates import Certificates
from tests.support.nodes import client_of, wait_until
from tests.support.receiver import Receiver, answer, refusing_port
from tests.support.webhook_stack import FLAGS, Stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


pytestmark = pytest.mark.integration

# Eight attempts within about 4 s instead of a day.
RETRY_S = 4


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    retry = ("--webhook-retry-time", str(RETRY_S))
    with (
        RedisProcess() as redis,
        NodeProcess("--redis-url", redis.url, *FLAGS) as node,
        WebhooksProcess("--redis-url", redis.url, *FLAGS, *retry) as process,
        client_of(node) as http,
    ):
        node.wait_ready()
        process.wait_ready()
        yield Stack(redis.url, http, process)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


# The process


def test_a_port_in_use_stops_the_start_with_one_line(redis: RedisProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [sys.executable, "-m", "sse_node", "webhooks", "--redis-url", redis.url,
             "--webhook-port", str(port)],
            cwd=ROOT, env=environment_without_settings(), capture_output=True, text=True,
            timeout=30, check=False,
        )  # fmt: skip
    assert ended.returncode == 3
    (line,) = ended.stderr.splitlines()
    assert "--webhook-port" in line
    assert "in use" in line


# What is delivered


def test_an_event_is_delivered_signed(stack: Stack, receiver: Receiver, user: str) -> None:
    webhook = stack.create(receiver.url("/hook?a=b"), user, "order.paid")
    (event_id,) = stack.publish(user, {"order": 7, "big": 2**60}, event_type="order.paid")
    (request,) = receiver.wait_for("/hook?a=b", 1)
    assert request.headers["webhook-id"] == event_id
    assert request.headers["content-type"] == "application/json"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    verified = Webhook(webhook["secret"]).verify(request.content, request.headers)
    assert verified == {
        "type": "order.paid",
        "timestamp": verified["timestamp"],
        "userId": user,
        "data": {"order": 7, "big": 2**60},
    }
    (attempt,) = stack.attempts(webhook, 1)
    assert attempt["status"] == 204
    assert attempt["error"] is None
    assert attempt["id"] == event_id
    assert attempt["attempt"] == 1
    assert 0 <= attempt["durationMs"] < 10_000
    with pytest.raises(WebhookVerificationError):
        Webhook(webhook["secret"]).verify(request.content + b" ", request.headers)


def test_the_npm_library_verifies(stack: Stack, receiver: Receiver, user: str) -> None:
    webhook = stack.create(receiver.url("/npm"), user)
    stack.publish(user, {"text": "Åse & 日本 \u2028"})
    (request,) = receiver.wait_for("/npm", 1)
    script = ROOT / "tests/integration/verify_webhook.mjs"
    for content, accepted in ((request.content, True), (request.content + b" ", False)):
        asked = {
            "secret": webhook["secret"],
            "content": content.decode(),
            "headers": request.headers,
        }
        found = subprocess.run(
            ["node", script], input=json.dumps(asked).encode(), capture_output=True, check=False
        )
        assert (found.returncode == 0) is accepted, found.stderr
    assert json.loads(request.content)["data"] == {"text": "Åse & 日本 \u2028"}


def test_both_secrets_sign_while_one_is_replaced(
    stack: Stack, receiver: Receiver, user: str
) -> None:
    webhook = stack.create(receiver.url("/rotated"), user)
    path = f"/webhooks/{webhook['id']}"
    rotated = stack.http.patch(path, json={"rotateSecret": True}).json()["secret"]
    stack.publish(user, 1)
    (request,) = receiver.wait_for("/rotated", 1)
    for secret in (webhook["secret"], rotated):
        Webhook(secret).verify(request.content, request.headers)
    assert len(request.headers["webhook-signature"].split()) == 2
    ended = {"old_until": "1"}
    with Redis.from_url(stack.redis_url) as redis:
        redis.hset(f"sse:webhook:{webhook['id']}", mapping=ended)
    stack.publish(user, 2)
    request = receiver.wait_for("/rotated", 2)[1]
    Webhook(rotated).verify(request.content, request.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(webhook["secret"]).verify(request.content, request.headers)


def test_only_what_was_asked_for_is_delivered_in_order(
    stack: Stack, receiver: Receiver, user: str
) -> None:
    stack.publish(user, "before")
    stack.create(receiver.url("/some"), user, "t")
    stack.create(receiver.url("/all"), user, "*")
    stack.publish(f"{user}-other", "other")
    stack.publish(user, "u", event_type="u")
    channel = {"channel": "system-events", "eventType": "t", "data": "channel"}
    stack.http.post("/events", json=channel).raise_for_status()
    stack.publish(user, *range(200))
    stack.publish(user, "end")
    everything = receiver.wait_for("/all", 202)
    assert [request.data for request in everything] == ["u", *range(200), "end"]
    some = receiver.wait_for("/some", 201)
    assert [request.data for request in some] == [*range(200), "end"]


def test_a_test_message(stack: Stack, receiver: Receiver, user: str) -> None:
    webhook = stack.create(receiver.url("/test"), user)
    queued = stack.http.post(f"/webhooks/{webhook['id']}/test").json()
    (request,) = receiver.wait_for("/test", 1)
    assert request.headers["webhook-id"] == queued["id"]
    assert request.json["type"] == "webhook.test"
    Webhook(webhook["secret"]).verify(request.content, request.headers)


# Receivers that fail


def test_what_fails_is_sent_again_before_what_follows(
    stack: Stack, receiver: Receiver, user: str
) -> None:
    receiver.answers["/500"] = lambda received: answer(
        "500 No" if received.number < 3 else "200 OK"
    )
    webhook = stack.create(receiver.url("/500"), user)
    ids = stack.publish(user, 1, 2)
    requests = receiver.wait_for("/500", 5)
    assert [request.data for request in requests] == [1, 1, 1, 1, 2]
    assert [request.headers["webhook-id"] for request in requests] == [ids[0]] * 4 + [ids[1]]
    attempts = stack.attempts(webhook, 5)
    assert [attempt["attempt"] for attempt in attempts] == [1, 2, 3, 4, 1]
    assert [attempt["status"] for attempt in attempts] == [500, 500, 500, 200, 200]
    assert attempts[0]["error"] == "the receiver answered 500"


def test_eight_attempts_then_a_dead_letter_that_is_replayed(
    stack: Stack, receiver: Receiver, user: str
) -> None:
    receiver.answers["/dead"] = lambda received: answer(
        "500 No" if received.data == "bad" and received.number < 10 else "200 OK"
    )
    webhook = stack.create(receiver.url("/dead"), user)
    (bad, _) = stack.publish(user, "bad", "good")
    requests = receiver.wait_for("/dead", 9, 20)
    assert [request.data for request in requests] == ["bad"] * 8 + ["good"]
    spread_s = requests[7].at - requests[0].at
    assert 0.7 * RETRY_S < spread_s < 1.6 * RETRY_S
    (letter,) = stack.show(webhook, "/dead-letters")
    assert letter["attempts"] == 8
    assert letter["error"] == "the receiver answered 500"
    assert letter["message"] == {"id": bad, "eventType": "t", "data": "bad"}
    assert stack.show(webhook)["deadLetters"] == 1
    replayed = stack.http.post(f"/webhooks/{webhook['id']}/dead-letters/replay").json()
    assert replayed == {"replayed": 1}
    requests = receiver.wait_for("/dead", 11)
    assert requests[-1].headers["webhook-id"] == bad
    wait_until(lambda: stack.show(webhook)["queued"] == 0, "it is delivered")
    assert stack.show(webhook)["deadLetters"] == 0


def test_gone_unsubscribes(stack: Stack, receiver: Receiver, user: str) -> None:
    receiver.answers["/gone"] = lambda received: answer("410 Gone")
    webhook = stack.create(receiver.url("/gone"), user)
    stack.create(receiver.url("/other"), user)
    stack.publish(user, 1, 2)
    wait_until(lambda: not stack.show(webhook)["enabled"], "it is disabled")
    stack.publish(user, 3)
    receiver.wait_for_data("/other", 3)
    shown = stack.show(webhook)
    assert (shown["disabledReason"], shown["queued"]) == ("gone", 0)
    receiver.answers.clear()
    stack.http.patch(f"/webhooks/{webhook['id']}", json={"enabled": True}).raise_for_status()
    stack.publish(user, 4)
    assert [request.data for request in receiver.wait_for("/gone", 2)] == [1, 4]


@pytest.mark.parametrize("status", ["429 Slow", "503 Later"])
def test_retry_after_is_honoured(stack: Stack, receiver: Receiver, user: str, status: str) -> None:
    receiver.answers["/later"] = lambda received: (
        answer("200 OK") if received.number else answer(status, "Retry-After: 2")
    )
    stack.create(receiver.url("/later"), user)
    stack.publish(user, 1)
    first, second = receiver.wait_for("/later", 2)
    assert second.at - first.at >= 1.9


def test_redirects_are_not_followed(stack: Stack, receiver: Receiver, user: str) -> None:
    receiver.answers["/moved"] = lambda received: answer(
        "307 Moved", f"Location: {receiver.url('/elsewhere')}"
    )
    webhook = stack.create(receiver.url("/moved"), user)
    stack.publish(user, 1)
    attempts = stack.attempts(webhook, 2)
    assert attempts[0]["error"] == "the receiver answered 307; redirects are not followed"
    assert receiver.at("/elsewhere") == []
    stack.http.delete(f"/webhooks/{webhook['id']}").raise_for_status()


@pytest.mark.parametrize(
    ("answered", "error"),
    [
        (None, "closed before the end of the answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nx", "closed before"),
        (b"not HTTP at all\r\nConnection: close\r\n\r\n", ""),
    ],
    ids=["at once", "mid-answer", "no HTTP"],
)
def test_a_connection_that_is_closed_too_early(
    stack: Stack, receiver: Receiver, user: str, answered: bytes | None, error: str
) -> None:
    receiver.answers["/cut"] = lambda received: (
        answered if received.number < 3 else answer("200 OK")
    )
    webhook = stack.create(receiver.url("/cut"), user)
    stack.publish(user, 1)
    wait_until(
        lambda: any(each["status"] == 200 for each in stack.show(webhook, "/deliveries")),
        "it is delivered",
    )
    attempts = stack.attempts(webhook, 2)
    assert error in attempts[0]["error"]
    assert attempts[-1]["status"] == 200


def test_an_endless_answer_is_not_read_on(stack: Stack, receiver: Receiver, user: str) -> None:
    receiver.is_endless.add("/endless")
    receiver.answers["/endless"] = lambda received: b"HTTP/1.1 200 OK\r\n\r\n"
    webhook = stack.create(receiver.url("/endless"), user)
    stack.publish(user, 1)
    (attempt,) = stack.attempts(webhook, 1)
    assert attempt["status"] == 200
    assert attempt["durationMs"] < 5000
    assert receiver.sent_bytes < 16 * 1024 * 1024  # the rest is in the kernel's buffers


def test_a_slow_receiver_has_ten_seconds(stack: Stack, receiver: Receiver, user: str) -> None:
    released = threading.Event()

    def wait(received: object) -> None:
        released.wait(15)

    receiver.answers["/slow"] = wait
    webhook = stack.create(receiver.url("/slow"), user)
    other = stack.create(receiver.url("/quick"), user)
    stack.publish(user, 1)
    receiver.wait_for("/slow", 1)
    assert receiver.wait_for("/quick", 1, 2), "another webhook does not wait"
    assert stack.attempts(other, 1)[0]["status"] == 204
    (attempt, *_) = stack.attempts(webhook, 1)
    released.set()
    assert attempt["error"] == "no complete answer within 10 s"
    assert 9_900 <= attempt["durationMs"] < 11_500
    stack.http.delete(f"/webhooks/{webhook['id']}").raise_for_status()


def test_a_receiver_that_is_down(stack: Stack, receiver: Receiver, user: str) -> None:
    bound, port = refusing_port()
    with bound:
        webhook = stack.create(f"http://127.0.0.1:{port}/", user)
        other = stack.create(receiver.url("/up"), user)
        begun = time.monotonic()
        stack.publish(user, 1)
        assert receiver.wait_for("/up", 1)[0].at - begun < 2
        attempts = stack.attempts(webhook, 5)
        assert {attempt["error"] for attempt in attempts} == {"Connection refused"}
        assert stack.show(other)["queued"] == 0
        wait_until(lambda: stack.process.metric("sse_node_webhook_broken_hosts") > 0, "a break")
        stack.http.delete(f"/webhooks/{webhook['id']}").raise_for_status()


# Places that are forbidden


def test_a_forbidden_place_is_refused_at_delivery(receiver: Receiver, tmp_path: Path) -> None:
    """The URL was registered where that was allowed, or the name leads elsewhere by now."""
    port = receiver.port
    hosts = ("127.0.0.1", "localhost", "2130706433", "127.1", "0x7f.1", "[::ffff:127.0.0.1]")
    urls = [f"http://{host}:{port}/" for host in hosts]
    anywhere = "127.0.0.0/8,::ffff:0:0/96,localhost,2130706433,127.1,0x7f.1"
    with (
        RedisProcess() as redis,
        NodeProcess("--redis-url", redis.url, "--webhook-allow-http", "yes",
                    "--webhook-allow-hosts", anywhere) as node,
        WebhooksProcess("--redis-url", redis.url, "--webhook-allow-http", "yes",
                        "--webhook-ports", str(receiver.port)) as process,
        client_of(node) as http,
    ):  # fmt: skip
        node.wait_ready()
        stack = Stack(redis.url, http, process)
        webhooks = [stack.create(url, "ann") for url in urls]
        stack.publish("ann", 1)
        for webhook in webhooks:
            (attempt, *_) = stack.attempts(webhook, 1)
            assert "which is not public" in attempt["error"]
            assert attempt["status"] is None
        assert receiver.requests == []
        assert process.metric("sse_node_webhook_refused_total") >= len(urls)


def test_certificates_are_checked_and_names_are_sent(tmp_path: Path, user: str) -> None:
    certificates = Certificates(tmp_path)
    certificates.make_authority("ca")
    certificates.make_authority("other")
    certificates.sign("good", "ca")
    certificates.sign("old", "ca", is_expired=True)
    certificates.sign("strange", "other")
    flags = (*FLAGS[2:], "--webhook-retry-time", "4")
    with RedisProcess() as redis, NodeProcess("--redis-url", redis.url, *FLAGS[2:]) as node:
        trusted = {"SSL_CERT_FILE": certificates.path("ca.crt")}
        with (
            WebhooksProcess("--redis-url", redis.url, *flags, env=trusted) as process,
            client_of(node) as http,
        ):
            node.wait_ready()
            stack = Stack(redis.url, http, process)
            for name in ("good", "old", "strange"):
                pair = (certificates.path(f"{name}.crt"), certificates.path(f"{name}.key"))
                with Receiver(pair) as receiver:
                    webhook = stack.create(receiver.url(), user)
                    stack.publish(user, 1)
                    (attempt, *_) = stack.attempts(webhook, 1)
                    if name == "good":
                        assert attempt["status"] == 204
                    else:
                        assert attempt["error"].startswith("its certificate is not valid")
                        assert receiver.requests == []
                    http.delete(f"/webhooks/{webhook['id']}").raise_for_status()


# Crashes, gaps, several processes


@dataclass
class Publishing:
    """Publishes in a thread, a few events at a time."""

    stack: Stack
    users: list[str]
    count: int
    sent: dict[str, list[int]] = field(default_factory=dict)

    def run(self) -> None:
        for number in range(self.count):
            for user in self.users:
                self.stack.publish(user, number)
                self.sent.setdefault(user, []).append(number)


def test_new_hosts_that_take_no_connection_leave_room_for_others(
    stack: Stack, receiver: Receiver, user: str
) -> None:
    stack.create(receiver.url("/works"), user)
    stack.publish(user, -1)
    receiver.wait_for("/works", 1)
    with dead_host("0.0.0.0") as port:
        dead = [f"dead-{number}" for number in range(300)]
        for number, name in enumerate(dead):
            stack.create(f"http://127.1.{number // 250}.{number % 250 + 1}:{port}/", name)
        stack.publish_to_all(dead, 0)
        in_flight = "sse_node_webhook_in_flight"
        wait_until(lambda: stack.process.metric(in_flight) >= 100, "many wait for a connection")
        for number in range(5):
            begun_s = time.monotonic()
            stack.publish(user, number)
            receiver.wait_for("/works", number + 2)
            assert time.monotonic() - begun_s < 2, "less than an attempt to connect takes"
        for name in dead:
            (webhook,) = stack.http.get(f"/webhooks?userId={name}").json()
            stack.http.delete(f"/webhooks/{webhook['id']}").raise_for_status()


def test_processes_that_are_killed_lose_nothing(receiver: Receiver) -> None:
    users = [f"user-{number}" for number in range(5)]
    with (
        RedisProcess() as redis,
        NodeProcess("--redis-url", redis.url, *FLAGS) as node,
        client_of(node) as http,
        WebhooksProcess("--redis-url", redis.url, *FLAGS, "--webhook-retry-time", "60") as first,
        WebhooksProcess("--redis-url", redis.url, *FLAGS, "--webhook-retry-time", "60") as second,
    ):
        node.wait_ready()
        stack = Stack(redis.url, http, first)
        for user in users:
            stack.create(receiver.url(f"/{user}"), user)
        publishing = Publishing(stack, users, 150)
        thread = threading.Thread(target=publishing.run)
        thread.start()
        chance = random.Random(7)
        for number in range(4):
            receiver.wait_for_any((number + 1) * 100)
            victim = chance.choice([first, second])
            victim.kill()
            victim.start()
        thread.join()
        for user in users:
            receiver.wait_for_data(f"/{user}", 149, 60)
            numbers = [request.data for request in receiver.at(f"/{user}")]
            assert list(dict.fromkeys(numbers)) == list(range(150)), "each, first in order"
            repeats = len(numbers) - 150
            assert repeats <= 4, "at most what was in flight at each end"


def test_a_stop_finishes_what_is_in_flight(receiver: Receiver) -> None:
    released = threading.Event()

    def hold(received: object) -> bytes:
        released.wait(5)
        return answer("200 OK")

    receiver.answers["/held"] = hold
    with (
        RedisProcess() as redis,
        NodeProcess("--redis-url", redis.url, *FLAGS) as node,
        client_of(node) as http,
        WebhooksProcess("--redis-url", redis.url, *FLAGS) as process,
    ):
        node.wait_ready()
        stack = Stack(redis.url, http, process)
        webhook = stack.create(receiver.url("/held"), "ann")
        stack.publish("ann", 1, 2)
        receiver.wait_for("/held", 1)
        process.send_signal(process.stop_signal)
        process.wait_for_log("finishing 1 deliveries")
        assert process.get("/health/ready").status_code == 503
        assert process.get("/health/live").status_code == 200
        released.set()
        assert process.wait(10) == 0
        assert len(receiver.at("/held")) == 1
        assert [each["id"] for each in stack.show(webhook, "/deliveries")] == [
            receiver.at("/held")[0].headers["webhook-id"]
        ]
        assert stack.show(webhook)["queued"] == 1
        process.start()
        assert [request.data for request in receiver.wait_for("/held", 2)] == [1, 2]


def test_what_finds_no_room_is_a_gap_that_is_told(receiver: Receiver) -> None:
    small = ("--webhook-queue", "10", "--webhook-retry-time", "60")
    down = threading.Event()
    receiver.answers["/full"] = lambda received: answer("200 OK" if down.is_set() else "500 No")
    with (
        RedisProcess() as redis,
        NodeProcess("--redis-url", redis.url, *FLAGS) as node,
        client_of(node) as http,
        WebhooksProcess("--redis-url", redis.url, *FLAGS, *small) as process,
    ):
        node.wait_ready()
        stack = Stack(redis.url, http, process)
        webhook = stack.create(receiver.url("/full"), "ann")
        ids = stack.publish("ann", *range(30))
        wait_until(lambda: stack.show(webhook)["missedEvents"] == 20, "it is full")
        gap = {"from": ids[10], "until": ids[29], "count": 20}
        assert stack.show(webhook)["openGap"] == gap
        down.set()
        http.post(f"/webhooks/{webhook['id']}/test")  # refused, it is full
        http.patch(f"/webhooks/{webhook['id']}", json={"enabled": True}).raise_for_status()
        told = receiver.wait_for_type("/full", "webhook.gap")
        assert told.data == gap
        stack.publish("ann", "after")
        receiver.wait_for_data("/full", "after")
        numbers = [each.data for each in receiver.at("/full") if each.json["type"] == "t"]
        assert list(dict.fromkeys(numbers)) == [*range(10), "after"]


def test_what_the_log_loses_before_it_is_read_is_a_gap_that_is_told(receiver: Receiver) -> None:
    with (
        RedisProcess() as redis,
        NodeProcess("--redis-url", redis.url, *FLAGS) as node,
        client_of(node) as http,
        WebhooksProcess("--redis-url", redis.url, *FLAGS) as process,
    ):
        node.wait_ready()
        stack = Stack(redis.url, http, process)
        webhook = stack.create(receiver.url("/lost"), "ann")
        stack.publish("ann", "first")
        stack.attempts(webhook, 1)  # settled: nobody waits for the end of a claim
        process.kill()
        ids = stack.publish("ann", *range(5), "last")
        with Redis.from_url(redis.url) as client:
            client.xtrim("sse:log", maxlen=1, approximate=False)
        process.start()
        requests = receiver.wait_for("/lost", 3)
        first = requests[0].headers["webhook-id"]
        assert requests[1].json["type"] == "webhook.gap"
        assert requests[1].data == {"from": first, "until": ids[-1], "count": None}
        assert requests[2].data == "last"
        process.wait_for_log(f"the log has lost events from {first} to {ids[-1]}")
        assert process.metric("sse_node_webhook_log_gaps_total") == 1
