"""Settings: where each value comes from, and what is said of a wrong one."""

import json
import os
import re
import resource
from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
import pytest
from click.testing import CliRunner

from sse_node.__main__ import main
from sse_node.config.parsers import schema_of
from sse_node.config.reading import (
    all_settings,
    check_variables,
    name_of,
    platform_variables,
    raise_file_limit,
    read_settings,
    unknown_variables,
)
from sse_node.config.sections import Settings
from sse_node.errors import ConfigError

SECTION_OF = {name_of(item): (section, item) for section, item in all_settings()}
NAMES = list(SECTION_OF)
ABOUT: dict[str, Any] = {name: item.metadata for name, (_, item) in SECTION_OF.items()}
ALSO = {name: about["also"] for name, about in ABOUT.items() if about["also"]}

# For each setting two allowed values that are not its default, and what is read from the first.
OTHERS: dict[str, tuple[str, str, object]] = {
    "host": ("0.0.0.0", "::1", "0.0.0.0"),
    "port": ("0", "65535", 0),
    "uds": ("/run/node.sock", "node.sock", "/run/node.sock"),
    "workers": ("2", "1024", 2),
    "backlog": ("1", "65535", 1),
    "log_level": ("debug", "critical", "debug"),
    "log_format": ("json", "json", "json"),
    "timeout_keep_alive": ("1", "3600", 1.0),
    "timeout_head": ("0.1", "300", 0.1),
    "timeout_content": ("0.1", "3600", 0.1),
    "http_limit_total": ("4194304", "1099511627776", 4194304),
    "timeout_graceful_shutdown": ("1", "3600", 1.0),
    "timeout_worker_healthcheck": ("1", "3600", 1.0),
    "drain_delay": ("0", "300", 0.0),
    "drain_rate": ("1", "1000000", 1),
    "auth": ("jwt", "proxy", "jwt"),
    "api_keys": ("/a/keys", "keys", "/a/keys"),
    "jwt_key": ("/a/key", "key", "/a/key"),
    "jwt_algorithm": ("ES256", "HS512", "ES256"),
    "jwks_url": ("https://a.example/jwks", "http://b/?c", "https://a.example/jwks"),
    "jwt_audience": ("https://api", "b", "https://api"),
    "jwt_issuer": ("https://a.example/", "b", "https://a.example/"),
    "auth_cookie": ("__Host-token", "t", "__Host-token"),
    "auth_query": ("yes", "TRUE", True),
    "auth_user_header": ("X-User", "Remote-User", "X-User"),
    "auth_channels_header": ("X-Channels", "X-C", "X-Channels"),
    "auth_publish_header": ("X-Publish", "X-P", "X-Publish"),
    "forwarded_allow_ips": ("10.0.0.0/8, ::1", "*", "10.0.0.0/8, ::1"),
    "requests_per_address": ("1", "1000000", 1),
    "requests_per_caller": ("1", "1000000", 1),
    "events_per_caller": ("1", "1000000", 1),
    "streams_per_user": ("1", "10000000", 1),
    "streams_per_address": ("1", "10000000", 1),
    "new_streams_per_address": ("1", "1000000", 1),
    "memory_limit": ("1000000", "1125899906842624", 1_000_000),
    "lag_limit": ("0", "60", 0.0),
    "rate_window": ("1", "3600", 1),
    "admin_port": ("9000", "1", 9000),
    "admin_uds": ("/run/admin.sock", "a.sock", "/run/admin.sock"),
    "redis_url": ("redis://localhost", "unix:///run/redis.sock", "redis://localhost"),
    "namespace": ("{blue}.1", "dbase", "{blue}.1"),
    "shards": ("16", "4", 16),
    "redis_timeout": ("0.05", "60", 0.05),
    "redis_connections": ("1", "1000", 1),
    "audit_interval": ("0.2", "300", 0.2),
    "server_id": ("node-1", "a.b_c:d", "node-1"),
    "default_user": ("ann@example.com", "1", "ann@example.com"),
    "channels": ("a, b,,room:*", "", ("a", "b", "room:*")),
    "public_channels": ("a, b,,room:*", "c", ("a", "b", "room:*")),
    "event_names": ("yes", "TRUE", True),
    "cors_origin": ("https://A.example:443, http://b:80,null", "*",
                    ("https://a.example", "http://b", "null")),
    "allowed_hosts": ("App.example, .b,::1", "*", ("app.example", ".b", "[::1]")),
    "max_streams": ("1", "2", 1),
    "max_stream_age": ("604800", "0.5", 604800.0),
    "max_event_bytes": ("256", "1000000", 256),
    "ping_interval": ("0.1", "300", 0.1),
    "retry": ("1", "600000", 1),
    "write_limit": ("4096", "1073741824", 4096),
    "write_limit_total": ("65536", "1099511627776", 65536),
    "write_timeout": ("0.5", "300", 0.5),
    "send_buffer": ("4096", "67108864", 4096),
    "tcp_user_timeout": ("0", "600000", 0),
    "history": ("1", "10000000", 1),
    "history_bytes": ("65536", "1099511627776", 65536),
    "log_length": ("100", "1000000000", 100),
    "log_bytes": ("0", "1099511627776", 0),
    "replay_limit": ("65536", "1099511627776", 65536),
    "webhook_allow_http": ("yes", "TRUE", True),
    "webhook_allow_hosts": (
        "Hooks.internal:8080, 10.0.0.0/8,[fd00::7]:8443,::1",
        "localhost",
        ("hooks.internal:8080", "10.0.0.0/8", "[fd00::7]:8443", "::1"),
    ),
    "webhook_ports": ("8443", "1,65535", (8443,)),
    "webhooks_per_user": ("1", "100000", 1),
    "webhook_retry_time": ("1", "604800", 1.0),
    "webhook_queue": ("1", "1000000", 1),
    "webhook_queue_bytes": ("65536", "68719476736", 65536),
    "webhook_queue_total": ("65536", "1099511627776", 65536),
    "webhook_port": ("0", "65535", 0),
    "snapshots_kept": ("1", "1000000", 1),
}  # fmt: skip

