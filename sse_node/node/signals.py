"""SIGINT, SIGTERM, SIGHUP: the first asks for a stop, the second ends the process."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Iterator

logger = logging.getLogger(__name__)


class StopSignals:
    """The signals of one process; made once, in its event loop.

    Args:
        numbers: the signals that ask for a stop.
        second_ends: False for a worker, whom the supervisor's signal may reach after one of a
            service manager that stops all processes of a node at once.
    """

    def __init__(self, *numbers: signal.Signals, second_ends: bool = True) -> None:
        self._numbers = numbers
        self._second_ends = second_ends
        self.asked: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()
        """The first signal, as soon as there is one."""

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Handle the signals inside the block."""
        loop = asyncio.get_running_loop()
        for number in self._numbers:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number in self._numbers:
                loop.remove_signal_handler(number)

    def _on_signal(self, number: signal.Signals) -> None:
        if self.asked.done() and self._second_ends:
            logger.warning("a second %s: ending now", number.name)
            os._exit(0)
        self.ask(number)

    def ask(self, number: signal.Signals) -> None:
        """Ask for a stop as a signal would, unless one has been asked for."""
        if not self.asked.done():
            self.asked.set_result(number)
