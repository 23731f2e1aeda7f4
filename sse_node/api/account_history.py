"""The history of accounts: every change is an event, and folding them gives each state."""

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from sse_node.errors import RedisError, RequestError
from sse_node.redis.commands import RedisCommands

_PORTION: Final = 500
FIELDS: Final = ("id", "name", "balance", "userId", "createdAt")

State = dict[str, msgspec.Raw]
"""An account's members, each as JSON, in the order of its answers."""


class Change(msgspec.Struct, rename="camel"):
    """A change as Redis has it.

    Attributes:
        event_type: `account.created` or `account.updated`.
        at: Unix time in ms by Redis' clock; None for the creation, which has the account's time.
        changes: the members that it set.
    """

    event_type: str
    at: int | None
    changes: State


_decode_change = msgspec.json.Decoder(Change).decode


class AccountEvent(msgspec.Struct, rename="camel"):
    """One change of an account.

    Attributes:
        version: of the account after it, from 1 on.
        event_type: `account.created` or `account.updated`.
        at: when it was made, RFC 3339 in UTC.
        changes: the members that it set.
    """

    version: int
    event_type: str
    at: str
    changes: State


async def read_changes(
    commands: RedisCommands, key: str, after: int = 0
) -> AsyncIterator[tuple[int, Change]]:
    """Yield an account's changes in order, each with its version.

    Args:
        commands: of the node.
        key: of the account's history.
        after: a version; only later ones are read.

    Raises:
        RedisError: Redis is away.
        ValueError: an entry is malformed.
    """
    while True:
        reply = await commands.execute("LRANGE", key, after, after + _PORTION - 1)
        for entry in reply:
            after += 1
            yield after, change_of(after, entry)
        if len(reply) < _PORTION:
            return


def change_of(version: int, entry: bytes) -> Change:
    """Return the change that an entry of a history holds.

    Raises:
        ValueError: it is malformed.
    """
    try:
        return _decode_change(entry)
    except msgspec.MsgspecError as exc:
        raise ValueError(f"version {version} of its history is malformed: {exc}") from exc


async def read_history(
    commands: RedisCommands, key: str, account: bytes, after: int = 0
) -> AsyncIterator[AccountEvent]:
    """Yield an account's events in order; an account without a history has its creation.

    Args:
        commands: of the node.
        key: of the account's history.
        account: as JSON.
        after: a version; only later ones are read.

    Raises:
        RedisError: Redis is away, or holds what is no history.
    """
    created_at = _decode_created_at(account).created_at
    version = after
    try:
        async for version, change in read_changes(commands, key, after):
            yield _event_of(version, change, created_at)
    except ValueError as exc:
        raise RedisError(f"{key}: {exc}") from exc
    if not version:
        first = Change("account.created", None, msgspec.json.decode(account, type=State))
        yield _event_of(1, first, created_at)


def _event_of(version: int, change: Change, created_at: str) -> AccountEvent:
    # The node's clock gave the creation its time, Redis' the changes: they might go backwards.
    at = created_at if change.at is None else max(created_at, time_text(change.at))
    return AccountEvent(version, change.event_type, at, change.changes)


class _CreatedAt(msgspec.Struct, rename="camel"):
    created_at: str


_decode_created_at = msgspec.json.Decoder(_CreatedAt).decode


async def read_state(
    events: AsyncIterable[AccountEvent], *, version: int | None = None, at: str | None = None
) -> tuple[State, int]:
    """Fold events up to a version, or up to a time in the form of `AccountEvent.at`.

    Returns:
        The state and its version; 0 when the first event is later.
    """
    state: State = {}
    reached = 0
    async for event in events:
        if (version and event.version > version) or (at and event.at > at):
            break
        state |= event.changes
        reached = event.version
    return in_order(state), reached


def in_order(state: State) -> State:
    """Return a state with its members in the order of answers."""
    return {name: state[name] for name in FIELDS if name in state}


def time_text(unix_ms: int) -> str:
    """Return a Unix time in ms as in `2025-08-26T03:44:57.419Z`."""
    when = datetime.fromtimestamp(unix_ms / 1000, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> str:
    """Return a time in the form of `AccountEvent.at`, which sorts as times do.

    Args:
        text: RFC 3339 with a time zone, or a Unix time in ms.

    Raises:
        RequestError: 400, it is neither.
    """
    try:
        if text.isascii() and text.isdigit():
            return time_text(int(text))
        when = datetime.fromisoformat(text)
        if when.tzinfo is not None:
            return time_text(int(when.timestamp() * 1000))
    except (ValueError, OverflowError, OSError):
        pass
    raise RequestError(400, f"at {text!r:.40}: expected a time, as 2025-08-26T03:44:57.419Z")


def differences(state: State, stored: Mapping[str, bytes | None]) -> list[str]:
    """Say of each member of a stored account that differs from the folded state, how.

    Args:
        state: folded from all events.
        stored: the account's members, each as JSON text; None where one is missing.
    """
    return [
        f"{name} is {_text_of(stored.get(name))}, its history gives {_text_of(state.get(name))}"
        for name in FIELDS
        if _text_of(stored.get(name)) != _text_of(state.get(name))
    ]


def _text_of(value: msgspec.Raw | bytes | None) -> str:
    return "missing" if value is None else bytes(value).decode(errors="replace")
