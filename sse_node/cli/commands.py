"""What the commands `publish` and `tail` do, without a node."""

import asyncio
from collections.abc import Callable
from urllib.parse import quote

import msgspec

from sse_node.cli.tail import tail_events
from sse_node.config.sections import Settings
from sse_node.errors import MissingSettingError
from sse_node.redis.address import redis_address
from sse_node.redis.connections import Connections
from sse_node.redis.event_logs import Publication, open_logs
from sse_node.redis.keys import idempotency_name, keys_of
from sse_node.wire.envelope import USER_EVENTS


def publish_event(settings: Settings, user: str, payload: bytes, idempotency_key: str) -> str:
    """Publish a user's event, once for each key that is not empty; return its id.

    Raises:
        RedisError: it has not been published, as far as can be known.
        RequestError: the key was used with another event.
    """
    return asyncio.run(_publish(settings, user, payload, idempotency_key))


async def _publish(settings: Settings, user: str, payload: bytes, idempotency_key: str) -> str:
    address = redis_address(settings.redis.url)
    connections = Connections(
        address,
        name="sse-node:publish",
        timeout_s=settings.redis.timeout,
        max_connections=1,
    )
    try:
        keys = keys_of(settings.redis.namespace, address.database)
        logs = await open_logs(connections, keys, settings.history)
        idempotency = idempotency_name("sse-node publish", user, idempotency_key)
        ids = await logs.publish([Publication(user, USER_EVENTS.decode(), payload)], idempotency)
        return ids[0]
    finally:
        await connections.shutdown()


def watch_user(settings: Settings, user: str, write_line: Callable[[str], None]) -> None:
    """Write a line for each of a user's events as they are published, until interrupted.

    Raises:
        ConfigError: Redis' URL is not one.
        KeyboardInterrupt: SIGINT.
    """
    address = redis_address(settings.redis.url)
    keys = keys_of(settings.redis.namespace, address.database)
    asyncio.run(
        tail_events(
            address,
            keys,
            user,
            write_line,
            max_event_bytes=settings.events.max_event_bytes,
        )
    )


def watch_stream(url: str, user: str, token: str, write_line: Callable[[str], None]) -> None:
    """Write a line for each event of a user's stream at a node, until interrupted.

    Raises:
        MissingSettingError: httpx is.
        StreamClosedError: the node lets nobody in with this token.
        KeyboardInterrupt: SIGINT.
    """
    try:
        from sse_node.client import events
    except ImportError as exc:
        raise MissingSettingError("httpx", "pip install 'sse-node[client]'") from exc
    for event in events(f"{url.rstrip('/')}/events/sse/{quote(user, safe='')}", token):
        data = msgspec.json.encode(event.data).decode()
        write_line(f"{event.id or '-'} {event.type} {data}")
