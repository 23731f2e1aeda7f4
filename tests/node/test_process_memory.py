"""The memory of this process."""

import ctypes
from pathlib import Path

import pytest

from sse_node.node import process_memory
from sse_node.node.process_memory import find_release, resident_bytes

BLOCK_BYTES = 64 * 1024 * 1024


def test_memory_in_use_is_resident() -> None:
    before = resident_bytes()
    assert before > 1024 * 1024
    block = b"x" * BLOCK_BYTES
    assert resident_bytes() > before + len(block) * 0.9


def test_it_is_unknown_without_procfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_memory, "_STATM", tmp_path / "statm")
    assert resident_bytes() == 0


def test_freed_memory_is_returned() -> None:
    blocks = [bytearray(1000) for _ in range(50_000)]
    kept = blocks[-1]
    full = resident_bytes()
    blocks.clear()
    find_release()()
    assert resident_bytes() < full - 20_000_000
    assert len(kept) == 1000


@pytest.mark.parametrize("error", [OSError, AttributeError])
def test_a_c_library_without_it_does_nothing(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(ctypes, "CDLL", fail)
    find_release()()
