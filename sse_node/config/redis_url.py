"""The URL of a Redis: redis://, rediss://, unix:// or redis+sentinel://, its parts and options.

The forms are redis-py's, and with Sentinel docket's, which other programs of a deployment share.
Any part may hold a secret, even where nobody meant to put one: an error names the part and what is
expected, never the value. An option that nothing here reads is an error too, because its writer
relies on it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv6Address
from typing import Any, Final
from urllib.parse import unquote, unquote_plus

from sse_node.config.redis_tls import (
    AUTHORITY_OPTIONS,
    FLAGS_EXPECTED,
    IDENTITY_OPTIONS,
    Authorities,
    Identity,
    TlsOptions,
)
from sse_node.errors import SecretConfigError

_SENTINEL_FORM: Final = "redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB"
_FORMS: Final = (
    f"redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix:///PATH; with Sentinel {_SENTINEL_FORM}"
)
_ENCODED: Final = f"{_FORMS}; / ? # [ ] @ % in user and password are percent-encoded"
_CREDENTIALS: Final = "the user or the password"
_DATABASE_EXPECTED: Final = "a database from 0 to 999999999"
_MAX_PORT: Final = 65535
_SENTINEL_PORT: Final = 26379
_SCHEMES: Final = {"redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel"}
_CLUSTER_SCHEMES: Final = {"redis+cluster", "rediss+cluster"}
# The letters that Sentinel allows in the name of a master; the length is arbitrary.
_SERVICE: Final = re.compile(r"[A-Za-z0-9._-]{1,255}", re.ASCII)
# Of a Unix socket: 107 bytes on Linux, 103 on macOS (unix(7)).
_MAX_PATH_BYTES: Final = 107
_TRUE: Final = {"1", "t", "true", "y", "yes", "on"}
_FALSE: Final = {"0", "f", "false", "n", "no", "off"}


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
    port: int = 6379
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


Wrong = Callable[[str, str], SecretConfigError]
"""Makes the error of a part: its name, and what is expected."""


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
    if found and scheme in _CLUSTER_SCHEMES:
        raise wrong(f"the scheme {scheme}", f"{_FORMS}; Redis Cluster is not supported yet")
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
    options = _read_options(wrong, query, scheme)
    username, _, password = userinfo.partition(":")
    credentials = {
        "username": _decoded(wrong, _CREDENTIALS, username),
        "password": _decoded(wrong, _CREDENTIALS, password),
    }
    make_url = SentinelUrl if scheme.endswith("+sentinel") else RedisUrl
    return make_url(
        tls=_tls_options(options) if scheme.startswith("rediss") else None,
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
    sentinels = []
    for each in place.split(","):
        host, port = _host_and_port(wrong, each)
        if not host:
            raise wrong("the host", f"a host between the commas of {_SENTINEL_FORM}")
        sentinels.append((host, port or _SENTINEL_PORT))
    service, slash, database = path.removeprefix("/").partition("/")
    if _SERVICE.fullmatch(service) is None:
        expected = f"the name of the master, of A-Z a-z 0-9 . _ - in {_SENTINEL_FORM}"
        raise wrong("the service", expected)
    return {
        "sentinels": tuple(dict.fromkeys(sentinels)),
        "service": service,
        **_database(wrong, slash + database),
    }


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
        raise wrong("the database", f"{_DATABASE_EXPECTED} in {_ENCODED}")
    return {"database": int(path[1:])}


_PARTS: Final = {
    "unix": _unix_parts,
    "redis+sentinel": _sentinel_parts,
    "rediss+sentinel": _sentinel_parts,
}


def _ipv6(wrong: Wrong, text: str) -> str:
    try:
        IPv6Address(text)
    except ValueError:
        raise wrong("the host", f"an IPv6 address in brackets in {_FORMS}") from None
    return text


# Options


@dataclass(frozen=True, slots=True)
class _Option:
    """An option that is read: the field it becomes, its parser, and what is expected."""

    field: str
    parse: Callable[[str], Any]
    expected: str


def _parse_bool(text: str) -> bool:
    if text.lower() not in _TRUE | _FALSE:
        raise ValueError
    return text.lower() in _TRUE


def _parse_database(text: str) -> int:
    if re.fullmatch(r"\d{1,9}", text, re.ASCII) is None:
        raise ValueError
    return int(text)


def _parse_cert_reqs(text: str) -> str:
    """Return none, optional or required: redis-py's words, Celery writes CERT_NONE."""
    word = text.lower().removeprefix("cert_")
    if word not in {"none", "optional", "required"}:
        raise ValueError
    return word


