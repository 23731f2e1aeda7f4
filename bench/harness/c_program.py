"""The C programs of the benchmarks: compile them, start them, send commands line by line."""

import atexit
import functools
import os
import select
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from bench.harness import ChildProcess, ProcessError

_SOURCES = Path(__file__).parents[1] / "c"
_READ_BYTES = 65536  # arbitrary

Answer = TypeVar("Answer")


class CProgram(ChildProcess):
    """A C program that reads commands from stdin and answers in JSON on stdout.

    The last line of every answer has `"done": true`; the lines before it report progress.
    """

    source = ""
    """The name of the source file."""

    def __init__(self, *arguments: str, cpu: int | None = None) -> None:
        """Take the command line; nothing runs before `start`."""
        super().__init__(cpu=cpu)
        self.name = Path(self.source).stem
        self._arguments = arguments
        self._unread = b""

    def _start(self, timeout_s: float) -> None:
        self._unread = b""
        self._spawn(
            [compiled(self.source), *self._arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def command(self, line: str) -> None:
        """Send one command; `answer` returns its answer."""
        stdin = self._started().stdin
        assert stdin is not None
        try:
            # Not buffered: a line left in the buffer would fail again when the file is closed.
            os.write(stdin.fileno(), line.encode() + b"\n")
        except BrokenPipeError as error:
            raise self._failed(f"has ended, it did not take the command {line!r}") from error

    def answer(
        self,
        kind: type[Answer],
        timeout_s: float,
        on_progress: Callable[[Answer], None] = lambda _: None,
    ) -> Answer:
        """Wait for the answer to the last command. Raises ProcessError.

        `on_progress` is called with every line before the last one.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            line = self.read_line(deadline_s - time.monotonic())
            answer = msgspec.json.decode(line, type=kind)
            if b'"done": true' in line:
                return answer
            on_progress(answer)

    def read_line(self, timeout_s: float) -> bytes:
        """Return the next line of its output. Raises ProcessError."""
        stdout = self._started().stdout
        assert stdout is not None
        deadline_s = time.monotonic() + timeout_s
        while b"\n" not in self._unread:
            if not select.select([stdout], [], [], max(0.0, deadline_s - time.monotonic()))[0]:
                raise self._failed(f"has not answered within {timeout_s:.0f} s")
            more = os.read(stdout.fileno(), _READ_BYTES)
            if not more:
                raise self._failed("ended instead of answering")
            self._unread += more
        line, _, self._unread = self._unread.partition(b"\n")
        return line


def compiler() -> list[str]:
    """Return the command that compiles C: the environment variable CC, or `cc`."""
    return shlex.split(os.environ.get("CC", "cc"))


def has_compiler() -> bool:
    """Return whether that command is installed."""
    return shutil.which(compiler()[0]) is not None


@functools.cache
def compiled(source: str, *flags: str) -> Path:
    """Compile a C program, once for the life of this process. Raises ProcessError."""
    if not has_compiler():
        raise ProcessError(
            f"{source} needs a C compiler and {compiler()[0]} is not there: install one "
            "(Debian: apt-get install gcc libc6-dev) or name yours in the environment variable CC"
        )
    directory = tempfile.TemporaryDirectory(prefix="bench-")
    atexit.register(directory.cleanup)
    binary = Path(directory.name, Path(source).stem)
    command = [*compiler(), "-O2", *flags, "-o", str(binary), str(_SOURCES / source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise ProcessError(f"{shlex.join(command)} failed:\n{done.stderr}")
    return binary
