"""Where settings come from: a flag, else the environment, else the default.

A setting is a flag and an environment variable `SSE_NODE_<FLAG>`; some have a second variable that
other programs know. What is not allowed raises ConfigError, naming setting, value and bounds.
"""

import os
import re
import resource
import socket
from collections.abc import Iterator, Mapping
from dataclasses import Field, fields
from typing import Any

from sse_node.config.machine import memory_bytes
from sse_node.config.parsers import integer, redis_host
from sse_node.config.sections import RESERVED_FILES, ListenSettings, Settings
from sse_node.errors import ConfigError

# Kubernetes gives every pod variables for each Service of its namespace, and Docker links do the
# same: a Service named sse-node becomes SSE_NODE_PORT=tcp://10.96.0.7:3000 and more. A link also
# gets SSE_NODE_NAME, and SSE_NODE_ENV_… for each variable of the container that it leads to.
_PLATFORM_VALUE = re.compile(r"(?:tcp|udp|sctp)://")
_PLATFORM_NAME = re.compile(
    r"SSE_NODE_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?"
    r"|NAME|ENV_\w+)"
)
_PLATFORM_PORTS = ("SSE_NODE_PORT", "SSE_NODE_ADMIN_PORT", "REDIS_PORT")


def platform_variables(environment: Mapping[str, str]) -> list[str]:
    """Return the variables that have a setting's name, but a value that a platform injected."""
    return [name for name in _PLATFORM_PORTS if _PLATFORM_VALUE.match(environment.get(name, ""))]


def all_settings() -> Iterator[tuple[str, Field[Any]]]:
    """Yield the section's name and the field of every setting, in the order of the sections."""
    for section in fields(Settings):
        for item in fields(_section_type(section)):
            yield section.name, item


def _section_type(section: Field[Any]) -> type[Any]:
    assert isinstance(section.type, type)
    return section.type


def name_of(item: Field[Any]) -> str:
    """Return the public name of a setting, with underscores."""
    return item.metadata["name"] or item.name


def flag_of(item: Field[Any]) -> str:
    """Return the command line's flag of a setting."""
    return "--" + name_of(item).replace("_", "-")


def variable_of(item: Field[Any]) -> str:
    """Return the environment variable of a setting."""
    return f"SSE_NODE_{name_of(item).upper()}"


def read_settings(flags: Mapping[str, str | None], environment: Mapping[str, str]) -> Settings:
    """Return the settings: from flags, else the environment, else the defaults.

    Args:
        flags: by the settings' names; None or absent where the flag was not given.
        environment: as `os.environ`.

    Raises:
        ConfigError: a value is not allowed.
    """
    environment = _without_platform(environment)
    values = {each.name: _read_section(each.name, flags, environment) for each in fields(Settings)}
    redis, node, streams = values["redis"], values["node"], values["streams"]
    limits = values["limits"]
    redis["url"] = redis["url"] or _url_of_host_and_port(environment)
    node["server_id"] = node["server_id"] or _own_name()
    streams["max_streams"] = _checked_max_streams(streams["max_streams"])
    limits["memory_limit"] = limits["memory_limit"] or memory_bytes() // 10 * 9 // node["workers"]
    return Settings(
        **{each.name: _section_type(each)(**values[each.name]) for each in fields(Settings)}
    )


def read_listen_settings(
    flags: Mapping[str, str | None], environment: Mapping[str, str]
) -> ListenSettings:
    """Return where a node listens, as `read_settings` does; its other settings are not looked at.

    Raises:
        ConfigError: a value is not allowed.
    """
    return ListenSettings(**_read_section("listen", flags, _without_platform(environment)))


def _without_platform(environment: Mapping[str, str]) -> Mapping[str, str]:
    ignored = platform_variables(environment)
    return {name: value for name, value in environment.items() if name not in ignored}


def _read_section(
    section: str, flags: Mapping[str, str | None], environment: Mapping[str, str]
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name_of_section, item in all_settings():
        if name_of_section != section:
            continue
        flag = flag_of(item)
        sources = {flag: flags.get(name_of(item))}
        for variable in (variable_of(item), item.metadata["also"]):
            sources[variable] = environment.get(variable)
        name, text = next(
            ((name, text) for name, text in sources.items() if text is not None),
            (flag, item.metadata["default"]),
        )
        values[item.name] = item.metadata["parse"](name, text)
    return values


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Return variables that look like settings but are not: misspelt ones, most likely."""
    known = {variable_of(item) for _, item in all_settings()}
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
    checked_host: str = redis_host("REDIS_HOST", host or "127.0.0.1").strip("[]")
    checked_port: int = integer(1, 65535)("REDIS_PORT", port or "6379")
    is_ipv6 = ":" in checked_host
    return f"redis://{f'[{checked_host}]' if is_ipv6 else checked_host}:{checked_port}"


def _own_name() -> str:
    host = re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:48] or "node"
    return f"{host}-{os.getpid()}"


def _checked_max_streams(asked: int) -> int:
    limit = raise_file_limit()
    most = limit - RESERVED_FILES
    if most < 1:
        raise ConfigError("ulimit -n", limit, f"more than {RESERVED_FILES} file descriptors")
    if asked > most:
        raise ConfigError(
            "--max-streams",
            asked,
            f"at most {most}: the file descriptor limit {limit} less {RESERVED_FILES}",
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
