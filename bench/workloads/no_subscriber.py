"""`unwanted`: events for users who have no stream on this node: what those of other nodes cost.

They are published as fast as Redis takes them. Then one event goes to the only stream. Redis keeps
the order, so the node has processed all of them when the stream reads that event. The node has a
core for itself. Redis, the publisher and the client share the others and may be the limit, so
the rate that the node's CPU allows is shown beside the measured rate.
"""

from typing import Annotated

import msgspec

from bench.harness.servers import Server, SseNode
from bench.measure import procfs as proc
from bench.measure.load import FIRST_NUMBER, Client, Received, Schedule, Sender, Sent
from bench.measure.sample import Figure, Sample, cells, spreads_of
from bench.options import Payload, Rounds
from bench.report.tables import Measurements, Screen, measurements, table

FIGURES = (
    Figure("per_s", "per second"),
    Figure("seconds", "seconds", digits=2),
    Figure("cpu_us", "CPU µs an event", digits=2),
    Figure("per_cpu_s", "by CPU, per second"),
    Figure("busy", "busy", "%"),
)
COLUMNS = ("round", *(figure.title for figure in FIGURES))
BAR_PER_S = 250_000
METRIC = "sse_node_messages_received_total"

# Redis must not disconnect a node that is slower than itself: the node's speed is measured.
_REDIS_ARGS = ("--client-output-buffer-limit", "pubsub 0 0 0")


class Settings(msgspec.Struct, frozen=True):
    """What is measured."""

    events: Annotated[int, msgspec.Meta(ge=1, le=10000000, description="Events of a round.")] = (
        1_000_000
    )
    users: Annotated[
        int, msgspec.Meta(ge=2, le=1000000, description="Users that get the events in turn.")
    ] = 1_000
    rounds: Rounds = 5
    payload_bytes: Payload = 200


def measure(server: Server, settings: Settings, screen: Screen) -> list[Sample]:
    """Measure a running server; the first round is a warm-up. Raises ProcessError."""
    samples = []
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
            samples.append(sample_of(schedule, sent, received, cpu.total_s))
            if round_number:
                screen.add_row(str(round_number), *cells(FIGURES, samples[-1].values))
    return samples


def run(settings: Settings, core: int, screen: Screen) -> Measurements:
    """Measure. Raises ProcessError."""
    with SseNode(core, redis_args=_REDIS_ARGS) as server:
        before = server.node.metric(METRIC)
        warmup, *samples = measure(server, settings, screen)
        received = server.node.metric(METRIC) - before
    samples[0].notes += warmup.notes
    samples[0].values["received"] = received
    expected = (settings.events + 1) * (settings.rounds + 1)
    if received != expected:
        samples[0].notes.append(f"the node received {received:.0f} events, expected {expected}")
    return measurements({"node": samples}, table("unwanted", ("", "node", "bar"), _lines(samples)))


def _lines(samples: list[Sample]) -> list[tuple[str, ...]]:
    spreads = spreads_of(samples)
    per_s, _, cpu, by_cpu, _ = (figure.spread_text(spreads[figure.key]) for figure in FIGURES)
    return [
        ("events taken per second", per_s, f"≥ {BAR_PER_S:,}"),
        ("events per second of its CPU", by_cpu, f"≥ {BAR_PER_S:,}"),
        ("CPU µs per event", cpu, ""),
    ]


def _send(sender: Sender, client: Client, schedule: Schedule) -> tuple[Sent, Received]:
    """Send the events and then the one for the stream."""
    sender.send(schedule)
    sent = sender.sent(schedule)
    last = Schedule(schedule.last, 1, 0, schedule.data_bytes)
    _, received = client.measure(sender, last)
    return sent, received


def sample_of(schedule: Schedule, sent: Sent, received: Received, cpu_s: float) -> Sample:
    """Return the figures of one round.

    `seconds` lasts from the first PUBLISH until the server had processed the last event,
    `publish_s` to the last event written to Redis. `per_cpu_s` is the rate that a core of its own
    would allow; 0 when the server used no CPU.
    """
    seconds = max(1, received.last_ns - sent.first_ns) / 1e9
    values = {
        "events": schedule.count,
        "seconds": seconds,
        "publish_s": (sent.last_ns - sent.first_ns) / 1e9,
        "per_s": schedule.count / seconds,
        "cpu_us": cpu_s / schedule.count * 1e6,
        "per_cpu_s": schedule.count / cpu_s if cpu_s else 0.0,
        "busy": cpu_s / seconds * 100,
    }
    return Sample(values, notes=[] if received.deliveries else ["the last event did not arrive"])
