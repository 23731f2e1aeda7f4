"""What a client is told when the handler of its request raises."""

import logging
from typing import Final

from sse_node.errors import RedisBusyError, RedisError, RequestError
from sse_node.wire.http_head import Request, Response, problem_response

_RETRY_AFTER: Final = (b"Retry-After", b"2")
_REDIS_BUSY: Final = "Redis: too many requests wait for it; nothing was changed"
_REDIS_AWAY: Final = (
    "Redis is not usable at the moment; nothing was changed as far as this server knows"
)

logger = logging.getLogger(__name__)


def response_to(exc: Exception, request: Request) -> Response:
    """Return the problem that answers a request.

    Without Redis that is 503. A bug is logged, and the client is told nothing of it.
    """
    if isinstance(exc, RequestError):
        return problem_response(exc)
    if isinstance(exc, RedisError):
        detail = _REDIS_BUSY if isinstance(exc, RedisBusyError) else _REDIS_AWAY
        return problem_response(RequestError(503, detail, (_RETRY_AFTER,)))
    logger.error("%s %s failed", request.method, request.path, exc_info=exc)
    return problem_response(RequestError(500, "The server failed; this has been logged."))
