"""Schedules, and the C programs together: the floor sends, the client reads."""

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from redis import Redis

from bench.harness import NodeProcess, ProcessError, RedisProcess
from bench.harness.c_program import has_compiler
from bench.measure.load import (
    FIRST_NUMBER,
    Client,
    Publisher,
    Received,
    Schedule,
    Subscriber,
    tick_payload,
    together,
)
from bench.targets.c_floor import FloorProgram

STREAMS = 40


class SourceHandler(BaseHTTPRequestHandler):
    """Opens a stream and records its source address."""

    protocol_version = "HTTP/1.1"
    sources: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.sources.append(self.client_address[0])
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"event: sse.open\ndata: {}\n\n")
        self.rfile.read()  # until the client closes

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_events_of_a_schedule_are_due_by_the_clock() -> None:
    schedule = Schedule(first=100, count=250, rate=50, data_bytes=200)
    assert schedule.last == 349
    assert schedule.interval_ns == 20_000_000
    assert schedule.timeout_s > 5
    assert schedule.command(start_ns=7) == "run 100 250 7 20000000 200 1"


def test_rate_zero_has_no_interval() -> None:
    assert Schedule(first=1, count=3000, rate=0, data_bytes=200).interval_ns == 0


SCHEDULE = Schedule(first=10, count=5, rate=1, data_bytes=99)
COMPLETE = Received(deliveries=15, streams=3, alive=3, complete=3)


@pytest.mark.parametrize(
    "received",
    [
        pytest.param(Received(deliveries=15, streams=3, alive=3, complete=3, gaps=1), id="gap"),
        pytest.param(
            Received(deliveries=15, streams=3, alive=3, complete=3, duplicates=1), id="twice"
        ),
        pytest.param(Received(deliveries=15, streams=3, alive=2, complete=3), id="ended"),
        pytest.param(Received(deliveries=14, streams=3, alive=3, complete=2), id="last missing"),
        pytest.param(Received(deliveries=14, streams=3, alive=3, complete=3), id="first missing"),
    ],
)
def test_incomplete_results_are_not_lossless(received: Received) -> None:
    assert COMPLETE.lossless(SCHEDULE)
    assert not received.lossless(SCHEDULE)


def test_results_of_several_clients_are_added_up() -> None:
    first = Received(10, 2, 2, 2, 100, first_ns=5, last_ns=9, cpu_s=0.5, latency_ns=[(7, 10)])
    second = Received(5, 1, 1, 1, 50, gaps=1, first_ns=4, last_ns=8, latency_ns=[(7, 5)])
    both = together([first, second])
    assert (both.deliveries, both.streams, both.bytes, both.gaps) == (15, 3, 150, 1)
    assert (both.alive, both.complete) == (3, 3)
    assert (both.first_ns, both.last_ns, both.cpu_s) == (4, 9, 0.5)
    assert both.latency_ns == [(7, 10), (7, 5)]


def test_a_payload_for_all_streams_is_an_event_as_the_client_reads_it() -> None:
    event = json.loads(tick_payload("", 7, due_ns=5, data_bytes=200))
    assert (event["eventType"], event["data"]["t"], event["data"]["n"]) == ("tick", 5, 7)
    assert len(json.dumps(event["data"], separators=(",", ":"))) == 200


def publish(url: str, schedule: Schedule) -> None:
    with Publisher(url) as publisher:
        publisher.send(schedule)
        publisher.sent(schedule)


