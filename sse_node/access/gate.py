"""Authentication: from a request to the Identity behind it.

With `--auth none` every caller is anyone. An API key is accepted beside each kind of
authentication. Nothing of a token, key or header reaches a log or an error text.
"""

import inspect
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from sse_node.access.api_keys import ApiKeys, looks_like_key
from sse_node.access.client_address import TrustedPeers
from sse_node.access.credentials import Credential, Credentials
from sse_node.access.origins import check_origin, check_proxied_origin
from sse_node.access.proxy import ProxyHeaders
from sse_node.access.rules import Requirement, check, unauthorized
from sse_node.config.sections import AccessSettings
from sse_node.errors import TokenError
from sse_node.lifetimes.periodic import Periodic
from sse_node.wire.http_head import Request
from sse_node.wire.identity import ANYONE, NOTHING, OBSERVE, REVOKE, Identity

if TYPE_CHECKING:
    from sse_node.access.token_source import TokenSource

JWT: Final = "jwt"
PROXY: Final = "proxy"
_RELOAD_S: Final = 1.0
NOBODY: Final = Identity()
"""The caller of a request without a credential, where one is needed for most things."""


class Gate:
    """Finds the identity of every request, and rejects those without access; lives as the node.

    Args:
        settings: the kind of authentication, its keys and its headers.
        origins: whose pages may change something with a cookie; those of `--cors-origin`.
        is_revoked: returns whether the access of a user or token has been revoked.

    Raises:
        ConfigError: a key or a file cannot be used.
    """

    def __init__(
        self,
        settings: AccessSettings,
        origins: Collection[str],
        is_revoked: Callable[[Identity], bool],
    ) -> None:
        self._origins = origins
        self._is_revoked = is_revoked
        self.trusted = TrustedPeers(settings.forwarded_allow_ips)
        self._credentials = Credentials(settings.auth_cookie, query=settings.auth_query)
        self._proxy = ProxyHeaders(settings, self.trusted) if settings.auth == PROXY else None
        self._api_keys = ApiKeys(settings.api_keys) if settings.api_keys else None
        self._anonymous = _anonymous(settings)
        self._reload = Periodic(_RELOAD_S, self.reload)
        self.tokens = _token_source(settings) if settings.auth == JWT else None

    @property
    def lets_anyone_observe(self) -> bool:
        """Whether a caller without a credential sees what operators do."""
        return OBSERVE in self._anonymous.rights

    def start(self) -> None:
        """Begin to fetch keys and to watch files; needs a running event loop."""
        self._reload.start()
        if self.tokens is not None:
            self.tokens.start()

    async def shutdown(self) -> None:
        """Stop fetching and watching."""
        self._reload.shutdown()
        if self.tokens is not None:
            await self.tokens.shutdown()

    def reload(self) -> None:
        """Read again the files that have changed."""
        for source in (self._api_keys, self.tokens):
            if source is not None:
                source.reload()

    def admit(self, request: Request, requirement: Requirement) -> Awaitable[None] | None:
        """Give a request its identity, if that may meet what the route requires.

        Returns:
            None when it is done; an awaitable while newer keys are fetched.

        Raises:
            RequestError: 400, the credential is malformed or there are several; 401, it is not
                valid, or there is none; 403, the caller lacks the right, or the request comes from
                a page or a proxy that is not trusted.
        """
        if requirement is Requirement.NOTHING or request.is_admin:
            return None
        identity = self.identify(request)
        if inspect.isawaitable(identity):
            return self._admit_later(request, requirement, identity)
        self._admit(request, requirement, identity)
        return None

    async def _admit_later(
        self, request: Request, requirement: Requirement, identity: Awaitable[Identity]
    ) -> None:
        self._admit(request, requirement, await identity)

    def _admit(self, request: Request, requirement: Requirement, identity: Identity) -> None:
        if self._is_revoked(identity):
            raise unauthorized("the access has been revoked")
        check(identity, requirement)
        request.identity = identity

    def identify(self, request: Request) -> Identity | Awaitable[Identity]:
        """Return the identity behind a request; awaitable while newer keys are fetched.

        Raises:
            RequestError: as `admit`.
        """
        credential = self._credentials.find(request)
        if credential.is_cookie:
            check_origin(request, self._origins)
        if credential.text:
            return self._identity_of(credential)
        if self._proxy is not None:
            return self._identity_of_proxy(self._proxy, request)
        return self._anonymous

    def _identity_of_proxy(self, proxy: ProxyHeaders, request: Request) -> Identity:
        identity = proxy.identify(request)
        if identity is None:
            return NOBODY
        check_proxied_origin(request, self._origins)
        return identity

    def _identity_of(self, credential: Credential) -> Identity | Awaitable[Identity]:
        if self._api_keys is not None and looks_like_key(credential.text):
            identity = self._api_keys.find(credential.text)
            if identity is None or credential.is_cookie:
                raise unauthorized("the key is unknown")
            return identity
        if self.tokens is None:
            raise unauthorized("this node accepts no tokens")
        try:
            answer = self.tokens.verify(credential.text)
        except TokenError as error:
            raise unauthorized(str(error)) from error
        return _translated(answer) if inspect.isawaitable(answer) else answer


async def _translated(answer: Awaitable[Identity]) -> Identity:
    try:
        return await answer
    except TokenError as error:
        raise unauthorized(str(error)) from error


def _token_source(settings: AccessSettings) -> "TokenSource":
    from sse_node.access.token_source import TokenSource  # 10 MB that other nodes do without

    return TokenSource(settings)


def _anonymous(settings: AccessSettings) -> Identity:
    """Return who a caller without a credential is."""
    if settings.auth in {JWT, PROXY}:
        return NOBODY
    rights, publish = ANYONE.rights, ANYONE.publish
    if settings.has_admin_listener:
        rights -= {OBSERVE, REVOKE}
    if settings.api_keys:
        rights, publish = rights - {OBSERVE, REVOKE}, NOTHING
    return replace(ANYONE, rights=rights, publish=publish)
