"""`open`: how fast streams are opened, a user each.

Every round has a server of its own, as every stream leaves something behind in the allocator. The
server has a core for itself; the client, whose CPU is shown, has the others.
"""

import msgspec

from bench.harness.servers import Server
from bench.measure import procfs as proc
from bench.measure.load import Client
from bench.report.tables import Screen


class Measured(msgspec.Struct):
    """One round on one server."""

    server: str
    streams: int
    seconds: float
    cpu_us: float
    """CPU time of the server a stream."""
    server_busy: float
    """Share of one core."""
    client_busy: float
    refused: int
    """Answers after which a stream was asked for again."""

    @property
    def per_s(self) -> float:
        """Streams opened a second."""
        return self.streams / self.seconds


def measure(server: Server, streams: int, at_once: int, screen: Screen) -> Measured:
    """Open streams to a server that is up. Raises ProcessError."""
    screen.step(f"{server.name}: opening {streams} streams")
    with Client(server.host, server.port) as client:
        before = proc.cpu_time(*server.pids)
        opened = client.open_streams(streams, server.target("bench-{}"), at_once=at_once)
        cpu = proc.cpu_time(*server.pids) - before
    return Measured(
        server=server.name,
        streams=opened.opened,
        seconds=opened.seconds,
        cpu_us=cpu.total_s / opened.opened * 1e6,
        server_busy=cpu.total_s / opened.seconds,
        client_busy=opened.cpu_s / opened.seconds,
        refused=opened.refused,
    )
