"""Lines of the log, for people and for machines."""

import json
import logging
import sys
import time
from collections.abc import Iterator

import pytest

from sse_node.logs.format import LEVELS, JsonFormatter, TextFormatter, configure_logging

MOMENT = 1763900000.2509  # 2025-11-23T12:13:20.250Z


def record(message: str, *arguments: object, level: int = logging.INFO) -> logging.LogRecord:
    made = logging.LogRecord("sse_node.node.server", level, __file__, 1, message, arguments, None)
    made.created, made.msecs = MOMENT, MOMENT % 1 * 1000
    return made


def failure() -> logging.LogRecord:
    made = record("%s failed", "it", level=logging.ERROR)
    try:
        raise ValueError("a reason\nof two lines")
    except ValueError:
        made.exc_info = sys.exc_info()
    return made


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def log_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave the test the root logger without the handlers of others."""
    level = logging.root.level
    monkeypatch.setattr(logging.root, "handlers", [])
    yield
    logging.root.setLevel(level)


@pytest.mark.parametrize(
    ("level", "line"),
    [
        (logging.INFO, "12:13:20.250 info     node-1  listening on http://127.0.0.1:3000"),
        (logging.CRITICAL, "12:13:20.250 critical node-1  listening on http://127.0.0.1:3000"),
    ],
)
def test_line_for_people(level: int, line: str) -> None:
    made = record("listening on %s", "http://127.0.0.1:3000", level=level)
    assert TextFormatter("node-1").format(made) == line


def test_line_for_machines() -> None:
    line = JsonFormatter("node-1").format(record('a "%s" ü', "b\nc"))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2025-11-23T12:13:20.250Z",
        "level": "info",
        "server_id": "node-1",
        "logger": "sse_node.node.server",
        "message": 'a "b\nc" ü',
    }


def test_failure_has_its_traceback() -> None:
    text = TextFormatter("node-1").format(failure())
    assert text.startswith("12:13:20.250 error    node-1  it failed\nTraceback")
    assert text.endswith("ValueError: a reason\nof two lines")
    line = JsonFormatter("node-1").format(failure())
    assert "\n" not in line
    traceback = json.loads(line)["traceback"]
    assert traceback.startswith("Traceback")
    assert traceback.endswith("ValueError: a reason\nof two lines")


@pytest.mark.usefixtures("log_alone")
@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("level", LEVELS)
def test_log_goes_to_stderr_from_its_level_on(
    capsys: pytest.CaptureFixture[str], level: str, log_format: str
) -> None:
    configure_logging(level, log_format, "node-1")
    for name in LEVELS:
        logging.getLogger("anything").log(logging.getLevelName(name.upper()), "said at %s", name)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    said = LEVELS[: LEVELS.index(level) + 1]
    assert len(lines) == len(said)
    for line, name in zip(lines, said, strict=True):
        assert f"said at {name}" in line
        assert "node-1" in line
        assert (log_format == "json") == line.startswith("{")


@pytest.mark.usefixtures("log_alone")
def test_to_configure_again_replaces_what_was(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("debug", "text", "node-1")
    configure_logging("info", "json", "node-2")
    logging.getLogger("anything").info("once")
    assert json.loads(capsys.readouterr().err)["server_id"] == "node-2"
