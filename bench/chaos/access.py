"""Tokens of the clients and the key of the publisher, for a run with `--auth`."""

import random
import secrets
from math import inf
from pathlib import Path
from time import time

import jwt
import msgspec

from sse_node.access.api_keys import new_key

_TOKEN_LIFE_S = (4.0, 20.0)  # arbitrary: many tokens expire in a run of minutes
CLOSE_WITHIN_S = 2.0
"""After the end of access, nothing may arrive any more."""


class Token(msgspec.Struct, frozen=True):
    """A token, and the end of the access that it gives, in Unix seconds."""

    text: str = ""
    token_id: str = ""
    expires_s: float = inf


NO_TOKEN = Token()


class Access:
    """The secret of tokens and the file of keys; lives as long as the run."""

    def __init__(self, directory: Path) -> None:
        """Write the files that the nodes read."""
        self._secret = secrets.token_urlsafe(48)
        self._secret_file = directory / "jwt-key"
        self._secret_file.write_text(self._secret)
        self.key, line = new_key("chaos", "publish:user:* publish:* revoke observe")
        self._keys_file = directory / "api-keys"
        self._keys_file.write_text(line + "\n")

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags of a node."""
        keys = ("--api-keys", str(self._keys_file))
        return ("--auth", "jwt", "--jwt-key", str(self._secret_file), *keys)

    def token_for(self, user: str) -> Token:
        """Return a new token of a user."""
        token_id, expires_s = secrets.token_hex(8), time() + random.uniform(*_TOKEN_LIFE_S)
        claims = {"sub": user, "exp": expires_s, "jti": token_id}
        return Token(jwt.encode(claims, self._secret, "HS256"), token_id, expires_s)
