"""Dead letters in a topic: each record as it was, with headers that say where it was and why."""

from collections.abc import Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from sse_node.bridges.dead_letters import DeadLetter
from sse_node.bridges.kafka_client import KafkaThread, client_configuration, library_logger
from sse_node.config.bridges import KafkaSettings
from sse_node.errors import BrokerError, DeadLetterError

_TIMEOUT_S: Final = 10.0


class LetterTopic:
    """Writes dead letters to a topic of the same cluster; lives as long as the bridge.

    Args:
        topic: its name; it must exist, unless brokers create topics by themselves.
        settings: where, and as who.
    """

    def __init__(self, topic: str, settings: KafkaSettings) -> None:
        self._topic = topic
        self._thread = KafkaThread()
        self._producer = Producer(
            client_configuration(settings)
            | {
                "enable.idempotence": True,
                "delivery.timeout.ms": int(_TIMEOUT_S * 1000),
                "logger": library_logger(),
            }
        )

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """Produce them; acknowledged by the brokers when this returns.

        Raises:
            DeadLetterError: at least one was not acknowledged in time.
        """
        try:
            await self._thread.call(self._produce, letters)
        except BrokerError as exc:
            raise DeadLetterError(f"--dead-letter {self._topic}: {exc}") from exc

    def _produce(self, letters: Sequence[DeadLetter]) -> None:
        failures: list[KafkaError] = []

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                failures.append(error)

        for letter in letters:
            record = letter.record
            headers: list[tuple[str, str | bytes | None]] = [
                *record.headers.items(),
                ("sse-node-where", record.where),
                ("sse-node-reason", letter.reason),
                ("sse-node-detail", letter.detail),
            ]
            self._producer.produce(
                self._topic, record.value, record.key, headers=headers, on_delivery=on_delivery
            )
        if self._producer.flush(_TIMEOUT_S + 1):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        if failures:
            raise KafkaException(failures[0])
