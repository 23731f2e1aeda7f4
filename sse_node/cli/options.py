"""The options of commands: a flag for each setting, and the configuration file."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from sse_node.config.parsers import file_path
from sse_node.config.reading import CONFIG_VARIABLE, all_settings, flag_of, name_of, variable_of

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
            if names and name_of(item) not in names:
                continue
            about = item.metadata
            variables = [variable_of(item), about["also"]]
            default = about["default"] or "none"
            facts = [
                f"default {default} {about['unit']}".strip(),
                ", ".join(filter(None, variables)),
            ]
            command = click.option(
                flag_of(item),
                name_of(item),
                metavar="VALUE",
                type=click.Path() if about["parse"] is file_path else str,  # completed by a shell
                **(_MAY_STAND_ALONE if item.type is bool else {}),
                help=f"{about['help']} [{'; '.join(facts)}]",
            )(command)
        return _CONFIG_OPTION(command)

    return decorate
