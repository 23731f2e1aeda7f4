"""Where bad records go without a broker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from sse_node.bridges.dead_letters import DeadLetter, LetterFile, LoggedLetters
from sse_node.bridges.record import Record
from sse_node.errors import DeadLetterError

if TYPE_CHECKING:
    from pathlib import Path

LETTER = DeadLetter(
    Record("orders [0] @ 7", 7, b"\xff", b"k", {"a": b"b"}), "not-json", "value: no JSON"
)


async def test_a_file_has_a_line_for_each(tmp_path: Path) -> None:
    path = tmp_path / "dead.jsonl"
    letters = LetterFile(str(path))
    await letters.write([LETTER])
    await letters.write([DeadLetter(Record("q #1", 0, None, None, {}), "bad-field", "no value")])
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {
            "where": "orders [0] @ 7",
            "reason": "not-json",
            "detail": "value: no JSON",
            "key": "k",
            "headers": {"a": "b"},
            "value": {"base64": "/w=="},
        },
        {
            "where": "q #1",
            "reason": "bad-field",
            "detail": "no value",
            "key": None,
            "headers": {},
            "value": None,
        },
    ]


async def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(DeadLetterError, match=r"--dead-letter .*: Is a directory"):
        await LetterFile(str(tmp_path)).write([LETTER])


async def test_the_log_has_one_line_a_second_for_each_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await LoggedLetters().write([LETTER] * 100)
    assert [each.getMessage() for each in caplog.records] == [
        "skipping a bad record: orders [0] @ 7: not-json: value: no JSON"
    ]
