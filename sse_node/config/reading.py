"""Where settings come from: a flag, else the environment, the configuration file, the default.

A setting is a flag, an environment variable `SSE_NODE_<FLAG>` and an entry of the configuration
file; some have a second variable that other programs know. What is not allowed raises ConfigError,
naming setting, value and bounds.
"""

import os
import re
import resource
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, fields
from typing import Any, Final, TypeVar

from sse_node.config.bridges import BRIDGE_SECTIONS
from sse_node.config.file import read_file
from sse_node.config.machine import memory_bytes
from sse_node.config.nearest import is_near_miss, nearest
from sse_node.config.parsers import integer, redis_host
from sse_node.config.sections import RESERVED_FILES, ListenSettings, Settings
from sse_node.config.setting import Origin
from sse_node.errors import ConfigError, MissingSettingError, SecretConfigError

CONFIG_VARIABLE: Final = "SSE_NODE_CONFIG"
_PREFIX: Final = "SSE_NODE_"
T = TypeVar("T")

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


def section_fields(section: type[Any]) -> tuple[Field[Any], ...]:
    """Return the fields of a section."""
    return fields(section)


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
    return _PREFIX + name_of(item).upper()


class Sources:
    """Where the values of settings come from; read once.

    Args:
        flags: by the settings' names; None or absent where the flag was not given. `config` is the
            configuration file.
        environment: as `os.environ`.

    Raises:
        ConfigError: the configuration file cannot be used.
    """

    def __init__(self, flags: Mapping[str, str | None], environment: Mapping[str, str]) -> None:
        ignored = platform_variables(environment)
        self._flags = flags
        self._environment = {
            name: value for name, value in environment.items() if name not in ignored
        }
        path, setting = flags.get("config"), "--config"
        if path is None:
            path, setting = environment.get(CONFIG_VARIABLE), CONFIG_VARIABLE
        self._file = read_file(path, setting, all_settings()) if path else {}

    def find(self, item: Field[Any]) -> Origin:
        """Return where a setting's value comes from, and its text; a default is from nowhere."""
        found = self._of_this_process(item)
        if name_of(item) == "redis_url" and not (found and found.text):
            url = _url_of_host_and_port(self._environment)
            found = Origin("REDIS_HOST, REDIS_PORT", url) if url else found
        return found or self._file.get(item) or Origin("", item.metadata["default"])

    def _of_this_process(self, item: Field[Any]) -> Origin | None:
        sources = {flag_of(item): self._flags.get(name_of(item))}
        for variable in (variable_of(item), item.metadata["also"]):
            sources[variable] = self._environment.get(variable)
        found = ((where, text) for where, text in sources.items() if text is not None)
        return next(map(Origin._make, found), None)

    def read_section(self, section: str) -> dict[str, Any]:
        """Return the values of a section, by its fields.

        Raises:
            ConfigError: a value is not allowed.
        """
        return self._values_of(item for name, item in all_settings() if name == section)

    def read(self, section: type[T]) -> T:
        """Return a section that is not one of a node's.

        Raises:
            ConfigError: a value is not allowed.
        """
        return section(**self._values_of(section_fields(section)))

    def _values_of(self, items: Iterable[Field[Any]]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for item in items:
            where, text = self.find(item)
            try:
                values[item.name] = item.metadata["parse"](where or flag_of(item), text)
            except ConfigError as exc:
                if where:
                    raise
                raise MissingSettingError(flag_of(item), exc.expected) from None
        return values


def read_settings(flags: Mapping[str, str | None], environment: Mapping[str, str]) -> Settings:
    """Return the settings: from flags, the environment, the configuration file, the defaults.

    Args:
        flags: by the settings' names; None or absent where the flag was not given. `config` is the
            configuration file.
        environment: as `os.environ`.

    Raises:
        ConfigError: a value is not allowed, or the configuration file cannot be used.
    """
    sources = Sources(flags, environment)
    values = {each.name: sources.read_section(each.name) for each in fields(Settings)}
    node, streams, limits = values["node"], values["streams"], values["limits"]
    node["server_id"] = node["server_id"] or _own_name()
    streams["max_streams"] = _checked_max_streams(streams["max_streams"])
    limits["memory_limit"] = limits["memory_limit"] or memory_bytes() // 10 * 9 // node["workers"]
    redis = values["redis"]
    if redis["shards"] > 1 and set("{}") & set(redis["namespace"]):
        raise ConfigError("--namespace", redis["namespace"], "no { and } with several --shards")
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
    return ListenSettings(**Sources(flags, environment).read_section("listen"))


def check_variables(environment: Mapping[str, str]) -> None:
    """Reject a variable that is most likely a misspelt setting.

    Raises:
        ConfigError: it names the setting.
    """
    known = sorted(_known_variables())
    for name in unknown_variables(environment):
        close = nearest(name, known)
        if is_near_miss(name.removeprefix(_PREFIX), close.removeprefix(_PREFIX)):
            raise SecretConfigError(name, "this variable", f"{close}, which is a setting")


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Return variables that look like settings but are not: misspelt ones, most likely."""
    known = _known_variables()
    return sorted(
        name
        for name, value in environment.items()
        if name.startswith(_PREFIX)
        and name not in known
        and not _PLATFORM_NAME.fullmatch(name)
        and not (name.endswith("_PORT") and _PLATFORM_VALUE.match(value))
    )


def _known_variables() -> set[str]:
    """Return the variables of the settings of nodes and bridges, which may share a file of them."""
    nodes = (item for _, item in all_settings())
    bridges = (item for section in BRIDGE_SECTIONS for item in section_fields(section))
    return {CONFIG_VARIABLE, *map(variable_of, nodes), *map(variable_of, bridges)}


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
