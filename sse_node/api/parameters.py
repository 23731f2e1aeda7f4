"""Parameters that several resources take, checked."""

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


def user_of_request(request: Request, default_user: str) -> str:
    """Return the user that a request's `userId` parameter names, else the default user.

    Raises:
        RequestError: 400, it is no user's id.
    """
    user = request.query_parameters().get("userId", default_user)
    if not is_user_id(user):
        raise RequestError(400, f"userId {user!r:.140}: expected {USER_ID_EXPECTED}")
    return user


def bounded_parameter(request: Request, name: str, default: int, most: int, least: int = 1) -> int:
    """Return a whole number from the query.

    Raises:
        RequestError: 400 if it is not an integer or out of range.
    """
    return bounded_number(name, request.query_parameters().get(name, str(default)), most, least)


def bounded_number(name: str, text: str, most: int, least: int = 1) -> int:
    """Return the whole number that a parameter's text is.

    Raises:
        RequestError: 400 if it is not an integer or out of range.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and least <= int(text) <= most):
        raise RequestError(400, f"{name} {text!r:.40}: expected a number from {least} to {most}")
    return int(text)