# For each setting values that are not allowed, and what the message says is.
WRONG: dict[str, tuple[list[str], str]] = {
    "host": (["", "a b", "x" * 256], "an address to listen on"),
    "port": (["", "-1", "65536", "80.0", "0x50", "eighty", " 80", "8_0", "\u0663"],
             "a whole number from 0 to 65535"),
    "uds": (["/" + "x" * 103, "/a\0b"], "a path of at most 103 bytes"),
    "workers": (["0", "1025", "Auto", ""], "auto, or a whole number from 1 to 1024"),
    "backlog": (["0", "65536"], "a whole number from 1 to 65535"),
    "log_level": (["", "INFO", "trace"], "one of critical, error, warning, info, debug"),
    "log_format": (["", "xml"], "one of text, json"),
    "timeout_keep_alive": (["0", "3601", "inf", "nan", "1e3", "-1", "5s", ""],
                           "a number from 1 to 3600 seconds"),
    "timeout_head": (["0", "301"], "a number from 0.1 to 300 seconds"),
    "timeout_content": (["0", "3601"], "a number from 0.1 to 3600 seconds"),
    "http_limit_total": (["4194303", "1099511627777"],
                         "a whole number from 4194304 to 1099511627776"),
    "timeout_graceful_shutdown": (["0.9", "3601"], "a number from 1 to 3600 seconds"),
    "timeout_worker_healthcheck": (["0.9", "3601"], "a number from 1 to 3600 seconds"),
    "drain_delay": (["-1", "301"], "a number from 0 to 300 seconds"),
    "drain_rate": (["0", "1000001"], "a whole number from 1 to 1000000"),
    "auth": (["JWT", "basic"], "one of none, jwt, proxy"),
    "api_keys": (["a\0b", "x" * 4097], "the path of a file"),
    "jwt_key": (["a\0b", "x" * 4097], "the path of a file"),
    "jwt_algorithm": (["none", "hs256", "RS512"],
                      "one of HS256, HS384, HS512, RS256, ES256, EdDSA"),
    "jwks_url": (["example.com", "file:///etc/passwd", "https://a b"], "an http or https URL"),
    "jwt_audience": (["x" * 256], "at most 255 characters"),
    "jwt_issuer": (["x" * 256], "at most 255 characters"),
    "auth_cookie": (["a b", "a=b", "x" * 65], "a cookie's name"),
    "auth_query": (["maybe", "2"], "yes or no"),
    "auth_user_header": (["", "X User", "X:User"], "a header's name"),
    "auth_channels_header": (["X Channels"], "a header's name"),
    "auth_publish_header": (["X Publish"], "a header's name"),
    "forwarded_allow_ips": (["10.0.0.0/33", "10.0.0.1,proxy"],
                            "addresses and networks such as 10.0.0.0/8, separated by commas, or *"),
    "requests_per_address": (["-1", "1000001", "0.5"], "a whole number from 0 to 1000000"),
    "requests_per_caller": (["-1", "1000001"], "a whole number from 0 to 1000000"),
    "events_per_caller": (["-1", "1000001"], "a whole number from 0 to 1000000"),
    "streams_per_user": (["-1", "10000001"], "a whole number from 0 to 10000000"),
    "streams_per_address": (["-1", "10000001"], "a whole number from 0 to 10000000"),
    "new_streams_per_address": (["-1", "1000001"], "a whole number from 0 to 1000000"),
    "memory_limit": (["-1", "1G"], "a whole number from 0 to 1125899906842624"),
    "lag_limit": (["-1", "61"], "a number from 0 to 60 seconds"),
    "rate_window": (["0", "3601", "0.5"], "a whole number from 1 to 3600"),
    "admin_port": (["-1", "65536"], "a whole number from 0 to 65535"),
    "admin_uds": (["/" + "x" * 103, "/a\0b"], "a path of at most 103 bytes"),
    "redis_url": (["localhost", "http://localhost", "REDIS://h", "redis:h", "redis://h:0", "redis://h:x",
                   "redis://h:65536", "redis://[::1", "redis://h/x", "redis://h/-1", "redis://h/0/1",
                   "unix://", "unix:///", "unix://redis.sock", "unix://run/redis.sock"],
                  "redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix:///PATH"),
    "shards": (["0", "3", "128", "", "x"], "one of 1, 2, 4, 8, 16, 32, 64"),
    "namespace": (["a b", "a:b", "a*", "db1", "shard0{1}", "x" * 65],
                  "at most 64 of A-Z a-z 0-9 _ . { } -, and not db with a number"),
    "redis_timeout": (["0", "61"], "a number from 0.05 to 60 seconds"),
    "redis_connections": (["0", "1001"], "a whole number from 1 to 1000"),
    "audit_interval": (["0.1", "301"], "a number from 0.2 to 300 seconds"),
    "server_id": (["a b", "x" * 65, "ü", "a\n"], "1 to 64 of A-Z a-z 0-9 _ . : -"),
    "default_user": (["", "a b", "..", "x" * 256], "1 to 255 printable ASCII characters"),
    "public_channels": (["user-events", "a b", "x" * 256], "channels of 1 to 255 printable"),
    "channels": (["user-events", "channel-events", "sse:probe:a", "a b", "a,b\\", "x" * 256],
                 "channels of 1 to 255 printable"),
    "event_names": (["maybe", "2"], "yes or no"),
    "cors_origin": (["example.com", "https://a/path", "https://*.a", "https://a@b"],
                    "origins such as https://app.example, without a path or wildcard"),
    "allowed_hosts": (["a:80", "*.example", "https://a"],
                      "hosts such as app.example, .example.com or 10.0.0.7, without a port, or *"),
    "max_streams": (["-1", "10000001", "many"], "a whole number from 0 to 10000000"),
    "max_stream_age": (["-1", "604801"], "a number from 0 to 604800 seconds"),
    "max_event_bytes": (["255", "1000001", "1M"], "a whole number from 256 to 1000000"),
    "ping_interval": (["0", "301"], "a number from 0.1 to 300 seconds"),
    "retry": (["0", "600001"], "a whole number from 1 to 600000"),
    "write_limit": (["4095", "1073741825"], "a whole number from 4096 to 1073741824"),
    "write_limit_total": (["65535", "1099511627777"], "a whole number from 65536 to 1099511627776"),
    "write_timeout": (["0.4", "301"], "a number from 0.5 to 300 seconds"),
    "send_buffer": (["4095", "67108865"], "a whole number from 4096 to 67108864"),
    "tcp_user_timeout": (["-1", "600001"], "a whole number from 0 to 600000"),
    "history": (["0", "10000001"], "a whole number from 1 to 10000000"),
    "history_bytes": (["65535", "1099511627777"], "a whole number from 65536 to 1099511627776"),
    "log_length": (["99", "1000000001"], "a whole number from 100 to 1000000000"),
    "log_bytes": (["1", "4194303", "1099511627777", "1G"],
                  "0, or a whole number from 4194304 to 1099511627776"),
    "replay_limit": (["65535", "1099511627777"], "a whole number from 65536 to 1099511627776"),
    "webhook_allow_http": (["maybe"], "yes or no"),
    "webhook_allow_hosts": (["a b", "http://a", "a/b", "10.0.0.1/8", "[::1", "*.a", "1::2::3"],
                            "hosts, addresses and networks such as hooks.internal, "
                            "hooks.internal:8080, 10.0.0.7, [fd00::7]:8443 or 10.0.0.0/8, "
                            "separated by commas"),
    "webhook_ports": (["0", "65536", "a"], "a whole number from 1 to 65535"),
    "webhooks_per_user": (["0", "100001"], "a whole number from 1 to 100000"),
    "webhook_retry_time": (["0", "604801"], "a number from 1 to 604800 seconds"),
    "webhook_queue": (["0", "1000001"], "a whole number from 1 to 1000000"),
    "webhook_queue_bytes": (["65535", "68719476737"],
                            "a whole number from 65536 to 68719476736"),
    "webhook_queue_total": (["65535", "1099511627777"],
                            "a whole number from 65536 to 1099511627776"),
    "webhook_port": (["-1", "65536"], "a whole number from 0 to 65535"),
    "snapshots_kept": (["0", "1000001"], "a whole number from 1 to 1000000"),
}  # fmt: skip


