"""What is sent and in which order; the queues are in a real Redis, the answers are made up."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, cast

import pytest

from sse_node.config.reading import read_settings
from sse_node.errors import RedisError
from sse_node.webhooks.deliverer import _CLAIMED_AT_ONCE, Deliverer
from sse_node.webhooks.hosts import Hosts
from sse_node.webhooks.in_flight import _MOST, _MOST_DOUBTFUL, InFlight
from sse_node.webhooks.queue import Claim, Job, Queues, Result
from sse_node.webhooks.registry import Change
from sse_node.webhooks.schedule import Answer, Outcome, Schedule
from sse_node.webhooks.targets import Target, Targets
from tests.support.webhook_fixtures import KEYS, Hooks, dispatch_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from sse_node.redis.commands import RedisCommands
    from sse_node.redis.event_log import EventLog
    from sse_node.webhooks.sender import Sender

DELIVERED = Answer(204)
SILENCE = Answer(None, "no connection within 3 s", is_transport=True)


class Receivers:
    """Stands for the HTTP client: notes what is sent to each host, and answers.

    Attributes:
        answers: of hosts; an exception is raised. Others answer 204.
        released: hosts wait for it before they answer, where there is one.
        sent: the ids of messages that were sent to each host.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Answer | Exception] = {}
        self.released: dict[str, asyncio.Event] = {}
        self.sent: dict[str, list[str]] = {}

    async def send(self, target: Target, headers: Mapping[str, str], content: bytes) -> Answer:
        self.sent.setdefault(target.host, []).append(headers["webhook-id"])
        if target.host in self.released:
            await self.released[target.host].wait()
        answer = self.answers.get(target.host, DELIVERED)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Delivering:
    """A deliverer, and webhooks on hosts of their own."""

    def __init__(self, hooks: Hooks) -> None:
        self.hooks = hooks
        self.receivers = Receivers()
        schedule = Schedule(86_400)
        self.in_flight = InFlight(Hosts(schedule.scale))
        self.deliverer = Deliverer(
            hooks.queues,
            Targets(read_settings({}, {}).webhooks),
            cast("Sender", self.receivers),
            schedule,
            self.in_flight,
        )

    async def create(self, host: str, user: str = "ann") -> str:
        """Create a webhook of a user on a host."""
        webhook = await self.hooks.create(user)
        url = {"url": f"https://{host}/"}
        await self.hooks.registry.update(webhook, user, Change(url, tries=False))
        return webhook

    async def publish(self, *data: object, user: str = "ann") -> list[str]:
        """Publish events to a user, and queue them; return their ids."""
        ids = await self.hooks.publish(*data, user=user)
        await self.dispatch()
        return ids

    async def dispatch(self) -> None:
        """Queue what was published."""
        await dispatch_all(self.hooks.dispatcher())
        self.deliverer.wake()

    async def until(self, is_true: Callable[[], bool]) -> None:
        """Wait until the deliverer has got so far."""
        async with asyncio.timeout(10):
            while not is_true():  # noqa: ASYNC110  (tasks of its own can only be asked)
                await asyncio.sleep(0.005)

    async def until_sent(self, host: str, count: int) -> list[str]:
        """Wait until a host has got so many messages; return their ids."""
        await self.until(lambda: len(self.receivers.sent.get(host, ())) >= count)
        return self.receivers.sent[host]

    async def until_settled(self, outcomes: dict[Outcome, int]) -> None:
        """Wait until so many messages have had an outcome, and nothing is in flight."""
        await self.until(lambda: not len(self.in_flight) and self.in_flight.outcomes == outcomes)


@pytest.fixture
async def delivering(commands: RedisCommands, log: EventLog) -> AsyncIterator[Delivering]:
    made = Delivering(Hooks(commands, log))
    yield made
    await made.deliverer.shutdown()
    await made.in_flight.shutdown()


async def due_in_s(hooks: Hooks, webhook: str) -> float | None:
    """Return after how many seconds a webhook is due, None for one that is not."""
    score = await hooks.commands.execute("ZSCORE", KEYS.webhooks_due, webhook)
    seconds, microseconds = await hooks.commands.execute("TIME")
    return None if score is None else float(score) / 1000 - int(seconds) - int(microseconds) / 1e6


async def test_messages_of_a_webhook_go_one_after_the_other(delivering: Delivering) -> None:
    webhook = await delivering.create("a.example")
    ids = await delivering.publish(*range(60))  # more than go without looking at others
    delivering.deliverer.start()
    assert await delivering.until_sent("a.example", 60) == ids
    await delivering.until_settled({Outcome.DELIVERED: 60})
    assert await delivering.hooks.queued(webhook) == []
    assert await due_in_s(delivering.hooks, webhook) is None
    assert delivering.in_flight.doubtful == 0


