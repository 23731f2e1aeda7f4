"""The floor: the same bytes to as many sockets with plain ``send()`` from a small C program."""

from __future__ import annotations

import msgspec

from bench.load import ScheduledProgram


class _Listening(msgspec.Struct):
    port: int


class Floor(ScheduledProgram):
    """A server that sends scheduled events to every stream it has, and does nothing else."""

    source = "floor.c"

    def __init__(self, cpu: int) -> None:
        """Take the core it runs on: the one of the node it is compared with."""
        super().__init__(cpu=cpu)
        self.host = "127.0.0.1"
        self.port = 0

    def _start(self, timeout_s: float) -> None:
        super()._start(timeout_s)
        self.port = msgspec.json.decode(self.read_line(timeout_s), type=_Listening).port
