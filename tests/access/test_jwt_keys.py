"""From files and JWK Sets to keys, and what is no key, or one that anybody has."""

from __future__ import annotations

import base64
import datetime
import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from sse_node.access.jwt_keys import find_keys, has_key, read_keys, read_public_keys
from sse_node.errors import SecretConfigError
from tests.support.tokens import SECRET, Signer, key_set, signer

if TYPE_CHECKING:
    from collections.abc import Callable

ALGORITHMS = ["RS256", "ES256", "EdDSA"]
PRIVATE = serialization.PrivateFormat
EC_PARAMETERS = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"


def certificate(key: Any) -> x509.Certificate:  # noqa: ANN401
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    return builder.sign(key, hashes.SHA256())


def private_bytes(key: Any, form: PRIVATE, password: bytes = b"") -> bytes:  # noqa: ANN401
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password)
    data: bytes = key.private_bytes(serialization.Encoding.PEM, form, encryption)
    return data


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [("", "HS256"), ("HS256", "HS256"), ("HS384", "HS384"), ("HS512", "HS512")],
)
def test_a_secret_has_the_algorithm_that_is_asked_for(algorithm: str, expected: str) -> None:
    [key] = read_keys("--jwt-key", SECRET + b"\r\n", algorithm)
    assert (key.key_id, key.algorithm, key.key, key.signing_key) == ("", expected, SECRET, SECRET)


def test_a_binary_secret_keeps_what_looks_like_spaces() -> None:
    secret = b" \t" + bytes(range(0x80, 0x9C)) + b"\x0b "
    [key] = read_keys("--jwt-key", secret + b"\n")
    assert key.key == secret


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("asked", [True, False], ids=["asked for", "by its type"])
def test_pem_has_the_algorithm_of_its_type(algorithm: str, asked: bool) -> None:
    own = signer(algorithm)
    for data in (own.file(), b"Bag Attributes\n" + own.file()):
        [public] = read_keys("--jwt-key", data, algorithm if asked else "")
        assert (public.algorithm, public.signing_key) == (algorithm, None)
    [private] = read_keys("--jwt-key", own.private_pem(), algorithm if asked else "")
    assert private.algorithm == algorithm
    assert private.signing_key.public_key() == own.key.public_key()
    assert private.key == public.key, "a private key verifies by its public half"


def test_pem_of_openssl_and_of_certificates_is_read() -> None:
    own = signer("ES256").key
    old_form = EC_PARAMETERS + private_bytes(own, PRIVATE.TraditionalOpenSSL)
    chain = b"".join(
        certificate(each).public_bytes(serialization.Encoding.PEM)
        for each in (own, signer("RS256").key)
    )
    for data in (old_form, chain):
        [key] = read_keys("--jwt-key", data)
        assert (key.algorithm, key.key) == ("ES256", own.public_key())


@pytest.mark.parametrize("algorithm", ["HS256", *ALGORITHMS])
@pytest.mark.parametrize("private", [True, False], ids=["private", "public"])
def test_jwk_alone_and_in_a_set(algorithm: str, private: bool) -> None:
    own = signer(algorithm, "k1")
    jwk = own.jwk(private=private)
    for data in (json.dumps(jwk).encode(), key_set(jwk), b"\n " + key_set(jwk) + b"\n"):
        [key] = read_keys("--jwt-key", data)
        assert (key.key_id, key.algorithm) == ("k1", algorithm)
        assert (key.signing_key is not None) == (private or algorithm == "HS256")


UNUSABLE = {
    "for encryption": signer("RS256").jwk(use="enc"),
    "key_ops without verify": signer("RS256").jwk(key_ops=["encrypt"]),
    "key_ops that is no list": signer("RS256").jwk(key_ops="verify"),
    "kid that is a number": signer("RS256").jwk(kid=1),
    "alg of another type": signer("RS256").jwk(alg="ES256"),
    "alg HS256 with a public key": signer("RS256").jwk(alg="HS256"),
    "alg none": signer("RS256").jwk(alg="none"),
    "alg that is no text": signer("RS256").jwk(alg=["RS256"]),
    "alg that is not supported": signer("RS256").jwk(alg="PS256"),
    "n that is a number": signer("RS256").jwk(n=5),
    "a secret that is too short": {"kty": "oct", "k": "c2hvcnQ"},
    "a type of the future": {"kty": "XYZ"},
    "no type": {},
}


