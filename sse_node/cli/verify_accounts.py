"""Comparing every account with the state that its history gives, without a node."""

import asyncio
from collections.abc import Callable

from sse_node.api.account_history import FIELDS, differences, fold, read_history
from sse_node.config.sections import Settings
from sse_node.redis.address import redis_address
from sse_node.redis.commands import RedisCommands
from sse_node.redis.keys import Keys, keys_of


def verify_accounts(settings: Settings, write_line: Callable[[str], None]) -> tuple[int, int, int]:
    """Write a line for each account that differs from its history.

    Returns:
        The numbers of accounts compared, of those that differ, and of those without a history,
        which have not been changed since there are histories.

    Raises:
        ConfigError: Redis' URL is not one.
        RedisError: Redis is away, or holds what is no history.
    """
    return asyncio.run(_verify(settings, write_line))


async def _verify(settings: Settings, write_line: Callable[[str], None]) -> tuple[int, int, int]:
    address = redis_address(settings.redis.url)
    keys = keys_of(settings.redis.namespace, address.database)
    commands = RedisCommands(
        address,
        name="sse-node:verify-accounts",
        timeout_s=settings.redis.timeout,
        max_connections=1,
    )
    compared = different = without = 0
    try:
        newest = int(await commands.execute("GET", keys.account_counter) or 0)
        for account_id in range(1, newest + 1):
            found = await _compare(commands, keys, account_id)
            if found is None:
                continue
            state, names = found
            if not state:
                without += 1
                continue
            compared += 1
            if names:
                different += 1
                write_line(f"account {account_id}: {', '.join(names)} differ from its history")
    finally:
        await commands.shutdown()
    return compared, different, without


async def _compare(
    commands: RedisCommands, keys: Keys, account_id: int
) -> tuple[bool, list[str]] | None:
    """Return whether an account has a history, and what differs; None without the account.

    One that changes meanwhile is compared again.
    """
    while True:
        key, history = keys.account(account_id), keys.account_history(account_id)
        stored = await commands.execute("HMGET", key, *FIELDS)
        events = [event async for event in read_history(commands, history)]
        if stored == await commands.execute("HMGET", key, *FIELDS):
            break
    if stored[0] is None:
        return None if not events else (True, ["the account is missing; all"])
    if not events:
        return False, []
    return True, differences(fold(events), dict(zip(FIELDS, stored, strict=True)))
