"""The resource `/snapshots`: a bounded list for each user, newest last."""

from typing import Final

import msgspec

from sse_node.api.parameters import bounded_parameter, query_of, user_of
from sse_node.redis.event_logs import EventLogs
from sse_node.wire.http_head import Request, Response, json_response
from sse_node.wire.identity import READ_ACCOUNTS

_LISTED: Final = 100
_MAX_LISTED: Final = 1000


class Snapshots:
    """Reads what the snapshot jobs have made; lives as long as the node."""

    def __init__(self, logs: EventLogs, default_user: str) -> None:
        self._logs = logs
        self._default_user = default_user

    async def list(self, request: Request) -> Response:
        """Answer `GET /snapshots`."""
        query = query_of(request, "userId", "limit")
        user = user_of(request, query, self._default_user, READ_ACCOUNTS)
        limit = bounded_parameter(query, "limit", _LISTED, _MAX_LISTED)
        log = self._logs.of_user(user)
        async with self._logs.reads:
            snapshots: list[bytes] = await log.commands.execute(
                "LRANGE", log.keys.snapshots_of(user), -limit, -1
            )
            return json_response(200, [msgspec.Raw(snapshot) for snapshot in snapshots])
