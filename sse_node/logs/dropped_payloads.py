"""The log lines about payloads from Redis that are not delivered."""

import logging

from sse_node.errors import PublisherError
from sse_node.logs.rate_limit import OncePerSecond

logger = logging.getLogger(__name__)


class DroppedPayloads:
    """Logs dropped payloads, at most once a second for each reason; lives as long as the node."""

    def __init__(self) -> None:
        self._lines = OncePerSecond()

    def log(self, error: PublisherError) -> None:
        """Log why a payload was dropped; called by the fan-out, never raises."""
        if self._lines.allows(error.reason):
            logger.warning("a payload from Redis was dropped: %s: %s", error.reason, error)
