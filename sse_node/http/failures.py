"""What a client is told when the handler of its request raises."""

import logging

from sse_node.errors import RequestError
from sse_node.wire.http_head import Request, Response, problem_response

logger = logging.getLogger(__name__)


def response_to(exc: Exception, request: Request) -> Response:
    """Return the problem that answers a request; a bug is logged and says nothing of itself."""
    if isinstance(exc, RequestError):
        return problem_response(exc)
    logger.error("%s %s failed", request.method, request.path, exc_info=exc)
    return problem_response(RequestError(500, "The server failed; this has been logged."))
