"""The table of operations: for each route what it takes and what it answers."""

from typing import Any, Final

from sse_node.api.accounts import AccountChanges, NewAccount
from sse_node.api.cloudevents import BATCHED, STRUCTURED, CloudEventContent, CloudEventContents
from sse_node.api.event_content import EventContent, EventContents
from sse_node.api.past_events import PastEventsPage
from sse_node.api.revocations import NewRevocation
from sse_node.documents.answers import (
    Account,
    AccountChange,
    Alive,
    Published,
    Revoked,
    Snapshot,
    StreamItem,
)
from sse_node.documents.operation import HTML, JSON, STREAM, TEXT, Answer, Content, Operation
from sse_node.documents.operation import Parameter as P
from sse_node.documents.parameters import KEY, USER_ID
from sse_node.documents.refinements import USER
from sse_node.documents.webhook_operations import WEBHOOK_OPERATIONS

_EVENT_ID: Final = r"^\d{1,20}-\d{1,20}$"
_ENTITY_TAG: Final = r'(W/)?"[!#-~]*"'
_TAGS: Final = {"type": "string", "pattern": rf"^(\*|{_ENTITY_TAG}(, {_ENTITY_TAG})*)$"}
_TAG: Final = {"ETag": "the version, quoted"}
_NEXT: Final = {"Link": 'the next page, `rel="next"`, if there may be one'}
_EVENT: Final = {"userId": "ann", "eventType": "order.paid", "data": {"order": 7}}
_CLOUDEVENT: Final = {
    "specversion": "1.0",
    "id": "7",
    "source": "/orders",
    "type": "order.paid",
    "subject": "ann",
    "data": {"order": 7},
}

_ACCOUNT_ID = P(
    "id",
    "Of an account.",
    {"type": "integer", "minimum": 1, "maximum": 10**16 - 1},
    "path",
    example=1,
)
_IF_MATCH = P("If-Match", 'Versions that may be changed, as "3".', _TAGS, "header", example="*")
_AFTER_ID = P(
    "after",
    "Only what follows this number.",
    {"type": "integer", "minimum": 0, "maximum": 2**53 - 1},
)


def _limit(most: int = 1000) -> P:
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": 100}
    return P("limit", f"How many at most, up to {most}.", schema)


_STREAM_PARAMETERS: Final = (
    P(
        "channels",
        "Channels besides the user's own events, separated by commas or repeated; at most 50.",
        {"type": "array", "items": {"type": "string"}, "maxItems": 50},
        example=["analytics-events"],
    ),
    P("since", "Begin with everything after this id.", {"type": "string", "pattern": _EVENT_ID}),
    P(
        "replay",
        "Begin with so many of the last events.",
        {"type": "integer", "minimum": 0, "maximum": 1000},
    ),
    P(
        "lastEventId",
        "As Last-Event-ID, where a header cannot be set.",
        {"type": "string"},
    ),
    P(
        "Last-Event-ID",
        "Resume after this id; what cannot be proven complete is `sse.reset`.",
        {"type": "string"},
        "header",
    ),
)
_STREAM_ANSWER: Final = {
    200: Answer(
        "Events for as long as the stream is open; with a `retry:` alone: come back later.",
        StreamItem,
        STREAM,
    )
}
_ALIVE: Final = {200: Answer("It does.", Alive)}

