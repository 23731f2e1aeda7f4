"""Accounts, kept in Redis: each change, its events and its jobs are one atomic step."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlencode

import msgspec

from sse_node.api.account_history import parse_time, read_history, read_state
from sse_node.api.conditions import etag, expected_versions, is_known, precondition_failed
from sse_node.api.parameters import (
    bounded_parameter,
    check_user,
    idempotency_key_of,
    query_of,
    user_of,
)
from sse_node.errors import RequestError
from sse_node.redis.commands import Script
from sse_node.redis.event_log import IDEMPOTENCY_KEEP_MS, EventLog
from sse_node.redis.event_logs import EventLogs
from sse_node.redis.keys import idempotency_name
from sse_node.wire.envelope import USER_ID_EXPECTED, is_user_id
from sse_node.wire.http_head import Request, Response, json_response
from sse_node.wire.identity import READ_ACCOUNTS, WRITE_ACCOUNTS
from sse_node.wire.json_body import decode_content

_CREATE: Final = Script("tell", "log", "account", "change_account", "create_account")
_LIST: Final = Script("account", "list_accounts")
_GET: Final = Script("account", "get_account")
_UPDATE: Final = Script("tell", "log", "account", "change_account", "update_account")
_DELETE: Final = Script("tell", "log", "account", "change_account", "delete_account")

_LISTED: Final = 100
_MAX_LISTED: Final = 1000
# The integers that a JSON number carries exactly everywhere (RFC 8259 §6).
_MAX_INTEGER: Final = 2**53 - 1
_ACCOUNT_ID: Final = re.compile(r"[1-9][0-9]{0,15}")  # one way to write each
_BALANCE_EXPECTED: Final = "expected a finite number, integers within ±(2^53-1)"

T = TypeVar("T")

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class NewAccount(msgspec.Struct, rename="camel"):
    """The content of `POST /accounts`."""

    name: Name
    balance: int | float
    user_id: str | msgspec.UnsetType = msgspec.UNSET


class AccountChanges(msgspec.Struct, omit_defaults=True):
    """The content of `PATCH /accounts/{id}`."""

    name: Name | msgspec.UnsetType = msgspec.UNSET
    balance: int | float | msgspec.UnsetType = msgspec.UNSET


_new_account = msgspec.json.Decoder(NewAccount)
_account_changes = msgspec.json.Decoder(AccountChanges)


def _checked_balance(balance: float) -> int | float:
    """Return a balance as it is stored: a whole number has no fraction, as in JavaScript.

    Fractions are finite: JSON has no others, and its decoder refuses what no float can hold.
    """
    if isinstance(balance, float) and balance.is_integer() and abs(balance) <= _MAX_INTEGER:
        return int(balance)
    if isinstance(balance, int) and abs(balance) > _MAX_INTEGER:
        raise RequestError(422, f"content: balance: {_BALANCE_EXPECTED}")
    return balance


class Accounts:
    """The resources `/accounts` and below; lives as long as the node.

    Args:
        logs: of the shards that accounts are in.
        default_user: owner of accounts when a request names no user.
        now: returns the present time as RFC 3339 text in UTC.
        on_created: called with the log of a new account; its snapshot job waits there.
    """

    def __init__(
        self,
        logs: EventLogs,
        default_user: str,
        now: Callable[[], str],
        on_created: Callable[[EventLog], None] = lambda log: None,
    ) -> None:
        self._logs = logs
        self._default_user = default_user
        self._now = now
        self._on_created = on_created

    async def create(self, request: Request) -> Response:
        """Answer `POST /accounts`; snapshot job and event are in Redis with the account."""
        query_of(request)
        key = idempotency_key_of(request)
        content = decode_content(request, _new_account)
        user = request.identity.user or self._default_user
        if content.user_id is not msgspec.UNSET:
            user = content.user_id
        if not is_user_id(user):
            raise RequestError(422, f"content: userId {user!r:.140}: expected {USER_ID_EXPECTED}")
        check_user(request, user, WRITE_ACCOUNTS)
        balance = _checked_balance(content.balance)
        name = idempotency_name("POST /accounts", request.identity.caller or user, key)
        fields: list[str | bytes] = [user, *map(msgspec.json.encode, (content.name, balance))]
        async with self._logs.writes:
            await self._logs.claim(name, repr(fields).encode())
            account = await self._create(fields, name)
        account_id = msgspec.json.decode(account)["id"]
        location = (b"Location", b"/accounts/%d" % account_id)
        return json_response(201, msgspec.Raw(account), (location, etag("1")))

    async def _create(self, fields: Sequence[str | bytes], idempotency: str) -> bytes:
        """Create an account of user, name and balance, the last two as JSON; return it as JSON."""
        user, name, balance = fields
        log = self._logs.of_user(str(user))
        # The script is given every key that it touches, so the id comes first. A request that
        # fails after it, or that is answered from its idempotency record, leaves a gap.
        number: int = await log.commands.execute("INCR", log.keys.account_counter)
        new_id = self._logs.account_id(number, str(user))
        account: bytes = await log.commands.run(
            _CREATE,
            [
                log.keys.log,
                log.keys.account(new_id),
                log.keys.accounts_of(str(user)),
                log.keys.jobs,
                log.keys.account_history(new_id),
                *log.keys.idempotency_record(idempotency),
            ],
            [
                *log.write_arguments(),
                IDEMPOTENCY_KEEP_MS,
                new_id,
                user,
                msgspec.json.encode(self._now()),
                name,
                balance,
            ],
        )
        self._on_created(log)
        return account

    async def list(self, request: Request) -> Response:
        """Answer `GET /accounts`: a page of the user's accounts in the order of their ids.

        A full page has the target of the next one in its `Link` header (RFC 8288).
        """
        query = query_of(request, "userId", "limit", "after")
        user = user_of(request, query, self._default_user, READ_ACCOUNTS)
        limit = bounded_parameter(query, "limit", _LISTED, _MAX_LISTED)
        after = bounded_parameter(query, "after", 0, _MAX_INTEGER, least=0)
        log = self._logs.of_user(user)
        index = log.keys.accounts_of(user)
        async with self._logs.reads:
            ids: list[bytes] = await log.commands.execute(
                "ZRANGEBYSCORE", index, f"({after}", "+inf", "LIMIT", 0, limit
            )
            keys = [log.keys.account(int(account_id)) for account_id in ids]
            accounts = await log.commands.run(_LIST, keys, []) if keys else []
            headers = []
            if len(ids) == limit:
                page = urlencode({"userId": user, "limit": limit, "after": int(ids[-1])})
                headers.append((b"Link", b'</accounts?%b>; rel="next"' % page.encode()))
            return json_response(200, [msgspec.Raw(account) for account in accounts], headers)

    async def get(self, request: Request) -> Response:
        """Answer `GET /accounts/{id}`: its present state, or one of its history.

        `version` asks for the state of that number, `at` for that of a time.
        """
        query = query_of(request, "version", "at")
        log, key, history = await self._place_of(request)
        async with self._logs.reads:
            await _check_owner(request, log, key, READ_ACCOUNTS)
            found = _found(await log.commands.run(_GET, [key, history], []), request)
            account, version = found[0], found[1].decode()
            if query:
                account, version = await _state_of(query, log, history, account, int(version))
        if is_known(request, version):
            return Response(304, (etag(version),))
        return json_response(200, msgspec.Raw(account), (etag(version),))

    async def history(self, request: Request) -> Response:
        """Answer `GET /accounts/{id}/events`: a page of the account's changes in order."""
        query = query_of(request, "after", "limit")
        limit = bounded_parameter(query, "limit", _LISTED, _MAX_LISTED)
        after = bounded_parameter(query, "after", 0, _MAX_INTEGER, least=0)
        log, key, history = await self._place_of(request)
        async with self._logs.reads:
            await _check_owner(request, log, key, READ_ACCOUNTS)
            account, _ = _found(await log.commands.run(_GET, [key, history], []), request)
            events = []
            async for event in read_history(log.commands, history, account, after):
                events.append(event)
                if len(events) == limit:
                    break
        headers = []
        if len(events) == limit:
            page = urlencode({"limit": limit, "after": events[-1].version})
            target = f"{request.path}?{page}"
            headers.append((b"Link", b'<%b>; rel="next"' % target.encode()))
        return json_response(200, events, headers)

    async def update(self, request: Request) -> Response:
        """Answer `PATCH /accounts/{id}`; with `If-Match` only in the version expected."""
        query_of(request)
        log, key, history = await self._place_of(request)
        versions = expected_versions(request)
        changes = decode_content(request, _account_changes)
        if not isinstance(changes.balance, msgspec.UnsetType):
            changes.balance = _checked_balance(changes.balance)
        fields: list[str | bytes] = []
        for field in changes.__struct_fields__:
            value = getattr(changes, field)
            if value is not msgspec.UNSET:
                fields += (field, msgspec.json.encode(value))
        if not fields:
            raise RequestError(422, "content: expected name, balance, or both")
        async with self._logs.writes:
            await _check_owner(request, log, key, WRITE_ACCOUNTS)
            changed = await log.commands.run(
                _UPDATE,
                [log.keys.log, key, history],
                [*log.write_arguments(), msgspec.json.encode(changes), versions, *fields],
            )
        account, version = _in_expected_version(changed, request)
        return json_response(200, msgspec.Raw(account), (etag(version),))

    async def delete(self, request: Request) -> Response:
        """Answer `DELETE /accounts/{id}`; with `If-Match` only in the version expected."""
        query_of(request)
        log, key, history = await self._place_of(request)
        versions = expected_versions(request)
        async with self._logs.writes:
            owner = await _owner_of(log, key)
            check_user(request, owner, WRITE_ACCOUNTS)
            user = _found(owner, request)
            deleted = await log.commands.run(
                _DELETE,
                [
                    log.keys.log,
                    key,
                    log.keys.accounts_of(user),
                    log.keys.snapshots_of(user),
                    history,
                ],
                [*log.write_arguments(), versions],
            )
        _in_expected_version(deleted, request)
        return Response(204)

    async def _place_of(self, request: Request) -> tuple[EventLog, str, str]:
        """Return the log of an account's shard, and the keys of the account and its history."""
        text = request.path_parameters["id"]
        if not _ACCOUNT_ID.fullmatch(text):
            _found(None, request)
        account_id = int(text)
        log = await self._logs.find_account(account_id)
        return log, log.keys.account(account_id), log.keys.account_history(account_id)


