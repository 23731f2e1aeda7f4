"""The resource `/revocations`: ends the access of a user or a token on every node."""

from datetime import datetime
from time import time
from typing import Final

import msgspec

from sse_node.access.revocations import DEFAULT_S, Revocations, name_of_token, name_of_user
from sse_node.errors import RequestError
from sse_node.wire.envelope import USER_ID_EXPECTED, is_user_id
from sse_node.wire.http_head import Request, Response, json_response
from sse_node.wire.json_body import decode_content

# 2100-01-01. Milliseconds, taken for seconds, are later.
MAX_UNTIL_S: Final = 4_102_444_800
_UNTIL_EXPECTED: Final = "expected a Unix time in seconds, or RFC 3339 text, before 2100"


class NewRevocation(msgspec.Struct):
    """The content of `POST /revocations`; `user` or `jti`."""

    user: str | msgspec.UnsetType = msgspec.UNSET
    jti: str | msgspec.UnsetType = msgspec.UNSET
    until: float | datetime | msgspec.UnsetType = msgspec.UNSET


_decoder = msgspec.json.Decoder(NewRevocation)


class RevocationsResource:
    """The resource `/revocations`; lives as long as the node.

    Args:
        revocations: of the node.
    """

    def __init__(self, revocations: Revocations) -> None:
        self._revocations = revocations

    async def create(self, request: Request) -> Response:
        """Answer `POST /revocations`: 200 when Redis has the record and this node acts on it."""
        content = decode_content(request, _decoder)
        until_s = _until_of(content)
        answer: dict[str, object]
        if isinstance(content.user, str) and content.jti is msgspec.UNSET:
            if not is_user_id(content.user):
                raise RequestError(422, f"content: user: expected {USER_ID_EXPECTED}")
            name, answer = name_of_user(content.user), {"user": content.user}
        elif isinstance(content.jti, str) and content.user is msgspec.UNSET:
            if not 1 <= len(content.jti) <= 255:
                raise RequestError(422, "content: jti: expected 1 to 255 characters")
            name, answer = name_of_token(content.jti), {"jti": content.jti}
        else:
            raise RequestError(422, "content: user or jti: expected exactly one of them")
        await self._revocations.revoke(name, until_s)
        return json_response(200, {**answer, "until": int(until_s)})


def _until_of(content: NewRevocation) -> float:
    now = time()
    until = content.until
    if isinstance(until, msgspec.UnsetType):
        return now + DEFAULT_S
    if isinstance(until, datetime):
        if until.tzinfo is None:
            raise RequestError(422, f"content: until: {_UNTIL_EXPECTED}")
        until = until.timestamp()
    if not 0 <= until <= MAX_UNTIL_S:
        raise RequestError(422, f"content: until: {_UNTIL_EXPECTED}")
    return until
