"""Tokens for tests and scripts, and how a node judges one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jwt
import pytest
from click.testing import CliRunner

from sse_node.__main__ import main
from sse_node.cli.token import explain_token, make_token, parse_duration
from sse_node.config.reading import read_settings
from sse_node.errors import ConfigError
from tests.support.jwks_server import JwksServer
from tests.support.tokens import SECRET, key_set, raw_token, signer

if TYPE_CHECKING:
    from pathlib import Path

    from sse_node.config.sections import AccessSettings


@pytest.fixture
def secret(tmp_path: Path) -> str:
    path = tmp_path / "secret"
    path.write_bytes(SECRET)
    return str(path)


def access_of(**flags: str) -> AccessSettings:
    return read_settings(flags, {}).access


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("1h", 3600), ("7d", 604800), ("0s", 0)]
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration("--expires", text) == seconds


@pytest.mark.parametrize(
    "text", ["", "1", "h", "-1h", "1.5h", "1h30m", "1 h", "1H", "\u0661h", "1h\n"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--expires: .* such as 15m"):
        parse_duration("--expires", text)


def test_a_token_says_what_it_was_made_for(secret: str) -> None:
    access = access_of(jwt_key=secret, jwt_audience="node", jwt_issuer="issuer")
    token = make_token(access, "ann", {"channels": ["room:*"], "jti": "t-1"}, 60)
    claims = jwt.decode(token, SECRET, ["HS256"], audience="node", issuer="issuer")
    assert claims["exp"] == claims["iat"] + 60
    assert claims | {"iat": 0, "exp": 0} == {
        "sub": "ann", "aud": "node", "iss": "issuer", "channels": ["room:*"], "jti": "t-1",
        "iat": 0, "exp": 0,
    }  # fmt: skip
    accepted, text = explain_token(access, token)
    assert accepted
    assert "accepted: user ann" in text
    assert "listens  room:*" in text
    assert "publishes to  (nothing)" in text


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_private_key_signs_with_its_name(tmp_path: Path, algorithm: str) -> None:
    own = signer(algorithm, "k1")
    path = tmp_path / "keys"
    path.write_bytes(key_set(signer("RS256", "public").jwk(), own.jwk(private=True)))
    token = make_token(access_of(jwt_key=str(path)), "ann", {}, 60)
    assert jwt.get_unverified_header(token)["kid"] == "k1"
    assert explain_token(access_of(jwt_key=str(path)), token)[0]


def test_a_public_key_signs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(signer("RS256").file())
    with pytest.raises(ConfigError, match="a private key to sign with"):
        make_token(access_of(jwt_key=str(path)), "ann", {}, 60)
    with pytest.raises(ConfigError, match="--jwt-key: ''"):
        make_token(access_of(), "ann", {}, 60)


@pytest.mark.parametrize(
    ("claims", "expires_in_s", "reason"),
    [
        ({"channels": ['"']}, 60, "channels: expected a list"),
        ({"channels": ["c"] * 201}, 60, "at most 200 patterns"),
        ({"publish": ["x" * 256]}, 60, "publish: expected a list"),
        ({"jti": "j" * 256}, 60, "jti: expected"),
        ({}, 10**11, "exp: expected a time in seconds"),
        ({"channels": [f"{number:>255}".replace(" ", "x") for number in range(40)]}, 60, "longer"),
    ],
)
def test_a_token_that_nodes_would_reject_is_not_made(
    secret: str, claims: dict[str, Any], expires_in_s: int, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        make_token(access_of(jwt_key=secret), "ann", claims, expires_in_s)


@pytest.mark.parametrize(
    ("token", "lines"),
    [
        pytest.param("x", ["rejected: the token is malformed"], id="no token"),
        pytest.param(
            signer("HS256").token(expires_in_s=-100, nbf=0, iat="x"),
            ["claims ", "exp  ", " s ago)", "iat      'x'", "rejected: the token has expired"],
            id="expired",
        ),
        pytest.param(
            raw_token({"alg": "none"}, {"sub": "ann", "exp": 9999999999}),
            ["rejected: the token is not valid: no key has its alg"],
            id="alg none",
        ),
        pytest.param(signer("RS256", "k9").token(), ["k9", "key      HS256 (without"], id="kid"),
        pytest.param(
            raw_token({"alg": "HS256", "x": "\x1b[2J"}, {"sub": "\x1b[2J"}, b"x"),
            ["\\u001b[2J", "rejected: "],
            id="control characters",
        ),
    ],
)
def test_how_a_node_judges_a_token(secret: str, token: str, lines: list[str]) -> None:
    _, text = explain_token(access_of(jwt_key=secret), token)
    for line in lines:
        assert line in text
    assert "\x1b" not in text
    assert SECRET.decode() not in text


def test_a_token_within_the_leeway(secret: str) -> None:
    token = signer("HS256").token(expires_in_s=-5)
    accepted, text = explain_token(access_of(jwt_key=secret), token)
    assert accepted
    assert text.endswith("expired, within the leeway of 30 s: opens no stream")


def test_keys_of_a_url_judge_too() -> None:
    with JwksServer(signer("RS256", "a")) as server:
        access = access_of(jwks_url=server.url)
        assert explain_token(access, signer("RS256", "a").token())[0]
        server.stop()
        with pytest.raises(ConfigError, match="Connection refused"):
            explain_token(access, "x")
    with pytest.raises(ConfigError, match="--jwt-key or --jwks-url"):
        explain_token(access_of(), "x")


def run(*words: str, stdin: str = "") -> tuple[int, str]:
    result = CliRunner().invoke(main, ["token", *words], input=stdin)
    return result.exit_code, result.output


def test_the_command(secret: str) -> None:
    flags = ("--jwt-key", secret)
    code, token = run(
        "ann", "--channels", "room:1  room:2", "--publish", "user:self", "--jti", "t", *flags
    )
    assert code == 0
    claims = jwt.decode(token.strip(), SECRET, ["HS256"])
    assert claims["channels"] == ["room:1", "room:2"]
    assert (claims["publish"], claims["jti"]) == (["user:self"], "t")
    assert run("--explain", token.strip(), *flags)[0] == 0
    assert run("--explain", "-", *flags, stdin=token)[0] == 0
    code, text = run("--explain", token.strip() + "x", *flags)
    assert (code, "rejected: " in text) == (1, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "USER: expected 1 to"),
        (("ann b",), "USER: expected 1 to"),
        (("ann", "--expires", "soon"), "--expires: 'soon'"),
        (("ann", "--jwt-key", "/nowhere"), "--jwt-key: '/nowhere'"),
        (("ann",), "--jwt-key: ''"),
    ],
)
def test_the_command_names_what_is_wrong(words: tuple[str, ...], message: str) -> None:
    code, text = run(*words)
    assert (code, message in text) == (3, True), text


def test_the_command_key() -> None:
    result = CliRunner().invoke(main, ["key", "billing", "--may", "observe publish:user:*"])
    key, line = result.output.splitlines()
    assert (result.exit_code, key[:4], line.split()[0]) == (0, "ssk_", "billing")
    result = CliRunner().invoke(main, ["key", "billing", "--may", "everything"])
    assert result.exit_code == 3
    assert "--may: a right is not allowed" in result.output
