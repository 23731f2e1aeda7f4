"""Replays from the log, for ids that memory does not know."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import pytest

from sse_node.delivery.fanout import Fanout
from sse_node.delivery.history import Entry, History, RollbackMark
from sse_node.delivery.hub import Hub
from sse_node.errors import PositionLostError, PublisherError
from sse_node.redis.catch_up import CatchUp
from sse_node.redis.commands import RedisCommands
from sse_node.redis.event_log import EventLog, LogEntry
from sse_node.redis.keys import LOG_KEY
from sse_node.redis.replay import LogReplay
from sse_node.wire.envelope import encode_envelope
from sse_node.wire.event_id import format_position, parse_position
from tests.support.fakes import settle
from tests.support.redis_fixtures import next_millisecond

AUDIENCES = ("1", " system-events")


@dataclass
class Node:
    """A node's memory, smaller than the log, and its replays."""

    history: History
    catch_up: CatchUp
    replay: LogReplay

    async def resume(self, position: int, audiences: tuple[str, ...] = AUDIENCES) -> list[Entry]:
        """Return what a stream is given that comes back with an id, as the streams ask for it."""
        entries: list[Entry] = []
        reached = position
        while not self.history.contains(reached):
            found, reached = await self.replay.entries_since(reached, audiences)
            entries += found
        return entries + self.history.since(reached, audiences)

    async def loss(self, position: int) -> str:
        """Return the reason for which a stream cannot go on."""
        with pytest.raises(PositionLostError) as caught:
            await self.resume(position)
        return caught.value.reason


MakeNode = Callable[..., Node]


def refuse(error: PublisherError) -> None:
    raise AssertionError("the tests publish what an event can be made of") from error


@pytest.fixture
def make_node(log: EventLog) -> MakeNode:
    def make(
        history_limit: int,
        limit_bytes: int = 1 << 20,
        log: EventLog = log,
        on_position_lost: Callable[[str], None] = pytest.fail,
    ) -> Node:
        history = History(history_limit, 1 << 30)
        fanout = Fanout(Hub(), history, max_event_bytes=1000, event_names=False, on_dropped=refuse)
        catch_up = CatchUp(
            log,
            history,
            fanout,
            history_limit=history_limit,
            on_position_lost=on_position_lost,
        )
        return Node(history, catch_up, LogReplay(log, history, limit_bytes))

    return make


