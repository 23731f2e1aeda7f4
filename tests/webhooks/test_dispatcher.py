"""From the log to the queues: everything, once, in the order of the log, or a gap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sse_node.errors import RedisError
from sse_node.webhooks.queue import Result
from sse_node.webhooks.registry import Change
from sse_node.webhooks.schedule import Outcome
from tests.support.webhook_fixtures import KEYS, Hooks, dispatch_all

if TYPE_CHECKING:
    from sse_node.redis.commands import RedisCommands
    from sse_node.redis.event_log import EventLog


@pytest.fixture
def hooks(commands: RedisCommands, log: EventLog) -> Hooks:
    return Hooks(commands, log)


async def test_events_go_to_the_webhooks_of_their_user_and_type(hooks: Hooks) -> None:
    await hooks.publish("before")
    first, second = await hooks.create(), await hooks.create("ann", "u", "v")
    other = await hooks.create("bob")
    dispatcher = hooks.dispatcher()
    ids = await hooks.publish(1, {"two": 2})
    (u,) = await hooks.publish(3, event_type="u")
    await hooks.log.publish([("system-events", b'{"eventType":"t","data":1}')])
    await hooks.log.publish([("user-events", b'{"userId":"ann","eventType":"open","data":1}')])
    assert await dispatch_all(dispatcher) == 5
    assert await hooks.queued(first) == [
        {"id": ids[0], "eventType": "t", "data": 1},
        {"id": ids[1], "eventType": "t", "data": {"two": 2}},
        {"id": u, "eventType": "u", "data": 3},
    ]
    assert [message["id"] for message in await hooks.queued(second)] == [u]
    assert await hooks.queued(other) == []
    assert dispatcher.queued == 4
    pending = await hooks.commands.execute("XPENDING", KEYS.log, "webhooks")
    assert pending["pending"] == 0


async def test_a_webhook_gets_nothing_from_before_its_creation(hooks: Hooks) -> None:
    await hooks.create("bob")  # the group begins here
    await hooks.publish("before")
    webhook = await hooks.create()
    await hooks.publish("after")
    await dispatch_all(hooks.dispatcher())
    assert [message["data"] for message in await hooks.queued(webhook)] == ["after"]


async def test_a_webhook_that_is_enabled_again_gets_nothing_from_before(hooks: Hooks) -> None:
    webhook = await hooks.create()
    assert await hooks.registry.update(webhook, "ann", Change({"enabled": "0"}, tries=False))
    await hooks.publish("meanwhile")
    for _ in range(2):  # the second time it is enabled
        assert await hooks.registry.update(webhook, "ann", Change({"enabled": "1"}, tries=True))
        await hooks.publish("after")
    await dispatch_all(hooks.dispatcher())
    assert [message["data"] for message in await hooks.queued(webhook)] == ["after"] * 2


async def test_a_batch_waits_for_the_one_before(hooks: Hooks) -> None:
    webhook = await hooks.create()
    one, two = hooks.dispatcher("one"), hooks.dispatcher("two")
    await hooks.publish(1)
    _, first = await one._read()
    await hooks.publish(2)
    _, second = await two._read()
    assert await two._dispatch(second) == 0
    assert await hooks.queued(webhook) == []
    assert await one._dispatch(first) == 1
    assert await two._dispatch(second) == 1
    assert [message["data"] for message in await hooks.queued(webhook)] == [1, 2]


async def test_a_batch_that_another_process_took_over_is_done_once(
    hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook = await hooks.create()
    one, two = hooks.dispatcher("one"), hooks.dispatcher("two")
    await hooks.publish(1, 2)
    _, batch = await one._read()
    assert await two._claim() == [], "not yet"
    monkeypatch.setattr("sse_node.webhooks.dispatcher._CLAIM_AFTER_MS", 0)
    claimed = await two._claim()
    assert claimed == batch
    assert await two._dispatch(claimed) == 2
    assert await one._dispatch(batch) == 2, "nothing to do"
    assert [message["data"] for message in await hooks.queued(webhook)] == [1, 2]


async def test_a_large_batch_is_done_in_parts(hooks: Hooks) -> None:
    webhooks = [await hooks.create() for _ in range(30)]
    await hooks.publish(*range(20))
    dispatcher = hooks.dispatcher()
    assert await dispatch_all(dispatcher) == 20
    for webhook in webhooks:
        assert [message["data"] for message in await hooks.queued(webhook)] == list(range(20))
    assert dispatcher.queued == 600


async def test_what_finds_no_room_is_counted(commands: RedisCommands, log: EventLog) -> None:
    hooks = Hooks(commands, log, limits="4:100000:1000000")
    webhook = await hooks.create()
    dispatcher = hooks.dispatcher()
    ids = await hooks.publish(*range(10))
    await dispatch_all(dispatcher)
    assert [message["data"] for message in await hooks.queued(webhook)] == [0, 1, 2, 3]
    shown = await hooks.shown(webhook)
    gap = (shown["missed_from"], shown["missed_until"], shown["missed"])
    assert gap == (ids[4], ids[9], "6")
    await commands.execute("LPOP", KEYS.webhook_queue(webhook))
    (more,) = await hooks.publish(10)
    await dispatch_all(dispatcher)
    assert (await hooks.shown(webhook))["missed_until"] == more, "until half of it is free"
    await commands.execute("LTRIM", KEYS.webhook_queue(webhook), -1, -1)
    await hooks.publish(11)
    await dispatch_all(dispatcher)
    messages = await hooks.queued(webhook)
    assert [message["data"] for message in messages] == [
        3,
        {"from": ids[4], "until": more, "count": 7},
        11,
    ]
    assert messages[1]["eventType"] == "webhook.gap"
    assert "missed_until" not in await hooks.shown(webhook)
    assert (await hooks.shown(webhook))["missed_in_all"] == "7"


@pytest.mark.parametrize("limits", ["100:500:1000000", "100:100000:500"])
async def test_bytes_are_bounded(commands: RedisCommands, log: EventLog, limits: str) -> None:
    hooks = Hooks(commands, log, limits)
    webhook = await hooks.create()
    await hooks.publish(*["x" * 100] * 10)
    await dispatch_all(hooks.dispatcher())
    size = sum(len(each) for each in await commands.execute(
        "LRANGE", KEYS.webhook_queue(webhook), 0, -1
    ))  # fmt: skip
    assert 200 < size <= 500
    assert (await hooks.shown(webhook))["queue_bytes"] == await hooks.state("bytes") == str(size)


async def test_the_bytes_of_all_are_those_of_each(commands: RedisCommands, log: EventLog) -> None:
    """Also when one script queues for several webhooks, ends gaps, and finds no room."""
    hooks = Hooks(commands, log, "4:100000:1500")
    webhooks = [await hooks.create() for _ in range(3)]
    dispatcher = hooks.dispatcher()
    sizes = []
    for round_number in range(6):
        await hooks.publish(*["x" * 100] * 3)
        await dispatch_all(dispatcher)
        queued = [int((await hooks.shown(each))["queue_bytes"]) for each in webhooks]
        sizes.append(sum(queued))
        assert await hooks.state("bytes") == str(sum(queued))
        for each, size in zip(webhooks, queued, strict=True):
            texts = await commands.execute("LRANGE", KEYS.webhook_queue(each), 0, -1)
            assert sum(map(len, texts)) == size
            is_due = await commands.execute("ZSCORE", KEYS.webhooks_due, each) is not None
            assert is_due or not texts, "who has messages is due"
        for claim in await hooks.queues.claim(round_number % 3):  # others have gaps that go on
            job = await hooks.queues.next(claim)
            while job is not None:
                result = Result(Outcome.DELIVERED)
                job = await hooks.queues.settle(job, result, goes_on=True)
    assert 1000 < max(sizes) <= 1500


async def test_what_the_log_lost_unread_is_a_gap_of_every_webhook(hooks: Hooks) -> None:
    first, second = await hooks.create(), await hooks.create("bob")
    dispatcher = hooks.dispatcher()
    (known,) = await hooks.publish(0)
    await dispatch_all(dispatcher)
    ids = await hooks.publish(1, 2, 3)
    await hooks.commands.execute("XTRIM", KEYS.log, "MAXLEN", "=", 1)
    late = await hooks.create("carl")
    await dispatch_all(dispatcher)
    messages = await hooks.queued(first)
    gap = {"from": known, "until": ids[2], "count": None}
    assert [message["data"] for message in messages] == [0, gap, 3]
    assert (await hooks.shown(second))["missed_until"] == ids[2]
    assert "missed_until" not in await hooks.shown(late)
    assert dispatcher.gaps == 1
    assert await hooks.state("gap_until") == ""


async def test_nothing_is_a_gap_while_the_log_has_what_was_read_last(hooks: Hooks) -> None:
    await hooks.create()
    dispatcher = hooks.dispatcher()
    for number in range(5):
        await hooks.publish(number)
        await dispatch_all(dispatcher)
        await hooks.commands.execute("XTRIM", KEYS.log, "MAXLEN", "=", 1)
    assert dispatcher.gaps == 0


async def test_what_a_dead_process_had_read_and_the_log_lost_is_a_gap(
    hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook = await hooks.create()
    ids = await hooks.publish(1, 2, 3)
    await hooks.dispatcher("dead")._read()
    await hooks.commands.execute("XTRIM", KEYS.log, "MAXLEN", "=", 1)
    monkeypatch.setattr("sse_node.webhooks.dispatcher._CLAIM_AFTER_MS", 0)
    dispatcher = hooks.dispatcher()
    claimed = await dispatcher._claim()
    await dispatcher._record_gap()
    assert await dispatcher._dispatch(claimed) == 1
    assert [message["data"] for message in await hooks.queued(webhook)] == [
        {"from": ids[0], "until": ids[1], "count": None},
        3,
    ]


@pytest.mark.parametrize("kept", [1, 0])
async def test_a_gap_that_a_dead_process_has_found_is_found_again(
    hooks: Hooks, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    webhook = await hooks.create()
    dispatcher, dead = hooks.dispatcher(), hooks.dispatcher("dead")
    (known,) = await hooks.publish(0)
    await dispatch_all(dispatcher)
    ids = await hooks.publish(1, 2, 3)
    await hooks.commands.execute("XTRIM", KEYS.log, "MAXLEN", "=", 1)
    await dead._read()
    assert dead._gap == (known.encode(), ids[2].encode())
    await hooks.commands.execute("XTRIM", KEYS.log, "MAXLEN", "=", kept)
    monkeypatch.setattr("sse_node.webhooks.dispatcher._CLAIM_AFTER_MS", 0)
    claimed = await dispatcher._claim()
    assert len(claimed) == kept
    await dispatcher._record_gap()
    shown = await hooks.shown(webhook)
    if kept:
        await dispatcher._dispatch(claimed)
        gap = {"from": known, "until": ids[2], "count": None}
        assert [message["data"] for message in await hooks.queued(webhook)] == [0, gap, 3]
    else:
        assert (shown["missed_from"], shown["missed_until"]) == (known, ids[2])


async def test_what_was_taken_over_is_no_gap_while_the_log_has_what_was_done_before(
    hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hooks.create()
    dispatcher = hooks.dispatcher()
    await hooks.publish(0)
    await dispatch_all(dispatcher)
    await hooks.publish(1, 2)
    await hooks.dispatcher("dead")._read()
    monkeypatch.setattr("sse_node.webhooks.dispatcher._CLAIM_AFTER_MS", 0)
    assert len(await dispatcher._claim()) == 2
    assert dispatcher._gap == [None, None]


async def test_a_log_that_was_deleted_is_a_gap_and_read_from_its_end(hooks: Hooks) -> None:
    webhook = await hooks.create()
    dispatcher = hooks.dispatcher()
    (known,) = await hooks.publish(0)
    await dispatch_all(dispatcher)
    await hooks.commands.execute("DEL", KEYS.log)
    (unread,) = await hooks.publish(1)
    with pytest.raises(RedisError, match="NOGROUP"):
        await dispatcher._read()
    await dispatcher._open()
    await hooks.publish(2)
    await dispatch_all(dispatcher)
    gap = {"from": known, "until": unread, "count": None}
    assert [message["data"] for message in await hooks.queued(webhook)] == [0, gap, 2]
    await dispatcher._open()
    assert await hooks.state("gap_until") == "", "it is told once"


async def test_only_a_webhook_without_messages_becomes_due(hooks: Hooks) -> None:
    await hooks.create()
    due: list[None] = []
    dispatcher = hooks.dispatcher(wake=lambda: due.append(None))
    for number in range(3):
        await hooks.publish(number)
        await dispatch_all(dispatcher)
    assert len(due) == 1


async def test_what_others_left_is_looked_for_once_a_second(
    hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sse_node.webhooks.dispatcher._CLAIM_AFTER_MS", 0)
    await hooks.create()
    dead, dispatcher = hooks.dispatcher("dead"), hooks.dispatcher()
    assert await dispatcher._left() == []
    await hooks.publish(1)
    _, left = await dead._read()
    assert await dispatcher._left() == [], "not yet"
    monkeypatch.setattr("sse_node.webhooks.dispatcher._CLAIM_INTERVAL_S", 0)
    dispatcher._look_for_left_s = 0
    assert await dispatcher._left() == left


async def test_without_webhooks_there_is_nothing_to_claim(hooks: Hooks) -> None:
    await hooks.log.open()
    assert await hooks.dispatcher()._claim() == []
