"""API keys of services: a file of names, hashes and rights, read again when it changes.

A line is `NAME SHA256 RIGHT…`; empty lines and lines that start with `#` are ignored. A key is 256
random bits, so a plain hash protects it. What is compared is the hash of what the caller sent: how
long that takes says nothing about a key.
"""

import logging
import re
from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest
from secrets import token_urlsafe
from typing import Final

from sse_node.access.watched_file import WatchedFile
from sse_node.errors import ConfigError, SecretConfigError
from sse_node.wire.identity import RIGHTS, Identity, Patterns, is_pattern

SETTING: Final = "--api-keys"
_PREFIX: Final = "ssk_"
_KEY: Final = re.compile(_PREFIX + r"[A-Za-z0-9_-]{43}")
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NAME_EXPECTED: Final = "1 to 64 of A-Z a-z 0-9 _ . -"
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_PUBLISH: Final = "publish:"

RIGHTS_EXPECTED: Final = "rights of " + ", ".join(sorted(RIGHTS)) + ", publish:PATTERN"

logger = logging.getLogger(__name__)


def looks_like_key(credential: str) -> bool:
    """Return whether a credential has the form of a key; a token has dots."""
    return credential.startswith(_PREFIX)


def new_key(name: str, rights: str) -> tuple[str, str]:
    """Return a new key, and its line for the file.

    Args:
        name: of the service.
        rights: separated by spaces.

    Raises:
        ConfigError: the name or a right is not allowed.
    """
    if _NAME.fullmatch(name) is None:
        raise SecretConfigError("NAME", "the name", _NAME_EXPECTED)
    key = _PREFIX + token_urlsafe(32)
    line = f"{name} {sha256(key.encode()).hexdigest()} {' '.join(rights.split())}"
    _identity_of(line, "--may")
    return key, line


def read_keys(data: bytes) -> dict[bytes, Identity]:
    """Return the identities of a file's content by the hashes of their keys.

    Raises:
        ConfigError: it is not UTF-8, a line is not one of a key, or a key has two lines.
    """
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError:
        raise SecretConfigError(SETTING, "the file", "UTF-8") from None
    keys: dict[bytes, Identity] = {}
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            digest, identity = _identity_of(line, f"{SETTING}: line {number}")
            if digest in keys:
                place = f"{SETTING}: line {number}"
                raise SecretConfigError(place, "the hash of an earlier line", "one line per key")
            keys[digest] = identity
    return keys


def _identity_of(line: str, place: str) -> tuple[bytes, Identity]:
    name, digest, *rights = line.split() if len(line.split()) > 1 else (line, "")
    if _NAME.fullmatch(name) is None:
        raise SecretConfigError(place, "the name", _NAME_EXPECTED)
    if _HASH.fullmatch(digest) is None:
        raise SecretConfigError(place, "the hash", "the SHA-256 of a key in 64 hexadecimal digits")
    publish = [right.removeprefix(_PUBLISH) for right in rights if right.startswith(_PUBLISH)]
    others = {right for right in rights if not right.startswith(_PUBLISH)}
    if not rights or others - RIGHTS or not all(map(is_pattern, publish)):
        raise SecretConfigError(place, "a right", RIGHTS_EXPECTED)
    identity = Identity(caller=f"key:{name}", rights=frozenset(others), publish=Patterns(publish))
    return bytes.fromhex(digest), identity


class ApiKeys:
    """The keys that hold at the moment; lives as long as the node.

    Args:
        path: of the file.

    Raises:
        ConfigError: the file cannot be read, or a line is not one of a key.
    """

    def __init__(self, path: str) -> None:
        self._file = WatchedFile(SETTING, path)
        self._keys: Mapping[bytes, Identity] = read_keys(self._file.read())

    def find(self, key: str) -> Identity | None:
        """Return the identity of a key, None for an unknown one."""
        digest = sha256(key.encode("latin-1", "replace")).digest()
        found = None
        for known, identity in self._keys.items():
            if compare_digest(known, digest):
                found = identity
        return found

    def reload(self) -> None:
        """Read the file again if it has changed; a wrong one leaves the keys as they are."""
        if not self._file.has_changed():
            return
        try:
            self._keys = read_keys(self._file.read())
        except ConfigError as exc:
            logger.error("keeping the API keys as they are: %s", exc)
        else:
            logger.info("%s: %d keys", SETTING, len(self._keys))
