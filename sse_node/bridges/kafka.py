"""From the topics of a Kafka cluster to streams: each record once, in the order of its partition.

A record's offset is committed when Redis has accepted its event. Redis itself remembers the offset
that was published last in each partition, by the topic's id, so a bridge that begins earlier than
that, after a crash, a rebalance or a retry, publishes nothing twice.
"""

from dataclasses import dataclass
from typing import Final

from sse_node.bridges.figures import Figures
from sse_node.bridges.kafka_source import KafkaSource, Partition
from sse_node.bridges.pipeline import Batch, Pipeline, split
from sse_node.bridges.record import Record
from sse_node.config.bridges import KafkaSettings
from sse_node.errors import BridgeError, BrokerError, DeadLetterError, RedisError
from sse_node.redis.backoff import Backoff

# Read at once, of all partitions: enough for full batches of several.
_READ_FACTOR: Final = 4
_LONGEST_WAIT_S: Final = 1.0


class KafkaBridge:
    """Publishes the records of a consumer group; lives from `run` to its end.

    Args:
        settings: of the source.
        pipeline: where records go.
        figures: of the bridge.
        batch: the most records in one step.
    """

    def __init__(
        self, settings: KafkaSettings, pipeline: Pipeline, figures: Figures, batch: int
    ) -> None:
        self._settings = settings
        self._pipeline = pipeline
        self._figures = figures
        self._source = KafkaSource(settings, figures)
        self._batch = batch
        self._stopping = False
        self._progress: dict[Partition, _Progress] = {}

    def stop(self) -> None:
        """Let `run` return after the records in hand."""
        self._stopping = True

    async def run(self) -> None:
        """Publish until `stop`.

        Raises:
            BridgeError: the brokers refuse for good, or a bad record ends the bridge.
        """
        await self._source.start()
        try:
            while not self._stopping:
                read = await self._source.read(_READ_FACTOR * self._batch)
                for partition, records in read.items():
                    await self._publish(partition, records)
        finally:
            await self._source.shutdown()

    async def _publish(self, partition: Partition, records: list[Record]) -> None:
        assignment = self._source.assigned.get(partition, 0)
        for portion in split(records, self._batch):
            if not await self._publish_portion(partition, assignment, portion):
                return  # they are read again, here or by the partition's new member of the group

    async def _publish_portion(
        self, partition: Partition, assignment: int, records: list[Record]
    ) -> bool:
        """Publish records, however long that takes; return whether they were published.

        They are not when the partition becomes another one's, or when the bridge stops meanwhile.
        """
        backoff = Backoff(most_s=_LONGEST_WAIT_S)
        batch: Batch | None = None
        while self._source.assigned.get(partition) == assignment:
            try:
                if batch is None:
                    batch = await self._map(partition, assignment, records)
                await self._pipeline.accept(batch)
            except (RedisError, DeadLetterError, BrokerError) as exc:
                self._figures.on_failure(exc)
                if self._stopping:
                    return False
                await self._source.pause(backoff.next_s())
            else:
                self._figures.on_success()
                await self._source.resume()
                self._on_accepted(partition, batch, records)
                return True
        self._figures.on_success()
        await self._source.resume()
        return False

    async def _map(self, partition: Partition, assignment: int, records: list[Record]) -> Batch:
        """Return what is to be done for records, without those that were published before."""
        topic, number = partition
        progress = self._progress.get(partition)
        is_back = progress is not None and records[0].position <= progress.last
        if progress is None or progress.assignment != assignment or is_back:
            source = f"kafka:{self._settings.group}:{await self._source.topic_id(topic)}"
            last = await self._pipeline.position(source, str(number))
            self._progress[partition] = progress = _Progress(assignment, source, last)
        new = [record for record in records if record.position > progress.last]
        self._figures.repeated += len(records) - len(new)
        return self._pipeline.map(progress.source, str(number), new)

    def _on_accepted(self, partition: Partition, batch: Batch, records: list[Record]) -> None:
        last = batch.last if batch.count or batch.ends_at else records[-1].position
        if last >= 0:
            self._source.store(partition, last)
            progress = self._progress[partition]
            progress.last = max(progress.last, last)
        if batch.ends_at is not None:
            raise BridgeError(f"stopping at a bad record: {batch.ends_at}")


@dataclass(slots=True)
class _Progress:
    """How far a partition has come since it was assigned.

    Attributes:
        assignment: its number.
        source: the name under which Redis remembers the topic.
        last: the last offset that was published.
    """

    assignment: int
    source: str
    last: int
