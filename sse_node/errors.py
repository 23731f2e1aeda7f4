"""Every exception class of the project; its type names whose fault it is.

Anything raised that is not one of these is a bug of ours and surfaces with its traceback.
"""

import os
import re
from collections.abc import Sequence
from typing import Final

_ERRNO: Final = re.compile(r"\[Errno (\d+)\]")
# asyncio and uvloop replace the operating system's message by this.
_CONNECT_FAILED: Final = "Connect call failed"


def reason_of(exc: BaseException) -> str:
    """Return why something failed: the operating system's message without its library's."""
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno and cause.strerror:
            is_replaced = cause.strerror.startswith(_CONNECT_FAILED)
            return os.strerror(cause.errno) if is_replaced else cause.strerror
        cause = cause.__cause__ or cause.__context__
    if (number := _ERRNO.search(str(exc))) is not None:  # of several addresses
        return os.strerror(int(number[1]))
    return str(exc) or type(exc).__name__


class SseNodeError(Exception):
    """Base of all errors that the project raises on purpose."""


class PublisherError(SseNodeError):
    """A publisher's fault: a payload on Redis from which no event can be made.

    Args:
        reason: one of the reasons in `sse_node.wire.envelope`, the metric's label.
        detail: what was wrong, with the value or size, for the log.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class RequestError(SseNodeError):
    """A client's fault: answered with `status` as problem+json (RFC 9457).

    Args:
        status: an HTTP status code, 4xx or 5xx.
        detail: what was wrong and what is expected; sent to the client.
        headers: further response headers, e.g. `(b"Allow", b"GET, HEAD")`.
    """

    def __init__(
        self, status: int, detail: str, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = tuple(headers)


class ConfigError(SseNodeError):
    """The operator's fault: a setting whose value is not allowed."""

    def __init__(self, setting: str, value: object, expected: str) -> None:
        super().__init__(f"{setting}: {value!r} is not allowed; expected {expected}")
        self.expected = expected


class MissingSettingError(ConfigError):
    """The operator's fault: a setting that has no default is nowhere set."""

    def __init__(self, setting: str, expected: str) -> None:
        SseNodeError.__init__(self, f"{setting} is missing; expected {expected}")
        self.expected = expected


class SecretConfigError(ConfigError):
    """The operator's fault in a setting that may hold a secret: the value is not shown.

    Args:
        setting: its name.
        part: of the value, in words.
        expected: what is allowed.
    """

    def __init__(self, setting: str, part: str, expected: str) -> None:
        SseNodeError.__init__(self, f"{setting}: {part} is not allowed; expected {expected}")
        self.expected = expected


class TargetError(SseNodeError):
    """A webhook's URL, or an address behind it, that is not allowed; the text says why."""


class UnresolvedTargetError(TargetError):
    """A webhook's host has no address at the moment."""


class TokenError(SseNodeError):
    """A client's fault: its token is rejected; the text holds nothing of the token."""


class UnknownKeyError(TokenError):
    """No key has the `kid` of a token; a newer set of keys may have."""


class NoKeysError(TokenError):
    """No token can be verified at the moment: the keys have not been fetched yet."""


class StreamClosedError(SseNodeError):
    """An event stream is over for good, as its client finds: no further attempt makes sense.

    Args:
        reason: that of `sse.closed`; `unauthorized` for 401 and 403, `no-content` for 204.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the stream is closed: {reason}")
        self.reason = reason


class NoStreamError(SseNodeError):
    """An answer to a client is no event stream; another may be soon."""


class AccessEndedError(SseNodeError):
    """A client's access is refused, or has ended; another token may help.

    Args:
        reason: `unauthorized`, or that of `sse.closed`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ResetError(SseNodeError):
    """Events may be missing on a stream, as its client was told: load your state again.

    Args:
        reason: that of `sse.reset`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"events may be missing: {reason}")
        self.reason = reason


class RedisError(SseNodeError):
    """Redis is away, refuses, or answers something that it never should."""


class ShardCountError(ConfigError, RedisError):
    """The operator's fault: Redis has the data of another number of shards.

    Args:
        asked: the number in the settings.
        stored: the number in Redis.
    """

    def __init__(self, asked: int, stored: str) -> None:
        where = "Redis has the data of so many; docs/redis.md says how to move to another number"
        super().__init__("--shards", asked, f"{stored}, because {where}")


class RedisBusyError(RedisError):
    """Redis was not asked: too many requests of the same kind wait for their turn."""


class BridgeError(SseNodeError):
    """A bridge cannot go on: its broker refuses it, or a record is bad and ends it."""


class BrokerError(SseNodeError):
    """A bridge's broker is away, or does not answer; it is tried again."""


class DeadLetterError(SseNodeError):
    """Records of which no event can be made were not kept; it is tried again."""


# Why completeness cannot be proven, the `reason` of an `sse.reset` event.
RESET_REASONS = ("trimmed", "unknown-id", "bad-id", "rollback", "unavailable")


class PositionLostError(SseNodeError):
    """The log cannot prove that nothing is missing after a position.

    Args:
        reason: one of RESET_REASONS.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
