"""The bus of a cluster, through a process that can cut one server off it.

Servers announce a port of this process instead of that of their bus, and each connects from an
address of its own, so that a connection's two ends are known. Run as a module with the ports as
arguments; lines on its standard input cut and restore.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from bench.harness.addresses import free_port
from bench.harness.child import ChildProcess, ProcessError

_READ_BYTES: Final = 65536  # arbitrary


def source_of(number: int) -> str:
    """Return the address from which a server connects to others."""
    return f"127.0.0.{number + 2}"


class ClusterBus(ChildProcess):
    """Passes the bus's bytes; lives as long as its `with` block.

    Args:
        count: of servers.

    Attributes:
        announced: the port of each server's bus, as the others are told.
        actual: the port on which each server listens.
    """

    name = "cluster-bus"

    def __init__(self, count: int) -> None:
        super().__init__()
        self.announced = [free_port() for _ in range(count)]
        self.actual = [free_port() for _ in range(count)]

    def _start(self, timeout_s: float) -> None:
        pairs = [
            f"{announced}:{actual}"
            for announced, actual in zip(self.announced, self.actual, strict=True)
        ]
        words = [sys.executable, "-m", "bench.harness.cluster_bus", *pairs]
        self._spawn(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._expect("ready")

    def cut(self, number: int) -> None:
        """End a server's connections to the bus, and refuse new ones, in both directions."""
        self._tell(f"cut {number}")

    def restore(self) -> None:
        """Let everyone connect again."""
        self._tell("restore")

    def _tell(self, line: str) -> None:
        pipe = self._started().stdin
        assert pipe is not None
        pipe.write(f"{line}\n".encode())
        pipe.flush()
        self._expect(line)

    def _expect(self, line: str) -> None:
        pipe = self._started().stdout
        assert pipe is not None
        answer = pipe.readline().decode().rstrip("\n")
        if answer != line:
            raise ProcessError(f"the cluster's bus answered {answer!r} instead of {line!r}")


class _Bus:
    """All connections of the bus.

    Args:
        ports: where to listen for each server, and where it listens itself.
    """

    def __init__(self, ports: Sequence[tuple[int, int]]) -> None:
        self._ports = ports
        self._cut: int | None = None
        self._open: dict[asyncio.Task[None], tuple[int, int]] = {}

    async def run(self) -> None:
        """Listen, and do what lines of the standard input say, until it ends."""
        for number, (announced, _) in enumerate(self._ports):
            await asyncio.start_server(self._relay_to(number), "127.0.0.1", announced)
        _say("ready")
        loop = asyncio.get_running_loop()
        while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            verb, *numbers = line.split()
            self._cut = int(numbers[0]) if verb == "cut" else None
            for task, ends in list(self._open.items()):
                if self._cut in ends:
                    task.cancel()
            _say(line)

    def _relay_to(
        self, number: int
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            host = writer.get_extra_info("peername")[0]
            ends = (number, int(host.rpartition(".")[2]) - 2)
            task = asyncio.current_task()
            assert task is not None
            try:
                if self._cut not in ends:
                    self._open[task] = ends
                    await _relay(reader, writer, self._ports[number][1])
            except (OSError, asyncio.CancelledError):
                return
            finally:
                self._open.pop(task, None)
                writer.transport.abort()

        return relay


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Pass bytes both ways until one end closes. Raises OSError."""
    server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
    ways = [
        asyncio.ensure_future(_pass(reader, server_writer)),
        asyncio.ensure_future(_pass(server_reader, writer)),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        server_writer.transport.abort()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_READ_BYTES):
            writer.write(data)
            await writer.drain()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _port_pair(text: str) -> tuple[int, int]:
    announced, _, actual = text.partition(":")
    return int(announced), int(actual)


if __name__ == "__main__":
    asyncio.run(_Bus([_port_pair(each) for each in sys.argv[1:]]).run())
