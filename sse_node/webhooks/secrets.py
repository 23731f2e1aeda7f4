"""Secrets of webhooks, in the form of Standard Webhooks: `whsec_` and 24 to 64 bytes in Base64."""

import base64
import binascii
import secrets
from typing import Final

PREFIX: Final = "whsec_"
SECRET_EXPECTED: Final = "whsec_ and 24 to 64 bytes in Base64"
_LEAST_BYTES: Final = 24
_MOST_BYTES: Final = 64
_NEW_BYTES: Final = 32


def new_secret() -> str:
    """Return a new secret of 32 random bytes."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_NEW_BYTES)).decode()


def is_secret(text: str) -> bool:
    """Return whether `text` is a secret, with its padding or without."""
    if not text.startswith(PREFIX):
        return False
    encoded = text.removeprefix(PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
    return _LEAST_BYTES <= len(key) <= _MOST_BYTES
