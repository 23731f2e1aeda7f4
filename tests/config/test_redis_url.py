"""The URL of a Redis: what each part and option becomes, and what an error may show of it."""

import pytest

from sse_node.config.redis_tls import TlsOptions
from sse_node.config.redis_url import ClusterUrl, RedisUrl, SentinelUrl, parse_redis_url
from sse_node.errors import SecretConfigError

SECRET = "s3cr3tT0ken"


def parse(url: str) -> RedisUrl:
    return parse_redis_url("REDIS_URL", url)


def error_of(url: str) -> str:
    with pytest.raises(SecretConfigError) as caught:
        parse(url)
    return str(caught.value)


def tls_of(query: str) -> TlsOptions:
    tls = parse(f"rediss://h?{query}").tls
    assert tls is not None
    return tls


# Parts


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", RedisUrl()),
        ("redis://\n", RedisUrl()),
        ("redis://h/", RedisUrl(host="h")),
        ("redis://H.Example:7000/15", RedisUrl("h.example", 7000, database=15)),
        ("redis://h:/1", RedisUrl("h", database=1)),
        ("redis://:7000", RedisUrl(port=7000)),
        ("redis://127.0.0.1", RedisUrl("127.0.0.1")),
        ("redis://redis_1", RedisUrl("redis_1")),
        ("redis://[::1]", RedisUrl("::1")),
        ("redis://[fd00::7]:7000/1", RedisUrl("fd00::7", 7000, database=1)),
        ("redis://[fe80::1%25eth0]:7000", RedisUrl("fe80::1%eth0", 7000)),
        ("redis://ann@h", RedisUrl("h", username="ann")),
        ("redis://ann:@h", RedisUrl("h", username="ann")),
        ("redis://:p@h", RedisUrl("h", password="p")),
        ("redis://:p:q@h", RedisUrl("h", password="p:q")),
        ("redis://:p@q@h", RedisUrl("h", password="p@q")),
        ("redis://a%3Ab:%2F%3F%23%5B%5D%40%25%20%C3%A4@h",
         RedisUrl("h", username="a:b", password="/?#[]@% ä")),
        ("redis://:a+b@h", RedisUrl("h", password="a+b")),
        ("redis://:100%@h", RedisUrl("h", password="100%")),
        ("unix:///run/redis.sock", RedisUrl(unix_socket_path="/run/redis.sock")),
        ("unix:///run/a%20b@c%3F.sock", RedisUrl(unix_socket_path="/run/a b@c?.sock")),
        ("unix://ann:p%40@/a?db=2",
         RedisUrl(unix_socket_path="/a", username="ann", password="p@", database=2)),
        ("unix:///a?password=p%26q&username=ann",
         RedisUrl(unix_socket_path="/a", username="ann", password="p&q")),
        ("rediss://h", RedisUrl("h", tls=TlsOptions())),
        ("redis://h/1?db=2", RedisUrl("h", database=2)),
        ("redis://h?db=2&family=6&protocol=2", RedisUrl("h", family=6, database=2)),
        ("redis://:p@h?password=q", RedisUrl("h", password="p")),
        ("redis://h?", RedisUrl("h")),
        ("redis://h?&db=1&", RedisUrl("h", database=1)),
        ("redis+sentinel://h/main", SentinelUrl(sentinels=(("h", 26379),), service="main")),
        ("redis+sentinel://H1:1,h2,[::1]:2,[fd00::7]/my.main_1-x/3",
         SentinelUrl(sentinels=(("h1", 1), ("h2", 26379), ("::1", 2), ("fd00::7", 26379)),
                  service="my.main_1-x", database=3)),
        ("redis+cluster://ann:p%40%2C@H1:1,h2,[::1]:2,h1:1",
         ClusterUrl(username="ann", password="p@,", servers=(("h1", 1), ("h2", 6379), ("::1", 2)))),
        ("redis+cluster://h/0?db=0", ClusterUrl(servers=(("h", 6379),))),
        ("redis+sentinel://h,h:26379/main?db=2",
         SentinelUrl(sentinels=(("h", 26379),), service="main", database=2)),
        ("redis+sentinel://ann:p%40%2C@h/main?sentinel_username=eve&sentinel_password=q%40%26",
         SentinelUrl(username="ann", password="p@,", sentinels=(("h", 26379),), service="main",
                  sentinel_username="eve", sentinel_password="q@&")),
        ("rediss+sentinel://h/main/", SentinelUrl(sentinels=(("h", 26379),), service="main",
                                               tls=TlsOptions())),
    ],
)  # fmt: skip
def test_parts(url: str, expected: RedisUrl) -> None:
    assert parse(url) == expected


