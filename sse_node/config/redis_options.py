"""The options of a Redis URL: names, forms and what is expected; the names are redis-py's."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_plus

from sse_node.config.redis_tls import (
    AUTHORITY_OPTIONS,
    FLAGS_EXPECTED,
    IDENTITY_OPTIONS,
    Authorities,
    Identity,
    TlsOptions,
)
from sse_node.errors import SecretConfigError

Wrong = Callable[[str, str], SecretConfigError]
"""Makes the error of a part: its name, and what is expected."""

SENTINEL_FORM: Final = "redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB"
DATABASE_EXPECTED: Final = "a database from 0 to 999999999"
_TRUE: Final = {"1", "t", "true", "y", "yes", "on"}
_FALSE: Final = {"0", "f", "false", "n", "no", "off"}


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
    "db": _Option("database", _parse_database, DATABASE_EXPECTED),
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


def read_options(wrong: Wrong, query: str, scheme: str) -> dict[str, Any]:
    """Return the options of a URL by the fields that they become.

    Args:
        wrong: makes the error of a part.
        query: of the URL.
        scheme: of the URL; some options belong to one.

    Raises:
        SecretConfigError: an option is not allowed.
    """
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
            raise wrong(part, "rediss:// with it, rediss+sentinel:// or rediss+cluster://")
        if name.startswith("sentinel_") and not scheme.endswith("+sentinel"):
            raise wrong(part, f"{SENTINEL_FORM} with it")
        option = _OPTIONS[name]
        if option.field in values:
            raise wrong(part, "to be there once")
        try:
            values[option.field] = option.parse(unquote_plus(text, errors="strict"))
        except (LookupError, ValueError):  # also what is not UTF-8
            raise wrong(part, f"{option.expected}; its value is not shown") from None
    values.pop("", None)
    return values


def tls_options(options: Mapping[str, Any]) -> TlsOptions:
    """Return the options of TLS among those of a URL."""
    named = {
        name.removeprefix("ssl_"): value
        for name, value in options.items()
        if name.startswith("ssl_")
    }
    authorities = {name: named.pop(name) for name in AUTHORITY_OPTIONS & named.keys()}
    identity = {name: named.pop(name) for name in IDENTITY_OPTIONS & named.keys()}
    return TlsOptions(Authorities(**authorities), Identity(**identity), **named)
