"""From records to the event log: map, keep dead letters, publish, each as often as needed."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from sse_node.bridges.dead_letters import DeadLetter, DeadLetters
from sse_node.bridges.figures import Figures
from sse_node.bridges.mapping import Mapping
from sse_node.bridges.record import Record
from sse_node.errors import PublisherError
from sse_node.redis.source_log import SourceEvent, SourceLogs

# Of values in one script: it holds Redis for a few milliseconds, and subscribers' buffers take it.
_MAX_BATCH_BYTES: Final = 1 << 20


@dataclass(slots=True)
class Batch:
    """Records of one part, in order, on their way into Redis.

    Attributes:
        source: names the source for ever.
        part: of the source; empty when its records have no positions.
        count: how many there are.
        last: the position of the last one.
        events: to be published.
        letters: to be kept; empty once they are.
        ends_at: the bad record behind them that ends the bridge.
    """

    source: str
    part: str
    count: int = 0
    last: int = -1
    events: list[SourceEvent] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    ends_at: DeadLetter | None = None


class Pipeline:
    """What becomes of records; lives as long as the bridge.

    Args:
        mapping: makes events of them.
        log: where events go.
        dead_letters: where the others go.
        figures: counted here.
        stops_on_bad: whether a bad record ends the bridge.
    """

    def __init__(
        self,
        mapping: Mapping,
        log: SourceLogs,
        dead_letters: DeadLetters,
        figures: Figures,
        *,
        stops_on_bad: bool = False,
    ) -> None:
        self._mapping = mapping
        self._log = log
        self._dead_letters = dead_letters
        self._figures = figures
        self._stops_on_bad = stops_on_bad

    def map(self, source: str, part: str, records: Sequence[Record]) -> Batch:
        """Return what is to be done for records of one part, in order.

        With `stops_on_bad` the batch ends before the first bad record.
        """
        batch = Batch(source, part)
        for record in records:
            try:
                channel, payload = self._mapping.event_of(record)
            except PublisherError as exc:
                letter = DeadLetter(record, exc.reason, str(exc))
                if self._stops_on_bad:
                    batch.ends_at = letter
                    return batch
                batch.letters.append(letter)
            else:
                batch.events.append(SourceEvent(record.position, record.name, channel, payload))
            batch.count += 1
            batch.last = record.position
        return batch

    async def accept(self, batch: Batch) -> None:
        """Keep the dead letters of a batch and publish its events; may be repeated.

        Raises:
            DeadLetterError: the dead letters were not kept, and nothing was published.
            RedisError: nothing was published.
        """
        if batch.letters:
            await self._dead_letters.write(batch.letters)
            self._figures.bad.update(letter.reason for letter in batch.letters)
            batch.letters = []
        if batch.count:
            published = await self._log.publish(batch.source, batch.part, batch.last, batch.events)
            self._figures.published += published
            self._figures.repeated += len(batch.events) - published

    async def position(self, source: str, part: str) -> int:
        """Return the position up to which a part has been published, -1 for none.

        Raises:
            RedisError: Redis is away.
        """
        return await self._log.position(source, part)


def split(records: Iterable[Record], most: int) -> Iterator[list[Record]]:
    """Yield records in portions that one script publishes.

    Args:
        records: of one part, in order.
        most: records in a portion.
    """
    portion: list[Record] = []
    size = 0
    for record in records:
        length = len(record.value or b"")
        if portion and (len(portion) >= most or size + length > _MAX_BATCH_BYTES):
            yield portion
            portion, size = [], 0
        portion.append(record)
        size += length
    if portion:
        yield portion
