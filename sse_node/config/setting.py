"""One setting: the field of a section, with its default, unit, bounds and reason."""

from dataclasses import field
from typing import Any, NamedTuple

from sse_node.config.parsers import Parse


def setting(
    default: str,
    parse: Parse,
    help_text: str,
    *,
    unit: str = "",
    name: str = "",
    also: str = "",
    is_list: bool = False,
    reload: bool = False,
) -> Any:  # noqa: ANN401  (the type is the field's)
    """Return the dataclass field of a setting.

    Args:
        default: as an operator would write it.
        parse: from (setting's name, text) to the value; raises ConfigError.
        help_text: for `--help`.
        unit: of the value.
        name: of the setting, with underscores; by default the field's.
        also: a second environment variable that is honoured.
        is_list: a configuration file may have a list of strings, which are joined by commas.
        reload: SIGHUP changes it in a node of one process too.
    """
    return field(
        metadata={
            "default": default,
            "parse": parse,
            "help": help_text,
            "unit": unit,
            "name": name,
            "also": also,
            "is_list": is_list,
            "reload": reload,
        }
    )


class Origin(NamedTuple):
    """A setting's value before it is parsed.

    Attributes:
        where: it comes from, for messages: a flag, a variable, a place in the configuration file;
            empty for the default.
        text: as an operator would write it for a flag.
    """

    where: str
    text: str
