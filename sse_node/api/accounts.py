"""Accounts, kept in Redis: each change, its events and its jobs are one atomic step."""

import re
from collections.abc import Callable
from typing import Annotated, Final, TypeVar
from urllib.parse import urlencode

import msgspec

from sse_node.api.parameters import (
    bounded_parameter,
    check_user,
    idempotency_key_of,
    query_of,
    user_of,
)
from sse_node.errors import RequestError
from sse_node.redis.commands import RedisCommands, Script
from sse_node.redis.event_log import IDEMPOTENCY_KEEP_MS, EventLog
from sse_node.redis.keys import idempotency_name
from sse_node.wire.envelope import USER_ID_EXPECTED, is_user_id
from sse_node.wire.http_head import Request, Response, json_response
from sse_node.wire.identity import READ_ACCOUNTS, WRITE_ACCOUNTS
from sse_node.wire.json_body import decode_content

_CREATE: Final = Script("log", "account", "create_account")
_LIST: Final = Script("account", "list_accounts")
_GET: Final = Script("account", "get_account")
_UPDATE: Final = Script("log", "account", "update_account")
_DELETE: Final = Script("log", "delete_account")

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
    """The resources `/accounts` and `/accounts/{id}`; lives as long as the node.

    Args:
        commands: the node's connections to Redis.
        log: for what scripts need that append to it.
        default_user: owner of accounts when a request names no user.
        now: returns the present time as RFC 3339 text in UTC.
    """

    def __init__(
        self, commands: RedisCommands, log: EventLog, default_user: str, now: Callable[[], str]
    ) -> None:
        self._commands = commands
        self._log = log
        self._keys = log.keys
        self._default_user = default_user
        self._now = now

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
        async with self._commands.writes:
            # The script is given every key that it touches, so the id comes first. A request that
            # fails after it, or that is answered from its idempotency record, leaves a gap.
            new_id: int = await self._commands.execute("INCR", self._keys.account_counter)
            account: bytes = await self._commands.run(
                _CREATE,
                [
                    self._keys.log,
                    self._keys.account(new_id),
                    self._keys.accounts_of(user),
                    self._keys.jobs,
                    *self._keys.idempotency_record(name),
                ],
                [
                    *self._log.write_arguments(),
                    IDEMPOTENCY_KEEP_MS,
                    new_id,
                    user,
                    msgspec.json.encode(self._now()),
                    msgspec.json.encode(content.name),
                    msgspec.json.encode(balance),
                ],
            )
        account_id = msgspec.json.decode(account)["id"]
        location = (b"Location", b"/accounts/%d" % account_id)
        return json_response(201, msgspec.Raw(account), (location,))

    async def list(self, request: Request) -> Response:
        """Answer `GET /accounts`: a page of the user's accounts in the order of their ids.

        A full page has the target of the next one in its `Link` header (RFC 8288).
        """
        query = query_of(request, "userId", "limit", "after")
        user = user_of(request, query, self._default_user, READ_ACCOUNTS)
        limit = bounded_parameter(query, "limit", _LISTED, _MAX_LISTED)
        after = bounded_parameter(query, "after", 0, _MAX_INTEGER, least=0)
        index = self._keys.accounts_of(user)
        async with self._commands.reads:
            ids: list[bytes] = await self._commands.execute(
                "ZRANGEBYSCORE", index, f"({after}", "+inf", "LIMIT", 0, limit
            )
            keys = [self._keys.account(int(account_id)) for account_id in ids]
            accounts = await self._commands.run(_LIST, keys, []) if keys else []
            headers = []
            if len(ids) == limit:
                page = urlencode({"userId": user, "limit": limit, "after": int(ids[-1])})
                headers.append((b"Link", b'</accounts?%b>; rel="next"' % page.encode()))
            return json_response(200, [msgspec.Raw(account) for account in accounts], headers)

    async def get(self, request: Request) -> Response:
        """Answer `GET /accounts/{id}`."""
        key = self._key_of(request)
        async with self._commands.reads:
            await self._check_owner(request, key, READ_ACCOUNTS)
            account = await self._commands.run(_GET, [key], [])
        return json_response(200, msgspec.Raw(_found(account, request)))

    async def update(self, request: Request) -> Response:
        """Answer `PATCH /accounts/{id}`."""
        key = self._key_of(request)
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
        async with self._commands.writes:
            await self._check_owner(request, key, WRITE_ACCOUNTS)
            account = await self._commands.run(
                _UPDATE,
                [self._keys.log, key],
                [*self._log.write_arguments(), msgspec.json.encode(changes), *fields],
            )
        return json_response(200, msgspec.Raw(_found(account, request)))

    async def delete(self, request: Request) -> Response:
        """Answer `DELETE /accounts/{id}`."""
        key = self._key_of(request)
        async with self._commands.writes:
            owner = await self._owner_of(key)
            check_user(request, owner, WRITE_ACCOUNTS)
            user = _found(owner, request)
            deleted = await self._commands.run(
                _DELETE,
                [
                    self._keys.log,
                    key,
                    self._keys.accounts_of(user),
                    self._keys.snapshots_of(user),
                ],
                self._log.write_arguments(),
            )
        _found(deleted or None, request)
        return Response(204)

    async def _owner_of(self, key: str) -> str | None:
        """Return the user of an account, None when there is no such account; it never changes."""
        user: bytes | None = await self._commands.execute("HGET", key, "userId")
        return None if user is None else msgspec.json.decode(user, type=str)

    async def _check_owner(self, request: Request, key: str, right: str) -> None:
        if right not in request.identity.rights:
            check_user(request, await self._owner_of(key), right)

    def _key_of(self, request: Request) -> str:
        query_of(request)
        account_id = request.path_parameters["id"]
        if not _ACCOUNT_ID.fullmatch(account_id):
            _found(None, request)
        return self._keys.account(int(account_id))


def _found(account: T | None, request: Request) -> T:
    if account is None:
        account_id = request.path_parameters["id"]
        raise RequestError(404, f"account {account_id!r:.40}: no account has this id")
    return account
