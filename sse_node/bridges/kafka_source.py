"""The records of a consumer group: read in order, paused, and committed when they are published."""

import logging
from collections.abc import Iterable
from time import monotonic
from typing import Any, Final

import msgspec
from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from sse_node.bridges.figures import Figures
from sse_node.bridges.kafka_client import KafkaThread, client_configuration, consumer_configuration
from sse_node.bridges.record import Record
from sse_node.config.bridges import KafkaSettings
from sse_node.errors import BridgeError, ConfigError
from sse_node.logs.rate_limit import OncePerSecond

Partition = tuple[str, int]
"""The topic and the number of a partition."""

_NOTHING_S: Final = 0.5  # a poll without a record; a stop waits for it
_ADMIN_TIMEOUT_S: Final = 10.0
_ENDS_INTERVAL_S: Final = 2.0
_ENDS_TIMEOUT_S: Final = 1.0
_NO_ID: Final = "A" * 22  # zero, in base64
# After these nothing changes until somebody does something: the process manager tells them.
_REFUSALS: Final = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
    }
)

logger = logging.getLogger(__name__)


class KafkaSource:
    """One member of a consumer group; lives as long as the bridge.

    Args:
        settings: where, and as who.
        figures: of the bridge; lag and the broker's state are written here.

    Attributes:
        assigned: the partitions that this member has, each with a number of its own for every
            time that it was assigned.

    Raises:
        ConfigError: the library does not accept the settings.
    """

    def __init__(self, settings: KafkaSettings, figures: Figures) -> None:
        self._settings = settings
        self._figures = figures
        self._thread = KafkaThread()
        self._lines = OncePerSecond()
        self._assignments = 0
        self._paused = False
        self._ends: dict[Partition, int] = {}  # during a pause
        self._next_look_s = 0.0
        self.assigned: dict[Partition, int] = {}
        try:
            self._consumer = Consumer(consumer_configuration(settings, self._on_statistics))
            self._admin = AdminClient(client_configuration(settings) | {"log_level": 0})
        except KafkaException as exc:
            raise ConfigError("Kafka", str(exc), "properties of librdkafka") from exc

    # In the event loop

    async def start(self) -> None:
        """Join the group; partitions are assigned while records are read."""
        await self._thread.call(
            lambda: self._consumer.subscribe(
                self._settings.topic.split(","),
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_revoke,
            )
        )

    async def read(self, most: int) -> dict[Partition, list[Record]]:
        """Return the records that are there, up to `most`; wait half a second for the first one.

        Raises:
            BridgeError: the brokers refuse for good.
        """
        return await self._thread.call(self._read, most)

    async def topic_id(self, topic: str) -> str:
        """Return what tells a topic from a later one of its name.

        Raises:
            BrokerError: the brokers do not say.
        """
        return await self._thread.call(self._topic_id, topic)

    async def pause(self, seconds: float) -> None:
        """Stay a member of the group for some time without reading records."""
        await self._thread.call(self._pause, seconds)

    async def resume(self) -> None:
        """Read records again after a pause."""
        if self._paused:
            await self._thread.call(self._resume)

    def store(self, partition: Partition, last: int) -> None:
        """Let the offset behind a record be committed: within a second, or when the group changes.

        Args:
            partition: if it is not this member's any more, its new one commits.
            last: the offset of the record.
        """
        try:
            self._consumer.store_offsets(offsets=[TopicPartition(*partition, last + 1)])
        except KafkaException as exc:
            logger.debug("not committing %s [%d]: %s", *partition, exc)

    async def shutdown(self) -> None:
        """Commit what was stored and leave the group."""
        await self._thread.call(self._consumer.close)
        self._thread.shutdown()

    # In the thread

    def _read(self, most: int) -> dict[Partition, list[Record]]:
        messages = self._consumer.consume(1, _NOTHING_S)
        if messages and most > 1:
            messages += self._consumer.consume(most - 1, 0)
        records: dict[Partition, list[Record]] = {}
        for message in messages:
            if (error := message.error()) is not None:
                self._on_error(error)
            else:
                record = record_of(message)
                partition = partition_of(message)
                if partition in self.assigned:
                    records.setdefault(partition, []).append(record)
        return records

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal() or error.code() in _REFUSALS:
            raise BridgeError(f"Kafka: {error.str()}")
        if self._lines.allows(error.name()):
            logger.warning("Kafka: %s", error.str())

    def _topic_id(self, topic: str) -> str:
        futures = self._admin.describe_topics(
            TopicCollection([topic]), request_timeout=_ADMIN_TIMEOUT_S
        )
        topic_id = str(futures[topic].result().topic_id)
        if topic_id != _NO_ID:
            return topic_id
        return f"{self._consumer.cluster_id(_ADMIN_TIMEOUT_S)}:{topic}"  # before Kafka 2.8

    def _pause(self, seconds: float) -> None:
        self._paused = True
        self._consumer.pause(self._consumer.assignment())
        for message in self._consumer.consume(1, seconds):  # rebalances happen here
            if (error := message.error()) is not None:
                self._on_error(error)
            else:  # of a partition that was assigned just now
                topic, number = partition_of(message)
                self._consumer.seek(TopicPartition(topic, number, message.offset() or 0))
        self._look_at_ends()

    def _look_at_ends(self) -> None:
        """Ask where the partitions end: the library hears of it only while it reads."""
        now_s = monotonic()
        if now_s < self._next_look_s:
            return
        self._next_look_s = now_s + _ENDS_INTERVAL_S
        try:
            for each in self._consumer.assignment():
                _, end = self._consumer.get_watermark_offsets(each, _ENDS_TIMEOUT_S)
                self._ends[each.topic, each.partition] = end
        except KafkaException as exc:
            logger.debug("the lag is not known: %s", exc)

    def _resume(self) -> None:
        self._paused = False
        self._ends.clear()
        self._consumer.resume(self._consumer.assignment())

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for each in partitions:
            self._assignments += 1
            self.assigned[each.topic, each.partition] = self._assignments
        logger.info("assigned: %s", _names(partitions))

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for each in partitions:
            self.assigned.pop((each.topic, each.partition), None)
            self._figures.lag.pop(_name(each.topic, each.partition), None)
        logger.info("revoked: %s", _names(partitions))

    def _on_statistics(self, text: str) -> None:
        statistics: dict[str, Any] = msgspec.json.decode(text)
        brokers = statistics.get("brokers", {}).values()
        is_up = any(each["state"] == "UP" and each["nodeid"] >= 0 for each in brokers)
        if is_up != self._figures.broker_up:
            logger.info("Kafka: %s: %s", self._settings.brokers, "up" if is_up else "away")
        self._figures.broker_up = is_up
        lag = {}
        for topic, about in statistics.get("topics", {}).items():
            for number, each in about["partitions"].items():
                partition = topic, int(number)
                if partition in self.assigned and each["consumer_lag_stored"] >= 0:
                    waiting = self._ends.get(partition, 0) - each["stored_offset"]
                    lag[_name(*partition)] = max(each["consumer_lag_stored"], waiting)
        self._figures.lag = lag


def partition_of(message: Message) -> Partition:
    """Return the partition that a message is from."""
    return message.topic() or "", message.partition() or 0


def record_of(message: Message) -> Record:
    """Return what a message has."""
    topic, number = partition_of(message)
    offset = message.offset() or 0
    headers: Any = message.headers()
    return Record(
        f"{topic} [{number}] @ {offset}",
        offset,
        _bytes(message.value()),
        _bytes(message.key()),
        {name.lower(): value or b"" for name, value in headers} if headers else {},
    )


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _name(topic: str, partition: int) -> str:
    return f"{topic} [{partition}]"


def _names(partitions: Iterable[TopicPartition]) -> str:
    return ", ".join(_name(each.topic, each.partition) for each in partitions) or "nothing"
