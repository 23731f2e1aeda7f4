"""Log ids as integers that order as Redis orders the ids."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_node.wire.event_id import (
    format_position,
    make_position,
    milliseconds_of,
    parse_position,
)

MOST = 2**64 - 1
POSITIONS = st.integers(0, 2**128 - 1)
PARTS = st.integers(0, MOST)


@pytest.mark.parametrize(
    ("event_id", "position"),
    [
        pytest.param("0-0", 0, id="before every id"),
        pytest.param("0-1", 1, id="least of Redis"),
        pytest.param("1-0", 1 << 64, id="a millisecond"),
        pytest.param("1763900000000-4", (1763900000000 << 64) + 4, id="usual"),
        pytest.param(f"{MOST}-{MOST}", 2**128 - 1, id="greatest of Redis"),
    ],
)
def test_id_and_position(event_id: str, position: int) -> None:
    assert parse_position(event_id) == position
    assert format_position(position) == event_id.encode()


@pytest.mark.parametrize(
    "event_id",
    [
        "", "-", "1", "1-", "-1", "1-2-3", "1--2", "1-+2", "-1-2", "1 -2", " 1-2", "1-2\n", "a-b",
        "1_0-2", "0x1-2", "1.0-2", "\u0661-\u0662", f"{MOST + 1}-0", f"0-{MOST + 1}",
        "1" * 21 + "-0", "0-" + "1" * 100_000, "$", "*", "1-*", "(1-2",
    ],
    ids=lambda text: repr(text)[:20],
)  # fmt: skip
def test_what_is_no_id_has_no_position(event_id: str) -> None:
    assert parse_position(event_id) is None


def test_numbers_of_more_than_64_bits_have_no_position() -> None:
    assert make_position(MOST, MOST) == 2**128 - 1
    assert make_position(MOST + 1, 0) is None
    assert make_position(0, MOST + 1) is None


@given(POSITIONS)
def test_every_position_comes_back(position: int) -> None:
    assert parse_position(format_position(position).decode()) == position


@given(PARTS, PARTS, PARTS, PARTS)
def test_positions_order_as_ids(ms: int, sequence: int, other_ms: int, other: int) -> None:
    first, second = parse_position(f"{ms}-{sequence}"), parse_position(f"{other_ms}-{other}")
    assert first is not None
    assert second is not None
    assert (first < second) == ((ms, sequence) < (other_ms, other))
    assert milliseconds_of(first) == ms


@given(st.text())
def test_any_text_is_an_id_or_none(text: str) -> None:
    position = parse_position(text)
    if position is not None:
        ms, _, sequence = text.partition("-")
        assert format_position(position) == b"%d-%d" % (int(ms), int(sequence))
