"""The configuration file: TOML, with a table for each section of settings.

A setting has the name of its flag there, without `--`, with `_` or `-`; the name of its section in
front may be left out (`[redis] url`). What is no setting stops the start, and the message names the
nearest one.
"""

import tomllib
from collections.abc import Iterable
from dataclasses import Field
from pathlib import Path
from typing import Any

from sse_node.config.nearest import nearest
from sse_node.config.setting import Origin
from sse_node.errors import ConfigError, SecretConfigError


class FileNames:
    """The names that settings have in a file.

    Args:
        settings: the section and the field of every setting.
    """

    def __init__(self, settings: Iterable[tuple[str, Field[Any]]]) -> None:
        self._fields: dict[tuple[str, str], Field[Any]] = {}
        for section, item in settings:
            for name in (item.name, item.metadata["name"] or item.name):
                self._fields[section, name] = item
        self._sections = list(dict.fromkeys(section for section, _ in self._fields))

    def find(self, where: str, section: str, name: str) -> Field[Any]:
        """Return the setting of this name in a section.

        Args:
            where: the file and the section, for messages.
            section: an existing one.
            name: as it is in the file.

        Raises:
            ConfigError: there is none; it names the nearest one.
        """
        plain = name.replace("-", "_")
        if (item := self._fields.get((section, plain))) is not None:
            return item
        for other, known in self._fields:
            if known == plain:
                raise ConfigError(where, name, f"it in [{other}]")
        close = nearest(f"{section} {plain}", (" ".join(key) for key in self._fields))
        other, _, known = close.partition(" ")
        raise ConfigError(where, name, f"a setting; the nearest is {known} in [{other}]")

    def check_section(self, where: str, name: str, value: object) -> None:
        """Reject what is no section.

        Raises:
            ConfigError: it names the nearest one.
        """
        is_table = isinstance(value, dict)
        if is_table and name in self._sections:
            return
        plain = name.replace("-", "_")
        owners = [section for section, known in self._fields if known == plain]
        if owners and not is_table:
            raise ConfigError(where, name, f"it in [{owners[0]}]")
        close = nearest(plain, self._sections)
        sections = ", ".join(self._sections)
        raise ConfigError(where, name, f"one of the sections {sections}; the nearest is [{close}]")


def read_file(
    path: str, setting: str, settings: Iterable[tuple[str, Field[Any]]]
) -> dict[Field[Any], Origin]:
    """Return the values in a configuration file, by the fields of their settings.

    Args:
        path: of the file.
        setting: where the path comes from, `--config` or its variable.
        settings: the section and the field of every setting.

    Raises:
        ConfigError: the file cannot be read, is no TOML, or has a name that is no setting.
    """
    names = FileNames(settings)
    values: dict[Field[Any], Origin] = {}
    for section, table in _tables(path, setting).items():
        names.check_section(path, section, table)
        where = f"{path} [{section}]"
        for name, value in table.items():
            item = names.find(where, section, name)
            if item in values:
                raise ConfigError(where, name, f"one value for {values[item].where}")
            values[item] = Origin(f"{where} {name}", _text_of(f"{where} {name}", item, value))
    return values


def _tables(path: str, setting: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as exc:
        raise ConfigError(setting, path, f"a readable file ({exc.strerror})") from None
    except UnicodeDecodeError:
        raise SecretConfigError(path, "its encoding", "UTF-8") from None
    except tomllib.TOMLDecodeError as exc:
        raise SecretConfigError(path, "its content", f"TOML ({exc})") from None


def _text_of(where: str, item: Field[Any], value: object) -> str:
    """Return a value of TOML as an operator would write it for a flag."""
    match value:
        case bool():
            return "true" if value else "false"
        case str() | int():
            return str(value)
        case float():
            return f"{value:f}".rstrip("0").rstrip(".")
        case list() if item.metadata["is_list"]:
            return ",".join(_entry(where, entry) for entry in value)
    expected = "a list of strings" if item.metadata["is_list"] else "a string or a number"
    raise SecretConfigError(where, f"a value of type {type(value).__name__}", expected)


def _entry(where: str, entry: object) -> str:
    if not isinstance(entry, str) or "," in entry:
        raise ConfigError(where, entry, "strings without a comma")
    return entry
