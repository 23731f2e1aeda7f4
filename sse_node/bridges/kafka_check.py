"""The record that a bridge would read next, read without joining the group."""

import asyncio
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from sse_node.bridges.check import Found
from sse_node.bridges.kafka_client import consumer_configuration, describe
from sse_node.bridges.kafka_source import record_of
from sse_node.config.bridges import KafkaSettings
from sse_node.errors import BridgeError

_TIMEOUT_S: Final = 10.0


async def find_record(kafka: KafkaSettings) -> Found:
    """Return the record of the first topic that comes next, else its last one.

    Raises:
        BridgeError: the brokers are away or refuse, or there is no such topic.
    """
    return await asyncio.to_thread(_find, kafka)


def _find(kafka: KafkaSettings) -> Found:
    consumer = Consumer(consumer_configuration(kafka, lambda text: None))
    try:
        starts = [start for topic in kafka.topic.split(",") for start in _starts(consumer, topic)]
        if not starts:
            return Found(kafka.topic, None)
        consumer.assign(starts)
        message = consumer.poll(_TIMEOUT_S)
        if message is None:
            return Found(kafka.topic, None)
        if (error := message.error()) is not None:
            raise BridgeError(f"Kafka: {error.str()}")
        return Found(kafka.topic, record_of(message))
    except KafkaException as exc:
        raise BridgeError(f"Kafka: {describe(exc)}") from exc
    finally:
        consumer.close()


def _starts(consumer: Consumer, topic: str) -> list[TopicPartition]:
    """Return the partitions that have records, each at the offset of its next or last one."""
    about = consumer.list_topics(topic, _TIMEOUT_S).topics[topic]
    if about.error is not None:
        raise BridgeError(f"Kafka: topic {topic}: {about.error.str()}")
    partitions = [TopicPartition(topic, number) for number in about.partitions]
    starts = []
    for each in consumer.committed(partitions, _TIMEOUT_S):
        first, end = consumer.get_watermark_offsets(each, _TIMEOUT_S)
        if end > first:
            each.offset = min(max(each.offset, first), end - 1)
            starts.append(each)
    return starts
