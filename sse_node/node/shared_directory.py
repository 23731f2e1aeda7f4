"""The directory in which the workers of a node have their sockets."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import Final

from sse_node.errors import ConfigError

# A socket's path is at most 103 bytes on macOS, 107 on Linux (unix(7)).
_MAX_DIRECTORY_BYTES: Final = 103 - len("/4194304.sock")


@contextlib.contextmanager
def shared_directory() -> Iterator[str]:
    """Create a temporary directory for the workers' sockets.

    Raises:
        ConfigError: there is no writable one, or its path is too long.
    """
    try:
        directory = tempfile.TemporaryDirectory(prefix="sse-node-", ignore_cleanup_errors=True)
    except OSError as exc:
        raise ConfigError("TMPDIR", os.environ.get("TMPDIR", ""), "a writable directory") from exc
    with directory as path:
        if len(path.encode()) > _MAX_DIRECTORY_BYTES:
            raise ConfigError("TMPDIR", tempfile.gettempdir(), "a shorter path, for Unix sockets")
        yield path
