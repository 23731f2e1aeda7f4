"""What each route requires, and which callers meet it."""

import pytest
from msgspec.structs import replace

from sse_node.access.rules import RULES, Requirement, check, denied, is_for_operators, unauthorized
from sse_node.config.reading import read_settings
from sse_node.errors import RequestError
from sse_node.node.composition import Node
from sse_node.wire.identity import ANYONE, RIGHTS, Identity, Patterns

NOBODY = Identity()
USER = Identity(caller="user:ann", user="ann")
PUBLISHER = replace(USER, publish=Patterns(["user:self"]))
KEY = Identity(caller="key:k")


def key_with(*rights: str, publish: tuple[str, ...] = ()) -> Identity:
    return replace(KEY, rights=frozenset(rights), publish=Patterns(publish))


@pytest.fixture
async def node() -> Node:
    return Node(read_settings({"server_id": "node-1"}, {}), "unix:///nowhere/redis.sock")


async def test_every_route_has_a_rule_and_every_rule_a_route(node: Node) -> None:
    routes = {(method, each.path) for each in node.resources for method in each.handlers}
    assert set(RULES) == routes


R = Requirement
# 0: meets it, else the status.
TABLE: dict[Requirement, dict[str, int]] = {
    R.NOTHING: {"nobody": 0, "user": 0, "key": 0, "anyone": 0},
    R.OWN_STREAM: {"nobody": 0, "user": 0, "key": 0, "anyone": 0},  # the route looks at the user
    R.READ: {"nobody": 401, "user": 0, "key": 403, "read:accounts": 0, "anyone": 0},
    R.WRITE: {"nobody": 401, "user": 0, "key": 403, "write:accounts": 0, "anyone": 0},
    R.WEBHOOKS: {"nobody": 401, "user": 0, "key": 403, "webhooks": 0, "anyone": 0},
    R.PUBLISH: {"nobody": 401, "user": 403, "publisher": 0, "key": 403, "publish": 0, "anyone": 0},
    R.OBSERVE: {"nobody": 401, "user": 403, "key": 403, "observe": 0, "anyone": 0},
    R.REVOKE: {"nobody": 401, "user": 403, "key": 403, "revoke": 0, "anyone": 0},
}
CALLERS = {
    "nobody": NOBODY,
    "user": USER,
    "publisher": PUBLISHER,
    "key": KEY,
    "publish": key_with(publish=("user:*",)),
    "anyone": ANYONE,
    **{right: key_with(right) for right in RIGHTS},
}


@pytest.mark.parametrize("requirement", list(Requirement))
@pytest.mark.parametrize("caller", list(CALLERS))
def test_who_meets_a_requirement(requirement: Requirement, caller: str) -> None:
    expected = TABLE[requirement].get(caller)
    if expected is None:  # a key with another right is like one with none, a publisher like a user
        expected = TABLE[requirement]["user" if caller == "publisher" else "key"]
    if expected == 0:
        check(CALLERS[caller], requirement)
        return
    with pytest.raises(RequestError) as caught:
        check(CALLERS[caller], requirement)
    assert caught.value.status == expected


def test_anyone_without_a_right_is_not_asked_to_authenticate() -> None:
    with pytest.raises(RequestError) as caught:
        check(replace(ANYONE, rights=frozenset()), Requirement.OBSERVE)
    assert caught.value.status == 403


def test_who_must_authenticate_is_told_how() -> None:
    for error in (denied(NOBODY, "expected a room"), unauthorized()):
        assert (error.status, error.detail) == (401, "expected a token or a key")
        assert error.headers == ((b"WWW-Authenticate", b'Bearer realm="sse-node"'),)


def test_a_rejected_credential_is_told_why() -> None:
    error = unauthorized("the token has expired")
    assert (error.status, error.detail) == (401, "the token has expired")
    assert dict(error.headers)[b"WWW-Authenticate"] == (
        b'Bearer realm="sse-node", error="invalid_token", error_description="the token has expired"'
    )


def test_a_lack_of_rights_is_told() -> None:
    error = denied(KEY, "expected the right observe")
    assert (error.status, error.detail) == (403, "not allowed: expected the right observe")
    assert b'error="insufficient_scope"' in dict(error.headers)[b"WWW-Authenticate"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/metrics", True),
        ("/status", True),
        ("/revocations", True),
        ("/health", True),
        ("/health/live", True),
        ("/health/ready", True),
        ("/", False),
        ("/events", False),
        ("/events/sse", False),
        ("/events/sse/{userId}", False),
        ("/accounts", False),
        ("/accounts/{id}", False),
        ("/snapshots", False),
    ],
)
def test_the_admin_listener_has_what_operators_need(path: str, expected: bool) -> None:
    assert is_for_operators(path) is expected
