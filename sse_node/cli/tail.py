"""Watching a user's events on Redis, live, without a node."""

import asyncio
from collections.abc import Callable

from sse_node.errors import PublisherError, RedisError
from sse_node.redis.address import RedisAddress
from sse_node.redis.backoff import Backoff
from sse_node.redis.connections import Connections
from sse_node.redis.keys import Keys, shard_keys
from sse_node.redis.sentinel_watch import SentinelWatch
from sse_node.redis.shard_count import read_shard_count
from sse_node.redis.subscriber import Message
from sse_node.redis.subscriptions import Subscriptions
from sse_node.wire.envelope import (
    USER_EVENTS,
    decode_envelope,
    encode_frame,
    one_line,
    position_of,
    user_of,
)
from sse_node.wire.event_id import format_position
from sse_node.wire.sharding import shard_of


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

    shards = await _shard_count(address, keys)
    link = Subscriptions(
        address,
        name="sse-node:tail",
        keys=keys,
        shards=shards,
        ping_interval_s=5,
        plain_channels=[USER_EVENTS],
        on_plain=on_batch,
    )
    number = shard_of(user, shards)
    own = shard_keys(keys, shards, in_cluster=address.cluster is not None)[number]
    link.make_link(number, own, [USER_EVENTS], on_batch, nothing_to_catch_up)
    watch = SentinelWatch(address, "sse-node:tail")
    watch.start()
    link.start()
    try:
        await asyncio.Event().wait()
    finally:
        await link.shutdown()
        await watch.shutdown()


async def _shard_count(address: RedisAddress, keys: Keys) -> int:
    """Return how many shards there are, as soon as Redis answers."""
    connections = Connections(address, name="sse-node:tail", timeout_s=5, max_connections=1)
    commands = connections.commands_for(keys.shards)
    backoff = Backoff()
    try:
        while True:
            try:
                return await read_shard_count(commands, keys)
            except RedisError:  # the commands have logged it
                await asyncio.sleep(backoff.next_s())
    finally:
        await connections.shutdown()
