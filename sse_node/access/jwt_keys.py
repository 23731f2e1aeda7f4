"""The keys that tokens are verified with: a secret, a PEM file, or a JWK Set (RFC 7517).

A public key that is taken for a secret lets everybody make tokens, so what looks like one in
another form than PEM and JWK is rejected. Each key has one algorithm, from its type or from
`--jwt-algorithm`; the header of a token never chooses. A private key verifies by its public half.
"""

import binascii
import hmac
import re
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from hmac import compare_digest
from typing import Any, Final

import jwt
import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from sse_node.config.sections import JWT_ALGORITHMS
from sse_node.errors import SecretConfigError

# RFC 7518 §3.2: a secret is at least as long as the hash. §3.3: RSA keys have 2048 bits at least.
_SECRET_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
_HASHES: Final = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
_RSA_BITS: Final = 2048
_MAX_KEYS: Final = 100
_ALGORITHMS: Final = {name: jwt.get_algorithm_by_name(name) for name in JWT_ALGORITHMS}
# What PyJWT and cryptography raise for members that are missing or of another type.
_OF_WRONG_JWK: Final = (
    ArithmeticError, AttributeError, LookupError, TypeError, UnsupportedAlgorithm, ValueError
)  # fmt: skip
_EXPECTED: Final = "a secret, a PEM key or a JWK Set"
_DER: Final = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
_BYTE_ORDER_MARKS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_PEM_KEY: Final = re.compile(rb"-----BEGIN [A-Z0-9 ]*(?:PUBLIC|PRIVATE) KEY-----")
_EC_PARAMETERS: Final = re.compile(
    rb"-----BEGIN EC PARAMETERS-----.*?-----END EC PARAMETERS-----\s*", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class JwtKey:
    """One key.

    Attributes:
        key_id: its `kid`; empty for a key without one.
        algorithm: the only one that it is used with.
        key: as PyJWT takes it for verifying.
        signing_key: as PyJWT takes it for signing; None for a public key.
        fingerprint: the same for the same key, whatever it was read from.
    """

    key_id: str
    algorithm: str
    key: Any
    signing_key: Any = None
    fingerprint: str = field(init=False)
    _mac: hmac.HMAC | None = field(init=False, default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compute once what is the same for each token."""
        data = self.key if isinstance(self.key, bytes) else self.key.public_bytes(*_DER)
        digest = sha256(self.algorithm.encode() + data).hexdigest()
        object.__setattr__(self, "fingerprint", digest[:32])
        if (hash_name := _HASHES.get(self.algorithm)) is not None:
            object.__setattr__(self, "_mac", hmac.new(self.key, digestmod=hash_name))

    def verify(self, signed: bytes, signature: bytes) -> bool:
        """Return whether this key has signed something.

        `jwt.decode` would check the form of the key for each token, which takes most of its time.
        """
        if self._mac is not None:
            mac = self._mac.copy()  # takes less than to begin with the key again
            mac.update(signed)
            return compare_digest(mac.digest(), signature)
        return _ALGORITHMS[self.algorithm].verify(signed, self.key, signature)


def read_keys(setting: str, data: bytes, algorithm: str = "") -> list[JwtKey]:
    """Return the keys that a file or an answer holds.

    Args:
        setting: named in errors.
        data: a secret, PEM, or a JWK Set as JSON.
        algorithm: empty for that of the key's type, HS256 for a secret.

    Raises:
        SecretConfigError: it holds no usable key, or one that the algorithm is not for.
    """
    if data.startswith(_BYTE_ORDER_MARKS):
        raise SecretConfigError(setting, "a byte order mark", "ASCII or UTF-8 without one")
    stripped = data.strip()
    if stripped.startswith(b"{"):
        return _set_of_keys(setting, stripped, algorithm)
    if b"-----BEGIN " in stripped:
        return [_pem_key(setting, stripped, algorithm)]
    return [_secret(setting, data.rstrip(b"\r\n"), algorithm or "HS256")]


def read_public_keys(setting: str, data: bytes, algorithm: str = "") -> list[JwtKey]:
    """Return the public keys of a JWK Set that others can read, too; secrets in it are ignored.

    Args:
        setting: named in errors.
        data: the set as JSON.
        algorithm: empty for those of the keys' types.

    Raises:
        SecretConfigError: it holds no usable public key.
    """
    keys = _set_of_keys(setting, data, algorithm)
    public = [replace(key, signing_key=None) for key in keys if key.algorithm not in _SECRET_BYTES]
    if not public:
        raise SecretConfigError(setting, "a JWK Set without a public key", "public keys")
    return public


def _secret(setting: str, secret: bytes, algorithm: str, key_id: str = "") -> JwtKey:
    least = _SECRET_BYTES.get(algorithm)
    if least is None:
        raise SecretConfigError(setting, f"a secret with {algorithm}", "a public key in PEM")
    if len(secret) < least:
        raise SecretConfigError(
            setting, f"a secret of {len(secret)} bytes", f"at least {least} bytes for {algorithm}"
        )
    try:
        _ALGORITHMS[algorithm].prepare_key(secret)
        is_key = _is_der(b64decode(secret, validate=False))
    except jwt.InvalidKeyError:  # SSH, DER, or JWK in a list
        is_key = True
    except binascii.Error:
        is_key = False
    if is_key:
        raise SecretConfigError(setting, "a public key as a secret", "a secret, PEM or a JWK Set")
    return JwtKey(key_id, algorithm, secret, secret)


def _is_der(data: bytes) -> bool:
    """Return whether data is a key or certificate; in Base64 it is PEM without its first line."""
    for load in (
        serialization.load_der_public_key,
        x509.load_der_x509_certificate,
        lambda data: serialization.load_der_private_key(data, None),
    ):
        try:
            load(data)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            continue
        return True
    return False


def _pem_key(setting: str, data: bytes, algorithm: str) -> JwtKey:
    if len(_PEM_KEY.findall(data)) > 1:
        raise SecretConfigError(setting, "several keys in PEM", "one, or a JWK Set of several")
    data = _EC_PARAMETERS.sub(b"", data)  # that openssl ecparam writes in front
    try:
        if b"CERTIFICATE-----" in data:
            key: Any = x509.load_pem_x509_certificate(data).public_key()
        elif b"PRIVATE KEY-----" in data:
            key = serialization.load_pem_private_key(data, None)
        else:
            key = serialization.load_pem_public_key(data)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it has a password
        raise SecretConfigError(setting, "the PEM", "a key without a password") from None
    return _asymmetric(setting, key, algorithm)


def _asymmetric(setting: str, key: Any, algorithm: str, key_id: str = "") -> JwtKey:  # noqa: ANN401
    signing_key = key if hasattr(key, "public_key") else None
    public: Any = key.public_key() if signing_key is not None else key
    if isinstance(public, rsa.RSAPublicKey):
        own = "RS256"
        if public.key_size < _RSA_BITS:
            raise SecretConfigError(setting, f"{public.key_size} bits", f"{_RSA_BITS} or more")
    elif isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name == "secp256r1":
        own = "ES256"
    elif isinstance(public, ed25519.Ed25519PublicKey):
        own = "EdDSA"
    else:
        raise SecretConfigError(setting, "the type of a key", "RSA, EC P-256 or Ed25519")
    if algorithm not in {"", own}:
        raise SecretConfigError(setting, f"a key of another type with {algorithm}", own)
    return JwtKey(key_id, own, public, signing_key)


def _set_of_keys(setting: str, data: bytes, algorithm: str) -> list[JwtKey]:
    try:
        content = msgspec.json.decode(data)
        found = content.get("keys", [content])
    except (msgspec.MsgspecError, UnicodeDecodeError, AttributeError, RecursionError):
        raise SecretConfigError(setting, "the JSON", "a JWK Set") from None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise SecretConfigError(setting, "the JSON", "a JWK Set")
    if len(found) > _MAX_KEYS:
        raise SecretConfigError(setting, f"{len(found)} keys", f"at most {_MAX_KEYS}")
    keys = [key for each in found if (key := _jwk(setting, each, algorithm)) is not None]
    if not keys:
        raise SecretConfigError(setting, "a JWK Set without a usable key", _EXPECTED)
    return keys


def _jwk(setting: str, jwk: dict[str, Any], algorithm: str) -> JwtKey | None:
    """Return a key of a set; None for one that cannot be used, as sets of providers hold some."""
    key_id, wanted = jwk.get("kid", ""), algorithm or jwk.get("alg", "")
    if jwk.get("use", "sig") != "sig" or not isinstance(key_id, str):
        return None
    uses = jwk.get("key_ops", ["verify"])
    if not isinstance(uses, list) or not ("verify" in uses or "sign" in uses):
        return None
    if wanted and (wanted not in JWT_ALGORITHMS or jwk.get("alg", wanted) != wanted):
        return None
    try:
        key = jwt.PyJWK(jwk).key
        if isinstance(key, bytes):
            return _secret(setting, key, wanted or "HS256", key_id)
        return _asymmetric(setting, key, wanted, key_id)
    except (jwt.PyJWTError, SecretConfigError, *_OF_WRONG_JWK):
        return None


def has_key(keys: Sequence[JwtKey], key_id: str, algorithm: str) -> bool:
    """Return whether a key has this `kid` and algorithm."""
    return any(key.key_id == key_id and key.algorithm == algorithm for key in keys)


def find_keys(keys: Sequence[JwtKey], key_id: str | None, algorithm: str) -> list[JwtKey]:
    """Return the keys that may have signed a token; empty when no key may.

    Args:
        keys: all there are.
        key_id: the token's `kid`, None when it has none.
        algorithm: the token's `alg`; a key of another algorithm is never tried.
    """
    fitting = [key for key in keys if key.algorithm == algorithm]
    if key_id is None:
        return fitting
    named = [key for key in fitting if key.key_id == key_id]
    # A key without a name, such as one in PEM, may have signed every token.
    return named or [key for key in fitting if not key.key_id]
