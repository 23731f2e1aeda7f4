"""The bridge from Kafka: every record at its stream once, in the order of its partition."""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer
from redis import Redis

from bench.harness import DURABLE, BridgeProcess, KafkaProcess, RedisProcess
from tests.support.bridged import WAIT_S, messages, numbers_of, wait_for_count
from tests.support.kafka import KafkaClient
from tests.support.nodes import wait_until
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.harness import NodeProcess

pytestmark = pytest.mark.integration

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def kafka() -> Iterator[KafkaProcess]:
    """A broker for all tests of this module that do not stop it."""
    with KafkaProcess() as process:
        yield process


@pytest.fixture(scope="module")
def client(kafka: KafkaProcess) -> KafkaClient:
    """Write to the broker."""
    return KafkaClient(kafka.brokers)


@pytest.fixture
def topic(client: KafkaClient) -> str:
    """A topic of the test's own, with one partition; its group has the same name."""
    topic = f"orders-{next(_numbers)}"
    client.create(topic)
    return topic


@pytest.fixture
def start_bridge(
    kafka: KafkaProcess, redis: RedisProcess, topic: str
) -> Iterator[Callable[..., BridgeProcess]]:
    """Start bridges of the test's topic."""
    with contextlib.ExitStack() as bridges:

        def start(*flags: str, redis_url: str = redis.url) -> BridgeProcess:
            own = ("--brokers", kafka.brokers, "--topic", topic, "--group", topic)
            process = BridgeProcess("kafka", *own, "--redis-url", redis_url, *flags)
            return bridges.enter_context(process)

        yield start


def test_each_form_reaches_its_stream(
    node: NodeProcess,
    client: KafkaClient,
    topic: str,
    user: str,
    start_bridge: Callable[..., BridgeProcess],
) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "/orders", "type": "order.paid"}
    binary = {f"ce_{name}": value for name, value in {**event, "subject": user}.items()}
    with StreamClient(node.url, f"/events/sse/{user}?channels=analytics-events") as stream:
        stream.wait_open()
        client.send(topic, messages(user, range(1)))
        client.send(topic, [{**event, "subject": user, "data": {"number": 1}}])
        client.send(topic, [{"number": 2}], headers=list(binary.items()))
        client.send(topic, [{**event, "channel": "analytics-events", "data": {"number": 3}}])
        bridge = start_bridge()
        stream.wait_for(lambda event: event.json.get("number") == 3)
        assert [event.json["number"] for event in stream.published()] == [0, 1, 2, 3]
        bridge.wait_ready(WAIT_S)
        assert bridge.get("/health").json()["published"] == 4
        wait_until(lambda: client.committed(topic, topic) == 4, "the offset is committed", WAIT_S)


def test_any_json_with_places(
    node: NodeProcess,
    client: KafkaClient,
    topic: str,
    user: str,
    start_bridge: Callable[..., BridgeProcess],
) -> None:
    start_bridge("--user-from", "$.customer.id", "--type-from", "header:event-type")
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        value = {"customer": {"id": user}, "total": 7}
        client.send(topic, [value], headers=[("event-type", "order.paid")])
        event = stream.wait_for_type("order.paid")
        assert event.json == {"eventType": "order.paid", **value}


def test_nothing_twice_when_a_bridge_is_killed_before_it_commits(
    redis: RedisProcess,
    client: KafkaClient,
    topic: str,
    user: str,
    tmp_path: Path,
    start_bridge: Callable[..., BridgeProcess],
) -> None:
    # It commits once in ten minutes, so what it has published is delivered again.
    properties = ("auto.commit.interval.ms=600000", "session.timeout.ms=2000")
    (tmp_path / "kafka").write_text("\n".join((*properties, "heartbeat.interval.ms=500")))
    bridge = start_bridge("--kafka-config", str(tmp_path / "kafka"))
    client.send(topic, messages(user, range(500)))
    wait_for_count(redis.url, user, 500)
    bridge.kill()
    assert client.committed(topic, topic) < 0
    # The marks of ten minutes play no part: a bridge may be down for as long as it likes.
    with Redis.from_url(redis.url) as commands:
        marks: Any = list(commands.scan_iter("sse:idempotency:*"))
        assert not marks or commands.delete(*marks)
    client.send(topic, messages(user, range(500, 600)))
    again = start_bridge()
    wait_for_count(redis.url, user, 600)
    assert numbers_of(redis.url, user) == list(range(600))
    assert again.metric("sse_node_bridge_repeated_total") == 500


