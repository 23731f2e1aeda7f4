"""Parameters that several resources take, checked."""

from collections.abc import Mapping
from typing import Final

from sse_node.errors import RequestError
from sse_node.wire.envelope import USER_ID_EXPECTED, is_user_id
from sse_node.wire.http_head import Request

MAX_IDEMPOTENCY_KEY: Final = 255


IDEMPOTENCY_KEY_EXPECTED: Final = f"1 to {MAX_IDEMPOTENCY_KEY} printable ASCII characters"


def is_idempotency_key(value: str) -> bool:
    """Return whether `value` may be an idempotency key; an empty one would protect nothing."""
    return 1 <= len(value) <= MAX_IDEMPOTENCY_KEY and value.isascii() and value.isprintable()


def idempotency_key_of(request: Request) -> str:
    """Return the request's Idempotency-Key, empty if it is missing.

    Raises:
        RequestError: 400, it cannot be one.
    """
    key = request.header(b"idempotency-key")
    if key is None:
        return ""
    if not is_idempotency_key(key):
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
        if name not in names:
            expected = "one of " + ", ".join(names) if names else "no query"
            raise RequestError(400, f"query: {name!r:.40}: expected {expected}")
        if len(values) > 1:
            raise RequestError(400, f"query: {name}: expected once")
        parameters[name] = values[0]
    return parameters


def user_of(query: Mapping[str, str], default_user: str) -> str:
    """Return the user that a query's `userId` names, else the default user.

    Raises:
        RequestError: 400, it is no user's id.
    """
    user = query.get("userId", default_user)
    if not is_user_id(user):
        raise RequestError(400, f"userId {user!r:.140}: expected {USER_ID_EXPECTED}")
    return user


def bounded_parameter(
    query: Mapping[str, str], name: str, default: int, most: int, least: int = 1
) -> int:
    """Return a whole number from a query.

    Raises:
        RequestError: 400 if it is not an integer or out of range.
    """
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and least <= int(text) <= most):
        raise RequestError(400, f"{name} {text!r:.40}: expected a number from {least} to {most}")
    return int(text)
