"""One run: start processes and load, inject faults one by one, check the journals."""

import math
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from bench.chaos.access import Access
from bench.chaos.checker import FaultTime, Ledger
from bench.chaos.clients import Address, Watcher
from bench.chaos.cluster_faults import CLUSTER_FAULTS
from bench.chaos.cluster_stage import ClusterStage
from bench.chaos.environment import NEIGHBOUR_DATABASE, NEIGHBOUR_LOG_KEY, Clock, Stage
from bench.chaos.faults import FAULTS, Fault, possible_faults
from bench.chaos.report import ChaosResult, Injected
from bench.chaos.schedule import Planned, draw
from bench.chaos.sentinel_faults import SENTINEL_FAULTS
from bench.chaos.sentinel_stage import SentinelStage
from bench.chaos.workload import Traffic
from bench.harness import ProcessError
from bench.report.tables import Screen

_ALL = "all"
_SETTLE_TIMEOUT_S = 30.0  # arbitrary: far more than any recovery should take
# Every tenth stream connects to a node directly, so that every node always has streams.
_DIRECT_EVERY = 10
# Arbitrary: the share of clients that are away during a fault. Half of them come back when it is
# over, the others when all other clients have recovered.
_AWAY = 0.05
# Arbitrary: the share of streams and events that the neighbour has.
_NEIGHBOUR = 0.1


class Settings(msgspec.Struct, frozen=True):
    """The settings of a run."""

    seed: Annotated[int, msgspec.Meta(description="Seed of the schedule.")] = 1
    minutes: Annotated[
        float, msgspec.Meta(ge=0, le=24 * 60, description="Minutes, after which no fault begins.")
    ] = 2.0
    redis: Annotated[
        Literal["one", "sentinel", "cluster"],
        msgspec.Meta(
            description="One Redis, a master with two replicas and three sentinels, or a cluster "
            "of three masters with a replica each."
        ),
    ] = "one"
    shards: Annotated[int, msgspec.Meta(ge=1, le=64, description="Shards, of a cluster only.")] = 16
    faults: Annotated[
        list[str],
        msgspec.Meta(description="Kinds of faults, separated by commas, or all that are possible."),
    ] = msgspec.field(default_factory=lambda: [_ALL])
    streams: Annotated[
        int, msgspec.Meta(ge=1, le=2000, description="Open streams, spread over the users.")
    ] = 300
    rate: Annotated[
        float, msgspec.Meta(ge=1, le=1000, description="Events a second, all users together.")
    ] = 100.0
    users: Annotated[int, msgspec.Meta(ge=1, le=1000, description="Users.")] = 20
    auth: Annotated[
        bool, msgspec.Meta(description="Give clients tokens, which expire and are revoked.")
    ] = False
    most_faults: int = 0
    """The maximum number of faults; 0 for no limit."""
    launcher: tuple[str, ...] = (sys.executable, "-m", "sse_node", "serve")
    """The command that starts a node."""

    @property
    def known_faults(self) -> Mapping[str, Fault]:
        """Every kind of fault of this Redis, by name."""
        return {"sentinel": SENTINEL_FAULTS, "cluster": CLUSTER_FAULTS}.get(self.redis, FAULTS)

    @property
    def chosen_faults(self) -> list[str]:
        """The names of the faults to inject."""
        return possible_faults(self.known_faults) if self.faults == [_ALL] else self.faults


def run(settings: Settings, screen: Screen) -> ChaosResult:
    """Run a schedule and check the journals. Raises ProcessError."""
    ledger, neighbour_ledger = Ledger(), Ledger()
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        directory = Path(name)
        access = Access(directory) if settings.auth else None
        socket = directory / "redis.sock"
        with (
            Traffic(ledger, socket, access=access) as traffic,
            Traffic(neighbour_ledger, socket, "neighbour's ", access) as neighbour_traffic,
            _stage_for(settings, traffic, neighbour_traffic, directory) as stage,
        ):
            chaos = _Chaos(settings, stage, screen)
            chaos.begin()
            chaos.inject_all()
            return chaos.end()


def _stage_for(
    settings: Settings, traffic: Traffic, neighbour_traffic: Traffic, directory: Path
) -> Stage:
    if settings.redis == "sentinel":
        return SentinelStage(traffic, neighbour_traffic, settings.launcher)
    if settings.redis == "cluster":
        return ClusterStage(traffic, neighbour_traffic, settings.launcher, settings.shards)
    moves_clock = any(FAULTS[name].moves_clock for name in settings.chosen_faults)
    clock = Clock(directory) if moves_clock else None
    return Stage(traffic, neighbour_traffic, settings.launcher, clock)


