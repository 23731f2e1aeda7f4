"""`bridge-chaos`: records through bridges that are killed and rebalanced, with restarts around.

While records are written, bridges are killed and started again, another one joins the group and
leaves it, and Redis and the broker are restarted. Each user's records are in one partition, and
each user has a stream. The checker of the chaos benchmark decides: every record at its stream
once, in order.
"""

import asyncio
import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import msgspec
from redis import Redis

from bench.bridges.brokers import Broker, KafkaSide, RabbitSide, users
from bench.chaos.checker import Case, FaultTime, Ledger, checker, position_of
from bench.chaos.clients import Watchers
from bench.harness import DURABLE, BridgeProcess, NodeProcess, ProcessError, RedisProcess
from bench.report.tables import Result, Screen, Table, table

COLUMNS = ("fault", "after", "events in the log")
_SETTLE_S = 120.0  # arbitrary: after the last record, more is a hang
_CASES_SHOWN = 20  # arbitrary


class Settings(msgspec.Struct, frozen=True):
    """What is done."""

    records: Annotated[int, msgspec.Meta(ge=100, le=190_000, description="Records written.")] = (
        100_000
    )
    rate: Annotated[float, msgspec.Meta(ge=10, le=100_000, description="Records a second.")] = 2_000
    partitions: Annotated[int, msgspec.Meta(ge=1, le=64, description="Partitions, users.")] = 8
    kills: Annotated[int, msgspec.Meta(ge=0, le=100, description="Bridges killed.")] = 10
    amqp: Annotated[bool, msgspec.Meta(description="RabbitMQ instead of Kafka.")] = False


class BridgeChaosResult(Result):
    """The result of `bridge-chaos`. `problems` are errors that no stream shows."""

    records: int
    published: int
    """Events in the log."""
    seen: int
    """Events that streams have seen."""
    repeated: float
    """Records that the bridges which ran at the end skipped as published before."""
    faults: list[tuple[str, float]]
    cases: list[Case]

    @property
    def verdict(self) -> str:
        """The problems as a sentence; empty without problems."""
        found = [f"{len(self.cases)} violations"] if self.cases else []
        return "; ".join((*found, *self.problems))

    def tables(self) -> list[Table]:
        """Return the figures of the run, and the violations."""
        figures = [
            ("records written", f"{self.records:,}"),
            ("events in the log", f"{self.published:,}"),
            ("events seen by streams", f"{self.seen:,}"),
            ("faults", f"{len(self.faults)}"),
            ("records skipped as repeated, by the last bridges", f"{self.repeated:,.0f}"),
            ("violations", f"{len(self.cases)}"),
        ]
        lines = [(each.violation, each.stream, each.detail) for each in self.cases[:_CASES_SHOWN]]
        cases = [table("violations", ("violation", "stream", "detail"), lines)] if lines else []
        return [table("bridge-chaos", ("the run", ""), figures), *cases]


class _Streams:
    """The clients, in an event loop of their own; one for each user."""

    def __init__(self, ledger: Ledger, names: list[str], node: NodeProcess) -> None:
        self.watchers = Watchers(ledger)
        for user in names:
            self.watchers.add(user, (node.host, node.port))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._task: asyncio.Task[None] | None = None

    def __enter__(self) -> "_Streams":
        self._thread.start()
        _wait_until(lambda: all(each.journal.notes for each in self.watchers.all), "streams", 20)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()

    def _run(self) -> None:
        self._task = self._loop.create_task(self.watchers.run())
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.close()


def run(settings: Settings, screen: Screen) -> BridgeChaosResult:
    """Write, break, wait, check. Raises ProcessError."""
    broker: Broker = RabbitSide() if settings.amqp else KafkaSide(settings.partitions)
    names = users(settings.partitions)
    ledger = Ledger()
    screen.step("starting")
    with contextlib.ExitStack() as parts:
        parts.enter_context(broker)
        directory = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="bridge-chaos-")))
        redis = parts.enter_context(RedisProcess(args=DURABLE, directory=directory))
        node = parts.enter_context(NodeProcess("--redis-url", redis.url, "--server-id", "node-1"))
        node.wait_ready()
        bridges = [
            parts.enter_context(BridgeProcess(*broker.words, "--redis-url", redis.url))
            for _ in range(broker.members)
        ]
        streams = parts.enter_context(_Streams(ledger, names, node))
        run_of = _Torture(settings, broker, redis, bridges, screen)
        return run_of.run(ledger, streams.watchers, names)


