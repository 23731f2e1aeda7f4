"""One connection to RabbitMQ: messages as they come, acknowledged when they are published.

The library's own reconnecting connection is not used: what a consumer that was cancelled or a
channel that was closed leaves behind is not repaired, but opened again with the connection.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import AMQPError
from aiormq.exceptions import (
    AuthenticationError,
    ChannelPreconditionFailed,
    ProbableAuthenticationError,
)
from pamqp.common import FieldTable

from sse_node.bridges.record import Record
from sse_node.config.bridges import AmqpSettings
from sse_node.errors import BridgeError, BrokerError, reason_of
from sse_node.redis.keys import idempotency_name

_CONNECT_TIMEOUT_S: Final = 10.0
_STREAM_OFFSET: Final = "x-stream-offset"

# The library logs every attempt to connect, and raises what it logs.
logging.getLogger("aiormq").setLevel(logging.CRITICAL)


class AmqpSession:
    """A consumer on a connection of its own; made by `open_session`, lives until it is lost.

    Args:
        connection: of this session alone.
        name: of the queue.
        prefetch: the most messages that are delivered and not acknowledged.

    Attributes:
        lost: why it has ended; empty while it lives.
    """

    def __init__(self, connection: AbstractConnection, name: str, prefetch: int) -> None:
        self._connection = connection
        self._name = name
        self._prefetch = prefetch
        self._queue: AbstractQueue | None = None
        self._inbox: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()
        self.lost = ""
        connection.close_callbacks.add(self.on_lost)

    async def consume(self, stream_offset: int | str) -> None:
        """Let messages come; those of a stream from an offset on.

        Only the broker knows which it is: a queue refuses the offset, and the channel is closed.

        Raises:
            BrokerError: there is no such queue, or the session is lost.
        """
        with translated():
            try:
                await self._consume({_STREAM_OFFSET: stream_offset})
            except ChannelPreconditionFailed as exc:
                if _STREAM_OFFSET not in str(exc):
                    raise
                await self._consume({})

    async def _consume(self, arguments: FieldTable) -> None:
        channel = await self._connection.channel()
        await channel.set_qos(prefetch_count=self._prefetch)
        queue = await channel.declare_queue(self._name, passive=True)
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(self.on_lost)
        await queue.consume(self._on_message, arguments=arguments)
        channel.close_callbacks.add(self.on_lost)
        if channel.is_closed:
            self.on_lost()
        self._queue = queue

    async def read(self, most: int, timeout_s: float) -> list[AbstractIncomingMessage]:
        """Return the messages that are there, up to `most`; wait some time for the first one.

        Raises:
            BrokerError: the session is lost, and so are its messages that are not acknowledged.
        """
        messages = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                messages.append(await self._inbox.get())
        while messages and len(messages) < most and not self._inbox.empty():
            messages.append(self._inbox.get_nowait())
        self.check()
        return [message for message in messages if message is not None]

    def check(self) -> None:
        """Raise BrokerError when the session is lost."""
        if self.lost:
            raise BrokerError(self.lost)

    def on_lost(self, *reasons: object) -> None:
        """Note that the connection, the channel or the consumer is gone."""
        causes = [reason for reason in reasons if isinstance(reason, BaseException)]
        self.lost = self.lost or f"RabbitMQ: {reason_of(causes[0]) if causes else 'cancelled'}"
        self._inbox.put_nowait(None)

    async def waiting(self) -> int:
        """Return how many messages wait in the queue.

        Raises:
            BrokerError: the session is lost.
        """
        if self._queue is None:
            return 0
        with translated():
            await self._queue.declare()
        return self._queue.declaration_result.message_count or 0

    async def _on_message(self, message: AbstractIncomingMessage) -> None:
        self._inbox.put_nowait(message)

    def record_of(self, message: AbstractIncomingMessage) -> Record:
        """Return what a message has."""
        offset = offset_of(message)
        place = f"#{message.delivery_tag}" if offset is None else f"@ {offset}"
        headers = {
            str(name).lower(): value if isinstance(value, bytes) else str(value).encode()
            for name, value in message.headers.items()
        }
        return Record(
            f"{self._name} {place}",
            offset or 0,
            message.body,
            (message.routing_key or "").encode(),
            headers,
            idempotency_name("sse-node bridge amqp", self._name, message.message_id or "")
            if offset is None
            else "",
        )


def offset_of(message: AbstractIncomingMessage) -> int | None:
    """Return the offset of a message of a stream, None for one of a queue."""
    offset = message.headers.get(_STREAM_OFFSET)
    return offset if isinstance(offset, int) else None


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise what the library raises inside the block as errors of this project.

    Raises:
        BridgeError: the broker refuses the user.
        BrokerError: it is away, or refuses otherwise.
    """
    try:
        yield
    except (AuthenticationError, ProbableAuthenticationError) as exc:
        raise BridgeError(f"RabbitMQ refuses the user of --url: {reason_of(exc)}") from exc
    except (AMQPError, OSError, TimeoutError, RuntimeError) as exc:
        raise BrokerError(f"RabbitMQ: {reason_of(exc)}") from exc


@contextlib.asynccontextmanager
async def open_session(settings: AmqpSettings, prefetch: int) -> AsyncIterator[AmqpSession]:
    """Connect and open a session, which ends with the block.

    Args:
        settings: where.
        prefetch: the most messages that are delivered and not acknowledged.

    Raises:
        BridgeError: the broker refuses the user.
        BrokerError: the broker is away.
    """
    with translated():
        connection = await aio_pika.connect(settings.url, timeout=_CONNECT_TIMEOUT_S)
    try:
        yield AmqpSession(connection, settings.queue, prefetch)
    finally:
        with contextlib.suppress(AMQPError, OSError, RuntimeError, asyncio.CancelledError):
            await connection.close()


async def settle(
    messages: Sequence[AbstractIncomingMessage], bad: Sequence[AbstractIncomingMessage]
) -> None:
    """Acknowledge messages, all up to the last one at once; reject the bad ones for good.

    Raises:
        BrokerError: the session is lost.
    """
    rejected = {message.delivery_tag for message in bad}
    with translated():
        for message in bad:
            await message.reject(requeue=False)
        good = [message for message in messages if message.delivery_tag not in rejected]
        if good:
            await good[-1].ack(multiple=True)