LISTS = {"public_channels", "allowed_hosts", "channels", "cors_origin", "forwarded_allow_ips"}

# Where no node can start, were a wrong value let pass.
NOWHERE = {"uds": "/nowhere/node.sock", "redis_url": "unix:///nowhere/redis.sock"}


def value_of(settings: Settings, name: str) -> object:
    section, item = SECTION_OF[name]
    return getattr(getattr(settings, section), item.name)


def flag_of(name: str) -> str:
    return "--" + name.replace("_", "-")


def variable_of(name: str) -> str:
    return f"SSE_NODE_{name.upper()}"


def file_with(folder: Path, name: str, text: str, *, as_flag: bool = False) -> str:
    """Return the path of a configuration file with one setting."""
    section, item = SECTION_OF[name]
    path = folder / f"{name}.toml"
    key = name.replace("_", "-") if as_flag else item.name
    path.write_text(f"[{section}]\n{key} = {json.dumps(text)}\n")
    return str(path)


def read(
    environment: Mapping[str, str] = MappingProxyType({}),
    flags: Mapping[str, str | None] = MappingProxyType({}),
) -> Settings:
    return read_settings(flags, environment)


@pytest.fixture(autouse=True)
def no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SSE_NODE_") or name in {"REDIS_HOST", "REDIS_PORT", *ALSO.values()}:
            monkeypatch.delenv(name)


