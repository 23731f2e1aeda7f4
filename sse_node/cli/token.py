"""Making tokens for tests and scripts, and explaining how a node judges one."""

import json
import re
from datetime import UTC, datetime
from time import time
from typing import Any, Final

import jwt

from sse_node.access import jwks, key_file
from sse_node.access.jwt_keys import JwtKey, read_keys
from sse_node.access.tokens import LEEWAY_S, TokenVerifier
from sse_node.access.watched_file import WatchedFile
from sse_node.config.sections import AccessSettings
from sse_node.errors import ConfigError, TokenError

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(setting: str, text: str) -> int:
    """Return the seconds of a duration such as 90s, 15m, 1h or 7d.

    Raises:
        ConfigError: it is none.
    """
    match = re.fullmatch(r"(\d{1,9})([smhd])", text, re.ASCII)
    if match is None:
        raise ConfigError(setting, text, "a number with s, m, h or d, such as 15m")
    return int(match[1]) * _UNITS[match[2]]


def make_token(access: AccessSettings, user: str, claims: dict[str, Any], expires_in_s: int) -> str:
    """Return a signed token.

    Args:
        access: has the key, and the audience and issuer to name.
        user: becomes `sub`.
        claims: further claims.
        expires_in_s: from now.

    Raises:
        ConfigError: there is no key to sign with, or a node would reject the token.
    """
    if not access.jwt_key:
        raise ConfigError("--jwt-key", "", "a file with a secret or a private key")
    keys = _file_keys(access)
    key = next((key for key in keys if key.signing_key is not None), None)
    if key is None:
        raise ConfigError("--jwt-key", access.jwt_key, "a secret or a private key to sign with")
    now = int(time())
    payload = {"sub": user, "iat": now, "exp": now + expires_in_s, **claims}
    if access.jwt_audience:
        payload["aud"] = access.jwt_audience
    if access.jwt_issuer:
        payload["iss"] = access.jwt_issuer
    headers = {"kid": key.key_id} if key.key_id else None
    token = jwt.encode(payload, key.signing_key, algorithm=key.algorithm, headers=headers)
    try:
        _verifier_of(access, keys).verify(token)
    except TokenError as error:
        raise ConfigError("token", claims, f"a token that nodes accept ({error})") from None
    return token


def _verifier_of(access: AccessSettings, keys: list[JwtKey]) -> TokenVerifier:
    return TokenVerifier(lambda: keys, audience=access.jwt_audience, issuer=access.jwt_issuer)


def explain_token(access: AccessSettings, token: str) -> tuple[bool, str]:
    """Return whether a node with these settings accepts a token, and an explanation in lines.

    Raises:
        ConfigError: the keys cannot be read.
    """
    lines = []
    try:
        parts = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        parts = None
    if parts is not None:
        lines += [
            f"header   {json.dumps(parts['header'])}",
            f"claims   {json.dumps(parts['payload'])}",
        ]
        lines += [
            f"{claim:<8} {_readable(parts['payload'][claim])}"
            for claim in ("iat", "nbf", "exp")
            if claim in parts["payload"]
        ]
    keys = _all_keys(access)
    lines += [f"key      {key.algorithm} {key.key_id or '(without kid)'}" for key in keys]
    try:
        identity = _verifier_of(access, keys).verify(token)
    except TokenError as error:
        return False, "\n".join([*lines, f"rejected: {error}"])
    lines.append(f"accepted: user {identity.user}")
    lines.append(f"listens  {' '.join(identity.listen) or '(no named channels)'}")
    lines.append(f"publishes to  {' '.join(identity.publish) or '(nothing)'}")
    if identity.expires_s < time():
        lines.append(f"expired, within the leeway of {LEEWAY_S} s: opens no stream")
    return True, "\n".join(lines)


def _readable(value: object) -> str:
    if isinstance(value, int | float) and 0 <= value < 1e11:
        distance = value - time()
        when = f"in {distance:.0f} s" if distance >= 0 else f"{-distance:.0f} s ago"
        return f"{datetime.fromtimestamp(value, UTC).isoformat()} ({when})"
    return repr(value)


def _file_keys(access: AccessSettings) -> list[JwtKey]:
    data = WatchedFile(key_file.SETTING, access.jwt_key).read()
    return read_keys(key_file.SETTING, data, access.jwt_algorithm)


def _all_keys(access: AccessSettings) -> list[JwtKey]:
    keys = _file_keys(access) if access.jwt_key else []
    if access.jwks_url:
        try:
            keys += jwks.fetch_keys(access.jwks_url, access.jwt_algorithm)
        except OSError as exc:
            raise ConfigError(
                jwks.SETTING, access.jwks_url, f"a URL that answers ({exc})"
            ) from None
    if not keys:
        raise ConfigError("--jwt-key", "", "--jwt-key or --jwks-url")
    return keys
