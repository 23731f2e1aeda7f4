"""Other live processes with the name of this one: both hear the probes of each other.

While a node is restarted, the old process and the new one overlap for as long as the old one
drains. After that it is a mistake: logs, metrics and snapshot jobs of the two cannot be told apart.
"""

import logging
import os
import secrets
import socket
from collections.abc import Callable
from time import monotonic
from typing import Final

_SHOWN: Final = 100  # bytes of a foreign description in the log

logger = logging.getLogger(__name__)


class Namesakes:
    """Finds another live process with the same name; lives as long as the node.

    Args:
        name: of this process.
        overlap_s: how long a restart may overlap.
        silence_s: another process that has not probed for this time is gone.
        now: returns seconds that never go back.

    Attributes:
        name: of this process.
        own: what this process adds to its probes: unique, and says where it runs.
    """

    def __init__(
        self,
        name: str,
        overlap_s: float,
        silence_s: float,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self.own = f"{secrets.token_hex(8)} {socket.gethostname()} pid {os.getpid()}".encode()
        self.name = name
        self._overlap_s = overlap_s
        self._silence_s = silence_s
        self._now = now
        self._first_s = 0.0
        self._last_s = float("-inf")
        self._is_reported = False

    @property
    def is_found(self) -> bool:
        """Whether there is another one, for longer than a restart overlaps."""
        return self._is_reported and self._now() - self._last_s < self._silence_s

    def hear(self, sender: bytes) -> None:
        """Take what a probe on this process's channel says of its sender, empty if nothing."""
        if not sender or sender == self.own:
            return
        now_s = self._now()
        if now_s - self._last_s >= self._silence_s:
            self._first_s, self._is_reported = now_s, False
        self._last_s = now_s
        if not self._is_reported and now_s - self._first_s > self._overlap_s:
            self._is_reported = True
            where = sender[:_SHOWN].decode("ascii", "replace").partition(" ")[2]
            logger.warning(
                "another live process has the server id %s (%r); "
                "give each node its own --server-id",
                self.name,
                where,
            )
