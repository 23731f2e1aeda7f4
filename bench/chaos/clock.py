"""The clock of the Redis servers of a run, which can be moved while they run."""

import os
import struct
from pathlib import Path

from bench.harness.c_program import compiled

_OFFSET = struct.Struct("=q")


class Clock:
    """A clock that is right until it is moved; lives as long as the run. Linux only."""

    def __init__(self, directory: Path) -> None:
        """Compile what moves it. Raises ProcessError when there is no compiler."""
        self._library = compiled("clock.c", "-shared", "-fPIC")
        self._offset_file = directory / "clock"
        self._offset_file.write_bytes(_OFFSET.pack(0))

    def environment(self) -> dict[str, str]:
        """The environment of a process that goes by this clock."""
        own = {"LD_PRELOAD": str(self._library), "CHAOS_CLOCK": str(self._offset_file)}
        return os.environ | own

    def set(self, ahead_s: int) -> None:
        """Put the clock so much ahead of the right time."""
        with self._offset_file.open("r+b", buffering=0) as file:
            file.write(_OFFSET.pack(ahead_s))
