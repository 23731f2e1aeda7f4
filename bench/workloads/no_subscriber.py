"""`unwanted`: events for users whom nobody on the server has: what those of other nodes cost.

They are published as fast as Redis takes them; then one event goes to the only stream there is, and
as Redis keeps their order, the server has taken all of them when that one is read. The server has a
core for itself; Redis, the publisher and the client share the others and may be what limits, so
the rate that the server's CPU allows stands beside the one that was seen.
"""

import statistics
import urllib.request
from typing import Annotated

import msgspec

from bench.harness.servers import Server, SseNode
from bench.measure import procfs as proc
from bench.measure.load import FIRST_NUMBER, Client, Received, Schedule, Sender, Sent
from bench.options import Payload, Rounds
from bench.report.tables import Result, Screen, TextTable, table

COLUMNS = ("round", "per second", "seconds", "CPU µs an event", "by CPU, per second", "busy")
BAR_PER_S = 250_000
METRIC = "sse_node_messages_received_total"

# A server that is slower than Redis is what is measured, not when Redis gives it up.
_REDIS_ARGS = ("--client-output-buffer-limit", "pubsub 0 0 0")


class Settings(msgspec.Struct, frozen=True):
    """What is measured."""

    events: Annotated[int, msgspec.Meta(ge=1, le=10000000, description="Events of a round.")] = (
        1_000_000
    )
    users: Annotated[
        int, msgspec.Meta(ge=2, le=1000000, description="For whom they are in turn.")
    ] = 1_000
    rounds: Rounds = 5
    payload_bytes: Payload = 200


class Round(msgspec.Struct):
    """One round."""

    events: int
    seconds: float
    """From the first PUBLISH until the server had taken the last event."""
    publish_s: float
    """From the first PUBLISH to the last one written to Redis."""
    cpu_us: float
    """CPU time of the server an event."""

    @property
    def per_s(self) -> float:
        """How fast it was."""
        return self.events / self.seconds

    @property
    def per_cpu_s(self) -> float:
        """How fast it could be with a core of its own that never waits; 0 when it used none."""
        return 1e6 / self.cpu_us if self.cpu_us else 0.0


class Measured(msgspec.Struct):
    """What one server takes."""

    server: str
    rounds: list[Round]
    problems: list[str]


class UnwantedResult(Result):
    """What `unwanted` found."""

    median_per_s: float
    lowest_per_s: float
    highest_per_s: float
    per_cpu_s: float
    """Events by a second of the node's CPU: the median of the rounds."""
    cpu_us: float
    received: int
    """That the node itself counted, in all rounds with the warm-up."""
    node: Measured

    def tables(self) -> list[TextTable]:
        """The result for people."""
        rows = [
            ("events taken per second, median", f"{self.median_per_s:,.0f}", f"≥ {BAR_PER_S:,}"),
            ("lowest", f"{self.lowest_per_s:,.0f}", ""),
            ("highest", f"{self.highest_per_s:,.0f}", ""),
            ("events by a second of its CPU", f"{self.per_cpu_s:,.0f}", f"≥ {BAR_PER_S:,}"),
            ("CPU per event", f"{self.cpu_us:.2f} µs", ""),
        ]
        return [table("unwanted", ("", "node", "bar"), rows)]


def measure(server: Server, settings: Settings, screen: Screen) -> Measured:
    """Measure a server that is up; the first round is a warm-up. Raises ProcessError."""
    measured = Measured(server.name, [], [])
    number = FIRST_NUMBER
    with server.sender() as sender, Client(server.host, server.port) as client:
        client.open_streams(1, server.target("bench"))
        for round_number in range(settings.rounds + 1):
            screen.step(f"round {round_number}" if round_number else "warm-up")
            schedule = Schedule(number, settings.events, 0, settings.payload_bytes, settings.users)
            number += settings.events
            before = proc.cpu_time(*server.pids)
            sent, received = _send(sender, client, schedule)
            cpu = proc.cpu_time(*server.pids) - before
            if not received.deliveries:
                measured.problems.append(f"{server.name}: the last event did not come")
            if round_number:
                measured.rounds.append(_round(schedule, sent, received, cpu.total_s))
                screen.add_row(str(round_number), *_cells(measured.rounds[-1]))
    return measured


def run(settings: Settings, core: int, screen: Screen) -> UnwantedResult:
    """Measure. Raises ProcessError."""
    with SseNode(core, redis_args=_REDIS_ARGS) as server:
        before = metric_of(server, METRIC)
        node = measure(server, settings, screen)
        received = metric_of(server, METRIC) - before
    expected = (settings.events + 1) * (settings.rounds + 1)
    problems = list(node.problems)
    if received != expected:
        problems.append(f"the node received {received} events, expected {expected}")
    rates = [measured.per_s for measured in node.rounds]
    return UnwantedResult(
        problems=problems,
        median_per_s=statistics.median(rates),
        lowest_per_s=min(rates),
        highest_per_s=max(rates),
        per_cpu_s=statistics.median(measured.per_cpu_s for measured in node.rounds),
        cpu_us=statistics.median(measured.cpu_us for measured in node.rounds),
        received=received,
        node=node,
    )


def parse_metric(exposition: str, name: str) -> int:
    """The value of a metric without labels in Prometheus' text; ValueError when it is not there."""
    for line in exposition.splitlines():
        if line.startswith(f"{name} "):
            return round(float(line.split()[1]))
    raise ValueError(f"no metric {name}")


def metric_of(server: Server, name: str) -> int:
    """What a server shows at /metrics now."""
    url = f"http://{server.host}:{server.port}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return parse_metric(answer.read().decode(), name)


def _send(sender: Sender, client: Client, schedule: Schedule) -> tuple[Sent, Received]:
    """Send the events and then the one for the stream; what became of the two."""
    sender.send(schedule)
    sent = sender.sent(schedule)
    last = Schedule(schedule.last, 1, 0, schedule.data_bytes)
    _, received = client.measure(sender, last)
    return sent, received


def _round(schedule: Schedule, sent: Sent, received: Received, cpu_s: float) -> Round:
    return Round(
        events=schedule.count,
        seconds=max(1, received.last_ns - sent.first_ns) / 1e9,
        publish_s=(sent.last_ns - sent.first_ns) / 1e9,
        cpu_us=cpu_s / schedule.count * 1e6,
    )


def _cells(measured: Round) -> tuple[str, ...]:
    return (
        f"{measured.per_s:,.0f}",
        f"{measured.seconds:.2f}",
        f"{measured.cpu_us:.2f}",
        f"{measured.per_cpu_s:,.0f}",
        f"{measured.cpu_us * measured.per_s / 1e4:.0f} %",
    )
