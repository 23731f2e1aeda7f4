"""TLS to Redis: what each option does to the context, and what an error may show of it."""

import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sse_node.config.redis_tls import (
    AUTHORITY_OPTIONS,
    IDENTITY_OPTIONS,
    Authorities,
    Identity,
    TlsOptions,
    make_tls_context,
)
from sse_node.errors import SecretConfigError


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a certificate, its key, the key with a password, and another key."""
    directory = tmp_path_factory.mktemp("files")

    def openssl(*args: str) -> None:
        subprocess.run(["openssl", *args], cwd=directory, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")
    for name in ("own", "other"):
        openssl("req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.crt",
                "-subj", f"/CN={name}", "-days", "2")  # fmt: skip
    openssl("pkey", "-in", "own.key", "-aes256", "-passout", "pass:open", "-out", "locked.key")
    (directory / "both.pem").write_text(
        (directory / "own.crt").read_text() + (directory / "own.key").read_text()
    )
    (directory / "empty.crt").touch()
    return directory


def context_of(files: Path, **options: Any) -> ssl.SSLContext:  # noqa: ANN401
    named: dict[str, Any] = {
        name: str(files / value)
        if name in {"ca_certs", "ca_path", "certfile", "keyfile"}
        else value
        for name, value in options.items()
    }
    authorities = {name: named.pop(name) for name in AUTHORITY_OPTIONS & named.keys()}
    identity = {name: named.pop(name) for name in IDENTITY_OPTIONS & named.keys()}
    options_in_groups = TlsOptions(Authorities(**authorities), Identity(**identity), **named)
    return make_tls_context("REDIS_URL", options_in_groups)


def test_only_the_given_authority_is_trusted(files: Path) -> None:
    assert [ca["subject"] for ca in context_of(files, ca_certs="own.crt").get_ca_certs()] == [
        ((("commonName", "own"),),)
    ]
    data = (files / "own.crt").read_text()
    assert len(context_of(files, ca_data=data).get_ca_certs()) == 1


def test_context_is_as_it_is_asked_to_be(files: Path) -> None:
    context = context_of(files)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    context = context_of(files, min_version="TLSv1_3", cert_reqs="optional", check_hostname=False)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_OPTIONAL, False)
    context = context_of(files, cert_reqs="none", ciphers="ECDHE+AESGCM")
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)
    flag = ssl.VerifyFlags.VERIFY_X509_STRICT
    context = context_of(files, include_verify_flags=(flag.name,))
    assert context.verify_flags & flag
    context = context_of(files, exclude_verify_flags=(flag.name,))
    assert not context.verify_flags & flag


@pytest.mark.parametrize(
    "options",
    [
        {"certfile": "own.crt", "keyfile": "own.key"},
        {"certfile": "own.crt", "keyfile": "locked.key", "password": "open"},
        {"certfile": "both.pem"},
    ],
)
def test_certificate_of_the_node_is_loaded(files: Path, options: dict[str, str]) -> None:
    context_of(files, **options)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"ca_certs": "nowhere.crt"}, "ssl_ca_certs, ssl_ca_path or ssl_ca_data"),
        ({"ca_certs": "empty.crt"}, "ssl_ca_certs"),
        ({"ca_certs": "own.key"}, "ssl_ca_certs"),
        ({"ca_path": "nowhere"}, "ssl_ca_certs"),
        ({"ca_data": "s3cr3t"}, "ssl_ca_certs"),
        ({"certfile": "nowhere.crt"}, "ssl_certfile, ssl_keyfile or ssl_password"),
        ({"certfile": "own.crt"}, "ssl_certfile"),
        ({"keyfile": "own.key"}, "ssl_certfile"),
        ({"certfile": "own.crt", "keyfile": "other.key"}, "ssl_certfile"),
        ({"certfile": "own.crt", "keyfile": "locked.key"}, "ssl_certfile"),
        ({"certfile": "own.crt", "keyfile": "locked.key", "password": "s3cr3t"}, "ssl_certfile"),
        ({"ciphers": "s3cr3t"}, "ssl_ciphers"),
        ({"include_verify_flags": ("s3cr3t",)}, "ssl_include_verify_flags"),
    ],
)
def test_what_cannot_be_loaded_is_named(files: Path, options: dict[str, Any], part: str) -> None:
    with pytest.raises(SecretConfigError) as caught:
        context_of(files, **options)
    message = str(caught.value)
    assert message.startswith(f"REDIS_URL: the value of {part}")
    assert "s3cr3t" not in message
    assert str(files) not in message
