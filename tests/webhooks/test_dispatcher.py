"""From the log to the queues: everything, once, in the order of the log, or a gap."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from sse_node.errors import RedisError
from sse_node.webhooks.dispatcher import _DISPATCH, _FIND
from sse_node.webhooks.queue import Result
from sse_node.webhooks.registry import Change
from sse_node.webhooks.schedule import Outcome
from tests.support.webhook_fixtures import KEYS, Hooks, dispatch_all

if TYPE_CHECKING:
    from sse_node.redis.commands import RedisCommands, Script
    from sse_node.redis.event_log import EventLog


@pytest.fixture
def hooks(commands: RedisCommands, log: EventLog) -> Hooks:
    return Hooks(commands, log)


def count_runs(hooks: Hooks, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return how often each script runs from now on, by its last file."""
    runs: Counter[str] = Counter()
    names = {_FIND: "find_webhooks", _DISPATCH: "dispatch"}
    run = hooks.commands.run

    async def count(script: Script, *arguments: Any) -> Any:  # noqa: ANN401
        runs[names[script]] += 1
        return await run(script, *arguments)

    monkeypatch.setattr(hooks.commands, "run", count)
    return runs


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


@pytest.mark.parametrize(("events", "scripts"), [(10, 4), (50, 16)], ids=["few", "a backlog"])
async def test_a_batch_is_done_in_parts(
    hooks: Hooks, monkeypatch: pytest.MonkeyPatch, events: int, scripts: int
) -> None:
    webhooks = [await hooks.create(user) for user in ("ann", "bob", "bob")]
    for number in range(0, events, 2):
        await hooks.publish(number)
        await hooks.publish(number + 1, user="bob")
    dispatcher = hooks.dispatcher()
    dispatcher._portion = 100
    runs = count_runs(hooks, monkeypatch)
    _, batch = await dispatcher._read()
    assert await dispatcher._dispatch(batch) == events
    assert runs["dispatch"] == scripts, "four messages each, or a tenth of the entries"
    expected = [list(range(first, events, 2)) for first in (0, 1, 1)]
    for webhook, data in zip(webhooks, expected, strict=True):
        assert [message["data"] for message in await hooks.queued(webhook)] == data
    assert dispatcher.queued == 1.5 * events


async def test_an_event_of_many_webhooks_is_done_in_parts(hooks: Hooks) -> None:
    webhooks = [await hooks.create() for _ in range(30)]
    await hooks.publish(1, 2)
    dispatcher = hooks.dispatcher()
    assert await dispatch_all(dispatcher) == 2
    for webhook in webhooks:
        assert [message["data"] for message in await hooks.queued(webhook)] == [1, 2]
    assert dispatcher.queued == 60