@pytest.mark.integration
@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
class TestPrograms:
    @pytest.fixture
    def floor(self) -> Iterator[FloorProgram]:
        with FloorProgram(cpu=max(os.sched_getaffinity(0))) as floor:
            yield floor

    @pytest.fixture
    def client(self, floor: FloorProgram) -> Iterator[Client]:
        with Client(floor.host, floor.port) as client:
            yield client

    @pytest.mark.parametrize("data_bytes", [60, 200, 100_000])
    def test_every_stream_receives_every_event(
        self, floor: FloorProgram, client: Client, data_bytes: int
    ) -> None:
        assert client.open_streams(STREAMS, "/events/sse/bench").opened == STREAMS
        for first in (FIRST_NUMBER, FIRST_NUMBER + 10):
            schedule = Schedule(first, 10, 100, data_bytes)
            sent, received = client.measure(floor, schedule)
            assert received.lossless(schedule)
            assert received.deliveries == sent.deliveries == STREAMS * 10
            frame = len('data: {"eventType":"tick",}\n\n') + data_bytes - len("{}")
            assert received.bytes == received.deliveries * frame
            assert sum(count for _, count in received.latency_ns) == received.deliveries
            assert all(0 < value_ns < 1e9 for value_ns, _ in received.latency_ns)
            assert received.last_ns - received.first_ns > 8 * schedule.interval_ns

    def test_a_gap_is_counted(self, floor: FloorProgram, client: Client) -> None:
        client.open_streams(STREAMS, "/events/sse/user-{}")
        client.measure(floor, Schedule(FIRST_NUMBER, 3, 100, 200))
        schedule = Schedule(FIRST_NUMBER + 4, 3, 100, 200)
        _, received = client.measure(floor, schedule)
        assert received.gaps == STREAMS
        assert not received.lossless(schedule)

    def test_a_repeated_event_is_no_delivery(self, floor: FloorProgram, client: Client) -> None:
        client.open_streams(STREAMS, "/events/sse/bench")
        client.measure(floor, Schedule(FIRST_NUMBER, 3, 100, 200))
        schedule = Schedule(FIRST_NUMBER + 2, 3, 100, 200)
        _, received = client.measure(floor, schedule)
        assert (received.duplicates, received.gaps) == (STREAMS, 0)
        assert received.deliveries == STREAMS * 2
        assert not received.lossless(schedule)

    def test_more_streams_can_be_opened(self, floor: FloorProgram, client: Client) -> None:
        client.open_streams(STREAMS, "/events/sse/bench-{}")
        opened = client.open_streams(STREAMS, "/events/sse/bench-{}", first=STREAMS)
        assert (opened.opened, opened.refused) == (STREAMS, 0)
        assert opened.start_ns < opened.end_ns
        schedule = Schedule(FIRST_NUMBER, STREAMS * 2, 1000, 200, users=STREAMS * 2)
        _, received = client.measure(floor, schedule)
        assert received.lossless(schedule)
        assert received.streams == STREAMS * 2

    def test_streams_come_from_many_addresses(self) -> None:
        with (
            ThreadingHTTPServer(("127.0.0.1", 0), SourceHandler) as server,
            Client("127.0.0.1", server.server_port, "127.0.0.3", 2) as client,
        ):
            serving = threading.Thread(target=server.serve_forever)
            serving.start()
            try:
                client.open_streams(4, "/")
                client.close_streams()
            finally:
                server.shutdown()
                serving.join()
        assert sorted(SourceHandler.sources) == ["127.0.0.3", "127.0.0.3", "127.0.0.4", "127.0.0.4"]

    def test_a_bare_subscriber_measures_latency(self) -> None:
        with (
            RedisProcess() as redis,
            Publisher(redis.url) as publisher,
            Subscriber(redis.url) as subscriber,
        ):
            for schedule in (Schedule(FIRST_NUMBER, 10, 200, 200), Schedule(7, 500, 0, 100_000)):
                sent, received = subscriber.measure(publisher, schedule)
                assert received.lossless(schedule)
                assert received.deliveries == sent.events == schedule.count
                assert sum(count for _, count in received.latency_ns) == schedule.count

    def test_streams_that_the_server_ends_are_counted(
        self, floor: FloorProgram, client: Client
    ) -> None:
        client.open_streams(STREAMS, "/events/sse/bench")
        floor.kill()
        schedule = Schedule(FIRST_NUMBER, 1, 100, 200)
        client.command(f"expect {schedule.first} {schedule.last} 5 1")
        assert client.answer(Received, timeout_s=10).alive == 0
        assert client.close_streams().ended_by_server == STREAMS

    def test_a_missing_server_is_an_error(self, floor: FloorProgram, client: Client) -> None:
        floor.kill()
        with pytest.raises(ProcessError, match="refused"):
            client.open_streams(1, "/events/sse/bench")

    def test_a_wrong_command_ends_the_program(self, client: Client) -> None:
        client.command("dance")
        with pytest.raises(ProcessError, match="not a command"):
            client.read_line(timeout_s=5)

    def test_the_publisher_publishes_envelopes(self) -> None:
        with (
            RedisProcess() as redis,
            Redis.from_url(redis.url) as connection,
            connection.pubsub(ignore_subscribe_messages=True) as subscription,
            Publisher(redis.url) as publisher,
        ):
            subscription.subscribe("user-events")
            assert subscription.get_message(timeout=5) is None  # the subscription itself
            for schedule in (Schedule(FIRST_NUMBER, 3, 200, 200), Schedule(7, 500, 0, 200)):
                publisher.send(schedule)
                sent = publisher.sent(schedule)
                assert sent.events == schedule.count
                for number in range(schedule.first, schedule.last + 1):
                    message = subscription.get_message(timeout=5)
                    assert message is not None
                    payload = json.loads(message["data"])
                    assert payload["data"]["n"] == number
                    assert sent.first_ns <= payload["data"]["t"] <= sent.last_ns
                    assert (payload["userId"], payload["eventType"]) == ("bench", "tick")
                    assert message["data"].count(b"}") == 2

    def test_a_rejected_post_is_an_error(self) -> None:
        with NodeProcess("--redis-url", "unix:///no-such-redis") as node:
            for path, why in (("/no/{}", "HTTP/1.1 404"), ("/no", "expected http")):
                schedule = Schedule(FIRST_NUMBER, 2, 100, 200)
                with pytest.raises(ProcessError, match=why):
                    publish(node.url + path, schedule)

    def test_a_command_to_an_ended_program_is_an_error(self) -> None:
        schedule = Schedule(FIRST_NUMBER, 2, 100, 200)
        with Publisher("http://127.0.0.1/no") as publisher:
            publisher.wait(timeout_s=10)
            with pytest.raises(ProcessError, match=r"did not take the command.*\n.*expected http"):
                publisher.send(schedule)

    def test_a_command_reads_one_line_of_json_per_event(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "events")
        schedule = Schedule(FIRST_NUMBER, 300, 0, 200, users=3)
        with Publisher(f"pipe:cat > {tmp_path}/events") as publisher:
            publisher.send(schedule)
            with (tmp_path / "events").open() as lines:
                events = [json.loads(lines.readline()) for _ in range(300)]
            assert publisher.sent(schedule).events == 300
        numbers = list(range(FIRST_NUMBER, FIRST_NUMBER + 300))
        assert [event["data"]["n"] for event in events] == numbers
        assert [event["userId"] for event in events] == [f"bench-{n % 3}" for n in numbers]

    def test_a_command_that_ends_is_an_error(self) -> None:
        schedule = Schedule(FIRST_NUMBER, 100, 100, 200)
        with pytest.raises(ProcessError, match="closed"):
            publish("pipe:exit 3", schedule)