async def _owner_of(log: EventLog, key: str) -> str | None:
    """Return the user of an account, None when there is no such account; it never changes."""
    user: bytes | None = await log.commands.execute("HGET", key, "userId")
    return None if user is None else msgspec.json.decode(user, type=str)


async def _check_owner(request: Request, log: EventLog, key: str, right: str) -> None:
    if right not in request.identity.rights:
        check_user(request, await _owner_of(log, key), right)


async def _state_of(
    query: Mapping[str, str], log: EventLog, history: str, account: bytes, newest: int
) -> tuple[bytes, str]:
    """Return a past state of an account and its version."""
    if len(query) > 1:
        raise RequestError(400, "query: expected one of version and at")
    events = read_history(log.commands, history, account)
    if "at" in query:
        state, version = await read_state(events, at=parse_time(query["at"]))
        if not version:
            raise RequestError(404, f"account: it was created after {query['at']:.40}")
    else:
        wanted = bounded_parameter(query, "version", newest, _MAX_INTEGER)
        state, version = await read_state(events, version=wanted)
        if version < wanted:
            raise RequestError(404, f"account: it has no version {wanted}, but 1 to {newest}")
    return msgspec.json.encode(state), str(version)


def _found(account: T | None, request: Request) -> T:
    if account is None:
        account_id = request.path_parameters["id"]
        raise RequestError(404, f"account {account_id!r:.40}: no account has this id")
    return account


def _in_expected_version(reply: list[Any] | None, request: Request) -> tuple[Any, str]:
    """Return the answer of a script that changes an account, and the version."""
    answer, version = _found(reply, request)
    if answer is None:
        raise precondition_failed(version.decode())
    return answer, version.decode()
