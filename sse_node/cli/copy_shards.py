"""Copying a deployment of one shard to one of several, while no node runs, and counting both."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from sse_node.config.sections import Settings
from sse_node.errors import ConfigError, PublisherError
from sse_node.redis.address import redis_address
from sse_node.redis.commands import RedisCommands, Script, ScriptArgument
from sse_node.redis.connections import Connections
from sse_node.redis.event_log import EventLog, LogEntry
from sse_node.redis.event_logs import EventLogs, make_log
from sse_node.redis.keys import Keys, keys_of, shard_keys
from sse_node.wire.envelope import USER_EVENTS, decode_envelope, user_of
from sse_node.wire.event_id import format_position

_COPY_ENTRIES: Final = Script("copy_entries")
_PORTION: Final = 500
_SCANNED: Final = 1000


@dataclass
class Counts:
    """What was found, and what is there now, by kind."""

    found: Counter[str] = field(default_factory=Counter)
    copied: Counter[str] = field(default_factory=Counter)

    @property
    def agree(self) -> bool:
        """Whether nothing is missing, and nothing too much."""
        return +self.found == +self.copied

    def lines(self) -> Iterable[str]:
        """Yield a line for each kind."""
        for kind in sorted(self.found | self.copied):
            yield f"{kind}: {self.found[kind]} found, {self.copied[kind]} copied"


def copy_shards(
    settings: Settings, target_url: str, shards: int, write_line: Callable[[str], None]
) -> bool:
    """Copy a deployment of one shard, and write a line for each kind of thing with its counts.

    Args:
        settings: say where the deployment is.
        target_url: of the Redis that is copied to; it may be the same one.
        shards: how many there shall be.
        write_line: is given the lines.

    Returns:
        Whether the counts agree. Only then nodes may start with the new number.

    Raises:
        ConfigError: a URL is none, or one of the two cannot be copied from or to.
        RedisError: Redis is away, or refuses.
    """
    return asyncio.run(_copy(settings, target_url, shards, write_line))


async def _copy(
    settings: Settings, target_url: str, shards: int, write_line: Callable[[str], None]
) -> bool:
    async with AsyncExitStack() as stack:
        source = _connections(settings, settings.redis.url, "--redis-url")
        stack.push_async_callback(source.shutdown)
        target = _connections(settings, target_url, "--to-redis-url")
        stack.push_async_callback(target.shutdown)
        database = source.address.database
        keys = keys_of(settings.redis.namespace, database)
        here = make_log(source.commands_for(keys.log), keys, settings.history, 1)
        to = keys_of(settings.redis.namespace, target.address.database)
        in_cluster = target.address.cluster is not None
        there = EventLogs(
            [
                make_log(target.commands_for(each.log), each, settings.history, shards)
                for each in shard_keys(to, shards, in_cluster=in_cluster)
            ]
        )
        number = target.commands_for(to.shards)
        await _check(here, there, number, to, shards)
        copy = _Copy(here, there)
        await copy.run()
        for line in copy.counts.lines():
            write_line(line)
        if copy.counts.agree:
            await number.execute("SET", to.shards, shards)
        return copy.counts.agree


def _connections(settings: Settings, url: str, setting: str) -> Connections:
    return Connections(
        redis_address(url, setting),
        name="sse-node:copy-shards",
        timeout_s=settings.redis.timeout,
        max_connections=2,
    )


async def _check(
    here: EventLog, there: EventLogs, number: RedisCommands, to: Keys, shards: int
) -> None:
    """Refuse what would not be a copy."""
    if present := await here.commands.execute("GET", here.keys.shards):
        raise ConfigError("--redis-url", f"{present.decode()} shards", "a deployment of one shard")
    _, listeners = await here.commands.execute(
        "PUBSUB", "NUMSUB", here.keys.channel(USER_EVENTS.decode())
    )
    if listeners:
        raise ConfigError(
            "--redis-url", f"{listeners} listening processes", "none: stop all nodes, then copy"
        )
    stored = await number.execute("GET", to.shards)
    taken = [log for log in there if await log.commands.execute("EXISTS", log.keys.log)]
    if stored or taken:
        raise ConfigError("--to-shards", shards, "a Redis without shards to copy to")
    if await here.commands.execute("ZCARD", here.keys.webhooks):
        raise ConfigError("--to-shards", shards, "1, because there are webhooks")


class _Copy:
    """One run: what is read here is written there."""

    def __init__(self, here: EventLog, there: EventLogs) -> None:
        self._here = here
        self._there = there
        self._totals = [0] * len(there)
        self._lengths = [0] * len(there)
        self._newest_account = 0
        self.counts = Counts()

    async def run(self) -> None:
        """Copy everything, then count it."""
        await self._copy_log()
        await self._copy_accounts()
        await self._copy_snapshots()
        await self._copy_jobs()
        await self._copy_rest()

    # The log

    async def _copy_log(self) -> None:
        position = 0
        while entries := await self._here.read_from(position, _PORTION):
            parts: dict[int, list[ScriptArgument]] = {}
            for entry in entries:
                for shard in self._shards_of(entry):
                    parts.setdefault(shard, []).extend(self._arguments(entry, shard))
            for shard, arguments in parts.items():
                log = self._there[shard]
                self._lengths[shard] = await log.commands.run(
                    _COPY_ENTRIES, [log.keys.log], arguments
                )
            position = entries[-1].position + 1
        self.counts.copied["log entries, in all shards"] = sum(self._lengths)

    def _shards_of(self, entry: LogEntry) -> Iterable[int]:
        """Return the shards of an entry: its user's, or all; those count what is expected."""
        shards: Iterable[int] = range(len(self._there))
        if entry.channel == USER_EVENTS and not entry.mark:
            try:
                user = user_of(decode_envelope(entry.payload, len(entry.payload)))
            except PublisherError:  # an entry of another program, which nobody hears
                user = ""
            shards = [self._there.shard_of(user)]
        self.counts.found["log entries, in all shards"] += len(list(shards))
        return shards

    def _arguments(self, entry: LogEntry, shard: int) -> list[ScriptArgument]:
        self._totals[shard] += len(entry.payload) if not entry.mark else 0
        event_id = format_position(entry.position)
        return [event_id, entry.mark, entry.channel, entry.payload, self._totals[shard]]

    # Accounts

    async def _scan(self, key: str) -> AsyncIterator[str]:
        """Yield what the keys have in place of the `*` at the end, each once."""
        seen: set[str] = set()
        cursor = 0
        while True:
            cursor, keys = await self._here.commands.execute(
                "SCAN", cursor, "MATCH", key, "COUNT", _SCANNED
            )
            for found in keys:
                name = found.decode()[len(key) - 1 :]
                if name not in seen:
                    seen.add(name)
                    yield name
            if not cursor:
                return

    async def _copy_accounts(self) -> None:
        keys = self._here.keys
        async for name in self._scan(f"{keys.account(0)[:-1]}*"):
            fields = await self._here.commands.execute("HGETALL", keys.account(int(name)))
            user = msgspec.json.decode(fields[b"userId"], type=str)
            await self._copy_account(int(name), user, fields)
        log = self._there
        newest = self._newest_account
        for each in log:  # new ids are above all that there are
            first = newest // len(log) + 1
            await each.commands.execute("SET", each.keys.account_counter, first)

    async def _copy_account(self, account_id: int, user: str, fields: dict[bytes, bytes]) -> None:
        log, here = self._there.of_user(user), self._here
        self._newest_account = max(self._newest_account, account_id)
        flat = [text for pair in fields.items() for text in pair]
        await log.commands.execute("HSET", log.keys.account(account_id), *flat)
        index = log.keys.accounts_of(user)
        self.counts.found["accounts"] += 1
        self.counts.copied["accounts"] += await log.commands.execute(
            "ZADD", index, account_id, account_id
        )
        history = log.keys.account_history(account_id)
        await self._copy_list(
            "account changes", here.keys.account_history(account_id), log, history
        )
        shard = self._there.shard_of(user)
        if account_id % len(self._there) != shard:
            guide = self._there.of_account(account_id)
            await guide.commands.execute("HSET", guide.keys.moved_accounts, account_id, shard)

    async def _copy_list(self, kind: str, key: str, log: EventLog, to: str) -> None:
        start = 0
        while items := await self._here.commands.execute(
            "LRANGE", key, start, start + _PORTION - 1
        ):
            start += len(items)
            await log.commands.execute("RPUSH", to, *items)
        self.counts.found[kind] += start
        self.counts.copied[kind] += await log.commands.execute("LLEN", to)

    async def _copy_snapshots(self) -> None:
        keys = self._here.keys
        async for user in self._scan(f"{keys.snapshots_of('')}*"):
            log = self._there.of_user(user)
            await self._copy_list(
                "snapshots", keys.snapshots_of(user), log, log.keys.snapshots_of(user)
            )

    async def _copy_jobs(self) -> None:
        jobs: list[Any] = await self._here.commands.execute(
            "XRANGE", self._here.keys.jobs, "-", "+"
        )
        for _, fields in jobs:
            log = self._there.of_user(fields[b"userId"].decode())
            flat = [text for pair in fields.items() for text in pair]
            self.counts.found["snapshot jobs"] += 1
            added = await log.commands.execute("XADD", log.keys.jobs, "*", *flat)
            self.counts.copied["snapshot jobs"] += bool(added)

    # What is for all users

    async def _copy_rest(self) -> None:
        execute = self._here.commands.execute
        first = self._there[0]
        revoked = await execute("ZRANGE", self._here.keys.revocations, 0, -1, "WITHSCORES")
        for name, until in zip(revoked[::2], revoked[1::2], strict=True):
            self.counts.found["revocations"] += 1
            self.counts.copied["revocations"] += await first.commands.execute(
                "ZADD", first.keys.revocations, until, name
            )
        mark = await execute("GET", self._here.keys.rollback)
        async for name in self._scan(f"{self._here.keys.source('')}*"):
            parts = await execute("HGETALL", self._here.keys.source(name))
            flat = [text for pair in parts.items() for text in pair]
            for log in self._there:  # each shard has all that was published before
                await log.commands.execute("HSET", log.keys.source(name), *flat)
        if mark:
            for log in self._there:
                await log.commands.execute("SET", log.keys.rollback, mark)
