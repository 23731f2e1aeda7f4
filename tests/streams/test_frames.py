"""The node's own frames, byte for byte."""

import re
import time

import pytest

from sse_node.streams.frames import encode_open, encode_ping, encode_reset
from sse_node.wire.event_id import make_position

POSITION = make_position(1763900000000, 4) or 0


@pytest.mark.parametrize(
    ("resumed", "replayed", "members"),
    [
        pytest.param(False, 0, b'"resumed":false,"replayed":0', id="new"),
        pytest.param(True, 12, b'"resumed":true,"replayed":12', id="resumed"),
    ],
)
def test_open(resumed: bool, replayed: int, members: bytes) -> None:
    assert encode_open("node-1", POSITION, resumed, replayed) == (
        b'event: sse.open\nid: 1763900000000-4\ndata: {"serverId":"node-1",' + members + b"}\n\n"
    )


def test_open_of_a_replay_whose_beginning_is_not_known_has_no_id() -> None:
    assert encode_open("node-1", None, False, 3) == (
        b'event: sse.open\ndata: {"serverId":"node-1","resumed":false,"replayed":3}\n\n'
    )


def test_reset() -> None:
    assert encode_reset("trimmed", POSITION) == (
        b'event: sse.reset\nid: 1763900000000-4\ndata: {"reason":"trimmed"}\n\n'
    )


def test_ping_has_the_time_and_no_id() -> None:
    before_ms = int(time.time() * 1000)
    match = re.fullmatch(
        rb'event: ping\ndata: \{"type":"ping","serverId":"node-1","timestamp":(\d+)\}\n\n',
        encode_ping("node-1"),
    )
    assert match is not None
    assert before_ms <= int(match[1]) <= int(time.time() * 1000)