def _parse_text(text: str) -> str:
    if not text:
        raise ValueError
    return text


def _parse_flags(text: str) -> tuple[str, ...]:
    return tuple(flag.strip() for flag in text.strip("[]").split(","))


_VERSIONS: Final = {
    **dict.fromkeys(("TLSv1.2", "TLSv1_2", "1.2", "771"), "TLSv1_2"),
    **dict.fromkeys(("TLSv1.3", "TLSv1_3", "1.3", "772"), "TLSv1_3"),
}
_OPTIONS: Final[Mapping[str, _Option]] = {
    "db": _Option("database", _parse_database, _DATABASE_EXPECTED),
    "username": _Option("username", _parse_text, "a user's name"),
    "password": _Option("password", _parse_text, "a password"),
    # ioredis': a name that leads to addresses of both families.
    "family": _Option("family", {"0": 0, "4": 4, "6": 6}.__getitem__, "0, 4 or 6"),
    "protocol": _Option("", {"2": 2}.__getitem__, "2, the version of RESP that is spoken"),
    "ssl_ca_certs": _Option("ssl_ca_certs", _parse_text, "a file"),
    "ssl_ca_path": _Option("ssl_ca_path", _parse_text, "a directory"),
    "ssl_ca_data": _Option("ssl_ca_data", _parse_text, "certificates in PEM"),
    "ssl_certfile": _Option("ssl_certfile", _parse_text, "a file"),
    "ssl_keyfile": _Option("ssl_keyfile", _parse_text, "a file"),
    "ssl_password": _Option("ssl_password", _parse_text, "the password of ssl_keyfile"),
    "ssl_cert_reqs": _Option("ssl_cert_reqs", _parse_cert_reqs, "none, optional or required"),
    "ssl_check_hostname": _Option("ssl_check_hostname", _parse_bool, "true or false"),
    "ssl_min_version": _Option("ssl_min_version", _VERSIONS.__getitem__, "TLSv1.2 or TLSv1.3"),
    "ssl_ciphers": _Option("ssl_ciphers", _parse_text, "ciphers in OpenSSL's form"),
    "ssl_include_verify_flags": _Option("ssl_include_verify_flags", _parse_flags, FLAGS_EXPECTED),
    "ssl_exclude_verify_flags": _Option("ssl_exclude_verify_flags", _parse_flags, FLAGS_EXPECTED),
    "sentinel_username": _Option("sentinel_username", _parse_text, "a user's name"),
    "sentinel_password": _Option("sentinel_password", _parse_text, "a password"),
}
# Options of redis-py that a setting of the node stands for.
_SETTINGS: Final = {
    "socket_timeout": "--redis-timeout",
    "socket_connect_timeout": "--redis-timeout",
    "timeout": "--redis-timeout",
    "max_connections": "--redis-connections",
    "health_check_interval": "--audit-interval",
    "client_name": "--server-id",
}


def _read_options(wrong: Wrong, query: str, scheme: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for pair in filter(None, query.split("&")):
        name, has_value, text = pair.partition("=")
        if not has_value or re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,40}", name) is None:
            raise wrong("an option", f"NAME=VALUE with a NAME of {', '.join(_OPTIONS)}")
        part = f"option {name!r}"
        if name in _SETTINGS:
            raise wrong(part, f"the setting {_SETTINGS[name]} instead")
        if name not in _OPTIONS:
            raise wrong(part, f"one of {', '.join(_OPTIONS)}")
        if name.startswith("ssl_") and not scheme.startswith("rediss"):
            raise wrong(part, "rediss:// with it, or rediss+sentinel://")
        if name.startswith("sentinel_") and not scheme.endswith("+sentinel"):
            raise wrong(part, f"{_SENTINEL_FORM} with it")
        option = _OPTIONS[name]
        if option.field in values:
            raise wrong(part, "to be there once")
        try:
            values[option.field] = option.parse(unquote_plus(text, errors="strict"))
        except (LookupError, ValueError):  # also what is not UTF-8
            raise wrong(part, f"{option.expected}; its value is not shown") from None
    values.pop("", None)
    return values


def _tls_options(options: Mapping[str, Any]) -> TlsOptions:
    named = {
        name.removeprefix("ssl_"): value
        for name, value in options.items()
        if name.startswith("ssl_")
    }
    authorities = {name: named.pop(name) for name in AUTHORITY_OPTIONS & named.keys()}
    identity = {name: named.pop(name) for name in IDENTITY_OPTIONS & named.keys()}
    return TlsOptions(Authorities(**authorities), Identity(**identity), **named)
