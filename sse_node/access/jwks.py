"""Keys from a URL (`--jwks-url`): fetched off the event loop, kept while the URL is down."""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final

import jwt

from sse_node.access.jwt_keys import JwtKey, read_keys
from sse_node.errors import ConfigError
from sse_node.lifetimes.background_task import BackgroundTask
from sse_node.logs.rate_limit import OncePerSecond
from sse_node.redis.backoff import Backoff

SETTING: Final = "--jwks-url"
# A token with an unknown `kid` fetches the set again, this often at most: anybody can invent one.
_REFRESH_S: Final = 30.0
# Providers publish a new key hours before they sign with it. Arbitrary.
_LIFE_S: Final = 3600.0
_TIMEOUT_S: Final = 5.0

logger = logging.getLogger(__name__)


class JwksUrl:
    """The keys of a JWK Set URL; lives as long as the node.

    Args:
        url: of the set, https or http.
        algorithm: of `--jwt-algorithm`; empty for those of the keys.
        on_change: called when other keys hold than before.

    Attributes:
        keys: that hold at the moment; empty until the first fetch succeeds.
    """

    def __init__(self, url: str, algorithm: str, on_change: Callable[[], None]) -> None:
        # PyJWT follows no redirects and reads no other schemes.
        self._client = jwt.PyJWKClient(url, cache_jwk_set=False, timeout=_TIMEOUT_S)
        self._algorithm = algorithm
        self._on_change = on_change
        self._task = BackgroundTask(self._run)
        self._fetching: asyncio.Task[None] | None = None
        self._asked_s = float("-inf")
        self._lines = OncePerSecond()
        self._data = b""
        self.keys: Sequence[JwtKey] = ()
        self.failures = 0

    def start(self) -> None:
        """Begin to fetch; needs a running event loop."""
        self._task.start()

    async def shutdown(self) -> None:
        """Stop fetching."""
        await self._task.shutdown()
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    async def refresh(self) -> bool:
        """Fetch the set because a token's `kid` is unknown; return whether that was done.

        Concurrent callers share one fetch. It is not done within 30 s of the fetch before.
        """
        if self._fetching is None or self._fetching.done():
            if monotonic() - self._asked_s < _REFRESH_S:
                return False
            self._fetching = asyncio.create_task(self._fetch())
        await asyncio.shield(self._fetching)
        return True

    async def _run(self) -> None:
        backoff = Backoff()
        while True:
            await self._fetch()
            if self.keys and not self.failures:
                backoff.reset()
                await asyncio.sleep(_LIFE_S)
            else:
                await asyncio.sleep(max(1.0, backoff.next_s()))

    async def _fetch(self) -> None:
        self._asked_s = monotonic()
        try:
            content: Any = await asyncio.to_thread(self._client.fetch_data)
            data = json.dumps(content, sort_keys=True).encode()
            keys = read_keys(SETTING, data, self._algorithm)
        except (jwt.PyJWTError, ConfigError, OSError, ValueError) as exc:
            self.failures += 1
            if self.failures == 1 and self._lines.allows("fetch"):
                kept = f"keeping {len(self.keys)} keys" if self.keys else "no token is accepted"
                logger.warning("%s: fetch failed (%s); %s", SETTING, type(exc).__name__, kept)
            return
        self.failures = 0
        if data != self._data:
            self._data, self.keys = data, keys
            logger.info("%s: %d keys", SETTING, len(keys))
            self._on_change()