def test_a_group_is_shared_and_a_leaving_member_loses_nothing(
    redis: RedisProcess,
    client: KafkaClient,
    user: str,
    kafka: KafkaProcess,
) -> None:
    topic = f"shared-{user}"
    client.create(topic, partitions=4)
    flags = ("--brokers", kafka.brokers, "--topic", topic, "--group", topic)
    first = BridgeProcess("kafka", *flags, "--redis-url", redis.url)
    second = BridgeProcess("kafka", *flags, "--redis-url", redis.url)
    with first, second:
        second.wait_for_log("assigned: shared", WAIT_S)
        for begin in range(0, 2000, 500):
            for partition in range(4):
                own = messages(f"{user}-{partition}", range(begin, begin + 500))
                client.send(topic, own, partition=partition)
            if begin == 500:
                assert second.terminate(WAIT_S) == 0
            if begin == 1000:
                second.start()
        for partition in range(4):
            wait_for_count(redis.url, f"{user}-{partition}", 2000)
            assert numbers_of(redis.url, f"{user}-{partition}") == list(range(2000))
        assert first.terminate(WAIT_S) == 0
        assert second.terminate(WAIT_S) == 0
    assert sum(client.committed(topic, topic, partition) for partition in range(4)) == 8000


def test_bad_records_go_to_a_topic_and_stop_nothing(
    redis: RedisProcess,
    client: KafkaClient,
    topic: str,
    user: str,
    start_bridge: Callable[..., BridgeProcess],
) -> None:
    client.create(f"{topic}.dead")
    good, better = messages(user, range(2))
    client.send(topic, [good, b"nope", None, {**good, "eventType": "ping"}, better], key=b"k")
    bridge = start_bridge("--dead-letter", f"{topic}.dead")
    wait_for_count(redis.url, user, 2)
    letters = client.read(f"{topic}.dead", 3)
    headers = [{name: value.decode() for name, value in each.headers()} for each in letters]
    assert [each["sse-node-reason"] for each in headers] == ["not-json", "bad-field", "bad-field"]
    assert [each["sse-node-where"] for each in headers] == [
        f"{topic} [0] @ {offset}" for offset in (1, 2, 3)
    ]
    assert [(each.key(), each.value()) for each in letters[:2]] == [(b"k", b"nope"), (b"k", None)]
    metric = "sse_node_bridge_dead_letters_total"
    wait_until(lambda: bridge.metric(metric) == 3, "three dead letters", WAIT_S)
    assert bridge.metric(metric, reason="not-json") == 1


def test_bad_records_go_to_a_file(
    redis: RedisProcess,
    client: KafkaClient,
    topic: str,
    user: str,
    tmp_path: Path,
    start_bridge: Callable[..., BridgeProcess],
) -> None:
    client.send(topic, [b"\xff", *messages(user, range(1))], headers=[("a", b"b")])
    start_bridge("--dead-letter", str(tmp_path / "dead.jsonl"))
    wait_for_count(redis.url, user, 1)
    letter = json.loads((tmp_path / "dead.jsonl").read_text())
    assert letter["where"] == f"{topic} [0] @ 0"
    assert letter["headers"] == {"a": "b"}
    assert letter["value"] == {"base64": "/w=="}


def test_a_bad_record_may_stop_the_bridge(
    redis: RedisProcess,
    client: KafkaClient,
    topic: str,
    user: str,
    start_bridge: Callable[..., BridgeProcess],
) -> None:
    bridge = start_bridge("--on-bad", "stop")
    client.send(topic, [*messages(user, range(3)), b"nope", *messages(user, range(3, 4))])
    assert bridge.wait(WAIT_S) == 1
    assert f"stopping at a bad record: {topic} [0] @ 3: not-json" in "".join(bridge.log)
    assert numbers_of(redis.url, user) == [0, 1, 2]
    assert client.committed(topic, topic) == 3


def test_it_pauses_while_redis_is_away_and_stays_in_its_group(
    client: KafkaClient,
    topic: str,
    user: str,
    tmp_path: Path,
    start_bridge: Callable[..., BridgeProcess],
) -> None:
    with RedisProcess(args=DURABLE, directory=tmp_path) as own:
        bridge = start_bridge(redis_url=own.url)
        client.send(topic, messages(user, range(100)))
        wait_for_count(own.url, user, 100)
        own.stop()
        client.send(topic, messages(user, range(100, 300)))
        bridge.wait_for_log("waiting: Redis is away", WAIT_S)
        assert bridge.get("/health/ready").status_code == 503
        assert "Redis is away" in bridge.get("/health/ready").json()["detail"]
        assert bridge.get("/health/live").status_code == 200
        assert bridge.metric("sse_node_bridge_paused") == 1
        client.send(topic, messages(user, range(300, 400)))
        wait_until(lambda: bridge.metric("sse_node_bridge_lag") == 300, "the lag", WAIT_S)
        assert client.members(topic) == 1
        own.start()
        wait_for_count(own.url, user, 400)
        assert numbers_of(own.url, user) == list(range(400))
        wait_until(lambda: bridge.metric("sse_node_bridge_lag") == 0, "no lag", WAIT_S)
        assert "revoked" not in "".join(bridge.log)
        wait_until(lambda: bridge.get("/health/ready").status_code == 200, "ready again", WAIT_S)
        assert bridge.metric("sse_node_bridge_redis_up") == 1


