"""Keys and tokens of each algorithm."""

from __future__ import annotations

import base64
import hmac
import json
import time
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

SECRET = b"a secret of 64 bytes, which is enough for every HMAC there is..."


@dataclass(frozen=True)
class Signer:
    """A key that signs tokens.

    Attributes:
        algorithm: of the tokens.
        key: the secret, or the private key.
        kid: in the header of the tokens and in the JWK; empty for none.
    """

    algorithm: str
    key: Any
    kid: str = ""

    def token(
        self,
        user: object = "ann",
        *,
        expires_in_s: float = 60,
        headers: dict[str, Any] | None = None,
        **claims: object,
    ) -> str:
        """Return a token; a claim that is `...` is left out."""
        payload = {"sub": user, "exp": int(time.time() + expires_in_s), **claims}
        present = {name: value for name, value in payload.items() if value is not ...}
        named = {"kid": self.kid} if self.kid else {}
        return jwt.encode(
            present, self.key, algorithm=self.algorithm, headers={**named, **(headers or {})}
        )

    def file(self) -> bytes:
        """Return what a node is given to verify: the secret, or the public key in PEM."""
        if isinstance(self.key, bytes):
            return self.key
        pem: bytes = self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return pem

    def private_pem(self) -> bytes:
        """Return the private key in PEM."""
        pem: bytes = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return pem

    def public_der(self) -> bytes:
        """Return the public key in DER."""
        der: bytes = self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return der

    def jwk(self, *, private: bool = False, **members: object) -> dict[str, Any]:
        """Return the key as a JWK; a member that is `...` is left out."""
        algorithm = jwt.get_algorithm_by_name(self.algorithm)
        is_secret = isinstance(self.key, bytes)
        key = self.key if private or is_secret else self.key.public_key()
        named = {"kid": self.kid} if self.kid else {}
        jwk = {**json.loads(algorithm.to_jwk(key)), **named, "use": "sig", **members}
        jwk.pop("key_ops", None) if "key_ops" not in members else None
        return {name: value for name, value in jwk.items() if value is not ...}


@cache
def signer(algorithm: str, kid: str = "") -> Signer:
    """Return a key of an algorithm, the same one for the same arguments."""
    if algorithm.startswith("HS"):
        return Signer(algorithm, SECRET, kid)
    keys = {
        "RS256": lambda: rsa.generate_private_key(65537, 2048),
        "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate,
    }
    return Signer(algorithm, keys[algorithm](), kid)


def key_set(*jwks: dict[str, Any]) -> bytes:
    """Return a JWK Set as JSON."""
    return json.dumps({"keys": jwks}).encode()


def raw_token(header: object, payload: object, signature: bytes = b"") -> str:
    """Return a token of any header and payload; bytes are taken as they are."""
    parts = [part if isinstance(part, bytes) else _json(part) for part in (header, payload)]
    return ".".join(_base64(part) for part in (*parts, signature))


def hmac_token(secret: bytes, header: object, payload: object) -> str:
    """Return a token that is signed with any bytes, as an attacker does."""
    unsigned = raw_token(header, payload).removesuffix(".")
    return f"{unsigned}.{_base64(hmac.digest(secret, unsigned.encode(), sha256))}"


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
