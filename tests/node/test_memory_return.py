"""When freed memory is given back: after a large backlog, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sse_node.node import memory_return
from sse_node.node.memory_return import MemoryReturn

if TYPE_CHECKING:
    import pytest

MIB = 1024 * 1024


def test_memory_is_returned_when_a_large_backlog_has_shrunk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trimmed: list[int] = []
    monkeypatch.setattr(memory_return, "find_release", lambda: lambda: trimmed.append(0))
    returning = MemoryReturn()
    for waiting_mib, times in [(0, 0), (15, 0), (0, 0), (40, 0), (11, 0), (10, 1), (0, 1), (20, 1)]:
        returning.look(waiting_mib * MIB)
        assert len(trimmed) == times, waiting_mib
    returning.look(0)
    assert trimmed == [0, 0]
    returning.look(0, 15 * MIB)
    assert trimmed == [0, 0]
    returning.look(0, 16 * MIB)  # it has come and gone since the last look
    returning.look(0, 0)
    assert trimmed == [0, 0, 0]


def test_c_library_without_trim_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    returning = MemoryReturn()
    returning.look(40 * MIB)
    returning.look(0)
