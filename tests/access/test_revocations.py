"""The table of revocations on a real Valkey: of this node, and of others."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
from redis import Redis

from sse_node.access import revocations as module
from sse_node.access.revocations import Revocations, name_of_token, name_of_user
from sse_node.errors import RedisError
from sse_node.redis.commands import RedisCommands
from sse_node.redis.keys import Keys
from sse_node.wire.identity import ANYONE, Identity

NOW = 1_900_000_000
KEYS = Keys("tenant:")
ANN = Identity(caller="user:ann", user="ann", token_id="t-1")
BOB = Identity(caller="user:bob", user="bob", token_id="t-2")


class Node:
    """The revocations of one node, what it was told, and its clock."""

    def __init__(self, commands: RedisCommands) -> None:
        self.now = float(NOW)
        self.told: list[str] = []
        self.table = Revocations(commands, KEYS, self.told.append, lambda: self.now)


@pytest.fixture
def node(commands: RedisCommands) -> Node:
    return Node(commands)


async def stored(commands: RedisCommands) -> dict[bytes, float]:
    reply = await commands.execute("ZRANGE", KEYS.revocations, 0, -1, "WITHSCORES")
    return dict(zip(reply[::2], map(float, reply[1::2]), strict=True))


async def test_a_revocation_holds_until_its_time(node: Node, commands: RedisCommands) -> None:
    assert not node.table.covers(ANN)
    await node.table.revoke(name_of_user("ann"), NOW + 60.9)
    assert (node.told, len(node.table)) == (["user:ann"], 1)
    assert await stored(commands) == {b"user:ann": NOW + 60}
    assert node.table.covers(ANN)
    node.now = NOW + 59.9
    assert node.table.covers(ANN)
    node.now = NOW + 60
    assert not node.table.covers(ANN)


@pytest.mark.parametrize(
    ("name", "identity", "expected"),
    [
        (name_of_user("ann"), ANN, True),
        (name_of_user("ann"), BOB, False),
        (name_of_user("an"), ANN, False),
        (name_of_user("Ann"), ANN, False),
        (name_of_user("jti:t-1"), ANN, False),
        (name_of_token("t-1"), ANN, True),
        (name_of_token("t-1"), BOB, False),
        (name_of_token("ann"), ANN, False),
        (name_of_token(""), Identity(caller="user:eve", user="eve"), False),
        (name_of_user("ann"), ANYONE, False),
        (name_of_user("ann"), Identity(caller="key:ann"), False),
    ],
)
async def test_it_covers_the_user_or_the_token_that_it_names(
    node: Node, name: str, identity: Identity, expected: bool
) -> None:
    await node.table.revoke(name, NOW + 60)
    assert node.table.covers(identity) is expected


async def test_a_time_that_is_past_ends_it(node: Node, commands: RedisCommands) -> None:
    await node.table.revoke(name_of_user("ann"), NOW + 60)
    await node.table.revoke(name_of_user("ann"), NOW - 1)
    assert not node.table.covers(ANN)
    assert node.told == ["user:ann"]
    assert await stored(commands) == {}


async def test_records_that_are_over_are_removed_from_redis(
    node: Node, commands: RedisCommands
) -> None:
    await node.table.revoke(name_of_user("ann"), NOW + 10)
    node.now = NOW + 20
    await node.table.revoke(name_of_user("bob"), NOW + 60)
    assert await stored(commands) == {b"user:bob": NOW + 60}


async def test_a_node_reads_the_table_at_its_start(node: Node, commands: RedisCommands) -> None:
    await node.table.revoke(name_of_user("ann"), NOW + 60)
    await node.table.revoke(name_of_token("t-2"), NOW + 5)
    other = Node(commands)
    states = [other.table.is_loaded]
    other.now = NOW + 10
    await other.table.load()
    states.append(other.table.is_loaded)
    assert states == [False, True]
    assert other.told == ["user:ann"]
    assert other.table.covers(ANN)
    assert not other.table.covers(BOB)


async def test_a_later_reading_tells_what_is_new_and_forgets_what_has_ended(
    node: Node, commands: RedisCommands
) -> None:
    other = Node(commands)
    await node.table.revoke(name_of_user("ann"), NOW + 60)
    await other.table.load()
    await node.table.revoke(name_of_user("ann"), NOW - 1)
    await node.table.revoke(name_of_user("bob"), NOW + 60)
    await other.table.load()
    assert other.told == ["user:ann", "user:bob"]
    assert not other.table.covers(ANN)
    assert other.table.covers(BOB)


async def test_what_is_heard_while_the_table_is_read_holds(
    node: Node, commands: RedisCommands, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.table.revoke(name_of_user("ann"), NOW + 60)
    execute = commands.execute

    async def execute_slowly(*command: Any) -> Any:  # noqa: ANN401
        reply = await execute(*command)
        node.table.on_message(b"%d user:bob" % (NOW + 60))
        node.table.on_message(b"0 user:ann")
        return reply

    monkeypatch.setattr(commands, "execute", execute_slowly)
    await node.table.load()
    assert node.table.covers(BOB)
    assert not node.table.covers(ANN)
    assert node.told == ["user:ann", "user:bob"]


async def test_a_change_is_published_as_other_nodes_read_it(
    node: Node, commands: RedisCommands, redis_url: str
) -> None:
    other = Node(commands)
    # As the subscription of another node does.
    with Redis.from_url(redis_url) as client:
        pubsub: Any = client.pubsub()
        pubsub.subscribe(KEYS.channel("sse:revocations"))
        await node.table.revoke(name_of_token("ä b:c"), NOW + 60)
        payloads = [message["data"] for message in islice(pubsub.listen(), 2)]
        pubsub.close()
    other.table.on_message(payloads[1])
    assert other.told == ["jti:ä b:c"]
    assert other.table.covers(Identity(caller="user:x", user="x", token_id="ä b:c"))


@pytest.mark.parametrize(
    "payload",
    [b"", b" ", b"user:ann", b"x user:ann", b"-1 user:ann", b"1.5 user:ann", b"99 ",
     b"9999999999999999 user:ann", b"\xd9\xa1 user:ann", b"\xff\xff", b"inf user:ann"],
)  # fmt: skip
async def test_a_message_that_is_none_is_ignored(node: Node, payload: bytes) -> None:
    node.table.on_message(payload)
    assert (len(node.table), node.told) == (0, [])


async def test_memory_holds_no_more_than_twice_what_holds(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_OVER", 10)
    node.table = Revocations(node.table._commands, KEYS, node.told.append, lambda: node.now)
    for number in range(1000):
        node.now = NOW + number
        node.table.on_message(b"%d user:%d" % (NOW + number + 5, number))
        assert len(node.table) <= 2 * 5 + 10 + 1
    assert len(node.told) == 1000


async def test_without_redis_nothing_is_revoked(no_redis: RedisCommands) -> None:
    told: list[str] = []
    table = Revocations(no_redis, KEYS, told.append)
    with pytest.raises(RedisError):
        await table.revoke(name_of_user("ann"), NOW + 60)
    with pytest.raises(RedisError):
        await table.load()
    assert told == []
    assert not table.covers(ANN)
    assert not table.is_loaded
