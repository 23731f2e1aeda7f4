"""Every peer serves streams, and published events reach them with the node's bytes."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.harness import ROOT, ProcessError
from bench.harness.c_program import has_compiler
from bench.harness.servers import Server, SseNode
from bench.measure.load import FIRST_NUMBER, Client, Schedule
from bench.targets import PEERS, nchan, redis_peers
from bench.targets.c_floor import Floor
from bench.targets.redis_peers import NestJs, Starlette
from bench.targets.url import UrlPeer

STREAMS = 3
CORE = max(os.sched_getaffinity(0))

# Debian 12 has a Node.js that NestJS does not support.
OLD_NODE = "nestjs" if NestJs.missing().startswith("Node.js") else ""


def deliver(server: Server, users: int, count: int = 30, rate: float = 100) -> float:
    """Deliver `count` events; return the bytes of a frame, with chunk headers."""
    user = "bench" if users == 1 else "bench-{}"
    schedule = Schedule(FIRST_NUMBER, count, rate, 200, users)
    with server.sender() as sender, Client(server.host, server.port) as client:
        client.open_streams(STREAMS, server.target(user))
        sent, received = client.measure(sender, schedule)
    assert sent.events == count
    assert received.lossless(schedule)
    return received.bytes / received.deliveries


@pytest.mark.integration
@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
@pytest.mark.parametrize("name", ["sse-node", "floor", *PEERS])
def test_events_reach_the_streams_of_their_user(name: str) -> None:
    if name == OLD_NODE:
        pytest.skip(NestJs.missing() + " not installed")
    servers: dict[str, Callable[[int], Server]] = {"sse-node": SseNode, "floor": Floor, **PEERS}
    with servers[name](CORE) as server:
        assert server.name == name
        assert deliver(server, users=1, rate=0) == pytest.approx(230, abs=40)
        assert all(os.sched_getaffinity(pid) == {CORE} for pid in server.pids)
        pids = server.pids
        if name != "floor":  # it cannot close streams
            deliver(server, users=STREAMS)
    assert pids
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.mark.integration
@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
def test_a_server_at_a_url_is_published_to_by_a_command(tmp_path: Path) -> None:
    """The command publishes its input on the node's Redis."""
    command = tmp_path / "publish.py"
    command.write_text(
        "import sys\n"
        "from redis import Redis\n"
        "with Redis.from_url(sys.argv[1]) as redis:\n"
        "    for line in sys.stdin:\n"
        "        redis.publish('user-events', line)\n"
    )
    with SseNode(CORE) as node:
        url = f"http://localhost:{node.port}/events/sse/{{}}?channels=analytics-events"
        with UrlPeer(url, f"{sys.executable} {command} {node.redis.url}") as server:
            assert server.name == f"localhost:{node.port}"
            assert server.target("bench-{}") == "/events/sse/bench-{}?channels=analytics-events"
            assert server.pids == ()
            deliver(server, users=STREAMS)


def test_a_url_without_a_user_is_rejected() -> None:
    for url in ("http://127.0.0.1:1/events", "https://127.0.0.1:1/{}", "127.0.0.1:1/{}"):
        with pytest.raises(ValueError, match="expected http"):
            UrlPeer(url, "cat")


def test_a_missing_server_is_an_error() -> None:
    with (
        pytest.raises(ProcessError, match="start the server"),
        UrlPeer("http://127.0.0.1:1/{}", "cat"),
    ):
        pass


def test_missing_programs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = {name: peer.missing() for name, peer in PEERS.items() if name != OLD_NODE}
    assert needed == dict.fromkeys(needed, "")
    monkeypatch.setattr(nchan, "_MODULE", ROOT / "no.so")
    monkeypatch.setattr(redis_peers, "_NESTJS", ROOT)
    monkeypatch.setattr(redis_peers, "_PACKAGES", ("json", "no_such_package"))
    assert nchan.Nchan.missing() == "nginx's module no.so is"
    monkeypatch.setattr(redis_peers, "_OLDEST_NODE", 10)
    assert NestJs.missing() == "its npm packages are"
    monkeypatch.setattr(redis_peers, "_OLDEST_NODE", 1000)
    assert NestJs.missing() == "Node.js 1000 or newer is"
    monkeypatch.setattr(redis_peers, "_OLDEST_NODE", 0)
    assert Starlette.missing() == "the packages no_such_package are"
    monkeypatch.setenv("PATH", "")
    assert NestJs.missing() == "Node.js 0 or newer is"


def test_versions_are_known() -> None:
    for name, program in (("nchan", "nginx"), ("starlette", "httptools"), ("nestjs", "Node.js")):
        version = PEERS[name].versions().removeprefix(f"{program} ")
        assert version[0].isdecimal()
        assert ", " in version
