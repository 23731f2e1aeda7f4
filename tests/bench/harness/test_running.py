"""All parts of an object run, or none of them."""

import contextlib
from collections.abc import Iterator

import pytest

from bench.harness.running import Running


class Parts(Running):
    """Three parts that record their start and end; the last one may fail."""

    def __init__(self, told: list[str], *, fails: bool = False) -> None:
        self.told = told
        self.fails = fails

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        self.told.append(f"+{name}")
        try:
            yield
        finally:
            self.told.append(f"-{name}")

    def _start(self, parts: contextlib.ExitStack) -> None:
        for name in "abc":
            if self.fails and name == "c":
                raise OSError("c")
            parts.enter_context(self.part(name))


def test_parts_end_in_the_reverse_order() -> None:
    told: list[str] = []
    with Parts(told):
        assert told == ["+a", "+b", "+c"]
    assert told[3:] == ["-c", "-b", "-a"]


def test_a_part_that_does_not_start_ends_those_that_have() -> None:
    told: list[str] = []
    with pytest.raises(OSError, match="c"), Parts(told, fails=True):
        told.append("never")
    assert told == ["+a", "+b", "-b", "-a"]


def test_parts_end_when_the_block_fails() -> None:
    told: list[str] = []
    with pytest.raises(KeyError), Parts(told):
        raise KeyError
    assert told[3:] == ["-c", "-b", "-a"]


def test_it_starts_again() -> None:
    told: list[str] = []
    parts = Parts(told)
    for _ in range(2):
        with parts:
            pass
    assert told == ["+a", "+b", "+c", "-c", "-b", "-a"] * 2
