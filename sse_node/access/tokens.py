"""JSON Web Tokens (RFC 7519): from a token's text to an Identity, or why it is rejected.

Verified tokens are kept by their hash until they expire, so that a storm of reconnects does not
verify signatures again. What a token says never reaches a log or an error text.
"""

import re
from collections.abc import Callable, Sequence
from hashlib import sha256
from time import time
from typing import Any, Final

import jwt
import msgspec

from sse_node.access.jwt_keys import JwtKey, find_keys, has_key
from sse_node.config.sections import JWT_ALGORITHMS
from sse_node.errors import TokenError, UnknownKeyError
from sse_node.wire.envelope import is_user_id
from sse_node.wire.identity import Identity, Patterns, is_pattern

MAX_TOKEN_BYTES: Final = 8 * 1024
LEEWAY_S: Final = 30
# A pattern costs every check of a name; a token of 8 KiB holds some hundred at most.
_MAX_PATTERNS: Final = 200
# About 100 MB of identities at the most; a reconnect storm brings each token back within minutes.
_MAX_CACHED: Final = 65536


_TOKEN: Final = re.compile(r"[\w-]+\.[\w-]+\.[\w-]*", re.ASCII)


class _Header(msgspec.Struct):
    alg: str
    kid: str | None = None
    crit: Any = msgspec.UNSET


_decode_header = msgspec.json.Decoder(_Header).decode


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
        if _TOKEN.fullmatch(token) is None:
            raise TokenError("the token is malformed")
        digest = sha256(token.encode("ascii")).digest()
        identity = self._verified.get(digest)
        if identity is not None:
            if identity.expires_s + LEEWAY_S > self._now():
                self.cached += 1
                return identity
            del self._verified[digest]
        self.checked += 1
        identity = self._identity(self._claims(token))
        if len(self._verified) >= _MAX_CACHED:
            del self._verified[next(iter(self._verified))]
        self._verified[digest] = identity
        return identity

    def forget(self) -> None:
        """Verify every token again: the keys have changed."""
        self._verified.clear()

    def _claims(self, token: str) -> dict[str, Any]:
        header = _header_of(token)
        all_keys = self._keys()
        keys = find_keys(all_keys, header.kid, header.alg)
        for key in keys:
            try:
                claims: dict[str, Any] = jwt.decode(
                    token,
                    key.key,
                    algorithms=[key.algorithm],
                    audience=self._audience or None,
                    issuer=self._issuer or None,
                    options={
                        "require": ["exp", "sub"],
                        "verify_aud": bool(self._audience),
                        "verify_exp": False,
                        "verify_nbf": False,
                        "verify_iat": False,
                    },
                )
            except jwt.InvalidSignatureError:
                continue
            except jwt.PyJWTError as exc:
                raise _rejected(_REASONS.get(type(exc), "it is malformed")) from None
            except (ValueError, TypeError, RecursionError):
                raise _rejected("it is malformed") from None
            return claims
        if (
            header.kid is not None
            and header.alg in JWT_ALGORITHMS
            and not has_key(all_keys, header.kid, header.alg)
        ):
            raise UnknownKeyError("the token is not valid: no key has its kid and alg")
        raise _rejected("the signature is wrong" if keys else "no key has its alg")

    def _identity(self, claims: dict[str, Any]) -> Identity:
        now = self._now()
        expires_s = _time_claim(claims, "exp")
        if expires_s + LEEWAY_S <= now:
            raise TokenError("the token has expired")
        for claim in ("nbf", "iat"):
            if claim in claims and _time_claim(claims, claim) - LEEWAY_S > now:
                raise TokenError(f"the token is not valid yet ({claim})")
        user = claims["sub"]
        if not is_user_id(user):
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
        )


_REASONS: Final[dict[type[jwt.PyJWTError], str]] = {
    jwt.InvalidAudienceError: "aud is not the one expected",
    jwt.InvalidIssuerError: "iss is not the one expected",
    jwt.MissingRequiredClaimError: "a required claim is missing (exp, sub; aud, iss if configured)",
    jwt.InvalidAlgorithmError: "alg is not that of the key",
}


def _rejected(reason: str) -> TokenError:
    return TokenError(f"the token is not valid: {reason}")


def _header_of(token: str) -> _Header:
    try:
        header = _decode_header(jwt.utils.base64url_decode(token.partition(".")[0]))
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
    texts = claims.get(name, [])
    if (
        not isinstance(texts, list)
        or len(texts) > _MAX_PATTERNS
        or not all(isinstance(text, str) and is_pattern(text) for text in texts)
    ):
        raise TokenError(f"the claim {name}: expected a list of at most {_MAX_PATTERNS} patterns")
    return Patterns(texts)