@pytest.mark.parametrize(
    ("url", "part"),
    [
        (SECRET, "the value (not shown, it may be confidential)"),
        (f"user:{SECRET}@h:6379", "the value (not shown"),
        (f"{SECRET}://h", "the value (not shown"),
        (f"https://{SECRET}@h", "the value (not shown"),
        (f"https://h/{SECRET}", "the value (not shown"),
        (f"https://h?token={SECRET}", "the value (not shown"),
        (f"https://h:{SECRET}", "the value (not shown"),
        (f"redis://user:{SECRET}", "the port"),
        (f"redis://h:{SECRET}/0", "the port"),
        ("redis://h:0", "the port"),
        ("redis://h:65536", "the port"),
        ("redis://h:+1", "the port"),
        ("redis://h:\u0661", "the port"),
        (f"redis://h/{SECRET}", "the database"),
        ("redis://h/-1", "the database"),
        ("redis://h/0/1", "the database"),
        ("redis://h/1234567890", "the database"),
        (f"redis://:{SECRET}/x@h", "the user or the password"),
        (f"redis://:{SECRET}?x=y@h", "the user or the password"),
        (f"redis://:{SECRET}#x@h", "the user or the password"),
        (f"redis://:[{SECRET}", "the port"),
        (f"redis://:%ff{SECRET}@h", "the user or the password"),
        (f"redis://:{SECRET} x@h", "white space in the URL"),
        (f"redis://:{SECRET}\nx@h", "white space in the URL"),
        (f"redis://[{SECRET}]", "the host"),
        ("redis://[::1", "the host"),
        ("redis://::1", "the port"),
        ("redis://[::1]x", "the host"),
        ("redis://a%2Fb", "the host"),
        (f"unix://{SECRET}", "the path"),
        (f"unix://:{SECRET}/x@/run/redis.sock", "the path"),
        ("unix://", "the path"),
        ("unix:///", "the path"),
        ("unix:///a%00b", "the path"),
        ("unix:///" + "x" * 107, "the path"),
        (f"unix:///a#{SECRET}", "the user or the password"),
        ("redis://a,b", "the host"),
        ("redis+sentinel://", "the host"),
        ("redis+sentinel:///main", "the host"),
        ("redis+sentinel://a,,b/main", "the host"),
        ("redis+sentinel://a:1,::1/main", "the port"),
        ("redis+sentinel://a;b/main x", "white space in the URL"),
        (f"redis+sentinel://a:1,b:{SECRET}/main", "the port"),
        ("redis+sentinel://a,b:65536/main", "the port"),
        ("redis+sentinel://a", "the service"),
        ("redis+sentinel://a/", "the service"),
        (f"redis+sentinel://a/{SECRET}%20", "the service"),
        (f"redis+sentinel://a/main/{SECRET}", "the database"),
        (f"redis+sentinel://:{SECRET}/x@a/main", "the user or the password"),
        ("redis+cluster://", "the host"),
        (f"redis+cluster://:{SECRET}@a:1,,b:2", "the host"),
        (f"redis+cluster://a:{SECRET},b:2", "the port"),
        (f"rediss+cluster://a/{SECRET}", "the database"),
        ("redis+cluster://a/1", "the database"),
        ("redis+cluster://a?db=1", "the database"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_not_shown(url: str, part: str) -> None:
    message = error_of(url)
    assert message.startswith(f"REDIS_URL: {part}")
    assert " is not allowed; expected " in message
    assert SECRET not in message


def test_no_password_is_in_the_representation() -> None:
    url = f"redis+sentinel://:{SECRET}@h/main?sentinel_password={SECRET}"
    assert SECRET not in repr(parse(url))


def test_another_scheme_is_shown_where_nothing_can_be_a_secret() -> None:
    assert error_of("http://localhost").startswith("REDIS_URL: 'http://localhost' is not allowed")


# Options


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("foo=bar", "one of db, username, password, family, protocol, ssl_ca_certs,"),
        ("decode_responses=True", "one of db, "),
        ("retry_on_timeout=True", "one of db, "),
        ("DB=1", "one of db, "),
        ("protocol=3", "2, the version of RESP that is spoken"),
        ("socket_timeout=1", "the setting --redis-timeout instead"),
        ("socket_connect_timeout=1", "the setting --redis-timeout instead"),
        ("timeout=1", "the setting --redis-timeout instead"),
        ("max_connections=1", "the setting --redis-connections instead"),
        ("health_check_interval=1", "the setting --audit-interval instead"),
        ("client_name=x", "the setting --server-id instead"),
        ("family=5", "0, 4 or 6"),
        ("family=", "0, 4 or 6"),
        ("db=-1", "a database from 0 to 999999999"),
        ("db=", "a database from 0"),
        ("db=1&db=1", "to be there once"),
        ("ssl_cert_reqs=CERT_NONE", "rediss:// with it"),
        ("sentinel_username=x", "redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB with it"),
        ("sentinel_password=x", "redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB with it"),
    ],
)
def test_option_that_is_not_read_is_named(option: str, expected: str) -> None:
    message = error_of(f"redis://h/0?{option}")
    name = option.partition("=")[0]
    assert message.startswith(f"REDIS_URL: option {name!r} is not allowed; expected {expected}")


@pytest.mark.parametrize(
    "query", [f"db={SECRET}", f"{SECRET}", f"x-{SECRET}=1", f"family={SECRET}", f"db=%ff{SECRET}"]
)
def test_no_value_of_an_option_is_shown(query: str) -> None:
    assert SECRET not in error_of(f"redis://u:p@h?{query}")


@pytest.mark.parametrize(
    ("query", "field", "value"),
    [
        ("ssl_ca_certs=/a%20b.crt", "ca_certs", "/a b.crt"),
        ("ssl_ca_path=/a", "ca_path", "/a"),
        ("ssl_certfile=/a", "certfile", "/a"),
        ("ssl_keyfile=/a", "keyfile", "/a"),
        ("ssl_password=a%26b", "password", "a&b"),
        ("ssl_cert_reqs=none", "cert_reqs", "none"),
        ("ssl_cert_reqs=CERT_NONE", "cert_reqs", "none"),
        ("ssl_cert_reqs=CERT_OPTIONAL", "cert_reqs", "optional"),
        ("ssl_cert_reqs=CERT_REQUIRED", "cert_reqs", "required"),
        ("ssl_check_hostname=False", "check_hostname", False),
        ("ssl_check_hostname=yes", "check_hostname", True),
        ("ssl_min_version=TLSv1.3", "min_version", "TLSv1_3"),
        ("ssl_min_version=TLSv1_2", "min_version", "TLSv1_2"),
        ("ssl_min_version=772", "min_version", "TLSv1_3"),
        ("ssl_ciphers=ECDHE+AESGCM:!x", "ciphers", "ECDHE AESGCM:!x"),
        ("ssl_ciphers=ECDHE%2BAESGCM", "ciphers", "ECDHE+AESGCM"),
        ("ssl_exclude_verify_flags=[VERIFY_X509_STRICT, VERIFY_CRL_CHECK_LEAF]".replace(" ", "%20"),
         "exclude_verify_flags", ("VERIFY_X509_STRICT", "VERIFY_CRL_CHECK_LEAF")),
    ],
)  # fmt: skip
def test_tls_options(query: str, field: str, value: object) -> None:
    tls = tls_of(query)
    owner = next(each for each in (tls, tls.authorities, tls.identity) if hasattr(each, field))
    assert getattr(owner, field) == value


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("ssl_cert_reqs=CERT_SECRET", "ssl_cert_reqs"),
        ("ssl_cert_reqs=", "ssl_cert_reqs"),
        ("ssl_check_hostname=perhaps", "ssl_check_hostname"),
        ("ssl_min_version=TLSv1.1", "ssl_min_version"),
        ("ssl_ca_certs=", "ssl_ca_certs"),
    ],
)
def test_wrong_tls_option_is_named(query: str, name: str) -> None:
    assert f"option {name!r} is not allowed" in error_of(f"rediss://h?{query}")
