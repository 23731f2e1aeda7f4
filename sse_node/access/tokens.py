"""JSON Web Tokens (RFC 7519): from a token's text to an Identity, or why it is rejected.

Verified tokens are kept by their hash until they expire, so that a storm of reconnects does not
verify signatures again. What a token says never reaches a log or an error text.
"""

import re
from binascii import a2b_base64
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from time import time
from typing import Any, Final

import msgspec

from sse_node.access.jwt_keys import JwtKey, find_keys, has_key
from sse_node.config.sections import JWT_ALGORITHMS
from sse_node.errors import TokenError, UnknownKeyError
from sse_node.wire.envelope import is_user_id
from sse_node.wire.identity import NOTHING, Identity, Patterns, is_pattern

MAX_TOKEN_BYTES: Final = 8 * 1024
LEEWAY_S: Final = 30
# A pattern costs every check of a name; a token of 8 KiB holds some hundred at most.
_MAX_PATTERNS: Final = 200
# About 100 MB of identities at the most; a reconnect storm brings each token back within minutes.
_MAX_CACHED: Final = 65536
# All tokens of an issuer have one header, until its key changes. Arbitrary.
_REMEMBERED: Final = 64

_BASE64: Final = bytes.maketrans(b"-_", b"+/")
_TOKEN: Final = re.compile(r"[\w-]+\.[\w-]+\.[\w-]*", re.ASCII)


class _Header(msgspec.Struct):
    alg: str
    kid: str | None = None
    crit: Any = msgspec.UNSET


_decode_header = msgspec.json.Decoder(_Header).decode
_decode_claims = msgspec.json.Decoder(dict[str, Any]).decode


