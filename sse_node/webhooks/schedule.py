"""When a message is sent again, and when no more: eight attempts over a day."""

import random
from dataclasses import dataclass
from enum import Enum
from typing import Final

ATTEMPTS: Final = 8
# Seconds from one attempt to the next: soon at first, for what a restart mends; in all a day.
_DELAYS_S: Final = (5, 60, 600, 3600, 10_800, 25_200, 46_135)
_DAY_S: Final = sum(_DELAYS_S)
_JITTER: Final = 0.2
_GONE: Final = 410
_SLOW_DOWN: Final = frozenset({429, 503})


class Outcome(Enum):
    """What becomes of a message; the value is the word of the script."""

    DELIVERED = "delivered"
    RETRY = "retry"
    DEAD = "dead"
    GONE = "gone"
    POSTPONED = "postponed"
    BUSY = "busy"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver answered, or why it did not.

    Attributes:
        status: of the answer; None without one.
        error: why the message counts as not delivered; empty for an answer that delivers it.
        retry_after_s: what the receiver asks for; 0 for nothing.
        is_transport: no answer came: the host may be dead.
    """

    status: int | None
    error: str = ""
    retry_after_s: float = 0.0
    is_transport: bool = False


class Schedule:
    """The attempts to deliver a message; lives as long as the process.

    Args:
        retry_time_s: over which they are spread.
    """

    def __init__(self, retry_time_s: float) -> None:
        self.scale = retry_time_s / _DAY_S
        self._retry_time_s = retry_time_s

    def after(self, answer: Answer, attempts: int) -> tuple[Outcome, float]:
        """Return what becomes of a message after an attempt, and the seconds to the next one.

        Args:
            answer: of the receiver.
            attempts: that failed before.
        """
        if answer.status is not None and not answer.error:
            return Outcome.DELIVERED, 0.0
        if answer.status == _GONE:
            return Outcome.GONE, 0.0
        if attempts + 1 >= ATTEMPTS:
            return Outcome.DEAD, 0.0
        delay_s = _DELAYS_S[attempts] * self.scale * random.uniform(1 - _JITTER, 1 + _JITTER)
        if answer.status in _SLOW_DOWN:
            delay_s = max(delay_s, min(answer.retry_after_s, self._retry_time_s))
        return Outcome.RETRY, delay_s

    def is_too_old(self, failing_s: float) -> bool:
        """Return whether a message has waited for its dead host for longer than for a retry."""
        return failing_s > self._retry_time_s * (1 + _JITTER)
