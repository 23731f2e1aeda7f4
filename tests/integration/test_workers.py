"""A node of several workers: one port, one answer, and nobody notices who comes and goes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
import uvloop
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from bench.harness import DURABLE, ROOT, NginxProcess, NodeProcess, ProcessError, RedisProcess
from tests.support.certificates import Certificates
from tests.support.nodes import client_of, directory_of, wait_until, wait_until_gone
from tests.support.stream_client import WAIT_S, StreamClient
from tests.support.swarm import Member, Swarm, a_swarm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration

TWO = ("--workers", "2", "--drain-delay", "0.2")
MOST_STREAMS = 400

# A node that waits for a replacement no longer than a test does.
IMPATIENT = """
import sse_node.node.supervisor
sse_node.node.supervisor._REPLACEMENT_TIMEOUT_S = 1.5
from sse_node.__main__ import main
main(prog_name="sse-node")
"""


class ImpatientNode(NodeProcess):
    """A node that gives up soon on a replacement that does not serve."""

    command = (sys.executable, "-c", IMPATIENT, "serve")


def http_to(address: str) -> httpx.Client:
    """Return a client of a node that may listen on a Unix socket."""
    if address.startswith("unix:"):
        transport = httpx.HTTPTransport(uds=address.removeprefix("unix:"))
        return httpx.Client(base_url="http://node", transport=transport, timeout=WAIT_S)
    return httpx.Client(base_url=address, timeout=WAIT_S)


def client_without_keep_alive(node: NodeProcess) -> httpx.Client:
    """Return a client none of whose connections a worker can take with it when it is killed."""
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(base_url=node.url, timeout=WAIT_S, limits=limits)


def streams_by_worker(http: httpx.Client) -> dict[int, int]:
    workers = http.get("/status").raise_for_status().json()["workers"]
    return {worker["pid"]: worker["activeStreams"] for worker in workers}


def samples(http: httpx.Client) -> dict[str, dict[int, float]]:
    """Return the metrics without further labels by name and worker; 0 for those of the node."""
    found: dict[str, dict[int, float]] = {}
    text = http.get("/metrics").raise_for_status().text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.keys() <= {"worker"}:
                found.setdefault(sample.name, {})[int(sample.labels.get("worker", 0))] = (
                    sample.value
                )
    return found


def crashes(http: httpx.Client) -> float:
    return samples(http)["sse_node_worker_crashes_total"][0]


def publish(http: httpx.Client, user: str, number: int) -> None:
    event = {"userId": user, "eventType": "count.up", "data": {"number": number}}
    http.post("/events", json=event).raise_for_status()


def open_on_both(address: str, http: httpx.Client, opened: ExitStack) -> list[StreamClient]:
    """Open streams of one user until both workers have some."""
    streams: list[StreamClient] = []
    while len(streams) < MOST_STREAMS:
        streams += [opened.enter_context(StreamClient(address, "/events/sse/u")) for _ in range(20)]
        for stream in streams[-20:]:
            stream.wait_open()
        by_worker = streams_by_worker(http)
        if len(by_worker) == 2 and min(by_worker.values()) > 0:
            return streams
    raise AssertionError(f"{MOST_STREAMS} streams are all on one worker")


# One node


@pytest.fixture(params=["tcp", "unix", "nginx"])
def addresses(
    request: pytest.FixtureRequest, redis: RedisProcess, start_node: StartNode, tmp_path: Path
) -> Iterator[tuple[str, str]]:
    """Where a node of two workers is reached: by clients, and by operators."""
    flags = ("--uds", str(tmp_path / "node.sock")) if request.param != "tcp" else ()
    node = start_node(*TWO, *flags, redis=redis)
    if request.param != "nginx":
        yield node.address, node.address
        return
    tmp_path.chmod(0o755)
    with NginxProcess(ROOT / "nginx.conf", [node.address] * 2) as nginx:
        yield nginx.url, node.address  # nginx has no figures for anybody


def test_workers_are_one_node(addresses: tuple[str, str]) -> None:
    address, of_node = addresses
    with ExitStack() as opened:
        http = opened.enter_context(http_to(of_node))
        streams = open_on_both(address, http, opened)
        for number in range(3):
            publish(http, "u", number)
        publish(http, "u", -1)
        for stream in streams:
            stream.wait_for(lambda event: event.json.get("number") == -1)
            assert [event.json["number"] for event in stream.published()] == [0, 1, 2, -1]

        status = http.get("/status").json()
        pids = {worker["pid"] for worker in status["workers"]}
        assert len(pids) == 2
        assert status["serverId"] == "node-1"
        assert status["connectedUsers"] == 1
        assert status["activeStreams"] == len(streams)
        assert status["maxStreams"] == 2 * status["workers"][0]["maxStreams"]

        found = samples(http)
        assert found["sse_node_streams"].keys() == {1, 2}
        assert sum(found["sse_node_streams"].values()) == len(streams)
        assert sum(found["sse_node_deliveries_total"].values()) == 4 * len(streams)
        assert found["sse_node_workers"] == {0: 2}
        assert found["sse_node_worker_crashes_total"] == {0: 0}


def test_web_concurrency_and_one_private_valkey() -> None:
    with NodeProcess("--server-id", "node-1", env={"WEB_CONCURRENCY": "2"}) as node:
        node.wait_ready()
        directory = directory_of(node)
        with ExitStack() as opened, client_of(node) as http:
            streams = open_on_both(node.address, http, opened)
            publish(http, "u", 1)
            for stream in streams:
                assert stream.wait_for_type("count.up").json["number"] == 1
            with Redis(unix_socket_path=f"{directory}/redis.sock") as client:
                names = {each["name"] for each in client.client_list(_type="pubsub")}
        assert names == {f"sse-node:node-1.{number}:subscriber" for number in (1, 2)}
        assert len([line for line in node.log if "private Redis" in line]) == 1
        assert node.terminate() == 0
        wait_until_gone(directory)


def test_max_streams_is_of_each_worker(redis: RedisProcess, start_node: StartNode) -> None:
    node = start_node(*TWO, "--max-streams", "3", redis=redis)
    node.wait_for_log("2 workers, at most 3 streams each", since=0)
    with ExitStack() as opened, client_of(node) as http:
        for _ in range(100):
            opened.enter_context(StreamClient(node.url))
            if http.get("/status").json()["activeStreams"] == 6:
                break
        status = http.get("/status").json()
        assert status["maxStreams"] == 6
        assert {worker["activeStreams"] for worker in status["workers"]} == {3}


# Start


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_node_on_the_port_is_refused(
    redis: RedisProcess, start_node: StartNode, workers: str
) -> None:
    first = start_node(*TWO, redis=redis)
    second = NodeProcess("--workers", workers, "--redis-url", redis.url, port=first.port)
    with pytest.raises(ProcessError, match=f"127.0.0.1:{first.port}.*in use"), second:
        pass
    assert second.returncode == 3
    assert len(first.worker_pids()) == 2


def test_a_worker_that_cannot_start_ends_the_node(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    certificates.make_authority("ca")
    pipe = tmp_path / "once.crt"
    os.mkfifo(pipe)

    def give_once() -> None:
        """Give the supervisor, which reads its settings first, a file that no worker finds."""
        with pipe.open("w") as file:
            file.write((tmp_path / "ca.crt").read_text())
            pipe.unlink()

    giver = threading.Thread(target=give_once)
    giver.start()
    node = NodeProcess(*TWO, "--redis-url", f"rediss://127.0.0.1:1?ssl_ca_certs={pipe}")
    with pytest.raises(ProcessError, match="before it logged"), node:
        pass
    giver.join()
    assert node.returncode == 3
    log = "\n".join(node.log)
    assert "ended with exit code 3: the node cannot start" in log
    assert "--redis-url: the value of ssl_ca_certs" in log
    assert "Traceback" not in log


# Stop


@contextmanager
def with_streams(node: NodeProcess) -> Iterator[list[StreamClient]]:
    with ExitStack() as opened, client_of(node) as http:
        yield open_on_both(node.address, http, opened)


@pytest.mark.parametrize("to_group", [False, True], ids=["SIGTERM", "Ctrl-C"])
def test_a_stop_drains_all_workers(
    redis: RedisProcess, start_node: StartNode, to_group: bool
) -> None:
    node = start_node(*TWO, "--drain-rate", "100", redis=redis)
    with with_streams(node) as streams:
        if to_group:
            os.killpg(node.pid, signal.SIGINT)
        else:
            node.send_signal(signal.SIGTERM)
        for stream in streams:
            stream.wait_closed()
            assert stream.retry_ms is not None
        assert node.wait(5) == 0
    assert not [line for line in node.log if "Traceback" in line or "second" in line]


def test_a_second_sigterm_changes_nothing(redis: RedisProcess, start_node: StartNode) -> None:
    node = start_node(*TWO, "--drain-delay", "2", redis=redis)
    with with_streams(node) as streams:
        node.send_signal(signal.SIGTERM)
        node.wait_for_log("draining")
        node.send_signal(signal.SIGTERM)
        with Redis.from_url(redis.url) as publisher:
            message = {"userId": "u", "eventType": "still.open", "data": {}}
            publisher.publish("user-events", json.dumps(message))
        for stream in streams:
            stream.retry_ms = None
            stream.wait_for_type("still.open")
            stream.wait_closed()
            assert stream.retry_ms is not None, "it was closed in order"
        assert node.wait(WAIT_S) == 0


def test_a_stop_of_all_processes_at_once_drains_as_one_of_the_supervisor(
    redis: RedisProcess, start_node: StartNode
) -> None:
    node = start_node(*TWO, redis=redis)
    with with_streams(node) as streams:
        for pid in (node.pid, *node.worker_pids()):
            os.kill(pid, signal.SIGTERM)
        for stream in streams:
            stream.wait_closed()
            assert stream.retry_ms is not None
        assert node.wait(WAIT_S) == 0
    assert not any("ending now" in line for line in node.log)


def test_a_supervisor_that_is_killed_takes_everything_along_and_frees_the_port() -> None:
    with NodeProcess(*TWO, "--drain-rate", "100") as node:
        node.wait_ready()
        directory = directory_of(node)
        workers = node.worker_pids()
        (shared,) = {path for pid in workers for path in _unix_sockets_of(pid)}
        with with_streams(node) as streams:
            node.kill()
            node.start()  # the same port
            node.wait_ready()
            for stream in streams:
                stream.wait_closed()
                assert stream.retry_ms is not None
            wait_until_gone(directory)
            wait_until(
                lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers),
                "the workers have gone",
            )
            assert not os.path.exists(shared)
        assert node.terminate() == 0


def _unix_sockets_of(pid: int) -> set[str]:
    """Return the directory of a process' own socket, where workers ask each other."""
    with open("/proc/net/unix", encoding="ascii") as sockets:
        paths = [line.split()[-1] for line in sockets]
    return {os.path.dirname(path) for path in paths if path.endswith(f"/{pid}.sock")}


