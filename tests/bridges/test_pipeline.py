"""What becomes of records: events, dead letters, and the end of the bridge."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sse_node.bridges.dead_letters import DeadLetter
from sse_node.bridges.figures import Figures
from sse_node.bridges.mapping import Mapping
from sse_node.bridges.pipeline import Pipeline, split
from sse_node.bridges.record import Record
from sse_node.errors import DeadLetterError, RedisError
from sse_node.redis.source_log import SourceEvent
from sse_node.wire.channels import Channels


class FakeLog:
    """A source log in memory, which can be away."""

    def __init__(self) -> None:
        self.published: list[tuple[str, str, int, list[int]]] = []
        self.is_away = False

    async def publish(
        self, source: str, part: str, last: int, events: Sequence[SourceEvent]
    ) -> int:
        if self.is_away:
            raise RedisError("Redis is away")
        self.published.append((source, part, last, [event.position for event in events]))
        return len(events)

    async def position(self, source: str, part: str) -> int:
        return 7


class FakeLetters:
    """Dead letters in memory, where they cannot always be kept."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.is_away = False

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        if self.is_away:
            raise DeadLetterError("no room")
        self.kept += map(str, letters)


@pytest.fixture
def log() -> FakeLog:
    return FakeLog()


@pytest.fixture
def letters() -> FakeLetters:
    return FakeLetters()


@pytest.fixture
def figures() -> Figures:
    return Figures()


@pytest.fixture
def pipeline(log: FakeLog, letters: FakeLetters, figures: Figures) -> Pipeline:
    return make(log, letters, figures)


def make(
    log: FakeLog, letters: FakeLetters, figures: Figures, *, stops_on_bad: bool = False
) -> Pipeline:
    mapping = Mapping(Channels([]), 10_000)
    return Pipeline(mapping, log, letters, figures, stops_on_bad=stops_on_bad)  # type: ignore[arg-type]


def good(position: int) -> Record:
    value = b'{"userId":"ann","eventType":"order.paid","data":1}'
    return Record(f"orders [0] @ {position}", position, value, None, {})


def bad(position: int) -> Record:
    return Record(f"orders [0] @ {position}", position, b"nope", None, {})


async def test_events_and_letters(
    pipeline: Pipeline, log: FakeLog, letters: FakeLetters, figures: Figures
) -> None:
    batch = pipeline.map("kafka", "0", [good(1), bad(2), good(3), bad(4)])
    await pipeline.accept(batch)
    assert log.published == [("kafka", "0", 4, [1, 3])]
    assert [letter[:26] for letter in letters.kept] == [
        "orders [0] @ 2: not-json: ",
        "orders [0] @ 4: not-json: ",
    ]
    assert (figures.published, figures.repeated, figures.bad) == (2, 0, {"not-json": 2})


async def test_letters_are_kept_once_though_redis_is_away(
    pipeline: Pipeline, log: FakeLog, letters: FakeLetters, figures: Figures
) -> None:
    batch = pipeline.map("kafka", "0", [bad(1), good(2)])
    log.is_away = True
    for _ in range(2):
        with pytest.raises(RedisError):
            await pipeline.accept(batch)
    log.is_away = False
    await pipeline.accept(batch)
    assert len(letters.kept) == 1
    assert figures.bad == {"not-json": 1}
    assert log.published == [("kafka", "0", 2, [2])]


async def test_nothing_is_published_before_the_letters_are_kept(
    pipeline: Pipeline, log: FakeLog, letters: FakeLetters
) -> None:
    letters.is_away = True
    with pytest.raises(DeadLetterError):
        await pipeline.accept(pipeline.map("kafka", "0", [good(1), bad(2)]))
    assert log.published == []


async def test_a_bad_record_may_end_the_bridge(
    log: FakeLog, letters: FakeLetters, figures: Figures
) -> None:
    pipeline = make(log, letters, figures, stops_on_bad=True)
    batch = pipeline.map("kafka", "0", [good(1), good(2), bad(3), good(4)])
    assert (batch.count, batch.last) == (2, 2)
    assert batch.ends_at is not None
    assert batch.ends_at.record.position == 3
    await pipeline.accept(batch)
    assert log.published == [("kafka", "0", 2, [1, 2])]
    batch = pipeline.map("kafka", "0", [bad(3), good(4)])
    await pipeline.accept(batch)
    assert batch.count == 0
    assert len(log.published) == 1
    assert letters.kept == []


async def test_the_position_is_that_of_the_log(pipeline: Pipeline) -> None:
    assert await pipeline.position("kafka", "0") == 7


def test_portions_are_bounded_in_number_and_bytes() -> None:
    records = [Record("", position, b"x" * 400_000, None, {}) for position in range(5)]
    assert [len(portion) for portion in split(records, 500)] == [2, 2, 1]
    assert [len(portion) for portion in split([good(each) for each in range(7)], 3)] == [3, 3, 1]
    large = Record("", 0, b"x" * 3_000_000, None, {})
    assert [len(portion) for portion in split([large, large], 500)] == [1, 1]
    assert list(split([], 3)) == []


def test_failures_are_shown_and_logged_once(
    figures: Figures, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        figures.on_failure(RedisError("Redis is away"))
    assert (figures.obstacle, figures.redis_up) == ("Redis is away", False)
    figures.on_failure(DeadLetterError("no room"))
    assert (figures.obstacle, figures.redis_up) == ("no room", True)
    assert [each.getMessage() for each in caplog.records] == ["waiting: Redis is away"]
    figures.on_success()
    assert figures.obstacle == ""
