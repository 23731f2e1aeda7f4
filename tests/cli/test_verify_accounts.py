"""Which accounts differ from their histories, in a real Valkey that no node serves."""

from __future__ import annotations

import json
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from sse_node.cli.verify_accounts import verify_accounts
from sse_node.config.reading import read_settings
from sse_node.errors import RedisError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness import RedisProcess

DATABASE = 14
PREFIX = f"blue:db{DATABASE}:"
ACCOUNT = {
    "name": '"Mill"',
    "balance": "1",
    "userId": '"ann"',
    "createdAt": '"2026-11-27T12:00:00.000Z"',
}


@pytest.fixture
def client(valkey: RedisProcess) -> Iterator[Redis]:
    """A client of an empty database."""
    with Redis(unix_socket_path=str(valkey.socket_path), db=DATABASE) as client:
        client.flushdb()
        yield client


def add(client: Redis, account_id: int, *changes: dict[str, Any], **stored: str) -> None:
    """Add an account with a history; `stored` are members that differ from its creation."""
    account = {"id": str(account_id), **ACCOUNT}
    created = {name: json.loads(value) for name, value in account.items()}
    entries: list[dict[str, Any]] = [
        {"eventType": "account.created", "at": None, "changes": created},
        *({"eventType": "account.updated", "at": 1, "changes": change} for change in changes),
    ]
    store(client, f"{PREFIX}sse:account:{account_id}", **{**account, **stored})
    client.rpush(f"{PREFIX}sse:account-history:{account_id}", *map(json.dumps, entries))


def store(client: Redis, key: str, **members: str) -> None:
    mapping: Any = members
    client.hset(key, mapping=mapping)


def verify(valkey: RedisProcess) -> tuple[list[str], tuple[int, ...]]:
    """Return the lines, and how many were compared, differ, and have no history."""
    url = f"{valkey.url}?db={DATABASE}"
    lines: list[str] = []
    settings = read_settings({"redis_url": url, "namespace": "blue"}, {})
    return lines, astuple(verify_accounts(settings, lines.append))


def test_accounts_that_are_as_their_histories_say(client: Redis, valkey: RedisProcess) -> None:
    assert verify(valkey) == ([], (0, 0, 0))
    add(client, 1)
    add(client, 2, {"balance": 5}, {"name": "Quarry"}, name='"Quarry"', balance="5")
    add(client, 30, *({"balance": n} for n in range(1300)), balance="1299")
    store(client, f"{PREFIX}sse:account:7", id="7", **ACCOUNT)
    store(client, "sse:account:8", id="8", **ACCOUNT)  # of another namespace
    assert verify(valkey) == ([], (3, 0, 1))


def test_each_difference_is_a_line(client: Redis, valkey: RedisProcess) -> None:
    add(client, 250, {"balance": 5}, balance="4", name='"Mine"')
    add(client, 9)
    client.hdel(f"{PREFIX}sse:account:9", "createdAt")
    add(client, 10)
    client.delete(f"{PREFIX}sse:account:10")
    add(client, 11, *({"balance": n} for n in range(50)), balance="49")
    client.lset(f"{PREFIX}sse:account-history:11", 40, "nothing")
    for account_id in range(300, 450):
        add(client, account_id)
    lines, totals = verify(valkey)
    assert totals == (154, 4, 0)
    assert lines[:2] == [
        'account 9: createdAt is missing, its history gives "2026-11-27T12:00:00.000Z"',
        "account 10: it is missing, but has a history",
    ]
    assert lines[2].startswith("account 11: version 41 of its history is malformed: ")
    assert lines[3:] == [
        'account 250: name is "Mine", its history gives "Mill"; balance is 4, its history gives 5'
    ]


def test_no_server_and_no_account() -> None:
    settings = read_settings({"redis_url": "unix:///nowhere/redis.sock"}, {})
    with pytest.raises(RedisError, match="Redis is away"):
        verify_accounts(settings, print)


def test_what_is_no_account_is_refused(client: Redis, valkey: RedisProcess) -> None:
    client.set(f"{PREFIX}sse:account:1", "text")
    with pytest.raises(RedisError, match="WRONGTYPE"):
        verify(valkey)
