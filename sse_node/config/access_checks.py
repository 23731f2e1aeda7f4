"""Settings of access that contradict each other or can never work; checked when a node starts."""

from pathlib import Path
from urllib.parse import urlsplit

from sse_node.config.hosts import is_loopback
from sse_node.config.sections import EventsSettings, Settings
from sse_node.errors import ConfigError, SecretConfigError
from sse_node.wire.channels import compile_patterns


def check_access(settings: Settings) -> None:
    """Reject settings with which a node would be open by accident, or shut for everybody.

    Raises:
        ConfigError: with the setting to change.
    """
    access, listen = settings.access, settings.listen
    if not access.auth and not listen.uds and not is_loopback(listen.host):
        raise ConfigError(
            "--host",
            listen.host,
            "a loopback address or --uds without authentication: give --auth jwt or --auth proxy, "
            "or --auth none if everyone who reaches the port may read and publish everything",
        )
    if access.auth == "jwt" and not (access.jwt_key or access.jwks_url):
        raise ConfigError("--auth", "jwt", "--jwt-key or --jwks-url with it")
    if access.auth != "jwt":
        for flag, value in (
            ("--jwt-key", access.jwt_key),
            ("--jwks-url", access.jwks_url),
            ("--jwt-audience", access.jwt_audience),
            ("--jwt-issuer", access.jwt_issuer),
            ("--auth-cookie", access.auth_cookie),
            ("--auth-query", "yes" if access.auth_query else ""),
        ):
            if value:
                raise ConfigError(flag, value, "--auth jwt with it")
    if "@" in urlsplit(access.jwks_url).netloc:
        raise SecretConfigError("--jwks-url", "a user or password in it", "a URL without")
    if access.jwks_url and access.jwt_algorithm.startswith("HS"):
        raise ConfigError(
            "--jwt-algorithm", access.jwt_algorithm, "RS256, ES256 or EdDSA for a URL"
        )
    if access.auth_cookie and "*" in settings.http.cors_origin:
        raise ConfigError("--cors-origin", "*", "origins by name, because --auth-cookie is set")
    for entry in settings.events.public_channels:
        _check_public(entry, settings.events)
    if access.admin_port and access.admin_uds:
        raise ConfigError("--admin-uds", access.admin_uds, "no --admin-port with it")
    if access.admin_port and access.admin_port == listen.port and not listen.uds:
        raise ConfigError("--admin-port", access.admin_port, "a port other than --port")
    if access.admin_uds and listen.uds and _is_same(access.admin_uds, listen.uds):
        raise ConfigError("--admin-uds", access.admin_uds, "a path other than --uds")


def _check_public(entry: str, events: EventsSettings) -> None:
    """Reject a public channel, or a pattern of them, that no stream can hear."""
    known = events.known_channels
    if not compile_patterns(known).fullmatch(entry) and not any(
        map(compile_patterns([entry]).fullmatch, known)
    ):
        raise ConfigError("--public-channels", entry, f"some of --channels: {known}")


def _is_same(path: str, other: str) -> bool:
    return Path(path).resolve() == Path(other).resolve()