class _Chaos:
    def __init__(self, settings: Settings, stage: Stage, screen: Screen) -> None:
        self._settings = settings
        self._faults = settings.known_faults
        self._stage = stage
        self._traffic = stage.traffic
        self._neighbour = stage.neighbour_traffic
        self._screen = screen
        self._times: list[FaultTime] = []
        self._struck: list[Injected] = []
        self._problems: list[str] = []

    def begin(self) -> None:
        """Open the streams and wait until all of them have an event."""
        settings = self._settings
        self._screen.step(f"opening {settings.streams} streams")
        users = [f"user-{number}" for number in range(settings.users)]
        streams = [
            (users[number % len(users)], self._address(number))
            for number in range(settings.streams)
        ]
        self._traffic.begin(self._stage.nginx.port, streams, users, settings.rate)
        node = self._stage.neighbour
        count = math.ceil(settings.streams * _NEIGHBOUR)
        streams = [(users[number % len(users)], (node.host, node.port)) for number in range(count)]
        self._neighbour.begin(node.port, streams, users, settings.rate * _NEIGHBOUR)
        self._settle(self._traffic.watchers.all, time.monotonic(), "the start")

    def _address(self, number: int) -> Address:
        if number % _DIRECT_EVERY == 0:
            return self._stage.address_of(number // _DIRECT_EVERY % len(self._stage.nodes))
        return self._stage.nginx.host, self._stage.nginx.port

    def inject_all(self) -> None:
        """Inject faults until the time is over or a problem occurs."""
        settings = self._settings
        end = time.monotonic() + settings.minutes * 60
        of_access = [
            name for name, fault in self._faults.items() if settings.auth and fault.needs_access
        ]
        names = [*dict.fromkeys((*settings.chosen_faults, *of_access))]
        for planned in draw(settings.seed, names, len(self._stage.nodes)):
            self._screen.step(f"fault {len(self._struck) + 1}: {planned.name}")
            time.sleep(planned.pause_s)
            self._inject(planned)
            is_last = time.monotonic() >= end or len(self._struck) == settings.most_faults
            if is_last or self._problems:
                return

    def _inject(self, planned: Planned) -> None:
        fault = self._faults[planned.name]
        number, resets = len(self._times), self._traffic.watchers.resets
        began_at = time.monotonic()
        self._times.append(FaultTime(fault.name, began_at, fault.may_reset))
        self._traffic.begin_fault(number)
        self._neighbour.begin_fault(number)
        away = self._choose_absent(planned)
        for watcher in away:
            self._traffic.on_loop(watcher.go_away)
        after = f"fault {number + 1}, {fault.name}"
        try:
            fault.inject(self._stage, planned)
        except ProcessError as error:
            self._problems.append(f"{after}: {error}")
        ended_at = time.monotonic()
        back_at_once, back_late = away[::2], away[1::2]
        for watcher in back_at_once:
            self._traffic.on_loop(watcher.come_back)
        there = set(self._traffic.watchers.all) - set(back_late)
        recovered_s = self._settle(there, ended_at, after)
        self._settle(self._neighbour.watchers.all, ended_at, after, self._neighbour)
        for watcher in back_late:
            self._traffic.on_loop(watcher.come_back)
        self._settle(back_late, time.monotonic(), after)
        lost = 0
        if fault.loses:
            lost = self._traffic.lose(began_at, self._stage.events_held)
            lost += self._neighbour.lose(
                began_at,
                lambda: self._stage.events_held(NEIGHBOUR_LOG_KEY, NEIGHBOUR_DATABASE),
            )
        elif fault.trims:
            self._traffic.trim(self._stage.events_held())
        injected = Injected(
            fault=fault.name,
            node=f"node-{planned.node + 1}" if fault.is_of_node else "",
            began_s=began_at - self._times[0].began_at,
            took_s=ended_at - began_at,
            recovered_s=recovered_s,
            resets=self._traffic.watchers.resets - resets,
            lost_by_redis=lost,
        )
        self._struck.append(injected)
        self._screen.add_row(*injected.cells())

    def _choose_absent(self, planned: Planned) -> list[Watcher]:
        everybody = self._traffic.watchers.all
        return random.Random(planned.seed).sample(everybody, math.ceil(_AWAY * len(everybody)))

    def _settle(
        self,
        watchers: Iterable[Watcher],
        since: float,
        after: str,
        traffic: Traffic | None = None,
    ) -> float:
        traffic = traffic or self._traffic
        recovered_s, without = traffic.wait_fresh(watchers, since, _SETTLE_TIMEOUT_S)
        if without:
            self._problems.append(
                f"after {after}: {len(without)} streams had no new event within"
                f" {_SETTLE_TIMEOUT_S:g} s, such as {without[0]}"
            )
            return _SETTLE_TIMEOUT_S
        return recovered_s

    def end(self) -> ChaosResult:
        """Wait until everything has arrived, and check the journals."""
        self._screen.step("the last events")
        loads = (self._traffic, self._neighbour)
        for traffic in loads:
            traffic.end_publishing()
        for traffic in loads:  # a stream that has the last event of its user has all before it
            self._settle(traffic.watchers.all, traffic.wait_published(), "the end", traffic)
        self._screen.step("the checker")
        # What is done to the event log of one deployment must not reset the other's streams.
        neighbour_times = [
            msgspec.structs.replace(each, may_reset=self._faults[each.name].loses)
            for each in self._times
        ]
        cases = self._traffic.cases(self._times) + self._neighbour.cases(neighbour_times)
        watchers = [watcher for traffic in loads for watcher in traffic.watchers.all]
        publishers = [traffic.publisher for traffic in loads if traffic.publisher is not None]
        return ChaosResult(
            seed=self._settings.seed,
            injected=self._struck,
            cases=cases,
            streams=len(watchers),
            connections=sum(watcher.connections for watcher in watchers),
            acknowledged=sum(traffic.acknowledged() for traffic in loads),
            attempts=sum(publisher.attempts for publisher in publishers),
            deliveries=sum(watcher.events for watcher in watchers),
            problems=[
                *self._problems,
                *self._stage.problems,
                *(problem for publisher in publishers for problem in publisher.problems),
                *self._stage.complaints(),
            ],
        )
