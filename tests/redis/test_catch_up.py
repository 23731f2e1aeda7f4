"""After every subscription: what was missed is delivered, or its loss is told."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from sse_node.delivery.fanout import Fanout
from sse_node.delivery.history import History, RollbackMark
from sse_node.delivery.hub import Hub
from sse_node.errors import PublisherError, RedisError
from sse_node.redis.catch_up import CatchUp
from sse_node.redis.commands import RedisCommands
from sse_node.redis.event_log import EventLog
from sse_node.redis.keys import LOG_KEY
from sse_node.wire.envelope import encode_envelope
from sse_node.wire.event_id import format_position, parse_position
from tests.support.event_stream_parser import parse_event_stream


class RecordingStream:
    """A stream whose client reads everything at once."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    @property
    def ids(self) -> list[str]:
        return [event.last_event_id for event in parse_event_stream(self.written).events]


@dataclass
class Node:
    """A node's memory, with one stream of user 1, and how it catches up."""

    history: History
    fanout: Fanout
    catch_up: CatchUp
    stream: RecordingStream
    lost: list[str] = field(default_factory=list)
    errors: list[PublisherError] = field(default_factory=list)


MakeNode = Callable[..., Node]


@pytest.fixture
def make_node(log: EventLog) -> MakeNode:
    def make(log: EventLog = log, history_limit: int = 10_000) -> Node:
        lost: list[str] = []
        errors: list[PublisherError] = []
        hub, stream, history = Hub(), RecordingStream(), History(history_limit, 1 << 30)
        hub.add(stream, ("1",))
        fanout = Fanout(
            hub, history, max_event_bytes=1000, event_names=False, on_dropped=errors.append
        )
        catch_up = CatchUp(
            log, history, fanout, history_limit=history_limit, on_position_lost=lost.append
        )
        return Node(history, fanout, catch_up, stream, lost, errors)

    return make


async def publish(log: EventLog, count: int, user: str = "1") -> list[str]:
    payload = encode_envelope(user, "t", b"1", broadcast=False)
    return await log.publish([("user-events", payload)] * count)


def position(event_id: str) -> int:
    parsed = parse_position(event_id)
    assert parsed is not None
    return parsed


# The first time


async def test_node_takes_the_end_of_the_log_and_delivers_nothing_of_it(
    make_node: MakeNode, log: EventLog
) -> None:
    ids = [each for _ in range(25) for each in await publish(log, 100)]
    node = make_node(history_limit=2200)
    await node.catch_up.run()
    assert node.catch_up.filled
    assert len(node.history) == 2200
    assert node.history.position == position(ids[-1])
    assert node.history.oldest == position(ids[-2200])
    replay = node.history.since(position(ids[-2200]), ["1"])
    assert [at for at, _ in replay] == [position(each) for each in ids[-2199:]]
    assert node.stream.written == b""
    assert node.lost == []


async def test_node_knows_the_position_of_a_log_that_was_empty(
    make_node: MakeNode, log: EventLog
) -> None:
    node = make_node()
    await node.catch_up.run()
    assert node.history.position == await log.open() > 0
    assert node.history.contains(node.history.position)
    assert node.errors == []


async def test_node_is_not_filled_while_redis_is_away(
    make_node: MakeNode, no_redis: RedisCommands
) -> None:
    node = make_node(log=EventLog(no_redis, 100))
    with pytest.raises(RedisError):
        await node.catch_up.run()
    assert not node.catch_up.filled
    assert node.history.position == 0
    assert node.lost == []


