"""The checker finds each violation, and nothing else."""

from collections.abc import Collection

import pytest

from bench.chaos.checker import (
    Case,
    FaultBegan,
    FaultTime,
    Journal,
    Ledger,
    Note,
    Offence,
    Opened,
    Reset,
    Seen,
    Violation,
    checker,
    id_of,
    position_of,
)

USER = "ann"
# The second may lose events and reset streams.
FAULTS = [FaultTime("client-kill", 10.0, False), FaultTime("failover", 20.0, True)]


def ledger_of(count: int, *, lost: Collection[int] = (), lost_at: float = 20.0) -> Ledger:
    """Return a ledger with one acknowledged event per second, at positions 100, 101…"""
    ledger = Ledger()
    for number in range(count):
        assert ledger.send(USER, float(number)) == number
        ledger.acknowledge(USER, number, 100 + number, number + 0.5)
    if lost:
        ledger.lose(lost_at, {(USER, number) for number in range(count) if number not in lost})
    return ledger


def seen(*numbers: int) -> list[Note]:
    return [Seen(100 + number, number) for number in numbers]


def cases_of(ledger: Ledger, *notes: Note) -> list[Case]:
    journal = Journal("stream 1", USER)
    journal.notes = list(notes)
    return checker(ledger, [journal], FAULTS)


def crimes_of(ledger: Ledger, *notes: Note) -> list[tuple[Violation, str]]:
    return [(case.violation, case.detail.partition(",")[0]) for case in cases_of(ledger, *notes)]


OPENED = Opened(99, -1.0)


def test_everything_once_and_in_order_is_no_violation() -> None:
    assert crimes_of(ledger_of(5), OPENED, *seen(0, 1, 2, 3, 4)) == []


def test_events_before_the_first_position_are_not_required() -> None:
    assert crimes_of(ledger_of(5), Opened(102, 2.7), *seen(3, 4)) == []


def test_a_later_opening_does_not_cover_a_loss() -> None:
    ledger = ledger_of(5)
    notes = [OPENED, *seen(0), Opened(102, 2.7), *seen(3, 4)]
    assert crimes_of(ledger, *notes) == [(Violation.LOSS, "number 1"), (Violation.LOSS, "number 2")]


@pytest.mark.parametrize("missing", [0, 2, 4], ids=["first", "middle", "last"])
def test_a_missing_acknowledged_event_is_a_loss(missing: int) -> None:
    notes = [note for note in seen(0, 1, 2, 3, 4) if note != Seen(100 + missing, missing)]
    assert crimes_of(ledger_of(5), OPENED, *notes) == [(Violation.LOSS, f"number {missing}")]


def test_a_stream_that_was_never_opened_is_a_loss() -> None:
    assert crimes_of(ledger_of(1)) == [(Violation.LOSS, "the stream was never opened")]


def test_unacknowledged_events_are_not_required() -> None:
    ledger = ledger_of(3)
    ledger.send(USER, 3.0)
    assert crimes_of(ledger, OPENED, *seen(0, 1, 2)) == []
    assert crimes_of(ledger, OPENED, *seen(0, 1, 2, 3)) == []
    assert crimes_of(ledger, OPENED, *seen(0, 1, 2, 3, 3)) == [(Violation.DUPLICATE, "number 3")]


def test_events_of_other_users_are_not_required() -> None:
    ledger = ledger_of(1)
    ledger.acknowledge("bob", ledger.send("bob", 0.0), 200, 0.5)
    assert crimes_of(ledger, OPENED, *seen(0)) == []


# Resets


def test_a_reset_covers_events_up_to_its_position() -> None:
    ledger = ledger_of(5)
    notes = [OPENED, *seen(0), FaultBegan(1), Reset(102, 2.9, "trimmed"), *seen(3, 4)]
    assert crimes_of(ledger, *notes) == []


def test_a_reset_does_not_cover_events_after_its_position() -> None:
    ledger = ledger_of(5)
    notes = [OPENED, *seen(0), FaultBegan(1), Reset(101, 2.9, "trimmed"), *seen(3, 4)]
    assert crimes_of(ledger, *notes) == [(Violation.LOSS, "number 2")]


def test_a_reset_after_a_newer_event_is_too_late() -> None:
    ledger = ledger_of(5)
    notes = [OPENED, *seen(0, 2), FaultBegan(1), Reset(102, 2.9, "trimmed"), *seen(3, 4)]
    assert crimes_of(ledger, *notes) == [(Violation.LOSS, "number 1")]


def test_a_reset_does_not_cover_events_sent_after_it() -> None:
    """The position of the reset belongs to a lost log, which was an hour ahead."""
    ledger = ledger_of(3)
    notes = [OPENED, *seen(0), FaultBegan(1), Reset(5000, 0.9, "rollback"), *seen(2)]
    assert (Violation.LOSS, "number 1") in crimes_of(ledger, *notes)


def test_a_reset_after_a_loss_of_redis_covers_it() -> None:
    ledger = ledger_of(30, lost={20, 21, 22}, lost_at=22.6)
    before, after = seen(*range(20)), seen(*range(23, 30))
    in_time, too_early = Reset(119, 22.9, "rollback"), Reset(119, 22.1, "rollback")
    assert crimes_of(ledger, OPENED, *before, FaultBegan(1), in_time, *after) == []
    found = crimes_of(ledger, OPENED, *before, FaultBegan(1), too_early, *after)
    assert found == [(Violation.LOSS, f"number {number}") for number in (20, 21, 22)]
    found = crimes_of(ledger, OPENED, *before, FaultBegan(1), *after, in_time)
    assert [violation for violation, _ in found] == [Violation.LOSS] * 3