class _Torture:
    """One run on processes that are up."""

    def __init__(
        self,
        settings: Settings,
        broker: Broker,
        redis: RedisProcess,
        bridges: list[BridgeProcess],
        screen: Screen,
    ) -> None:
        self._settings = settings
        self._broker = broker
        self._redis = redis
        self._bridges = bridges
        self._screen = screen
        self._begun_s = time.monotonic()
        self._faults: list[tuple[str, float]] = []

    def run(self, ledger: Ledger, watchers: Watchers, names: list[str]) -> BridgeChaosResult:
        """Write all records with faults in between; wait for them, and check."""
        problems = []
        self._begun_s = time.monotonic()
        with ThreadPoolExecutor(1) as writer:
            writing = writer.submit(
                self._broker.write,
                self._records(names),
                lambda user: ledger.send(user, time.monotonic()),
                self._settings.rate,
            )
            self._break_all(writing)
            writing.result()
        self._screen.step("the last records")
        records = self._settings.records
        try:
            _wait_until(lambda: self._events_held() >= records, "all events in the log", _SETTLE_S)
            _wait_until(
                lambda: sum(each.events for each in watchers.all) >= records,
                "all events at their streams",
                _SETTLE_S,
            )
        except ProcessError as error:
            problems.append(str(error))
        published = self._acknowledge(ledger)
        if published != records:
            problems.append(f"{published:,} events in the log for {records:,} records")
        journals = [each.journal for each in watchers.all]
        times = [FaultTime(name, at, may_reset=False) for name, at in self._faults]
        metric = "sse_node_bridge_repeated_total"
        return BridgeChaosResult(
            problems=problems,
            records=records,
            published=published,
            seen=sum(each.events for each in watchers.all),
            repeated=sum(bridge.metric(metric) for bridge in self._bridges),
            faults=self._faults,
            cases=checker(ledger, journals, times),
        )

    def _records(self, names: list[str]) -> Iterator[tuple[int, str]]:
        for number in range(self._settings.records):
            partition = number % len(names)
            yield partition, names[partition]

    def _break_all(self, writing: "Future[None]") -> None:
        """Inject the faults, spread over the time of writing, so that none follows the last."""
        settings = self._settings
        faults = ["kill"] * settings.kills
        others = ["Redis", "broker", "Redis"] + ["join", "leave"] * (self._broker.members > 1)
        for number, fault in enumerate(others):
            faults.insert((number + 1) * (len(faults) + 1) // (len(others) + 1), fault)
        seconds = settings.records / settings.rate
        with contextlib.ExitStack() as joined:
            for number, fault in enumerate(faults):
                due_s = self._begun_s + seconds * (number + 0.5) / len(faults)
                while not writing.done() and time.monotonic() < due_s:
                    time.sleep(0.01)
                self._screen.step(f"fault {number + 1} of {len(faults)}: {fault}")
                at_s = time.monotonic()
                self._inject(fault, number, joined)
                self._faults.append((fault, at_s))
                held = self._events_held()
                self._screen.add_row(fault, f"{at_s - self._begun_s:.1f} s", f"{held:,}")

    def _inject(self, fault: str, number: int, joined: contextlib.ExitStack) -> None:
        match fault:
            case "kill":
                bridge = self._bridges[number % len(self._bridges)]
                bridge.kill()
                bridge.start()
            case "Redis":
                self._redis.stop()
                self._redis.start()
            case "broker":
                self._broker.process.stop()
                self._broker.process.start(60)
            case "join":
                words = (*self._broker.words, "--redis-url", self._redis.url)
                joined.enter_context(BridgeProcess(*words))
            case "leave":
                joined.close()

    def _events_held(self) -> int:
        with Redis.from_url(self._redis.url) as redis:
            length: Any = redis.xlen("sse:log")
            return int(length) - 1  # the entry that opens the log

    def _acknowledge(self, ledger: Ledger) -> int:
        """Record every event of the log as accepted; return how many there are."""
        with Redis.from_url(self._redis.url) as redis:
            entries: Any = redis.xrange("sse:log")
        count = 0
        for entry_id, fields in entries:
            if b"channel" in fields:
                data = msgspec.json.decode(fields[b"payload"])["data"]
                position = position_of(entry_id.decode())
                ledger.acknowledge(data["user"], data["number"], position, time.monotonic())
                count += 1
        return count


def _wait_until(is_so: Any, what: str, timeout_s: float) -> None:  # noqa: ANN401
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline_s:
            raise ProcessError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.05)
