"""What a client is told when the handler of its request raises."""

import logging
from typing import Final

from sse_node.errors import RedisBusyError, RedisError, RequestError
from sse_node.wire.http_head import Request, Response, problem_response

_RETRY_AFTER: Final = (b"Retry-After", b"2")

logger = logging.getLogger(__name__)


def response_to(exc: Exception, request: Request) -> Response:
    """Return the problem that answers a request; a bug is logged and says nothing of itself."""
    if isinstance(exc, RequestError):
        return problem_response(exc)
    if isinstance(exc, RedisBusyError):
        detail = "Redis: too many requests wait for it; nothing was changed"
        return problem_response(RequestError(503, detail, (_RETRY_AFTER,)))
    if isinstance(exc, RedisError):
        detail = (
            "Redis is not usable at the moment; nothing was changed as far as this server knows"
        )
        return problem_response(RequestError(503, detail, (_RETRY_AFTER,)))
    logger.error("%s %s failed", request.method, request.path, exc_info=exc)
    return problem_response(RequestError(500, "The server failed; this has been logged."))
