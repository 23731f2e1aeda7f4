"""Every setting with its default, unit, bounds and reason; values from outside become Settings.

A setting is a flag and an environment variable `SSE_NODE_<FLAG>`; some have a second variable that
other programs know. What is not allowed raises ConfigError, naming setting, value and bounds.
"""

import os
import re
import resource
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final
from urllib.parse import urlsplit

from sse_node.errors import ConfigError
from sse_node.logs.format import LEVELS
from sse_node.wire.envelope import (
    ANALYTICS_EVENTS,
    SYSTEM_EVENTS,
    USER_ID_EXPECTED,
    is_user_id,
)

_TRUE: Final = {"1", "true", "yes", "on"}
_FALSE: Final = {"", "0", "false", "no", "off"}
# File descriptors kept for what is no stream: requests, clients between two, Redis, the log.
_RESERVED_FILES: Final = 600

Parse = Callable[[str, str], Any]


def _integer(least: int, most: int) -> Parse:
    def parse(setting: str, text: str) -> int:
        if re.fullmatch(r"\d{1,15}", text, re.ASCII) is None or not least <= int(text) <= most:
            raise ConfigError(setting, text, f"a whole number from {least} to {most}")
        return int(text)

    return parse


def _seconds(least: float, most: float) -> Parse:
    def parse(setting: str, text: str) -> float:
        if re.fullmatch(r"\d{1,9}(\.\d{1,6})?", text, re.ASCII) is None or not (
            least <= float(text) <= most
        ):
            raise ConfigError(setting, text, f"a number from {least:g} to {most:g} seconds")
        return float(text)

    return parse


def _matching(pattern: str, expected: str) -> Parse:
    def parse(setting: str, text: str) -> str:
        if re.fullmatch(pattern, text, re.ASCII) is None:
            raise ConfigError(setting, text, expected)
        return text

    return parse


def _one_of(*values: str) -> Parse:
    def parse(setting: str, text: str) -> str:
        if text not in values:
            raise ConfigError(setting, text, "one of " + ", ".join(values))
        return text

    return parse


_redis_host = _matching(
    r"[A-Za-z0-9._-]{1,253}|\[?[0-9A-Fa-f:.]{2,45}\]?", "a host name or an address, without a port"
)


def _yes_or_no(setting: str, text: str) -> bool:
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise ConfigError(setting, text, "yes or no")


def _user(setting: str, text: str) -> str:
    if not is_user_id(text):
        raise ConfigError(setting, text, USER_ID_EXPECTED)
    return text