# Workers that end


class Publishing:
    """Publishes numbered events for users in turn, over one kept connection, until it is ended."""

    def __init__(self, address: str, users: list[str]) -> None:
        self.published = dict.fromkeys(users, 0)
        self.failures: list[str] = []
        self._address = address
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with http_to(self._address) as http:
            while not self._ended.is_set():
                for user, number in self.published.items():
                    try:
                        publish(http, user, number)
                    except httpx.HTTPError as error:
                        self.failures.append(repr(error))
                        return
                    self.published[user] += 1
                    if self._ended.wait(0.01):
                        break

    def start(self) -> None:
        self._thread.start()

    async def end(self) -> None:
        """Publish no more; every user has an event that was published in the last moment."""
        self._ended.set()
        await asyncio.to_thread(self._thread.join)


async def until(is_true: Callable[[], bool], what: str) -> None:
    await asyncio.to_thread(wait_until, is_true, what, 30)


async def wait_for_all(swarm: Swarm, published: dict[str, int]) -> None:
    """Wait until every member has had everything that was published for its user."""
    async with asyncio.timeout(20):
        for member in swarm.members:
            while len(member.numbers) < published[member.user]:
                await swarm.next_change()


def assert_nothing_is_lost(members: list[Member], published: dict[str, int]) -> None:
    assert min(published.values()) > 0
    for member in members:
        assert member.numbers == list(range(published[member.user]))
        assert member.resets == 0
        assert member.resumed == member.opened - 1


