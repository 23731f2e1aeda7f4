"""Keys from a URL (`--jwks-url`): fetched off the event loop, kept while the URL is down."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from sse_node.access.jwks_download import download
from sse_node.access.jwt_keys import JwtKey, read_public_keys
from sse_node.errors import ConfigError
from sse_node.lifetimes.background_task import BackgroundTask
from sse_node.redis.backoff import Backoff

SETTING: Final = "--jwks-url"
# A token with an unknown `kid` fetches the set again, this often at most: anybody can invent one.
_REFRESH_S: Final = 30.0
# Providers publish a new key hours before they sign with it. Arbitrary.
_LIFE_S: Final = 3600.0
_FIRST_RETRY_S: Final = 1.0
_LAST_RETRY_S: Final = 5.0

logger = logging.getLogger(__name__)


def fetch_keys(url: str, algorithm: str) -> list[JwtKey]:
    """Return the keys of a JWK Set URL; blocks for some seconds at most.

    Raises:
        OSError: no whole answer came.
        ConfigError: the answer has no usable public key.
    """
    return read_public_keys(SETTING, download(url), algorithm)


class JwksUrl:
    """The keys of a JWK Set URL; lives as long as the node.

    Args:
        url: of the set, https or http.
        algorithm: of `--jwt-algorithm`; empty for those of the keys.
        on_change: called when other keys hold than before.

    Attributes:
        keys: that hold at the moment; empty until the first fetch succeeds.
        failures: fetches that failed since the last one that did not.
    """

    def __init__(self, url: str, algorithm: str, on_change: Callable[[], None]) -> None:
        self._url = url
        self._algorithm = algorithm
        self._on_change = on_change
        self._task = BackgroundTask(self._run)
        self._fetching: asyncio.Task[None] | None = None
        self._refreshed_s = float("-inf")
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

    async def refresh(self) -> None:
        """Fetch the set because a token's `kid` is unknown, within 30 s only once.

        Callers wait for a fetch that has begun already instead.
        """
        if not self._is_fetching():
            if monotonic() - self._refreshed_s < _REFRESH_S:
                return
            self._refreshed_s = monotonic()
        await self._fetch()

    def _is_fetching(self) -> bool:
        return self._fetching is not None and not self._fetching.done()

    async def _run(self) -> None:
        backoff = Backoff(_FIRST_RETRY_S, _LAST_RETRY_S)
        while True:
            await self._fetch()
            if not self.failures:
                backoff.reset()
                await asyncio.sleep(_LIFE_S)
            else:
                await asyncio.sleep(backoff.next_s())

    async def _fetch(self) -> None:
        """Fetch the set, or wait for the fetch in progress."""
        if not self._is_fetching():
            self._fetching = asyncio.create_task(self._fetch_once())
        assert self._fetching is not None
        await asyncio.shield(self._fetching)

    async def _fetch_once(self) -> None:
        try:
            keys = await _in_daemon_thread(lambda: fetch_keys(self._url, self._algorithm))
        except (OSError, ConfigError) as exc:
            self.failures += 1
            if self.failures == 1:  # once per outage
                kept = f"keeping {len(self.keys)} keys" if self.keys else "it has given no keys yet"
                logger.warning("%s: fetch failed: %s; %s", SETTING, exc, kept)
            return
        self.failures = 0
        if keys != self.keys:
            self.keys = keys
            logger.info("%s: %d keys", SETTING, len(keys))
            self._on_change()


async def _in_daemon_thread(fetch: Callable[[], list[JwtKey]]) -> list[JwtKey]:
    """Return what a function returns in a thread that the end of the process does not wait for."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[list[JwtKey]] = loop.create_future()

    def set_result(keys: list[JwtKey] | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        elif keys is not None:
            done.set_result(keys)

    def run() -> None:
        keys, error = None, None
        try:
            keys = fetch()
        except BaseException as exc:  # the awaiting task raises it
            error = exc
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(set_result, keys, error)

    threading.Thread(target=run, name="jwks", daemon=True).start()
    return await done