@pytest.fixture
def file_limit(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Limits of open files, soft and hard, that the test may set; what is asked for is granted."""
    limits = [1024, 20_000]

    def set_limit(_: int, asked: tuple[int, int]) -> None:
        limits[:] = asked

    monkeypatch.setattr("resource.getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr("resource.setrlimit", set_limit)
    return limits


# Every setting


def test_every_setting_is_in_the_tables_here() -> None:
    assert sorted(OTHERS) == sorted(NAMES)
    assert sorted(WRONG) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_setting_is_in_the_help_with_unit_and_default(name: str) -> None:
    about = ABOUT[name]
    option = next(option for option in main.commands["serve"].params if option.name == name)
    assert isinstance(option, click.Option)
    assert option.opts == [flag_of(name)]
    assert option.help is not None
    text, _, facts = option.help.rpartition(" [")
    assert text.rstrip(".")
    default = " ".join(filter(None, (about["default"] or "none", about["unit"])))
    variables = ", ".join(filter(None, (variable_of(name), about["also"])))
    assert facts == f"default {default}; {variables}]"
    has_unit = schema_of(about["parse"]).get("type") == "number" or "bytes" in name
    assert not has_unit or about["unit"]


def test_help_shows_every_setting() -> None:
    result = CliRunner().invoke(main, ["serve", "--help"])
    assert result.exit_code == 0
    assert set(re.findall(r"^  (--[a-z-]+)", result.output, re.MULTILINE)) == {
        *map(flag_of, NAMES),
        "--config",
        "--help",
    }


@pytest.mark.parametrize("name", NAMES)
def test_flag_goes_before_variable_before_default(name: str) -> None:
    first, second, value = OTHERS[name]
    default = value_of(read(), name)
    assert default != value
    assert value_of(read({variable_of(name): first}), name) == value
    assert value_of(read({variable_of(name): second}, {name: first}), name) == value
    assert value_of(read({variable_of(name): first}, {name: None}), name) == value


@pytest.mark.parametrize("name", NAMES)
def test_flag_and_variables_go_before_file_before_default(tmp_path: Path, name: str) -> None:
    first, second, value = OTHERS[name]
    file = file_with(tmp_path, name, first)
    assert value_of(read({}, {"config": file}), name) == value
    assert value_of(read({"SSE_NODE_CONFIG": file}), name) == value
    for variable in filter(None, (variable_of(name), ALSO.get(name))):
        other = file_with(tmp_path, name, second)
        assert value_of(read({variable: first}, {"config": other}), name) == value
    assert value_of(read({}, {"config": file, name: first}), name) == value
    by_flag = file_with(tmp_path, name, first, as_flag=True)
    assert value_of(read({}, {"config": by_flag}), name) == value


@pytest.mark.parametrize("name", ALSO)
def test_own_variable_goes_before_the_one_that_is_also_honoured(name: str) -> None:
    first, second, value = OTHERS[name]
    assert value_of(read({ALSO[name]: first}), name) == value
    assert value_of(read({variable_of(name): first, ALSO[name]: second}), name) == value
    assert value_of(read({ALSO[name]: second}, {name: first}), name) == value


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, (texts, _) in WRONG.items() for text in texts]
)
def test_wrong_value_is_named_with_its_setting_and_what_is_allowed(
    tmp_path: Path, name: str, text: str
) -> None:
    file = file_with(tmp_path, name, text)
    section, item = SECTION_OF[name]
    sources: list[tuple[dict[str, str | None], dict[str, str], str]] = [
        ({"config": file}, {}, f"{file} [{section}] {item.name}"),
        ({name: text}, {}, flag_of(name)),
        ({}, {variable_of(name): text}, variable_of(name)),
        *(({}, {also: text}, also) for also in [ALSO.get(name)] if also),
    ]
    for flags, environment, source in sources:
        with pytest.raises(ConfigError) as caught:
            read_settings(flags, environment)
        message = str(caught.value)
        assert message.startswith(f"{source}: ")
        assert WRONG[name][1] in message
        if name == "redis_url":  # it is not shown: tests/config/test_redis_url.py
            continue
        wrong_part = text.rpartition(",")[2] if name in LISTS else text
        assert f"{wrong_part!r} is not allowed; expected " in message


@pytest.mark.parametrize("name", NAMES)
def test_wrong_value_ends_the_start_with_exit_code_3(name: str) -> None:
    text, allowed = WRONG[name][0][-1], WRONG[name][1]
    command = ["serve"]
    for other, value in NOWHERE.items():
        command += [] if other == name else [flag_of(other), value]
    result = CliRunner().invoke(main, [*command, flag_of(name), text])
    assert result.exit_code == 3
    assert result.stderr.startswith(f"sse-node: {flag_of(name)}: ")
    assert allowed in result.stderr
    if "\0" not in text:
        result = CliRunner().invoke(main, command, env={variable_of(name): text})
        assert result.exit_code == 3
        assert result.stderr.startswith(f"sse-node: {variable_of(name)}: ")


def test_settings_are_frozen() -> None:
    settings = read()
    with pytest.raises(FrozenInstanceError):
        settings.listen.port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "value"),
    [("yes", True), ("1", True), ("On", True), ("true", True), ("", False), ("0", False),
     ("no", False), ("OFF", False), ("false", False)],
)  # fmt: skip
def test_yes_or_no(text: str, value: bool) -> None:
    assert read({"SSE_NODE_EVENT_NAMES": text}).events.event_names is value


# Redis


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, ""),
        ({"REDIS_HOST": "", "REDIS_PORT": ""}, ""),
        ({"REDIS_HOST": "redis"}, "redis://redis:6379"),
        ({"REDIS_PORT": "7000"}, "redis://127.0.0.1:7000"),
        ({"REDIS_HOST": "redis_1.example", "REDIS_PORT": "7000"}, "redis://redis_1.example:7000"),
        ({"REDIS_HOST": "::1"}, "redis://[::1]:6379"),
        ({"REDIS_HOST": "[::1]", "REDIS_PORT": "7000"}, "redis://[::1]:7000"),
        ({"REDIS_HOST": "redis", "REDIS_URL": "redis://other"}, "redis://other"),
        ({"REDIS_HOST": "redis", "REDIS_URL": ""}, "redis://redis:6379"),
        ({"REDIS_HOST": "redis", "SSE_NODE_CONFIG": "FILE"}, "redis://redis:6379"),
        ({"REDIS_URL": "", "SSE_NODE_CONFIG": "FILE"}, ""),
        ({"SSE_NODE_CONFIG": "FILE"}, "redis://file"),
    ],
)
def test_redis_by_host_and_port(tmp_path: Path, environment: Mapping[str, str], url: str) -> None:
    file = file_with(tmp_path, "redis_url", "redis://file")
    environment = {name: text.replace("FILE", file) for name, text in environment.items()}
    assert read_settings({}, environment).redis.url == url


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("REDIS_PORT", "0", "a whole number from 1 to 65535"),
        ("REDIS_PORT", "x", "a whole number from 1 to 65535"),
        ("REDIS_HOST", "redis:6379", "a host name or an address, without a port"),
        ("REDIS_HOST", "user@redis", "a host name or an address, without a port"),
        ("REDIS_HOST", "redis/0", "a host name or an address, without a port"),
        ("REDIS_HOST", "a b", "a host name or an address, without a port"),
    ],
)
def test_wrong_host_or_port_of_redis(name: str, text: str, allowed: str) -> None:
    with pytest.raises(ConfigError, match=allowed) as caught:
        read_settings({}, {name: text})
    assert str(caught.value).startswith(f"{name}: {text!r} is not allowed")


@pytest.mark.parametrize(
    "url",
    ["redis://h", "redis://h:1/0", "redis://:pass@h", "redis://user:pa%2Fss@h:6379/15", "redis://",
     "rediss://h:6380", "redis://[::1]:6379", "unix:///run/redis.sock", "unix://user@/a?db=1",
     "redis://h/?protocol=2"],
)  # fmt: skip
def test_redis_url_is_accepted(url: str) -> None:
    assert read({"REDIS_URL": url}).redis.url == url


@pytest.mark.parametrize("url", ["redis://u:se/cret@h", "u:secret@h", "http://:secret@h"])
def test_no_password_is_in_a_message(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read({"REDIS_URL": url})
    assert "cret" not in str(caught.value)


# What depends on the machine


def test_node_is_named_after_its_host_and_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for host, name in [("web-1.example", "web-1.example"), ("a b/ü", "a-b--"), ("", "node")]:
        monkeypatch.setattr("socket.gethostname", lambda host=host: host)
        assert read().node.server_id == f"{name}-{os.getpid()}"
    monkeypatch.setattr("socket.gethostname", lambda: "x" * 300)
    name = read().node.server_id
    assert read({"SSE_NODE_SERVER_ID": name}).node.server_id == name


def test_streams_are_as_many_as_file_descriptors_allow(file_limit: list[int]) -> None:
    assert read().streams.max_streams == 19_400
    assert file_limit == [20_000, 20_000]
    assert read({"SSE_NODE_MAX_STREAMS": "19400"}).streams.max_streams == 19_400
    with pytest.raises(ConfigError) as caught:
        read({"SSE_NODE_MAX_STREAMS": "19401"})
    assert str(caught.value) == (
        "--max-streams: 19401 is not allowed; expected at most 19400: "
        "the file descriptor limit 20000 less 600"
    )


def test_workers_may_be_as_many_as_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sse_node.config.parsers.usable_cores", lambda: 7)
    assert read({"SSE_NODE_WORKERS": "auto"}).node.workers == 7


def test_workers_share_nine_tenths_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sse_node.config.reading.memory_bytes", lambda: 1_000_000)
    assert read().limits.memory_limit == 900_000
    assert read({"SSE_NODE_WORKERS": "3"}).limits.memory_limit == 300_000
    own = {"SSE_NODE_WORKERS": "3", "SSE_NODE_MEMORY_LIMIT": "500000"}
    assert read(own).limits.memory_limit == 500_000


def test_a_limit_that_leaves_no_streams_is_named(file_limit: list[int]) -> None:
    file_limit[:] = [256, 600]
    with pytest.raises(ConfigError, match="ulimit -n: 600 is not allowed; expected more than 600"):
        read()


def test_endless_limit_is_bounded(file_limit: list[int]) -> None:
    file_limit[:] = [256, resource.RLIM_INFINITY]
    assert raise_file_limit() == 10_000_000


@pytest.mark.parametrize("error", [ValueError, OSError])
def test_limit_that_cannot_be_raised_stays(
    monkeypatch: pytest.MonkeyPatch, file_limit: list[int], error: type[Exception]
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr("resource.setrlimit", refuse)
    assert raise_file_limit() == 1024


def test_what_looks_like_a_setting_and_is_none_is_found() -> None:
    environment = {"SSE_NODE_RETRY": "1", "SSE_NODE_RETRYS": "1", "SSE_NODE_": "", "RETRY": "1"}
    assert unknown_variables(environment) == ["SSE_NODE_", "SSE_NODE_RETRYS"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("PROT", "PORT"), ("RETRYS", "RETRY"), ("LOGLEVEL", "LOG_LEVEL"), ("REDISURL", "REDIS_URL"),
     ("MAX_STREAM", "MAX_STREAMS"), ("HOSTS", "HOST"), ("CORS_ORIGINS", "CORS_ORIGIN"),
     ("CONFG", "CONFIG")],
)  # fmt: skip
def test_a_misspelt_variable_stops_the_start(name: str, meant: str) -> None:
    variable = f"SSE_NODE_{name}"
    result = CliRunner().invoke(main, ["serve", "--uds", NOWHERE["uds"]], env={variable: "1"})
    assert result.exit_code == 3
    assert result.stderr == (
        f"sse-node: {variable}: this variable is not allowed; "
        f"expected SSE_NODE_{meant}, which is a setting\n"
    )


@pytest.mark.parametrize("name", ["REPORT", "IMAGE_TAG", "VERSION", "ROOT", "HOME", ""])
def test_a_variable_that_is_like_no_setting_does_not(name: str) -> None:
    check_variables({f"SSE_NODE_{name}": "1"})


# What platforms inject for a Service named sse-node, sse-node-admin or redis

_INJECTED = {
    "SSE_NODE_PORT": "tcp://10.96.0.7:3000",
    "SSE_NODE_SERVICE_HOST": "10.96.0.7",
    "SSE_NODE_SERVICE_PORT": "3000",
    "SSE_NODE_SERVICE_PORT_HTTP": "3000",
    "SSE_NODE_PORT_3000_TCP": "tcp://10.96.0.7:3000",
    "SSE_NODE_PORT_3000_TCP_ADDR": "10.96.0.7",
    "SSE_NODE_NAME": "/web/sse-node",  # this and the next by a link of Docker
    "SSE_NODE_ENV_PYTHON_VERSION": "3.13.1",
    "SSE_NODE_ADMIN_PORT": "tcp://10.96.0.8:3001",
    "SSE_NODE_ADMIN_SERVICE_HOST": "10.96.0.8",
    "REDIS_PORT": "tcp://10.96.0.9:6379",
}


def test_variables_of_the_platform_are_not_settings() -> None:
    settings = read_settings({}, {**_INJECTED, "PORT": "3002", "REDIS_HOST": "redis"})
    assert settings.listen.port == 3002
    assert settings.redis.url == "redis://redis:6379"
    assert platform_variables(_INJECTED) == [
        "SSE_NODE_PORT",
        "SSE_NODE_ADMIN_PORT",
        "REDIS_PORT",
    ]
    assert unknown_variables(_INJECTED) == []
    check_variables(_INJECTED)


def test_a_flag_and_a_real_port_are_still_read() -> None:
    assert read_settings({"port": "3003"}, _INJECTED).listen.port == 3003
    assert read_settings({}, {"SSE_NODE_PORT": "3004"}).listen.port == 3004
    assert platform_variables({"SSE_NODE_PORT": "3004"}) == []


@pytest.mark.parametrize("value", ["tcp:/x", "http://h", "3000x"])
def test_any_other_wrong_port_stops_the_start(value: str) -> None:
    with pytest.raises(ConfigError, match="PORT"):
        read_settings({}, {"SSE_NODE_PORT": value})
