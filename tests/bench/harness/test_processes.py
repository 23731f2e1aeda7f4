"""Real processes start, answer, can be killed and restarted, and leave nothing behind."""

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from bench.harness import (
    DURABLE,
    ROOT,
    NginxProcess,
    NodeProcess,
    ProcessError,
    RedisProcess,
    accepts,
    ask,
    environment_without_settings,
    place_nginx_conf,
    valkey_binary,
)

NODES = ["http://127.0.0.1:1001", "unix:/run/node-2.sock"]


class ScriptProcess(NodeProcess):
    """A script in place of a node, with the same command line."""

    script = """
import signal, sys, time
print("listening on http://127.0.0.1:4321", file=sys.stderr, flush=True)
signal.pause()
"""
    command = (sys.executable, "-c", script)


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.integration
@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
@pytest.mark.parametrize("server", ["redis", "valkey"])
def test_redis_answers_at_one_address_until_it_is_stopped(server: str, tcp: bool) -> None:
    binary = valkey_binary() if server == "valkey" else "redis-server"
    with RedisProcess(binary, tcp=tcp) as redis:
        address = redis.url.replace("redis:", "http:").replace("unix://", "unix:")
        assert ask(address, b"PING\r\n") == b"+PONG\r\n"
        assert ask(address, b"INFO persistence\r\n").count(b"aof_enabled:0") == 1
        redis.kill()
        assert redis.returncode == -9
        assert ask(address, b"PING\r\n") == b""
        redis.restart()
        assert ask(address, b"PING\r\n") == b"+PONG\r\n"
        redis.suspend()
        assert ask(address, b"PING\r\n", timeout_s=0.05) == b""
        redis.resume()
        assert ask(address, b"PING\r\n") == b"+PONG\r\n"
        redis.suspend()  # a stopped process is ended as well
        pid, directory = redis.pid, redis.private_directory
    assert not is_there(pid)
    assert not directory.exists()


@pytest.mark.integration
def test_redis_keeps_its_files_in_a_given_directory(tmp_path: Path) -> None:
    with RedisProcess(args=DURABLE, directory=tmp_path) as redis:
        assert ask(f"unix:{redis.socket_path}", b"SET a b\r\n") == b"+OK\r\n"
    with RedisProcess(args=DURABLE, directory=tmp_path) as redis:
        assert ask(f"unix:{redis.socket_path}", b"GET a\r\n") == b"$1\r\nb\r\n"


@pytest.mark.integration
def test_a_failed_start_reports_why() -> None:
    redis = RedisProcess(args=["--no-such-setting", "1"])
    with pytest.raises(ProcessError, match="Bad directive"), redis:
        pass
    assert not redis.running


def test_a_missing_program_is_named() -> None:
    with pytest.raises(ProcessError, match="no-such-redis"), RedisProcess("/no-such-redis"):
        pass


def test_a_node_logs_its_address() -> None:
    with ScriptProcess() as node:
        assert node.url == "http://127.0.0.1:4321"
        assert node.log == ["listening on http://127.0.0.1:4321"]
        node.kill()
        node.start()
        assert len(node.log) == 2
        with pytest.raises(ProcessError, match="has not logged 'ready'"):
            node.wait_for_log("ready", timeout_s=0.05)
        with pytest.raises(ProcessError, match="already running"):
            node.start()
        pid = node.pid
    assert not is_there(pid)


def test_a_node_gets_its_core_and_no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "REDIS_URL", "SSE_NODE_HISTORY"):
        monkeypatch.setenv(name, "5")
        assert name not in environment_without_settings()
    core = min(os.sched_getaffinity(0))
    with ScriptProcess(env={"SERVER_ID": "node-7"}, cpu=core) as node:
        assert os.sched_getaffinity(node.pid) == {core}
        environment = Path(f"/proc/{node.pid}/environ").read_text().split("\0")
        assert "SERVER_ID=node-7" in environment
        assert not [setting for setting in environment if setting.endswith("=5")]


def test_a_node_that_cannot_start_raises_its_last_lines() -> None:
    class Failing(NodeProcess):
        command = (sys.executable, "-c", "import sys; sys.exit('wrong value')")

    node = Failing()
    with pytest.raises(ProcessError, match="wrong value"), node:
        pass
    assert not node.running


def test_processes_end_with_their_parent(tmp_path: Path) -> None:
    parent = f"""
import sys
from bench.harness import NodeProcess
NodeProcess.command = (sys.executable, "-c", {ScriptProcess.script!r})
node = NodeProcess()
node.start()
print(node.pid, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", parent],
        cwd=ROOT,
        env={
            **os.environ,
            "TMPDIR": str(tmp_path),
        },  # it leaves its directory behind when it is killed
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        watch = os.pidfd_open(pid)
        process.kill()
    try:
        ended, _, _ = select.select([watch], [], [], 10)
        assert ended
    finally:
        os.close(watch)


def test_only_paths_and_addresses_of_nginx_conf_change() -> None:
    shipped = (ROOT / "nginx.conf").read_text()
    placed = place_nginx_conf(shipped, Path("/prefix"), "127.0.0.1:8081", NODES)
    changed = {
        new.split()[0]: new.split()[1:]
        for old, new in zip(shipped.splitlines(), placed.splitlines(), strict=True)
        if old != new
    }
    assert changed.pop("listen")[0] == "127.0.0.1:8081"
    assert changed.pop("server")[0] == "unix:/run/node-2.sock"  # the last of the two
    assert "server 127.0.0.1:1001 " in placed
    assert changed.pop("user")
    assert changed.keys() >= {"pid", "error_log", "access_log", "proxy_temp_path"}
    assert all(values[0].startswith("/prefix/") for values in changed.values())


@pytest.mark.parametrize("nodes", [NODES[:1], [*NODES, "unix:/run/node-3.sock"]])
def test_nginx_conf_has_a_server_for_each_node(nodes: list[str]) -> None:
    with pytest.raises(ProcessError, match="server"):
        place_nginx_conf((ROOT / "nginx.conf").read_text(), Path("/prefix"), "127.0.0.1:1", nodes)


@pytest.mark.integration
def test_nginx_runs_with_the_shipped_configuration() -> None:
    with NginxProcess(ROOT / "nginx.conf", ["127.0.0.1:1", "127.0.0.1:2"]) as nginx:
        request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        address = nginx.url
        assert ask(address, request).startswith(b"HTTP/1.1 502 ")
        nginx.reload()
        assert ask(address, request).startswith(b"HTTP/1.1 502 ")
        nginx.kill()
        assert not accepts(nginx.host, nginx.port)
        nginx.start()
        assert accepts(nginx.host, nginx.port)
        master, directory = nginx.pid, nginx.private_directory
    assert not is_there(master)
    assert not accepts(nginx.host, nginx.port)
    assert not directory.exists()
