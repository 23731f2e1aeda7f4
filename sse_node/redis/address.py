"""Where Redis is: a URL as redis-py reads it, for a connection that is not redis-py's."""

import ssl
from typing import Any

from redis.asyncio.connection import parse_url

from sse_node.config.parsers import without_password
from sse_node.errors import ConfigError
from sse_node.redis.subscriber import RedisAddress


def redis_address(url: str) -> RedisAddress:
    """Return the address in a URL, as redis-py reads it.

    Raises:
        ConfigError: redis-py does not take it.
    """
    try:
        parsed: dict[str, Any] = dict(parse_url(url))
        return RedisAddress(
            host=parsed.get("host", "127.0.0.1"),
            port=parsed.get("port", 6379),
            unix_socket_path=parsed.get("path", ""),
            tls=_tls_context(parsed) if url.startswith("rediss:") else None,
            username=parsed.get("username", ""),
            password=parsed.get("password", ""),
            database=parsed.get("db", 0),
        )
    except (ValueError, OSError) as exc:
        raise ConfigError("redis-url", without_password(url), f"a Redis URL ({exc})") from exc


def _tls_context(parsed: dict[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=parsed.get("ssl_ca_certs"))
    if parsed.get("ssl_certfile"):
        context.load_cert_chain(parsed["ssl_certfile"], parsed.get("ssl_keyfile"))
    if str(parsed.get("ssl_check_hostname", True)).lower() in {"false", "no", "0"}:
        context.check_hostname = False
    if parsed.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
