"""Queries between the workers of one node: every worker answers on a Unix socket of its own.

A query is one line, its answer all that follows until the end of the connection. Workers that time
out, are gone or do not know the query are skipped. A truncated answer is returned; the caller
validates it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

# A worker whose event loop is busy with a large fan-out answers after it.
_TIMEOUT_S = 1.0


class Peers:
    """This worker's socket and those of its peers; lives as long as the worker.

    Args:
        path: of this worker's socket; those of its peers are in the same directory.
        answers: by query, e.g. `b"metrics"`; must neither block nor raise.
    """

    def __init__(self, path: Path, answers: Mapping[bytes, Callable[[], bytes]]) -> None:
        self._path = path
        self._answers = answers
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Start to answer; start again when the socket has been deleted, as /tmp cleaners do."""
        if self._server is not None:
            self._server.close()
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._server = await asyncio.start_unix_server(self._on_query, self._path)

    @property
    def is_lost(self) -> bool:
        """Whether the socket has been deleted since it was made."""
        return self._server is not None and not self._path.exists()

    async def shutdown(self) -> None:
        """Answer no further queries."""
        if self._server is not None:
            self._server.close()
        self._path.unlink(missing_ok=True)

    async def _on_query(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, ValueError):
            async with asyncio.timeout(_TIMEOUT_S):
                answer = self._answers.get((await reader.readline()).rstrip())
                if answer is not None:
                    writer.write(answer())
                    await writer.drain()

    async def query(self, query: bytes) -> list[bytes]:
        """Return the answers of all workers that answer, this one's first."""
        others = [path for path in sorted(self._path.parent.glob("*.sock")) if path != self._path]
        answers = await asyncio.gather(*(_query(path, query) for path in others))
        return [self._answers[query](), *filter(None, answers)]


async def _query(path: Path, query: bytes) -> bytes:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(path)
            with contextlib.closing(writer):
                writer.write(query + b"\n")
                return await reader.read()
    except OSError:  # TimeoutError is one
        return b""
