"""A file that is read again when it changes, also by a new link, as Kubernetes replaces secrets."""

from pathlib import Path
from typing import Final

from sse_node.errors import ConfigError

_MAX_BYTES: Final = 1024 * 1024


class WatchedFile:
    """One file; lives as long as what is read from it.

    Args:
        setting: named in errors.
        path: of the file.
    """

    def __init__(self, setting: str, path: str) -> None:
        self._setting = setting
        self._path = Path(path)
        self._stamp = self._read_stamp()

    def has_changed(self) -> bool:
        """Return whether the file is another one than at the last call, or at the start."""
        before, self._stamp = self._stamp, self._read_stamp()
        return self._stamp != before

    def read(self) -> bytes:
        """Return what the file holds.

        Raises:
            ConfigError: it cannot be read, or has more than 1 MiB.
        """
        try:
            with self._path.open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
        except OSError as exc:
            expected = f"a readable file ({exc.strerror})"
            raise ConfigError(self._setting, str(self._path), expected) from None
        if len(data) > _MAX_BYTES:
            raise ConfigError(self._setting, str(self._path), f"at most {_MAX_BYTES} bytes")
        return data

    def _read_stamp(self) -> tuple[int, ...]:
        try:
            status = self._path.stat()
        except OSError:
            return ()
        return status.st_mtime_ns, status.st_size, status.st_ino
