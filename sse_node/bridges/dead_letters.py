"""Where records go of which no event can be made: to the log output, or to a file too."""

import asyncio
import base64
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from sse_node.bridges.record import Record
from sse_node.errors import DeadLetterError, reason_of
from sse_node.logs.rate_limit import OncePerSecond

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record of which no event can be made.

    Attributes:
        record: the record.
        reason: a word for the metric, one of `DROP_REASONS`.
        detail: what is wrong, for people.
    """

    record: Record
    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.record.where}: {self.reason}: {self.detail}"


class DeadLetters(Protocol):
    """Keeps dead letters; lives as long as the bridge."""

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """Return when all are kept.

        Raises:
            DeadLetterError: they are not.
        """


class LoggedLetters:
    """Keeps nothing but a line of the log, at most one a second for each reason."""

    def __init__(self) -> None:
        self._lines = OncePerSecond()

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """Log them."""
        for letter in letters:
            if self._lines.allows(letter.reason):
                logger.warning("skipping a bad record: %s", letter)


class LetterFile:
    """Appends a JSON object a line to a file: where, reason, detail, key, headers, value.

    Args:
        path: of the file, which is created where there is none.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """Append them; on disk when this returns.

        Raises:
            DeadLetterError: the file cannot be written.
        """
        lines = b"".join(msgspec.json.encode(_as_json(letter)) + b"\n" for letter in letters)
        try:
            await asyncio.to_thread(self._append, lines)
        except OSError as exc:
            raise DeadLetterError(f"--dead-letter {self._path}: {reason_of(exc)}") from exc

    def _append(self, lines: bytes) -> None:
        with open(self._path, "ab") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())


def _as_json(letter: DeadLetter) -> dict[str, Any]:
    record = letter.record
    return {
        "where": record.where,
        "reason": letter.reason,
        "detail": letter.detail,
        "key": _text(record.key),
        "headers": {name: _text(value) for name, value in record.headers.items()},
        "value": _text(record.value),
    }


def _text(value: bytes | None) -> str | dict[str, str] | None:
    """Return bytes as text, in base64 where they are not UTF-8."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
