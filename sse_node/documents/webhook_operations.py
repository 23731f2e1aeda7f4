"""The operations on webhooks, a part of the table in `operations`."""

from typing import Final

from sse_node.api.webhooks import NewWebhook, WebhookChanges
from sse_node.documents.answers import (
    DeadLetter,
    Delivery,
    Queued,
    Replayed,
    Webhook,
    WebhookWithSecret,
)
from sse_node.documents.operation import JSON, Answer, Content, Operation
from sse_node.documents.operation import Parameter as P
from sse_node.documents.parameters import KEY, USER_ID

_TOPIC: Final = "Webhooks"
_ID = P(
    "id",
    "Of a webhook.",
    {"type": "string", "pattern": "^wh_[0-9a-f]{24}$"},
    "path",
    "wh_" + 24 * "0",
)
_NEW: Final = {"url": "https://hooks.example/sse", "events": ["order.paid"], "userId": "ann"}
_CREATED: Final = {
    201: Answer(
        "It is there; the secret is shown once.",
        WebhookWithSecret,
        headers={"Location": "of the webhook"},
    )
}
_CREATE_ABOUT: Final = (
    "The user's events of these types, `*` for all, are sent to the URL from now on, signed as "
    "Standard Webhooks."
)
_CREATE_ERRORS: Final = (409, 413, 415, 422)

WEBHOOK_OPERATIONS: Final[dict[tuple[str, str], Operation]] = {
    ("GET", "/webhooks"): Operation(
        "listWebhooks",
        _TOPIC,
        "A user's webhooks",
        {200: Answer("All of them, the oldest first.", list[Webhook])},
        parameters=(USER_ID,),
    ),
    ("POST", "/webhooks"): Operation(
        "createWebhook",
        _TOPIC,
        "Create a webhook",
        _CREATED,
        _CREATE_ABOUT,
        (KEY,),
        {JSON: Content(NewWebhook, _NEW)},
        _CREATE_ERRORS,
    ),
    ("POST", "/webhooks/register"): Operation(
        "registerWebhook",
        _TOPIC,
        "Create a webhook, as `POST /webhooks`",
        _CREATED,
        _CREATE_ABOUT,
        (KEY,),
        {JSON: Content(NewWebhook, _NEW)},
        _CREATE_ERRORS,
    ),
    ("GET", "/webhooks/{id}"): Operation(
        "getWebhook",
        _TOPIC,
        "A webhook, and what waits for it",
        {200: Answer("The webhook.", Webhook)},
        parameters=(_ID,),
        errors=(404,),
    ),
    ("PATCH", "/webhooks/{id}"): Operation(
        "changeWebhook",
        _TOPIC,
        "Change, pause or resume a webhook, or rotate its secret",
        {200: Answer("The changed webhook; a new secret is shown once.", WebhookWithSecret)},
        "The former secret signs beside the new one for 24 hours.",
        (_ID,),
        {JSON: Content(WebhookChanges, {"enabled": True})},
        (404, 413, 415, 422),
    ),
    ("DELETE", "/webhooks/{id}"): Operation(
        "deleteWebhook",
        _TOPIC,
        "Delete a webhook and what waits for it",
        {204: Answer("It is gone.")},
        parameters=(_ID,),
        errors=(404,),
    ),
    ("POST", "/webhooks/{id}/test"): Operation(
        "testWebhook",
        _TOPIC,
        "Send a message `webhook.test`, and retry what waits before it",
        {202: Answer("It is on its way; `deliveries` shows what came of it.", Queued)},
        parameters=(_ID,),
        errors=(404, 409, 415),
    ),
    ("GET", "/webhooks/{id}/deliveries"): Operation(
        "listDeliveries",
        _TOPIC,
        "The last 100 attempts, newest first",
        {200: Answer("Attempts.", list[Delivery])},
        parameters=(_ID,),
        errors=(404,),
    ),
    ("GET", "/webhooks/{id}/dead-letters"): Operation(
        "listDeadLetters",
        _TOPIC,
        "Messages that were not delivered",
        {200: Answer("The newest ones, the oldest of these first.", list[DeadLetter])},
        parameters=(
            _ID,
            P(
                "limit",
                "How many at most, up to 1000.",
                {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
            ),
        ),
        errors=(404,),
    ),
    ("POST", "/webhooks/{id}/dead-letters/replay"): Operation(
        "replayDeadLetters",
        _TOPIC,
        "Send dead letters again, behind what waits",
        {202: Answer("They are on their way.", Replayed)},
        parameters=(
            _ID,
            P(
                "messageId",
                "Of one message; all by default.",
                {"type": "string", "pattern": "^[0-9]{1,20}-[0-9a-z-]{1,40}$"},
            ),
        ),
        errors=(404, 415),
    ),
}
