"""Kinds of authentication and listeners: what is where, with one process and with workers."""

from __future__ import annotations

import errno
import json
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.harness import NodeProcess, RedisProcess
from bench.harness.addresses import ask as ask_raw
from bench.harness.addresses import free_port
from bench.harness.node import environment_without_settings
from sse_node.access.api_keys import new_key
from tests.integration.test_access import ask, bearer
from tests.support.stream_client import StreamClient
from tests.support.tokens import SECRET, signer

if TYPE_CHECKING:
    from tests.support.nodes import Addressed, StartNode

_ROOT = Path(__file__).parents[2]
TOKEN = signer("HS256").token("ann", publish=["user:self"], expires_in_s=3600)
WORKERS = pytest.mark.parametrize("workers", ["1", "2"])


_namespaces = count()


@pytest.fixture
def start_node(start_node: StartNode) -> StartNode:
    """Start nodes that know nothing of what other tests have revoked."""
    namespace = f"modes-{next(_namespaces)}"

    def start(*flags: str, redis: Addressed, server_id: str = "node-1") -> NodeProcess:
        return start_node(*flags, "--namespace", namespace, redis=redis, server_id=server_id)

    return start


@dataclass
class Files:
    """What nodes are given."""

    secret: str
    keys: str
    observe: str
    revoke: str


@pytest.fixture
def files(tmp_path: Path) -> Files:
    observe, observe_line = new_key("observer", "observe")
    revoke, revoke_line = new_key("revoker", "revoke publish:*")
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "keys").write_text(f"{observe_line}\n{revoke_line}\n")
    return Files(str(tmp_path / "secret"), str(tmp_path / "keys"), observe, revoke)


def status_at(address: str, method: str, target: str, credential: str = "") -> int:
    """Ask at `http://…` or `unix:…`."""
    content = '{"user": "somebody"}' if method == "POST" else ""
    lines = [
        f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close",
        f"Content-Length: {len(content)}", "Content-Type: application/json",
        *([f"Authorization: Bearer {credential}"] if credential else []), "", content,
    ]  # fmt: skip
    return int(ask_raw(address, "\r\n".join(lines).encode()).split()[1])


def operators_see(address: str, credential: str = "") -> list[int]:
    """Return the statuses of /metrics, /status and /revocations."""
    return [
        status_at(address, "GET", "/metrics", credential),
        status_at(address, "GET", "/status", credential),
        status_at(address, "POST", "/revocations", credential),
    ]


@WORKERS
@pytest.mark.parametrize("flags", [(), ("--auth", "none")], ids=["unset", "none"])
def test_without_authentication_everything_is_open(
    start_node: StartNode, redis: RedisProcess, workers: str, flags: tuple[str, ...]
) -> None:
    node = start_node(*flags, "--workers", workers, redis=redis)
    assert operators_see(node.url) == [200, 200, 200]
    assert "activeStreams" in json.loads(ask(node.url, "GET", "/health").content)
    # Headers that other systems read change nothing.
    for headers in (bearer("a.b.c"), {"Authorization": "Basic YTpi"}, {"X-Forwarded-User": "bob"}):
        assert ask(node.url, "GET", "/accounts", headers).status == 200
        with StreamClient(node.url, "/events/sse/ann", headers) as stream:
            stream.wait_open()


@WORKERS
def test_with_tokens_keys_observe_and_revoke(
    start_node: StartNode, redis: RedisProcess, files: Files, workers: str
) -> None:
    flags = ("--auth", "jwt", "--jwt-key", files.secret, "--api-keys", files.keys)
    node = start_node(*flags, "--workers", workers, redis=redis)
    assert operators_see(node.url) == [401, 401, 401]
    assert operators_see(node.url, TOKEN) == [403, 403, 403]
    assert operators_see(node.url, files.observe) == [200, 200, 403]
    assert operators_see(node.url, files.revoke) == [403, 403, 200]
    assert set(json.loads(ask(node.url, "GET", "/health").content)) == {
        "status", "serverId", "warnings"
    }  # fmt: skip
    assert ask(node.url, "GET", "/health/ready").status == 200


@WORKERS
def test_with_keys_alone_streams_are_open_and_publishing_is_not(
    start_node: StartNode, redis: RedisProcess, files: Files, workers: str
) -> None:
    node = start_node("--api-keys", files.keys, "--workers", workers, redis=redis)
    assert operators_see(node.url) == [403, 403, 403]
    assert operators_see(node.url, files.observe) == [200, 200, 403]
    assert operators_see(node.url, files.revoke) == [403, 403, 200]
    assert operators_see(node.url, TOKEN) == [401, 401, 401]
    event = {"userId": "kim", "eventType": "t", "data": 1}
    with StreamClient(node.url, "/events/sse/kim") as stream:
        stream.wait_open()
        assert ask(node.url, "POST", "/events", None, event).status == 403
        assert ask(node.url, "POST", "/events", bearer(files.observe), event).status == 403
        assert ask(node.url, "POST", "/events", bearer(files.revoke), event).status == 202
        stream.wait_for_type("t")
        assert len(stream.published()) == 1


