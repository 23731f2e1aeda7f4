"""`bridge`: records a second from Kafka into Redis, by one bridge that has a core for itself.

The records wait in the topic before the bridge starts. Redis and the broker share the other cores.
`redis-benchmark` runs the bridge's script with as many events in a call, on one connection: what
Redis would take from a bridge that costs nothing.
"""

import re
import subprocess
import time
from contextlib import ExitStack
from typing import Annotated, Any

import msgspec
from redis import Redis

from bench.bridges.brokers import KafkaSide, users, value
from bench.harness import BridgeProcess, ProcessError, RedisProcess
from bench.measure import procfs as proc
from bench.measure.sample import Figure, Sample, cells, spreads_of
from bench.options import Rounds
from bench.report.tables import Measurements, Screen, measurements, table
from sse_node.redis.source_log import PUBLISH_RECORDS

FIGURES = (
    Figure("per_s", "records per second"),
    Figure("cpu_us", "bridge's CPU µs a record", digits=1),
    Figure("busy", "its core busy", "%"),
    Figure("redis_us", "Redis' CPU µs a record", digits=1),
    Figure("script_per_s", "redis-benchmark, events per second"),
    Figure("ratio", "of redis-benchmark", "%"),
    Figure("memory_mb", "bridge's memory", "MB", digits=1),
)
COLUMNS = ("round", *(figure.title for figure in FIGURES))
BAR_PER_S = 20_000
_TIMEOUT_S = 120.0


class Settings(msgspec.Struct, frozen=True):
    """What is measured."""

    records: Annotated[
        int, msgspec.Meta(ge=1000, le=1_000_000, description="Records of a round.")
    ] = 200_000
    partitions: Annotated[int, msgspec.Meta(ge=1, le=64, description="Partitions.")] = 4
    batch: Annotated[int, msgspec.Meta(ge=1, le=5000, description="--batch of the bridge.")] = 500
    rounds: Rounds = 3


def run(settings: Settings, core: int, screen: Screen) -> Measurements:
    """Measure. Raises ProcessError."""
    names = users(settings.partitions)
    numbers = dict.fromkeys(names, -1)

    def sent(user: str) -> int:
        numbers[user] += 1
        return numbers[user]

    samples = []
    with ExitStack() as parts:
        broker = parts.enter_context(KafkaSide(settings.partitions))
        redis = parts.enter_context(RedisProcess())
        bridge = BridgeProcess(
            *broker.words, "--redis-url", redis.url, "--batch", str(settings.batch), cpu=core
        )
        for number in range(1, settings.rounds + 1):
            screen.step(f"round {number}: writing {settings.records:,} records")
            partitions = (each % settings.partitions for each in range(settings.records))
            broker.write(((each, names[each]) for each in partitions), sent, 0)
            screen.step(f"round {number}: the bridge")
            sample = _round(settings, redis, bridge, settings.records * number)
            script = _redis_benchmark(redis, settings)
            sample.values |= {
                "script_per_s": script,
                "ratio": sample.values["per_s"] / script * 100,
            }
            samples.append(sample)
            screen.add_row(str(number), *cells(FIGURES, sample.values))
    spreads = spreads_of(samples)
    lines = [
        (figure.title, figure.spread_text(spreads[figure.key]), _bar(figure)) for figure in FIGURES
    ]
    return measurements({"kafka": samples}, table("bridge", ("", "bridge", "bar"), lines))


def _bar(figure: Figure) -> str:
    return f"≥ {BAR_PER_S:,}" if figure.key == "per_s" else ""


def _round(settings: Settings, redis: RedisProcess, bridge: BridgeProcess, end: int) -> Sample:
    """Run a bridge until Redis has all records, from its first record on."""
    with Redis.from_url(redis.url) as commands, bridge:
        begun = _wait_for(commands, end - settings.records + 1)
        began_s = time.monotonic()
        cpu_before, redis_before = proc.cpu_time(bridge.pid), proc.cpu_time(redis.pid)
        ended = _wait_for(commands, end)
        seconds = time.monotonic() - began_s
        cpu = proc.cpu_time(bridge.pid) - cpu_before
        redis_cpu = proc.cpu_time(redis.pid) - redis_before
        memory = proc.pss_bytes(bridge.pid)
    count = max(1, ended - begun)
    return Sample(
        {
            "per_s": count / seconds,
            "cpu_us": cpu.total_s / count * 1e6,
            "busy": cpu.total_s / seconds * 100,
            "redis_us": redis_cpu.total_s / count * 1e6,
            "memory_mb": memory / 1e6,
        }
    )


def _wait_for(commands: "Redis", count: int) -> int:
    """Wait until so many events have ever been published; return how many they are."""
    deadline_s = time.monotonic() + _TIMEOUT_S
    while True:
        found: Any = commands.xinfo_stream("sse:log") if commands.exists("sse:log") else {}
        added = int(found.get("entries-added", 0))
        if added >= count:
            return added
        if time.monotonic() > deadline_s:
            raise ProcessError(f"{added:,} of {count:,} events within {_TIMEOUT_S:g} s")
        time.sleep(0.01)


def _redis_benchmark(redis: RedisProcess, settings: Settings) -> float:
    """Return the events a second that `redis-benchmark` publishes by the bridge's script."""
    with Redis.from_url(redis.url) as commands:
        commands.script_load(PUBLISH_RECORDS.text)
    event = ["0", "0", "user-events", value("user-0", 1_000_000).decode()]
    calls = max(1, settings.records // settings.batch)
    done = subprocess.run(
        [
            *("redis-benchmark", "-s", redis.socket_path, "-c", "1", "-n", str(calls), "--csv"),
            *("EVALSHA", PUBLISH_RECORDS.sha1, "2", "bench:sse:log", "bench:sse:source:bench"),
            *("200000:1073741824", "0", "600000", "", "0", *event * settings.batch),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    rates = re.findall(r'^"EVALSHA.*?","([\d.]+)"', done.stdout, re.MULTILINE | re.DOTALL)
    if not rates:
        raise ProcessError(f"redis-benchmark: {done.stdout[-200:]}{done.stderr[-200:]}")
    return float(rates[-1]) * settings.batch
