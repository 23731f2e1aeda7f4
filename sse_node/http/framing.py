"""Framing of whole responses by h11."""

from collections.abc import Sequence

import h11

from sse_node.wire.http_head import reason_phrase


class Framing:
    """Frames the response to one request; made when it is needed, gone with the request.

    Args:
        head: of the request, checked.
    """

    __slots__ = ("_h11",)

    def __init__(self, head: bytes) -> None:
        self._h11 = h11.Connection(h11.SERVER)
        self._h11.receive_data(head)
        self._h11.next_event()

    def interim_response(self) -> bytes:
        """Return `100 Continue` for a client that waits for it, else nothing."""
        if not self._h11.they_are_waiting_for_100_continue:
            return b""
        return self._h11.send(h11.InformationalResponse(status_code=100, headers=[])) or b""

    def response(
        self, status: int, headers: Sequence[tuple[bytes, bytes]], content: bytes
    ) -> tuple[bytes, bytes]:
        """Return the head and the content of a response as they go over the wire.

        Args:
            status: of the response.
            headers: all but those that h11 adds.
            content: empty for none, as for HEAD; it is not copied.
        """
        reason = reason_phrase(status).encode()
        head = h11.Response(status_code=status, headers=list(headers), reason=reason)
        data = self._h11.send(head) or b""
        if content:
            self._h11.send(h11.Data(data=content))  # responses have a length: it stays as it is
        self._h11.send(h11.EndOfMessage())
        return data, content

    @property
    def keeps_connection(self) -> bool:
        """Whether a further request may follow the response."""
        return self._h11.our_state is h11.DONE
