"""`storm`: all streams cut at once and back at once, while events go on being published.

A user each, and every event goes through the log, so that it has an id. In the middle of the events
the client closes all streams without a word and opens them again, each with its Last-Event-ID.
It is over when the last stream is open again and every event that was due until then has been read
where it belongs. That counts only if every stream had each of its events once and in order.

The node has a core for itself; Redis, the publisher and the client share the others. More requests
at once than the listener's queue holds (`--backlog`) are dropped by the kernel, which tries again
after 1, 3 and 7 s: that is told, and measures the kernel's patience more than the node.
"""

import statistics
from collections.abc import Mapping
from typing import Annotated

import msgspec
from redis import Redis

from bench.harness.servers import Server, SseNode
from bench.measure import procfs as proc
from bench.measure.load import FIRST_NUMBER, Client, Schedule, Sender, Sent, Stormed
from bench.measure.log_publisher import LogPublisher
from bench.measure.steady import problems_of, rounded_to_users
from bench.options import Payload, Rounds
from bench.report.tables import Percentiles, Result, Screen, TextTable, percentiles, table

COLUMNS = ("round", "open again s", "recovered s", "missed", "dropped", "CPU s", "client CPU s")
BAR_S = 5.0
_COMMANDS_SHOWN = 12  # arbitrary: the most frequent ones


class Settings(msgspec.Struct, frozen=True):
    """What is measured."""

    streams: Annotated[
        int, msgspec.Meta(ge=1, le=18000, description="Streams cut, a user each.")
    ] = 15_000
    rate: Annotated[
        float, msgspec.Meta(ge=1, le=10000, description="Events a second, through the log.")
    ] = 3_000.0
    seconds: Annotated[
        float, msgspec.Meta(ge=0.1, le=600, description="For which events are published.")
    ] = 10.0
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


class Measured(msgspec.Struct):
    """One storm on one server."""

    server: str
    streams: int
    reopened_s: float
    """From the cut to the moment when the last stream was open again."""
    recovered_s: float
    """From the cut to the moment when all that was due before had been read as well."""
    missed: int
    """Events that were due while no stream was open or only some were."""
    refused: int
    """Answers after which a stream was asked for again."""
    dropped: int
    """Attempts to connect that found the listener's queue full, on the whole machine."""
    resumed: int
    resets: int
    cpu_s: float
    """CPU time of the server, for all events of the round."""
    client_cpu_s: float
    latest_ms: float
    """How late the sender sent the latest event."""
    latency_ms: Percentiles
    """Of all events of the round, those that were missed included."""
    problems: list[str]


class StormResult(Result):
    """What `storm` found."""

    median_s: float
    """From the cut to the recovery."""
    lowest_s: float
    highest_s: float
    rounds: list[Measured]
    commands: dict[str, float]
    """That Redis carried out in a round, on the average: those inside scripts, too."""
    events: int
    """Published in a round."""

    def tables(self) -> list[TextTable]:
        """The result for people."""
        reopened_s = statistics.median(measured.reopened_s for measured in self.rounds)
        dropped = max(measured.dropped for measured in self.rounds)
        rows = [
            ("recovered after, median", f"{self.median_s:.2f} s", f"≤ {BAR_S:.0f} s"),
            ("lowest", f"{self.lowest_s:.2f} s", ""),
            ("highest", f"{self.highest_s:.2f} s", ""),
            ("all open again after, median", f"{reopened_s:.2f} s", ""),
            ("attempts dropped by a full queue, most", f"{dropped:,}", ""),
            ("events published in a round", f"{self.events:,}", ""),
        ]
        frequent = sorted(self.commands.items(), key=lambda item: -item[1])[:_COMMANDS_SHOWN]
        return [
            table("storm", ("", "node", "bar"), rows),
            table("Redis, a round", ("command", "calls"), [(k, f"{v:,.0f}") for k, v in frequent]),
        ]


def measure(server: Server, sender: Sender, settings: Settings, screen: Screen) -> Measured:
    """Measure a server that is up; the sender's events have ids. Raises ProcessError."""
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
    return measured(server.name, schedule, sent, stormed, cpu.total_s, dropped)


def measured(
    name: str, schedule: Schedule, sent: Sent, stormed: Stormed, cpu_s: float, dropped: int
) -> Measured:
    """What one storm came to."""
    problems = problems_of(name, schedule, sent, stormed)
    if not stormed.reopened_ns:
        problems.append(f"{name}: not all streams were open again")
    if stormed.resets:
        problems.append(f"{name}: {stormed.resets} streams were told that they may miss events")
    reopened_ns = max(stormed.reopened_ns - stormed.cut_ns, 0)
    return Measured(
        server=name,
        streams=stormed.streams,
        reopened_s=reopened_ns / 1e9,
        recovered_s=max(stormed.recovered_ns - stormed.cut_ns, reopened_ns) / 1e9,
        missed=round(reopened_ns / schedule.interval_ns),
        refused=stormed.refused,
        dropped=dropped,
        resumed=stormed.resumed,
        resets=stormed.resets,
        cpu_s=cpu_s,
        client_cpu_s=stormed.cpu_s,
        latest_ms=sent.latest_ns / 1e6,
        latency_ms=percentiles([stormed.latency_ns]),
        problems=problems,
    )


def run(settings: Settings, core: int, screen: Screen) -> StormResult:
    """Measure, each round on a node and a Redis of its own. Raises ProcessError."""
    rounds: list[Measured] = []
    calls: list[dict[str, int]] = []
    for number in range(settings.rounds):
        with (
            SseNode(core, "--history", str(settings.history)) as server,
            LogPublisher(server.redis_url) as publisher,
            Redis.from_url(server.redis_url) as redis,
        ):
            before = command_calls(redis.info("commandstats"))
            rounds.append(measure(server, publisher, settings, screen))
            calls.append(calls_since(before, command_calls(redis.info("commandstats"))))
        screen.add_row(str(number + 1), *_cells(rounds[-1]))
    times_s = [measured.recovered_s for measured in rounds]
    names = sorted({name for called in calls for name in called})
    return StormResult(
        problems=[problem for measured in rounds for problem in measured.problems],
        median_s=statistics.median(times_s),
        lowest_s=min(times_s),
        highest_s=max(times_s),
        rounds=rounds,
        commands={name: statistics.mean(called.get(name, 0) for called in calls) for name in names},
        events=rounded_to_users(settings.rate * settings.seconds, settings.streams),
    )


def command_calls(commandstats: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """How often each command was carried out, from `INFO commandstats`."""
    return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in commandstats.items()}


def calls_since(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """What was carried out between the two."""
    calls = {name: count - before.get(name, 0) for name, count in after.items()}
    return {name: count for name, count in calls.items() if count}


def _cells(measured: Measured) -> tuple[str, ...]:
    return (
        f"{measured.reopened_s:.2f}",
        f"{measured.recovered_s:.2f}",
        f"{measured.missed:,}",
        f"{measured.dropped:,}",
        f"{measured.cpu_s:.2f}",
        f"{measured.client_cpu_s:.2f}",
    )
