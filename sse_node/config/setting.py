"""One setting: the field of a section, with its default, unit, bounds and reason."""

from dataclasses import field
from typing import Any

from sse_node.config.parsers import Parse


def setting(
    default: str,
    parse: Parse,
    help_text: str,
    *,
    unit: str = "",
    name: str = "",
    also: str = "",
) -> Any:  # noqa: ANN401  (the type is the field's)
    """Return the dataclass field of a setting.

    Args:
        default: as an operator would write it.
        parse: from (setting's name, text) to the value; raises ConfigError.
        help_text: for `--help`.
        unit: of the value.
        name: of the setting, with underscores; by default the field's.
        also: a second environment variable that is honoured.
    """
    return field(
        metadata={
            "default": default,
            "parse": parse,
            "help": help_text,
            "unit": unit,
            "name": name,
            "also": also,
        }
    )
