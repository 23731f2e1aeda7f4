"""The URL of a Redis: redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://.

The forms are redis-py's, and with Sentinel docket's, which other programs of a deployment share.
Any part may hold a secret, even where nobody meant to put one: an error names the part and what is
expected, never the value. An option that nothing here reads is an error too, because its writer
relies on it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv6Address
from typing import Any, Final
from urllib.parse import unquote

from sse_node.config.redis_options import (
    DATABASE_EXPECTED,
    SENTINEL_FORM,
    Wrong,
    read_options,
    tls_options,
)
from sse_node.config.redis_tls import TlsOptions
from sse_node.errors import SecretConfigError

_CLUSTER_FORM: Final = "redis+cluster://HOST:PORT,HOST:PORT"
_FORMS: Final = (
    "redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix:///PATH; with Sentinel "
    f"{SENTINEL_FORM}; of a cluster {_CLUSTER_FORM}"
)
_ENCODED: Final = f"{_FORMS}; / ? # [ ] @ % in user and password are percent-encoded"
_CREDENTIALS: Final = "the user or the password"
_MAX_PORT: Final = 65535
_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_SCHEMES: Final = {
    "redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster",
    "rediss+cluster",
}  # fmt: skip
# The letters that Sentinel allows in the name of a master; the length is arbitrary.
_SERVICE: Final = re.compile(r"[A-Za-z0-9._-]{1,255}", re.ASCII)
# Of a Unix socket: 107 bytes on Linux, 103 on macOS (unix(7)).
_MAX_PATH_BYTES: Final = 107


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """The parts of a URL, percent-decoded.

    Attributes:
        unix_socket_path: empty for TCP.
        family: 4 or 6 for IPv4 or IPv6 alone, 0 for any that the host's name leads to.
        tls: None for a connection without TLS.
        username: empty for the default user.
        password: empty for no password.
        database: 0 or higher.
    """

    host: str = "127.0.0.1"
    port: int = _PORT
    unix_socket_path: str = ""
    family: int = 0
    tls: TlsOptions | None = None
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    database: int = 0


@dataclass(frozen=True, slots=True)
class SentinelUrl(RedisUrl):
    """The parts of a URL that names sentinels; host and port do not count.

    Attributes:
        sentinels: host and port of each, at least one.
        service: the name by which they know the master.
        sentinel_username: for the sentinels alone; empty for the default user.
        sentinel_password: for the sentinels alone; empty for no password.
    """

    sentinels: tuple[tuple[str, int], ...] = ()
    service: str = ""
    sentinel_username: str = field(default="", repr=False)
    sentinel_password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class ClusterUrl(RedisUrl):
    """The parts of a URL that names servers of a cluster; host and port do not count.

    Attributes:
        servers: host and port of each, at least one; they know the others.
    """

    servers: tuple[tuple[str, int], ...] = ()


def parse_redis_url(setting: str, text: str) -> RedisUrl:
    """Return the parts of a URL.

    Args:
        setting: names the setting in errors.
        text: the URL. White space around it is ignored: files often end with a line break.

    Raises:
        SecretConfigError: a part or an option is not allowed.
    """
    wrong = partial(SecretConfigError, setting)
    scheme, found, rest = text.strip().partition("://")
    if not found or scheme not in _SCHEMES:
        raise wrong(_shown(text), _FORMS)
    if re.search(r"[\s\0-\x1f\x7f]", rest):
        raise wrong("white space in the URL", _ENCODED)
    before_query, _, query = rest.partition("?")
    authority, slash, path = before_query.partition("/")
    userinfo, has_user, place = authority.rpartition("@")
    is_misplaced = scheme != "unix" and ("@" in path or ("@" in query and not has_user))
    if is_misplaced or "#" in rest:
        raise wrong(_CREDENTIALS, _ENCODED)
    parts = _PARTS.get(scheme, _tcp_parts)
    options = read_options(wrong, query, scheme)
    username, _, password = userinfo.partition(":")
    credentials = {
        "username": _decoded(wrong, _CREDENTIALS, username),
        "password": _decoded(wrong, _CREDENTIALS, password),
    }
    if scheme.endswith("+cluster") and options.get("database"):
        raise wrong("the database", "none, as clusters have database 0 only")
    make_url = _URLS.get(scheme.partition("+")[2], RedisUrl)
    return make_url(
        tls=tls_options(options) if scheme.startswith("rediss") else None,
        **{
            **parts(wrong, place, slash + path),
            **{name: value for name, value in options.items() if not name.startswith("ssl_")},
            **{name: value for name, value in credentials.items() if value},
        },
    )


def _shown(text: str) -> str:
    """Return what is no URL of ours as far as nothing in it can be a secret."""
    if re.fullmatch(r"[a-z][a-z0-9+.-]{0,20}://[a-z0-9.-]{1,253}/?", text):
        return repr(text)
    return "the value (not shown, it may be confidential)"


def _decoded(wrong: Wrong, part: str, text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise wrong(part, "percent-encoded UTF-8") from None


def _unix_parts(wrong: Wrong, place: str, path: str) -> dict[str, Any]:
    decoded = _decoded(wrong, "the path", path)
    if place or len(decoded) < 2 or "\0" in decoded:
        raise wrong("the path", _ENCODED)
    if len(decoded.encode()) > _MAX_PATH_BYTES:
        raise wrong("the path", f"at most {_MAX_PATH_BYTES} bytes")
    return {"unix_socket_path": decoded}


def _tcp_parts(wrong: Wrong, place: str, path: str) -> dict[str, Any]:
    host, port = _host_and_port(wrong, place)
    named = {name: value for name, value in (("host", host), ("port", port)) if value}
    return named | _database(wrong, path)


def _sentinel_parts(wrong: Wrong, place: str, path: str) -> dict[str, Any]:
    sentinels = _places(wrong, place, SENTINEL_FORM, _SENTINEL_PORT)
    service, slash, database = path.removeprefix("/").partition("/")
    if _SERVICE.fullmatch(service) is None:
        expected = f"the name of the master, of A-Z a-z 0-9 . _ - in {SENTINEL_FORM}"
        raise wrong("the service", expected)
    return {
        "sentinels": sentinels,
        "service": service,
        **_database(wrong, slash + database),
    }


def _cluster_parts(wrong: Wrong, place: str, path: str) -> dict[str, Any]:
    if path not in {"", "/", "/0"}:
        raise wrong("the database", f"none, as clusters have database 0 only: {_CLUSTER_FORM}")
    return {"servers": _places(wrong, place, _CLUSTER_FORM, _PORT)}


def _places(wrong: Wrong, text: str, form: str, default: int) -> tuple[tuple[str, int], ...]:
    """Return host and port of each place between commas."""
    places = []
    for each in text.split(","):
        host, port = _host_and_port(wrong, each)
        if not host:
            raise wrong("the host", f"a host between the commas of {form}")
        places.append((host, port or default))
    return tuple(dict.fromkeys(places))


def _host_and_port(wrong: Wrong, place: str) -> tuple[str, int]:
    """Return the host, empty if there is none, and the port, 0 if there is none."""
    found = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(?::(.*))?", place)
    if found is None:
        raise wrong("the host", _ENCODED)
    host, port = _decoded(wrong, "the host", found[1]), found[2]
    if host.startswith("["):
        host = _ipv6(wrong, host[1:-1])
    elif not re.fullmatch(r"[^\s\0-\x1f/@:\[\]?#\\%,]{0,253}", host):
        raise wrong("the host", _ENCODED)
    else:
        host = host.lower()
    if not port:
        return host, 0
    if re.fullmatch(r"\d{1,5}", port, re.ASCII) is None or not 1 <= int(port) <= _MAX_PORT:
        raise wrong("the port", f"a port from 1 to {_MAX_PORT} in {_ENCODED}")
    return host, int(port)


def _database(wrong: Wrong, path: str) -> dict[str, int]:
    if path in {"", "/"}:
        return {}
    if re.fullmatch(r"/\d{1,9}", path, re.ASCII) is None:
        raise wrong("the database", f"{DATABASE_EXPECTED} in {_ENCODED}")
    return {"database": int(path[1:])}


_PARTS: Final = {
    "unix": _unix_parts,
    "redis+sentinel": _sentinel_parts,
    "rediss+sentinel": _sentinel_parts,
    "redis+cluster": _cluster_parts,
    "rediss+cluster": _cluster_parts,
}
_URLS: Final[Mapping[str, type[RedisUrl]]] = {"sentinel": SentinelUrl, "cluster": ClusterUrl}


def _ipv6(wrong: Wrong, text: str) -> str:
    try:
        IPv6Address(text)
    except ValueError:
        raise wrong("the host", f"an IPv6 address in brackets in {_FORMS}") from None
    return text
