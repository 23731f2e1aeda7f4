"""Authentication: from a request to the Identity behind it.

With `--auth none` every caller is anyone. An API key is accepted beside each kind of
authentication. Nothing of a token, key or header reaches a log or an error text.
"""

from collections.abc import Awaitable, Callable, Collection
from functools import partial
from time import time
from typing import TYPE_CHECKING, Final

import msgspec

from sse_node.access.api_keys import ApiKeys, looks_like_key
from sse_node.access.client_address import TrustedPeers
from sse_node.access.credentials import Credential, Credentials
from sse_node.access.origins import check_origin, check_origin_of_stream, check_proxied_origin
from sse_node.access.proxy import ProxyHeaders
from sse_node.access.revocations import Revocations
from sse_node.access.rules import Requirement, check, unauthorized
from sse_node.config.sections import AccessSettings
from sse_node.errors import NoKeysError, RequestError, TokenError
from sse_node.http.router import Guard
from sse_node.lifetimes.periodic import Periodic
from sse_node.wire.http_head import Request, Response
from sse_node.wire.identity import ANYONE, NOTHING, OBSERVE, REVOKE, Identity

if TYPE_CHECKING:
    from sse_node.access.token_source import TokenSource

JWT: Final = "jwt"
PROXY: Final = "proxy"
_RELOAD_S: Final = 1.0
_RETRY_AFTER_S: Final = b"2"
NOBODY: Final = Identity()
"""The caller of a request without a credential, where one is needed for most things."""


