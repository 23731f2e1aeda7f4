"""Comparing every account with the state that its history gives, without a node."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from sse_node.api.account_history import FIELDS, State, change_of, differences, read_changes
from sse_node.config.sections import Settings
from sse_node.redis.address import redis_address
from sse_node.redis.commands import RedisCommands, Script
from sse_node.redis.connections import Connections
from sse_node.redis.event_logs import open_logs
from sse_node.redis.keys import Keys, keys_of

_READ: Final = Script("read_accounts")
_PORTION: Final = 100  # accounts read at once
_FIRST_CHANGES: Final = 20  # read with the account; the others come after it, in portions
_SCANNED: Final = 1000  # keys at a time


@dataclass
class Totals:
    """How many accounts were compared, differ, or have no history because they never changed."""

    compared: int = 0
    different: int = 0
    without: int = 0


@dataclass(frozen=True)
class _Stored:
    """An account as one atomic step has read it.

    Attributes:
        fields: its members as JSON text; None without the account.
        version: the length of its history.
        changes: the first entries of it.
    """

    fields: list[bytes | None]
    version: int
    changes: list[bytes]


def verify_accounts(settings: Settings, write_line: Callable[[str], None]) -> Totals:
    """Write a line for each account that differs from its history, in the order of the ids.

    Shards come one after the other. Nodes may change accounts meanwhile.

    Raises:
        ConfigError: Redis' URL is not one.
        RedisError: Redis is away, or refuses.
    """
    return asyncio.run(_verify(settings, write_line))


async def _verify(settings: Settings, write_line: Callable[[str], None]) -> Totals:
    address = redis_address(settings.redis.url)
    connections = Connections(
        address,
        name="sse-node:verify-accounts",
        timeout_s=settings.redis.timeout,
        max_connections=1,
    )
    totals = Totals()
    try:
        keys = keys_of(settings.redis.namespace, address.database)
        for log in await open_logs(connections, keys, settings.history):
            await _Verification(log.commands, log.keys, totals).run(write_line)
    finally:
        await connections.shutdown()
    return totals


class _Verification:
    """One run of the command, in one shard."""

    def __init__(self, commands: RedisCommands, keys: Keys, totals: Totals) -> None:
        self._commands = commands
        self._keys = keys
        self.totals = totals

    async def run(self, write_line: Callable[[str], None]) -> None:
        found = {each async for each in self._scan(self._keys.account)}
        found |= {each async for each in self._scan(self._keys.account_history)}
        ids = sorted(found)
        for start in range(0, len(ids), _PORTION):
            portion = ids[start : start + _PORTION]
            for account_id, stored in zip(portion, await self._read(portion), strict=True):
                if wrong := await self._compare(account_id, stored):
                    self.totals.different += 1
                    write_line(f"account {account_id}: {'; '.join(wrong)}")

    async def _scan(self, key_of: Callable[[int], str]) -> AsyncIterator[int]:
        """Yield the ids of which there is a key; some twice."""
        stem = key_of(0).removesuffix("0")
        cursor = 0
        while True:
            cursor, keys = await self._commands.execute(
                "SCAN", cursor, "MATCH", f"{stem}*", "COUNT", _SCANNED
            )
            for key in keys:
                number = key.decode().removeprefix(stem)
                if number.isdigit():
                    yield int(number)
            if not cursor:
                return

    async def _read(self, ids: list[int]) -> list[_Stored]:
        keys: list[str] = []
        for account_id in ids:
            keys += (self._keys.account(account_id), self._keys.account_history(account_id))
        replies = await self._commands.run(_READ, keys, [_FIRST_CHANGES, *FIELDS])
        return [_Stored(*reply) for reply in replies]

    async def _compare(self, account_id: int, stored: _Stored) -> list[str]:
        """Say what differs; nothing of an account that has been deleted meanwhile."""
        if not stored.version:
            self.totals.without += stored.fields[0] is not None
            return []
        self.totals.compared += 1
        if stored.fields[0] is None:
            return ["it is missing, but has a history"]
        try:
            state = await self._fold(account_id, stored)
        except ValueError as exc:
            return [str(exc)]
        if state is None:
            return []
        return differences(state, dict(zip(FIELDS, stored.fields, strict=True)))

    async def _fold(self, account_id: int, stored: _Stored) -> State | None:
        """Return the state after the changes up to the stored version, None once it is deleted.

        Raises:
            ValueError: an entry is malformed.
        """
        state: State = {}
        for version, entry in enumerate(stored.changes, 1):
            state |= change_of(version, entry).changes
        reached = len(stored.changes)
        if reached < stored.version:
            key = self._keys.account_history(account_id)
            async for version, change in read_changes(self._commands, key, reached):
                if version > stored.version:
                    break
                state |= change.changes
                reached = version
        return state if reached == stored.version else None