def test_a_worker_that_is_killed_costs_the_others_nothing_and_its_clients_no_event(
    redis: RedisProcess, start_node: StartNode
) -> None:
    node = start_node(*TWO, redis=redis, server_id="killed")
    other = start_node(redis=redis, server_id="other")  # a POST may be lost with its worker
    users = [f"k{number}" for number in range(20)]
    publishing = Publishing(other.url, users)

    async def kill_one(http: httpx.Client) -> list[Member]:
        async with a_swarm(node.port, comes_back=True) as swarm:
            members = [Member(users[number % 20]) for number in range(400)]
            await swarm.open(members)
            by_worker = streams_by_worker(http)
            publishing.start()
            await until(lambda: min(publishing.published.values()) > 1, "there is load")
            victim, survivor = by_worker
            os.kill(victim, signal.SIGKILL)
            await swarm.wait_for_opens(400 + by_worker[victim])
            await until(lambda: len(streams_by_worker(http)) == 2, "it is back")
            await publishing.end()
            await wait_for_all(swarm, publishing.published)
            assert sum(member.opened == 2 for member in members) == by_worker[victim]
            assert sum(member.opened == 1 for member in members) == by_worker[survivor]
            assert victim not in streams_by_worker(http)
            assert survivor in streams_by_worker(http)
            assert min(by_worker.values()) > 0
            return members

    with client_without_keep_alive(node) as http:
        members = uvloop.run(kill_one(http))
        assert publishing.failures == []
        assert_nothing_is_lost(members, publishing.published)
        assert crashes(http) == 1
    node.wait_for_log(r"ended by signal 9 \(Killed\); restarting in", since=0)


