"""Framing of whole responses by h11."""

from collections.abc import Sequence
from http import HTTPStatus

import h11


def frame_response(
    framing: h11.Connection,
    status: int,
    headers: Sequence[tuple[bytes, bytes]],
    content: bytes,
) -> bytes:
    """Return a response as it goes over the wire.

    Args:
        framing: has read the request's head; knows afterwards whether the connection is kept.
        status: of the response.
        headers: all but those that h11 adds.
        content: empty for none, as for HEAD.
    """
    reason = HTTPStatus(status).phrase.encode()
    head = h11.Response(status_code=status, headers=list(headers), reason=reason)
    parts = [framing.send(head)]
    if content:
        parts.append(framing.send(h11.Data(data=content)))
    parts.append(framing.send(h11.EndOfMessage()))
    return b"".join(part for part in parts if part)