@pytest.mark.parametrize("jwk", UNUSABLE.values(), ids=list(UNUSABLE))
def test_keys_of_a_set_that_cannot_be_used_are_ignored(jwk: dict[str, Any]) -> None:
    [key] = read_keys("--jwks-url", key_set(jwk, signer("ES256", "good").jwk()))
    assert key.key_id == "good"
    with pytest.raises(SecretConfigError, match="JWK Set without a usable key"):
        read_keys("--jwks-url", key_set(jwk))


def test_an_algorithm_that_is_asked_for_selects_from_a_set() -> None:
    jwks = [signer(each, each).jwk() for each in ("RS256", "ES256", "HS256")]
    for algorithm in ("RS256", "ES256", "HS256"):
        [key] = read_keys("--jwt-key", key_set(*jwks), algorithm)
        assert (key.key_id, key.algorithm) == (algorithm, algorithm)


def test_what_everybody_can_read_holds_no_secrets() -> None:
    jwks = key_set(signer("HS256", "s").jwk(), signer("RS256", "p").jwk(private=True))
    [key] = read_public_keys("--jwks-url", jwks)
    assert (key.key_id, key.signing_key) == ("p", None)
    with pytest.raises(SecretConfigError, match="JWK Set without a public key"):
        read_public_keys("--jwks-url", key_set(signer("HS256", "s").jwk()))


@pytest.mark.parametrize(
    "data",
    [SECRET, b'"' + SECRET + b'"', signer("RS256").file(), b"[]", b"<html>" + b"x" * 99, b""],
    ids=["text", "JSON string", "PEM", "JSON list", "a page", "nothing"],
)
def test_an_answer_that_is_no_set_is_no_secret_either(data: bytes) -> None:
    with pytest.raises(SecretConfigError, match="the JSON is not allowed"):
        read_public_keys("--jwks-url", data)


RSA_1024 = rsa.generate_private_key(65537, 1024)
WRONG: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "short for HS256": (lambda: b"x" * 31, "", "a secret of 31 bytes"),
    "short for HS384": (lambda: b"x" * 47, "HS384", "at least 48 bytes"),
    "short for HS512": (lambda: b"x" * 63, "HS512", "at least 64 bytes"),
    "nothing": (lambda: b"\n", "", "a secret of 0 bytes"),
    "secret for RS256": (lambda: SECRET, "RS256", "expected a public key in PEM"),
    "PEM for HS256": (lambda: signer("RS256").file(), "HS256", "another type with HS256"),
    "PEM for ES256": (lambda: signer("RS256").file(), "ES256", "another type with ES256"),
    "DER as a secret": (lambda: signer("RS256").public_der(), "", "a public key as a secret"),
    "Base64 as a secret": (
        lambda: base64.encodebytes(signer("RS256").public_der()), "", "a public key as a secret"
    ),
    "certificate in Base64": (
        lambda: base64.b64encode(
            certificate(signer("ES256").key).public_bytes(serialization.Encoding.DER)
        ), "", "a public key as a secret",
    ),
    "SSH key as a secret": (
        lambda: signer("RS256").key.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        ), "", "a public key as a secret",
    ),
    "list of JWK as a secret": (
        lambda: json.dumps([signer("RS256").jwk()]).encode(), "", "a public key as a secret"
    ),
    "byte order mark": (
        lambda: b"\xef\xbb\xbf" + key_set(signer("RS256").jwk()), "", "a byte order mark"
    ),
    "UTF-16": (
        lambda: key_set(signer("RS256").jwk()).decode().encode("utf-16"), "", "a byte order mark"
    ),
    "two keys in PEM": (
        lambda: signer("RS256").file() + signer("ES256").file(), "", "several keys in PEM"
    ),
    "password": (
        lambda: private_bytes(signer("ES256").key, PRIVATE.PKCS8, b"pw"), "", "without a password"
    ),
    "broken PEM": (
        lambda: b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "", "the PEM"
    ),
    "RSA of 1024 bits": (lambda: Signer("RS256", RSA_1024).file(), "", "1024 bits"),
    "another curve": (
        lambda: Signer("ES256", ec.generate_private_key(ec.SECP384R1())).file(), "", "EC P-256"
    ),
    "Ed448": (lambda: Signer("EdDSA", ed448.Ed448PrivateKey.generate()).file(), "", "Ed25519"),
    "broken JSON": (lambda: b'{"keys":', "", "the JSON is not allowed"),
    "deep JSON": (lambda: b'{"keys":' + b"[" * 100_000, "", "the JSON is not allowed"),
    "keys that are no list": (lambda: b'{"keys":{}}', "", "the JSON is not allowed"),
    "keys that are no objects": (lambda: b'{"keys":[1]}', "", "the JSON is not allowed"),
    "no keys": (lambda: b'{"keys":[]}', "", "a JWK Set without a usable key"),
    "too many keys": (lambda: key_set(*[{}] * 101), "", "101 keys is not allowed"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "algorithm", "message"), WRONG.values(), ids=list(WRONG))
