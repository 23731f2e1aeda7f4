"""Commands for Redis in RESP2 (redis.io/docs/latest/develop/reference/protocol-spec).

Replies are parsed by hiredis; what they mean to a subscriber stands here.
"""

import re
from typing import Final

MESSAGE: Final = b"message"
SUBSCRIBE: Final = b"subscribe"
SHARD_MESSAGE: Final = b"smessage"
SHARD_SUBSCRIBE: Final = b"ssubscribe"
SHARD_UNSUBSCRIBE: Final = b"sunsubscribe"
NAME_COMMAND: Final = (b"CLIENT", b"SETNAME")

# redis-py leaves the ERR out; servers before 7 and other servers vary in upper and lower case.
_UNAVAILABLE = re.compile(r"NOPERM |(ERR )?unknown (sub)?command", re.IGNORECASE)


def encode_command(*arguments: bytes) -> bytes:
    """Return one command as an array of bulk strings; at least one argument."""
    if not arguments:
        raise ValueError("a command has at least its name")
    parts = [b"*%d\r\n" % len(arguments)]
    parts += [b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments]
    return b"".join(parts)


def authentication(username: str, password: str) -> list[tuple[bytes, ...]]:
    """Return the command that authenticates; none for neither a user nor a password."""
    if username:
        return [(b"AUTH", username.encode(), password.encode())]
    return [(b"AUTH", password.encode())] if password else []


def is_unavailable(error: str) -> bool:
    """Return whether a server refuses a command as such: by its ACL, or because it has none."""
    return _UNAVAILABLE.match(error) is not None
