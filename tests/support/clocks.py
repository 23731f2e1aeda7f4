"""A server whose clock a test sets."""

import shlex
import shutil
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("set_clock.c")


class SetClock:
    """The clock of the servers that are started through its wrapper.

    Args:
        directory: for the wrapper, the library that it preloads, and the offset.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._offset = directory / "clock"
        self._library = directory / "set_clock.so"
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O1", "-o", self._library, _SOURCE],
            check=True,
            capture_output=True,
        )
        self.set(0)

    def set(self, offset_s: float) -> None:
        """Set the clock to the real time and so many seconds; effective at once."""
        with self._offset.open("r+b" if self._offset.exists() else "wb") as file:
            file.write(int(offset_s * 1e6).to_bytes(8, "little", signed=True))

    def wrapper(self, program: str) -> Path:
        """Return an executable that runs a program with this clock."""
        wrapper = self._directory / f"{program}-with-clock"
        wrapper.write_text(
            "#!/bin/sh\n"
            f"export SET_CLOCK_FILE={shlex.quote(str(self._offset))}\n"
            f"export LD_PRELOAD={shlex.quote(str(self._library))}\n"
            f'exec {shlex.quote(shutil.which(program) or program)} "$@"\n'
        )
        wrapper.chmod(0o755)
        return wrapper
