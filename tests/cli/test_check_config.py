"""`sse-node check-config` and `sse-node completion`."""

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from sse_node.__main__ import main
from sse_node.cli.check_config import masked
from sse_node.config.reading import all_settings, read_settings


def test_it_prints_every_setting_as_a_configuration_file(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["check-config", "--server-id", "node-1"])
    assert result.exit_code == 0
    printed = tomllib.loads(result.output)
    names = [(section, item.name) for section, item in all_settings()]
    assert [(section, name) for section in printed for name in printed[section]] == names
    file = tmp_path / "sse-node.toml"
    file.write_text(result.output)
    assert read_settings({"config": str(file)}, {}) == read_settings({"server_id": "node-1"}, {})


def test_it_says_where_values_come_from(tmp_path: Path) -> None:
    file = tmp_path / "sse-node.toml"
    file.write_text("[events]\nchannels = ['news']\n[streams]\nretry = 1\n")
    environment = {"SSE_NODE_RETRY": "2000", "REDIS_HOST": "redis", "PORT": "3001"}
    flags = ["--config", str(file), "--drain-delay", "5", "--event-names"]
    result = CliRunner().invoke(main, ["check-config", *flags], env=environment)
    own = result.output.partition("[webhooks]")[0]  # which has names of other sections as well
    lines = {line.split("=")[0].strip(): line.split() for line in own.splitlines()}
    assert lines["port"] == ["port", "=", "3001", "#", "PORT"]
    assert lines["retry"] == ["retry", "=", "2000", "#", "SSE_NODE_RETRY"]
    assert lines["drain_delay"] == ["drain_delay", "=", "5", "#", "--drain-delay"]
    assert lines["event_names"] == ["event_names", "=", "true", "#", "--event-names"]
    assert lines["channels"] == [
        "channels", "=", '["news"]', "#", str(file), "[events]", "channels"
    ]  # fmt: skip
    assert lines["url"] == ["url", "=", '"redis://redis:6379"', "#", "REDIS_HOST,", "REDIS_PORT"]
    assert lines["host"] == ["host", "=", '"127.0.0.1"', "#", "default"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://ann:secret@h", "redis://ann:***@h"),
        ("redis://:se%2Fcret@h", "redis://:***@h"),
        ("redis+sentinel://u:p@a:1,b:2/s?sentinel_password=q&x=1",
         "redis+sentinel://u:***@a:1,b:2/s?sentinel_password=***&x=1"),
        ("https://a.example/jwks?api_key=b#", "https://a.example/jwks?api_key=***#"),
    ],
)  # fmt: skip
def test_masked(text: str, expected: str) -> None:
    assert masked(text) == expected


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--port", "x"], "--port: 'x' is not allowed"),
        (["--host", "0.0.0.0"], "--host: '0.0.0.0' is not allowed"),
        (["--api-keys", "/no/such"], "--api-keys: '/no/such' is not allowed"),
        (["--auth", "jwt", "--jwt-key", "/no/such"], "--jwt-key: '/no/such' is not allowed"),
        (["--config", "/no/such"], "--config: '/no/such' is not allowed"),
    ],
)
def test_what_a_node_would_refuse(flags: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["check-config", *flags])
    assert result.exit_code == 3
    assert result.stderr.startswith(f"sse-node: {message}")


def test_variables_that_are_ignored() -> None:
    environment = {"SSE_NODE_COLOUR": "1", "SSE_NODE_PORT": "tcp://10.0.0.1:3000"}
    result = CliRunner().invoke(main, ["check-config"], env=environment)
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        "sse-node: SSE_NODE_PORT is ignored",
        "sse-node: SSE_NODE_COLOUR is ignored",
    ]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert f"_SSE_NODE_COMPLETE={shell}_complete" in result.output


def test_flags_and_files_are_completed() -> None:
    for words, expected in [
        ("sse-node serve --drain", {"plain,--drain-delay", "plain,--drain-rate"}),
        ("sse-node serve --jwt-key ke", {"file,ke"}),
        ("sse-node serve --config ke", {"file,ke"}),
    ]:
        environment = {
            "_SSE_NODE_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        result = CliRunner().invoke(main, [], env=environment, prog_name="sse-node")
        assert set(result.output.split()) == expected
