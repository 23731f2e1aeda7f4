"""`storm`: all streams cut at once and back at once, while events go on being published.

The users have a stream each, and every event goes through the log, so that it has an id. During
the events the client closes all streams without a word and opens them again, each with its
Last-Event-ID. The storm ends when the last stream is open again and every event that was due until
then has been read. It counts only if every stream had each of its events once and in order.

The node has a core for itself; Redis, the publisher and the client share the others. The kernel
drops requests that the listener's queue (`--backlog`) cannot take and tries again after 1, 3 and
7 s. The number of dropped requests is shown, because such a round measures the kernel's timers
more than the node.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Annotated

import msgspec
from redis import Redis

from bench.harness.servers import Server, SseNode
from bench.measure import procfs as proc
from bench.measure.load import FIRST_NUMBER, Client, Schedule, Sender, Sent, Stormed
from bench.measure.log_publisher import LogPublisher, one_log
from bench.measure.sample import Figure, Sample, cells, spreads_of
from bench.measure.steady import problems_of, rounded_to_users
from bench.options import Payload, Rounds
from bench.report.tables import Measurements, Screen, latency_values, measurements, table

FIGURES = (
    Figure("reopened_s", "open again s", digits=2),
    Figure("recovered_s", "recovered s", digits=2),
    Figure("missed", "missed"),
    Figure("dropped", "dropped"),
    Figure("cpu_s", "CPU s", digits=2),
    Figure("client_cpu_s", "client CPU s", digits=2),
)
COLUMNS = ("round", *(figure.title for figure in FIGURES))
BAR_S = 5.0
_COMMANDS_SHOWN = 12  # arbitrary


class Settings(msgspec.Struct, frozen=True):
    """What is measured."""

    streams: Annotated[
        int, msgspec.Meta(ge=1, le=18000, description="Streams cut, a user each.")
    ] = 15_000
    rate: Annotated[
        float, msgspec.Meta(ge=1, le=10000, description="Events a second, through the log.")
    ] = 3_000.0
    seconds: Annotated[float, msgspec.Meta(ge=0.1, le=600, description="Seconds of events.")] = 10.0
    cut_after_s: Annotated[
        float, msgspec.Meta(ge=0.1, le=600, description="Seconds of events before the cut.")
    ] = 2.0
    at_once: Annotated[
        int, msgspec.Meta(ge=1, le=18000, description="Requests that wait at a time.")
    ] = 2_000
    rounds: Rounds = 3
    payload_bytes: Payload = 200
    history: Annotated[
        int, msgspec.Meta(ge=1, le=1000000, description="Events in the node's memory.")
    ] = 16_384


def measure(server: Server, sender: Sender, settings: Settings, screen: Screen) -> Sample:
    """Measure a running server; the sender's events have ids. Raises ProcessError."""
    count = rounded_to_users(settings.rate * settings.seconds, settings.streams)
    schedule = Schedule(
        FIRST_NUMBER, count, settings.rate, settings.payload_bytes, users=settings.streams
    )
    with Client(server.host, server.port) as client:
        screen.step(f"{server.name}: opening {settings.streams} streams")
        client.open_streams(settings.streams, server.target("bench-{}"))
        screen.step(f"{server.name}: {count} events", total=count)
        before, overflows_before = proc.cpu_time(*server.pids), proc.listen_overflows()
        sent, stormed = client.storm(
            sender,
            schedule,
            cut_after_s=settings.cut_after_s,
            at_once=settings.at_once,
            on_progress=lambda now: screen.advance_to(now.deliveries),
        )
        cpu = proc.cpu_time(*server.pids) - before
        dropped = proc.listen_overflows() - overflows_before
    return sample_of(server.name, schedule, sent, stormed, cpu.total_s, dropped)


def sample_of(
    name: str, schedule: Schedule, sent: Sent, stormed: Stormed, cpu_s: float, dropped: int
) -> Sample:
    """Return the figures of one storm.

    `reopened_s` lasts from the cut until the last stream was open again, `recovered_s` until all
    events that were due before had been read as well. `missed` are the events that were due while
    not all streams were open, `dropped` the attempts to connect, on the whole machine, that
    found the listener's queue full, and `refused` the requests for a stream that were repeated.
    CPU and latency are those of all events of the round.
    """
    problems = problems_of(name, schedule, sent, stormed)
    if not stormed.reopened_ns:
        problems.append(f"{name}: not all streams were open again")
    if stormed.resets:
        problems.append(f"{name}: {stormed.resets} streams got sse.reset")
    reopened_ns = max(stormed.reopened_ns - stormed.cut_ns, 0)
    values = {
        "streams": stormed.streams,
        "events": schedule.count,
        "reopened_s": reopened_ns / 1e9,
        "recovered_s": max(stormed.recovered_ns - stormed.cut_ns, reopened_ns) / 1e9,
        "missed": round(reopened_ns / schedule.interval_ns),
        "refused": stormed.refused,
        "dropped": dropped,
        "resumed": stormed.resumed,
        "resets": stormed.resets,
        "cpu_s": cpu_s,
        "client_cpu_s": stormed.cpu_s,
        "latest_ms": sent.latest_ns / 1e6,
        **latency_values([stormed.latency_ns]),
    }
    return Sample(values, notes=problems)


def run(settings: Settings, core: int, screen: Screen) -> Measurements:
    """Measure, each round on a node and a Redis of its own. Raises ProcessError."""
    samples: list[Sample] = []
    calls: Counter[str] = Counter()
    for number in range(settings.rounds):
        with (
            SseNode(core, "--history", str(settings.history)) as server,
            LogPublisher(one_log(server.redis.socket_path)) as publisher,
            Redis.from_url(server.redis.url) as redis,
        ):
            before = command_calls(redis.info("commandstats"))
            samples.append(measure(server, publisher, settings, screen))
            calls.update(calls_since(before, command_calls(redis.info("commandstats"))))
        screen.add_row(str(number + 1), *cells(FIGURES, samples[-1].values))
    by_round = {name: count / settings.rounds for name, count in calls.most_common()}
    frequent = [(name, f"{count:,.0f}") for name, count in by_round.items()][:_COMMANDS_SHOWN]
    return measurements(
        {"node": samples, "commands of Redis": [Sample(by_round)]},
        table("storm", ("", "node", "bar"), _lines(samples)),
        table("Redis, a round", ("command", "calls"), frequent),
    )


def _lines(samples: list[Sample]) -> list[tuple[str, ...]]:
    spreads = spreads_of(samples)
    reopened_s, recovered_s, missed, *_ = (
        figure.spread_text(spreads[figure.key]) for figure in FIGURES
    )
    return [
        ("seconds until recovered", recovered_s, f"≤ {BAR_S:.0f}"),
        ("seconds until all streams were open again", reopened_s, ""),
        ("events missed and replayed", missed, ""),
        ("attempts dropped by a full queue, most", f"{spreads['dropped'].highest:,.0f}", ""),
        ("events published in a round", f"{spreads['events'].median:,.0f}", ""),
    ]


def command_calls(commandstats: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Return the calls of each command from `INFO commandstats`, calls from scripts included."""
    return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in commandstats.items()}


def calls_since(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Return the calls between two readings."""
    calls = {name: count - before.get(name, 0) for name, count in after.items()}
    return {name: count for name, count in calls.items() if count}
