"""`starlette`: uvicorn with sse-starlette and redis-py, one process."""

import importlib.util
import sys
from importlib import metadata

from bench.targets.listening import RedisPeer

_PACKAGES = ("httptools", "redis", "sse_starlette", "starlette", "uvicorn", "uvloop")


class Starlette(RedisPeer):
    """uvicorn at its fastest: uvloop, httptools, no access log."""

    name = "starlette"
    command = (
        *(sys.executable, "-m", "uvicorn", "bench.targets.starlette_app:app"),
        *("--host", "127.0.0.1", "--port", "0", "--backlog", "4096"),
        *("--loop", "uvloop", "--http", "httptools", "--no-access-log"),
    )


def missing() -> str:
    """What of it is not installed, for people; empty when nothing is missing."""
    absent = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    return f"the packages {', '.join(absent)} are" if absent else ""


def versions() -> str:
    """Of its packages."""
    return ", ".join(f"{name.replace('_', '-')} {metadata.version(name)}" for name in _PACKAGES)