# Every further time


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 2500])
async def test_what_was_missed_is_delivered_once_and_in_order(
    make_node: MakeNode, log: EventLog, count: int
) -> None:
    await publish(log, 3)
    node = make_node()
    await node.catch_up.run()
    missed = [each for _ in range(count // 100) for each in await publish(log, 100)]
    missed += await publish(log, count % 100)
    await publish(log, 1, user="2")
    await node.catch_up.run()
    assert node.stream.ids == missed
    assert node.history.position == await log.open()
    await node.catch_up.run()
    assert node.stream.ids == missed
    assert node.lost == []
    assert node.fanout.duplicates == 0


async def test_what_came_live_is_not_delivered_again(make_node: MakeNode, log: EventLog) -> None:
    node = make_node()
    await node.catch_up.run()
    start = node.history.position
    ids = await publish(log, 5)
    live = (await log.read_from(start, 10))[1:4]
    node.fanout.deliver([entry.as_message(log.name) for entry in live])
    await node.catch_up.run()
    assert node.stream.ids == ids


async def test_entry_that_no_event_can_be_made_of_is_counted_and_passed_over(
    make_node: MakeNode, log: EventLog, commands: RedisCommands
) -> None:
    node = make_node()
    await node.catch_up.run()
    ids = await publish(log, 1)
    for fields in (
        ("channel", "user-events", "payload", "{"),
        ("channel", "user-events", "payload", ""),
        ("channel", b"\xff\xfe", "payload", "{}"),
        ("anything", "else"),
    ):
        await commands.execute("XADD", LOG_KEY, "*", *fields)
    ids += await publish(log, 1)
    await commands.execute("XADD", LOG_KEY, "*", "channel", "user-events", "payload", "x")
    await node.catch_up.run()
    assert node.stream.ids == ids
    assert node.history.position == await log.open()
    assert sum(node.fanout.dropped.values()) == len(node.errors) == 5
    await node.catch_up.run()
    assert len(node.errors) == 5
    assert node.lost == []


# What cannot be proven


async def trim(commands: RedisCommands, log: EventLog) -> None:
    await publish(log, 10)
    await commands.execute("XTRIM", LOG_KEY, "MAXLEN", 5)


async def trim_all(commands: RedisCommands, log: EventLog) -> None:
    await publish(log, 10)
    await commands.execute("XTRIM", LOG_KEY, "MAXLEN", 0)


async def wipe(commands: RedisCommands, log: EventLog) -> None:
    await commands.execute("DEL", LOG_KEY)


async def wipe_and_go_on(commands: RedisCommands, log: EventLog) -> None:
    await commands.execute("DEL", LOG_KEY)
    await log.open()
    await publish(log, 3)


async def fall_back(commands: RedisCommands, log: EventLog) -> None:
    tail = await log.open()
    await commands.execute("XDEL", LOG_KEY, format_position(tail))


async def fall_back_and_go_on(commands: RedisCommands, log: EventLog) -> None:
    await fall_back(commands, log)
    await publish(log, 3)


@pytest.mark.parametrize(
    ("happens", "reasons"),
    [
        (trim, {"trimmed"}),
        (trim_all, {"trimmed", "rollback"}),
        (wipe, {"rollback"}),
        (wipe_and_go_on, {"rollback"}),
        (fall_back, {"rollback"}),
        (fall_back_and_go_on, {"rollback"}),
    ],
)
async def test_position_that_the_log_does_not_hold_is_told_once(
    make_node: MakeNode,
    log: EventLog,
    commands: RedisCommands,
    happens: Callable[[RedisCommands, EventLog], Awaitable[None]],
    reasons: set[str],
) -> None:
    await publish(log, 5)
    node = make_node()
    await node.catch_up.run()
    await happens(commands, log)
    await node.catch_up.run()
    assert len(node.lost) == 1
    assert set(node.lost) <= reasons
    assert node.stream.ids == []  # all or nothing: a part would be a hole
    assert node.history.position == await log.open()

    ids = await publish(log, 2)
    await node.catch_up.run()
    assert node.stream.ids == ids
    assert len(node.lost) == 1


@pytest.mark.parametrize("happens", [fall_back, fall_back_and_go_on])
async def test_ids_from_before_a_rollback_prove_nothing_on_any_node(
    make_node: MakeNode,
    log: EventLog,
    commands: RedisCommands,
    happens: Callable[[RedisCommands, EventLog], Awaitable[None]],
) -> None:
    survived = position((await publish(log, 5))[2])
    nodes = [make_node(), make_node(), make_node()]
    for node in nodes[:2]:
        await node.catch_up.run()
    await happens(commands, log)
    for node in nodes:
        await node.catch_up.run()
    assert [node.lost for node in nodes] == [["rollback"], ["rollback"], []]
    mark = (await log.rollback()).position
    assert mark == await log.open() > survived  # one mark for all
    for node in nodes:
        assert node.history.position == mark
        assert node.history.contains(mark)
        assert not node.history.contains(survived)
    ids = await publish(log, 2)
    for node in nodes:
        await node.catch_up.run()
        assert node.stream.ids == ids


async def test_node_that_was_behind_a_rollback_is_told_of_it_too(
    make_node: MakeNode, log: EventLog, commands: RedisCommands
) -> None:
    await publish(log, 5)
    behind, node = make_node(), make_node()
    await behind.catch_up.run()
    await publish(log, 5)
    await node.catch_up.run()
    await fall_back(commands, log)
    await node.catch_up.run()
    await behind.catch_up.run()  # its position has survived, what came after it has not
    assert behind.lost == node.lost == ["rollback"]
    assert behind.stream.ids == []


async def test_what_a_former_master_took_after_the_mark_is_told_to_all(
    make_node: MakeNode, log: EventLog, commands: RedisCommands
) -> None:
    await publish(log, 5)
    first, last = make_node(), make_node()
    for node in (first, last):
        await node.catch_up.run()
    await fall_back(commands, log)
    await first.catch_up.run()
    # Its master lived on.
    last.history.append(last.history.position + 1, "", b"")
    for node in (last, first, last):
        await node.catch_up.run()
    assert first.lost == ["rollback", "rollback"]
    assert last.lost == ["rollback"]
    mark = await log.rollback()
    assert first.history.rollback == last.history.rollback == mark
    ids = await publish(log, 2)
    for node in (first, last):
        await node.catch_up.run()
        assert node.stream.ids == ids
    assert await log.rollback() == mark


async def test_a_trimmed_log_proves_as_much_as_before(
    make_node: MakeNode, log: EventLog, commands: RedisCommands
) -> None:
    await publish(log, 5)
    node = make_node()
    await node.catch_up.run()
    await trim(commands, log)
    await node.catch_up.run()
    assert node.lost == ["trimmed"]
    assert await log.rollback() == RollbackMark()


async def test_a_rollback_that_another_node_marks_meanwhile_is_marked_once(log: EventLog) -> None:
    await log.open()
    none = RollbackMark()
    first = await log.mark_rollback(none, none)
    assert await log.mark_rollback(none, none) == first == await log.rollback()
    second = await log.mark_rollback(first, first)
    assert second.number > first.number
    assert second.position > first.position


async def test_a_rollback_of_a_log_that_was_ahead_of_the_clock_is_marked_once(
    make_node: MakeNode, log: EventLog, commands: RedisCommands
) -> None:
    await commands.execute("XADD", LOG_KEY, "9999999999999-0", "channel", "x", "payload", "{}")
    nodes = [make_node(), make_node()]
    for node in nodes:
        await node.catch_up.run()
    for _ in range(3):  # the first mark is ahead, too, the second is not
        await fall_back(commands, log)
        await wipe(commands, log)
        await commands.execute("DEL", "sse:rollback")
        for node in nodes:
            await node.catch_up.run()
        assert nodes[0].history.rollback == nodes[1].history.rollback == await log.rollback()


async def test_nothing_is_skipped_when_redis_goes_away_meanwhile(
    make_node: MakeNode, log: EventLog, no_redis: RedisCommands
) -> None:
    node = make_node()
    await node.catch_up.run()
    position_before = node.history.position
    ids = await publish(log, 2)
    away = CatchUp(
        EventLog(no_redis, 100),
        node.history,
        node.fanout,
        history_limit=100,
        on_position_lost=node.lost.append,
    )
    away.filled = True
    with pytest.raises(RedisError):
        await away.run()
    assert node.history.position == position_before
    assert node.lost == []
    await node.catch_up.run()
    assert node.stream.ids == ids


async def test_streams_have_their_turn_while_the_history_is_filled(
    make_node: MakeNode, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sse_node.redis.catch_up._SLICE", 10)
    await publish(log, 100)
    node = make_node()
    seen: set[int] = set()
    filling = asyncio.create_task(node.catch_up.run())
    while not filling.done():
        seen.add(node.history.position)
        await asyncio.sleep(0)
    await filling
    assert len(seen) >= 10


async def test_an_event_is_told_from_a_mark_whatever_its_channel(
    make_node: MakeNode, log: EventLog
) -> None:
    payload = encode_envelope("", "t", b"1", broadcast=True)
    node = make_node()
    await node.catch_up.run()
    for channel in ("sse:news", "sse:start", "rollback"):
        await log.publish([(channel, payload)])
    entries = (await log.read_from(0, 10))[-3:]
    assert [entry.mark for entry in entries] == [b"", b"", b""]
    assert [entry.audience for entry in entries] == [" sse:news", " sse:start", " rollback"]


# New channels


async def test_memory_gets_what_was_published_on_channels_that_are_new(
    make_node: MakeNode, log: EventLog
) -> None:
    node = make_node()
    await node.catch_up.run()
    heard, *_ = await publish(log, 1)
    node.history.append(position(heard), "1", b"heard")
    (unheard,) = await publish(log, 1, "2")  # as on a channel that the node does not listen to
    (last,) = await publish(log, 1)
    node.history.append(position(last), "1", b"heard")
    assert node.history.since(position(heard), ["2"]) == []

    node.catch_up.want_refill()
    assert [node.catch_up.is_whole] == [False]
    await node.catch_up.run()
    assert [node.catch_up.is_whole] == [True]
    assert [at for at, _ in node.history.since(position(heard), ["2"])] == [position(unheard)]
    assert node.history.position == position(last)
    assert node.stream.written == b""
    assert node.lost == []


async def test_a_refill_that_is_wanted_meanwhile_is_for_the_next_subscription(
    make_node: MakeNode, log: EventLog
) -> None:
    node = make_node()
    running = asyncio.create_task(node.catch_up.run())
    await asyncio.sleep(0)
    node.catch_up.want_refill()
    await running
    assert [node.catch_up.is_whole] == [False]
    await node.catch_up.run()
    assert [node.catch_up.is_whole] == [True]
