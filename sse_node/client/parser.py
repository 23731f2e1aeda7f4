"""Bytes of an event stream to events (WHATWG HTML §9.2.6).

An event keeps whether it had an id of its own, which volatile events have not; a browser's
`lastEventId`, and libraries that follow it, give them that of the event before.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

_LINE_END: Final = re.compile(r"\r\n|\r|\n")


@dataclass(slots=True)
class ParsedEvent:
    """One event as it came.

    Attributes:
        type: of its `event` field; empty without one.
        data: its data lines.
        id: of its `id` field; None without one.
        retry_ms: of a `retry` field, which may stand alone.
    """

    type: str = ""
    data: list[str] = field(default_factory=list)
    id: str | None = None
    retry_ms: int | None = None


class Parser:
    """Reads one stream; lives as long as its response."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._text = ""
        self._is_first = True
        self._event = ParsedEvent()

    def feed(self, data: bytes) -> Iterator[ParsedEvent]:
        """Yield the events that are complete with these bytes; an unfinished one is kept."""
        text = self._text + self._decode(data)
        if self._is_first and text:
            text = text.removeprefix("\ufeff")
            self._is_first = False
        # A CR at the end may be half of a CR LF.
        held = text[-1:] if text.endswith("\r") else ""
        *lines, rest = _LINE_END.split(text[: len(text) - len(held)])
        self._text = rest + held
        for line in lines:
            if line:
                self._take(line)
            elif self._event != ParsedEvent():
                event, self._event = self._event, ParsedEvent()
                yield event

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._event.data.append(value)
        elif name == "event":
            self._event.type = value
        elif name == "id" and "\0" not in value:
            self._event.id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self._event.retry_ms = int(value[:9])
