"""How a line of the log looks: for people on a terminal, or JSON for machines."""

import logging
import sys
from copy import copy
from datetime import UTC, datetime
from typing import Final

import msgspec

from sse_node.logs.stderr import StderrHandler

LEVELS: Final = ("critical", "error", "warning", "info", "debug")


class TextFormatter(logging.Formatter):
    """`12:30:01.250 info    node-1  listening on http://127.0.0.1:3000`."""

    def __init__(self, server_id: str) -> None:
        super().__init__(
            f"%(asctime)s.%(msecs)03d %(levelname)-8s {server_id}  %(message)s", "%H:%M:%S"
        )

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, the level in lower case."""
        record = copy(record)  # other handlers get the same one
        record.levelname = record.levelname.lower()
        return super().format(record)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, server_id, logger, message, and a traceback if any."""

    def __init__(self, server_id: str) -> None:
        super().__init__()
        self._server_id = server_id

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "server_id": self._server_id,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def configure_logging(level: str, log_format: str, name: str) -> None:
    """Send the log of the whole process to stderr.

    Args:
        level: one of LEVELS.
        log_format: `text` or `json`.
        name: of the process, in every line.
    """
    handler = StderrHandler(sys.stderr)
    make_formatter = JsonFormatter if log_format == "json" else TextFormatter
    handler.setFormatter(make_formatter(name))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
