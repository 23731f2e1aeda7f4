"""The configuration file: which names and values it may have, and what is said of others."""

from pathlib import Path
from typing import Any

import pytest

from sse_node.config.reading import read_settings
from sse_node.config.sections import Settings
from sse_node.errors import ConfigError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sse-node.toml"


def read(path: Path, content: str) -> Settings:
    path.write_text(content)
    return read_settings({"config": str(path)}, {})


def test_a_file_as_in_the_documents(path: Path) -> None:
    settings = read(
        path,
        """
        [listen]
        port = 3001
        [redis]
        redis_url = "redis://10.0.0.5"
        timeout = 0.75
        [events]
        channels = ["news", "room:*"]
        event_names = true
        [streams]
        max-stream-age = 3600
        """,
    )
    assert settings.listen.port == 3001
    assert settings.redis.url == "redis://10.0.0.5"
    assert settings.redis.timeout == 0.75
    assert settings.events.channels == ("news", "room:*")
    assert settings.events.event_names is True
    assert settings.streams.max_stream_age == 3600


@pytest.mark.parametrize("content", ["", "# nothing\n", "[listen]\n"])
def test_an_empty_file_changes_nothing(path: Path, content: str) -> None:
    assert read(path, content) == read_settings({}, {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[listen]\nprot = 1", " [listen]: 'prot' is not allowed; expected a setting; "
                               "the nearest is port in [listen]"),
        ("[http]\nport = 1", " [http]: 'port' is not allowed; expected it in [listen]"),
        ("port = 1", ": 'port' is not allowed; expected it in [listen]"),
        ("max-streams = 1", ": 'max-streams' is not allowed; expected it in [streams]"),
        ("[reddis]\nurl = 1", ": 'reddis' is not allowed; expected one of the sections listen, "),
        ("redis = 1", ": 'redis' is not allowed; expected one of the sections listen, "),
        ("[[redis]]\nurl = 1", ": 'redis' is not allowed; expected one of the sections listen, "),
        ("[redis]\nurl = 'redis://a'\nredis-url = 'redis://b'",
         " [redis]: 'redis-url' is not allowed; expected one value for "),
        ("[listen]\nport = 'x'", " [listen] port: 'x' is not allowed; expected a whole number"),
        ("[listen]\nport = true", " [listen] port: 'true' is not allowed; expected a whole number"),
        ("[listen]\nport = 1.5", " [listen] port: '1.5' is not allowed; expected a whole number"),
        ("[streams]\nping_interval = inf", " [streams] ping_interval: 'inf' is not allowed"),
        ("[listen]\nport = [1]", " [listen] port: a value of type list is not allowed; "
                                 "expected a string or a number"),
        ("[listen]\nport = 2025-01-01", " [listen] port: a value of type date is not allowed"),
        ("[events]\nchannels = [1]", " [events] channels: 1 is not allowed; expected strings"),
        ("[events]\nchannels = ['a,b']", " [events] channels: 'a,b' is not allowed; expected str"),
        ("[events]\nchannels = {}", " [events] channels: a value of type dict is not allowed; "
                                    "expected a list of strings"),
        ("port", ": its content is not allowed; expected TOML (Expected '=' after a key in a "
                 "key/value pair (at end of document))"),
    ],
)  # fmt: skip
def test_what_stops_the_start(path: Path, content: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(path, content)
    assert str(caught.value).startswith(f"{path}{message}")


def test_a_misspelt_section_is_answered_with_the_nearest(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the nearest is \[redis\]$"):
        read(path, "[reddis]\nurl = 1")


def test_a_file_in_another_encoding(path: Path) -> None:
    path.write_bytes(b"[redis]\nurl = '\xff'")
    with pytest.raises(ConfigError, match="its encoding is not allowed; expected UTF-8"):
        read_settings({"config": str(path)}, {})


@pytest.mark.parametrize(
    ("flags", "environment", "name"),
    [
        ({"config": "/no/such.toml"}, {}, "--config"),
        ({}, {"SSE_NODE_CONFIG": "/no/such.toml"}, "SSE_NODE_CONFIG"),
        ({"config": "/"}, {"SSE_NODE_CONFIG": "other"}, "--config"),
    ],
)
def test_a_file_that_cannot_be_read(
    flags: dict[str, Any], environment: dict[str, str], name: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: .* expected a readable file"):
        read_settings(flags, environment)


def test_an_empty_variable_is_no_file() -> None:
    assert read_settings({}, {"SSE_NODE_CONFIG": ""}) == read_settings({}, {})


def test_no_secret_of_a_file_is_in_a_message(path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(path, "[redis]\nurl = 'redis://u:hun/ter2@h'")
    assert "ter2" not in str(caught.value)