class TokenVerifier:
    """Verifies tokens; lives as long as the node.

    Args:
        keys: returns the keys that hold at the moment.
        audience: the `aud` that a token must name; empty to accept any.
        issuer: the `iss` that a token must have; empty to accept any.
        now: returns the Unix time.
    """

    def __init__(
        self,
        keys: Callable[[], Sequence[JwtKey]],
        *,
        audience: str = "",
        issuer: str = "",
        now: Callable[[], float] = time,
    ) -> None:
        self._keys = keys
        self._required = ["exp", "sub", *["aud"] * bool(audience), *["iss"] * bool(issuer)]
        self._audience = audience
        self._issuer = issuer
        self._now = now
        self._verified: dict[bytes, Identity] = {}
        self.cached = 0
        self.checked = 0

    def verify(self, token: str) -> Identity:
        """Return the identity of a token.

        Args:
            token: as it came.

        Raises:
            TokenError: the token is rejected.
            UnknownKeyError: no key has its `kid`; a newer set of keys may have.
        """
        if len(token) > MAX_TOKEN_BYTES:
            raise TokenError(f"the token is longer than {MAX_TOKEN_BYTES} bytes")
        # No token that was verified has a "?", so that replacing what is not ASCII finds none.
        data = token.encode("ascii", "replace")
        digest = _hash_of(data)
        identity = self._kept(digest)
        if identity is not None:
            return identity
        if _TOKEN.fullmatch(token) is None:
            raise TokenError("the token is malformed")
        self.checked += 1
        identity = self._identity(*self._claims(data))
        if len(self._verified) >= _MAX_CACHED:
            del self._verified[next(iter(self._verified))]
        self._verified[digest] = identity
        return identity

    def known(self, token: bytes) -> Identity | None:
        """Return the identity of a token that was verified before; None for one to be verified."""
        return self._kept(_hash_of(token))

    def _kept(self, digest: bytes) -> Identity | None:
        identity = self._verified.get(digest)
        if identity is None:
            return None
        if identity.expires_s + LEEWAY_S <= self._now():
            del self._verified[digest]
            return None
        self.cached += 1
        return identity

    def forget(self) -> None:
        """Verify every token again: the keys have changed."""
        self._verified.clear()

    def _claims(self, token: bytes) -> tuple[dict[str, Any], JwtKey]:
        encoded_header, payload, encoded_signature = token.translate(_BASE64).split(b".")
        header = _header_of(encoded_header)
        try:
            signature = _decoded(encoded_signature)
        except ValueError:
            raise TokenError("the token is malformed") from None
        key = self._key_of(header, token[: token.rindex(b".")], signature)
        try:
            return _decode_claims(_decoded(payload)), key
        except (ValueError, msgspec.MsgspecError, RecursionError):
            raise _rejected("its payload is no JSON object") from None

    def _key_of(self, header: _Header, signed: bytes, signature: bytes) -> JwtKey:
        all_keys = self._keys()
        keys = find_keys(all_keys, header.kid, header.alg)
        for key in keys:
            if key.verify(signed, signature):
                return key
        if (
            header.kid is not None
            and header.alg in JWT_ALGORITHMS
            and not has_key(all_keys, header.kid, header.alg)
        ):
            raise UnknownKeyError("the token is not valid: no key has its kid and alg")
        raise _rejected("the signature is wrong" if keys else "no key has its alg")

    def _check_parties(self, claims: dict[str, Any]) -> None:
        for name in self._required:
            if claims.get(name) is None:
                raise _rejected(f"the claim {name} is missing")
        if self._audience:
            audience = claims["aud"]
            if self._audience not in (audience if isinstance(audience, list) else [audience]):
                raise _rejected("aud is not the one expected")
        if self._issuer and claims["iss"] != self._issuer:
            raise _rejected("iss is not the one expected")

    def _identity(self, claims: dict[str, Any], key: JwtKey) -> Identity:
        self._check_parties(claims)
        now = self._now()
        expires_s = _time_claim(claims, "exp")
        if expires_s + LEEWAY_S <= now:
            raise TokenError("the token has expired")
        for claim in ("nbf", "iat"):
            if claim in claims and _time_claim(claims, claim) - LEEWAY_S > now:
                raise TokenError(f"the token is not valid yet ({claim})")
        user = claims["sub"]
        if not isinstance(user, str) or not is_user_id(user):
            raise TokenError("the claim sub is not a user id")
        token_id = claims.get("jti", "")
        if not isinstance(token_id, str) or len(token_id) > 255:
            raise TokenError("the claim jti: expected a string of at most 255 characters")
        return Identity(
            caller=f"user:{user}",
            user=user,
            listen=_patterns(claims, "channels"),
            publish=_patterns(claims, "publish"),
            expires_s=expires_s,
            token_id=token_id,
            key=key.fingerprint,
        )


def _hash_of(token: bytes) -> bytes:
    return blake2b(token, digest_size=32).digest()  # takes half the time of SHA-256


def _rejected(reason: str) -> TokenError:
    return TokenError(f"the token is not valid: {reason}")


def _decoded(segment: bytes) -> bytes:
    """Return the bytes of Base64 with or without padding; raises ValueError."""
    return a2b_base64(segment + b"==")


@lru_cache(_REMEMBERED)
def _header_of(segment: bytes) -> _Header:
    try:
        header = _decode_header(_decoded(segment))
    except (ValueError, msgspec.MsgspecError, RecursionError):
        raise TokenError("the token is malformed") from None
    if header.crit is not msgspec.UNSET:
        raise TokenError("the token has critical extensions, which are not supported")
    return header


def _time_claim(claims: dict[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise TokenError(f"the claim {name}: expected a time in seconds")
    return value


def _patterns(claims: dict[str, Any], name: str) -> Patterns:
    if name not in claims:
        return NOTHING
    texts = claims[name]
    if (
        not isinstance(texts, list)
        or len(texts) > _MAX_PATTERNS
        or not all(isinstance(text, str) and is_pattern(text) for text in texts)
    ):
        raise TokenError(f"the claim {name}: expected a list of at most {_MAX_PATTERNS} patterns")
    return Patterns(texts)
