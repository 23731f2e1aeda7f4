"""Keys and channels: each has the prefix of its namespace."""

import inspect
import re
from importlib.resources import files

import pytest
from redis.crc import key_slot

from sse_node.redis.commands import RedisCommands
from sse_node.redis.event_log import EventLog
from sse_node.redis.keys import LOG_KEY, Keys, idempotency_name, keys_of, probe_channel, shard_keys
from sse_node.wire.envelope import USER_EVENTS, encode_envelope

EVENT = (USER_EVENTS.decode(), encode_envelope("ann", "t", b"1", broadcast=False))


@pytest.mark.parametrize(
    ("namespace", "database", "log"),
    [
        ("", 0, "sse:log"),
        ("blue", 0, "blue:sse:log"),
        ("{blue}", 0, "{blue}:sse:log"),
        ("", 3, "db3:sse:log"),
        ("blue", 3, "blue:db3:sse:log"),
    ],
)
def test_namespace_and_database_are_the_prefix(namespace: str, database: int, log: str) -> None:
    assert keys_of(namespace, database).log == log


def names_of(keys: Keys) -> list[str]:
    """Return what each public member of `keys` makes of the same arguments."""
    names: list[str] = []
    for name, _ in inspect.getmembers(Keys):
        if name.startswith("_") or name == "prefix":
            continue
        member = getattr(keys, name)
        made = member("7") if callable(member) else member
        names += made if isinstance(made, list) else [made]
    return names


def test_every_key_and_channel_has_the_prefix() -> None:
    plain = names_of(Keys())
    assert len(plain) == len(set(plain)) == 24
    assert names_of(Keys("blue:")) == [f"blue:{name}" for name in plain]
    assert LOG_KEY in plain


def test_no_idempotency_key_needs_no_record() -> None:
    assert Keys("blue:").idempotency_record("") == []
    assert idempotency_name("POST /events", "ann", "") == ""


def test_an_idempotency_key_is_of_one_operation_and_one_caller() -> None:
    scopes = [
        ("POST /events", "ann", "key"),
        ("POST /accounts", "ann", "key"),
        ("POST /events", "bob", "key"),
        ("POST /events", "", "key"),
        ("POST /events", "ann", "KEY"),
        ("POST /events", "ann", '","key'),
        ("POST /events", 'ann","', "key"),
        ("POST /events", "annkey", " "),
        ("POST /eventsann", "key", " "),
    ]
    names = {idempotency_name(*scope) for scope in scopes}
    assert len(names) == len(scopes)
    assert all(re.fullmatch("[0-9a-f]{64}", name) for name in names)
    assert names == {idempotency_name(*scope) for scope in scopes}


async def test_the_script_publishes_on_the_channel_of_its_log(commands: RedisCommands) -> None:
    logs = [EventLog(commands, 1000, keys_of(namespace, 0)) for namespace in ("", "blue", "{b}.1")]
    for number, log in enumerate(logs, 1):
        for _ in range(number):
            await log.publish([EVENT])
    assert [await commands.execute("XLEN", log.keys.log) for log in logs] == [1, 2, 3]
    for log in logs:
        (entry,) = await log.read_from(0, 1)
        assert entry.channel == USER_EVENTS
    statistics = await commands.execute("PUBSUB", "NUMSUB", "blue:user-events")
    assert statistics == [b"blue:user-events", 0]


async def test_marks_and_probes_are_of_one_namespace(commands: RedisCommands) -> None:
    blue, green = (EventLog(commands, 1000, keys_of(name, 0)) for name in ("blue", "green"))
    for log in (blue, green):
        await log.open()
        await log.probe("node-1", b"1", 0)
    mark = await blue.mark_rollback(await blue.rollback(), await blue.rollback())
    assert await blue.rollback() == mark
    assert await green.rollback() < mark
    names = {name.decode() for name in await commands.execute("KEYS", "*")}
    own = ("sse:log", probe_channel("node-1"))
    assert names == {
        *(f"{namespace}:{name}" for namespace in ("blue", "green") for name in own),
        "blue:sse:rollback",
    }


async def test_an_idempotency_key_is_of_one_namespace(commands: RedisCommands) -> None:
    blue, green = (EventLog(commands, 1000, keys_of(name, 0)) for name in ("blue", "green"))
    first = await blue.publish([EVENT], "key")
    assert await blue.publish([EVENT], "key") == first
    await green.publish([EVENT], "key")
    assert len(await green.read_from(0, 10)) == 1


def test_scripts_are_given_every_key() -> None:
    """The key of each command in a script is one of KEYS, by itself or by a local name."""
    names = {
        "log",
        "record",
        "key",
        "history",
        "queue",
        "webhook",
        "due",
        "state",
        "dead_letters",
        "mark",
    }
    scripts = sorted((files("sse_node.redis") / "scripts").iterdir(), key=lambda file: file.name)
    assert len(scripts) > 10
    for script in scripts:
        found = re.findall(
            r"redis\.call\('(\w+)'(?:,\s*'[A-Z]+')?(?:,\s*([^,) ]+))?", script.read_text("utf-8")
        )
        for command, key in found:
            given = key in names or re.match(r"KEYS\[", key)
            assert given or command in {"TIME", "PUBLISH", "XREADGROUP"}, (
                f"{script}: {command} {key}"
            )


def test_a_single_shard_has_the_servers_own_names() -> None:
    assert shard_keys(Keys("blue:"), 1) == [Keys("blue:")]


def test_the_keys_of_a_shard_are_in_one_slot() -> None:
    one, other = shard_keys(Keys("blue:"), 2)
    assert one.log == "blue:shard0{3124}:sse:log"
    assert len({key_slot(name.encode()) for name in names_of(one)}) == 1
    assert key_slot(one.log.encode()) != key_slot(other.log.encode())


def test_in_a_cluster_a_single_shard_is_in_one_slot_too() -> None:
    (keys,) = shard_keys(Keys(), 1, in_cluster=True)
    assert len({key_slot(name.encode()) for name in names_of(keys)}) == 1