@pytest.fixture(params=[16384, 50])
def step(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Entries read from the log before those are answered whom they are enough for."""
    monkeypatch.setattr("sse_node.redis.window_cache._STEP", request.param)
    return int(request.param)


async def publish(log: EventLog, count: int) -> list[int]:
    """Publish to users 1, 2 and 3 and to a channel by turns; return the positions."""
    events = [("user-events", encode_envelope(user, "t", b"1", broadcast=False)) for user in "123"]
    events.append(("system-events", encode_envelope("", "t", b"1", broadcast=True)))
    positions = []
    for start in range(0, count, 100):
        turns = [events[i % 4] for i in range(start, min(start + 100, count))]
        positions += [parse_position(each) for each in await log.publish(turns)]
    return [each for each in positions if each is not None]


class Truth:
    """All that the log holds, read once."""

    def __init__(self, entries: list[LogEntry], log_name: bytes) -> None:
        self._entries = [
            (each.position, each.audience, each.as_message(log_name)[2]) for each in entries
        ]

    @classmethod
    async def of(cls, log: EventLog) -> "Truth":
        """Read it."""
        return cls(await log.read_from(0, 100_000), log.name)

    def after(self, position: int, audiences: tuple[str, ...] = AUDIENCES) -> list[Entry]:
        """Return what there is for these audiences after a position."""
        return [
            (at, payload)
            for at, audience, payload in self._entries
            if at > position and audience in audiences
        ]


@pytest.mark.parametrize("history_limit", [1, 10, 999, 1000, 1001, 2499])
@pytest.mark.usefixtures("step")
async def test_replay_is_complete_from_every_id_of_the_log(
    make_node: MakeNode, log: EventLog, history_limit: int
) -> None:
    start = await log.open()
    positions = [start, *await publish(log, 2500)]
    truth = await Truth.of(log)
    for index in (2400, 1500, 1499, 1, 0):
        node = make_node(history_limit)
        await node.catch_up.run()
        for each in (index, 0, 1001, index):
            position = positions[each]
            for audiences in (AUDIENCES, ("2",), ("nobody",)):
                expected = truth.after(position, audiences)
                assert await node.resume(position, audiences) == expected


@pytest.mark.parametrize("history_limit", [1, 10, 1001])
async def test_last_entries_are_the_end_of_the_log(
    make_node: MakeNode, log: EventLog, history_limit: int
) -> None:
    await log.open()
    await publish(log, 2500)
    node = make_node(history_limit)
    await node.catch_up.run()
    truth = await Truth.of(log)
    for count in (1, 7, 1000, 1500):
        for audiences in (AUDIENCES, ("2",), ("1", "2", "3", "nobody"), ("nobody",)):
            expected = truth.after(0, audiences)
            (start, entries), reached = await node.replay.last_entries(count, audiences)
            entries += node.history.since(reached, audiences)
            assert entries == expected[-count:]
            assert start is not None
            assert truth.after(start, audiences) == entries
    assert node.replay.log_reads == 1
    assert not node.replay.memory_is_whole


async def test_memory_is_whole_while_it_has_the_whole_log(
    make_node: MakeNode, log: EventLog
) -> None:
    await log.open()
    await publish(log, 10)
    node = make_node(20)
    await node.catch_up.run()
    known = [node.replay.memory_is_whole]  # the log has not been asked
    await node.replay.last_entries(5, ("nobody",))
    known.append(node.replay.memory_is_whole)
    await publish(log, 20)
    await node.catch_up.run()
    known.append(node.replay.memory_is_whole)
    assert known == [False, True, False]


async def test_last_entries_are_those_that_the_limit_leaves(
    make_node: MakeNode, log: EventLog
) -> None:
    await publish(log, 400)
    node = make_node(10, limit_bytes=4000)
    await node.catch_up.run()
    truth = (await Truth.of(log)).after(0)
    (start, entries), reached = await node.replay.last_entries(1000, AUDIENCES)
    entries += node.history.since(reached, AUDIENCES)
    assert 10 < len(entries) < len(truth)
    assert entries == truth[-len(entries) :]
    assert start is None or start < entries[0][0]
    await node.replay.last_entries(1000, AUDIENCES)
    assert node.replay.log_reads == 1


@pytest.mark.usefixtures("step")
async def test_last_entries_begin_after_the_newest_rollback(
    make_node: MakeNode, log: EventLog, commands: RedisCommands
) -> None:
    told: list[str] = []
    positions = await publish(log, 70)
    node = make_node(10, on_position_lost=told.append)
    await node.catch_up.run()
    await roll_back(log, commands, node, positions[-30:])
    (start, entries), _ = await node.replay.last_entries(1000, AUDIENCES)
    mark = node.history.rollback.position
    assert entries == (await Truth.of(log)).after(mark)
    assert start == mark


async def test_last_entries_and_replays_after_ids_share_one_reading(
    make_node: MakeNode, log: EventLog
) -> None:
    positions = await publish(log, 2500)
    node = make_node(10)
    await node.catch_up.run()
    (replay, _), resumed = await asyncio.gather(
        node.replay.last_entries(1000, AUDIENCES), node.resume(positions[0])
    )
    truth = await Truth.of(log)
    assert replay.entries == truth.after(0)[-1000:]
    assert resumed == truth.after(positions[0])
    assert node.replay.log_reads == 1


class SlowLog(EventLog):
    """A log of which each portion takes its time."""

    def __init__(self, commands: RedisCommands, portion_s: float) -> None:
        super().__init__(commands, 100_000)
        self._portion_s = portion_s
        self.readings = 0

    async def read_back(self, before: int | None, count: int) -> list[LogEntry]:
        """Read, and wait."""
        self.readings += 1
        await asyncio.sleep(self._portion_s)
        return await super().read_back(before, count)


async def test_last_entries_need_no_more_of_the_log_than_they_are_in(
    make_node: MakeNode, commands: RedisCommands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sse_node.redis.window_cache._STEP", 1)
    log = SlowLog(commands, 0.0)
    await publish(log, 20 * log.portion)
    node = make_node(10, log=log)
    await node.catch_up.run()
    log.readings = 0
    (_, entries), _ = await node.replay.last_entries(15, AUDIENCES)
    assert entries == (await Truth.of(log)).after(0)[-15:]
    assert log.readings == 1


async def test_last_entries_are_answered_early_and_ids_when_they_are_read(
    make_node: MakeNode, commands: RedisCommands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sse_node.redis.window_cache._STEP", 1)
    monkeypatch.setattr("sse_node.redis.replay._DEADLINE_S", 0.2)
    monkeypatch.setattr("sse_node.redis.replay._LAST_ENTRIES_S", 0.1)
    log = SlowLog(commands, 0.1)
    positions = await publish(log, 20 * log.portion)
    node = make_node(10, log=log)
    await node.catch_up.run()
    resumed = asyncio.create_task(node.resume(positions[0]))
    (start, entries), _ = await node.replay.last_entries(100_000, AUDIENCES)
    assert not resumed.done()
    truth = await Truth.of(log)
    assert 0 < len(entries) <= 10 + log.portion, "of memory and the first step"
    assert start is None or truth.after(start) == entries
    assert await resumed == truth.after(positions[0])


async def test_last_entries_of_a_log_that_cannot_be_read(
    make_node: MakeNode, log: EventLog, no_redis: RedisCommands
) -> None:
    node = make_node(10, log=EventLog(no_redis, 1000))
    with pytest.raises(PositionLostError, match="unavailable"):
        await node.replay.last_entries(5, AUDIENCES)


@pytest.mark.usefixtures("step")
async def test_those_who_come_together_share_one_reading(
    make_node: MakeNode, log: EventLog
) -> None:
    positions = await publish(log, 2500)
    node = make_node(10)
    await node.catch_up.run()
    asked = [positions[i] for i in range(0, 2480, 31)]
    replays = await asyncio.gather(*map(node.resume, asked))
    truth = await Truth.of(log)
    for position, replay in zip(asked, replays, strict=True):
        assert replay == truth.after(position)
    assert node.replay.log_reads == 1
    await node.resume(asked[0])
    assert node.replay.log_reads == 1


@pytest.mark.usefixtures("step")
async def test_replay_is_complete_while_the_node_goes_on(
    make_node: MakeNode, log: EventLog
) -> None:
    positions = await publish(log, 1500)
    node = make_node(10)
    await node.catch_up.run()
    for count in (5, 8, 25, 1200, 0):
        positions += await publish(log, count)
        await node.catch_up.run()
        truth = await Truth.of(log)
        for index in (0, 700, -11, -12, -40):
            assert await node.resume(positions[index]) == truth.after(positions[index])


class BusyLog(EventLog):
    """A log into which more is published, and heard of by the node, whenever it has been read."""

    heard_of: Callable[[], Awaitable[None]] | None = None
    readings = 0

    async def read_back(self, before: int | None, count: int) -> list[LogEntry]:
        """Return what the log held before that."""
        portion = await super().read_back(before, count)
        self.readings += 1
        if self.heard_of is not None:
            await publish(self, 5)
            await self.heard_of()
        return portion


@pytest.mark.usefixtures("step")
async def test_memory_that_forgets_while_the_log_is_read_costs_no_further_reading(
    make_node: MakeNode, commands: RedisCommands
) -> None:
    log = BusyLog(commands, 100_000)
    positions = await publish(log, 1500)
    node = make_node(20, log=log)
    await node.catch_up.run()
    log.heard_of, log.readings = node.catch_up.run, 0
    for index in (0, 700, -60):
        replay = await node.resume(positions[index])
        assert replay == (await Truth.of(log)).after(positions[index])
    assert log.readings <= -(-1500 // log.portion) + 1
    assert node.replay.log_reads == 1


async def test_entries_that_the_node_has_not_heard_of_are_no_loss(
    make_node: MakeNode, log: EventLog
) -> None:
    positions = await publish(log, 100)
    node = make_node(10)
    await node.catch_up.run()
    await node.resume(positions[0])
    await publish(log, 50)
    await node.catch_up.run()
    heard = await Truth.of(log)
    await publish(log, 50)  # on their way to the node
    assert await node.resume(positions[0]) == heard.after(positions[0])


async def test_id_of_an_entry_that_the_node_has_not_heard_of_is_waited_for(
    make_node: MakeNode, log: EventLog
) -> None:
    await publish(log, 10)
    node = make_node(5)
    await node.catch_up.run()
    positions = await publish(log, 8)
    replay = asyncio.create_task(node.resume(positions[3]))
    await settle()
    await node.catch_up.run()
    assert await replay == (await Truth.of(log)).after(positions[3])


async def test_id_that_the_node_hears_of_and_forgets_at_once_is_looked_for_in_the_log(
    make_node: MakeNode, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(log, 10)
    node = make_node(5)
    await node.catch_up.run()
    positions = await publish(log, 40)
    replay = asyncio.create_task(node.resume(positions[3]))
    async with asyncio.timeout(10):
        while not any(each.is_in_log for each in node.replay._waiting):  # noqa: ASYNC110  (another task can only be asked)
            await asyncio.sleep(0.001)
    await node.catch_up.run()
    assert await replay == (await Truth.of(log)).after(positions[3])


async def test_id_of_an_entry_that_the_node_never_hears_of_is_lost(
    make_node: MakeNode, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sse_node.redis.replay._DEADLINE_S", 0.02)
    await publish(log, 10)
    node = make_node(5)
    await node.catch_up.run()
    positions = await publish(log, 1)
    assert await node.loss(positions[0]) == "unavailable"


async def test_id_that_is_not_in_the_log_is_lost(
    make_node: MakeNode, log: EventLog, commands: RedisCommands
) -> None:
    positions = await publish(log, 100)
    node = make_node(10)
    await node.catch_up.run()
    assert await node.loss(positions[-1] + (1 << 64)) == "unknown-id"
    assert await node.loss(1) == "trimmed"
    await commands.execute("XTRIM", LOG_KEY, "MAXLEN", 50)
    assert await node.loss(positions[49]) == "trimmed"
    assert await node.loss(positions[0] - 1) == "trimmed"
    assert await node.resume(positions[50]) == (await Truth.of(log)).after(positions[50])


async def test_id_ahead_of_the_node_is_lost_only_when_the_node_has_caught_up(
    make_node: MakeNode, log: EventLog, commands: RedisCommands
) -> None:
    await publish(log, 10)
    node = make_node(5)
    await node.catch_up.run()
    of_another = EventLog(commands, 100_000)
    positions = await publish(of_another, 100)  # not yet heard of
    await commands.execute("XDEL", LOG_KEY, format_position(positions[20]))
    loss = asyncio.create_task(node.loss(positions[20]))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(loss), 0.1)
    await node.catch_up.run()
    await publish(log, 1)  # on its way, as there always is something
    assert await loss == "unknown-id"
    assert await node.loss(positions[-1] + (1 << 64)) == "unavailable"
    await node.catch_up.run()
    assert await node.loss(positions[-1] + (1 << 64)) == "unknown-id"


@pytest.mark.parametrize(
    "payload",
    [
        b'{"userId":"1","eventType":"t","data":%b%b}' % (b"[" * 129, b"]" * 129),
        b'{"userId":"1","eventType":"open","data":1}',
        b' {"userId":"1","eventType":"t","data":1}',  # the id would come before the brace
        b'{"userId":"1","eventType":"t","data":',
    ],
    ids=["depth", "type", "space", "json"],
)
@pytest.mark.parametrize("channel", ["user-events", "system-events"])
async def test_what_no_live_stream_was_given_is_in_no_replay_either(
    make_node: MakeNode, log: EventLog, channel: str, payload: bytes
) -> None:
    start = await log.open()
    await log.publish([(channel, payload)])
    positions = await publish(log, 40)
    for history_limit in (10, 1000):
        node = make_node(history_limit)
        await node.catch_up.run()
        replayed = [position for position, _ in await node.resume(start)]
        assert len(replayed) == 20
        assert set(replayed) <= set(positions)


async def test_id_is_judged_by_itself(make_node: MakeNode, log: EventLog) -> None:
    positions = await publish(log, 100)
    node = make_node(10)
    await node.catch_up.run()
    lost, replay = await asyncio.gather(node.loss(1), node.resume(positions[0]))
    assert lost == "trimmed"
    assert replay == (await Truth.of(log)).after(positions[0])


@pytest.mark.usefixtures("step")
async def test_replay_beyond_the_limit_is_lost(make_node: MakeNode, log: EventLog) -> None:
    positions = await publish(log, 3000)
    payload = len(encode_envelope("1", "t", b"1", broadcast=False))
    node = make_node(10, limit_bytes=1500 * payload)
    await node.catch_up.run()
    lost, replay = await asyncio.gather(node.loss(positions[0]), node.resume(positions[2000]))
    assert lost == "unavailable"
    assert replay == (await Truth.of(log)).after(positions[2000])


async def test_replay_without_redis_is_lost(make_node: MakeNode, no_redis: RedisCommands) -> None:
    node = make_node(10, log=EventLog(no_redis, 100))
    node.history.append(5, "1", b"{}")
    assert {*await asyncio.gather(node.loss(4), node.loss(3))} == {"unavailable"}
    assert await node.loss(4) == "unavailable"


async def test_replay_from_a_log_that_was_rolled_back_is_lost(
    make_node: MakeNode, log: EventLog, commands: RedisCommands
) -> None:
    positions = await publish(log, 100)
    node = make_node(10)
    await node.catch_up.run()
    for position in positions[-30:]:
        await commands.execute("XDEL", LOG_KEY, format_position(position))
    assert await node.loss(positions[0]) == "unavailable"
    await commands.execute("DEL", LOG_KEY)
    assert await node.loss(positions[0]) == "unknown-id"


@pytest.mark.usefixtures("step")
async def test_id_from_before_a_rollback_is_lost_though_the_log_holds_it(
    make_node: MakeNode, log: EventLog, commands: RedisCommands
) -> None:
    positions = await publish(log, 100)
    await next_millisecond(commands)  # no entry is just before the mark
    mark = (await log.mark_rollback(RollbackMark(), RollbackMark())).position
    node = make_node(10)
    await node.catch_up.run()
    positions += await publish(log, 50)
    await node.catch_up.run()
    assert await node.loss(positions[99]) == "rollback"
    assert await node.loss(mark - 1) == "unknown-id"
    assert await node.resume(mark) == (await Truth.of(log)).after(mark)


async def roll_back(log: EventLog, commands: RedisCommands, node: Node, lost: list[int]) -> None:
    """Lose the last entries, which the node has seen; it finds out, and goes on."""
    for position in lost:
        await commands.execute("XDEL", LOG_KEY, format_position(position))
    await node.catch_up.run()
    await publish(log, 40)
    await node.catch_up.run()


@pytest.mark.usefixtures("step")
async def test_what_was_read_before_a_rollback_proves_nothing(
    make_node: MakeNode, log: EventLog, commands: RedisCommands
) -> None:
    told: list[str] = []
    positions = await publish(log, 70)
    node = make_node(10, on_position_lost=told.append)
    await node.catch_up.run()
    await node.resume(positions[0])
    positions += await publish(log, 30)
    await node.catch_up.run()
    await roll_back(log, commands, node, positions[-30:])
    assert told == ["rollback"]
    mark = node.history.rollback.position
    assert await node.resume(mark) == (await Truth.of(log)).after(mark)  # reads over the mark
    assert await node.loss(positions[50]) == "rollback"


class TurningLog(EventLog):
    """A log to which something happens when it has been asked for its rollback."""

    happens: Callable[[], Awaitable[None]] | None = None

    async def rollback(self) -> RollbackMark:
        """Return the mark that there was before."""
        mark = await super().rollback()
        happens, self.happens = self.happens, None
        if happens is not None:
            await happens()
        return mark


@pytest.mark.usefixtures("step")
async def test_a_rollback_while_the_log_is_read_is_not_read_over(
    make_node: MakeNode, commands: RedisCommands
) -> None:
    log = TurningLog(commands, 100_000)
    told: list[str] = []
    positions = await publish(log, 100)
    node = make_node(10, log=log, on_position_lost=told.append)
    await node.catch_up.run()
    log.happens = lambda: roll_back(log, commands, node, positions[-30:])
    assert await node.loss(positions[50]) == "rollback"
    assert told == ["rollback"]


async def test_what_was_read_is_forgotten_after_a_while(
    make_node: MakeNode, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sse_node.redis.window_cache._KEEP_S", 0.0)
    positions = await publish(log, 100)
    node = make_node(10)
    await node.catch_up.run()
    async with asyncio.timeout(10):
        while node.replay.log_reads < 2:
            assert await node.resume(positions[0]) == (await Truth.of(log)).after(positions[0])


class StoppedLog(EventLog):
    """A log whose reads do not return."""

    def __init__(self, commands: RedisCommands) -> None:
        super().__init__(commands, 100_000)
        self.reading = asyncio.Event()

    async def find(self, positions: Sequence[int]) -> tuple[int, set[int]]:
        """Wait for ever."""
        self.reading.set()
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


async def test_shutdown_answers_the_request_that_is_being_served(
    make_node: MakeNode, commands: RedisCommands
) -> None:
    stopped = StoppedLog(commands)
    node = make_node(10, log=stopped)
    served = asyncio.create_task(node.loss(1))
    await stopped.reading.wait()
    waiting = asyncio.create_task(node.loss(2))
    await settle()
    await node.replay.shutdown()
    async with asyncio.timeout(1):
        assert [await served, await waiting] == ["unavailable", "unavailable"]
