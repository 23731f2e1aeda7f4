"""When an overloaded process refuses streams, and when it accepts them again."""

import logging
from dataclasses import replace

import pytest

from sse_node.config.reading import read_settings
from sse_node.streams.admission import LAG, MEMORY, Admission

LIMIT = 1_000_000


class Process:
    """A process whose memory and lag the test sets; it is looked at once a second."""

    def __init__(self, lag_limit: float = 1.0) -> None:
        settings = replace(read_settings({}, {}).limits, memory_limit=LIMIT, lag_limit=lag_limit)
        self.bytes = 0
        self.freed_bytes = 0
        self.released = 0
        self.now = 100.0
        self.admission = Admission(settings, lambda: self.bytes, self._release)

    def _release(self) -> None:
        self.released += 1
        self.bytes -= self.freed_bytes

    def look(self, streams: int = 100, lag_s: float = 0.0) -> str:
        """Let a second pass; return why a further stream would be refused."""
        self.now += 1
        self.admission.on_lag(lag_s)
        self.admission.on_lag(0.0)
        self.admission.look(streams, self.now)
        return self.admission.obstacle(streams)


@pytest.fixture
def process() -> Process:
    return Process()


# Memory


def test_streams_are_refused_over_the_limit_until_there_is_room(process: Process) -> None:
    process.bytes = LIMIT
    assert process.look() == ""
    process.bytes = LIMIT + 1
    assert process.look() == MEMORY
    process.bytes = int(LIMIT * 0.96)
    assert process.look() == MEMORY, "it would soon be over the limit again"
    process.bytes = int(LIMIT * 0.94)
    assert process.look() == ""
    assert process.admission.resident_bytes == process.bytes


def test_streams_take_the_place_of_others_in_memory_that_does_not_shrink(process: Process) -> None:
    process.bytes = LIMIT + 1
    assert process.look(streams=100) == MEMORY
    assert process.admission.obstacle(91) == MEMORY
    assert process.admission.obstacle(90) == MEMORY
    assert process.admission.obstacle(89) == ""
    assert process.look(streams=50) == ""
    process.bytes = int(LIMIT * 1.1)
    assert process.look(streams=80) == MEMORY
    assert process.admission.obstacle(71) == "", "less than a tenth below the 80"


def test_a_process_that_is_over_the_limit_without_streams_accepts_none(process: Process) -> None:
    process.bytes = 2 * LIMIT
    assert process.look(streams=0) == MEMORY


def test_freed_memory_is_returned_while_it_is_short(process: Process) -> None:
    process.bytes = LIMIT
    process.look()
    assert process.released == 0
    process.bytes = LIMIT + 1
    for _ in range(11):
        process.look()
    assert process.released == 1
    process.freed_bytes = LIMIT // 10
    process.look()
    assert process.released == 2
    assert process.look() == ""
    process.look()
    assert process.released == 2


def test_memory_that_is_unknown_is_no_obstacle() -> None:
    admission = Admission(read_settings({}, {}).limits)
    admission.look(100, 1.0)
    assert admission.obstacle(100) == ""


# The event loop


def test_streams_are_refused_after_five_seconds_of_lag_and_accepted_after_five_without(
    process: Process,
) -> None:
    assert [process.look(lag_s=1.1) for _ in range(7)] == [""] * 5 + [LAG] * 2
    assert [process.look(lag_s=0.6) for _ in range(7)] == [LAG] * 7, "half of the limit is late"
    assert [process.look(lag_s=0.4) for _ in range(7)] == [LAG] * 5 + [""] * 2


def test_one_second_in_time_ends_the_lag(process: Process) -> None:
    for _ in range(5):
        assert [process.look(lag_s=3.0) for _ in range(4)] == [""] * 4
        assert process.look(lag_s=1.0) == ""


def test_one_late_second_is_enough_to_wait_for_another_five(process: Process) -> None:
    for _ in range(6):
        process.look(lag_s=2.0)
    for _ in range(3):
        assert [process.look() for _ in range(4)] == [LAG] * 4
        assert process.look(lag_s=0.6) == LAG


def test_a_process_that_was_stopped_once_is_not_overloaded(process: Process) -> None:
    process.now += 60
    assert process.look(lag_s=60.0) == ""
    assert [process.look() for _ in range(6)] == [""] * 6


def test_a_limit_of_zero_is_never_reached() -> None:
    process = Process(lag_limit=0.0)
    assert [process.look(lag_s=100.0) for _ in range(10)] == [""] * 10


def test_each_change_is_logged_once(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        process.bytes = LIMIT + 1
        for _ in range(8):
            process.look(lag_s=2.0)
        process.bytes = 1
        for _ in range(8):
            process.look()
    assert caplog.messages == [
        "memory: 1000001 bytes, limit 1000000; refusing new streams",
        "event loop: 2.000 s late; refusing new streams",
        "memory: 1 bytes; accepting new streams",
        "event loop: 0.000 s late; accepting new streams",
    ]


def test_other_limits_hold_from_the_next_look_on(process: Process) -> None:
    process.bytes = LIMIT - 1
    assert process.look() == ""
    limits = replace(read_settings({}, {}).limits, memory_limit=LIMIT // 2)
    process.admission.configure(limits)
    assert process.look() == MEMORY
    process.admission.configure(replace(limits, memory_limit=2 * LIMIT))
    assert process.look() == ""
