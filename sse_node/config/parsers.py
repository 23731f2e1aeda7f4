"""Parsers of settings: from a setting's name and text to a value, or ConfigError."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Final

from sse_node.config.machine import usable_cores
from sse_node.config.redis_tls import make_tls_context
from sse_node.config.redis_url import parse_redis_url
from sse_node.errors import ConfigError
from sse_node.wire.envelope import (
    CHANNEL_EXPECTED,
    USER_ID_EXPECTED,
    is_channel_name,
    is_user_id,
)

_TRUE: Final = {"1", "true", "yes", "on"}
_FALSE: Final = {"", "0", "false", "no", "off"}
_OWN_REDIS_CHANNELS: Final = re.compile(
    r"user-events\Z|channel-events\Z|sse:probe:|sse:revocations\Z"
)
Parse = Callable[[str, str], Any]


@dataclass(frozen=True, slots=True)
class Bounded:
    """A parser whose bounds other programs can check, too.

    Attributes:
        parse: as `Parse`.
        schema: of what it accepts, as JSON Schema has it.
    """

    parse: Parse
    schema: Mapping[str, Any]

    def __call__(self, setting: str, text: str) -> Any:  # noqa: ANN401  (the type is the field's)
        """Return the value. Raises ConfigError."""
        return self.parse(setting, text)


def schema_of(parse: Parse) -> Mapping[str, Any]:
    """Return the JSON Schema of what a parser accepts; any text if it has no bounds."""
    return parse.schema if isinstance(parse, Bounded) else {"type": "string"}


def integer(least: int, most: int, *, or_zero: bool = False) -> Parse:
    """Return a parser of whole numbers from `least` to `most`, and 0 where that is allowed."""
    expected = f"{'0, or ' * or_zero}a whole number from {least} to {most}"

    def parse(setting: str, text: str) -> int:
        number = int(text) if re.fullmatch(r"\d{1,15}", text, re.ASCII) else -1
        if not least <= number <= most and not (or_zero and number == 0):
            raise ConfigError(setting, text, expected)
        return number

    schema = {"type": "integer", "minimum": least, "maximum": most}
    return Bounded(parse, {"anyOf": [schema, {"const": 0}]} if or_zero else schema)


def _worker_count(setting: str, text: str) -> int:
    """Return the number of workers; `auto` is the number of cores that this process may use."""
    if text == "auto":
        return usable_cores()
    try:
        return int(_workers(setting, text))
    except ConfigError:
        raise ConfigError(setting, text, "auto, or a whole number from 1 to 1024") from None


_workers = integer(1, 1024)
worker_count = Bounded(_worker_count, {"anyOf": [schema_of(_workers), {"const": "auto"}]})


def seconds(least: float, most: float) -> Parse:
    """Return a parser of seconds from `least` to `most`, with up to six decimals."""

    def parse(setting: str, text: str) -> float:
        if re.fullmatch(r"\d{1,9}(\.\d{1,6})?", text, re.ASCII) is None or not (
            least <= float(text) <= most
        ):
            raise ConfigError(setting, text, f"a number from {least:g} to {most:g} seconds")
        return float(text)

    return Bounded(parse, {"type": "number", "minimum": least, "maximum": most})


def matching(pattern: str, expected: str) -> Parse:
    """Return a parser of text that matches `pattern` completely."""

    def parse(setting: str, text: str) -> str:
        if re.fullmatch(pattern, text, re.ASCII) is None:
            raise ConfigError(setting, text, expected)
        return text

    return parse


def one_of(*values: str, optional: bool = False) -> Parse:
    """Return a parser of one of several words; `optional` allows none of them."""

    def parse(setting: str, text: str) -> str:
        if text not in values and (text or not optional):
            raise ConfigError(setting, text, "one of " + ", ".join(values))
        return text

    return Bounded(parse, {"enum": [*values, *([""] if optional else [])]})


redis_host = matching(
    r"[A-Za-z0-9._-]{1,253}|\[?[0-9A-Fa-f:.]{2,45}\]?", "a host name or an address, without a port"
)


file_path = matching(r"[^\0]{0,4096}", "the path of a file")
header_name = matching(r"[A-Za-z0-9-]{1,64}", "a header's name")
optional_header_name = matching(r"[A-Za-z0-9-]{0,64}", "a header's name")


def check_networks(setting: str, text: str) -> str:
    """Return addresses and networks that are separated by commas; `*` stands for all."""
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            if part != "*":
                ip_network(part, strict=False)
        except ValueError:
            expected = "addresses and networks such as 10.0.0.0/8, separated by commas, or *"
            raise ConfigError(setting, part, expected) from None
    return text


def one_of_numbers(*numbers: int) -> Parse:
    """Return a parser of one of several whole numbers."""
    parse_word = one_of(*map(str, numbers))
    return Bounded(lambda setting, text: int(parse_word(setting, text)), {"enum": [*numbers]})


def _parse_yes_or_no(setting: str, text: str) -> bool:
    """Return a bool from a word such as yes, true, on, 1 or their opposites."""
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise ConfigError(setting, text, "yes or no")


parse_yes_or_no = Bounded(_parse_yes_or_no, {"enum": [True, False, "yes", "no"]})


def _parse_user(setting: str, text: str) -> str:
    """Return a user id."""
    if not is_user_id(text):
        raise ConfigError(setting, text, USER_ID_EXPECTED)
    return text


parse_user = Bounded(_parse_user, {"type": ["string", "integer"]})


def parse_channels(setting: str, text: str) -> tuple[str, ...]:
    """Return names and patterns of channels that are separated by commas."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if not is_channel_name(name) or _OWN_REDIS_CHANNELS.match(name):
            raise ConfigError(
                setting,
                name,
                f"channels of {CHANNEL_EXPECTED}; not user-events or channel-events",
            )
    return names


def check_redis_url(setting: str, text: str) -> str:
    """Return the URL of a Redis, or nothing, when it can be connected to as it is written."""
    if text.strip():
        address = parse_redis_url(setting, text)
        if address.tls is not None:
            make_tls_context(setting, address.tls)
    return text.strip()