async def test_the_webhooks_of_many_users_are_found(
    hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = [f"user-{number}" for number in range(25)]
    webhooks = [await hooks.create(user) for user in users]
    runs = count_runs(hooks, monkeypatch)
    found = await hooks.dispatcher()._find({*users, "another"})
    assert found == {
        user: [(webhook, ["*"])] for user, webhook in zip(users, webhooks, strict=True)
    }
    assert runs["find_webhooks"] == 3, "ten at once"


async def test_more_is_read_at_once_while_there_is_more(hooks: Hooks) -> None:
    await hooks.create()
    await hooks.publish(*range(700))
    dispatcher = hooks.dispatcher()
    sizes = []
    while True:
        _, batch = await dispatcher._read()
        sizes.append(len(batch))
        if not batch:
            break
        await dispatcher._dispatch(batch)
    assert sizes == [10, 40, 160, 490, 0]
    assert dispatcher._portion == 10


async def test_what_is_read_at_once_is_bounded_in_bytes(
    hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sse_node.webhooks.dispatcher._PORTION_BYTES", 20_000)
    await hooks.create()
    await hooks.publish(*["x" * 5000] * 20)
    dispatcher = hooks.dispatcher()
    await dispatcher._read()  # ten, of an unknown size
    assert len((await dispatcher._read())[1]) == 3


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
    known = await hooks.state("position")
    ids = await hooks.publish(1, 2, 3)
    await hooks.dispatcher("dead")._read()
    await hooks.commands.execute("XTRIM", KEYS.log, "MAXLEN", "=", 1)
    monkeypatch.setattr("sse_node.webhooks.dispatcher._CLAIM_AFTER_MS", 0)
    dispatcher = hooks.dispatcher()
    claimed = await dispatcher._claim()
    await dispatcher._record_gap()
    assert await dispatcher._dispatch(claimed) == 1
    assert [message["data"] for message in await hooks.queued(webhook)] == [
        {"from": known, "until": ids[1], "count": None},
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


@pytest.mark.parametrize("who", ["process", "creation"])
async def test_a_log_that_was_deleted_is_a_gap(hooks: Hooks, who: str) -> None:
    """Whether a process or the creation of a webhook finds it first."""
    webhook = await hooks.create()
    dispatcher = hooks.dispatcher()
    (known,) = await hooks.publish(0)
    await dispatch_all(dispatcher)
    await hooks.commands.execute("DEL", KEYS.log)
    (first, _) = await hooks.publish(1, 2)
    if who == "creation":
        await hooks.create("bob")
    else:
        with pytest.raises(RedisError, match="NOGROUP"):
            await dispatcher._read()
        await dispatcher._open()
    await dispatch_all(dispatcher)
    gap = {"from": known, "until": first, "count": None}
    assert [message["data"] for message in await hooks.queued(webhook)] == [0, gap, 1, 2]
    assert dispatcher.gaps == 1


async def test_a_log_that_was_deleted_is_a_gap_also_when_it_is_empty(hooks: Hooks) -> None:
    webhook = await hooks.create()
    dispatcher = hooks.dispatcher()
    (known,) = await hooks.publish(0)
    await dispatch_all(dispatcher)
    await hooks.commands.execute("DEL", KEYS.log)
    await dispatcher._open()
    (first,) = await hooks.publish(1)
    await dispatch_all(dispatcher)
    gap = {"from": known, "until": first, "count": None}
    assert [message["data"] for message in await hooks.queued(webhook)] == [0, gap, 1]


async def test_a_log_whose_ids_began_anew_is_read_and_a_gap(hooks: Hooks) -> None:
    webhook = await hooks.create()
    dispatcher = hooks.dispatcher()
    await hooks.publish(0)
    await dispatch_all(dispatcher)
    await hooks.commands.execute("DEL", KEYS.log)
    await hooks.commands.execute("HSET", KEYS.webhooks_state, "position", "9999999999999-0")
    await hooks.publish(1)
    await dispatcher._open()
    await dispatch_all(dispatcher)
    assert dispatcher.gaps == 1
    types = [message["eventType"] for message in await hooks.queued(webhook)]
    assert types == ["t", "webhook.gap", "t"]


async def test_a_webhook_beside_others_is_no_gap(hooks: Hooks) -> None:
    """Also when the newest entry, which is done, has been deleted."""
    await hooks.create()
    dispatcher = hooks.dispatcher()
    await hooks.publish(0)
    (newest,) = await hooks.publish(1)
    await dispatch_all(dispatcher)
    await hooks.commands.execute("XDEL", KEYS.log, newest)
    await hooks.create("bob")
    await hooks.publish(2)
    await dispatch_all(dispatcher)
    assert dispatcher.gaps == 0


async def test_a_group_that_was_deleted_goes_on_where_it_was(hooks: Hooks) -> None:
    webhook = await hooks.create()
    dispatcher = hooks.dispatcher()
    await hooks.publish(0)
    await dispatch_all(dispatcher)
    await hooks.commands.execute("XGROUP", "DESTROY", KEYS.log, "webhooks")
    await hooks.publish(1)
    await dispatcher._open()
    await hooks.publish(2)
    await dispatch_all(dispatcher)
    assert [message["data"] for message in await hooks.queued(webhook)] == [0, 1, 2]
    assert dispatcher.gaps == 0


async def test_one_loss_is_one_gap(hooks: Hooks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when a dead process had read more entries than are taken over at once."""
    webhook = await hooks.create()
    ids = await hooks.publish(*range(25))
    dead = hooks.dispatcher("dead")
    dead._portion = 500
    assert len((await dead._read())[1]) == 25
    await hooks.commands.execute("XTRIM", KEYS.log, "MAXLEN", "=", 1)
    monkeypatch.setattr("sse_node.webhooks.dispatcher._CLAIM_AFTER_MS", 0)
    dispatcher = hooks.dispatcher()
    assert dispatcher._portion == 10
    claimed = await dispatcher._claim()
    await dispatcher._record_gap()
    assert await dispatcher._dispatch(claimed) == 1
    assert await dispatcher._claim() == []
    await dispatcher._record_gap()
    assert dispatcher.gaps == 1
    queued = await hooks.queued(webhook)
    assert [message["id"] for message in queued] == [f"{ids[23]}-gap", ids[24]]


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
