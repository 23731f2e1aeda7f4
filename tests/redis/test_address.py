"""Where Redis is, as our own connection and redis-py's read it alike."""

import ssl

import pytest

from sse_node.errors import ConfigError
from sse_node.redis.address import redis_address
from sse_node.redis.subscriber import RedisAddress


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
    tls = redis_address(f"rediss://redis{query}").tls
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
def test_what_redis_py_does_not_take_is_an_error_without_the_password(url: str) -> None:
    with pytest.raises(ConfigError, match=r"redis-url: .* expected a Redis URL") as caught:
        redis_address(url)
    assert "secret" not in str(caught.value)
