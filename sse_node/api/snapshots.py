"""The resource `/snapshots`: a bounded list for each user, newest last."""

from typing import Final

import msgspec

from sse_node.api.parameters import bounded_parameter, query_of, user_of
from sse_node.redis.commands import RedisCommands
from sse_node.redis.keys import Keys
from sse_node.wire.http_head import Request, Response, json_response
from sse_node.wire.identity import READ_ACCOUNTS

_LISTED: Final = 100
_MAX_LISTED: Final = 1000


class Snapshots:
    """Reads what the snapshot jobs have made; lives as long as the node."""

    def __init__(self, commands: RedisCommands, keys: Keys, default_user: str) -> None:
        self._commands = commands
        self._keys = keys
        self._default_user = default_user

    async def list(self, request: Request) -> Response:
        """Answer `GET /snapshots`."""
        query = query_of(request, "userId", "limit")
        user = user_of(request, query, self._default_user, READ_ACCOUNTS)
        limit = bounded_parameter(query, "limit", _LISTED, _MAX_LISTED)
        async with self._commands.reads:
            snapshots: list[bytes] = await self._commands.execute(
                "LRANGE", self._keys.snapshots_of(user), -limit, -1
            )
            return json_response(200, [msgspec.Raw(snapshot) for snapshot in snapshots])
