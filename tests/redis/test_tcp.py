"""TCP connections to Redis: one that is closed at once is a failure like others."""

import asyncio
from collections.abc import Callable

import pytest

from sse_node.redis.tcp import Dialer, Server


class Closed(asyncio.Transport):
    """A transport whose connection is over: uvloop's has no socket then."""

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default


async def test_a_connection_that_is_closed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def create_connection(
        make: Callable[[], asyncio.Protocol], host: str, port: int, **options: object
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        return Closed(), make()

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", create_connection)
    with pytest.raises(ConnectionAbortedError, match="closed as soon as it was open"):
        await Dialer().connect(Server("127.0.0.1", 6379), asyncio.Protocol)