async def test_the_next_message_waits_for_the_answer(delivering: Delivering) -> None:
    await delivering.create("a.example")
    released = delivering.receivers.released["a.example"] = asyncio.Event()
    await delivering.publish(1, 2)
    delivering.deliverer.start()
    await delivering.until_sent("a.example", 1)
    await delivering.create("b.example", "bob")
    await delivering.publish(3, user="bob")
    await delivering.until_sent("b.example", 1)
    assert len(delivering.receivers.sent["a.example"]) == 1
    released.set()
    await delivering.until_settled({Outcome.DELIVERED: 3})


async def test_what_fails_is_due_later_and_holds_nothing(delivering: Delivering) -> None:
    failing, works = await delivering.create("a.example"), await delivering.create("b.example")
    delivering.receivers.answers["a.example"] = Answer(500, "500")
    ids = await delivering.publish(1, 2)
    delivering.deliverer.start()
    await delivering.until_settled({Outcome.DELIVERED: 2, Outcome.RETRY: 1})
    assert delivering.receivers.sent == {"a.example": ids[:1], "b.example": ids}
    assert [message["id"] for message in await delivering.hooks.queued(failing)] == ids
    due_s = await due_in_s(delivering.hooks, failing)
    assert due_s is not None
    assert 3 < due_s <= 6
    assert await due_in_s(delivering.hooks, works) is None


async def test_hosts_that_never_answer_have_half_of_the_room(delivering: Delivering) -> None:
    released = asyncio.Event()
    await delivering.create("works.example", "bob")
    await delivering.publish(0, user="bob")
    delivering.deliverer.start()
    await delivering.until_settled({Outcome.DELIVERED: 1})
    for number in range(_MOST_DOUBTFUL + 50):
        host = f"dead-{number}.example"
        delivering.receivers.released[host] = released
        await delivering.create(host)
    await delivering.publish(1)
    await delivering.until(lambda: delivering.in_flight.outcomes[Outcome.BUSY] >= 50)
    assert delivering.in_flight.doubtful == _MOST_DOUBTFUL
    assert len(delivering.receivers.sent) == _MOST_DOUBTFUL + 1
    assert len(delivering.in_flight) < _MOST
    for number in range(3):
        await delivering.publish(number, user="bob")
        await delivering.until_sent("works.example", number + 2)
    released.set()


async def test_a_broken_host_is_sent_nothing(delivering: Delivering) -> None:
    delivering.receivers.answers["dead.example"] = SILENCE
    webhooks = [await delivering.create("dead.example") for _ in range(20)]
    await delivering.publish(1)
    delivering.deliverer.start()
    await delivering.until(lambda: delivering.in_flight.outcomes[Outcome.POSTPONED] >= 15)
    assert len(delivering.receivers.sent["dead.example"]) == 5
    assert delivering.in_flight.hosts.broken == 1
    for webhook in webhooks:
        assert len(await delivering.hooks.queued(webhook)) == 1
    assert delivering.in_flight.doubtful == 0


class CountingQueues(Queues):
    """Queues that count how often each step is taken.

    Attributes:
        claimed: how many webhooks each script claimed.
        looked_at: the webhooks whose messages were read.
        postponed: how many webhooks each script postponed.
    """

    def __init__(self, hooks: Hooks) -> None:
        super().__init__(hooks.commands, KEYS, hooks.limits)
        self.claimed: list[int] = []
        self.looked_at: list[str] = []
        self.postponed: list[int] = []

    async def claim(self, most: int) -> list[Claim]:
        """Count them."""
        claims = await super().claim(most)
        self.claimed.append(len(claims))
        return claims

    async def next(self, claim: Claim) -> Job | None:
        """Count it."""
        self.looked_at.append(claim.webhook_id)
        return await super().next(claim)

    async def postpone(self, results: Sequence[tuple[Claim, Result]]) -> set[str]:
        """Count them."""
        self.postponed.append(len(results))
        return await super().postpone(results)


def break_host(hosts: Hosts, place: str, open_s: float = 30.0) -> None:
    """Let a host's breaker be open."""
    host, _ = hosts.enter(place)
    assert host is not None
    hosts.leave(host, answered=False)
    host.failures, host.open_until = 5, asyncio.get_running_loop().time() + open_s


