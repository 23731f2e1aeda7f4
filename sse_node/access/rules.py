"""What each route requires of its caller: the one table, which README repeats.

Whose stream, account, snapshot or webhook a request is about, the routes check themselves.
"""

from enum import Enum
from typing import Final

from sse_node.errors import RequestError
from sse_node.wire.identity import (
    OBSERVE,
    READ_ACCOUNTS,
    REVOKE,
    WEBHOOKS,
    WRITE_ACCOUNTS,
    Identity,
)

_CHALLENGE: Final = b'Bearer realm="sse-node"'


class Requirement(Enum):
    """What a route requires; the value is README's wording."""

    NOTHING = "nothing"
    OWN_STREAM = "the user's own stream, channels that the token lists; public channels: nothing"
    READ = "the user's own, or the right `read:accounts`"
    WRITE = "the user's own, or the right `write:accounts`"
    WEBHOOKS = "the user's own, or the right `webhooks`"
    PUBLISH = "a right to publish to each user and channel in it"
    OBSERVE = "the right `observe`, or the admin listener"
    REVOKE = "the right `revoke`, or the admin listener"


RULES: Final[dict[tuple[str, str], Requirement]] = {
    ("GET", "/"): Requirement.NOTHING,
    ("GET", "/docs/api"): Requirement.NOTHING,
    ("GET", "/openapi.json"): Requirement.NOTHING,
    ("GET", "/asyncapi.json"): Requirement.NOTHING,
    ("GET", "/health"): Requirement.NOTHING,
    ("GET", "/health/live"): Requirement.NOTHING,
    ("GET", "/health/ready"): Requirement.NOTHING,
    ("GET", "/events/sse"): Requirement.OWN_STREAM,
    ("GET", "/events/sse/{userId}"): Requirement.OWN_STREAM,
    ("GET", "/events"): Requirement.READ,
    ("POST", "/events"): Requirement.PUBLISH,
    ("GET", "/accounts"): Requirement.READ,
    ("POST", "/accounts"): Requirement.WRITE,
    ("GET", "/accounts/{id}"): Requirement.READ,
    ("PATCH", "/accounts/{id}"): Requirement.WRITE,
    ("DELETE", "/accounts/{id}"): Requirement.WRITE,
    ("GET", "/accounts/{id}/events"): Requirement.READ,
    ("GET", "/snapshots"): Requirement.READ,
    ("GET", "/webhooks"): Requirement.WEBHOOKS,
    ("POST", "/webhooks"): Requirement.WEBHOOKS,
    ("POST", "/webhooks/register"): Requirement.WEBHOOKS,
    ("GET", "/webhooks/{id}"): Requirement.WEBHOOKS,
    ("PATCH", "/webhooks/{id}"): Requirement.WEBHOOKS,
    ("DELETE", "/webhooks/{id}"): Requirement.WEBHOOKS,
    ("POST", "/webhooks/{id}/test"): Requirement.WEBHOOKS,
    ("GET", "/webhooks/{id}/deliveries"): Requirement.WEBHOOKS,
    ("GET", "/webhooks/{id}/dead-letters"): Requirement.WEBHOOKS,
    ("POST", "/webhooks/{id}/dead-letters/replay"): Requirement.WEBHOOKS,
    ("GET", "/status"): Requirement.OBSERVE,
    ("GET", "/metrics"): Requirement.OBSERVE,
    ("POST", "/revocations"): Requirement.REVOKE,
}


_RIGHTS: Final = {
    Requirement.READ: READ_ACCOUNTS,
    Requirement.WRITE: WRITE_ACCOUNTS,
    Requirement.WEBHOOKS: WEBHOOKS,
    Requirement.OBSERVE: OBSERVE,
    Requirement.REVOKE: REVOKE,
}
_OWN: Final = frozenset({Requirement.READ, Requirement.WRITE, Requirement.WEBHOOKS})
"""What a user may do with what is the user's own."""


def is_for_operators(path: str) -> bool:
    """Return whether the admin listener has a resource: what only operators may see, and health."""
    requirements = {requirement for (_, ruled), requirement in RULES.items() if ruled == path}
    return path.startswith("/health") or requirements <= {Requirement.OBSERVE, Requirement.REVOKE}


def check(identity: Identity, requirement: Requirement) -> None:
    """Reject a caller that can never meet a requirement, whatever its request is about.

    Raises:
        RequestError: 401, it must authenticate; 403, it lacks the right.
    """
    if not _may_meet(identity, requirement):
        raise denied(identity, f"expected {requirement.value}")


def _may_meet(identity: Identity, requirement: Requirement) -> bool:
    if requirement is Requirement.OWN_STREAM or requirement is Requirement.NOTHING:
        return True
    if requirement is Requirement.PUBLISH:
        return bool(identity.publish)
    if requirement in _OWN:
        return identity.user is not None or _RIGHTS[requirement] in identity.rights
    return _RIGHTS[requirement] in identity.rights


def denied(identity: Identity, detail: str) -> RequestError:
    """Return the error of a caller that may not do what it asks for.

    Args:
        identity: of the caller; one that is nobody must authenticate.
        detail: what is required.
    """
    if not identity.caller and not identity.is_anyone:
        return unauthorized()
    return RequestError(
        403,
        f"not allowed: {detail}",
        ((b"WWW-Authenticate", _CHALLENGE + b', error="insufficient_scope"'),),
    )


def unauthorized(reason: str = "") -> RequestError:
    """Return the error of a caller that must authenticate (RFC 6750 §3).

    Args:
        reason: why its credential was rejected; empty when it has none. No quotes, no secrets.
    """
    challenge = _CHALLENGE
    if reason:
        challenge += b', error="invalid_token", error_description="%b"' % reason.encode()
    return RequestError(
        401, reason or "expected a token or a key", ((b"WWW-Authenticate", challenge),)
    )
