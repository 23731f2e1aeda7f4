"""The algorithm of the HorizontalPodAutoscaler: ratio, tolerance, windows, policies.

As Kubernetes documents it (Horizontal Pod Autoscaling, "Algorithm details" and "Configurable
scaling behavior"); KEDA leaves it to the same.
"""

from collections import deque
from math import ceil
from typing import Final

from bench.autoscaling.rules import Direction, Rules

# --horizontal-pod-autoscaler-tolerance and -sync-period, their defaults.
TOLERANCE: Final = 0.1
SYNC_S: Final = 15


class Autoscaler:
    """Decides on the number of pods; asked every `SYNC_S`.

    Args:
        rules: of the chart.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._wanted: deque[tuple[int, int]] = deque()
        self._changes: deque[tuple[int, int]] = deque()

    def decide(self, now_s: int, pods: int, streams: float) -> int:
        """Return how many pods there shall be.

        Args:
            now_s: rises by `SYNC_S`.
            pods: that there are, those that start included.
            streams: of all pods together, as they were scraped.
        """
        ratio = streams / (self._rules.target * pods)
        wanted = pods if abs(ratio - 1) <= TOLERANCE else ceil(streams / self._rules.target)
        wanted = max(self._rules.least, min(self._rules.most, wanted))
        self._wanted.append((now_s, wanted))
        self._forget(now_s)
        up = min(self._within(self._rules.up.window_s, now_s))
        down = max(self._within(self._rules.down.window_s, now_s))
        if up > pods:
            after = min(up, pods + self._allowed(self._rules.up, now_s, pods, sign=1))
        elif down < pods:
            after = max(down, pods - self._allowed(self._rules.down, now_s, pods, sign=-1))
        else:
            return pods
        if after != pods:
            self._changes.append((now_s, after - pods))
        return after

    def _within(self, window_s: int, now_s: int) -> list[int]:
        return [wanted for at_s, wanted in self._wanted if at_s >= now_s - window_s]

    def _allowed(self, direction: Direction, now_s: int, pods: int, *, sign: int) -> int:
        return max(
            policy.most(pods - self._changed(policy.period_s, now_s, sign) * sign)
            - self._changed(policy.period_s, now_s, sign)
            for policy in direction.policies
        )

    def _changed(self, period_s: int, now_s: int, sign: int) -> int:
        """Return the pods that came (1) or went (-1) in the last period."""
        recent = [by for at_s, by in self._changes if at_s > now_s - period_s]
        return sum(abs(by) for by in recent if by * sign > 0)

    def _forget(self, now_s: int) -> None:
        """Forget what no window or period reaches back to."""
        reach_s = max(
            self._rules.up.window_s,
            self._rules.down.window_s,
            *(each.period_s for each in (*self._rules.up.policies, *self._rules.down.policies)),
        )
        for kept in (self._wanted, self._changes):
            while kept and kept[0][0] < now_s - reach_s:
                kept.popleft()
