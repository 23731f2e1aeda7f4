"""`sse-node serve`, `publish`, `tail` and `script` as people and service managers run them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import sse_node
from bench.harness import (
    ROOT,
    NodeProcess,
    RedisProcess,
    ask,
    environment_without_settings,
    free_port,
)
from tests.support.nodes import active_streams, client_of, read_metrics, wait_until
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis

    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration

SSE_NODE = (sys.executable, "-m", "sse_node")


def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """What `sse-node ARGS` printed, and its exit code."""
    return subprocess.run(
        [*SSE_NODE, *args],
        cwd=ROOT,
        env=environment_without_settings() | env,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


# serve: where it listens


def test_flag_before_variable_before_default(redis: RedisProcess) -> None:
    ports = [str(free_port()) for _ in range(2)]
    # NodeProcess gives --port 0, which wins; so the variables are tried without it.
    env = {"REDIS_URL": redis.url, "SERVER_ID": "from-variable", "PORT": ports[0]}
    for flags, port, server_id in (
        ((), ports[0], "from-variable"),
        (("--port", ports[1], "--server-id", "from-flag"), ports[1], "from-flag"),
    ):
        with serving(*flags, **env) as (process, first_lines):
            assert f"listening on http://127.0.0.1:{port}" in first_lines
            answer = ask(f"http://127.0.0.1:{port}", b"GET /status HTTP/1.0\r\n\r\n")
            assert f'"serverId":"{server_id}"'.encode() in answer
            process.send_signal(signal.SIGTERM)
            assert process.wait(5) == 0


@contextmanager
def serving(*flags: str, **env: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A node started as a service manager does, and its log up to where it listens."""
    with subprocess.Popen(
        [*SSE_NODE, "serve", *flags],
        cwd=ROOT,
        env=environment_without_settings() | env,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            log = ""
            for line in process.stderr:
                log += line
                if "listening on" in line:
                    break
            yield process, log
        finally:
            process.kill()


def test_unix_socket(redis: RedisProcess, tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    for _ in range(2):  # a second time where a killed node has left its socket
        with NodeProcess("--uds", str(path), "--redis-url", redis.url) as node:
            node.wait_ready()
            assert node.address == f"unix:{path}"
            with StreamClient(node.address) as stream:
                stream.wait_open()
            taken = run("serve", "--uds", str(path), "--redis-url", redis.url)
            assert taken.returncode == 3
            assert str(path) in taken.stderr
            node.kill()
            assert path.is_socket()
    with NodeProcess("--uds", str(path), "--redis-url", redis.url) as node:
        assert node.terminate() == 0
    assert not path.exists()


def test_address_that_is_taken(redis: RedisProcess) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        ended = run("serve", "--port", port, "--redis-url", redis.url)
    assert ended.returncode == 3
    assert f"127.0.0.1:{port}" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("S3cr3tT0ken", "the value"),
        ("redis://h/0?db=S3cr3tT0ken", "option 'db'"),
        ("redis://h/0?foo=bar", "option 'foo'"),
        ("redis://h/0?protocol=3", "option 'protocol'"),
        ("redis://h/0?decode_responses=True", "option 'decode_responses'"),
        ("redis://h/0?socket_timeout=1", "option 'socket_timeout'"),
        ("redis://h/0?max_connections=1", "option 'max_connections'"),
        ("rediss://h?ssl_ca_certs=/nowhere/S3cr3tT0ken.crt", "the value of ssl_ca_certs"),
    ],
)
@pytest.mark.parametrize("command", [("serve",), ("serve", "--workers", "2"), ("tail", "ann")])
def test_wrong_redis_url_is_named_by_part(command: tuple[str, ...], url: str, part: str) -> None:
    ended = run(*command, REDIS_URL=url)
    assert ended.returncode == 3
    assert ended.stderr.startswith(f"sse-node: REDIS_URL: {part}")
    assert ended.stderr.count("\n") == 1
    assert "S3cr3t" not in ended.stderr


