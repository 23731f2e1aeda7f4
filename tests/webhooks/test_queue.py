"""Queues: one process at a time has a webhook, and what it does counts while it has."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from sse_node.webhooks.queue import Claim, Job, Result
from sse_node.webhooks.registry import Change
from sse_node.webhooks.schedule import Outcome
from tests.support.redis_fixtures import next_millisecond
from tests.support.webhook_fixtures import KEYS, Hooks, dispatch_all

if TYPE_CHECKING:
    from sse_node.redis.commands import RedisCommands
    from sse_node.redis.event_log import EventLog

DELIVERED = Result(Outcome.DELIVERED, delivery={"id": "1-1"})
DEAD = Result(Outcome.DEAD, letter={"failedAt": "now", "attempts": 8, "error": 'a "word"'})


@pytest.fixture
def hooks(commands: RedisCommands, log: EventLog) -> Hooks:
    return Hooks(commands, log)


async def filled(hooks: Hooks, *data: object) -> str:
    """Create a webhook with messages."""
    webhook = await hooks.create()
    await hooks.publish(*data)
    await dispatch(hooks)
    return webhook


async def dispatch(hooks: Hooks) -> None:
    """Put what was published into queues."""
    await dispatch_all(hooks.dispatcher())


async def take(hooks: Hooks) -> Job:
    (claim,) = await hooks.queues.claim(10)
    job = await hooks.queues.next(claim)
    assert job is not None
    return job


async def due(hooks: Hooks, webhook: str) -> float | None:
    score: float | None = await hooks.commands.execute("ZSCORE", KEYS.webhooks_due, webhook)
    return score


async def let_be_due(hooks: Hooks, webhook: str) -> None:
    await next_millisecond(hooks.commands)  # by which claims are told apart
    await hooks.commands.execute("ZADD", KEYS.webhooks_due, 0, webhook)


async def test_one_message_after_the_other(hooks: Hooks) -> None:
    webhook = await filled(hooks, "one", "two")
    job = await take(hooks)
    assert (job.user, job.url, job.attempts) == ("ann", "https://a.example/", 0)
    assert bytes(job.message.data) == b'"one"'
    assert await hooks.queues.claim(10) == [], "it is claimed"
    second = await hooks.queues.settle(job, DELIVERED, goes_on=True)
    assert second is not None
    assert bytes(second.message.data) == b'"two"'
    assert await hooks.queues.settle(second, DELIVERED, goes_on=True) is None
    assert await due(hooks, webhook) is None
    assert (await hooks.shown(webhook))["queue_bytes"] == await hooks.state("bytes") == "0"
    assert await hooks.registry.deliveries(webhook) == [b'{"id":"1-1"}'] * 2


async def test_what_fails_comes_again_later(hooks: Hooks) -> None:
    webhook = await filled(hooks, "one")
    result = Result(Outcome.RETRY, 60, {"id": "1-1"})
    assert await hooks.queues.settle(await take(hooks), result, goes_on=False) is None
    assert await hooks.queues.claim(10) == []
    await let_be_due(hooks, webhook)
    job = await take(hooks)
    assert job.attempts == 1
    assert job.failing_since_ms > 0
    await hooks.queues.settle(job, Result(Outcome.BUSY, 0), goes_on=False)
    assert (await take(hooks)).attempts == 1, "that was no attempt"


async def test_webhooks_are_postponed_together(hooks: Hooks) -> None:
    broken, busy = await filled(hooks, "one"), await hooks.create()
    idle = await hooks.create("bob")
    await hooks.publish("two")
    await dispatch(hooks)
    await let_be_due(hooks, idle)
    claims = {claim.webhook_id: claim for claim in await hooks.queues.claim(10)}
    unknown = Claim("wh_" + "0" * 24, "1")
    assert await hooks.queues.receivers([claims[broken], unknown]) == [
        ("https://a.example/", 0),
        ("", 0),
    ]
    postponed, is_busy = Result(Outcome.POSTPONED, 60), Result(Outcome.BUSY, 0)
    results = [
        (claims[broken], postponed),
        (claims[busy], is_busy),
        (claims[idle], postponed),
        (unknown, postponed),
    ]
    assert await hooks.queues.postpone(results) == {broken, busy}
    assert await due(hooks, idle) == float(claims[idle].until)
    assert await due(hooks, unknown.webhook_id) is None
    assert [claim.webhook_id for claim in await hooks.queues.claim(10)] == [busy]
    since_ms = [since_ms for _, since_ms in await hooks.queues.receivers(list(claims.values()))]
    assert [since > 0 for since in since_ms] == [each == broken for each in claims]


async def test_a_claim_that_is_over_postpones_nothing(hooks: Hooks) -> None:
    webhook = await filled(hooks, "one")
    (stalled,) = await hooks.queues.claim(10)
    await let_be_due(hooks, webhook)
    assert await hooks.queues.postpone([(stalled, Result(Outcome.POSTPONED, 60))]) == set()
    assert await due(hooks, webhook) == 0
    assert await hooks.queues.receivers([stalled]) == [("https://a.example/", 0)]


async def test_a_claim_that_is_over_changes_nothing(hooks: Hooks) -> None:
    webhook = await filled(hooks, "one", "two")
    stalled = await take(hooks)
    await let_be_due(hooks, webhook)
    job = await take(hooks)
    for outcome in Outcome:
        result = Result(outcome, letter={"a": 1})
        assert await hooks.queues.settle(stalled, result, goes_on=True) is None
    assert len(await hooks.queued(webhook)) == 2
    assert await hooks.queues.next(stalled.claim) is None
    assert await hooks.queues.settle(job, DELIVERED, goes_on=True) is not None


async def test_dead_letters_are_kept_and_come_back(hooks: Hooks) -> None:
    webhook = await filled(hooks, {"a": 1}, "next")
    job = await take(hooks)
    following = await hooks.queues.settle(job, DEAD, goes_on=True)
    assert following is not None
    (letter,) = map(json.loads, await hooks.registry.dead_letters(webhook, 10))
    message = {"id": job.message.id, "eventType": "t", "data": {"a": 1}}
    assert letter == {**(DEAD.letter or {}), "message": message}
    assert await hooks.registry.replay(webhook, "9-9") == 0
    assert await hooks.registry.replay(webhook, job.message.id) == 1
    assert [each["data"] for each in await hooks.queued(webhook)] == ["next", {"a": 1}]
    assert (await hooks.shown(webhook))["dead_bytes"] == "0"
    assert await hooks.registry.replay("wh_" + "0" * 24, "") is None


async def test_dead_letters_are_bounded(commands: RedisCommands, log: EventLog) -> None:
    hooks = Hooks(commands, log, "3:100000:1000000")
    webhook = await hooks.create()
    dispatcher = hooks.dispatcher()
    for number in range(5):
        await hooks.publish(number)
        await dispatch_all(dispatcher)
        await hooks.queues.settle(await take(hooks), DEAD, goes_on=True)
    letters = [json.loads(each) for each in await hooks.registry.dead_letters(webhook, 10)]
    assert [letter["message"]["data"] for letter in letters] == [2, 3, 4]
    assert (await hooks.shown(webhook))["dropped_dead_letters"] == "2"


async def test_gone_takes_everything_along(hooks: Hooks) -> None:
    webhook = await filled(hooks, 1, 2)
    await hooks.queues.settle(await take(hooks), Result(Outcome.GONE), goes_on=False)
    shown = await hooks.shown(webhook)
    assert (shown["enabled"], shown["disabled_reason"], shown["queued"]) == ("0", "gone", "0")
    assert await due(hooks, webhook) is None
    assert await hooks.state("bytes") == "0"


async def test_a_paused_webhook_waits_and_goes_on(hooks: Hooks) -> None:
    webhook = await filled(hooks, 1)
    job = await take(hooks)
    assert await hooks.registry.update(webhook, "ann", Change({"enabled": "0"}, tries=False))
    assert await hooks.queues.settle(job, Result(Outcome.RETRY, 1), goes_on=False) is None
    assert await due(hooks, webhook) is None
    assert await hooks.registry.update(webhook, "ann", Change({"enabled": "1"}, tries=True))
    assert bytes((await take(hooks)).message.data) == b"1"


async def test_what_is_in_flight_is_not_started_again_by_a_test(hooks: Hooks) -> None:
    webhook = await filled(hooks, 1)
    job = await take(hooks)
    message = b'{"id":"1-test-1","eventType":"webhook.test","data":{}}'
    assert await hooks.registry.queue_test(webhook, message)
    assert await hooks.queues.claim(10) == []
    await hooks.queues.settle(job, Result(Outcome.RETRY, 60), goes_on=False)
    assert await hooks.registry.queue_test(webhook, message)
    assert (await take(hooks)).attempts == 1, "the test tries what failed"


async def test_a_webhook_that_is_deleted_meanwhile(hooks: Hooks) -> None:
    webhook = await filled(hooks, 1, 2)
    job = await take(hooks)
    assert await hooks.registry.delete(webhook, "ann")
    assert await hooks.queues.settle(job, DELIVERED, goes_on=True) is None
    assert await hooks.commands.execute("KEYS", f"*{webhook}*") == []
    assert await hooks.queues.claim(10) == []


async def test_a_hundred_deliveries_are_kept(hooks: Hooks) -> None:
    hooks.limits = "1000:100000:1000000"
    webhook = await filled(hooks, *range(105))
    job: Job | None = await take(hooks)
    number = 0
    while job is not None:
        result = Result(Outcome.DELIVERED, delivery={"number": number})
        job = await hooks.queues.settle(job, result, goes_on=True)
        number += 1
    kept = [json.loads(each)["number"] for each in await hooks.registry.deliveries(webhook)]
    assert kept == list(range(104, 4, -1))