class Gate:
    """Finds the identity of every request, and rejects those without access; lives as the node.

    Args:
        settings: the kind of authentication, its keys and its headers.
        origins: whose pages may change something with a cookie; those of `--cors-origin`.
        revocations: of the node.
        refuse_stream: returns the answer after which a client asks for a stream again.
        on_keys_changed: called when tokens are verified with other keys than before.
        now: returns the Unix time.

    Attributes:
        origins: may be replaced.

    Raises:
        ConfigError: a key or a file cannot be used.
    """

    def __init__(
        self,
        settings: AccessSettings,
        origins: Collection[str],
        revocations: Revocations,
        refuse_stream: Callable[[str], Response],
        on_keys_changed: Callable[[], None],
        now: Callable[[], float] = time,
    ) -> None:
        self.origins = origins
        self._revocations = revocations
        self._refuse_stream = refuse_stream
        self._now = now
        self._ignores_credentials = settings.auth not in {JWT, PROXY} and not settings.api_keys
        self.trusted = TrustedPeers(settings.forwarded_allow_ips)
        self._credentials = Credentials(settings.auth_cookie, query=settings.auth_query)
        self._proxy = ProxyHeaders(settings, self.trusted) if settings.auth == PROXY else None
        self._api_keys = ApiKeys(settings.api_keys) if settings.api_keys else None
        self._anonymous = _anonymous(settings)
        self._reload = Periodic(_RELOAD_S, self.reload)
        self.tokens = _token_source(settings, on_keys_changed) if settings.auth == JWT else None

    @property
    def has_identities(self) -> bool:
        """Whether callers have credentials that may be revoked."""
        return not self._ignores_credentials

    @property
    def lets_anyone_observe(self) -> bool:
        """Whether a caller without a credential sees what operators do."""
        return OBSERVE in self._anonymous.rights

    def holds_key(self, fingerprint: str) -> bool:
        """Return whether tokens of a key are still accepted, by `Identity.key`."""
        return not fingerprint or (self.tokens is not None and self.tokens.holds(fingerprint))

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

    def guard(self, requirement: Requirement) -> Guard | None:
        """Return what gives a request its identity, if that may meet what the route requires.

        Returns:
            None where everybody may do everything: requests are from anyone until a guard says
            otherwise. Else a guard; it returns None when it is done; the answer to a stream that
            may come back; an awaitable of either while newer keys are fetched.

        The guard raises:
            RequestError: 400, the credential is malformed or there are several; 401, it is not
                valid, or there is none; 403, the caller lacks the right, or the request comes from
                a page or a proxy that is not trusted; 503, it cannot be judged yet.
        """
        if requirement is Requirement.NOTHING:
            return None
        if self._ignores_credentials and self._anonymous == ANYONE:
            return None
        return partial(self._admit, requirement, requirement is Requirement.OWN_STREAM)

    def _admit(
        self, requirement: Requirement, is_stream: bool, request: Request
    ) -> Response | Awaitable[Response | None] | None:
        identity = self.identify(request, is_stream=is_stream)
        if not isinstance(identity, Identity):
            return self._admit_later(requirement, is_stream, request, identity)
        self._check(identity, requirement, is_stream)
        request.identity = identity
        return None

    async def _admit_later(
        self,
        requirement: Requirement,
        is_stream: bool,
        request: Request,
        identity: Awaitable[Identity],
    ) -> Response | None:
        try:
            found = await identity
        except NoKeysError as error:
            # An EventSource never comes back after any other status than 200.
            if is_stream:
                return self._refuse_stream("no-keys")
            raise _unavailable(str(error)) from error
        except TokenError as error:
            raise unauthorized(str(error)) from error
        self._check(found, requirement, is_stream)
        request.identity = found
        return None

    def _check(self, identity: Identity, requirement: Requirement, is_stream: bool) -> None:
        if is_stream and identity.expires_s <= self._now():
            raise unauthorized("the token has expired")
        if self._revocations.covers(identity):
            raise unauthorized("the access has been revoked")
        if is_stream:
            return  # no stream is opened before revocations are read; the route checks the user
        if identity.user is not None and not self._revocations.is_loaded:
            raise _unavailable("the revocations have not been read yet")
        check(identity, requirement)

    def identify(
        self, request: Request, *, is_stream: bool = False
    ) -> Identity | Awaitable[Identity]:
        """Return the identity behind a request; awaitable while newer keys are fetched.

        Raises:
            RequestError: as a guard. The awaitable raises TokenError.
        """
        if self._ignores_credentials:
            return self._anonymous
        if self._proxy is not None:
            return self._identity_behind_proxy(request, self._proxy, is_stream=is_stream)
        if (
            self.tokens is not None
            and (token := self._credentials.lone_token(request))
            and (identity := self.tokens.known(token)) is not None
        ):
            return identity
        credential = self._credentials.find(request)
        if credential.is_cookie:
            check_origin(request, self.origins)
            if is_stream:
                check_origin_of_stream(request, self.origins)
        return self._identity_of(credential) if credential.text else self._anonymous

    def _identity_behind_proxy(
        self, request: Request, proxy: ProxyHeaders, *, is_stream: bool
    ) -> Identity:
        """Return the identity that a proxy names, or that of a key; other credentials are its."""
        user = proxy.identify(request)
        key = self._credentials.find_key(request) if self._api_keys is not None else ""
        if key and user is not None:
            raise RequestError(400, "credentials: expected one of a key and a user's header")
        if user is not None:
            check_proxied_origin(request, self.origins)
            if is_stream:
                check_origin_of_stream(request, self.origins)
        return self._identity_of_key(key) if key else user or NOBODY

    def _identity_of(self, credential: Credential) -> Identity | Awaitable[Identity]:
        if looks_like_key(credential.text):
            if self._api_keys is None:
                raise unauthorized("this node accepts no keys")
            if not credential.is_header:  # URLs and cookies are kept by others; a key lives long
                raise unauthorized("a key is accepted in Authorization only")
            return self._identity_of_key(credential.text)
        if self.tokens is None:
            raise unauthorized("this node accepts no tokens")
        try:
            return self.tokens.verify(credential.text)
        except TokenError as error:
            raise unauthorized(str(error)) from error

    def _identity_of_key(self, key: str) -> Identity:
        identity = self._api_keys.find(key) if self._api_keys is not None else None
        if identity is None:
            raise unauthorized("the key is unknown")
        return identity


def _unavailable(reason: str) -> RequestError:
    return RequestError(503, reason, ((b"Retry-After", _RETRY_AFTER_S),))


def _token_source(settings: AccessSettings, on_change: Callable[[], None]) -> "TokenSource":
    from sse_node.access.token_source import TokenSource  # 10 MB that other nodes do without

    return TokenSource(settings, on_change)


def _anonymous(settings: AccessSettings) -> Identity:
    """Return who a caller without a credential is."""
    if settings.auth in {JWT, PROXY}:
        return NOBODY
    rights, publish = ANYONE.rights, ANYONE.publish
    if settings.has_admin_listener:
        rights -= {OBSERVE, REVOKE}
    if settings.api_keys:
        rights, publish = frozenset(), NOTHING
    return msgspec.structs.replace(ANYONE, rights=rights, publish=publish)
