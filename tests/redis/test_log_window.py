"""A part of the log: it grows at both ends and has no gap."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sse_node.delivery.history import Entry, History
from sse_node.redis import log_window
from sse_node.redis.event_log import LogEntry
from sse_node.redis.log_window import LogWindow
from sse_node.wire.envelope import encode_envelope

# A log whose ids are not one after the other, for three users by turns.
LOG = [
    LogEntry(10 * i, b"user-events", encode_envelope(str(i % 3), "t", b"1", broadcast=False))
    for i in range(1, 31)
]


def truth(entries: list[LogEntry], position: int, audiences: tuple[str, ...]) -> list[Entry]:
    return [
        (entry.position, entry.as_message(b"log")[2])
        for entry in entries
        if entry.position > position and entry.audience in audiences
    ]


def check(window: LogWindow, entries: list[LogEntry]) -> None:
    """Assert that a window holds these entries and makes every replay that they prove."""
    assert len(window) == len(entries)
    assert not window.contains(5)
    held = {entry.position for entry in entries}
    assert {entry.position for entry in LOG if window.contains(entry.position)} == held
    if entries:
        assert (window.oldest, window.newest) == (entries[0].position, entries[-1].position)
    for position in held:
        for audiences in (("0",), ("1", "2"), ("nobody",)):
            assert window.since(position, audiences) == truth(entries, position, audiences)


async def test_window_without_entries_knows_nothing() -> None:
    window = LogWindow()
    check(window, [])
    assert not window.contains(0)
    window.append([], b"log")
    await window.prepend([], b"log")
    check(window, [])


@settings(deadline=None, max_examples=30)
@given(st.data())
async def test_window_grows_at_both_ends(data: st.DataObject) -> None:
    window = LogWindow()
    start = end = data.draw(st.integers(0, len(LOG)))
    while start > 0 or end < len(LOG):
        older = data.draw(st.integers(0, start))
        newer = data.draw(st.integers(0 if older else 1, len(LOG) - end) if end < len(LOG)
                          else st.just(0))  # fmt: skip
        await window.prepend(LOG[start - older : start], b"log")
        window.append(LOG[end : end + newer], b"log")
        start, end = start - older, end + newer
        check(window, LOG[start:end])
        if not (older or newer):
            break


@pytest.mark.parametrize("slice_entries", [1, 4, 100])
@pytest.mark.parametrize("held", [0, 1, 10, 20, 30])
async def test_window_reaches_into_the_memory_that_it_touches(
    monkeypatch: pytest.MonkeyPatch, slice_entries: int, held: int
) -> None:
    monkeypatch.setattr(log_window, "_SLICE", slice_entries)
    history = History(15, 1 << 20)
    for entry in LOG:
        history.append(entry.position, entry.audience, entry.as_message(b"log")[2])
    window = LogWindow()
    window.append(LOG[:held], b"log")
    await window.reach_into(history)
    touches = held > 15
    check(window, LOG if touches else LOG[:held] if held else LOG[15:])
    assert window.read_bytes == sum(len(entry.payload) for entry in LOG[:held])


async def test_window_is_as_it_was_when_growing_is_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_window, "_SLICE", 1)
    window = LogWindow()
    window.append(LOG[10:], b"log")
    growing = asyncio.create_task(window.prepend(LOG[:10], b"log"))
    for _ in range(15):
        await asyncio.sleep(0)
    assert len(window) < 30
    growing.cancel()
    await asyncio.gather(growing, return_exceptions=True)
    check(window, LOG[10:])
    assert window.read_bytes == sum(len(entry.payload) for entry in LOG[10:])


async def test_window_has_no_gap_while_it_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_window, "_SLICE", 4)
    window = LogWindow()
    window.append(LOG[10:], b"log")
    growing = asyncio.create_task(window.prepend(LOG[:10], b"log"))
    while not growing.done():
        if window:
            start, end = window.oldest // 10 - 1, window.newest // 10
            check(window, LOG[start:end])
        await asyncio.sleep(0)
    check(window, LOG)