@WORKERS
@pytest.mark.parametrize("auth", ["none", "jwt"])
@pytest.mark.parametrize("place", ["port", "uds"])
def test_operators_have_a_listener_of_their_own(
    start_node: StartNode,
    redis: RedisProcess,
    files: Files,
    tmp_path: Path,
    workers: str,
    auth: str,
    place: str,
) -> None:
    path, port = tmp_path / "admin.sock", free_port()
    admin = f"unix:{path}" if place == "uds" else f"http://127.0.0.1:{port}"
    where = ("--admin-uds", str(path)) if place == "uds" else ("--admin-port", str(port))
    flags = ("--auth", "jwt", "--jwt-key", files.secret) if auth == "jwt" else ("--auth", "none")
    node = start_node(*flags, *where, "--workers", workers, redis=redis)
    assert operators_see(node.url) == ([401] * 3 if auth == "jwt" else [403] * 3)
    for _ in range(4):  # whichever worker answers
        assert operators_see(admin) == [200, 200, 200]
        assert status_at(admin, "GET", "/health/ready") == 200
        for target in ("/", "/events/sse", "/events/sse/ann", "/accounts", "/snapshots"):
            assert status_at(admin, "GET", target) == 404
        assert status_at(admin, "POST", "/events") == 404
    if place == "uds":
        assert path.is_socket()
        assert path.stat().st_mode & 0o777 == 0o660
    else:
        with socket.socket() as client:  # only loopback's own address is listened on
            assert client.connect_ex(("127.0.0.3", port)) == errno.ECONNREFUSED
    assert json.loads(ask(node.url, "GET", "/health").content).keys() == {
        "status", "serverId", "warnings"
    }  # fmt: skip
    token = bearer(TOKEN) if auth == "jwt" else {}
    with StreamClient(node.url, "/events/sse", token) as stream:
        stream.wait_open()
        content = '{"user": "ann"}' if auth == "jwt" else '{"user": "123"}'
        request = (
            "POST /revocations HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n{content}"
        )
        begun_s = time.monotonic()
        assert b" 200 OK" in ask_raw(admin, request.encode())
        stream.wait_closed()
        assert stream.events[-1].json == {"reason": "revoked"}
        assert time.monotonic() - begun_s < 2
    node.stop()
    assert not path.exists()


def test_a_proxy_names_the_user(start_node: StartNode, redis: RedisProcess) -> None:
    node = start_node("--auth", "proxy", redis=redis)
    assert operators_see(node.url) == [401, 401, 401]
    user = {"X-Forwarded-User": "ann", "Authorization": "Bearer id.token.ofproxy"}
    with StreamClient(node.url, "/events/sse", user) as stream:
        stream.wait_open()
    assert ask(node.url, "GET", "/events/sse/bob", user).status == 403
    assert ask(node.url, "GET", "/accounts", {"X-Forwarded-User": "ann, bob"}).status == 400


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--host", "0.0.0.0"), "--host: '0.0.0.0' is not allowed"),
        (("--host", "0.0.0.0", "--workers", "2"), "--auth none if everyone"),
        (("--auth", "jwt"), "--jwt-key or --jwks-url"),
        (("--auth", "jwt", "--jwt-key", "/nowhere"), "--jwt-key: '/nowhere'"),
        (("--auth", "jwt", "--jwt-key", "SHORT"), "a secret of 12 bytes is not allowed"),
        (("--auth", "jwt", "--jwt-key", "PEM", "--jwt-algorithm", "HS256"), "RS256"),
        (("--api-keys", "SHORT"), "--api-keys: line 1: the hash"),
        (("--auth", "jwt", "--jwt-key", "OK", "--auth-cookie", "s", "--cors-origin", "*"),
         "--cors-origin"),
        (("--admin-uds", "/nowhere/admin.sock"), "--admin-uds: '/nowhere/admin.sock'"),
        (("--admin-port", "BUSY"), "--admin-port: '127.0.0.1:"),
        (("--admin-port", "BUSY", "--workers", "2"), "--admin-port: '127.0.0.1:"),
    ],
)  # fmt: skip
def test_a_wrong_setting_stops_the_start(
    tmp_path: Path, flags: tuple[str, ...], message: str
) -> None:
    (tmp_path / "SHORT").write_text("short-secret")
    (tmp_path / "PEM").write_bytes(signer("RS256").file())
    (tmp_path / "OK").write_bytes(SECRET)
    with socket.create_server(("127.0.0.1", 0)) as busy:
        words = [str(busy.getsockname()[1]) if word == "BUSY" else word for word in flags]
        result = subprocess.run(
            [sys.executable, "-m", "sse_node", "serve", "--port", "0", *words],
            cwd=tmp_path,
            env=environment_without_settings() | {"PYTHONPATH": str(_ROOT)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert result.returncode == 3, result.stderr
    assert message in result.stderr
    assert "short-secret" not in result.stderr
    assert "Traceback" not in result.stderr
