"""Watching a user's events on Redis, live, without a node."""

import asyncio
from collections.abc import Callable

from sse_node.errors import PublisherError
from sse_node.redis.address import RedisAddress
from sse_node.redis.keys import Keys
from sse_node.redis.sentinel_watch import SentinelWatch
from sse_node.redis.subscriber import Message
from sse_node.redis.subscription import Subscription
from sse_node.wire.envelope import (
    USER_EVENTS,
    decode_envelope,
    encode_frame,
    one_line,
    position_of,
    user_of,
)
from sse_node.wire.event_id import format_position


async def tail_events(
    address: RedisAddress,
    keys: Keys,
    user: str,
    write_line: Callable[[str], None],
    *,
    max_event_bytes: int,
) -> None:
    """Write a line for each of the user's events, `ID TYPE DATA`, until cancelled.

    An event that was published without an id has `-` in its place.
    """

    def on_batch(batch: list[Message]) -> None:
        for _, _, payload in batch:
            try:
                envelope = decode_envelope(payload, max_event_bytes)
                if user_of(envelope) == user:
                    encode_frame(envelope, None, event_names=False)  # what nodes refuse, this does
                    position = position_of(payload, None)
                    event_id = "-" if position is None else format_position(position).decode()
                    data = one_line(bytes(envelope.data)).decode()
                    write_line(f"{event_id} {envelope.event_type} {data}")
            except PublisherError as error:
                write_line(f"# a payload that no event can be made of: {error}")

    async def nothing_to_catch_up() -> None:
        """Only what is published while this runs is shown."""

    link = Subscription(
        address,
        name="sse-node:tail",
        channels=[USER_EVENTS],
        on_batch=on_batch,
        catch_up=nothing_to_catch_up,
        ping_interval_s=5,
        prefix=keys.prefix.encode(),
    )
    watch = SentinelWatch(address, "sse-node:tail")
    watch.start()
    link.start()
    try:
        await asyncio.Event().wait()
    finally:
        await link.shutdown()
        await watch.shutdown()
