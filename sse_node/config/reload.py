"""What SIGHUP may change: the settings are read again and compared with those of the start.

Flags and the environment of a process never change, the configuration file does.
"""

from collections.abc import Iterable, Mapping
from dataclasses import Field, replace
from typing import Any, Final, NamedTuple

from sse_node.config.access_checks import check_access
from sse_node.config.reading import (
    Sources,
    all_settings,
    flag_of,
    name_of,
    read_settings,
    variable_of,
)
from sse_node.config.sections import Settings

# What the processes of a node share with each other, or have in Redis under a common name.
_SHARED_SECTIONS: Final = frozenset({"listen"})
_SHARED: Final = frozenset(
    {"server_id", "workers", "admin_port", "admin_uds", "redis_url", "namespace"}
)


class SettingsSource:
    """Reads the settings of a node at its start, and again for each SIGHUP.

    Args:
        flags: by the settings' names, with `config`; None where the flag was not given.
        environment: as `os.environ`.
    """

    def __init__(self, flags: Mapping[str, str | None], environment: Mapping[str, str]) -> None:
        self._flags = flags
        self._environment = dict(environment)

    def read(self) -> Settings:
        """Return the settings.

        Raises:
            ConfigError: a value is not allowed, or the configuration file cannot be used.
        """
        settings = read_settings(self._flags, self._environment)
        check_access(settings)
        return settings

    def shared_variables(self) -> dict[str, str]:
        """Return environment variables that keep what the workers of a node share as it is now."""
        sources = Sources(self._flags, self._environment)
        return {
            variable_of(item): sources.find(item).text
            for section, item in all_settings()
            if is_shared(section, item)
        }


def is_shared(section: str, item: Field[Any]) -> bool:
    """Return whether all workers of a node must have the same value at any time."""
    return section in _SHARED_SECTIONS or name_of(item) in _SHARED


class Reload(NamedTuple):
    """What a SIGHUP changes.

    Attributes:
        settings: that hold from now on.
        changed: the flags of those that have changed.
        waiting: the flags of those that have changed in the file, but need a restart.
    """

    settings: Settings
    changed: list[str]
    waiting: list[str]

    def __str__(self) -> str:
        """Return what the log says."""
        said = []
        if self.changed:
            said.append(f"reloaded {', '.join(self.changed)}")
        if self.waiting:
            said.append(f"{', '.join(self.waiting)} changed: restart to use them")
        return "; ".join(said)


def reload_in_place(before: Settings, after: Settings) -> Reload:
    """Return what a node of one process changes: settings that are marked with `reload`."""
    return _reload(before, after, (item.metadata["reload"] for _, item in all_settings()))


def reload_workers(before: Settings, after: Settings) -> Reload:
    """Return what the replacement of a node's workers changes: all but what they share."""
    return _reload(before, after, (not is_shared(*each) for each in all_settings()))


def _reload(before: Settings, after: Settings, may_change: Iterable[bool]) -> Reload:
    changed: list[str] = []
    waiting: list[str] = []
    settings = before
    for (section, item), may in zip(all_settings(), may_change, strict=True):
        value = getattr(getattr(after, section), item.name)
        if value == getattr(getattr(before, section), item.name):
            continue
        (changed if may else waiting).append(flag_of(item))
        if may:
            new = replace(getattr(settings, section), **{item.name: value})
            settings = replace(settings, **{section: new})
    return Reload(settings, changed, waiting)
