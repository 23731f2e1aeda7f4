"""A peer that is one process beside a Redis."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from bench.harness import ChildProcess, RedisProcess, environment_without_settings
from bench.harness.servers import BY_REDIS, OwnServer
from bench.measure.load import Publisher, Sender

_LISTENS = re.compile(r" on http://([0-9.]+):(\d+)")


class ListeningProcess(ChildProcess):
    """A server of another make; it is up when it has logged `… on http://HOST:PORT`."""

    def __init__(
        self, name: str, command: Sequence[str | Path], env: Mapping[str, str], cpu: int | None
    ) -> None:
        """Take its command line; `env` is added to the environment."""
        super().__init__(env=environment_without_settings() | dict(env), cpu=cpu)
        self.name = name
        self._command = command
        self.host = ""
        self.port = 0

    def stop(self) -> None:
        """Kill it: an orderly end of thousands of streams is not what is measured."""
        if self.running:
            self.kill()

    def _start(self, timeout_s: float) -> None:
        self._spawn(self._command, stdin=subprocess.DEVNULL)
        self._wait_until(self._listens, "an address to listen on", timeout_s)

    def _listens(self) -> bool:
        found = _LISTENS.search(self._log_path.read_text(errors="replace"))
        if found:
            self.host, self.port = found[1], int(found[2])
        return found is not None


class RedisPeer(OwnServer):
    """A peer that is told of events by PUBLISH on `user-events`, with a Redis of its own."""

    name: str
    publishing = BY_REDIS
    command: Sequence[str | Path]
    """Its command line; where Redis is stands in the environment variable REDIS_URL."""

    @property
    def pids(self) -> Sequence[int]:
        """The server's process."""
        return [self._process.pid]

    def sender(self) -> AbstractContextManager[Sender]:
        """Return a publisher on its Redis."""
        return Publisher(self._redis.url)

    def _start(self, parts: ExitStack) -> None:
        self._redis = parts.enter_context(RedisProcess())
        environment = {"REDIS_URL": self._redis.url, "NODE_ENV": "production"}
        self._process = parts.enter_context(
            ListeningProcess(self.name, self.command, environment, self._cpu)
        )
        self.host, self.port = self._process.host, self._process.port