OPERATIONS: Final[dict[tuple[str, str], Operation]] = {
    ("GET", "/events/sse"): Operation(
        "openStream",
        "Streams",
        "The event stream of the caller",
        _STREAM_ANSWER,
        "The token's user; without authentication that of `--default-user`.",
        _STREAM_PARAMETERS,
    ),
    ("GET", "/events/sse/{userId}"): Operation(
        "openStreamOfUser",
        "Streams",
        "The event stream of a user",
        _STREAM_ANSWER,
        parameters=(P("userId", "Whose.", USER, "path", "ann"), *_STREAM_PARAMETERS),
    ),
    ("POST", "/events"): Operation(
        "publish",
        "Events",
        "Publish events",
        {202: Answer("They are in the log and on their way.", Published)},
        "One event or an array, all or none (with shards, of each shard). CloudEvents have their "
        "own key, `source` and `id`; each of a batch is published alone.",
        (KEY,),
        {
            JSON: Content(EventContent | EventContents, _EVENT),
            STRUCTURED: Content(CloudEventContent, _CLOUDEVENT),
            BATCHED: Content(CloudEventContents, [_CLOUDEVENT]),
        },
        (413, 415, 422),
    ),
    ("GET", "/events"): Operation(
        "listEvents",
        "Events",
        "A user's past events",
        {200: Answer("A page of what the log still has.", PastEventsPage)},
        "Without those of channels.",
        (
            USER_ID,
            P("after", "Only what follows this id.", {"type": "string", "pattern": _EVENT_ID}),
            _limit(),
        ),
    ),
    ("GET", "/accounts"): Operation(
        "listAccounts",
        "Accounts",
        "A user's accounts, by id",
        {200: Answer("A page.", list[Account], headers=_NEXT)},
        parameters=(USER_ID, _limit(), _AFTER_ID),
    ),
    ("POST", "/accounts"): Operation(
        "createAccount",
        "Accounts",
        "Create an account",
        {201: Answer("It is there.", Account, headers={"Location": "of the account", **_TAG})},
        "Publishes `account.created`, then `snapshots.generated`.",
        (KEY,),
        {JSON: Content(NewAccount, {"name": "Harbour fund", "balance": 100, "userId": "ann"})},
        (413, 415, 422),
    ),
    ("GET", "/accounts/{id}"): Operation(
        "getAccount",
        "Accounts",
        "An account, now or in the past",
        {
            200: Answer("The account.", Account, headers=_TAG),
            304: Answer("The client has it.", headers=_TAG),
        },
        parameters=(
            _ACCOUNT_ID,
            P(
                "version",
                "As of this version.",
                {"type": "integer", "minimum": 1, "maximum": 2**53 - 1},
            ),
            P(
                "at",
                "As of this time, RFC 3339; Unix ms are accepted, too.",
                {"type": "string", "format": "date-time"},
            ),
            P("If-None-Match", "Versions that the client has.", _TAGS, "header"),
        ),
        errors=(404,),
    ),
    ("PATCH", "/accounts/{id}"): Operation(
        "changeAccount",
        "Accounts",
        "Change an account",
        {200: Answer("The changed account.", Account, headers=_TAG)},
        "Publishes `account.updated`, and `balance.changed` if it moved.",
        (_ACCOUNT_ID, _IF_MATCH),
        {JSON: Content(AccountChanges, {"balance": 120})},
        (404, 412, 413, 415, 422),
    ),
    ("DELETE", "/accounts/{id}"): Operation(
        "deleteAccount",
        "Accounts",
        "Delete an account and its history",
        {204: Answer("It is gone.")},
        "Publishes `account.deleted`.",
        (_ACCOUNT_ID, _IF_MATCH),
        errors=(404, 412),
    ),
    ("GET", "/accounts/{id}/events"): Operation(
        "getAccountHistory",
        "Accounts",
        "The changes of an account, in order",
        {200: Answer("A page.", list[AccountChange], headers=_NEXT)},
        parameters=(_ACCOUNT_ID, _AFTER_ID, _limit()),
        errors=(404,),
    ),
    ("GET", "/snapshots"): Operation(
        "listSnapshots",
        "Accounts",
        "A user's snapshots, newest last",
        {200: Answer("The newest ones.", list[Snapshot])},
        parameters=(USER_ID, _limit()),
    ),
    **WEBHOOK_OPERATIONS,
    ("POST", "/revocations"): Operation(
        "revoke",
        "Operators",
        "End the access of a user or a token",
        {200: Answer("Every node knows it within 2 s.", Revoked)},
        "`user` or `jti`; until a time, by default for 24 hours.",
        content={JSON: Content(NewRevocation, {"jti": "8e03978e"})},
        errors=(413, 415, 422),
    ),
    ("GET", "/status"): Operation(
        "getStatus", "Operators", "Figures of the node", {200: Answer("Figures.", dict[str, Any])}
    ),
    ("GET", "/metrics"): Operation(
        "getMetrics",
        "Operators",
        "Figures for Prometheus",
        {200: Answer("Text format 0.0.4.", str, TEXT)},
    ),
    ("GET", "/health"): Operation(
        "getHealth",
        "Health",
        "Whether the process serves, and what is wrong with its Redis",
        {200: Answer("It does; figures where everybody may see them.", dict[str, Any])},
    ),
    ("GET", "/health/live"): Operation("isLive", "Health", "Whether the process serves", _ALIVE),
    ("GET", "/health/ready"): Operation(
        "isReady", "Health", "Whether it should get new streams", _ALIVE, errors=(503,)
    ),
    ("GET", "/"): Operation("getPage", "Documents", "The page", {200: Answer("HTML.", str, HTML)}),
    ("GET", "/docs/api"): Operation(
        "getReference", "Documents", "This reference", {200: Answer("HTML.", str, HTML)}
    ),
    ("GET", "/openapi.json"): Operation(
        "getOpenapi", "Documents", "The OpenAPI document", {200: Answer("It.", dict[str, Any])}
    ),
    ("GET", "/asyncapi.json"): Operation(
        "getAsyncapi", "Documents", "The AsyncAPI document", {200: Answer("It.", dict[str, Any])}
    ),
}
