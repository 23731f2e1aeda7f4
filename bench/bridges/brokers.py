"""The brokers that bridges read from: started, written to, and restarted."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import aio_pika
from aio_pika.exceptions import AMQPError
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from bench.harness import ChildProcess, KafkaProcess, ProcessError, RabbitProcess
from bench.harness.running import Running

# The library logs every attempt to connect, and raises what it logs.
logging.getLogger("aiormq").setLevel(logging.CRITICAL)

TOPIC = "bench"
_TIMEOUT_S = 60.0
_RETRY_S = 0.2
_AHEAD = 200  # arbitrary: messages that wait for their confirmation

Sent = Callable[[str], int]
"""Called before a record is written, with its user; returns the number of the record."""


def users(count: int) -> list[str]:
    """Return the users of a run; a user's records are in one partition, in order."""
    return [f"user-{number}" for number in range(count)]


def value(user: str, number: int, pad: str = "") -> bytes:
    """Return a record as the bridge reads it and the clients of the chaos benchmark know it."""
    data = {"user": user, "number": number, **({"pad": pad} if pad else {})}
    return json.dumps({"userId": user, "eventType": "bench", "data": data}).encode()


class Broker(Running):
    """A broker for a `with` block.

    Attributes:
        process: that runs it.
        words: of the command line of its bridge.
        members: how many bridges may share the source with the order kept.
    """

    process: ChildProcess
    words: list[str]
    members: int

    def write(self, records: Iterator[tuple[int, str]], sent: Sent, rate: float) -> None:
        """Write records to (partition, user) in order at a rate; return when all are accepted.

        Raises:
            ProcessError: they are not accepted.
        """
        raise NotImplementedError


def _paced(records: Iterator[tuple[int, str]], rate: float) -> Iterator[tuple[int, str]]:
    begin_s = time.monotonic()
    for number, record in enumerate(records):
        early_s = begin_s + number / rate - time.monotonic() if rate else 0
        if early_s > 0:
            time.sleep(early_s)
        yield record


class KafkaSide(Broker):
    """Kafka with one topic.

    Args:
        partitions: of the topic.
        cpu: the only core that it may use.
    """

    members = 2

    def __init__(self, partitions: int, cpu: int | None = None) -> None:
        kafka = KafkaProcess(cpu=cpu)
        self.process = kafka
        self._brokers = kafka.brokers
        self.words = ["kafka", "--brokers", kafka.brokers, "--topic", TOPIC]
        self.words += ["--group", TOPIC]
        self._partitions = partitions

    def _start(self, parts: ExitStack) -> None:
        parts.enter_context(self.process)
        admin = AdminClient({"bootstrap.servers": self._brokers})
        for created in admin.create_topics([NewTopic(TOPIC, self._partitions, 1)]).values():
            created.result(_TIMEOUT_S)

    def write(self, records: Iterator[tuple[int, str]], sent: Sent, rate: float) -> None:
        """Write records by an idempotent producer. Raises ProcessError."""
        producer = Producer(
            {
                "bootstrap.servers": self._brokers,
                "enable.idempotence": True,
                "linger.ms": 5,
                "log_level": 0,
                "reconnect.backoff.max.ms": 500,
            }
        )
        for partition, user in _paced(records, rate):
            content = value(user, sent(user))
            while True:
                try:
                    producer.produce(TOPIC, content, user, partition)
                except BufferError:
                    producer.poll(_RETRY_S)
                else:
                    break
            producer.poll(0)
        if left := producer.flush(_TIMEOUT_S):
            raise ProcessError(f"Kafka has not accepted {left} records")


class RabbitSide(Broker):
    """RabbitMQ with one quorum queue, whose messages have ids.

    Args:
        cpu: the only core that it may use.
    """

    members = 1

    def __init__(self, cpu: int | None = None) -> None:
        rabbit = RabbitProcess(cpu=cpu)
        self.process = rabbit
        self._url = rabbit.url
        self.words = ["amqp", "--url", rabbit.url, "--queue", TOPIC]

    def _start(self, parts: ExitStack) -> None:
        parts.enter_context(self.process)
        asyncio.run(self._declare())

    async def _declare(self) -> None:
        async with await aio_pika.connect(self._url) as connection:
            channel = await connection.channel()
            arguments: dict[str, Any] = {"x-queue-type": "quorum", "x-delivery-limit": 1000}
            await channel.declare_queue(TOPIC, durable=True, arguments=arguments)

    def write(self, records: Iterator[tuple[int, str]], sent: Sent, rate: float) -> None:
        """Write messages, each once more until it is confirmed. Raises ProcessError."""
        asyncio.run(self._write(_paced(records, rate), sent))

    async def _write(self, records: Iterator[tuple[int, str]], sent: Sent) -> None:
        waiting: list[tuple[str, int]] = []
        ended = False
        deadline_s = time.monotonic() + _TIMEOUT_S
        while not ended or waiting:
            try:
                async with _connected(self._url) as connection:
                    channel = await connection.channel()
                    while True:
                        await _confirmed(channel, waiting)
                        waiting.clear()
                        deadline_s = time.monotonic() + _TIMEOUT_S
                        for _, user in records:
                            waiting.append((user, sent(user)))
                            if len(waiting) >= _AHEAD:
                                break
                        if not waiting:
                            ended = True
                            break
            except (AMQPError, OSError, TimeoutError, RuntimeError) as error:
                if time.monotonic() > deadline_s:
                    raise ProcessError(
                        f"RabbitMQ has accepted nothing for a minute: {error!r}"
                    ) from error
                await asyncio.sleep(_RETRY_S)


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[aio_pika.abc.AbstractConnection]:
    """Connect; a connection that fails is closed too, which its destructor would do too late."""
    connection = aio_pika.Connection(aio_pika.connection.make_url(url))
    try:
        await connection.connect(timeout=5)
        yield connection
    finally:
        await connection.close()


async def _confirmed(
    channel: aio_pika.abc.AbstractChannel, messages: list[tuple[str, int]]
) -> None:
    """Return when the broker has confirmed messages, which may be there twice then, in order."""
    published = [
        asyncio.ensure_future(
            channel.default_exchange.publish(
                aio_pika.Message(
                    value(user, number),
                    message_id=f"{user}-{number}",
                    delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                ),
                TOPIC,
                timeout=10,
            )
        )
        for user, number in messages
    ]
    try:
        await asyncio.gather(*published)
    finally:
        for each in published:
            each.cancel()
        await asyncio.gather(*published, return_exceptions=True)
