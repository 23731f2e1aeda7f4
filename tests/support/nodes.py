"""What tests ask of nodes, and wait for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import httpx
from prometheus_client.parser import text_string_to_metric_families

from sse_node.redis.keys import Keys, shard_keys
from sse_node.wire.sharding import shard_of
from tests.support.stream_client import WAIT_S, StreamClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.harness import NodeProcess, RedisProcess


class Addressed(Protocol):
    """What a node can be started with: a Redis, or sentinels."""

    @property
    def nodes_url(self) -> str: ...


class StartNode(Protocol):
    """Starts a node that ends with the test."""

    def __call__(self, *flags: str, redis: Addressed, server_id: str = "node-1") -> NodeProcess: ...


def wait_until(is_true: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
    """Return when a condition holds that can only be asked for."""
    deadline_s = time.monotonic() + timeout_s
    while not is_true():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"not within {timeout_s} s: {what}")
        time.sleep(0.005)


def flags_for(redis: Addressed) -> tuple[str, ...]:
    """Return the flags of a node that say where Redis is, and how many shards it has."""
    return ("--redis-url", redis.nodes_url, "--shards", str(getattr(redis, "shards", 1)))


def keys_for(redis: RedisProcess, user: str) -> Keys:
    """Return the keys of a user's shard."""
    return shard_keys(Keys(), redis.shards)[shard_of(user, redis.shards)]


def client_of(node: NodeProcess) -> httpx.Client:
    """Return an HTTP client whose targets are relative to a node."""
    return httpx.Client(base_url=node.url, timeout=WAIT_S)


def wait_until_heard(node: NodeProcess, user: str, event_id: str) -> None:
    """Return when a node has heard of a user's event, which may be after its POST was answered."""
    with StreamClient(node.url, f"/events/sse/{user}?since={event_id}") as stream:
        stream.wait_open()


def active_streams(http: httpx.Client) -> int:
    """Return how many streams a node says it has."""
    return int(http.get("/status").json()["activeStreams"])


def read_metrics(http: httpx.Client) -> dict[tuple[str, str], float]:
    """Return a node's metrics by (name, value of the label or empty)."""
    text = http.get("/metrics").raise_for_status().text
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def rss_bytes(node: NodeProcess) -> int:
    """Return the memory of a node's process that is in RAM."""
    status = Path(f"/proc/{node.pid}/status").read_text()
    return 1024 * int(status.partition("VmRSS:")[2].split()[0])


def directory_of(node: NodeProcess) -> Path:
    """Return where a node's private Redis lives."""
    return Path(node.wait_for_log(r"serves on unix://(\S+)/redis\.sock")[1])


def processes_of(directory: Path) -> dict[int, str]:
    """Return the names of the processes that have to do with a private directory, by their id."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            if str(directory).encode() in told:
                found[int(process.name)] = (process / "comm").read_text().strip()
        except OSError:  # it has ended, or is not ours
            continue
    return found


def wait_until_gone(directory: Path) -> None:
    """Wait until a private Redis and its directory are no more."""

    def nothing_is_left() -> bool:
        return not processes_of(directory) and not directory.exists()

    wait_until(nothing_is_left, f"no process, no directory: {processes_of(directory)}", 5)
