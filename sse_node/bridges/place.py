"""Places in a record from which a user, a channel or an event type is taken.

`key`, `header:NAME`, a JSON path into the value such as `$.customer.id` or `$.items[0]['a b']`, or
`text:VALUE` for the same in every record.
"""

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from sse_node.bridges.record import Record
from sse_node.errors import ConfigError, PublisherError

Place = Callable[[Record], str]
"""Returns the text at a place of a record; raises PublisherError where there is none."""

EXPECTED: Final = "key, header:NAME, a JSON path such as $.customer.id, or text:VALUE"
_STEP: Final = re.compile(r"\.([\w-]+)|\[(\d{1,9})\]|\['([^']*)'\]|\[\"([^\"]*)\"\]")
_decode = msgspec.json.Decoder().decode


def parse_place(setting: str, text: str) -> Place | None:
    """Return the place that a setting names, None for an empty one.

    Raises:
        ConfigError: it names none.
    """
    kind, _, name = text.partition(":")
    if text == "key":
        return _key
    if kind == "header" and name:
        return _header(name)
    if kind == "text" and name:
        return lambda record: name
    if text.startswith("$") and (steps := _steps(text[1:])):
        return _json_path(text, steps)
    if text:
        raise ConfigError(setting, text, EXPECTED)
    return None


def _key(record: Record) -> str:
    if record.key is None:
        raise PublisherError("bad-field", "the record has no key")
    return _text("key", record.key)


def _header(name: str) -> Place:
    def find(record: Record) -> str:
        value = record.headers.get(name.lower())
        if value is None:
            raise PublisherError("bad-field", f"header {name} is missing")
        return _text(f"header {name}", value)

    return find


def _text(what: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as exc:
        raise PublisherError("not-utf8", f"{what} is not UTF-8: {exc.reason}") from exc


def _steps(path: str) -> list[str | int]:
    """Return the steps of a JSON path without its `$`; empty when it is not one."""
    steps: list[str | int] = []
    end = 0
    while (step := _STEP.match(path, end)) is not None:
        member, index, *quoted = step.groups()
        steps.append(int(index) if index else member or next(filter(None, quoted), ""))
        end = step.end()
    return steps if end == len(path) else []


def _json_path(path: str, steps: list[str | int]) -> Place:
    def find(record: Record) -> str:
        value = decode_value(record)
        for step in steps:
            try:
                value = value[step]
            except (LookupError, TypeError):
                raise PublisherError("bad-field", f"{path} is missing") from None
        if isinstance(value, str) or type(value) is int:
            return str(value)
        raise PublisherError("bad-field", f"{path}: expected a string or a whole number")

    return find


def decode_value(record: Record) -> Any:  # noqa: ANN401  (any JSON)
    """Return the value of a record as JSON.

    Raises:
        PublisherError: it is none.
    """
    try:
        return _decode(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise PublisherError("not-json", f"value: {exc}") from exc
    except RecursionError as exc:
        raise PublisherError("too-deep", "value: nested too deep") from exc
