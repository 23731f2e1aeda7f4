"""`--peer URL`: an already running server, managed by the caller."""

import socket
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from urllib.parse import urlsplit

from bench.harness import ProcessError, accepts
from bench.harness.servers import Server
from bench.measure.load import Publisher, Sender


class UrlPeer(Server):
    """A server at a URL, which is not started or stopped.

    `{}` in the URL's path or query is the user. `publish` is a shell command that reads one
    line of JSON an event, `{"userId": …, "eventType": …, "data": {…}}`, and publishes it; the
    members `t` and `n` of `data` must reach the stream as `"t":…,"n":…`. CPU
    time and memory need process ids.
    """

    def __init__(self, url: str, publish: str, pids: Sequence[int] = ()) -> None:
        """Take the address. Raises ValueError."""
        parts = urlsplit(url.replace("{}", "%7B%7D"))
        if parts.scheme != "http" or not parts.hostname or "{}" not in url:
            raise ValueError(f"expected http://HOST:PORT/PATH/{{}}, {{}} for the user, not {url!r}")
        super().__init__(cpu=None)
        self.name = parts.netloc
        self.host = parts.hostname
        self.port = parts.port or 80
        self._pids = pids
        self.publishing = f"by the command {publish}"
        self._publish = publish
        self._target = url.partition(parts.netloc)[2]

    @property
    def pids(self) -> Sequence[int]:
        """The processes that the caller named."""
        return self._pids

    def _start(self, parts: ExitStack) -> None:
        """Find the server; it is not started. Raises ProcessError."""
        try:
            self.host = socket.gethostbyname(self.host)
        except OSError as error:
            raise ProcessError(f"{self.name}: {error}") from error
        if not accepts(self.host, self.port):
            raise ProcessError(f"{self.name} refuses connections; start the server first")

    def target(self, user: str) -> str:
        """Return the path of a user's stream."""
        return self._target.replace("{}", user)

    def sender(self) -> AbstractContextManager[Sender]:
        """Return a publisher that writes to the command."""
        return Publisher(f"pipe:{self._publish}")