def test_the_node_goes_on_when_its_temporary_directory_is_deleted(
    redis: RedisProcess, tmp_path: Path
) -> None:
    with (
        NodeProcess(*TWO, "--redis-url", redis.url, env={"TMPDIR": str(tmp_path)}) as node,
        client_without_keep_alive(node) as http,
    ):
        wait_until(lambda: len(streams_by_worker(http)) == 2, "both workers answer")
        (directory,) = tmp_path.glob("sse-node-*")
        shutil.rmtree(directory)
        wait_until(lambda: len(streams_by_worker(http)) == 2, "both workers answer again")
        before = node.worker_pids()
        node.send_signal(signal.SIGHUP)
        wait_until(lambda: not before & node.worker_pids(), "all workers are new", 30)
        os.kill(min(node.worker_pids()), signal.SIGKILL)
        wait_until(lambda: len(streams_by_worker(http)) == 2, "both workers answer again")
        assert crashes(http) == 1


def test_a_worker_that_hangs_is_brought_back(redis: RedisProcess, start_node: StartNode) -> None:
    node = start_node(*TWO, "--timeout-worker-healthcheck", "1", redis=redis)
    with with_streams(node) as streams, client_without_keep_alive(node) as http:
        hanging, other = before = streams_by_worker(http)
        os.kill(hanging, signal.SIGSTOP)
        wait_until(lambda: hanging not in node.worker_pids(), "it is killed")
        wait_until(lambda: len(streams_by_worker(http)) == 2, "there is another")
        assert streams_by_worker(http)[other] == before[other]
        publish(http, "u", 1)
        left = sum(has_event(stream) for stream in streams)
        assert left == before[other]
        assert crashes(http) == 1


def has_event(stream: StreamClient) -> bool:
    """Wait for an event of a stream, or for its end."""
    try:
        stream.wait_for_type("count.up")
    except (EOFError, ConnectionError):
        return False
    return True


def test_a_worker_that_is_asked_alone_drains_and_is_replaced(
    redis: RedisProcess, start_node: StartNode
) -> None:
    node = start_node(*TWO, "--drain-rate", "100", redis=redis)
    with with_streams(node) as streams, client_of(node) as http:
        before = streams_by_worker(http)
        asked, other = before
        os.kill(asked, signal.SIGTERM)
        wait_until(lambda: asked not in node.worker_pids(), "it has gone")
        wait_until(lambda: len(streams_by_worker(http)) == 2, "there is another")
        assert streams_by_worker(http)[other] == before[other]
        publish(http, "u", 1)
        left = 0
        for stream in streams:
            try:
                stream.wait_for_type("count.up")
                left += 1
            except EOFError:
                assert stream.retry_ms is not None
        assert left == before[other]
        assert crashes(http) == 0
        assert node.terminate() == 0


# Replacement


