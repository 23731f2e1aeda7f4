"""Folding an account's events into its states, and the times that select one."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from sse_node.api.account_history import (
    AccountEvent,
    change_of,
    differences,
    parse_time,
    read_history,
    read_state,
    time_text,
)
from sse_node.errors import RedisError, RequestError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sse_node.redis.commands import RedisCommands

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


async def one_by_one(*events: AccountEvent) -> AsyncIterator[AccountEvent]:
    for event in events:
        yield event


def fold(*events: AccountEvent) -> dict[str, Raw]:
    state, version = asyncio.run(read_state(one_by_one(*events)))
    assert version == len(events)
    return state


def test_later_changes_replace_earlier_ones_and_nothing_is_decoded() -> None:
    state = fold(FIRST, event(2, balance=b"2"), event(3, name=b'"Quarry"', balance=b"1e2"))
    assert list(texts(state)) == ["id", "name", "balance", "userId", "createdAt"]
    assert texts(state)["name"] == b'"Quarry"'
    assert texts(state)["balance"] == b"1e2"
    assert texts(fold(FIRST))["balance"] == b"1.50"
    assert fold() == {}


async def test_a_fold_ends_at_a_version_or_a_time() -> None:
    events = FIRST, event(2, balance=b"2"), event(3, balance=b"3")
    for version, balance in enumerate((b"1.50", b"2", b"3"), 1):
        state, reached = await read_state(one_by_one(*events), version=version)
        assert (reached, bytes(state["balance"])) == (version, balance)
    assert (await read_state(one_by_one(*events), version=9))[1] == 3
    for at, version in (("11:59:59.999", 0), ("12:00:00.000", 1), ("12:00:01.000", 3)):
        assert (await read_state(one_by_one(*events), at=f"2026-11-27T{at}Z"))[1] == version


@given(st.lists(st.tuples(st.sampled_from(["name", "balance"]), st.binary(max_size=4)), max_size=9))
def test_the_fold_is_what_overwriting_the_members_gives(changes: list[tuple[str, bytes]]) -> None:
    stored: dict[str, bytes | None] = {**texts(CREATED)}
    events = [FIRST]
    for number, (name, value) in enumerate(changes, 2):
        stored[name] = value
        events.append(event(number, **{name: value}))
    state = fold(*events)
    assert differences(state, stored) == []
    stored["name"] = b"another"
    [difference] = differences(state, stored)
    assert difference.startswith("name is another, its history gives ")


def test_a_missing_member_is_a_difference() -> None:
    stored = {**texts(CREATED), "balance": None}
    assert differences(fold(FIRST), stored) == ["balance is missing, its history gives 1.50"]
    assert len(differences({}, stored)) == 4


@pytest.mark.parametrize("entry", [b"", b"1", b"{}", b'{"eventType":"t","at":1.5,"changes":{}}'])
def test_a_malformed_entry_is_named(entry: bytes) -> None:
    with pytest.raises(ValueError, match="version 7 of its history is malformed"):
        change_of(7, entry)


ACCOUNT = b"{%s}" % b",".join(b'"%b":%b' % (name.encode(), v) for name, v in CREATED.items())


async def history_of(commands: RedisCommands, *entries: object) -> list[AccountEvent]:
    for entry in entries:
        await commands.execute("RPUSH", "history", json.dumps(entry))
    return [event async for event in read_history(commands, "history", ACCOUNT)]


async def test_an_account_without_a_history_has_its_creation(commands: RedisCommands) -> None:
    [first] = await history_of(commands)
    assert (first.version, first.event_type, first.at) == (1, "account.created", FIRST.at)
    assert texts(first.changes) == texts(CREATED)
    assert [each async for each in read_history(commands, "history", ACCOUNT, 1)] == []


async def test_no_change_is_earlier_than_the_creation(commands: RedisCommands) -> None:
    created: dict[str, object] = {"eventType": "account.created", "at": None, "changes": {}}
    early = {"eventType": "account.updated", "at": 1795780799000, "changes": {}}
    late = {"eventType": "account.updated", "at": 1795780800250, "changes": {}}
    events = await history_of(commands, created, early, late)
    assert [each.at[11:] for each in events] == ["12:00:00.000Z", "12:00:00.000Z", "12:00:00.250Z"]


async def test_a_history_of_several_portions(commands: RedisCommands) -> None:
    entry = {"eventType": "account.updated", "at": 1795780800000, "changes": {"balance": 1}}
    await commands.execute("RPUSH", "history", *[json.dumps(entry)] * 1000)
    for after in (0, 499, 500, 999, 1000):
        events = [each async for each in read_history(commands, "history", ACCOUNT, after)]
        assert [each.version for each in events] == list(range(after + 1, 1001))


async def test_a_malformed_history_is_the_fault_of_redis(commands: RedisCommands) -> None:
    with pytest.raises(RedisError, match="history: version 1 of its history is malformed"):
        await history_of(commands, "nothing")


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
