"""Pages of a user's past events from a real log, and what makes them incomplete."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from sse_node.api.past_events import PastEvents
from sse_node.redis.event_log import EventLog, volatile
from sse_node.redis.event_logs import EventLogs
from sse_node.wire.envelope import encode_envelope
from sse_node.wire.http_head import Request, Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sse_node.redis.commands import RedisCommands
    from sse_node.redis.event_log import LogEntry

    Page = Callable[..., Awaitable[dict[str, Any]]]

KIB = 1024


@pytest.fixture
def page(log: EventLog, commands: RedisCommands) -> Page:
    past_events = PastEvents(EventLogs([log]), "ann")

    async def page(query: str = "") -> dict[str, Any]:
        response = await past_events.list(Request("GET", "/events", query, {}))
        assert isinstance(response, Response)
        content: dict[str, Any] = json.loads(response.content)
        return content

    return page


def event(number: int, user: str = "ann", size: int = 0) -> tuple[str, bytes]:
    data = json.dumps({"number": number, "text": "x" * size}).encode()
    return "user-events", encode_envelope(user, "t", data, broadcast=False)


def numbers(page: dict[str, Any]) -> list[int]:
    return [event["data"]["number"] for event in page["events"]]


async def test_only_the_users_events_that_the_log_holds(log: EventLog, page: Page) -> None:
    await log.open()
    channel, payload = event(2)
    await log.publish(
        [
            event(1),
            ("system-events", encode_envelope("", "t", b'{"number":7}', broadcast=True)),
            (volatile(channel), payload),
            event(3, "ann2"),
            (channel, b'{"userId":"ann","eventType":"sse.reset","data":{"number":4}}'),
            (channel, b'{"userId":"\\u0061nn","eventType":"t","data":{"number":5}}'),
        ]
    )
    found = await page()
    assert numbers(found) == [1, 5]
    assert (found["trimmed"], found["next"]) == (False, None)


@pytest.mark.parametrize("portion", [1, 2, 3, 250])
async def test_pages_join_without_a_gap(
    log: EventLog, commands: RedisCommands, page: Page, portion: int
) -> None:
    await log.open()
    ids = await log.publish([event(number, "ann" if number % 3 else "bob") for number in range(20)])
    log.portion = portion
    found: list[int] = []
    after = "0-0"
    while after:
        answer = await page(f"limit=4&after={after}")
        assert not answer["trimmed"]
        assert [ids[number] for number in numbers(answer)] == [e["id"] for e in answer["events"]]
        found += numbers(answer)
        after = answer["next"]
    assert found == [number for number in range(20) if number % 3]


async def test_an_empty_log_proves_nothing(page: Page) -> None:
    assert await page() == {"events": [], "trimmed": True, "next": None}


async def test_an_id_that_the_log_does_not_hold_proves_nothing(log: EventLog, page: Page) -> None:
    await log.open()
    first, second = await log.publish([event(1), event(2)])
    time, _, sequence = second.partition("-")
    for after, is_trimmed in ((first, False), (f"{time}-{int(sequence) + 9}", True), ("1-1", True)):
        assert (await page(f"after={after}"))["trimmed"] is is_trimmed


async def test_events_that_redis_has_lost_are_missing_on_the_page_of_the_mark(
    log: EventLog, page: Page
) -> None:
    await log.open()
    ids = await log.publish([event(1), event(2)])
    await log.mark_rollback(await log.rollback(), await log.rollback())
    ids += await log.publish([event(3)])
    assert (await page("limit=1"))["trimmed"] is False
    found = await page(f"after={ids[0]}")
    assert (numbers(found), found["trimmed"]) == ([2, 3], True)
    assert (await page(f"after={ids[2]}"))["trimmed"] is False


class TrimmedMeanwhile(EventLog):
    """A log of which another node drops entries between two portions of a page."""

    keep_from = ""

    async def read_from(self, position: int, count: int) -> list[LogEntry]:
        entries = await super().read_from(position, count)
        if self.keep_from:
            await self.commands.execute("XTRIM", self.keys.log, "MINID", self.keep_from)
        return entries


async def test_a_log_that_is_trimmed_between_two_portions(commands: RedisCommands) -> None:
    log = TrimmedMeanwhile(commands, 100_000)
    await log.open()
    ids = await log.publish([event(number) for number in range(10)])
    log.portion = 2
    log.keep_from = ids[7]
    past_events = PastEvents(EventLogs([log]), "ann")
    response = await past_events.list(Request("GET", "/events", "", {}))
    found = json.loads(response.content)
    assert numbers(found) == [0, 1, 7, 8, 9]
    assert found["trimmed"] is True


async def test_a_page_ends_with_the_event_that_fills_it(log: EventLog, page: Page) -> None:
    await log.open()
    await log.publish([event(number, size=200 * KIB) for number in range(8)])
    first = await page()
    assert numbers(first) == [0, 1, 2, 3, 4, 5]
    rest = await page(f"after={first['next']}")
    assert (numbers(rest), rest["trimmed"], rest["next"]) == ([6, 7], False, None)


async def test_a_page_reads_so_much_of_others_and_no_more(log: EventLog, page: Page) -> None:
    await log.open()
    for start in range(0, 12_000, 1000):
        await log.publish([event(start + number, "bob") for number in range(1000)])
    await log.publish([event(12_000)])
    first = await page()
    assert (first["events"], first["trimmed"]) == ([], False)
    rest = await page(f"after={first['next']}")
    assert (numbers(rest), rest["next"]) == ([12_000], None)
