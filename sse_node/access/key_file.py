"""The keys of `--jwt-key`, read again when the file changes."""

import logging
from collections.abc import Callable, Sequence
from typing import Final

from sse_node.access.jwt_keys import JwtKey, read_keys
from sse_node.access.watched_file import WatchedFile
from sse_node.errors import ConfigError

SETTING: Final = "--jwt-key"

logger = logging.getLogger(__name__)


class KeyFile:
    """A file with a secret, a PEM key or a JWK Set; lives as long as the node.

    Args:
        path: of the file.
        algorithm: of `--jwt-algorithm`; empty for those of the keys.
        on_change: called when other keys hold than before.

    Attributes:
        keys: that hold at the moment.

    Raises:
        ConfigError: the file cannot be read, or holds no usable key.
    """

    def __init__(self, path: str, algorithm: str, on_change: Callable[[], None]) -> None:
        self._file = WatchedFile(SETTING, path)
        self._algorithm = algorithm
        self._on_change = on_change
        self.keys: Sequence[JwtKey] = read_keys(SETTING, self._file.read(), algorithm)

    def reload(self) -> None:
        """Read the file again if it has changed; a wrong one leaves the keys as they are."""
        if not self._file.has_changed():
            return
        try:
            self.keys = read_keys(SETTING, self._file.read(), self._algorithm)
        except ConfigError as exc:
            logger.error("keeping the keys of tokens as they are: %s", exc)
        else:
            logger.info("%s: %d keys", SETTING, len(self.keys))
            self._on_change()
