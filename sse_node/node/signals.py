"""Stop signals of one process: SIGTERM drains, SIGINT drains at once, a second SIGINT ends it now.

Service managers repeat SIGTERM, so a repeated one changes nothing. A signal that was ignored when
the process was started stays ignored, as `nohup` expects.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterator

logger = logging.getLogger(__name__)


class StopSignals:
    """The signals of one process; made once, in its event loop.

    Args:
        on_hangup: called for each SIGHUP; None for a worker, where SIGHUP asks for a stop.
    """

    def __init__(self, on_hangup: Callable[[], None] | None = None) -> None:
        self._on_hangup = on_hangup
        self.received: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()
        """The first signal that asked for a stop, as soon as there is one."""
        self.at_once = asyncio.Event()
        """Set when a drain shall not wait for the balancer."""

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Handle the signals inside the block."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        caught = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
        for number in caught:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number in caught:
                loop.remove_signal_handler(number)

    def _on_signal(self, number: signal.Signals) -> None:
        if number is signal.SIGHUP and self._on_hangup is not None:
            self._on_hangup()
            return
        if number is signal.SIGINT:
            # The supervisor of a worker ends it; a terminal sends SIGINT to both of them.
            if self.at_once.is_set() and self._on_hangup is not None:
                logger.warning("second SIGINT: ending now")
                os._exit(0)
            self.at_once.set()
        self.trigger(number)

    def trigger(self, number: signal.Signals) -> None:
        """Ask for a stop as a signal would, unless one has been asked for."""
        if not self.received.done():
            self.received.set_result(number)
