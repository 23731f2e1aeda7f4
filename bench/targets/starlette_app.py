"""Event streams with Starlette, sse-starlette and redis-py, written as their documents show it.

One task reads Redis' Pub/Sub and puts each event into the queues of its user; every stream reads
from a queue of its own. An event is decoded and encoded once for all of its streams.
"""

import asyncio
import contextlib
import json
import os
from collections import defaultdict
from collections.abc import AsyncIterator

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

_queues: defaultdict[str, set[asyncio.Queue[str]]] = defaultdict(set)


async def _read(subscription: PubSub) -> None:
    async for message in subscription.listen():
        if message["type"] != "message":
            continue
        envelope = json.loads(message["data"])
        event = {"eventType": envelope["eventType"], **envelope["data"]}
        data = json.dumps(event, separators=(",", ":"))  # the bytes of the node's data: line
        for queue in _queues.get(envelope["userId"], ()):
            queue.put_nowait(data)


@contextlib.asynccontextmanager
async def _subscribed(_: Starlette) -> AsyncIterator[None]:
    async with Redis.from_url(os.environ["REDIS_URL"]) as redis, redis.pubsub() as subscription:
        await subscription.subscribe("user-events")
        reading = asyncio.create_task(_read(subscription))
        yield
        reading.cancel()


async def _events_of(user: str) -> AsyncIterator[dict[str, str]]:
    queue: asyncio.Queue[str] = asyncio.Queue()
    _queues[user].add(queue)
    try:
        while True:
            yield {"data": await queue.get()}
    finally:
        _queues[user].remove(queue)
        if not _queues[user]:
            del _queues[user]


async def _stream(request: Request) -> EventSourceResponse:
    # Lines end with LF, as everywhere in this benchmark; a ping every 15 s is the default.
    return EventSourceResponse(_events_of(request.path_params["user"]), sep="\n")


app = Starlette(routes=[Route("/events/sse/{user}", _stream)], lifespan=_subscribed)
