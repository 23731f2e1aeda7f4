"""Verification of tokens with keys that change: from a file, from a URL, or from both."""

from collections.abc import Awaitable, Callable, Sequence

from sse_node.access.jwks import JwksUrl
from sse_node.access.jwt_keys import JwtKey
from sse_node.access.key_file import KeyFile
from sse_node.access.tokens import TokenVerifier
from sse_node.config.sections import AccessSettings
from sse_node.errors import NoKeysError, TokenError, UnknownKeyError
from sse_node.wire.identity import Identity


class TokenSource:
    """The verifier and its keys; lives as long as the node.

    Args:
        settings: where the keys are, and what tokens must say.
        on_change: called when other keys hold than before.

    Attributes:
        verifier: verifies with the keys that hold at the moment.
        known: returns the identity of a token that was verified before, as `TokenVerifier.known`.

    Raises:
        ConfigError: the file of keys cannot be used.
    """

    def __init__(self, settings: AccessSettings, on_change: Callable[[], None]) -> None:
        self.verifier = TokenVerifier(
            self._keys, audience=settings.jwt_audience, issuer=settings.jwt_issuer
        )
        self.known = self.verifier.known
        self._report_change = on_change
        algorithm, on_change = settings.jwt_algorithm, self._on_change
        self._all_keys: list[JwtKey] = []
        self._fingerprints: frozenset[str] = frozenset()
        self._file = KeyFile(settings.jwt_key, algorithm, on_change) if settings.jwt_key else None
        self._url = JwksUrl(settings.jwks_url, algorithm, on_change) if settings.jwks_url else None
        self._collect()

    def _keys(self) -> Sequence[JwtKey]:
        return self._all_keys

    def _on_change(self) -> None:
        self._collect()
        self.verifier.forget()
        self._report_change()

    def _collect(self) -> None:
        sources = (source for source in (self._file, self._url) if source is not None)
        self._all_keys = [key for source in sources for key in source.keys]
        self._fingerprints = frozenset(key.fingerprint for key in self._all_keys)

    def holds(self, fingerprint: str) -> bool:
        """Return whether the key with this fingerprint is one of those that hold."""
        return fingerprint in self._fingerprints

    def start(self) -> None:
        """Begin to fetch keys; needs a running event loop."""
        if self._url is not None:
            self._url.start()

    async def shutdown(self) -> None:
        """Stop fetching."""
        if self._url is not None:
            await self._url.shutdown()

    def reload(self) -> None:
        """Read the file of keys again if it has changed."""
        if self._file is not None:
            self._file.reload()

    def verify(self, token: str) -> Identity | Awaitable[Identity]:
        """Return the identity of a token; awaitable while newer keys are fetched.

        Raises:
            TokenError: the token is rejected.
            NoKeysError: there are no keys yet.
        """
        try:
            return self.verifier.verify(token)
        except TokenError as error:
            if self._url is None or (self._keys() and not isinstance(error, UnknownKeyError)):
                raise
            return self._verify_with_newer_keys(self._url, token)

    async def _verify_with_newer_keys(self, url: JwksUrl, token: str) -> Identity:
        await url.refresh()
        if not self._keys():
            raise NoKeysError("the keys of tokens have not been fetched yet")
        return self.verifier.verify(token)