@pytest.mark.parametrize(
    ("flag", "value", "allowed"),
    [
        ("--port", "65536", "65535"),
        ("--ping-interval", "0", "0.1"),
        ("--redis-url", "http://localhost", "redis://"),
        ("--event-names", "perhaps", "yes or no"),
    ],
)
def test_wrong_value_stops_the_start(flag: str, value: str, allowed: str) -> None:
    by_flag = run("serve", flag, value)
    variable = "SSE_NODE_" + flag[2:].replace("-", "_").upper()
    by_variable = run("serve", **{variable: value})
    for ended, setting in ((by_flag, flag), (by_variable, variable)):
        assert ended.returncode == 3
        for told in (setting, value, allowed):
            assert told in ended.stderr
        assert len(ended.stderr.splitlines()) == 1


def test_help_and_version() -> None:
    assert run("--version").stdout == f"sse-node, version {sse_node.__version__}\n"
    told = run("serve", "--help").stdout
    for setting in ("--host", "--port", "--uds", "--redis-url", "--server-id", "--ping-interval"):
        assert setting in told
        assert "SSE_NODE_" + setting[2:].replace("-", "_").upper() in told
    assert run("serve", "--no-such-flag").returncode == 2


# serve: how it ends


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop_without_streams_is_quick(
    start_node: StartNode, redis: RedisProcess, number: signal.Signals
) -> None:
    node = start_node(redis=redis)
    asked_s = time.monotonic()
    node.send_signal(number)
    assert node.wait(5) == 0
    assert time.monotonic() - asked_s < 5
    assert "stopped" in node.log[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_ends_every_stream_with_a_time_to_come_back(
    start_node: StartNode, redis: RedisProcess, number: signal.Signals
) -> None:
    node = start_node("--drain-delay", "0", redis=redis)
    streams = [StreamClient(node.url) for _ in range(20)]
    for stream in streams:
        stream.wait_open()
        stream.retry_ms = None
    node.send_signal(number)
    for stream in streams:
        stream.wait_closed()
    assert node.wait(5) == 0
    times = {stream.retry_ms for stream in streams}
    assert None not in times
    assert len(times) > 1


@pytest.mark.parametrize("flags", [(), ("--workers", "2")])
def test_a_node_without_clients_stays_for_the_balancer(
    start_node: StartNode, redis: RedisProcess, flags: tuple[str, ...]
) -> None:
    node = start_node("--drain-delay", "0.5", *flags, redis=redis)
    asked_s = time.monotonic()
    node.send_signal(signal.SIGTERM)
    draining = (
        int(flags[-1]) if flags else 1
    )  # the worker that answers may be the last one that hears of it
    wait_until(
        lambda: sum("draining 0 streams" in line for line in node.log) == draining, "the drain"
    )
    request = b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert ask(node.address, request).startswith(b"HTTP/1.1 503 ")
    assert node.wait(5) == 0
    assert time.monotonic() - asked_s >= 0.5


def test_a_variable_that_is_no_setting_is_told() -> None:
    ended = run("serve", "--uds", "/no/such/folder", SSE_NODE_COLOUR="1", SSE_NODE_RETRY="2000")
    told = [line for line in ended.stderr.splitlines() if "unknown environment variable" in line]
    assert len(told) == 1
    assert "SSE_NODE_COLOUR" in told[0]


_LONG_DRAIN = ("--drain-delay", "300", "--timeout-graceful-shutdown", "600")


@pytest.mark.parametrize("flags", [(), ("--workers", "2")])
def test_repeated_sigterm_changes_nothing(
    start_node: StartNode, redis: RedisProcess, flags: tuple[str, ...]
) -> None:
    node = start_node(*flags, "--drain-delay", "1", "--ping-interval", "0.1", redis=redis)
    with StreamClient(node.url) as stream:
        stream.wait_open()
        node.send_signal(signal.SIGTERM)
        node.wait_for_log("draining 1 streams")
        stream.retry_ms = None
        for _ in range(3):
            node.send_signal(signal.SIGTERM)
        stream.wait_closed()
        assert {stream.retry_ms} != {None}  # it was ended by the drain, not cut
    assert node.wait(5) == 0


@pytest.mark.parametrize("flags", [(), ("--workers", "2")])
def test_sigint_ends_the_delay_of_a_drain(
    start_node: StartNode, redis: RedisProcess, flags: tuple[str, ...]
) -> None:
    node = start_node(*flags, *_LONG_DRAIN, redis=redis)
    with StreamClient(node.url) as stream:
        stream.wait_open()
        stream.retry_ms = None
        node.send_signal(signal.SIGTERM)
        node.wait_for_log("draining 1 streams")
        node.send_signal(signal.SIGINT)
        stream.wait_closed()
        assert {stream.retry_ms} != {None}
    assert node.wait(5) == 0


@pytest.mark.parametrize("flags", [(), ("--workers", "2")])
def test_second_sigint_ends_the_node_now(
    start_node: StartNode, redis: RedisProcess, flags: tuple[str, ...]
) -> None:
    node = start_node(*flags, "--drain-rate", "1", *_LONG_DRAIN, redis=redis)
    with contextlib.ExitStack() as open_streams:
        streams = [open_streams.enter_context(StreamClient(node.url)) for _ in range(20)]
        for stream in streams:
            stream.wait_open()
        node.send_signal(signal.SIGINT)
        node.wait_for_log("SIGINT: stopping")
        node.send_signal(signal.SIGINT)
        assert node.wait(5) == 0
    assert any("second SIGINT: ending now" in line for line in node.log)


class NohupNode(NodeProcess):
    """A node that is started as `nohup` starts it: with SIGHUP ignored."""

    command = ("/bin/sh", "-c", 'trap \'\' HUP; exec "$0" "$@"', *NodeProcess.command)


@pytest.mark.parametrize("flags", [(), ("--workers", "2")])
def test_a_signal_ignored_at_exec_stays_ignored(
    redis: RedisProcess, flags: tuple[str, ...]
) -> None:
    with NohupNode("--redis-url", redis.url, "--drain-delay", "0", *flags) as node:
        node.wait_ready()
        workers = node.worker_pids()
        with StreamClient(node.url) as stream:
            stream.wait_open()
            node.send_signal(signal.SIGHUP)
            for pid in workers:  # a terminal sends it to all processes of the group
                os.kill(pid, signal.SIGHUP)
            with client_of(node) as http:
                assert active_streams(http) == 1
            node.send_signal(signal.SIGTERM)
            stream.wait_closed()
        assert node.wait(10) == 0
    assert not any("SIGHUP" in line for line in node.log)


class UnreadNode(NodeProcess):
    """A node whose stderr becomes a pipe that nobody reads once it listens."""

    def _read_log(self, popen: subprocess.Popen[bytes]) -> None:
        assert popen.stderr is not None
        self.stderr = popen.stderr
        for line in iter(popen.stderr.readline, b""):
            with self._more:
                self.log.append(line.decode(errors="replace").rstrip("\n"))
                self._more.notify_all()
            if b"listening on" in line:
                return


def test_a_log_that_nobody_reads_stops_no_stream(redis: RedisProcess) -> None:
    flags = ("--redis-url", redis.url, "--log-level", "debug", "--ping-interval", "0.1")
    with UnreadNode(*flags) as node, client_of(node) as http:
        node.wait_ready()
        with StreamClient(node.url) as stream:
            stream.wait_open()
            dropped = "sse_node_log_lines_dropped_total", ""
            while read_metrics(http)[dropped] == 0:
                for _ in range(200):  # each refusal is a debug line
                    ask(node.address, b"GET  / HTTP/1.1\r\n\r\n")
            now_s = time.monotonic()
            stream.wait_for(lambda event: event.name == "ping" and event.received_s > now_s)
    node.stderr.close()


def test_sighup_reloads_a_node_of_one_process(start_node: StartNode, redis: RedisProcess) -> None:
    node = start_node("--ping-interval", "0.1", redis=redis)
    with StreamClient(node.url) as stream:
        stream.wait_open()
        for _ in range(2):
            node.send_signal(signal.SIGHUP)
        node.wait_for_log("SIGHUP: nothing to reload")
        with client_of(node) as http:
            assert active_streams(http) == 1


def test_request_in_hand_is_answered_during_the_stop(
    start_node: StartNode, redis: RedisProcess
) -> None:
    node = start_node("--drain-delay", "0", redis=redis)
    content = b'{"name":"n","balance":1}'
    with socket.create_connection((node.host, node.port), timeout=10) as connection:
        connection.sendall(
            b"POST /accounts HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(content), content[:5])
        )
        with client_of(node) as http:  # the half request has been read when this is answered
            active_streams(http)
        node.send_signal(signal.SIGTERM)
        node.wait_for_log("draining")
        wait_until(lambda: not ask(node.address, b"\r\n"), "the listener is closed")
        connection.sendall(content[5:])
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 201 ")
    assert b"\r\nConnection: close\r\n" in answer
    assert node.wait(5) == 0


# serve: what it logs


def test_json_log(start_node: StartNode, redis: RedisProcess) -> None:
    node = start_node("--log-format", "json", redis=redis)
    assert node.terminate() == 0
    lines = [json.loads(line) for line in node.log]
    for line in lines:
        assert list(line) == ["time", "level", "server_id", "logger", "message"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert line["server_id"] == "node-1"
    messages = " ".join(line["message"] for line in lines)
    for change in ("listening on http://127.0.0.1:", "subscriber: up", "SIGTERM", "stopped"):
        assert change in messages


def test_log_has_lines_for_changes_and_none_for_events(
    start_node: StartNode, redis: RedisProcess
) -> None:
    node = start_node(redis=redis)
    assert all(" node-1  " in line for line in node.log)
    before = len(node.log)
    with client_of(node) as http, StreamClient(node.url) as stream:
        stream.wait_open()
        events = [{"userId": "123", "eventType": "t", "data": n} for n in range(100)]
        http.post("/events", json=events).raise_for_status()
        http.post("/accounts", json={"name": "n", "balance": 1}).raise_for_status()
        stream.wait_for_type("snapshots.generated")
    assert node.log[before:] == []


# publish


def test_publish_prints_the_id_that_the_event_arrives_with(
    start_node: StartNode, redis: RedisProcess, user: str
) -> None:
    node = start_node(redis=redis)
    key = ("--idempotency-key", f"key of {user}")
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        first = run("publish", user, "tick", '{"n": 1.0}', *key, REDIS_URL=redis.url)
        again = run("publish", user, "tick", '{"n": 1.0}', *key, "--redis-url", redis.url)
        last = run("publish", user, "last", '"å"', REDIS_URL=redis.url)
        stream.wait_for_type("last")
    assert first.returncode == again.returncode == last.returncode == 0
    assert first.stdout == again.stdout
    assert [event.frame.decode() for event in stream.published()] == [
        f'id: {first.stdout}data: {{"eventType":"tick","n": 1.0}}\n\n',
        f'id: {last.stdout}data: {{"eventType":"last","data":"å"}}\n\n',
    ]


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("a b", "tick", "1"), "USER 'a b'"),
        (("1", "sse.open", "1"), "TYPE 'sse.open'"),
        (("1", "tick", "NaN"), "NaN"),
        (("1", "tick", '"\\ud800"'), "JSON"),
        (("1", "tick", '1,"userId":"2"'), "JSON"),
    ],
)
def test_publish_refuses_what_cannot_be_an_event(
    redis: RedisProcess, args: tuple[str, ...], named: str
) -> None:
    ended = run("publish", *args, REDIS_URL=redis.url)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert named in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("key", ["", "é", "a\nb", "x" * 256])
