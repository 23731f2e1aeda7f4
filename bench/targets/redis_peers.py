"""Peers that are one process beside a Redis: `starlette` and `nestjs`."""

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path

from bench.harness import ChildProcess, environment_without_settings
from bench.harness.servers import RedisServer
from bench.report.tables import output_of

_LISTENS = re.compile(r" on http://([0-9.]+):(\d+)")
_PACKAGES = ("httptools", "redis", "sse_starlette", "starlette", "uvicorn", "uvloop")
_NESTJS = Path(__file__).parent / "nestjs"
_OLDEST_NODE = 20  # required by NestJS 12 and ioredis 6


class ListeningProcess(ChildProcess):
    """Another server; it is up when it has logged `… on http://HOST:PORT`."""

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
        """Kill it, because an orderly end of thousands of streams is not measured."""
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


class RedisPeer(RedisServer):
    """A peer that is one process and subscribes to `user-events`."""

    command: Sequence[str | Path]
    """Its command line; the environment variable REDIS_URL has the address of Redis."""

    @property
    def pids(self) -> Sequence[int]:
        """The server's process."""
        return [self._process.pid]

    def _start(self, parts: ExitStack) -> None:
        super()._start(parts)
        environment = {"REDIS_URL": self.redis.url, "NODE_ENV": "production"}
        self._process = parts.enter_context(
            ListeningProcess(self.name, self.command, environment, self._cpu)
        )
        self.host, self.port = self._process.host, self._process.port


class Starlette(RedisPeer):
    """uvicorn at its fastest, with sse-starlette and redis-py: uvloop, httptools, no access log."""

    name = "starlette"
    command = (
        *(sys.executable, "-m", "uvicorn", "bench.targets.starlette_app:app"),
        *("--host", "127.0.0.1", "--port", "0", "--backlog", "4096"),
        *("--loop", "uvloop", "--http", "httptools", "--no-access-log"),
    )

    @staticmethod
    def missing() -> str:
        """Return the packages that are not installed."""
        absent = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
        return f"the packages {', '.join(absent)} are" if absent else ""

    @staticmethod
    def versions() -> str:
        """Return the versions of its packages."""
        return ", ".join(f"{name.replace('_', '-')} {metadata.version(name)}" for name in _PACKAGES)


class NestJs(RedisPeer):
    """A NestJS service with ioredis and RxJS, with NestJS' defaults; see the folder `nestjs`."""

    name = "nestjs"
    command = ("node", _NESTJS / "main.js")

    @staticmethod
    def missing() -> str:
        """Return whether Node.js or the npm packages are missing."""
        version = output_of("node", "--version")  # v20.11.1
        if not version.startswith("v") or int(version[1:].partition(".")[0]) < _OLDEST_NODE:
            return f"Node.js {_OLDEST_NODE} or newer is"
        return "" if (_NESTJS / "node_modules/@nestjs/core").is_dir() else "its npm packages are"

    @staticmethod
    def versions() -> str:
        """Return the versions of Node.js and of the npm packages."""
        packages = json.loads((_NESTJS / "package.json").read_text("utf-8"))["dependencies"]
        named = ", ".join(f"{name} {version}" for name, version in packages.items())
        return f"Node.js {output_of('node', '--version').removeprefix('v')}, {named}"
