"""All streams of a real node cut and reopened at once, with small settings."""

import os

import msgspec
import pytest

from bench.harness import NodeProcess, RedisProcess
from bench.harness.c_program import has_compiler
from bench.measure.load import Client, Schedule, Sent, Stormed
from bench.measure.sample import Sample
from bench.report.tables import Screen
from bench.workloads import storm

SCHEDULE = Schedule(first=100, count=200, rate=100, data_bytes=99, users=10)


STORMED = Stormed(
    deliveries=200,
    streams=10,
    alive=10,
    complete=10,
    cut_ns=1_000_000_000,
    reopened_ns=1_500_000_000,
    recovered_ns=1_750_000_000,
    resumed=10,
)


def stormed(**changes: int) -> Stormed:
    return msgspec.structs.replace(STORMED, **changes)


def sample(found: Stormed) -> Sample:
    return storm.sample_of("node", SCHEDULE, Sent(200), found, cpu_s=0.5, dropped=0)


def test_a_storm_ends_when_missed_events_have_been_read() -> None:
    measured = sample(stormed())
    assert (measured.values["reopened_s"], measured.values["recovered_s"]) == (0.5, 0.75)
    assert measured.values["missed"] == 50
    assert measured.notes == []


def test_a_storm_does_not_end_before_the_last_stream_is_open() -> None:
    early = stormed(recovered_ns=1_200_000_000)
    assert sample(early).values["recovered_s"] == 0.5


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"gaps": 1}, "1 gaps"),
        ({"duplicates": 2}, "2 events twice"),
        ({"resets": 3}, "3 streams got sse.reset"),
        ({"reopened_ns": 0}, "not all streams"),
        ({"deliveries": 199}, "10 of 10"),
    ],
)
def test_a_storm_counts_only_when_nothing_was_lost(change: dict[str, int], problem: str) -> None:
    assert any(problem in text for text in sample(stormed(**change)).notes)


def test_calls_are_those_between_two_readings() -> None:
    before = storm.command_calls({"cmdstat_get": {"calls": 3}, "cmdstat_ping": {"calls": 1}})
    after = storm.command_calls(
        {"cmdstat_get": {"calls": 5}, "cmdstat_ping": {"calls": 1}, "cmdstat_set": {"calls": 2}}
    )
    assert storm.calls_since(before, after) == {"get": 2, "set": 2}


@pytest.mark.integration
@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
class TestRealNode:
    def test_every_stream_has_every_event_once(self) -> None:
        settings = storm.Settings(
            streams=50,
            rate=500,
            seconds=0.6,
            cut_after_s=0.3,
            at_once=10,
            rounds=1,
            payload_bytes=200,
            history=1000,
        )
        with Screen("storm", storm.COLUMNS) as screen:
            result = storm.run(settings, max(os.sched_getaffinity(0)), screen)
        assert result.problems == []
        (measured,) = result.samples["node"]
        assert measured["resumed"] == 50
        assert measured["latencies"] == measured["events"] == 300
        assert 0 < measured["reopened_s"] <= measured["recovered_s"]
        assert result.samples["commands of Redis"][0]["xadd"] == 300
        assert len(result.tables()) == 2

    def test_a_refused_request_is_repeated_until_it_succeeds(self) -> None:
        with (
            RedisProcess() as redis,
            NodeProcess("--redis-url", redis.url, "--max-streams", "2") as node,
            Client(node.host, node.port) as first,
            Client(node.host, node.port) as second,
        ):
            node.wait_ready()
            first.open_streams(2, "/events/sse/bench")
            second.start_opening(1, "/events/sse/bench")
            while node.metric("sse_node_streams_refused_total", reason="full") == 0:
                pass  # each request takes some time
            first.close_streams()
            opened = second.opened(1)
        assert (opened.opened, opened.failed) == (1, 0)
        assert opened.refused > 0
