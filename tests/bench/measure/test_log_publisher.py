"""Events through the log: bytes, schedule, and responses of Redis."""

import json

import pytest
from redis import Redis

from bench.harness import ProcessError, RedisProcess
from bench.measure.load import FIRST_NUMBER, Schedule
from bench.measure.log_publisher import LogPublisher, command, one_log, payload


def test_a_payload_is_an_event_of_the_requested_size() -> None:
    schedule = Schedule(FIRST_NUMBER, 4, 100, 200, users=4)
    event = json.loads(payload(schedule, FIRST_NUMBER + 3, due_ns=7))
    assert (event["userId"], event["eventType"]) == ("bench-3", "tick")
    assert (event["data"]["t"], event["data"]["n"]) == (7, FIRST_NUMBER + 3)
    assert len(json.dumps(event["data"], separators=(",", ":"))) == 200


def test_with_one_user_it_is_for_every_stream() -> None:
    assert b'{"userId":"bench",' in payload(Schedule(1, 1, 100, 200), 1, due_ns=7)


def test_a_command_is_one_array() -> None:
    sent = command(Schedule(1, 1, 100, 200), 1, due_ns=7, log=b"sse:log")
    assert sent.startswith(b"*9\r\n$7\r\nEVALSHA\r\n$40\r\n")
    assert sent.endswith(b"\r\n")


@pytest.mark.integration
def test_every_event_is_in_the_log_and_published(redis: RedisProcess) -> None:
    schedule = Schedule(FIRST_NUMBER, 50, 1000, 200, users=5)
    with (
        Redis.from_url(redis.url) as connection,
        connection.pubsub(ignore_subscribe_messages=True) as subscription,
        LogPublisher(one_log(redis.socket_path)) as publisher,
    ):
        before = connection.xlen("sse:log")
        subscription.subscribe("user-events")
        assert subscription.get_message(timeout=5) is None  # the subscription itself
        publisher.send(schedule)
        sent = publisher.sent(schedule)
        assert connection.xlen("sse:log") == before + 50
        message = subscription.get_message(timeout=5)
    assert message is not None
    first = json.loads(message["data"])
    assert first["id"]
    assert first["data"]["t"] == sent.first_ns
    assert sent.events == 50
    assert sent.last_ns - sent.first_ns >= 49 * schedule.interval_ns


@pytest.mark.integration
def test_an_event_that_redis_rejects_is_an_error() -> None:
    schedule = Schedule(FIRST_NUMBER, 3, 1000, 200)
    with (
        RedisProcess() as redis,
        Redis.from_url(redis.url) as connection,
        LogPublisher(one_log(redis.socket_path)) as publisher,
    ):
        connection.script_flush()
        publisher.send(schedule)
        with pytest.raises(ProcessError, match="NOSCRIPT"):
            publisher.sent(schedule)
