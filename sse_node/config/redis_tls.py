"""TLS to Redis: the options of a rediss:// URL, and the context that they make.

Any value may be a secret: an error names the option and what is expected, never the value.
"""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sse_node.errors import SecretConfigError

if TYPE_CHECKING:  # imported on use: a supervisor without TLS takes less memory
    import ssl

FLAGS_EXPECTED: Final = "names of Python's ssl.VerifyFlags, separated by commas"


@dataclass(frozen=True, slots=True)
class Authorities:
    """The certificate authorities that may sign the server's certificate; empty: the system's.

    Attributes:
        ca_certs: path of a file in PEM.
        ca_path: path of a directory of hashed certificates.
        ca_data: certificates in PEM.
    """

    ca_certs: str = ""
    ca_path: str = ""
    ca_data: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """The node's own certificate; empty: none is sent.

    Attributes:
        certfile: path of the certificate in PEM.
        keyfile: path of its key.
        password: of the key.
    """

    certfile: str = ""
    keyfile: str = ""
    password: str = field(default="", repr=False)


AUTHORITY_OPTIONS: Final = frozenset(option.name for option in fields(Authorities))
IDENTITY_OPTIONS: Final = frozenset(option.name for option in fields(Identity))


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """How the server proves its identity to the node, and the node to the server."""

    authorities: Authorities = Authorities()
    identity: Identity = Identity()
    cert_reqs: str = "required"
    check_hostname: bool = True
    min_version: str = "TLSv1_2"
    ciphers: str = ""
    include_verify_flags: tuple[str, ...] = ()
    exclude_verify_flags: tuple[str, ...] = ()


def make_tls_context(setting: str, options: TlsOptions) -> "ssl.SSLContext":
    """Return what the options ask for.

    Args:
        setting: names the setting in errors.
        options: as they are in the URL.

    Raises:
        SecretConfigError: a file cannot be read, or is not what it should be.
    """
    import ssl

    wrong = partial(SecretConfigError, setting)
    authorities, identity = options.authorities, options.identity
    with _named(wrong, "ssl_ca_certs, ssl_ca_path or ssl_ca_data", "certificates in PEM"):
        if authorities.ca_path and not Path(authorities.ca_path).is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "no such directory")
        context = ssl.create_default_context(
            cafile=authorities.ca_certs or None,
            capath=authorities.ca_path or None,
            cadata=authorities.ca_data or None,
        )
    context.minimum_version = ssl.TLSVersion[options.min_version]
    context.check_hostname = options.check_hostname and options.cert_reqs != "none"
    context.verify_mode = ssl.VerifyMode[f"CERT_{options.cert_reqs.upper()}"]
    with _named(wrong, "ssl_include_verify_flags or ssl_exclude_verify_flags", FLAGS_EXPECTED):
        for flag in options.include_verify_flags:
            context.verify_flags |= ssl.VerifyFlags[flag]
        for flag in options.exclude_verify_flags:
            context.verify_flags &= ~ssl.VerifyFlags[flag]
    if options.ciphers:
        with _named(wrong, "ssl_ciphers", "ciphers in OpenSSL's form"):
            context.set_ciphers(options.ciphers)
    if identity.certfile or identity.keyfile:
        with _named(wrong, "ssl_certfile, ssl_keyfile or ssl_password", "a certificate, its key"):
            # A password, also an empty one: OpenSSL would ask for it on the terminal.
            context.load_cert_chain(
                identity.certfile or identity.keyfile, identity.keyfile or None, identity.password
            )
    return context


@contextmanager
def _named(
    wrong: Callable[[str, str], SecretConfigError], options: str, expected: str
) -> Iterator[None]:
    """Translate what Python's ssl raises for the values of options."""
    try:
        yield
    except (LookupError, OSError, TypeError, ValueError) as exc:  # ssl.SSLError is an OSError
        reason = getattr(exc, "reason", None) or getattr(exc, "strerror", None)
        raise wrong(
            f"the value of {options}", expected + (f" ({reason})" if reason else "")
        ) from None
