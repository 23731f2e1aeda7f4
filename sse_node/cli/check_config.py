"""What the command `check-config` does: every effective value, and where it comes from."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from sse_node.config.reading import Sources, all_settings
from sse_node.config.sections import Settings

_PASSWORD: Final = re.compile(r"(://[^/?#@]*?):[^/?#]*@")
_PARAMETER: Final = re.compile(
    r"([?&][^=&#]*(?:password|secret|token|key)[^=&#]*=)[^&#]*", re.IGNORECASE
)
_COMMENT_AT: Final = 40  # the column, where a value leaves room


def describe(sources: Sources, settings: Settings) -> Iterator[str]:
    """Yield the lines of a configuration file with every setting; comments name the origins.

    Args:
        sources: where the values come from.
        settings: what was made of them.
    """
    section_before = ""
    for section, item in all_settings():
        if section != section_before:
            yield from ([""] if section_before else [])
            yield f"[{section}]"
            section_before = section
        value = getattr(getattr(settings, section), item.name)
        entry = f"{item.name} = {_as_toml(value)}"
        yield f"{entry:{_COMMENT_AT}}  # {sources.find(item).where or 'default'}"


def check_keys(settings: Settings) -> None:
    """Read the files of keys as a node does when it starts.

    Raises:
        ConfigError: one of them cannot be used.
    """
    from sse_node.access.api_keys import ApiKeys
    from sse_node.access.token_source import TokenSource

    if settings.access.api_keys:
        ApiKeys(settings.access.api_keys)
    if settings.access.jwt_key:
        TokenSource(settings.access, lambda: None)


def masked(text: str) -> str:
    """Return a text without the passwords and other secrets of a URL in it."""
    return _PARAMETER.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))


def _as_toml(value: Any) -> str:  # noqa: ANN401  (the values of settings have many types)
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:g}"
        case tuple():
            return json.dumps([masked(str(each)) for each in value])
        case str():
            return json.dumps(masked(value))
    return str(value)
