"""The floor: the same bytes to as many sockets with plain `send()` from a small C program."""

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager

import msgspec

from bench.measure.load import ScheduledProgram, Sender


class _Listening(msgspec.Struct):
    port: int


class Floor(ScheduledProgram):
    """A server that sends scheduled events to every stream it has, and does nothing else."""

    source = "floor.c"
    publishing = "not at all: it makes its own events"

    def __init__(self, cpu: int | None) -> None:
        """Take the core it runs on: the one of the node it is compared with."""
        super().__init__(cpu=cpu)
        self.host = "127.0.0.1"
        self.port = 0

    @property
    def pids(self) -> Sequence[int]:
        """Its process."""
        return [self.pid]

    def target(self, user: str) -> str:
        """Return a path; the floor takes any for its next stream."""
        return f"/{user}"

    def sender(self) -> AbstractContextManager[Sender]:
        """Return itself: it sends what it is told to."""
        return contextlib.nullcontext(self)

    def _start(self, timeout_s: float) -> None:
        super()._start(timeout_s)
        self.port = msgspec.json.decode(self.read_line(timeout_s), type=_Listening).port
