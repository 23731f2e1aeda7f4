"""Pods, their streams and the clients that come back, second by second."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from bench.autoscaling.autoscaler import SYNC_S, Autoscaler
from bench.autoscaling.rules import Rules

DAY_S: Final = 86_400
# A node opens 16,800 streams a second on a core of its own (bench/RESULTS.md); pods share cores.
OPENED_PER_S: Final = 5_000
# From the decision to a ready pod: the image is there, the node catches up. Arbitrary.
_START_S: Final = 12
# After a stop proxies send new streams for this long. Arbitrary, less than the chart's delay.
_NOTICED_S: Final = 5
_RETRY_S: Final = (2.25, 3.75)  # --retry, 3 s with 25 % of jitter
# How old figures are when they are used: one scrape.
_SCRAPE_S: Final = 15


@dataclass(slots=True)
class Pod:
    """One pod.

    Attributes:
        ready_s: when it accepts streams.
        stopped_s: when it was told to stop; None while it is to stay.
    """

    ready_s: int
    streams: int = 0
    stopped_s: int | None = None

    def accepts(self, now_s: int) -> bool:
        """Return whether proxies send new streams to it."""
        if self.stopped_s is not None and now_s >= self.stopped_s + _NOTICED_S:
            return False
        return now_s >= self.ready_s


@dataclass(slots=True)
class Day:
    """What happened: a value for each second."""

    pods: list[int] = field(default_factory=list)
    streams: list[int] = field(default_factory=list)
    fullest: list[int] = field(default_factory=list)
    reconnects: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    away: list[int] = field(default_factory=list)

    @property
    def turns(self) -> int:
        """How often the number of pods changed its direction."""
        steps = [after - before for before, after in pairwise(self.pods) if after != before]
        return sum(step * following < 0 for step, following in pairwise(steps))


class Simulation:
    """A day of one Deployment.

    Args:
        rules: of the chart.
        clients: returns how many clients there are at a second of the day.
        cuts: at a second, the share of the pods that are killed (all of them: every connection
            is cut, by a proxy that restarts say, and no pod is lost).
        seed: of the jitter.
    """

    def __init__(
        self,
        rules: Rules,
        clients: Callable[[int], int],
        cuts: dict[int, float],
        seed: int = 0,
    ) -> None:
        self._rules = rules
        self._clients = clients
        self._cuts = cuts
        self._random = random.Random(seed)
        self._scaler = Autoscaler(rules)
        self._pods = [Pod(-1) for _ in range(rules.least)]
        self._coming: dict[int, int] = {}  # clients that ask for a stream, by second
        self._scraped: deque[int] = deque(maxlen=_SCRAPE_S)
        self._now_s = 0
        self._reconnects = 0
        self.day = Day()

    def run(self, seconds: int = DAY_S) -> Day:
        """Return what happened in so many seconds."""
        self._come(self._clients(0), first=True)
        for self._now_s in range(seconds):
            self._reconnects = 0
            self._change_clients()
            self._cut()
            self._age()
            self._drain()
            refused = self._open()
            self._scale()
            self._note(refused)
        return self.day

    # Clients

    def _come(self, count: int, *, first: bool = False) -> None:
        """Have clients ask for a stream: at once for the first time, else after their `retry`."""
        if first:
            self._coming[self._now_s] = self._coming.get(self._now_s, 0) + count
            return
        self._reconnects += count
        least, most = _RETRY_S
        for second in range(int(least), int(most) + 1):
            share = (min(second + 1, most) - max(second, least)) / (most - least)
            at_s = self._now_s + second
            part = count if second == int(most) else round(count * share)
            part = min(part, count)
            self._coming[at_s] = self._coming.get(at_s, 0) + part
            count -= part

    def _change_clients(self) -> None:
        more = self._clients(self._now_s) - self._clients(max(0, self._now_s - 1))
        if more > 0:
            self._come(more, first=True)
        for _ in range(-more):
            pods = [pod for pod in self._pods if pod.streams]
            if pods:
                self._random.choice(pods).streams -= 1

    def _cut(self) -> None:
        share = self._cuts.get(self._now_s, 0.0)
        if not share:
            return
        hit = self._pods if share == 1 else self._pods[: max(1, round(len(self._pods) * share))]
        self._come(sum(pod.streams for pod in hit))
        for pod in hit:
            pod.streams = 0
            if share < 1:  # killed: it starts again
                pod.ready_s = self._now_s + _START_S

    def _age(self) -> None:
        if self._rules.max_age_s:
            for pod in self._pods:
                part = pod.streams / self._rules.max_age_s
                aged = int(part) + (self._random.random() < part % 1)
                pod.streams -= aged
                self._come(aged)

    # Pods

    def _drain(self) -> None:
        for pod in [pod for pod in self._pods if pod.stopped_s is not None]:
            assert pod.stopped_s is not None
            if self._now_s >= pod.stopped_s + self._rules.drain_delay_s:
                closed = min(pod.streams, self._rules.drain_rate)
                pod.streams -= closed
                self._come(closed)
                if not pod.streams:
                    self._pods.remove(pod)

    def _open(self) -> int:
        """Deal out the clients that ask in this second; return how many come again."""
        asking = self._coming.pop(self._now_s, 0)
        pods = [pod for pod in self._pods if pod.accepts(self._now_s)]
        refused = asking if not pods else 0
        self._random.shuffle(pods)  # who gets one more than others
        for number, pod in enumerate(pods):  # a Service deals out evenly
            part = asking // len(pods) + (number < asking % len(pods))
            opened = min(part, OPENED_PER_S, self._rules.max_streams - pod.streams)
            pod.streams += opened
            refused += part - opened
        if refused:
            self._come(refused)
        return refused

    def _scale(self) -> None:
        self._scraped.append(sum(pod.streams for pod in self._pods))
        if self._now_s % SYNC_S:
            return
        staying = [pod for pod in self._pods if pod.stopped_s is None]
        wanted = self._scaler.decide(self._now_s, len(staying), self._scraped[0])
        for _ in range(wanted - len(staying)):
            self._pods.append(Pod(self._now_s + _START_S))
        for pod in staying[wanted:]:  # the youngest
            pod.stopped_s = self._now_s

    def _note(self, refused: int) -> None:
        day = self.day
        day.pods.append(sum(pod.stopped_s is None for pod in self._pods))
        day.streams.append(sum(pod.streams for pod in self._pods))
        day.fullest.append(max(pod.streams for pod in self._pods))
        day.reconnects.append(self._reconnects)
        day.refused.append(refused)
        day.away.append(sum(self._coming.values()))
