"""`--auth proxy`: a trusted proxy has authenticated the user and names it in a header."""

import re
from typing import Final

from sse_node.access.client_address import TrustedPeers
from sse_node.config.sections import AccessSettings
from sse_node.errors import RequestError
from sse_node.wire.envelope import is_user_id
from sse_node.wire.http_head import Request
from sse_node.wire.identity import NOTHING, Identity, Patterns, is_pattern

_SEPARATORS: Final = re.compile(r"[\s,]+")


class ProxyHeaders:
    """Reads the identity that a proxy's headers give; lives as long as the node.

    Args:
        settings: the names of the headers.
        trusted: the peers whose headers count.
    """

    def __init__(self, settings: AccessSettings, trusted: TrustedPeers) -> None:
        self._trusted = trusted
        self._user_header = settings.auth_user_header
        self._channels_header = settings.auth_channels_header
        self._publish_header = settings.auth_publish_header
        self._names = [
            name
            for name in (self._user_header, self._channels_header, self._publish_header)
            if name
        ]

    def identify(self, request: Request) -> Identity | None:
        """Return the identity of a request, None when the proxy names no user.

        Raises:
            RequestError: 403, the peer is not trusted; 400, a header is malformed or repeated.
        """
        present = [name for name in self._names if name.lower().encode() in request.headers]
        if present and not self._trusted.trusts(request.peer):
            raise RequestError(403, f"{present[0]}: not accepted from this address")
        for name in present:
            if name.lower().encode() in request.repeated:  # by a client, and by the proxy after it
                raise RequestError(400, f"{name}: expected at most one")
        user = self._value(request, self._user_header)
        if not user:
            return None
        if not is_user_id(user):
            raise RequestError(400, f"{self._user_header}: expected a user id")
        return Identity(
            caller=f"user:{user}",
            user=user,
            listen=self._patterns(request, self._channels_header),
            publish=self._patterns(request, self._publish_header),
        )

    def _value(self, request: Request, name: str) -> str:
        return (name and request.header(name.lower().encode())) or ""

    def _patterns(self, request: Request, name: str) -> Patterns:
        texts = [text for text in _SEPARATORS.split(self._value(request, name)) if text]
        if not texts:
            return NOTHING
        if not all(map(is_pattern, texts)):
            raise RequestError(400, f"{name}: expected patterns, separated by commas")
        return Patterns(texts)