def test_a_replacement_under_load_fails_and_loses_nothing(
    redis: RedisProcess, start_node: StartNode
) -> None:
    streams = 5000
    node = start_node(*TWO, "--drain-rate", "2500", redis=redis)
    users = [f"r{number}" for number in range(500)]
    publishings = [Publishing(node.url, users[number::4]) for number in range(4)]

    async def replace(http: httpx.Client) -> tuple[list[Member], dict[str, int]]:
        async with a_swarm(node.port, comes_back=True) as swarm:
            members = [Member(users[number % 500]) for number in range(streams)]
            await swarm.open(members)
            before = node.worker_pids()
            assert len(before) == 2
            for publishing in publishings:
                publishing.start()
            node.send_signal(signal.SIGHUP)
            await until(lambda: not before & node.worker_pids(), "all workers are new")
            await swarm.wait_for_opens(2 * streams)
            await until(
                lambda: all(min(each.published.values()) > 1 for each in publishings), "full turns"
            )
            for publishing in publishings:
                await publishing.end()
            published = {user: n for each in publishings for user, n in each.published.items()}
            await wait_for_all(swarm, published)
            status = (await asyncio.to_thread(http.get, "/status")).json()
            assert status["activeStreams"] == streams
            assert {worker["pid"] for worker in status["workers"]} == node.worker_pids()
            return members, published

    with client_of(node) as http:
        members, published = uvloop.run(replace(http))
        assert crashes(http) == 0
    assert [publishing.failures for publishing in publishings] == [[]] * 4
    assert_nothing_is_lost(members, published)
    assert node.terminate() == 0


@pytest.mark.parametrize("uds", [False, True], ids=["tcp", "unix"])
def test_nobody_is_refused_while_workers_are_replaced_twice(
    redis: RedisProcess, start_node: StartNode, tmp_path: Path, uds: bool
) -> None:
    flags = ("--uds", str(tmp_path / "node.sock")) if uds else ()
    node = start_node(*TWO, *flags, redis=redis)
    before = node.worker_pids()
    since = len(node.log)
    node.send_signal(signal.SIGHUP)
    node.wait_for_log(r"worker 1 \(pid \d+\) serves", since=since)
    between = node.worker_pids()
    node.send_signal(signal.SIGHUP)
    requests = 0
    while node.worker_pids() & (before | between) or len(node.worker_pids()) != 2:
        with StreamClient(node.address, "/health/live") as answer:  # a new connection each time
            assert answer.head.startswith(b"HTTP/1.1 200 ")
        requests += 1
    assert requests > 10
    assert node.terminate() == 0


def test_a_stop_in_the_middle_of_a_replacement(redis: RedisProcess, start_node: StartNode) -> None:
    node = start_node(*TWO, "--drain-rate", "100", redis=redis)
    with with_streams(node) as streams:
        node.send_signal(signal.SIGHUP)
        node.send_signal(signal.SIGTERM)
        for stream in streams:
            stream.wait_closed()
            assert stream.retry_ms is not None
        assert node.wait(5) == 0
    assert not [line for line in node.log if "Traceback" in line]


def test_without_redis_workers_stay() -> None:
    with (
        RedisProcess(args=DURABLE) as redis,
        ImpatientNode(*TWO, "--redis-url", redis.url) as node,
    ):
        node.wait_ready()
        before = node.worker_pids()
        with with_streams(node) as streams, client_of(node) as http:
            redis.stop()
            wait_until(lambda: not http.get("/status").json()["redisConnected"], "it is noticed")
            node.send_signal(signal.SIGHUP)
            node.wait_for_log("before it served; keeping the current workers")
            assert node.worker_pids() == before
            redis.start()
            node.wait_ready()
            publish(http, "u", 1)
            for stream in streams:
                stream.wait_for_type("count.up")
            assert crashes(http) == 0
            node.send_signal(signal.SIGHUP)
            wait_until(lambda: not before & node.worker_pids(), "they have been replaced")
        # A stop does not wait for who waits for Redis.
        redis.stop()
        since = len(node.log)
        node.send_signal(signal.SIGHUP)
        wait_until(lambda: len(node.worker_pids()) == 3, "a replacement is there", 5)
        began_s = time.monotonic()
        assert node.terminate() == 0
        assert time.monotonic() - began_s < 3
        assert not [line for line in node.log[since:] if "Traceback" in line]


def test_a_worker_is_back_while_redis_is_away() -> None:
    with RedisProcess() as redis, NodeProcess(*TWO, "--redis-url", redis.url) as node:
        node.wait_ready()
        redis.stop()
        before = node.worker_pids()
        os.kill(min(before), signal.SIGKILL)
        wait_until(lambda: len(node.worker_pids() - before) == 1, "another has been started")
        # Connections wait at its socket until it listens, which is after two seconds.
        for _ in range(20):
            with socket.create_connection((node.host, node.port), timeout=WAIT_S) as client:
                client.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
                assert client.recv(64).startswith(b"HTTP/1.1 200 ")
        redis.start()
        node.wait_ready()
        assert node.terminate() == 0