def _names(setting: str, text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", name, re.ASCII) is None or name == "user-events":
            raise ConfigError(setting, name, "channels of 1 to 64 of A-Z a-z 0-9 _ . : -")
    return names


def _origins(setting: str, text: str) -> tuple[str, ...]:
    origins = tuple(origin.strip() for origin in text.split(",") if origin.strip())
    for origin in origins:
        if re.fullmatch(r"\*|[a-z][a-z0-9+.-]*://[^/\s]+", origin) is None:
            raise ConfigError(setting, origin, "origins such as https://app.example, or *")
    return origins


def _redis_url(setting: str, text: str) -> str:
    if text and not _is_redis_url(text):
        raise ConfigError(
            setting,
            without_password(text),
            "redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix:///PATH",
        )
    return text


def _is_redis_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    scheme, _, _ = text.partition("://")
    if scheme == "unix":
        return not parts.hostname and len(parts.path) > 1
    is_database = re.fullmatch(r"(/\d{0,9})?", parts.path, re.ASCII) is not None
    return scheme in {"redis", "rediss"} and port != 0 and is_database


def without_password(url: str) -> str:
    """Return a URL, or what was meant to be one, fit to be shown."""
    url = re.sub(r"^(\w+://)?.*@", r"\1***@", url, flags=re.DOTALL)
    return re.sub(r"(?<=password=)[^&]*", "***", url)


def setting(default: str, parse: Parse, help_text: str, *, unit: str = "", also: str = "") -> Any:  # noqa: ANN401  (the type is the field's)
    """Return the dataclass field of a setting.

    Args:
        default: as an operator would write it.
        parse: from (setting's name, text) to the value; raises ConfigError.
        help_text: for `--help`.
        unit: of the value.
        also: a second environment variable that is honoured.
    """
    return field(
        metadata={"default": default, "parse": parse, "help": help_text, "unit": unit, "also": also}
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one node; frozen, made once at start."""

    host: str = setting("127.0.0.1", _matching(r"\S{1,255}", "an address to listen on"),
                        "Address to listen on.")  # fmt: skip
    port: int = setting("3000", _integer(0, 65535), "TCP port; 0 lets the kernel choose.",
                        also="PORT")  # fmt: skip
    uds: str = setting("", _matching(r"[^\0]{0,103}", "a path of at most 103 bytes"),
                       "Unix socket to listen on instead of host and port.")  # fmt: skip
    workers: int = setting(
        "1", _integer(1, 1024), "Processes that share the port or socket, one core each.",
        also="WEB_CONCURRENCY",
    )  # fmt: skip
    backlog: int = setting("2048", _integer(1, 65535), "Connections that may wait to be accepted.")
    log_level: str = setting("info", _one_of(*LEVELS), "One of " + ", ".join(LEVELS) + ".")
    log_format: str = setting("text", _one_of("text", "json"), "text or json.")
    timeout_keep_alive: float = setting(
        "75", _seconds(1, 3600), "Idle time of an HTTP connection; above nginx's 60.", unit="s"
    )
    timeout_head: float = setting(
        "10", _seconds(0.1, 300), "For the head of a request to arrive.", unit="s"
    )
    timeout_content: float = setting(
        "30", _seconds(0.1, 3600), "For the content of a request to arrive.", unit="s"
    )
    timeout_graceful_shutdown: float = setting(
        "30", _seconds(1, 3600), "For everything between a stop signal and the exit.", unit="s"
    )
    timeout_worker_healthcheck: float = setting(
        "10", _seconds(1, 3600),
        "A worker whose event loop stands still for so long is killed and brought back.", unit="s",
    )  # fmt: skip
    drain_delay: float = setting(
        "1", _seconds(0, 300),
        "After SIGTERM the node is not ready but still listens, for the balancer to notice.",
        unit="s",
    )  # fmt: skip
    drain_rate: int = setting(
        "1000", _integer(1, 1_000_000), "Streams ended per second of a drain, where time allows.",
        unit="streams/s",
    )  # fmt: skip
    redis_url: str = setting(
        "", _redis_url,
        "redis://, rediss:// or unix://; REDIS_HOST and REDIS_PORT stand for the first. A node "
        "without starts a private Valkey of its own.", also="REDIS_URL",
    )  # fmt: skip
    redis_timeout: float = setting(
        "1.5", _seconds(0.05, 60), "For one command to Redis to be answered.", unit="s"
    )
    redis_connections: int = setting(
        "16", _integer(1, 1000), "Connections for commands at most; further commands wait."
    )
    audit_interval: float = setting(
        "5", _seconds(0.2, 300), "A dead link to Redis is found within twice this time.", unit="s"
    )
    server_id: str = setting(
        "", _matching(r"[A-Za-z0-9_.:-]{0,64}", "1 to 64 of A-Z a-z 0-9 _ . : -"),
        "Name of this node; host name and process id by default.", also="SERVER_ID",
    )  # fmt: skip
    default_user: str = setting("123", _user, "The user of /events/sse and of accounts without.")
    channels: tuple[str, ...] = setting(
        f"{SYSTEM_EVENTS},{ANALYTICS_EVENTS}", _names,
        f"Broadcast channels, separated by commas; every stream has {SYSTEM_EVENTS}.",
    )  # fmt: skip
    event_names: bool = setting(
        "no", _yes_or_no, "Put event types into the event field, for addEventListener."
    )
    cors_origin: tuple[str, ...] = setting(
        "", _origins, "Origins whose pages may read answers, separated by commas; * for any."
    )
    max_streams: int = setting(
        "0", _integer(0, 10_000_000),
        "Open streams of a worker at most; "
        f"0 for the file descriptor limit less {_RESERVED_FILES}.",
    )  # fmt: skip
    max_stream_age: float = setting(
        "0", _seconds(0, 604800), "Streams end at this age, ±20 %; 0 for never.", unit="s"
    )
    max_event_bytes: int = setting(
        "262144", _integer(256, 1_000_000), "The largest event accepted.", unit="bytes"
    )
    ping_interval: float = setting(
        "15", _seconds(0.1, 300), "Between two pings of a stream.", unit="s"
    )
    retry: int = setting(
        "3000", _integer(1, 600_000), "Reconnection time given to clients, ±25 %.", unit="ms"
    )
    write_limit: int = setting(
        "1048576", _integer(4096, 1 << 30),
        "Bytes that may wait for one client; over it the client is disconnected.", unit="bytes",
    )  # fmt: skip
    write_limit_total: int = setting(
        "268435456", _integer(65536, 1 << 40),
        "Bytes that may wait for all clients together; the slowest go first.", unit="bytes",
    )  # fmt: skip
    write_timeout: float = setting(
        "8", _seconds(0.5, 300), "How long bytes may wait with none of them leaving.", unit="s"
    )
    send_buffer: int = setting(
        "65536", _integer(4096, 64 * 1024 * 1024),
        "SO_SNDBUF of a TCP connection; without it a client that never reads holds 4 MB.",
        unit="bytes",
    )  # fmt: skip
    tcp_user_timeout: int = setting(
        "30000", _integer(0, 600_000),
        "TCP_USER_TIMEOUT: unacknowledged bytes end a connection after this time; 0 for never.",
        unit="ms",
    )  # fmt: skip
    history: int = setting(
        "16384", _integer(1, 10_000_000), "Events kept in memory for replays.", unit="events"
    )
    history_bytes: int = setting(
        "67108864", _integer(65536, 1 << 40), "Bytes of payloads kept in memory.", unit="bytes"
    )
    log_length: int = setting(
        "200000", _integer(100, 1_000_000_000), "Entries that sse:log keeps, about.", unit="events"
    )
    replay_limit: int = setting(
        "67108864", _integer(65536, 1 << 40),
        "The most read back from the log for replays that memory lacks; beyond is sse.reset.",
        unit="bytes",
    )  # fmt: skip
    snapshots_kept: int = setting("1000", _integer(1, 1_000_000), "Snapshots kept for each user.")


# Kubernetes gives every pod variables for each Service of its namespace, and Docker links do the
# same: a Service named sse-node becomes SSE_NODE_PORT=tcp://10.96.0.7:3000 and more.
_PLATFORM_VALUE = re.compile(r"(?:tcp|udp|sctp)://")
_PLATFORM_NAME = re.compile(
    r"SSE_NODE_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?)"
)
_PLATFORM_PORTS = ("SSE_NODE_PORT", "REDIS_PORT")


def platform_variables(environment: Mapping[str, str]) -> list[str]:
    """Return the variables that have a setting's name, but a value that a platform injected."""
    return [name for name in _PLATFORM_PORTS if _PLATFORM_VALUE.match(environment.get(name, ""))]


def read_settings(flags: Mapping[str, str | None], environment: Mapping[str, str]) -> Settings:
    """Return the settings: from flags, else the environment, else the defaults.

    Args:
        flags: by field name; None or absent where the flag was not given.
        environment: as `os.environ`.

    Raises:
        ConfigError: a value is not allowed.
    """
    ignored = platform_variables(environment)
    environment = {name: value for name, value in environment.items() if name not in ignored}
    values: dict[str, Any] = {}
    for item in fields(Settings):
        flag = "--" + item.name.replace("_", "-")
        sources = {flag: flags.get(item.name)}
        for variable in (f"SSE_NODE_{item.name.upper()}", item.metadata["also"]):
            sources[variable] = environment.get(variable)
        name, text = next(
            ((name, text) for name, text in sources.items() if text is not None),
            (flag, item.metadata["default"]),
        )
        values[item.name] = item.metadata["parse"](name, text)
    values["redis_url"] = values["redis_url"] or _url_of_host_and_port(environment)
    values["server_id"] = values["server_id"] or _own_name()
    values["max_streams"] = _checked_max_streams(values["max_streams"])
    return Settings(**values)


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Return the variables that look like settings and are none: misspelt ones, most likely."""
    known = {f"SSE_NODE_{item.name.upper()}" for item in fields(Settings)}
    return sorted(
        name
        for name, value in environment.items()
        if name.startswith("SSE_NODE_")
        and name not in known
        and not _PLATFORM_NAME.fullmatch(name)
        and not (name.endswith("_PORT") and _PLATFORM_VALUE.match(value))
    )


def _url_of_host_and_port(environment: Mapping[str, str]) -> str:
    host, port = environment.get("REDIS_HOST"), environment.get("REDIS_PORT")
    if not host and not port:
        return ""
    checked_host: str = _redis_host("REDIS_HOST", host or "127.0.0.1").strip("[]")
    checked_port: int = _integer(1, 65535)("REDIS_PORT", port or "6379")
    is_ipv6 = ":" in checked_host
    return f"redis://{f'[{checked_host}]' if is_ipv6 else checked_host}:{checked_port}"


def _own_name() -> str:
    host = re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:48] or "node"
    return f"{host}-{os.getpid()}"


def _checked_max_streams(asked: int) -> int:
    limit = raise_file_limit()
    most = limit - _RESERVED_FILES
    if most < 1:
        raise ConfigError("ulimit -n", limit, f"more than {_RESERVED_FILES} file descriptors")
    if asked > most:
        raise ConfigError(
            "--max-streams",
            asked,
            f"at most {most}: the file descriptor limit {limit} less {_RESERVED_FILES}",
        )
    return asked or most


def raise_file_limit() -> int:
    """Raise the soft limit of open files to the hard one; return what holds then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):  # macOS reports a hard limit that it does not grant
            return soft
    return min(hard, 10_000_000) if hard != resource.RLIM_INFINITY else 10_000_000
