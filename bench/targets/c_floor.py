"""The floor: the same bytes to as many sockets with plain `send()` from a small C program."""

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack

import msgspec

from bench.harness.servers import Server
from bench.measure.load import ScheduledProgram, Sender


class _Listening(msgspec.Struct):
    port: int


class FloorProgram(ScheduledProgram):
    """The C program; it sends scheduled events to every stream it has."""

    source = "floor.c"
    host = "127.0.0.1"
    port = 0

    def _start(self, timeout_s: float) -> None:
        super()._start(timeout_s)
        self.port = msgspec.json.decode(self.read_line(timeout_s), type=_Listening).port


class Floor(Server):
    """The floor as a server; it takes any path for its next stream."""

    name = "floor"
    publishing = "not at all: it makes its own events"

    @property
    def pids(self) -> Sequence[int]:
        """Its process."""
        return [self._program.pid]

    def sender(self) -> AbstractContextManager[Sender]:
        """Return its program, which makes its own events."""
        return contextlib.nullcontext(self._program)

    def _start(self, parts: ExitStack) -> None:
        self._program = parts.enter_context(FloorProgram(cpu=self._cpu))
        self.port = self._program.port
