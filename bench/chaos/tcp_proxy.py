"""A TCP proxy between a node and Redis, which can be cut or go dark without a FIN."""

import asyncio
import contextlib
from pathlib import Path

_READ_BYTES = 65536  # arbitrary


class Link:
    """Listens on loopback and forwards to a unix socket; lives as long as the run."""

    def __init__(self, upstream: Path) -> None:
        """Take the unix socket, whose path is resolved for each connection."""
        self.port = 0
        self.upstream = upstream
        self._listener: asyncio.Server | None = None
        self._relays: dict[_Relay, asyncio.Task[None] | None] = {}
        self._is_cut = False

    async def start(self) -> None:
        """Begin to listen, and set `port`."""
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    def go_dark(self) -> None:
        """Drop all further bytes of the present connections; new connections work."""
        for relay in self._relays:
            relay.is_dark = True

    def cut(self) -> None:
        """Close the present connections and all new ones."""
        self._is_cut = True
        for relay in self._relays:
            relay.close()

    def restore(self) -> None:
        """Accept connections again."""
        self._is_cut = False

    async def shutdown(self) -> None:
        """Stop listening and end all connections."""
        if self._listener is not None:
            self._listener.close()
        tasks = [task for task in self._relays.values() if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay = _Relay(reader, writer)
        try:
            if not self._is_cut:
                self._relays[relay] = asyncio.current_task()
                await relay.run(self.upstream)
        finally:
            self._relays.pop(relay, None)
            relay.close()


class _Relay:
    """One connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.is_dark = False
        self._reader = reader
        self._writers = [writer]

    async def run(self, upstream: Path) -> None:
        """Forward bytes both ways until both sides end; one is enough unless the link is dark."""
        (downstream,) = self._writers
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_unix_connection(str(upstream))
            self._writers.append(writer)
            await asyncio.gather(self._pump(self._reader, writer), self._pump(reader, downstream))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_READ_BYTES):
                if writer.is_closing():
                    break
                if not self.is_dark:
                    writer.write(data)
                    await writer.drain()
        if not self.is_dark:
            self.close()

    def close(self) -> None:
        """Close both sides."""
        for writer in self._writers:
            writer.close()
