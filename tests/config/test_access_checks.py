"""Settings with which a node would be open by accident, or shut for everybody."""

from pathlib import Path

import pytest

from sse_node.config.access_checks import check_access
from sse_node.config.reading import read_settings
from sse_node.errors import ConfigError

JWT = {"auth": "jwt", "jwt_key": "/key"}


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param({}, id="defaults"),
        pytest.param({"host": "127.0.0.2"}, id="loopback"),
        pytest.param({"host": "::1"}, id="loopback IPv6"),
        pytest.param({"host": "[::1]"}, id="loopback IPv6 in brackets"),
        pytest.param({"host": "localhost"}, id="localhost"),
        pytest.param({"host": "0.0.0.0", "uds": "/run/s"}, id="Unix socket"),
        pytest.param({"host": "0.0.0.0", "auth": "none"}, id="open on purpose"),
        pytest.param({"host": "0.0.0.0", "auth": "proxy"}, id="proxy"),
        pytest.param({"host": "0.0.0.0", **JWT}, id="tokens"),
        pytest.param({"auth": "jwt", "jwks_url": "https://a/"}, id="URL"),
        pytest.param({**JWT, "jwks_url": "https://a/", "jwt_algorithm": "RS256"}, id="both"),
        pytest.param({**JWT, "auth_cookie": "s", "cors_origin": "https://a"}, id="cookie"),
        pytest.param({**JWT, "auth_query": "yes"}, id="query"),
        pytest.param({"public_channels": "system-events"}, id="public channel of every stream"),
        pytest.param({"channels": "room:*", "public_channels": "room:1,room:a*"}, id="some public"),
        pytest.param({"channels": "news", "public_channels": "*"}, id="all channels public"),
        pytest.param({"admin_port": "3001"}, id="admin port"),
        pytest.param({"admin_uds": "/run/a", "uds": "/run/b"}, id="admin socket"),
        pytest.param({"admin_port": "3000", "uds": "/run/b"}, id="port beside a socket"),
    ],
)
def test_what_fits_together(flags: dict[str, str]) -> None:
    check_access(read_settings(flags, {}))


@pytest.mark.parametrize(
    ("flags", "setting", "advice"),
    [
        ({"host": "0.0.0.0"}, "--host", "--auth none if everyone who reaches the port"),
        ({"host": "::"}, "--host", "--auth jwt or --auth proxy"),
        ({"host": "192.168.0.7"}, "--host", "--auth none"),
        ({"host": "example.com"}, "--host", "--auth none"),
        ({"host": "localhost.evil.example"}, "--host", "--auth none"),
        ({"host": "0.0.0.0", "api_keys": "/keys"}, "--host", "--auth none"),
        ({"auth": "jwt"}, "--auth", "--jwt-key or --jwks-url"),
        ({"jwt_key": "/key"}, "--jwt-key", "--auth jwt"),
        ({"auth": "none", "jwks_url": "https://a/"}, "--jwks-url", "--auth jwt"),
        ({"auth": "proxy", "jwt_audience": "a"}, "--jwt-audience", "--auth jwt"),
        ({"jwt_issuer": "a"}, "--jwt-issuer", "--auth jwt"),
        ({"auth_cookie": "s"}, "--auth-cookie", "--auth jwt"),
        ({"auth_query": "yes"}, "--auth-query", "--auth jwt"),
        ({"api_keys": "/keys", "auth_query": "yes"}, "--auth-query", "--auth jwt"),
        (
            {"auth": "jwt", "jwks_url": "https://a/", "jwt_algorithm": "HS256"},
            "--jwt-algorithm", "RS256, ES256 or EdDSA",
        ),
        (
            {"auth": "jwt", "jwks_url": "https://ann:pw@idp.example/keys"},
            "--jwks-url", "a URL without",
        ),
        ({**JWT, "auth_cookie": "s", "cors_origin": "*"}, "--cors-origin", "origins by name"),
        ({"public_channels": "news"}, "--public-channels", "some of --channels: system-events"),
        ({"channels": "room:*", "public_channels": "room:1,lobby"}, "--public-channels", "room:*"),
        ({"admin_port": "3001", "admin_uds": "/run/a"}, "--admin-uds", "no --admin-port"),
        ({"admin_port": "3000"}, "--admin-port", "other than --port"),
        ({"admin_uds": "/run/a", "uds": "/run/x/../a"}, "--admin-uds", "other than --uds"),
    ],
)  # fmt: skip
def test_what_contradicts_itself(flags: dict[str, str], setting: str, advice: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_access(read_settings(flags, {}))
    assert str(caught.value).startswith(f"{setting}: ")
    assert advice in str(caught.value)


def test_two_names_of_one_socket(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    flags = {"uds": str(tmp_path / "s"), "admin_uds": str(tmp_path / "link" / "s")}
    with pytest.raises(ConfigError, match="other than --uds"):
        check_access(read_settings(flags, {}))
