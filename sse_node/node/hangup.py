"""SIGHUP: the settings are read again; what is wrong keeps those that hold."""

import logging
from collections.abc import Callable

from sse_node.config.reload import Reload, SettingsSource
from sse_node.config.sections import Settings
from sse_node.errors import ConfigError

logger = logging.getLogger(__name__)


class SettingsReader:
    """The settings of a process over its life; created with it.

    Args:
        settings: of the start.
        source: reads them again; None where they never change.
        compare: returns what changes, from the settings that hold and those that were read.

    Attributes:
        settings: that hold.
    """

    def __init__(
        self,
        settings: Settings,
        source: SettingsSource | None,
        compare: Callable[[Settings, Settings], Reload],
    ) -> None:
        self.settings = settings
        self._source = source
        self._compare = compare

    def read(self, kept: str) -> bool:
        """Read the settings again; return whether they can be used.

        Args:
            kept: what is kept when they cannot, for the log.
        """
        if self._source is None:
            return True
        try:
            reload = self._compare(self.settings, self._source.read())
        except ConfigError as exc:
            logger.error("SIGHUP: keeping the current %s: %s", kept, exc)
            return False
        self.settings = reload.settings
        logging.getLogger().setLevel(reload.settings.logs.level.upper())
        if str(reload):
            logger.warning("SIGHUP: %s", reload)
        else:
            logger.info("SIGHUP: nothing to reload; flags and environment variables need a restart")
        return True
