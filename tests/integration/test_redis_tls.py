"""TLS to a real Redis: every connection of a node proves itself and asks for proof."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from bench.harness import ROOT, NodeProcess, RedisProcess, environment_without_settings, free_port
from tests.support.certificates import Certificates
from tests.support.nodes import client_of
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

_FILES = (".crt", ".key")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates of a server and a client, of an authority; and an authority of strangers."""
    certificates = Certificates(tmp_path_factory.mktemp("certificates"))
    for authority in ("ca", "other-ca"):
        certificates.make_authority(authority)
    for name in ("server", "client"):
        certificates.sign(name, "ca")
    certificates.sign("stranger", "other-ca")
    certificates.sign("expired", "ca", is_expired=True)
    return certificates


class TlsRedis(RedisProcess):
    """A Redis that is reached over TLS."""

    def __init__(self, certificates: Certificates, *args: str, server: str = "server") -> None:
        """Take the name of the server's certificate, and further arguments."""
        self.tls_port = free_port()
        self._certificates = certificates
        super().__init__(
            args=[
                *("--tls-port", str(self.tls_port)),
                *("--tls-cert-file", certificates.path(f"{server}.crt")),
                *("--tls-key-file", certificates.path(f"{server}.key")),
                *("--tls-ca-cert-file", certificates.path("ca.crt")),
                *(args or ("--tls-auth-clients", "no")),
            ]
        )

    def tls_url(self, **options: str) -> str:
        """The address over TLS; options whose value is a file's name are made paths."""
        query = "&".join(
            f"{name}={self._certificates.path(value) if value.endswith(_FILES) else value}"
            for name, value in options.items()
        )
        return f"rediss://127.0.0.1:{self.tls_port}?{query}"

    def connections(self) -> dict[str, int]:
        """How many connections there are by name; only those over TLS have an address."""
        with Redis(unix_socket_path=str(self.socket_path)) as administrator:
            clients: Any = administrator.client_list()
        names = [client["name"].rpartition(":")[2] for client in clients if client["name"]]
        assert all(":0" not in client["addr"] for client in clients if client["name"])
        return {name: names.count(name) for name in names}


def expect_all_connections(url: str, redis: TlsRedis, *flags: str) -> None:
    """A node publishes, delivers and finishes jobs, each over a connection of its own."""
    with NodeProcess("--redis-url", url, *flags) as node, client_of(node) as http:
        node.wait_ready()
        with StreamClient(node.url) as stream:
            stream.wait_open()
            account = {"name": "Harbour fund", "balance": 1}
            http.post("/accounts", json=account).raise_for_status()
            stream.wait_for_type("account.created")
            stream.wait_for_type("snapshots.generated")
        assert {"commands", "jobs", "subscriber"} <= set(redis.connections())


def expect_refusal(url: str, said: str) -> None:
    """A node says on both of its ways why it does not use the server, and keeps serving."""
    with NodeProcess("--redis-url", url) as node, client_of(node) as http:
        for connection in ("commands", "subscriber"):
            node.wait_for_log(f":{connection}: Redis is away: .*({said})")
        assert http.get("/health/ready").status_code == 503
        assert http.get("/health/live").status_code == 200
        assert not [line for line in node.log if "Traceback" in line]


@pytest.fixture
def redis_tls(certificates: Certificates) -> Iterator[TlsRedis]:
    with TlsRedis(certificates) as redis:
        yield redis


def test_server_that_proves_itself(redis_tls: TlsRedis) -> None:
    expect_all_connections(redis_tls.tls_url(ssl_ca_certs="ca.crt"), redis_tls)


def test_workers(redis_tls: TlsRedis) -> None:
    url = redis_tls.tls_url(ssl_ca_certs="ca.crt")
    expect_all_connections(url, redis_tls, "--workers", "2")


def test_publish_and_tail(redis_tls: TlsRedis) -> None:
    env = environment_without_settings() | {"REDIS_URL": redis_tls.tls_url(ssl_ca_certs="ca.crt")}
    command = (sys.executable, "-m", "sse_node")
    with subprocess.Popen(
        [*command, "tail", "ann"], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True
    ) as tail:
        try:
            with Redis(unix_socket_path=str(redis_tls.socket_path)) as administrator:
                while not administrator.pubsub_numsub("user-events")[0][1]:
                    assert tail.poll() is None
            subprocess.run([*command, "publish", "ann", "t", "1"], cwd=ROOT, env=env, check=True)
            assert tail.stdout is not None
            assert tail.stdout.readline().endswith(" t 1\n")
        finally:
            tail.terminate()


@pytest.mark.parametrize(
    ("server", "options", "said"),
    [
        ("stranger", {"ssl_ca_certs": "ca.crt"}, "certificate verify failed"),
        ("server", {"ssl_ca_certs": "other-ca.crt"}, "certificate verify failed"),
        ("server", {}, "certificate verify failed"),
        ("expired", {"ssl_ca_certs": "ca.crt"}, "certificate has expired"),
    ],
    ids=["of-another-authority", "another-is-trusted", "the-systems-are-trusted", "expired"],
)
def test_server_that_does_not_prove_itself(
    certificates: Certificates, server: str, options: dict[str, str], said: str
) -> None:
    with TlsRedis(certificates, server=server) as redis:
        expect_refusal(redis.tls_url(**options), said)


@pytest.mark.parametrize("value", ["none", "CERT_NONE"])
def test_server_that_need_not_prove_itself(certificates: Certificates, value: str) -> None:
    with TlsRedis(certificates, server="expired") as redis:
        expect_all_connections(redis.tls_url(ssl_cert_reqs=value), redis)


def test_node_that_proves_itself(certificates: Certificates) -> None:
    with TlsRedis(certificates, "--tls-auth-clients", "yes") as redis:
        own = {"ssl_certfile": "client.crt", "ssl_keyfile": "client.key"}
        expect_all_connections(redis.tls_url(ssl_ca_certs="ca.crt", **own), redis)


@pytest.mark.parametrize("name", ["", "stranger", "expired"])
def test_node_that_does_not_prove_itself(certificates: Certificates, name: str) -> None:
    own = {"ssl_certfile": f"{name}.crt", "ssl_keyfile": f"{name}.key"} if name else {}
    with TlsRedis(certificates, "--tls-auth-clients", "yes") as redis:
        said = "alert|closed|reset|broke"  # in TLS 1.3 the refusal comes after the handshake
        expect_refusal(redis.tls_url(ssl_ca_certs="ca.crt", **own), said)


def test_least_version(certificates: Certificates) -> None:
    old = ("--tls-auth-clients", "no", "--tls-protocols", "TLSv1.2")
    with TlsRedis(certificates, *old) as redis:
        url = redis.tls_url(ssl_ca_certs="ca.crt", ssl_min_version="TLSv1.2")
        expect_all_connections(url, redis)
        expect_refusal(url.replace("TLSv1.2", "TLSv1.3"), "version|alert")


def test_plain_address_of_a_tls_port(redis_tls: TlsRedis) -> None:
    expect_refusal(f"redis://127.0.0.1:{redis_tls.tls_port}", "closed|reset|RESP")
