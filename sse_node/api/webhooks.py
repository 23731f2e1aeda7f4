"""Webhooks: what users register, so that their events are sent to a URL."""

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import time
from typing import Annotated, Any, Final

import msgspec

from sse_node.api.parameters import (
    bounded_parameter,
    check_user,
    idempotency_key_of,
    query_of,
    user_of,
)
from sse_node.errors import RequestError, TargetError, UnresolvedTargetError
from sse_node.redis.event_logs import EventLogs
from sse_node.redis.keys import idempotency_name
from sse_node.webhooks.registry import ROTATION_MS, Change, WebhookRegistry, is_id
from sse_node.webhooks.secrets import SECRET_EXPECTED, is_secret, new_secret
from sse_node.webhooks.targets import Targets
from sse_node.wire.envelope import EVENT_TYPE_EXPECTED, USER_ID_EXPECTED, is_event_type, is_user_id
from sse_node.wire.http_head import Request, Response, json_response
from sse_node.wire.identity import WEBHOOKS
from sse_node.wire.json_body import check_optional_content, decode_content

ALL_EVENTS: Final = "*"
MAX_EVENTS: Final = 100
_LISTED: Final = 100
_MAX_LISTED: Final = 1000
_MESSAGE_ID: Final = re.compile(r"[0-9]{1,20}-[0-9a-z-]{1,40}")

EventTypes = Annotated[list[str], msgspec.Meta(min_length=1, max_length=MAX_EVENTS)]


class NewWebhook(msgspec.Struct, rename="camel"):
    """The content of `POST /webhooks`."""

    url: str
    events: EventTypes
    user_id: str | msgspec.UnsetType = msgspec.UNSET
    secret: str | msgspec.UnsetType = msgspec.UNSET


class WebhookChanges(msgspec.Struct, rename="camel"):
    """The content of `PATCH /webhooks/{id}`."""

    url: str | msgspec.UnsetType = msgspec.UNSET
    events: EventTypes | msgspec.UnsetType = msgspec.UNSET
    enabled: bool | msgspec.UnsetType = msgspec.UNSET
    secret: str | msgspec.UnsetType = msgspec.UNSET
    rotate_secret: bool = False


_new_webhook = msgspec.json.Decoder(NewWebhook)
_webhook_changes = msgspec.json.Decoder(WebhookChanges)