def test_a_stream_that_saw_a_lost_event_needs_no_reset() -> None:
    ledger = ledger_of(5, lost={3})
    assert crimes_of(ledger, OPENED, *seen(0, 1, 2, 3, 4)) == []


def test_trimmed_events_are_required() -> None:
    ledger = ledger_of(5)
    ledger.trim({(USER, 4)})
    assert ledger.lose(20.0, {(USER, 4)}) == 0  # it was lost before
    notes = [OPENED, *seen(0, 1), FaultBegan(1), Reset(100, 21.0, "rollback"), *seen(4)]
    assert [violation for violation, _ in crimes_of(ledger, *notes)] == [Violation.LOSS] * 2


def test_a_loss_is_counted_once() -> None:
    ledger = ledger_of(5)
    assert ledger.lose(20.0, {(USER, 0)}) == 4
    assert ledger.lose(30.0, {(USER, 0)}) == 0


def test_a_needless_reset_is_a_violation() -> None:
    ledger = ledger_of(2)
    reset = Reset(100, 0.9, "unavailable")
    needless = [(Violation.NEEDLESS, "reason unavailable")]
    assert crimes_of(ledger, OPENED, *seen(0), FaultBegan(0), reset, *seen(1)) == needless
    assert crimes_of(ledger, OPENED, *seen(0), reset, *seen(1)) == needless
    assert crimes_of(ledger, OPENED, *seen(0), FaultBegan(1), reset, *seen(1)) == []


# Twice, and out of order


def test_an_event_twice_is_a_duplicate() -> None:
    assert crimes_of(ledger_of(2), OPENED, *seen(0, 1, 1)) == [(Violation.DUPLICATE, "number 1")]
    assert crimes_of(ledger_of(2), OPENED, *seen(0, 1, 0)) == [(Violation.DUPLICATE, "number 0")]


def test_an_event_under_two_ids_is_a_duplicate() -> None:
    notes = [OPENED, *seen(0, 1), Seen(150, 1)]
    assert crimes_of(ledger_of(2), *notes) == [(Violation.DUPLICATE, "number 1")]


def test_a_reset_allows_an_event_under_another_id_but_not_under_the_same() -> None:
    """Redis lost the first event with its idempotency key, and the publisher retried it."""
    ledger = ledger_of(2)
    reset = Reset(100, 20.9, "rollback")
    assert crimes_of(ledger, OPENED, *seen(0, 1), FaultBegan(1), reset, Seen(150, 1)) == []
    again = crimes_of(ledger, OPENED, *seen(0, 1), FaultBegan(1), reset, *seen(1))
    assert again == [(Violation.DUPLICATE, "number 1")]


@pytest.mark.parametrize(
    "notes",
    [
        [Seen(101, 1), Seen(100, 0)],
        [Seen(101, 0), Seen(100, 1)],
        [Seen(100, 0), Seen(100, 1)],
        [Seen(99, 0), Seen(101, 1)],
    ],
    ids=["both-fall", "id-falls", "id-stays", "id-not-above-the-first-position"],
)
def test_ids_and_numbers_rise(notes: list[Note]) -> None:
    assert [violation for violation, _ in crimes_of(ledger_of(2), OPENED, *notes)] == [
        Violation.ORDER
    ]


def test_an_opening_does_not_go_back() -> None:
    notes = [OPENED, *seen(0, 1), Opened(100, 1.9)]
    assert crimes_of(ledger_of(2), *notes) == [
        (Violation.ORDER, "sse.open at 0-100 after id 0-101")
    ]


def test_after_a_reset_the_order_starts_again() -> None:
    ledger = Ledger()
    for position, at in ((5000, 0.0), (200, 21.0)):  # the first with a clock an hour ahead
        ledger.acknowledge(USER, ledger.send(USER, at), position, at)
    notes: list[Note] = [OPENED, Seen(5000, 0), FaultBegan(1), Reset(199, 20.9, "rollback")]
    assert crimes_of(ledger, *notes, Seen(200, 1)) == []
    assert [violation for violation, _ in crimes_of(ledger, *notes, Seen(199, 1))] == [
        Violation.ORDER
    ]


# Faults of violations


def test_violations_belong_to_the_fault_of_their_time() -> None:
    ledger = ledger_of(25)
    numbers = [number for number in range(25) if number not in (5, 15, 22)]
    before, after = seen(*numbers[:10]), seen(*numbers[10:])
    notes = [OPENED, *before, FaultBegan(0), *before[-1:], FaultBegan(1), *after]
    assert [(case.violation, case.fault, case.detail) for case in cases_of(ledger, *notes)] == [
        (Violation.DUPLICATE, 0, "number 10, id 0-110"),
        (Violation.LOSS, -1, "number 5, id 0-105"),
        (Violation.LOSS, 0, "number 15, id 0-115"),
        (Violation.LOSS, 1, "number 22, id 0-122"),
    ]


def test_violations_that_the_client_saw_are_returned() -> None:
    offence = Offence(Violation.GIVEN_UP, "a browser gives up on 503")
    (case,) = cases_of(ledger_of(1), OPENED, FaultBegan(0), offence, *seen(0))
    assert case == Case(Violation.GIVEN_UP, 0, "stream 1", "a browser gives up on 503")


# Positions


@pytest.mark.parametrize("event_id", ["0-1", "1763900000000-0", "5-18446744073709551615"])
def test_positions_are_ids(event_id: str) -> None:
    assert id_of(position_of(event_id)) == event_id


def test_positions_order_as_redis_orders_ids() -> None:
    ids = ["1-18446744073709551615", "2-0", "10-3", "10-20"]
    assert sorted(ids, key=position_of) == ids


@pytest.mark.parametrize("text", ["", "5", "5-", "-5", "05-1", "5-1-1", "$", "5-1\n", "\u0665-1"])
def test_malformed_ids_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="no id"):
        position_of(text)
