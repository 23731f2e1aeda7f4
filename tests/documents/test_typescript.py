"""The npm package's types of the API are those of the documents."""

from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from sse_node.documents.events import Closed, Reset
from sse_node.documents.openapi import openapi_document
from sse_node.documents.typescript import typescript_types
from sse_node.errors import RESET_REASONS
from sse_node.streams.event_stream import CloseReason
from sse_node.wire.channels import Channels

TYPES = typescript_types()


def test_the_types_of_the_npm_package_are_up_to_date() -> None:
    checked_in = Path(__file__).parents[2] / "client/src/api.ts"
    assert checked_in.read_text("utf-8") == TYPES, "run `make client-types`"


def test_every_schema_has_a_type() -> None:
    for name in openapi_document(Channels([]))["components"]["schemas"]:
        assert TYPES.count(f"export interface {name} {{") == 1


@pytest.mark.parametrize(
    "line",
    [
        "  balance: number;",
        "  userId?: string;",
        "  ids: (string | null)[];",
        "  data: unknown;",
        '  specversion: "1.0";',
        '  events: ("*" | string)[];',
        "  message: Record<string, unknown>;",
        "  count: number | null;",
        '  eventType: "account.created" | "account.updated";',
        "  events: PastEvent[];",
        "  changes: Record<string, string | number>;",
        '  "balance.changed": BalanceChanged;',
        "  /** Unix seconds; RFC 3339 text is accepted, too. */",
    ],
)
def test_types(line: str) -> None:
    assert f"{line}\n" in TYPES


def test_what_is_forbidden_has_no_type() -> None:
    assert "data_base64" not in TYPES


def test_the_reasons_are_those_that_the_node_sends() -> None:
    assert get_args(get_type_hints(Reset)["reason"]) == RESET_REASONS
    sent = {CloseReason.TOKEN_EXPIRED, CloseReason.REVOKED, CloseReason.REPLACED}
    assert set(get_args(get_type_hints(Closed)["reason"])) == sent
