"""Names that were most likely meant."""

import pytest

from sse_node.config.nearest import distance, is_near_miss, nearest


@pytest.mark.parametrize(
    ("name", "other", "expected"),
    [
        ("", "", 0),
        ("port", "port", 0),
        ("", "port", 4),
        ("prt", "port", 1),
        ("portt", "port", 1),
        ("pert", "port", 1),
        ("prot", "port", 1),
        ("report", "port", 2),
        ("kitten", "sitting", 3),
    ],
)
def test_distance(name: str, other: str, expected: int) -> None:
    assert distance(name, other) == distance(other, name) == expected


def test_nearest() -> None:
    assert nearest("hots", ["port", "host", "uds"]) == "host"


@pytest.mark.parametrize(
    ("name", "other", "expected"),
    [("port", "port", False), ("prot", "port", True), ("report", "port", False),
     ("timeout_gracefull_shutdwn", "timeout_graceful_shutdown", True), ("ab", "cd", False)],
)  # fmt: skip
def test_near_misses(name: str, other: str, expected: bool) -> None:
    assert is_near_miss(name, other) is expected
