"""The day that is simulated: nights, a rush in the morning, a killed pod, and a storm."""

from itertools import pairwise
from math import cos, exp, pi
from typing import Final

from bench.autoscaling.rules import Rules
from bench.autoscaling.simulation import DAY_S, Day, Simulation

_NIGHT: Final = 4_000
_NOON: Final = 42_000
_RUSH: Final = 9_000
_RUSH_AT_S: Final = 9 * 3600
KILL_AT_S: Final = 11 * 3600
STORM_AT_S: Final = 15 * 3600


def clients(second: int) -> int:
    """Return how many clients there are: a wave of a day, and a rush of ten minutes at nine."""
    wave = (1 - cos(2 * pi * (second - 3 * 3600) / DAY_S)) / 2  # the least at three
    rush = exp(-(((second - _RUSH_AT_S) / 600) ** 2))
    return round(_NIGHT + (_NOON - _NIGHT) * wave + _RUSH * rush)


def simulate(rules: Rules, seed: int = 0) -> Day:
    """Return a day: at eleven a pod is killed, at three all connections are cut at once."""
    share = 0.01  # one pod
    return Simulation(rules, clients, {KILL_AT_S: share, STORM_AT_S: 1.0}, seed).run()


def summary(day: Day, rules: Rules) -> dict[str, float]:
    """Return the figures that say whether the rules are good."""
    after_storm = range(STORM_AT_S + 1, DAY_S)
    back_at_s = next(at for at in after_storm if day.away[at] <= day.streams[at] / 100)
    return {
        "pods at least": min(day.pods),
        "pods at most": max(day.pods),
        "changes of the number": sum(before != after for before, after in pairwise(day.pods)),
        "turns between more and fewer": day.turns,
        "streams of the fullest pod": max(day.fullest),
        "limit of a pod": rules.max_streams,
        "streams told to come later": sum(day.refused),
        "seconds until 99 % are back after the storm": back_at_s - STORM_AT_S,
    }