def test_publish_refuses_a_key_that_protects_nothing(
    redis: RedisProcess, publisher: Redis, key: str
) -> None:
    ended = run("publish", "1", "tick", "1", "--idempotency-key", key, REDIS_URL=redis.url)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert "--idempotency-key: expected 1 to 255 printable ASCII" in ended.stderr


def test_publish_and_tail_need_a_redis() -> None:
    for args in (("publish", "1", "tick", "1"), ("tail", "1")):
        ended = run(*args)
        assert ended.returncode == 3
        assert "--redis-url" in ended.stderr
    ended = run("publish", "1", "tick", "1", REDIS_URL="unix:///no/such.sock")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "Redis is away" in ended.stderr
    assert "Traceback" not in ended.stderr


# tail


@contextmanager
def tailing(redis: RedisProcess, publisher: Redis, user: str) -> Iterator[subprocess.Popen[str]]:
    """`sse-node tail` of a user, subscribed."""
    before = subscribers(publisher)
    with subprocess.Popen(
        [*SSE_NODE, "tail", user],
        cwd=ROOT,
        env=environment_without_settings() | {"REDIS_URL": redis.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            wait_until(lambda: subscribers(publisher) > before, "tail has subscribed")
            yield process
        finally:
            process.kill()


def subscribers(publisher: Redis) -> int:
    numbers: Any = publisher.pubsub_numsub("user-events")
    return int(numbers[0][1])


def test_tail_prints_a_stream_of_a_node(start_node: StartNode, redis: RedisProcess) -> None:
    node = start_node("--ping-interval", "0.5", redis=redis)
    with (
        client_of(node) as http,
        subprocess.Popen(
            [*SSE_NODE, "tail", "ann/1", "--url", f"{node.url}/"],
            cwd=ROOT,
            env=environment_without_settings(),
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        wait_until(lambda: active_streams(http) == 1, "the stream")
        event = {"userId": "ann/1", "eventType": "tick", "data": {"n": 1}}
        event_id = http.post("/events", json=event).json()["ids"][0]
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == f'{event_id} tick {{"eventType":"tick","n":1}}\n'
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_tail_prints_a_users_events(redis: RedisProcess, publisher: Redis, user: str) -> None:
    with tailing(redis, publisher, user) as tail:
        assert tail.stdout is not None
        run("publish", f"{user}-other", "tick", "1", REDIS_URL=redis.url)
        event_id = run("publish", user, "tick", '{"a": 1}', REDIS_URL=redis.url).stdout.strip()
        publisher.publish("user-events", f'{{"userId":"{user}","eventType":"t","data":"å"}}')
        assert tail.stdout.readline() == f'{event_id} tick {{"a": 1}}\n'
        assert tail.stdout.readline() == '- t "å"\n'
        publisher.publish("user-events", f'{{"userId":"{user}","eventType":"t","data":[1,\r\n2]}}')
        assert tail.stdout.readline() == "- t [1,  2]\n"
        tail.send_signal(signal.SIGINT)
        assert tail.wait(5) == 0
        assert tail.stdout.read() == ""
        assert tail.stderr is not None
        assert tail.stderr.read() == ""


def test_tail_ends_when_nobody_reads_it(redis: RedisProcess, publisher: Redis, user: str) -> None:
    with tailing(redis, publisher, user) as tail:
        assert tail.stdout is not None
        assert tail.stderr is not None
        publisher.publish("user-events", f'{{"userId":"{user}","eventType":"t","data":1}}')
        assert tail.stdout.readline() == "- t 1\n"
        tail.stdout.close()
        publisher.publish("user-events", f'{{"userId":"{user}","eventType":"t","data":2}}')
        assert tail.wait(5) == 1
        assert "Traceback" not in tail.stderr.read()


# script


def test_script_is_what_other_programs_publish_with(
    start_node: StartNode, redis: RedisProcess, publisher: Redis, user: str
) -> None:
    node = start_node(redis=redis)
    payload = f'{{"userId":"{user}","eventType":"tick","data":{{"n":1}}}}'
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        keys_and_args = (1, "sse:log", 200_000, 0, 600_000, "user-events", payload)
        event_id: Any = publisher.eval(run("script").stdout, *keys_and_args)
        frame = stream.wait_for_type("tick").frame.decode()
    assert frame == f'id: {event_id.decode()}\ndata: {{"eventType":"tick","n":1}}\n\n'
