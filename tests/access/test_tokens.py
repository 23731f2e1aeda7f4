"""What makes a token valid, and what each part of a wrong one is answered with."""

from __future__ import annotations

import json
import string
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sse_node.access import tokens
from sse_node.access.jwt_keys import read_keys
from sse_node.access.tokens import LEEWAY_S, MAX_TOKEN_BYTES, TokenVerifier
from sse_node.errors import TokenError, UnknownKeyError
from sse_node.wire.identity import Identity, Patterns
from tests.support.tokens import SECRET, Signer, hmac_token, key_set, raw_token, signer

if TYPE_CHECKING:
    from collections.abc import Iterable

NOW = 1_900_000_000.0
HS256 = signer("HS256")
HS256_FINGERPRINT = read_keys("--jwt-key", HS256.file())[0].fingerprint
HEADER = {"alg": "HS256", "typ": "JWT"}


class Clock:
    """The Unix time that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def verifier_of(*signers: Signer, audience: str = "", issuer: str = "") -> TokenVerifier:
    keys = [key for each in signers for key in read_keys("--jwt-key", each.file())]
    return TokenVerifier(lambda: keys, audience=audience, issuer=issuer, now=Clock())


def token_of(signer: Signer = HS256, **claims: object) -> str:
    return signer.token(**{"exp": NOW + 60, **claims})  # type: ignore[arg-type]


def reason_of(verifier: TokenVerifier, token: str) -> str:
    with pytest.raises(TokenError) as caught:
        verifier.verify(token)
    return str(caught.value)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512", "RS256", "ES256", "EdDSA"])
def test_a_token_of_each_algorithm(algorithm: str) -> None:
    own = signer(algorithm)
    keys = read_keys("--jwt-key", own.file(), algorithm)
    verifier = TokenVerifier(lambda: keys, now=Clock())
    assert verifier.verify(token_of(own)).user == "ann"
    forged = Signer(algorithm, b"x" * 64) if algorithm.startswith("HS") else signer(algorithm, "2")
    other = Signer(algorithm, forged.key)
    assert reason_of(verifier, token_of(other)) == "the token is not valid: the signature is wrong"


def test_the_claims_become_an_identity() -> None:
    token = token_of(
        sub="auth0:5f",
        channels=["room:42", "order:*"],
        publish=["user:self"],
        jti="t-1",
        iat=NOW + LEEWAY_S - 1,
        nbf=NOW + LEEWAY_S - 1,
        aud="ignored",
        iss="ignored",
        admin=True,
    )
    assert verifier_of(HS256).verify(token) == Identity(
        caller="user:auth0:5f",
        user="auth0:5f",
        listen=Patterns(["room:42", "order:*"]),
        publish=Patterns(["user:self"]),
        expires_s=NOW + 60,
        token_id="t-1",
        key=HS256_FINGERPRINT,
    )
    assert verifier_of(HS256).verify(token_of()) == Identity(
        caller="user:ann", user="ann", expires_s=NOW + 60, key=HS256_FINGERPRINT
    )


CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"exp": NOW - LEEWAY_S}, "the token has expired"),
    "exp in 1970": ({"exp": 0}, "the token has expired"),
    "no exp": ({"exp": ...}, " is missing"),
    "no sub": ({"sub": ...}, " is missing"),
    "exp that is null": ({"exp": None}, " is missing"),
    "exp as text": ({"exp": "1999999999"}, "exp: expected a time in seconds"),
    "exp as bool": ({"exp": True}, "exp: expected a time in seconds"),
    "exp in a list": ({"exp": [NOW + 60]}, "exp: expected a time in seconds"),
    "exp that is infinite": ({"exp": float("inf")}, "its payload is no JSON object"),
    "exp that is no number": ({"exp": float("nan")}, "its payload is no JSON object"),
    "exp in milliseconds": ({"exp": NOW * 1000}, "exp: expected a time in seconds"),
    "exp before time": ({"exp": -1}, "exp: expected a time in seconds"),
    "exp with 400 digits": ({"exp": 10**400}, "exp: expected a time in seconds"),
    "not yet valid": ({"nbf": NOW + LEEWAY_S + 1}, "not valid yet (nbf)"),
    "nbf as text": ({"nbf": "0"}, "nbf: expected a time in seconds"),
    "nbf that is null": ({"nbf": None}, "nbf: expected a time in seconds"),
    "from the future": ({"iat": NOW + LEEWAY_S + 1}, "not valid yet (iat)"),
    "iat as text": ({"iat": "0"}, "iat: expected a time in seconds"),
    "sub as number": ({"sub": 1}, "sub is not a user id"),
    "sub in a list": ({"sub": ["ann"]}, "sub is not a user id"),
    "sub with a space": ({"sub": "ann b"}, "sub is not a user id"),
    "sub with a line feed": ({"sub": "ann\n"}, "sub is not a user id"),
    "sub beyond ASCII": ({"sub": "аnn"}, "sub is not a user id"),  # noqa: RUF001
    "sub that is empty": ({"sub": ""}, "sub is not a user id"),
    "sub that is too long": ({"sub": "x" * 256}, "sub is not a user id"),
    "jti as number": ({"jti": 1}, "jti: expected a string"),
    "jti that is null": ({"jti": None}, "jti: expected a string"),
    "jti that is too long": ({"jti": "j" * 256}, "jti: expected a string"),
    "channels as text": ({"channels": "room:*"}, "channels: expected a list"),
    "channels that are null": ({"channels": None}, "channels: expected a list"),
    "channels of numbers": ({"channels": [1]}, "channels: expected a list"),
    "channel that is empty": ({"channels": [""]}, "channels: expected a list"),
    "channel with a space": ({"channels": ["a b"]}, "channels: expected a list"),
    "too many channels": ({"channels": ["c"] * 201}, "at most 200 patterns"),
    "publish as object": ({"publish": {"user:*": True}}, "publish: expected a list"),
    "publish with a quote": ({"publish": ['"']}, "publish: expected a list"),
}


@pytest.mark.parametrize(("claims", "reason"), CLAIMS.values(), ids=list(CLAIMS))
def test_claims_that_are_wrong(claims: dict[str, Any], reason: str) -> None:
    verifier = verifier_of(HS256)
    with pytest.raises(TokenError) as caught:
        verifier.verify(token_of(**{"sub": "zoe", **claims}))
    assert reason in str(caught.value)
    assert "zoe" not in str(caught.value)


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"aud": "node", "iss": "issuer"}, ""),
        ({"aud": ["x", "node"], "iss": "issuer"}, ""),
        ({"aud": "other", "iss": "issuer"}, "aud is not the one expected"),
        ({"aud": ["other"], "iss": "issuer"}, "aud is not the one expected"),
        ({"aud": 1, "iss": "issuer"}, "aud is not the one expected"),
        ({"aud": None, "iss": "issuer"}, " is missing"),
        ({"iss": "issuer"}, " is missing"),
        ({"aud": "node", "iss": "other"}, "iss is not the one expected"),
        ({"aud": "node", "iss": "issuer/"}, "iss is not the one expected"),
        ({"aud": "node"}, " is missing"),
    ],
)
def test_audience_and_issuer(claims: dict[str, Any], reason: str) -> None:
    verifier = verifier_of(HS256, audience="node", issuer="issuer")
    token = token_of(**claims)
    if not reason:
        assert verifier.verify(token).user == "ann"
    else:
        assert reason in reason_of(verifier, token)


CLAIMS_JSON = json.dumps({"sub": "ann", "exp": NOW + 60}).encode()
GOOD = token_of()
SIGNED, _, SIGNATURE = GOOD.rpartition(".")


def hmac_of(secret: bytes, header: dict[str, Any]) -> str:
    return hmac_token(secret, header, CLAIMS_JSON)


MALFORMED = {
    "nothing": "",
    "one part": "abc",
    "two parts": SIGNED,
    "four parts": f"{GOOD}.",
    "five parts, as JWE": f"{GOOD}.a.b",
    "a space": f"{GOOD} ",
    "a line feed": f"{GOOD}\n",
    "padding": f"{GOOD}=",
    "Base64 of old": GOOD[:-1] + "+",
    "beyond ASCII": GOOD + "é",
    "beyond Latin-1": GOOD + "€",
    "header that is no JSON": raw_token(b"{", CLAIMS_JSON, b"x"),
    "header that is a list": raw_token([], CLAIMS_JSON, b"x"),
    "header without alg": raw_token({}, CLAIMS_JSON, b"x"),
    "alg that is a number": raw_token({"alg": 1}, CLAIMS_JSON, b"x"),
    "alg in a list": raw_token({"alg": ["HS256"]}, CLAIMS_JSON, b"x"),
    "kid that is a number": raw_token({"alg": "HS256", "kid": 1}, CLAIMS_JSON, b"x"),
    "kid in an object": raw_token({"alg": "HS256", "kid": {"a": 1}}, CLAIMS_JSON, b"x"),
    "deep header": raw_token(b"[" * 5000, CLAIMS_JSON, b"x"),
    "signature of one character": SIGNED + ".a",
    "signature of five characters": SIGNED + ".abcde",
    "header of one character": "a." + SIGNED.partition(".")[2] + ".x",
}


@pytest.mark.parametrize("token", MALFORMED.values(), ids=list(MALFORMED))
def test_what_is_no_token(token: str) -> None:
    assert reason_of(verifier_of(HS256), token) == "the token is malformed"


SIGNED_WRONG = {
    "no signature": SIGNED + ".",
    "half a signature": GOOD[:-20],
    "alg none": raw_token({"alg": "none"}, CLAIMS_JSON),
    "alg None": raw_token({"alg": "None"}, CLAIMS_JSON),
    "alg none with a signature": raw_token({"alg": "none"}, CLAIMS_JSON, b"x" * 32),
    "alg that is empty": raw_token({"alg": ""}, CLAIMS_JSON, b"x"),
    "alg in small letters": hmac_of(SECRET, {"alg": "hs256"}),
    "another alg with the same secret": signer("HS512").token(exp=NOW + 60),
    "RS256": signer("RS256").token(exp=NOW + 60),
    "payload that is no JSON": Signer("HS256", SECRET).token(exp=NOW + 60)[:20] + "AAAA.AAAA.AAAA",
    "empty secret": hmac_of(b"", HEADER),
    "key in the header": Signer("RS256", signer("RS256", "evil").key).token(
        exp=NOW + 60, headers={"jwk": signer("RS256", "evil").jwk()}
    ),
    "URL in the header": Signer("RS256", signer("RS256", "evil").key).token(
        exp=NOW + 60, headers={"jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/"}
    ),
}


@pytest.mark.parametrize("token", SIGNED_WRONG.values(), ids=list(SIGNED_WRONG))
@pytest.mark.parametrize("own", ["HS256", "RS256"])
def test_who_has_no_key_makes_no_token(token: str, own: str) -> None:
    if (own, token) == ("RS256", SIGNED_WRONG["RS256"]):
        assert verifier_of(signer(own)).verify(token).user == "ann"
        return
    assert reason_of(verifier_of(signer(own)), token).startswith("the token ")


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("length", [0, 1, 32, 63, 64, 65, 70, 255, 256, 257, 1024])
@pytest.mark.parametrize("byte", [b"\0", b"\xff"])
def test_signatures_of_any_length(algorithm: str, length: int, byte: bytes) -> None:
    token = raw_token({"alg": algorithm}, CLAIMS_JSON, byte * length)
    assert reason_of(verifier_of(signer(algorithm)), token) == (
        "the token is not valid: the signature is wrong"
    )


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("form", ["PEM", "PEM without line feed", "DER"])
def test_a_public_key_is_no_secret(algorithm: str, form: str) -> None:
    own = signer(algorithm)
    secret = own.public_der() if form == "DER" else own.file()
    token = hmac_of(secret.strip() if "without" in form else secret, HEADER)
    assert reason_of(verifier_of(own), token) == "the token is not valid: no key has its alg"


@pytest.mark.parametrize("members", [{"crit": ["exp"], "exp": 1}, {"crit": []}, {"crit": None}])
def test_critical_extensions_are_rejected(members: dict[str, Any]) -> None:
    token = hmac_of(SECRET, {**HEADER, **members})
    assert "critical extensions" in reason_of(verifier_of(HS256), token)


def test_a_detached_payload_is_rejected() -> None:
    token = hmac_of(SECRET, {**HEADER, "b64": False, "crit": ["b64"]})
    assert "critical extensions" in reason_of(verifier_of(HS256), token)


@pytest.mark.parametrize("payload", [b"", b"1", b"[]", b'"x"', b"null", b"\xff", b"[" * 4000])
def test_a_signed_payload_that_holds_no_claims(payload: bytes) -> None:
    token = hmac_token(SECRET, HEADER, payload)
    assert reason_of(verifier_of(HS256), token).startswith("the token is")


def test_a_token_that_is_too_long_is_not_parsed() -> None:
    verifier = verifier_of(HS256)
    longest = token_of(pad="x" * 6000)
    assert verifier.verify(longest).user == "ann"
    token = token_of(pad="x" * 7000)
    assert len(token) > MAX_TOKEN_BYTES
    assert reason_of(verifier, token) == "the token is longer than 8192 bytes"
    assert verifier.checked == 1


KIDS = {
    "unknown": "other",
    "path": "../../../../dev/null",
    "SQL": "' UNION SELECT 'secret",
    "long": "k" * 4000,
    "empty": "",
    "null byte": "\0",
    "line feed": "a\nb",
}


@pytest.mark.parametrize("kid", KIDS.values(), ids=list(KIDS))
@pytest.mark.parametrize("algorithm", ["HS256", "RS256"])
def test_a_kid_only_selects_among_the_keys(kid: str, algorithm: str) -> None:
    own = signer(algorithm, "k1")
    keys = read_keys("--jwt-key", key_set(own.jwk()))
    verifier = TokenVerifier(lambda: keys, now=Clock())
    assert verifier.verify(token_of(own)).user == "ann"
    token = Signer(algorithm, own.key).token(exp=NOW + 60, headers={"kid": kid})
    with pytest.raises(UnknownKeyError) as caught:
        verifier.verify(token)
    assert str(caught.value) == "the token is not valid: no key has its kid and alg"


def test_an_unknown_kid_may_be_that_of_a_newer_set_beside_a_key_without_a_name() -> None:
    verifier = verifier_of(signer("RS256"))
    assert verifier.verify(token_of(signer("RS256"), headers={"kid": "any"})).user == "ann"
    with pytest.raises(UnknownKeyError):
        verifier.verify(token_of(signer("RS256", "new")))
    assert "aud" not in reason_of(verifier, token_of(signer("RS256", "new")))


def test_a_kid_with_an_algorithm_that_there_is_not_asks_for_no_newer_set() -> None:
    with pytest.raises(TokenError) as caught:
        verifier_of(HS256).verify(raw_token({"alg": "none", "kid": "x"}, CLAIMS_JSON))
    assert not isinstance(caught.value, UnknownKeyError)


def test_a_verified_token_is_not_verified_again_until_it_expires() -> None:
    clock = Clock()
    keys = read_keys("--jwt-key", SECRET)
    verifier = TokenVerifier(lambda: keys, now=clock)
    token = token_of()
    first = verifier.verify(token)
    keys.clear()
    assert verifier.verify(token) is first
    assert (verifier.checked, verifier.cached) == (1, 1)
    clock.now = NOW + 60 + LEEWAY_S - 1
    assert verifier.verify(token) is first
    clock.now = NOW + 60 + LEEWAY_S
    assert "no key has its alg" in reason_of(verifier, token)


def test_only_what_was_verified_is_known() -> None:
    clock = Clock()
    verifier = TokenVerifier(lambda: read_keys("--jwt-key", SECRET), now=clock)
    token = token_of().encode()
    assert verifier.known(token) is None
    first = verifier.verify(token.decode())
    assert verifier.known(token) is first
    assert verifier.known(token + b"x") is None
    assert verifier.known(b" " + token) is None
    clock.now = NOW + 60 + LEEWAY_S
    assert verifier.known(token) is None
    verifier.verify(token_of(exp=clock.now + 60))
    verifier.forget()
    assert verifier.known(token_of(exp=clock.now + 60).encode()) is None


def test_tokens_are_verified_again_when_the_keys_change() -> None:
    keys = read_keys("--jwt-key", SECRET)
    verifier = TokenVerifier(lambda: keys, now=Clock())
    verifier.verify(GOOD)
    keys[:] = read_keys("--jwt-key", b"another secret of more than 32 bytes")
    verifier.forget()
    assert "the signature is wrong" in reason_of(verifier, GOOD)


def test_the_cache_is_bounded_and_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_MAX_CACHED", 3)
    verifier = verifier_of(HS256)
    made = [token_of(sub=f"user-{number}") for number in range(4)]
    for token in (*made, *made[1:], made[0]):
        verifier.verify(token)
    assert (verifier.checked, verifier.cached) == (5, 3)


def test_a_rejected_token_is_not_kept() -> None:
    verifier = verifier_of(HS256)
    for _ in range(2):
        reason_of(verifier, token_of(exp=NOW - 60))
    assert (verifier.checked, verifier.cached) == (2, 0)


def test_the_time_is_the_real_one() -> None:
    keys = read_keys("--jwt-key", SECRET)
    verifier = TokenVerifier(lambda: keys)
    assert verifier.verify(HS256.token(expires_in_s=1)).expires_s > time.time()
    assert reason_of(verifier, HS256.token(expires_in_s=-31)) == "the token has expired"


ALPHABET = string.ascii_letters + string.digits + "-_.=+/ é\n"


def texts() -> Iterable[str]:
    return (GOOD, *SIGNED_WRONG.values(), *MALFORMED.values())


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(ALPHABET, max_size=200), st.sampled_from(list(texts()))), st.data())
def test_any_change_of_a_token_is_rejected_with_a_reason(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, max(0, len(text) - 1)))
    piece = data.draw(st.text(ALPHABET, max_size=3))
    changed = text[:at] + piece + text[at + data.draw(st.integers(0, 3)) :]
    # The last character of a signature has bits that no byte has.
    if changed.startswith(SIGNED) and changed[: len(GOOD) - 1] == GOOD[:-1]:
        return
    with pytest.raises(TokenError):
        verifier_of(HS256).verify(changed)
