"""Commands for Redis in RESP2 (redis.io/docs/latest/develop/reference/protocol-spec).

Replies are parsed by hiredis; what they mean to a subscriber stands here.
"""

from typing import Final

MESSAGE: Final = b"message"
SUBSCRIBE: Final = b"subscribe"


def encode_command(*arguments: bytes) -> bytes:
    """Return one command as an array of bulk strings; at least one argument."""
    if not arguments:
        raise ValueError("a command has at least its name")
    parts = [b"*%d\r\n" % len(arguments)]
    parts += [b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments]
    return b"".join(parts)