@dataclass(frozen=True, slots=True)
class Webhooks:
    """The resources `/webhooks` and below; lives as long as the node.

    Attributes:
        logs: of all shards.
        registry: of webhooks.
        targets: the rules for URLs.
        default_user: owner of webhooks when a request names no user.
        now: returns the present time as RFC 3339 text in UTC.
    """

    logs: EventLogs
    registry: WebhookRegistry
    targets: Targets
    default_user: str
    now: Callable[[], str]

    async def create(self, request: Request) -> Response:
        """Answer `POST /webhooks`; the secret is in this answer and in no other."""
        query_of(request)
        key = idempotency_key_of(request)
        content = decode_content(request, _new_webhook)
        user = request.identity.user or self.default_user
        if content.user_id is not msgspec.UNSET:
            user = content.user_id
        if not is_user_id(user):
            raise RequestError(422, f"content: userId {user!r:.140}: expected {USER_ID_EXPECTED}")
        check_user(request, user, WEBHOOKS)
        events = _checked_events(content.events)
        given = content.secret if isinstance(content.secret, str) else None
        secret = new_secret() if given is None else _checked_secret(given)
        await self._check_url(content.url)
        fields = {
            "id": self.registry.new_id(user),
            "user": user,
            "url": content.url,
            "events": msgspec.json.encode(events).decode(),
            "secret": secret,
            "enabled": "1",
            "created_at": self.now(),
        }
        answer = msgspec.json.encode(_shown(fields) | {"secret": secret})
        name = idempotency_name("POST /webhooks", request.identity.caller or user, key)
        sent = msgspec.json.encode([user, content.url, events, given])
        async with self.logs.writes:
            await self.logs.claim(name, sent)
            created = await self.registry.create(fields, answer, name, sent)
        if created is None:
            raise RequestError(409, "webhooks: the user has as many as a user may have")
        location = b"/webhooks/" + msgspec.json.decode(created)["id"].encode()
        return json_response(201, msgspec.Raw(created), ((b"Location", location),))

    async def list(self, request: Request) -> Response:
        """Answer `GET /webhooks`: the user's webhooks, the oldest first."""
        query = query_of(request, "userId")
        user = user_of(request, query, self.default_user, WEBHOOKS)
        async with self.logs.reads:
            webhooks = await self.registry.list_of(user)
        return json_response(200, [_shown(webhook) for webhook in webhooks])

    async def get(self, request: Request) -> Response:
        """Answer `GET /webhooks/{id}`."""
        query_of(request)
        async with self.logs.reads:
            await self._owner_of(request)
            return json_response(200, await self._read(request))

    async def update(self, request: Request) -> Response:
        """Answer `PATCH /webhooks/{id}`; a new secret is shown once."""
        query_of(request)
        content = decode_content(request, _webhook_changes)
        change = self._change_of(content)
        async with self.logs.writes:
            user = await self._owner_of(request)
        if isinstance(content.url, str):
            await self._check_url(content.url)
        async with self.logs.writes:
            if not await self.registry.update(_id_of(request), user, change):
                raise _not_found(request)
            shown = await self._read(request)
        return json_response(200, shown | ({"secret": change.secret} if change.secret else {}))

    def _change_of(self, content: WebhookChanges) -> Change:
        """Return what a content changes."""
        fields = {}
        if isinstance(content.url, str):
            fields["url"] = content.url
        if isinstance(content.enabled, bool):
            fields["enabled"] = str(int(content.enabled))
        secret = ""
        if isinstance(content.secret, str):
            secret = _checked_secret(content.secret)
        elif content.rotate_secret:
            secret = new_secret()
        events = None if content.events is msgspec.UNSET else _checked_events(content.events)
        if not fields and events is None and not secret:
            raise RequestError(
                422, "content: expected url, events, enabled, secret or rotateSecret"
            )
        tries = True if "url" in fields else None
        if "enabled" in fields:
            tries = fields["enabled"] == "1"
            fields |= {} if tries else {"disabled_reason": "request"}
        return Change(fields, events, secret, int(time() * 1000) + ROTATION_MS, tries)

    async def delete(self, request: Request) -> Response:
        """Answer `DELETE /webhooks/{id}`."""
        query_of(request)
        async with self.logs.writes:
            user = await self._owner_of(request)
            if not await self.registry.delete(_id_of(request), user):
                raise _not_found(request)
        return Response(204)

    async def test(self, request: Request) -> Response:
        """Answer `POST /webhooks/{id}/test`: a message `webhook.test` is on its way."""
        query_of(request)
        check_optional_content(request)
        async with self.logs.writes:
            await self._owner_of(request)
            message_id = f"{int(time() * 1000)}-test-{secrets.token_hex(4)}"
            message = {"id": message_id, "eventType": "webhook.test", "data": {}}
            encoded = msgspec.json.encode(message)
            queued = await self.registry.queue_test(_id_of(request), encoded)
        if queued is None:
            raise _not_found(request)
        if not queued:
            raise RequestError(409, "webhook: it is disabled, or too many messages wait for it")
        return json_response(202, {"id": message_id})

    async def deliveries(self, request: Request) -> Response:
        """Answer `GET /webhooks/{id}/deliveries`: the last 100 attempts, newest first."""
        query_of(request)
        async with self.logs.reads:
            await self._owner_of(request)
            return _raw_list(await self.registry.deliveries(_id_of(request)))

    async def dead_letters(self, request: Request) -> Response:
        """Answer `GET /webhooks/{id}/dead-letters`: the newest ones, the oldest of these first."""
        query = query_of(request, "limit")
        limit = bounded_parameter(query, "limit", _LISTED, _MAX_LISTED)
        async with self.logs.reads:
            await self._owner_of(request)
            return _raw_list(await self.registry.dead_letters(_id_of(request), limit))

    async def replay(self, request: Request) -> Response:
        """Answer `POST /webhooks/{id}/dead-letters/replay`: of one message, or of all."""
        query = query_of(request, "messageId")
        check_optional_content(request)
        message_id = query.get("messageId", "")
        if "messageId" in query and not _MESSAGE_ID.fullmatch(message_id):
            raise RequestError(
                400, f"messageId {message_id!r:.60}: expected the id of a dead letter"
            )
        async with self.logs.writes:
            await self._owner_of(request)
            replayed = await self.registry.replay(_id_of(request), message_id)
        if replayed is None:
            raise _not_found(request)
        return json_response(202, {"replayed": replayed})

    async def _check_url(self, url: str) -> None:
        """Reject a URL that no message would be sent to; its host may be unknown as yet."""
        try:
            await self.targets.resolve(self.targets.parse(url))
        except UnresolvedTargetError:
            return
        except TargetError as exc:
            raise RequestError(422, f"content: url: {exc}") from exc

    async def _owner_of(self, request: Request) -> str:
        """Return the user of the request's webhook, for a caller that may act for that user."""
        owner = await self.registry.owner(request.path_parameters["id"])
        check_user(request, owner, WEBHOOKS)
        if owner is None:
            raise _not_found(request)
        return owner

    async def _read(self, request: Request) -> dict[str, Any]:
        webhooks = await self.registry.get([_id_of(request)])
        if not webhooks:
            raise _not_found(request)
        return _shown(webhooks[0])


def _id_of(request: Request) -> str:
    webhook_id = request.path_parameters["id"]
    if not is_id(webhook_id):
        raise _not_found(request)
    return webhook_id


def _not_found(request: Request) -> RequestError:
    webhook_id = request.path_parameters["id"]
    return RequestError(404, f"webhook {webhook_id!r:.40}: no webhook has this id")


def _checked_events(events: Sequence[str]) -> "list[str]":
    for event_type in events:
        if event_type != ALL_EVENTS and not is_event_type(event_type):
            raise RequestError(
                422, f"content: events: {event_type!r:.80}: expected * or {EVENT_TYPE_EXPECTED}"
            )
    return list(dict.fromkeys(events))


def _checked_secret(secret: str) -> str:
    if not is_secret(secret):
        raise RequestError(422, f"content: secret: expected {SECRET_EXPECTED}")
    return secret


def _raw_list(items: Sequence[bytes]) -> Response:
    return json_response(200, [msgspec.Raw(item) for item in items])


def _shown(webhook: dict[str, str]) -> dict[str, Any]:
    """Return a webhook as clients see it: without its secrets."""
    missed = int(webhook.get("missed", 0))
    return {
        "id": webhook["id"],
        "userId": webhook["user"],
        "url": webhook["url"],
        "events": msgspec.json.decode(webhook["events"]),
        "enabled": webhook["enabled"] == "1",
        "disabledReason": None if webhook["enabled"] == "1" else webhook.get("disabled_reason"),
        "createdAt": webhook["created_at"],
        "failedAttempts": int(webhook.get("attempts", 0)),
        "queued": int(webhook.get("queued", 0)),
        "deadLetters": int(webhook.get("dead", 0)),
        "missedEvents": int(webhook.get("missed_in_all", 0)),
        "openGap": {
            "from": webhook["missed_from"],
            "until": webhook["missed_until"],
            "count": missed or None,
        }
        if "missed_until" in webhook
        else None,
    }
