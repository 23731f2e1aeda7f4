"""From a request to the identity behind it, with each kind of authentication."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from sse_node.access.api_keys import new_key
from sse_node.access.gate import Gate
from sse_node.access.revocations import Revocations, name_of_token, name_of_user
from sse_node.access.rules import Requirement
from sse_node.config.reading import read_settings
from sse_node.errors import RequestError
from sse_node.redis.commands import RedisCommands
from sse_node.redis.keys import Keys
from sse_node.wire.http_head import Request, Response
from sse_node.wire.identity import ANYONE, RIGHTS, Identity
from tests.support.jwks_server import JwksServer
from tests.support.tokens import SECRET, signer

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

R = Requirement
TOKEN = signer("HS256")
KEY, KEY_LINE = new_key("billing", "observe publish:user:*")


class Gates:
    """Makes gates whose revocations the test writes."""

    def __init__(self, no_redis: RedisCommands, directory: Path) -> None:
        self.revocations = Revocations(no_redis, Keys(), lambda name: None)
        self.revocations.is_loaded = True
        self.refused: list[str] = []
        self.key_changes = 0
        (directory / "secret").write_bytes(SECRET)
        (directory / "keys").write_text(KEY_LINE)
        self._directory = directory

    def make(self, *, with_key: bool = True, api_keys: bool = True, **flags: str) -> Gate:
        if flags.get("auth") == "jwt" and with_key:
            flags["jwt_key"] = str(self._directory / "secret")
        if api_keys:
            flags["api_keys"] = str(self._directory / "keys")
        settings = read_settings(flags, {}).access
        return Gate(
            settings,
            ("https://app.example",),
            self.revocations,
            self._refuse,
            self._on_keys_changed,
        )

    def _on_keys_changed(self) -> None:
        self.key_changes += 1

    def _refuse(self, reason: str) -> Response:
        self.refused.append(reason)
        return Response(200)


@pytest.fixture
def gates(no_redis: RedisCommands, tmp_path: Path) -> Gates:
    return Gates(no_redis, tmp_path)


def request_of(
    bearer: str = "", method: str = "GET", query: str = "", peer: str = "", **headers: str
) -> Request:
    fields = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    if bearer:
        fields[b"authorization"] = b"Bearer " + bearer.encode()
    request = Request(method, "/", query, fields)
    request.peer = peer
    return request


def judge(
    gate: Gate, requirement: Requirement, request: Request
) -> Response | Awaitable[Response | None] | None:
    guard = gate.guard(requirement)
    assert guard is not None
    return guard(request)


def admitted(gate: Gate, request: Request, requirement: Requirement = R.READ) -> Identity:
    guard = gate.guard(requirement)
    assert guard is None or guard(request) is None
    return request.identity


def status_of(gate: Gate, request: Request, requirement: Requirement = R.READ) -> int:
    with pytest.raises(RequestError) as caught:
        judge(gate, requirement, request)
    return caught.value.status


@pytest.mark.parametrize("auth", ["", "none"])
def test_without_authentication_every_caller_is_anyone(gates: Gates, auth: str) -> None:
    gate = gates.make(auth=auth, api_keys=False)
    assert gate.lets_anyone_observe
    for request in (
        request_of(),
        request_of("what.other.systems"),
        request_of(authorization="Basic YTpi"),
        request_of(cookie="session=x", query="access_token=y"),
        request_of(x_forwarded_user="ann", peer="203.0.113.9"),
    ):
        for requirement in Requirement:
            assert admitted(gate, request, requirement) == ANYONE


def test_an_admin_listener_takes_observing_from_anyone(gates: Gates) -> None:
    gate = gates.make(auth="none", api_keys=False, admin_port="3001")
    assert not gate.lets_anyone_observe
    assert admitted(gate, request_of()).rights == RIGHTS - {"observe", "revoke"}
    assert status_of(gate, request_of(), R.OBSERVE) == 403
    assert status_of(gate, request_of(), R.REVOKE) == 403


def test_with_keys_alone_anyone_listens_and_all_else_needs_a_key(gates: Gates) -> None:
    gate = gates.make()
    assert admitted(gate, request_of(), R.OWN_STREAM).is_anyone
    for requirement in (R.READ, R.WRITE, R.PUBLISH, R.OBSERVE, R.REVOKE):
        assert status_of(gate, request_of(), requirement) == 403
    assert admitted(gate, request_of(KEY), R.PUBLISH).caller == "key:billing"
    assert admitted(gate, request_of(KEY), R.OBSERVE).caller == "key:billing"
    assert status_of(gate, request_of(KEY), R.REVOKE) == 403
    assert status_of(gate, request_of(KEY + "x"), R.READ) == 401
    assert status_of(gate, request_of(TOKEN.token()), R.READ) == 401


def test_nothing_is_required_of_nobody(gates: Gates) -> None:
    gate = gates.make(auth="jwt")
    request = request_of("x.y.z", cookie="session=x", authorization="Digest")
    assert admitted(gate, request, R.NOTHING) == ANYONE


@pytest.mark.parametrize("requirement", [each for each in Requirement if each is not R.NOTHING])
def test_with_tokens_a_caller_without_one_is_nobody(gates: Gates, requirement: Requirement) -> None:
    gate = gates.make(auth="jwt")
    assert not gate.lets_anyone_observe
    if requirement is R.OWN_STREAM:  # the route rejects it
        assert admitted(gate, request_of(), requirement) == Identity()
    else:
        assert status_of(gate, request_of(), requirement) == 401


def test_tokens_and_keys(gates: Gates) -> None:
    gate = gates.make(auth="jwt", auth_cookie="session", auth_query="yes")
    token = TOKEN.token()
    assert admitted(gate, request_of(token)).user == "ann"
    assert admitted(gate, request_of(cookie=f"session={token}")).user == "ann"
    assert admitted(gate, request_of(query=f"access_token={token}")).user == "ann"
    assert admitted(gate, request_of(KEY), R.OBSERVE).caller == "key:billing"
    assert status_of(gate, request_of(query=f"access_token={KEY}"), R.OBSERVE) == 401
    assert status_of(gate, request_of(cookie=f"session={KEY}"), R.OBSERVE) == 401
    assert status_of(gate, request_of("ssk_unknown"), R.OBSERVE) == 401
    assert status_of(gate, request_of(token), R.OBSERVE) == 403
    assert status_of(gate, request_of(KEY, query=f"access_token={token}")) == 400
    assert status_of(gate, request_of(token + "x")) == 401


def test_a_token_that_was_verified_is_known_by_its_hash(
    gates: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = gates.make(auth="jwt")
    token = TOKEN.token()
    assert gate.tokens is not None
    verifier = gate.tokens.verifier
    first = admitted(gate, request_of(token), R.OWN_STREAM)
    with monkeypatch.context() as patched:
        patched.setattr(gate._credentials, "find", pytest.fail)
        assert admitted(gate, request_of(token), R.OWN_STREAM) is first
    assert admitted(gate, request_of(authorization=f"bearer  {token}"), R.OWN_STREAM) is first
    assert (verifier.checked, verifier.cached) == (1, 2)
    assert status_of(gate, request_of(token + "x"), R.OWN_STREAM) == 401
    assert status_of(gate, request_of(f"{token} "), R.OWN_STREAM) == 400
    gates.revocations._until[name_of_user("ann")] = float("inf")
    assert status_of(gate, request_of(token), R.OWN_STREAM) == 401


def test_a_second_credential_is_rejected_beside_a_known_token_too(gates: Gates) -> None:
    token = TOKEN.token()
    cookies = gates.make(auth="jwt", auth_cookie="session")
    assert admitted(cookies, request_of(token)).user == "ann"
    assert status_of(cookies, request_of(token, cookie=f"session={token}")) == 400
    queries = gates.make(auth="jwt", auth_query="yes")
    assert admitted(queries, request_of(token)).user == "ann"
    assert status_of(queries, request_of(token, query=f"access_token={token}")) == 400


def test_without_a_file_of_keys_no_key_is_accepted(gates: Gates) -> None:
    gate = gates.make(auth="jwt", api_keys=False)
    assert status_of(gate, request_of(KEY)) == 401
    with pytest.raises(RequestError, match="this node accepts no keys"):
        judge(gate, R.READ, request_of(KEY))


def test_a_cookie_alone_changes_nothing_for_another_page(gates: Gates) -> None:
    gate = gates.make(auth="jwt", auth_cookie="session")
    cookie = f"session={TOKEN.token()}"
    assert status_of(gate, request_of(method="POST", cookie=cookie), R.WRITE) == 403
    foreign = request_of(method="POST", cookie=cookie, origin="https://evil.example")
    assert status_of(gate, foreign, R.WRITE) == 403
    own = request_of(method="POST", cookie=cookie, origin="https://app.example")
    assert admitted(gate, own, R.WRITE).user == "ann"
    header = request_of(TOKEN.token(), method="POST", origin="https://evil.example")
    assert admitted(gate, header, R.WRITE).user == "ann", "no page can set it"


def test_a_page_of_another_origin_opens_no_stream_with_a_cookie(gates: Gates) -> None:
    gate = gates.make(auth="jwt", auth_cookie="session")
    cookie = f"session={TOKEN.token()}"
    foreign = request_of(cookie=cookie, origin="https://evil.example")
    assert status_of(gate, foreign, R.OWN_STREAM) == 403
    assert admitted(gate, foreign).user == "ann", "CORS lets it read nothing"
    own = request_of(cookie=cookie, sec_fetch_site="same-origin")
    assert admitted(gate, own, R.OWN_STREAM).user == "ann"
    header = request_of(TOKEN.token(), origin="https://evil.example")
    assert admitted(gate, header, R.OWN_STREAM).user == "ann", "no page can set it"
    gate = gates.make(auth="proxy")
    proxied = request_of(origin="https://evil.example", x_forwarded_user="ann")
    assert status_of(gate, proxied, R.OWN_STREAM) == 403
    assert admitted(gate, request_of(x_forwarded_user="ann"), R.OWN_STREAM).user == "ann"


def test_revoked_users_and_tokens(gates: Gates) -> None:
    gate = gates.make(auth="jwt")
    request = request_of(TOKEN.token(jti="t-1"))
    other = request_of(TOKEN.token(jti="t-2"))
    gates.revocations.on_message(b"99999999999 " + name_of_token("t-1").encode())
    assert status_of(gate, request) == 401
    assert admitted(gate, other).token_id == "t-2"
    gates.revocations.on_message(b"99999999999 " + name_of_user("ann").encode())
    for requirement in (R.READ, R.OWN_STREAM, R.PUBLISH, R.OBSERVE):
        assert status_of(gate, other, requirement) == 401
    assert admitted(gate, request_of(TOKEN.token("bob"))).user == "bob"


def test_users_wait_until_the_revocations_have_been_read(gates: Gates) -> None:
    gates.revocations.is_loaded = False
    gate = gates.make(auth="jwt")
    assert status_of(gate, request_of(TOKEN.token())) == 503
    assert admitted(gate, request_of(TOKEN.token()), R.OWN_STREAM).user == "ann"  # refused softly
    assert admitted(gate, request_of(KEY), R.OBSERVE).user is None


def test_a_token_within_the_leeway_opens_no_stream(gates: Gates) -> None:
    gate = gates.make(auth="jwt")
    request = request_of(TOKEN.token(expires_in_s=-5))
    assert admitted(gate, request).user == "ann"
    assert status_of(gate, request, R.OWN_STREAM) == 401


def test_behind_a_proxy(gates: Gates) -> None:
    gate = gates.make(auth="proxy")
    ann = {"x_forwarded_user": "ann"}
    assert admitted(gate, request_of(peer="127.0.0.1", **ann)).user == "ann"
    assert admitted(gate, request_of("id.token.ofproxy", **ann)).user == "ann"
    assert admitted(gate, request_of(authorization="Basic YTpi", **ann)).user == "ann"
    assert admitted(gate, request_of(KEY), R.OBSERVE).caller == "key:billing"
    assert status_of(gate, request_of()) == 401
    assert status_of(gate, request_of("id.token.ofproxy")) == 401
    assert status_of(gate, request_of("ssk_unknown")) == 401
    assert status_of(gate, request_of(KEY, **ann)) == 400
    assert status_of(gate, request_of(peer="203.0.113.9", **ann)) == 403
    assert status_of(gate, request_of(KEY, peer="203.0.113.9", **ann), R.OBSERVE) == 403
    gates.revocations.on_message(b"99999999999 user:ann")
    assert status_of(gate, request_of(**ann)) == 401


def test_behind_a_proxy_without_keys_a_key_is_no_credential(gates: Gates) -> None:
    gate = gates.make(auth="proxy", api_keys=False)
    assert status_of(gate, request_of(KEY), R.OBSERVE) == 401
    assert admitted(gate, request_of(KEY, x_forwarded_user="ann")).user == "ann"


async def wait_for(answer: Response | Awaitable[Response | None] | None) -> Response | None:
    assert inspect.isawaitable(answer)
    return await answer


async def test_a_request_waits_for_newer_keys(gates: Gates) -> None:
    own = signer("RS256", "a")
    with JwksServer(own) as server:
        gate = gates.make(auth="jwt", jwks_url=server.url, with_key=False)
        request = request_of(own.token())
        assert await wait_for(judge(gate, R.READ, request)) is None
        assert request.identity.user == "ann"
        with pytest.raises(RequestError) as caught:
            await wait_for(judge(gate, R.READ, request_of(signer("RS256", "b").token())))
        assert caught.value.status == 401
        with pytest.raises(RequestError) as caught:
            await wait_for(judge(gate, R.OWN_STREAM, request_of(signer("RS256", "c").token())))
        assert caught.value.status == 401
    await gate.shutdown()


async def test_while_there_are_no_keys_nobody_is_sent_away_for_good(gates: Gates) -> None:
    with JwksServer() as server:
        gate = gates.make(auth="jwt", jwks_url=server.url, with_key=False)
        gate.start()
        request = request_of(signer("RS256", "a").token())
        with pytest.raises(RequestError) as caught:
            await wait_for(judge(gate, R.READ, request))
        assert (caught.value.status, dict(caught.value.headers)) == (503, {b"Retry-After": b"2"})
        answer = await wait_for(judge(gate, R.OWN_STREAM, request))
        assert answer is not None
        assert (answer.status, gates.refused) == (200, ["no-keys"])
        assert status_of(gate, request_of(), R.READ) == 401
        await gate.shutdown()


async def test_files_are_read_again_while_the_gate_runs(gates: Gates, tmp_path: Path) -> None:
    gate = gates.make(auth="jwt")
    gate.start()
    key, line = new_key("other", "revoke")
    (tmp_path / "keys").write_text(line + "\n")
    gate.reload()
    assert gates.key_changes == 0, "these are not of tokens"
    fingerprint = admitted(gate, request_of(TOKEN.token())).key
    assert gate.holds_key(fingerprint)
    (tmp_path / "secret").write_bytes(SECRET[::-1])
    gate.reload()
    assert gates.key_changes == 1
    assert not gate.holds_key(fingerprint)
    assert gate.holds_key(""), "callers without a token"
    assert admitted(gate, request_of(key), R.REVOKE).caller == "key:other"
    assert status_of(gate, request_of(KEY), R.OBSERVE) == 401
    assert status_of(gate, request_of(TOKEN.token())) == 401
    assert admitted(gate, request_of(replace(TOKEN, key=SECRET[::-1]).token())).user == "ann"
    await gate.shutdown()


async def test_a_gate_without_files_has_nothing_to_do(gates: Gates) -> None:
    gate = gates.make(api_keys=False)
    gate.start()
    gate.reload()
    await gate.shutdown()