def test_what_is_no_key_stops_the_start_and_is_not_shown(
    make: Callable[[], bytes], algorithm: str, message: str
) -> None:
    data = make()
    with pytest.raises(SecretConfigError) as caught:
        read_keys("--jwt-key", data, algorithm)
    assert str(caught.value).startswith("--jwt-key: ")
    assert message in str(caught.value)
    text = data.decode("latin-1").strip()
    assert not text or text[:16] not in str(caught.value)


MEMBERS = ("kty", "kid", "alg", "use", "key_ops", "n", "e", "d", "crv", "x", "y", "k", "p", "q")
TEXTS = st.text("abAB01-_=é", max_size=8)
VALUES = st.one_of(
    st.none(), st.integers(), TEXTS, st.lists(TEXTS, max_size=2), st.sampled_from(
        ["RSA", "EC", "OKP", "oct", "sig", "RS256", "ES256", "EdDSA", "P-256", "Ed25519", "AQAB"]
    )
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(MEMBERS), VALUES))
def test_any_jwk_is_a_key_or_ignored(jwk: dict[str, Any]) -> None:
    keys = read_keys("--jwks-url", key_set(jwk, signer("ES256", "good").jwk()))
    assert keys[-1].key_id == "good"


@settings(deadline=None)  # cryptography checks private keys
@given(st.dictionaries(st.sampled_from(MEMBERS), VALUES), st.sampled_from(ALGORITHMS))
def test_any_change_of_a_jwk_is_a_key_or_ignored(change: dict[str, Any], algorithm: str) -> None:
    jwk = {**signer(algorithm).jwk(private=True), **change}
    keys = read_keys("--jwks-url", key_set(jwk, signer("ES256", "good").jwk()))
    assert keys[-1].key_id == "good"


def test_a_token_is_verified_with_the_key_that_it_names() -> None:
    keys = read_keys(
        "--jwt-key",
        key_set(*(signer("RS256", kid).jwk() for kid in ("a", "b")), signer("ES256", "a").jwk()),
    )
    a, b, other = keys
    assert find_keys(keys, "a", "RS256") == [a]
    assert find_keys(keys, "a", "ES256") == [other]
    assert find_keys(keys, None, "RS256") == [a, b]
    assert find_keys(keys, "c", "RS256") == []
    assert find_keys(keys, "a", "HS256") == []
    assert has_key(keys, "b", "RS256")
    assert not has_key(keys, "b", "ES256")


def test_a_key_without_a_name_may_have_signed_every_token() -> None:
    keys = read_keys("--jwt-key", signer("RS256").file())
    assert find_keys(keys, "whatever", "RS256") == keys
    assert not has_key(keys, "whatever", "RS256")


def test_a_fingerprint_is_of_the_key_whatever_it_was_read_from() -> None:
    own, other = signer("RS256", "a"), signer("RS256", "b")
    (pem,) = read_keys("--jwt-key", signer("RS256").file())
    first, second = read_keys("--jwt-key", key_set(own.jwk(), other.jwk()))
    (alone,) = read_public_keys("--jwks-url", key_set(own.jwk()))
    assert alone.fingerprint == first.fingerprint
    assert len({first.fingerprint, second.fingerprint, pem.fingerprint}) == 3
