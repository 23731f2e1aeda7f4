"""From a queue or a stream of RabbitMQ to streams: acknowledged when Redis has accepted.

A message of a queue is published once in ten minutes if it has a `message_id`. One of a stream has
an offset, and Redis remembers the last one, as of a partition of Kafka.
"""

import asyncio
import logging
from time import monotonic
from typing import Final
from urllib.parse import urlsplit

from aio_pika.abc import AbstractIncomingMessage

from sse_node.bridges.amqp_session import AmqpSession, offset_of, open_session, settle
from sse_node.bridges.figures import Figures
from sse_node.bridges.pipeline import Batch, Pipeline, split
from sse_node.config.bridges import AmqpSettings
from sse_node.errors import BridgeError, BrokerError, DeadLetterError, RedisError
from sse_node.redis.backoff import Backoff

_NOTHING_S: Final = 0.5  # a read without a message; a stop waits for it
_LAG_INTERVAL_S: Final = 2.0
_LONGEST_WAIT_S: Final = 1.0
_PART: Final = "0"  # the only one of a stream

logger = logging.getLogger(__name__)


def source_of(settings: AmqpSettings) -> str:
    """Return the name under which Redis remembers how far a stream has come."""
    return f"amqp:{urlsplit(settings.url).path.strip('/')}:{settings.queue}"


class AmqpBridge:
    """Publishes the messages of a queue; lives from `run` to its end.

    Args:
        settings: of the source.
        pipeline: where messages go.
        figures: of the bridge.
        batch: the most messages in one step; twice as many are delivered ahead.
    """

    def __init__(
        self, settings: AmqpSettings, pipeline: Pipeline, figures: Figures, batch: int
    ) -> None:
        self._settings = settings
        self._pipeline = pipeline
        self._figures = figures
        self._batch = batch
        self._stopping = False
        self._warned = False
        self._looked_s = 0.0

    def stop(self) -> None:
        """Let `run` return after the messages in hand."""
        self._stopping = True

    async def run(self) -> None:
        """Publish until `stop`; connect again whenever the connection is lost.

        Raises:
            BridgeError: the broker refuses the user, or a bad message ends the bridge.
        """
        backoff = Backoff(most_s=_LONGEST_WAIT_S)
        while not self._stopping:
            try:
                async with open_session(self._settings, 2 * self._batch) as session:
                    await self._consume(session)
                    backoff.reset()
                    await self._publish_all(session)
            except (BrokerError, RedisError) as exc:
                self._figures.broker_up = isinstance(exc, RedisError)
                self._figures.on_failure(exc)
                await self._wait(backoff.next_s())

    async def _consume(self, session: AmqpSession) -> None:
        last = await self._pipeline.position(source_of(self._settings), _PART)
        await session.consume(self._settings.stream_offset if last < 0 else last + 1)
        self._figures.broker_up = True
        self._figures.on_success()
        logger.info("consuming %s", self._settings.queue)

    async def _publish_all(self, session: AmqpSession) -> None:
        while not self._stopping:
            messages = await session.read(self._batch, _NOTHING_S)
            if messages:
                await self._publish(session, messages)
            if monotonic() - self._looked_s > _LAG_INTERVAL_S:
                self._looked_s = monotonic()
                self._figures.lag = {self._settings.queue: await session.waiting()}

    async def _publish(self, session: AmqpSession, messages: list[AbstractIncomingMessage]) -> None:
        part = "" if offset_of(messages[0]) is None else _PART
        if not self._warned and not part and not messages[0].message_id:
            self._warned = True
            logger.warning("messages have no message_id: after a crash some may appear twice")
        source = source_of(self._settings)
        for portion in split(map(session.record_of, messages), self._batch):
            batch = self._pipeline.map(source, part, portion)
            bad = {id(letter.record) for letter in batch.letters}
            if not await self._accept(session, batch):
                return
            done, messages = messages[: batch.count], messages[batch.count :]
            records = zip(done, portion, strict=False)
            await settle(done, [message for message, record in records if id(record) in bad])
            if batch.ends_at is not None:
                raise BridgeError(f"stopping at a bad message: {batch.ends_at}")

    async def _accept(self, session: AmqpSession, batch: Batch) -> bool:
        """Publish a batch, however long that takes; return whether it was.

        It is not when the bridge stops meanwhile: the messages are delivered again.

        Raises:
            BrokerError: the session is lost, and the messages are delivered again.
        """
        backoff = Backoff(most_s=_LONGEST_WAIT_S)
        while True:
            try:
                await self._pipeline.accept(batch)
            except (RedisError, DeadLetterError) as exc:
                self._figures.on_failure(exc)
                await self._wait(backoff.next_s())
                session.check()
                if self._stopping:
                    return False
            else:
                self._figures.on_success()
                return True

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(0 if self._stopping else seconds)
