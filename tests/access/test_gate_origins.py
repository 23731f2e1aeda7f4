"""What cookies and proxies may change, and from which pages."""

import inspect
from pathlib import Path
from time import time

import jwt
import pytest

from sse_node.access.gate import Gate
from sse_node.config.reading import read_settings
from sse_node.errors import RequestError
from sse_node.node.composition import Node
from sse_node.wire.http_head import Request
from sse_node.wire.identity import Identity

SECRET = "a secret of thirty-two bytes, or more"
OWN = {b"host": b"a.example", b"origin": b"https://a.example"}
FOREIGN = {b"host": b"a.example", b"origin": b"https://evil.example"}


@pytest.fixture
def token() -> str:
    return jwt.encode({"sub": "ann", "exp": time() + 60}, SECRET)


@pytest.fixture
def jwt_gate(tmp_path: Path) -> Gate:
    key = tmp_path / "key"
    key.write_text(SECRET)
    return gate_of(auth="jwt", jwt_key=str(key), auth_cookie="token")


def gate_of(**flags: str) -> Gate:
    settings = read_settings(flags, {})
    return Node(settings, "unix:///nowhere/redis.sock").gate


def identify(gate: Gate, method: str, headers: dict[bytes, bytes]) -> Identity:
    identity = gate.identify(Request(method, "/accounts", "", headers))
    assert not inspect.isawaitable(identity)
    return identity


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_a_cookie_changes_something_for_own_pages_only(
    jwt_gate: Gate, token: str, method: str
) -> None:
    cookie = {b"cookie": f"token={token}".encode()}
    assert identify(jwt_gate, method, OWN | cookie).user == "ann"
    assert identify(jwt_gate, "GET", FOREIGN | cookie).user == "ann"
    for headers in (FOREIGN, {}):
        with pytest.raises(RequestError, match="expected an Origin") as caught:
            identify(jwt_gate, method, headers | cookie)
        assert caught.value.status == 403


def test_a_header_is_not_sent_by_itself(jwt_gate: Gate, token: str) -> None:
    bearer = {b"authorization": f"Bearer {token}".encode()}
    assert identify(jwt_gate, "POST", FOREIGN | bearer).user == "ann"


def test_the_user_of_a_proxy_changes_something_from_own_pages_only() -> None:
    gate = gate_of(auth="proxy")
    user = {b"x-forwarded-user": b"ann"}
    assert identify(gate, "POST", OWN | user).user == "ann"
    assert identify(gate, "POST", user).user == "ann"
    assert identify(gate, "GET", FOREIGN | user).user == "ann"
    with pytest.raises(RequestError, match="expected an Origin"):
        identify(gate, "POST", FOREIGN | user)
    assert identify(gate, "POST", FOREIGN).user is None
