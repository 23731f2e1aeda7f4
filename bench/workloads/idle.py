"""`idle`: what open streams cost while nothing is published, a user each.

Memory is that of the process (PSS, once it has settled), after so many streams and so many more.
What the kernel holds stands beside it: the buffers of all TCP sockets and its slabs, in which the
sockets themselves are; both ends of a stream and whatever else the machine does are in that.
CPU is measured with all streams open over whole intervals between pings, so it has every ping.
"""

from collections.abc import Sequence

import msgspec

from bench.harness.servers import Server
from bench.measure import procfs as proc
from bench.measure.load import Client
from bench.report.tables import Screen


class Step(msgspec.Struct):
    """A server with so many streams."""

    streams: int
    process_bytes: int
    buffer_bytes: int
    """Of all TCP sockets of the machine."""
    slab_bytes: int
    """Of its kernel."""

    @property
    def kernel_bytes(self) -> int:
        """Both."""
        return self.buffer_bytes + self.slab_bytes


class Measured(msgspec.Struct):
    """What open streams cost one server."""

    server: str
    before: Step
    steps: list[Step]
    cpu_us: float
    """CPU time a second and stream."""
    pings: int
    """That all streams had meanwhile."""
    client_busy: float
    problems: list[str]

    def bytes_per_stream(self, step: Step) -> float:
        """Process memory grown since there was no stream."""
        return (step.process_bytes - self.before.process_bytes) / step.streams

    def kernel_bytes_per_stream(self, step: Step) -> float:
        """Kernel memory grown since then, both ends."""
        return (step.kernel_bytes - self.before.kernel_bytes) / step.streams


def measure(server: Server, steps: Sequence[int], seconds: float, screen: Screen) -> Measured:
    """Measure a server that is up and has had no streams. Raises ProcessError.

    Args:
        server: to be measured.
        steps: open streams, rising.
        seconds: for the CPU; whole intervals between pings.
        screen: shows how far it is.
    """
    before = _step(server, 0)
    measured = Measured(server.name, before, [], 0.0, 0, 0.0, [])
    with Client(server.host, server.port) as client:
        opened = 0
        for streams in steps:
            screen.step(f"{server.name}: opening {streams} streams")
            client.open_streams(streams - opened, server.target("bench-{}"), first=opened)
            opened = streams
            measured.steps.append(_step(server, streams))
        screen.step(f"{server.name}: listening for {seconds:.0f} s")
        cpu_before = proc.cpu_time(*server.pids)
        client.start_listening(seconds)
        heard = client.heard(seconds)
        cpu = proc.cpu_time(*server.pids) - cpu_before
    measured.cpu_us = cpu.total_s / seconds / opened * 1e6
    measured.pings = heard.pings
    measured.client_busy = heard.cpu_s / seconds
    if heard.alive != heard.streams:
        measured.problems.append(f"{heard.streams - heard.alive} streams were ended")
    return measured


def _step(server: Server, streams: int) -> Step:
    process_bytes = proc.settled_pss_bytes(*server.pids)
    return Step(streams, process_bytes, proc.tcp_bytes(), proc.slab_bytes())
