"""Folding an account's events into its states, and the times that select one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from sse_node.api.account_history import AccountEvent, differences, fold, parse_time, time_text
from sse_node.errors import RequestError

CREATED = {
    "id": Raw(b"7"),
    "name": Raw(b'"Mill"'),
    "balance": Raw(b"1.50"),
    "userId": Raw(b'"ann"'),
    "createdAt": Raw(b'"2026-11-27T12:00:00.000Z"'),
}


def event(version: int, **changes: bytes) -> AccountEvent:
    members = {name: Raw(value) for name, value in changes.items()}
    return AccountEvent(version, "account.updated", "2026-11-27T12:00:01.000Z", members)


FIRST = AccountEvent(1, "account.created", "2026-11-27T12:00:00.000Z", CREATED)


def texts(state: dict[str, Raw]) -> dict[str, bytes]:
    return {name: bytes(value) for name, value in state.items()}


def test_later_changes_replace_earlier_ones_and_nothing_is_decoded() -> None:
    state = fold([FIRST, event(2, balance=b"2"), event(3, name=b'"Quarry"', balance=b"1e2")])
    assert list(texts(state)) == ["id", "name", "balance", "userId", "createdAt"]
    assert texts(state)["name"] == b'"Quarry"'
    assert texts(state)["balance"] == b"1e2"
    assert texts(fold([FIRST]))["balance"] == b"1.50"
    assert fold([]) == {}


@given(st.lists(st.tuples(st.sampled_from(["name", "balance"]), st.binary(max_size=4)), max_size=9))
def test_the_fold_is_what_overwriting_the_members_gives(changes: list[tuple[str, bytes]]) -> None:
    stored = texts(CREATED)
    events = [FIRST]
    for number, (name, value) in enumerate(changes, 2):
        stored[name] = value
        events.append(event(number, **{name: value}))
    assert differences(fold(events), stored) == []
    stored["name"] += b"!"
    assert differences(fold(events), stored) == ["name"]


def test_a_missing_member_is_a_difference() -> None:
    stored = {**texts(CREATED), "balance": None}
    assert differences(fold([FIRST]), stored) == ["balance"]
    assert differences({}, stored) == ["id", "name", "userId", "createdAt"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-27T12:00:00Z", "2026-11-27T12:00:00.000Z"),
        ("2026-11-27T13:00:00.25+01:00", "2026-11-27T12:00:00.250Z"),
        ("1795780800000", "2026-11-27T12:00:00.000Z"),
        ("0", "1970-01-01T00:00:00.000Z"),
    ],
)
def test_times(text: str, expected: str) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize(
    "text", ["", "now", "2026-11-27T12:00:00", "9" * 30, "-1", "2026-13-01T00:00:00Z", "\u0661"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(RequestError, match="expected a time") as caught:
        parse_time(text)
    assert caught.value.status == 400


@given(st.integers(0, 4_102_444_800_000), st.integers(0, 4_102_444_800_000))
def test_times_sort_as_text(first: int, second: int) -> None:
    assert (time_text(first) < time_text(second)) == (first < second)
