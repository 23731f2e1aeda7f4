"""What the workers of one node ask each other: every worker answers on a Unix socket of its own.

A question is one line, its answer all that follows until the end of the connection. Who does not
answer in time, does not know the question, or is gone, is left out; what somebody says who ends
in the middle of it is not: whoever asks has to see whether an answer is whole.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

# A worker whose event loop is busy with a large fan-out answers after it.
_TIMEOUT_S = 1.0


class Siblings:
    """This worker's socket and those of the others; lives as long as the worker.

    Args:
        path: of this worker's socket; those of the others are in the same directory.
        answers: by question, e.g. `b"metrics"`; must neither block nor raise.
    """

    def __init__(self, path: Path, answers: Mapping[bytes, Callable[[], bytes]]) -> None:
        self._path = path
        self._answers = answers
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to answer."""
        self._server = await asyncio.start_unix_server(self._on_question, self._path)

    async def shutdown(self) -> None:
        """Answer no further questions."""
        if self._server is not None:
            self._server.close()
        self._path.unlink(missing_ok=True)

    async def _on_question(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, ValueError):
            async with asyncio.timeout(_TIMEOUT_S):
                answer = self._answers.get((await reader.readline()).rstrip())
                if answer is not None:
                    writer.write(answer())
                    await writer.drain()

    async def ask(self, question: bytes) -> list[bytes]:
        """Return the answers of all workers that answer, this one's first."""
        others = [path for path in sorted(self._path.parent.glob("*.sock")) if path != self._path]
        answers = await asyncio.gather(*(_ask(path, question) for path in others))
        return [self._answers[question](), *filter(None, answers)]


async def _ask(path: Path, question: bytes) -> bytes:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(path)
            with contextlib.closing(writer):
                writer.write(question + b"\n")
                return await reader.read()
    except OSError:  # TimeoutError is one
        return b""
