"""The schedule: which faults come in which order, all of it drawn from one seed."""

import random
from collections.abc import Iterator, Sequence

import msgspec

_LONGEST_PAUSE_S = 1.0  # arbitrary: between two faults, on top of the time things take to settle


class Planned(msgspec.Struct, frozen=True):
    """One fault of a schedule."""

    name: str
    node: int
    """Which node it injects, where it injects one of them."""
    pause_s: float
    """How long everything runs undisturbed before it."""
    seed: int
    """For what the fault itself leaves to chance."""


def draw(seed: int, names: Sequence[str], nodes: int) -> Iterator[Planned]:
    """The faults of a seed without end: round after round of all names, each in another order."""
    chance = random.Random(seed)
    while True:
        for name in chance.sample(names, len(names)):
            yield Planned(
                name=name,
                node=chance.randrange(nodes),
                pause_s=chance.uniform(0, _LONGEST_PAUSE_S),
                seed=chance.randrange(1 << 32),
            )
