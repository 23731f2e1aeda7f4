"""The options of commands: a flag for each setting, and the configuration file."""

import os
from collections.abc import Callable, Mapping
from dataclasses import Field
from typing import Any, TypeVar

import click

from sse_node.config.parsers import file_path
from sse_node.config.reading import (
    CONFIG_VARIABLE,
    all_settings,
    check_variables,
    flag_of,
    name_of,
    read_settings,
    section_fields,
    variable_of,
)
from sse_node.config.sections import Settings
from sse_node.errors import MissingSettingError

_MAY_STAND_ALONE: dict[str, Any] = {"is_flag": False, "flag_value": "yes"}
_CONFIG_OPTION = click.option(
    "--config",
    metavar="FILE",
    type=click.Path(),
    help=f"File with settings, in TOML; flags and variables win. [{CONFIG_VARIABLE}]",
)


Command = TypeVar("Command", bound=Callable[..., Any])


def settings_options(*names: str) -> Callable[[Command], Command]:
    """Return a decorator that adds the options of settings, of all settings by default."""

    def decorate(command: Command) -> Command:
        for _, item in reversed(list(all_settings())):
            if not names or name_of(item) in names:
                command = _option(item)(command)
        return _CONFIG_OPTION(command)

    return decorate


def section_options(*sections: type[Any]) -> Callable[[Command], Command]:
    """Return a decorator that adds the options of sections that are not a node's."""

    def decorate(command: Command) -> Command:
        for section in reversed(sections):
            for item in reversed(section_fields(section)):
                command = _option(item)(command)
        return command

    return decorate


def _option(item: Field[Any]) -> Callable[[Command], Command]:
    about = item.metadata
    variables = [variable_of(item), about["also"]]
    default = about["default"] or "none"
    facts = [f"default {default} {about['unit']}".strip(), ", ".join(filter(None, variables))]
    return click.option(
        flag_of(item),
        name_of(item),
        metavar="VALUE",
        type=click.Path() if about["parse"] is file_path else str,  # completed by a shell
        **(_MAY_STAND_ALONE if item.type is bool else {}),
        help=f"{about['help']} [{'; '.join(facts)}]",
    )


def settings_of(flags: Mapping[str, str | None]) -> Settings:
    """Return the settings that a command has by its flags, its environment and its file.

    Raises:
        ConfigError: a value is not allowed, or a variable is most likely a misspelt setting.
    """
    check_variables(os.environ)
    return read_settings(flags, os.environ)


def settings_beside_nodes(flags: Mapping[str, str | None]) -> Settings:
    """Return the same for a command that works on the Redis of nodes.

    Raises:
        ConfigError: as `settings_of`, or nothing says where Redis is.
    """
    settings = settings_of(flags)
    if not settings.redis.url:
        raise MissingSettingError(
            "--redis-url", "the URL of the nodes' Redis, such as redis://127.0.0.1:6379"
        )
    return settings
