"""Closing all streams of a node over a window of time."""

import asyncio
import random

from sse_node.streams.event_stream import CloseReason
from sse_node.streams.registry import Streams
from sse_node.streams.retry import RetryTime

_STEP_S = 0.1


async def drain(streams: Streams, retry: RetryTime, window_s: float) -> None:
    """Close all streams at a flat rate, in random order; return when the window is over.

    Each gets its own reconnection time, so that the clients come back spread out, too.

    Args:
        streams: refuses new ones from now on.
        retry: makes the reconnection times.
        window_s: from the first close to the last one, in seconds.
    """
    streams.serving = False
    waiting = list(streams)
    random.shuffle(waiting)
    steps = max(1, round(window_s / _STEP_S))
    loop = asyncio.get_running_loop()
    start = loop.time()
    for step in range(steps):
        if not len(streams):
            return
        await asyncio.sleep(max(0.0, start + step * _STEP_S - loop.time()))
        first, end = (-(-len(waiting) * at // steps) for at in (step, step + 1))
        for stream in waiting[first:end]:
            stream.close(retry.encode(), CloseReason.DRAIN)
