"""The schedule: the order and the details of faults, drawn from one seed."""

import random
from collections.abc import Iterator, Sequence

import msgspec

_LONGEST_PAUSE_S = 1.0  # arbitrary: between recovery and the next fault


class Planned(msgspec.Struct, frozen=True):
    """One fault of a schedule."""

    name: str
    node: int
    """The affected node, if it is a fault of one node."""
    pause_s: float
    """Time without faults before it."""
    seed: int
    """For random choices of the fault."""


def draw(seed: int, names: Sequence[str], nodes: int) -> Iterator[Planned]:
    """Yield the faults of a seed without end: rounds of all names, each in a new order."""
    chance = random.Random(seed)
    while True:
        for name in chance.sample(names, len(names)):
            yield Planned(
                name=name,
                node=chance.randrange(nodes),
                pause_s=chance.uniform(0, _LONGEST_PAUSE_S),
                seed=chance.randrange(1 << 32),
            )
