"""Parameters that several resources take, checked."""

from collections.abc import Mapping
from typing import Final

from sse_node.access.credentials import QUERY_PARAMETER
from sse_node.access.rules import denied
from sse_node.errors import RequestError
from sse_node.wire.envelope import USER_ID_EXPECTED, is_user_id
from sse_node.wire.http_head import Request

MAX_IDEMPOTENCY_KEY: Final = 255


IDEMPOTENCY_KEY_EXPECTED: Final = f"1 to {MAX_IDEMPOTENCY_KEY} printable ASCII characters"


def is_idempotency_key(value: str) -> bool:
    """Return whether `value` may be an idempotency key; an empty one would protect nothing."""
    return 1 <= len(value) <= MAX_IDEMPOTENCY_KEY and value.isascii() and value.isprintable()


def idempotency_key_of(request: Request) -> str:
    """Return the request's Idempotency-Key as it is stored, empty if it is missing.

    Callers with a name have keys of their own: one could answer, or read, what another has sent.

    Raises:
        RequestError: 400, it cannot be one.
    """
    key = request.header(b"idempotency-key")
    if key is None:
        return ""
    if not is_idempotency_key(key) or b"idempotency-key" in request.repeated:
        raise RequestError(400, f"Idempotency-Key: expected {IDEMPOTENCY_KEY_EXPECTED}")
    return key


def query_of(request: Request, *names: str) -> dict[str, str]:
    """Return the query's parameters, of which there are only these, each once.

    An unknown one would be a misspelt one whose default is taken instead.

    Raises:
        RequestError: 400, a parameter is unknown or repeated.
    """
    parameters = {}
    for name, values in request.query_parameters().items():
        if name == QUERY_PARAMETER:
            continue  # the gate has read it, or ignores it
        if name not in names:
            expected = "one of " + ", ".join(names) if names else "no query"
            raise RequestError(400, f"query: {name!r:.40}: expected {expected}")
        if len(values) > 1:
            raise RequestError(400, f"query: {name}: expected once")
        parameters[name] = values[0]
    return parameters


def user_of(request: Request, query: Mapping[str, str], default_user: str, right: str) -> str:
    """Return the user that a request is about: of the query's `userId`, the caller, the default.

    Args:
        request: with the identity of its caller.
        query: of the request.
        default_user: when neither names one.
        right: that allows a caller to act for every user.

    Raises:
        RequestError: 400, it is no user's id; 403, the caller may not act for this user.
    """
    identity = request.identity
    user = query.get("userId", identity.user or default_user)
    if not is_user_id(user):
        raise RequestError(400, f"userId {user!r:.140}: expected {USER_ID_EXPECTED}")
    check_user(request, user, right)
    return user


def check_user(request: Request, user: str | None, right: str) -> None:
    """Reject a caller that may not act for a user, or for one that does not exist (None).

    Raises:
        RequestError: 403, the same whether or not the user has what the request is about.
    """
    identity = request.identity
    if not (identity.may_act_as(user, right) if user is not None else right in identity.rights):
        raise denied(identity, f"expected the user's own, or the right {right}")


def bounded_parameter(
    query: Mapping[str, str], name: str, default: int, most: int, least: int = 1
) -> int:
    """Return a whole number from a query.

    Raises:
        RequestError: 400 if it is not an integer or out of range.
    """
    return bounded_number(name, query.get(name, str(default)), most, least)


def bounded_number(name: str, text: str, most: int, least: int = 1) -> int:
    """Return the whole number that a parameter's text is.

    Raises:
        RequestError: 400 if it is not an integer or out of range.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and least <= int(text) <= most):
        raise RequestError(400, f"{name} {text!r:.40}: expected a number from {least} to {most}")
    return int(text)
