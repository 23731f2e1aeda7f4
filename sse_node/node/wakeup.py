"""Signals of a process that waits in a selector and has no event loop."""

import contextlib
import selectors
import signal
import socket
from collections import deque
from collections.abc import Iterator
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def signals_in(selector: selectors.BaseSelector) -> Iterator[deque[signal.Signals]]:
    """Wake a selector for each signal; inside the block the deque has those that have come.

    A signal that was ignored when the process was started stays ignored, as `nohup` expects.

    Args:
        selector: the data of its keys are functions, called when their file is readable.
    """
    received: deque[signal.Signals] = deque()
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.setblocking(False)
        writer.setblocking(False)
        descriptor_before = signal.set_wakeup_fd(writer.fileno())
        handlers_before = {
            number: signal.signal(number, _do_nothing)
            for number in _SIGNALS
            if signal.getsignal(number) is not signal.SIG_IGN
        }

        def read() -> None:
            received.extend(map(signal.Signals, reader.recv(64)))

        selector.register(reader, selectors.EVENT_READ, read)
        try:
            yield received
        finally:
            selector.unregister(reader)
            for number, handler in handlers_before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(descriptor_before)


def _do_nothing(number: int, frame: object) -> None:
    """Leave it to the wake-up descriptor, which the number has been written to."""
