"""The history of accounts: every change is an event, and folding them gives each state."""

from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from sse_node.errors import RedisError, RequestError
from sse_node.redis.commands import RedisCommands

_PORTION: Final = 500
FIELDS: Final = ("id", "name", "balance", "userId", "createdAt")

State = dict[str, msgspec.Raw]
"""An account's members, each as JSON, in the order of its answers."""


class _Entry(msgspec.Struct, rename="camel"):
    """A change as Redis has it; the account's creation has the account's time."""

    event_type: str
    at: int | None
    changes: State


_decode_entry = msgspec.json.Decoder(_Entry).decode


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


async def read_history(
    commands: RedisCommands, key: str, after: int = 0
) -> AsyncIterator[AccountEvent]:
    """Yield an account's events in order.

    Args:
        commands: of the node.
        key: of the account's history.
        after: a version; only later ones are read.

    Raises:
        RedisError: Redis is away, or holds what is no history.
    """
    while True:
        reply = await commands.execute("LRANGE", key, after, after + _PORTION - 1)
        for entry in reply:
            after += 1
            yield _event_of(after, entry)
        if len(reply) < _PORTION:
            return


def _event_of(version: int, entry: bytes) -> AccountEvent:
    try:
        event = _decode_entry(entry)
        at = event.at
        when = _created_at(event.changes) if at is None else time_text(at)
        return AccountEvent(version, event.event_type, when, event.changes)
    except (ValueError, KeyError, msgspec.MsgspecError) as exc:
        raise RedisError(f"entry {version} of an account's history is malformed") from exc


def _created_at(state: State) -> str:
    return msgspec.json.decode(state["createdAt"], type=str)


def first_event(account: bytes) -> AccountEvent:
    """Return the history of an account that has none, being older than histories are.

    Args:
        account: as JSON.
    """
    state = msgspec.json.decode(account, type=State)
    return AccountEvent(1, "account.created", _created_at(state), state)


def fold(events: Iterable[AccountEvent]) -> State:
    """Return the state after events, from the first on; empty without any."""
    state: State = {}
    for event in events:
        state |= event.changes
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


def differences(state: State, stored: Mapping[str, Any]) -> list[str]:
    """Return the members of a stored account that differ from the folded state.

    Args:
        state: folded from all events.
        stored: the account's members, each as JSON text; None where one is missing.
    """
    return [name for name in FIELDS if bytes(state.get(name, b"")) != (stored.get(name) or b"")]
