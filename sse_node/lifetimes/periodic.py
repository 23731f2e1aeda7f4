"""A callback at regular intervals."""

import asyncio
from collections.abc import Callable


class Periodic:
    """One timer of the event loop; created by its owner, runs from `start` to `shutdown`.

    Args:
        interval_s: from one call to the next, in seconds, more than 0.
        callback: called in the event loop; must not block or raise.
        catch_up_s: how far behind the schedule missed calls are made up for; older ones are
            skipped, so that a process that was stopped does not call a hundred times. 0: an
            interval passes after every call.

    Attributes:
        lag_s: how late the present call is.
    """

    def __init__(
        self, interval_s: float, callback: Callable[[], None], *, catch_up_s: float = 0.0
    ) -> None:
        self._interval_s = interval_s
        self._callback = callback
        self._catch_up_s = catch_up_s
        self._due_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.lag_s = 0.0

    def start(self) -> None:
        """Schedule the first call, one interval from now; needs a running event loop."""
        loop = asyncio.get_running_loop()
        self._due_s = loop.time() + self._interval_s
        self._timer = loop.call_at(self._due_s, self._on_timer)

    def shutdown(self) -> None:
        """Stop calling; a stopped timer may be started again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        self.lag_s = max(0.0, now_s - self._due_s)
        # Scheduled first: the callback may shut it down.
        earliest_s = now_s - self._catch_up_s if self._catch_up_s else now_s + self._interval_s
        self._due_s = max(self._due_s + self._interval_s, earliest_s)
        self._timer = loop.call_at(self._due_s, self._on_timer)
        self._callback()
