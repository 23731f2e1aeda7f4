"""Where Redis is, for every connection of the node."""

import ssl

import pytest

from bench.harness import RedisProcess
from sse_node.errors import RedisError, SecretConfigError
from sse_node.redis.address import RedisAddress, redis_address
from sse_node.redis.commands import RedisCommands


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://", RedisAddress()),
        ("redis://redis", RedisAddress(host="redis")),
        ("redis://[::1]:7000", RedisAddress(host="::1", port=7000)),
        ("redis://redis/3", RedisAddress(host="redis", database=3)),
        ("redis://redis/0?db=3", RedisAddress(host="redis", database=3)),
        ("redis://:se%2Fcr%40et@redis", RedisAddress(host="redis", password="se/cr@et")),
        (
            "redis://ann:secret@redis:7000/15",
            RedisAddress("redis", 7000, username="ann", password="secret", database=15),
        ),
        ("unix:///run/redis.sock", RedisAddress(unix_socket_path="/run/redis.sock")),
        (
            "unix://ann:secret@/run/redis.sock?db=2",
            RedisAddress(
                unix_socket_path="/run/redis.sock", username="ann", password="secret", database=2
            ),
        ),
    ],
)
def test_url_is_an_address(url: str, address: RedisAddress) -> None:
    assert redis_address(url) == address


@pytest.mark.parametrize(
    ("query", "verify_mode", "check_hostname"),
    [
        ("", ssl.CERT_REQUIRED, True),
        ("?ssl_check_hostname=false", ssl.CERT_REQUIRED, False),
        ("?ssl_cert_reqs=none", ssl.CERT_NONE, False),
    ],
)
def test_tls_is_as_strict_as_it_is_asked_to_be(
    query: str, verify_mode: ssl.VerifyMode, check_hostname: bool
) -> None:
    tls = redis_address(f"rediss://redis{query}").dialer.tls
    assert tls is not None
    assert (tls.verify_mode, tls.check_hostname) == (verify_mode, check_hostname)


@pytest.mark.parametrize(
    "url",
    [
        "http://u:secret@h",
        "redis://u:secret@h/0?db=x",
        "rediss://u:secret@h?ssl_ca_certs=/nowhere/ca.pem",
        "rediss://u:secret@h?ssl_certfile=/nowhere/cert.pem",
    ],
)
def test_an_error_names_the_setting_and_shows_no_password(url: str) -> None:
    with pytest.raises(SecretConfigError, match=r"^REDIS_URL: .* expected ") as caught:
        redis_address(url, "REDIS_URL")
    assert "secret" not in str(caught.value)


def test_the_server_is_shown_without_user_and_password() -> None:
    address = redis_address("redis://ann:secret@redis:7000/15")
    assert str(address) == "redis:7000"
    assert "ann" not in repr(address)
    assert "secret" not in repr(address)
    assert str(redis_address("unix:///run/redis.sock")) == "/run/redis.sock"


@pytest.mark.parametrize("family", ["0", "4"])
async def test_family_of_the_host(family: str) -> None:
    with RedisProcess(tcp=True) as redis:  # on 127.0.0.1 alone
        commands = commands_at(f"{redis.url}?family={family}")
        assert await commands.execute("ECHO", "there") == b"there"
        await commands.shutdown()


async def test_another_family_is_not_tried() -> None:
    with RedisProcess(tcp=True) as redis:
        commands = commands_at(f"{redis.url}?family=6")
        with pytest.raises(RedisError, match="Redis is away"):
            await commands.execute("ECHO", "there")
        await commands.shutdown()


def commands_at(url: str) -> RedisCommands:
    """Return commands over one connection."""
    return RedisCommands(redis_address(url), name="test", timeout_s=5, max_connections=1)