async def test_due_webhooks_are_looked_for_until_fewer_are_due_than_fit(
    delivering: Delivering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sse_node.webhooks.deliverer._LOOK_S", 60.0)
    monkeypatch.setattr("sse_node.webhooks.deliverer._CLAIMED_AT_ONCE", 2)
    queues = delivering.deliverer._queues = CountingQueues(delivering.hooks)
    break_host(delivering.in_flight.hosts, "dead.example:443")
    for _ in range(5):
        await delivering.create("dead.example")
    await delivering.publish(1)
    delivering.deliverer.start()
    await delivering.until_settled({Outcome.POSTPONED: 5})
    assert queues.claimed == [2, 2, 1]
    await delivering.create("dead.example", "bob")
    await delivering.publish(1, user="bob")  # wakes it
    await delivering.until_settled({Outcome.POSTPONED: 6})
    assert queues.claimed == [2, 2, 1, 1]


async def test_webhooks_of_a_broken_host_are_postponed_together_and_hold_up_nobody(
    delivering: Delivering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sse_node.webhooks.deliverer._LOOK_S", 60.0)  # there is always more to do
    hooks = delivering.hooks
    queues = delivering.deliverer._queues = CountingQueues(hooks)
    break_host(delivering.in_flight.hosts, "dead.example:443")
    webhooks = [await delivering.create("dead.example") for _ in range(100)]
    await delivering.publish(1)
    works = await delivering.create("works.example", "bob")
    await delivering.publish(1, user="bob")
    delivering.deliverer.start()
    await delivering.until_settled({Outcome.POSTPONED: 100, Outcome.DELIVERED: 1})
    assert queues.looked_at == [works]
    assert sum(queues.postponed) == 100
    assert len(queues.postponed) <= 100 / _CLAIMED_AT_ONCE + 2
    for webhook in webhooks:
        due_s = await due_in_s(hooks, webhook)
        assert due_s is not None
        assert 20 < due_s < 61
        assert (await hooks.shown(webhook))["failing_since"]


async def test_when_nothing_can_be_postponed_each_webhook_tries_for_itself(
    delivering: Delivering,
) -> None:
    class FailingQueues(CountingQueues):
        async def postpone(self, results: Sequence[tuple[Claim, Result]]) -> set[str]:
            raise RedisError("no answer")

    queues = delivering.deliverer._queues = FailingQueues(delivering.hooks)
    break_host(delivering.in_flight.hosts, "dead.example:443")
    broken = await delivering.create("dead.example")
    works = await delivering.create("works.example")
    await delivering.publish(1)
    delivering.deliverer.start()
    await delivering.until_settled({Outcome.POSTPONED: 1, Outcome.DELIVERED: 1})
    assert sorted(queues.looked_at) == sorted([broken, works])


async def test_a_message_that_is_too_old_is_a_dead_letter_though_its_host_is_broken(
    delivering: Delivering,
) -> None:
    break_host(delivering.in_flight.hosts, "dead.example:443")
    webhook = await delivering.create("dead.example")
    await delivering.publish(1)
    key = KEYS.webhook(webhook)
    await delivering.hooks.commands.execute("HSET", key, "failing_since", 1)
    delivering.deliverer.start()
    await delivering.until_settled({Outcome.DEAD: 1})
    assert await delivering.hooks.queued(webhook) == []
    assert len(await delivering.hooks.registry.dead_letters(webhook, 10)) == 1


async def test_a_target_that_is_not_allowed_any_more(
    delivering: Delivering, caplog: pytest.LogCaptureFixture
) -> None:
    webhook = await delivering.create("a.example:99")
    await delivering.publish(1)
    delivering.deliverer.start()
    await delivering.until_settled({Outcome.RETRY: 1})
    assert delivering.receivers.sent == {}
    assert delivering.in_flight.refused == 1
    assert "no connection is allowed: port 99 is not allowed" in caplog.text
    (delivery,) = await delivering.hooks.registry.deliveries(webhook)
    assert b"port 99 is not allowed; expected 443 or 8443" in delivery


async def test_a_fault_of_ours_ends_one_delivery(
    delivering: Delivering, caplog: pytest.LogCaptureFixture
) -> None:
    failing = await delivering.create("a.example")
    delivering.receivers.answers["a.example"] = ValueError("unexpected")
    await delivering.publish(1)
    with caplog.at_level(logging.ERROR):
        delivering.deliverer.start()
        await delivering.until_sent("a.example", 1)
        await delivering.until_settled({})
    assert "a delivery failed" in caplog.text
    assert "unexpected" in caplog.text
    due_s = await due_in_s(delivering.hooks, failing)
    assert due_s is not None
    assert 15 < due_s <= 20, "when the claim ends"
    assert delivering.in_flight.doubtful == 0
    await delivering.create("b.example", "bob")
    await delivering.publish(2, user="bob")
    await delivering.until_settled({Outcome.DELIVERED: 1})


async def test_what_is_in_flight_is_finished_and_nothing_is_begun(delivering: Delivering) -> None:
    webhook = await delivering.create("a.example")
    released = delivering.receivers.released["a.example"] = asyncio.Event()
    ids = await delivering.publish(1, 2)
    delivering.deliverer.start()
    await delivering.until_sent("a.example", 1)
    await delivering.deliverer.shutdown()
    released.set()
    await delivering.in_flight.wait(10)
    assert delivering.receivers.sent == {"a.example": ids[:1]}
    assert [message["id"] for message in await delivering.hooks.queued(webhook)] == ids[1:]
    due_s = await due_in_s(delivering.hooks, webhook)
    assert due_s is not None
    assert due_s <= 0, "another process goes on"
