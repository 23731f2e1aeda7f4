"""Positions: the ids of log entries (`<milliseconds>-<sequence>`, Redis stream ids) as integers.

An integer compares in one step and orders as Redis orders the ids: milliseconds in the high bits,
the sequence number in the low 64.
"""

import re

_ID = re.compile(r"(\d{1,20})-(\d{1,20})", re.ASCII)
_SEQUENCE_BITS = 64
_SEQUENCE_MASK = (1 << _SEQUENCE_BITS) - 1


def parse_position(event_id: str) -> int | None:
    """Return the position of `event_id`, or None when it is not a Redis stream id."""
    match = _ID.fullmatch(event_id)
    return None if match is None else make_position(int(match[1]), int(match[2]))


def make_position(milliseconds: int, sequence: int) -> int | None:
    """Return the position of an id's numbers, 0 or more; None when one has more than 64 bits."""
    if milliseconds > _SEQUENCE_MASK or sequence > _SEQUENCE_MASK:
        return None
    return milliseconds << _SEQUENCE_BITS | sequence


def format_position(position: int) -> bytes:
    """Return the id of a position, e.g. `b"1763900000000-4"`."""
    return b"%d-%d" % (position >> _SEQUENCE_BITS, position & _SEQUENCE_MASK)


def milliseconds_of(position: int) -> int:
    """Return the time part of a position: Unix time in milliseconds by Redis' clock."""
    return position >> _SEQUENCE_BITS
