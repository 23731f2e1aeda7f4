"""A node with a configuration file: where values come from, and what SIGHUP changes in it."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from bench.harness import NodeProcess, ProcessError, RedisProcess
from tests.support.nodes import client_of, wait_until
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import httpx

    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration

ONE_OR_TWO = pytest.mark.parametrize("workers", ["1", "2"])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sse-node.toml"
    path.write_text("")
    return path


def publish(http: httpx.Client, number: int, **to: str) -> str:
    """Publish a numbered event; return its id."""
    event = {**to, "eventType": "count.up", "data": {"number": number}}
    answer = http.post("/events", json=[event]).raise_for_status()
    return str(answer.json()["ids"][0])


def numbers_of(stream: StreamClient) -> list[int]:
    return [event.json["number"] for event in stream.published()]


def reload(node: NodeProcess, file: Path, content: str, expected: str = "SIGHUP: reloaded") -> None:
    """Write another configuration file, and wait until the node has taken it."""
    file.write_text(content)
    workers, since = node.worker_pids(), len(node.log)
    node.send_signal(signal.SIGHUP)
    node.wait_for_log(expected, since=since)
    if workers and "keeping" not in expected:
        wait_until(lambda: not workers & node.worker_pids(), "the workers are new", 30)
        node.wait_ready()


class Publishing:
    """Publishes numbered events to a user until it is stopped."""

    def __init__(self, http: httpx.Client, user: str) -> None:
        self.published = 0
        self._http = http
        self._user = user
        self._is_ending = False
        self._thread = threading.Thread(target=self._run)
        self._failure: Exception | None = None

    def __enter__(self) -> Publishing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_ending = True
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while not self._is_ending:
                publish(self._http, self.published, userId=self._user)
                self.published += 1
        except Exception as exc:
            self._failure = exc


def test_the_file_is_read_and_a_relative_path_too(redis: RedisProcess, file: Path) -> None:
    file.write_text(f"[redis]\nurl = '{redis.url}'\n[node]\nserver_id = 'of-the-file'\n")
    with NodeProcess(env={"SSE_NODE_CONFIG": str(file)}) as node:
        node.wait_ready()
        assert node.get("/status").json()["serverId"] == "of-the-file"


def test_a_wrong_file_stops_the_start(file: Path) -> None:
    file.write_text("[listen]\nprot = 3001\n")
    node = NodeProcess("--config", str(file))
    with pytest.raises(ProcessError), node:
        pass
    assert node.returncode == 3
    assert f"sse-node: {file} [listen]: 'prot' is not allowed" in "\n".join(node.log)


@ONE_OR_TWO
def test_sighup_changes_limits_and_channels_and_origins_and_the_log(
    redis: RedisProcess, start_node: StartNode, file: Path, workers: str
) -> None:
    flags = ("--config", str(file), "--workers", workers, "--drain-delay", "0.2")
    node = start_node(*flags, redis=redis)
    origin = {"Origin": "https://app.example"}
    with client_of(node) as http:
        assert http.get("/events/sse?channels=brand-new").status_code == 400
        assert "access-control-allow-origin" not in http.get("/status", headers=origin).headers

    reload(
        node,
        file,
        """
        [logs]
        level = "debug"
        [events]
        channels = ["brand-new", "room:*"]
        [http]
        cors_origin = "https://app.example"
        [limits]
        requests_per_address = 10
        rate_window = 30
        """,
    )
    with client_of(node) as http:
        wait_until(lambda: hears(http, "brand-new"), "it is heard")
    with client_of(node) as http, StreamClient(node.url, "/events/sse?channels=brand-new") as both:
        both.wait_open()
        publish(http, 1, channel="brand-new")
        assert both.wait_for_type("count.up").json["number"] == 1
        allowed = http.get("/status", headers=origin).headers["access-control-allow-origin"]
        assert allowed == "https://app.example"
        statuses = [http.get("/status").status_code for _ in range(310 * int(workers))]
        assert statuses.count(429) > 0

    reload(node, file, "[limits]\nrequests_per_address = 0\n")
    with client_of(node) as http:
        assert {http.get("/status").status_code for _ in range(10)} == {200}
        wait_until(lambda: not hears(http, "brand-new"), "it is gone")
    assert node.terminate() == 0


@ONE_OR_TWO
def test_what_needs_a_restart_is_said_and_stays(
    redis: RedisProcess, start_node: StartNode, file: Path, workers: str
) -> None:
    node = start_node("--config", str(file), "--workers", workers, redis=redis)
    content = "[listen]\nbacklog = 100\n[node]\nworkers = 3\n[redis]\nnamespace = 'other'\n"
    expected = "--backlog, --namespace changed: restart to use them"
    reload(node, file, content, expected.replace(", ", ".*, "))
    with client_of(node) as http, StreamClient(node.url, "/events/sse/u") as stream:
        stream.wait_open()
        publish(http, 7, userId="u")
        assert stream.wait_for_type("count.up").json["number"] == 7
    assert len(node.worker_pids()) == (2 if workers == "2" else 0)
    assert not redis_keys(redis, "other:*")


def redis_keys(redis: RedisProcess, pattern: str) -> list[object]:
    with Redis.from_url(redis.url) as client:
        return list(client.scan_iter(match=pattern))


@ONE_OR_TWO
def test_a_wrong_file_keeps_what_there_is(
    redis: RedisProcess, start_node: StartNode, file: Path, workers: str
) -> None:
    node = start_node("--config", str(file), "--workers", workers, redis=redis)
    before = node.worker_pids()
    reload(node, file, "[listen]\nprot = 1\n", "SIGHUP: keeping the current .*'prot'")
    assert node.worker_pids() == before
    assert node.get("/health/ready").status_code == 200
    reload(node, file, "[logs]\nlevel = 'debug'\n")


@ONE_OR_TWO
def test_no_event_is_lost_by_reloads_under_load(
    redis: RedisProcess, start_node: StartNode, file: Path, user: str, workers: str
) -> None:
    """In a node of one process, streams stay open through all of it."""
    target = f"/events/sse/{user}"
    flags = ("--config", str(file), "--workers", workers, "--drain-delay", "0.5")
    node = start_node(*flags, redis=redis)
    with ExitStack() as opened:
        http = opened.enter_context(client_of(node))
        streams = [opened.enter_context(StreamClient(node.url, target)) for _ in range(9)]
        for stream in streams:
            stream.wait_open()
        with Publishing(http, user) as publishing:
            for number in range(8 if workers == "1" else 2):
                many = publishing.published + 20
                wait_until(lambda many=many: publishing.published > many, "there is load")  # type: ignore[misc]
                channels = [f"channel-{number}", "room:*"]
                reload(node, file, f"[events]\nchannels = {channels}\n")
        last_id = publish(http, publishing.published, userId=user)
        expected = list(range(publishing.published + 1))
        if workers == "1":
            for stream in streams:
                stream.wait_for(is_event(last_id))
                assert numbers_of(stream) == expected
        last = expected[-1000:]  # more would be looked for in the whole log
        with StreamClient(node.url, f"{target}?replay={len(last)}") as stream:
            stream.wait_for(is_event(last_id))
            assert numbers_of(stream) == last


def hears(http: httpx.Client, channel: str) -> bool:
    """Return whether a channel exists for streams; they are not opened by HEAD."""
    return http.head(f"/events/sse?channels={channel}").status_code == 200


def is_event(event_id: str) -> Callable[..., bool]:
    return lambda event: bool(event.id == event_id)


def test_a_new_channel_is_complete_from_the_log(
    redis: RedisProcess, start_node: StartNode, file: Path
) -> None:
    """What another node published on it before this one knew it, is in no replay of memory."""
    other = start_node("--channels", "later", redis=redis, server_id="node-2")
    node = start_node("--config", str(file), redis=redis)
    with client_of(other) as to_other, StreamClient(node.url, "/events/sse/u") as stream:
        stream.wait_open()
        first = publish(to_other, 1, userId="u")
        publish(to_other, 2, channel="later")
        last = publish(to_other, 3, userId="u")
        stream.wait_for(is_event(last))
        reload(node, file, "[events]\nchannels = ['later']\n")
        with client_of(node) as http:
            wait_until(lambda: hears(http, "later"), "it is heard")
        since = f"/events/sse/u?channels=later&since={first}"
        with StreamClient(node.url, since) as resumed:
            resumed.wait_for(is_event(last))
            assert numbers_of(resumed) == [2, 3]
            live = publish(to_other, 4, channel="later")
            resumed.wait_for(is_event(live))