def test_aborted_transactions_are_not_published(
    redis: RedisProcess,
    kafka: KafkaProcess,
    topic: str,
    user: str,
    start_bridge: Callable[..., BridgeProcess],
) -> None:
    producer = Producer({"bootstrap.servers": kafka.brokers, "transactional.id": topic})
    producer.init_transactions(20)
    for numbers, is_committed in ((range(1), True), (range(5, 8), False), (range(1, 3), True)):
        producer.begin_transaction()
        for message in messages(user, numbers):
            producer.produce(topic, json.dumps(message))
        producer.flush(20)
        if is_committed:
            producer.commit_transaction(20)
        else:
            producer.abort_transaction(20)
    start_bridge()
    wait_for_count(redis.url, user, 3)
    assert numbers_of(redis.url, user) == [0, 1, 2]


def test_a_topic_of_the_same_name_is_another_one(
    redis: RedisProcess,
    client: KafkaClient,
    topic: str,
    user: str,
    start_bridge: Callable[..., BridgeProcess],
) -> None:
    bridge = start_bridge()
    client.send(topic, messages(user, range(5)))
    wait_for_count(redis.url, user, 5)
    bridge.terminate(WAIT_S)
    client.delete(topic)
    wait_until(lambda: _is_created(client, topic), "the topic is created again", WAIT_S)
    client.send(topic, messages(user, range(5, 8)))
    bridge.start()
    wait_for_count(redis.url, user, 8)
    assert numbers_of(redis.url, user) == list(range(8))


def _is_created(client: KafkaClient, topic: str) -> bool:
    with contextlib.suppress(Exception):
        client.create(topic)
        return True
    return False


def test_check_prints_the_next_event_and_changes_nothing(
    redis: RedisProcess,
    client: KafkaClient,
    topic: str,
    user: str,
    start_bridge: Callable[..., BridgeProcess],
    run_check: Callable[..., tuple[int, str]],
) -> None:
    code, output = run_check()
    assert (code, output) == (0, f"{topic}: connected; no record is waiting\n")
    client.send(topic, [*messages(user, range(1)), b"nope"])
    code, output = run_check()
    payload = f'{{"userId":"{user}","eventType":"order.paid","data":{{"number": 0}}}}'
    assert (code, output) == (0, f"{topic} [0] @ 0: user-events {payload}\n")
    assert client.committed(topic, topic) < 0
    assert client.members(topic) == 0
    assert numbers_of(redis.url, user) == []
    start_bridge()
    wait_until(lambda: client.committed(topic, topic) == 2, "both records are done", WAIT_S)
    code, output = run_check()
    assert code == 1
    assert output.startswith(f"sse-node: {topic} [0] @ 1: a dead letter: not-json")


@pytest.fixture
def run_check(
    kafka: KafkaProcess, redis: RedisProcess, topic: str
) -> Callable[..., tuple[int, str]]:
    """Run `bridge kafka --check`; returns its exit code and output."""
    own = ("--brokers", kafka.brokers, "--topic", topic, "--group", topic)

    def run(*flags: str) -> tuple[int, str]:
        command = BridgeProcess.command
        words = [*command, "kafka", *own, "--redis-url", redis.url, "--check", *flags]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return run


def test_sigterm_ends_it_with_what_it_has_published_committed(
    redis: RedisProcess,
    client: KafkaClient,
    topic: str,
    user: str,
    start_bridge: Callable[..., BridgeProcess],
) -> None:
    bridge = start_bridge()
    client.send(topic, messages(user, range(3000)))
    wait_for_count(redis.url, user, 1)
    bridge.send_signal(signal.SIGTERM)
    bridge.send_signal(signal.SIGTERM)
    assert bridge.wait(WAIT_S) == 0
    published = len(numbers_of(redis.url, user))
    assert client.committed(topic, topic) == published
    assert client.members(topic) == 0
    assert f"stopped; published {published}, repeated 0" in "".join(bridge.log)
