"""A schedule depends on its seed only."""

from itertools import islice

from bench.chaos.faults import FAULTS, possible_faults
from bench.chaos.schedule import Planned, draw

NAMES = ("a", "b", "c", "d")


def drawn(seed: int, count: int) -> list[Planned]:
    return list(islice(draw(seed, NAMES, 2), count))


def test_a_seed_can_be_replayed() -> None:
    assert drawn(5, 100) == drawn(5, 100)
    assert drawn(5, 100)[:10] == drawn(5, 10)
    assert drawn(5, 100) != drawn(6, 100)


def test_every_fault_comes_once_a_round() -> None:
    rounds = [drawn(1, 400)[at : at + 4] for at in range(0, 400, 4)]
    assert all(sorted(planned.name for planned in each) == list(NAMES) for each in rounds)
    assert len({tuple(planned.name for planned in each) for each in rounds}) > 10


def test_both_nodes_are_affected() -> None:
    assert {planned.node for planned in drawn(1, 40)} == {0, 1}


def test_every_fault_has_a_description() -> None:
    assert all(name == fault.name and fault.about for name, fault in FAULTS.items())
    assert set(possible_faults()) <= set(FAULTS)
    assert len(possible_faults()) >= len(FAULTS) - 1
