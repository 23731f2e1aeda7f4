"""The part of the chart's `values.schema.json` that follows from the settings.

`python -m tests.deploy.chart_schema` writes it into the file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sse_node.config.parsers import schema_of
from sse_node.config.reading import all_settings, flag_of

FILE = Path(__file__).parents[2] / "deploy" / "helm" / "sse-node" / "values.schema.json"
# Settings that the chart computes or knows from values of its own.
OWN = {
    "host", "port", "uds", "server-id", "log-format", "redis-url", "auth", "jwt-key", "jwks-url",
    "api-keys", "max-streams", "workers", "drain-delay", "drain-rate", "timeout-graceful-shutdown",
    "webhook-port",  # of `sse-node webhooks`
}  # fmt: skip


def settings_schema() -> dict[str, Any]:
    """Return the schema of `settings`: all that are not the chart's own, and their bounds."""
    properties = {
        flag_of(item).removeprefix("--"): schema_of(item.metadata["parse"])
        for _, item in all_settings()
    }
    properties = {name: schema for name, schema in properties.items() if name not in OWN}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def write() -> None:
    """Bring the file up to date."""
    schema = json.loads(FILE.read_text("utf-8"))
    schema["properties"]["settings"] = settings_schema()
    FILE.write_text(json.dumps(schema, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    write()
