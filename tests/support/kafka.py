"""A program that writes to Kafka and looks at what a group has committed, for the tests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.support.nodes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_TIMEOUT_S = 60.0
# What a broker answers about groups before it has read them.
_NOT_YET = frozenset(
    {
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
    }
)


class KafkaClient:
    """One cluster's topics and groups.

    Args:
        brokers: as `--brokers`.
    """

    def __init__(self, brokers: str) -> None:
        self.brokers = brokers
        self._admin = AdminClient({"bootstrap.servers": brokers, "log_level": 0})
        self._producer = Producer({"bootstrap.servers": brokers, "linger.ms": 1, "log_level": 0})

    def create(self, topic: str, partitions: int = 1) -> None:
        """Create a topic; it can be written to when this returns."""
        for created in self._admin.create_topics([NewTopic(topic, partitions, 1)]).values():
            created.result(_TIMEOUT_S)

    def delete(self, topic: str) -> None:
        """Delete a topic."""
        for deleted in self._admin.delete_topics([topic]).values():
            deleted.result(_TIMEOUT_S)

    def send(self, topic: str, values: Iterable[Any], **options: Any) -> None:  # noqa: ANN401
        """Write values, JSON unless they are bytes or None; acknowledged when this returns."""
        for value in values:
            is_ready = isinstance(value, bytes | None)
            content = value if is_ready else json.dumps(value).encode()
            self._producer.produce(topic, content, **options)
        assert self._producer.flush(_TIMEOUT_S) == 0

    def committed(self, group: str, topic: str, partition: int = 0) -> int:
        """Return the committed offset of a group; negative for none."""
        asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, partition)])
        found = _answer(lambda: self._admin.list_consumer_group_offsets([asked]))
        return int(found.topic_partitions[0].offset)

    def members(self, group: str) -> int:
        """Return how many members a group has."""
        return len(_answer(lambda: self._admin.describe_consumer_groups([group])).members)

    def read(self, topic: str, count: int) -> list[Any]:
        """Return the first messages of a topic."""
        consumer = Consumer({"bootstrap.servers": self.brokers, "group.id": "tests"})
        try:
            consumer.assign([TopicPartition(topic, 0, 0)])
            messages = consumer.consume(count, _TIMEOUT_S)
            assert len(messages) == count, f"{len(messages)} of {count} messages"
            return messages
        finally:
            consumer.close()


def _answer(ask: Callable[[], dict[Any, Any]]) -> Any:  # noqa: ANN401
    """Return what the broker answers about a group, as soon as it knows."""
    answers: list[Any] = []

    def is_answered() -> bool:
        (future,) = ask().values()
        try:
            answers.append(future.result(_TIMEOUT_S))
        except KafkaException as exc:
            if exc.args[0].code() not in _NOT_YET:
                raise
        return bool(answers)

    wait_until(is_answered, "an answer about a group", _TIMEOUT_S)
    return answers[0]
