"""Secrets in the form of Standard Webhooks."""

import base64

import pytest

from sse_node.webhooks.secrets import is_secret, new_secret


def encoded(length: int) -> str:
    return "whsec_" + base64.b64encode(b"x" * length).decode()


def test_new_secrets_are_secrets_of_their_own() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(map(is_secret, secrets))


@pytest.mark.parametrize("text", [encoded(24), encoded(64), encoded(25).rstrip("=")])
def test_secrets(text: str) -> None:
    assert is_secret(text)


@pytest.mark.parametrize(
    "text", ["", "whsec_", encoded(23), encoded(65), encoded(32)[6:], "whsec_" + "ä" * 32,
             encoded(32) + " ", "whsec_" + "-" * 32]
)  # fmt: skip
def test_what_is_no_secret(text: str) -> None:
    assert not is_secret(text)
