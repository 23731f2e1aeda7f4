"""What SIGHUP changes, in nodes of one process and of several."""

from dataclasses import fields
from pathlib import Path

import pytest

from sse_node.config.limits import LimitsSettings
from sse_node.config.reading import all_settings, flag_of
from sse_node.config.reload import SettingsSource, reload_in_place, reload_workers
from sse_node.errors import ConfigError

# As docs/configuration.md says.
IN_PLACE = {
    "--log-level", "--cors-origin", "--allowed-hosts", "--channels", "--public-channels",
    *("--" + each.name.replace("_", "-") for each in fields(LimitsSettings)),
}  # fmt: skip
SHARED = {
    "--host", "--port", "--uds", "--backlog", "--tcp-user-timeout", "--server-id", "--workers",
    "--admin-port", "--admin-uds", "--redis-url", "--namespace",
}  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sse-node.toml"
    path.write_text("")
    return path


@pytest.fixture
def source(file: Path) -> SettingsSource:
    return SettingsSource({"config": str(file), "server_id": "node-1"}, {"SSE_NODE_RETRY": "1000"})


def test_settings_that_change_in_place() -> None:
    assert {flag_of(item) for _, item in all_settings() if item.metadata["reload"]} == IN_PLACE


def test_a_node_of_one_process(file: Path, source: SettingsSource) -> None:
    before = source.read()
    file.write_text("[logs]\nlevel = 'debug'\n[limits]\nrate_window = 5\n[listen]\nport = 3009\n")
    reload = reload_in_place(before, source.read())
    assert set(reload.changed) == {"--log-level", "--rate-window"}
    assert reload.waiting == ["--port"]
    assert reload.settings.logs.level == "debug"
    assert reload.settings.limits.rate_window == 5
    assert reload.settings.listen == before.listen
    assert str(reload) == (
        "reloaded --log-level, --rate-window; --port changed: restart to use them"
    )


def test_workers_get_all_but_what_they_share(file: Path, source: SettingsSource) -> None:
    before = source.read()
    file.write_text("[streams]\nping_interval = 5\n[redis]\nurl = 'redis://other'\n")
    reload = reload_workers(before, source.read())
    assert (reload.changed, reload.waiting) == (["--ping-interval"], ["--redis-url"])
    assert reload.settings.redis.url == ""


def test_nothing_has_changed(file: Path, source: SettingsSource) -> None:
    before = source.read()
    file.write_text("[streams]\nretry = 5000\n")  # the environment wins
    reload = reload_in_place(before, source.read())
    assert reload == (before, [], [])
    assert str(reload) == ""


def test_variables_keep_what_workers_share(file: Path, source: SettingsSource) -> None:
    file.write_text("[listen]\nport = 3009\n")
    variables = source.shared_variables()
    assert set(variables) == {
        "SSE_NODE_" + flag.removeprefix("--").replace("-", "_").upper() for flag in SHARED
    }
    assert variables["SSE_NODE_PORT"] == "3009"
    file.write_text("[listen]\nport = 3010\n[redis]\nurl = 'redis://other'\n")
    worker = SettingsSource({"config": str(file), "server_id": "node-1"}, variables)
    assert worker.read().listen.port == 3009
    assert worker.read().redis.url == ""


def test_what_contradicts_itself_is_not_read(file: Path, source: SettingsSource) -> None:
    file.write_text("[listen]\nhost = '0.0.0.0'\n")
    with pytest.raises(ConfigError, match="--host"):
        source.read()
