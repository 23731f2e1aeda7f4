"""The settings of webhooks, a section of `sections.Settings`, of nodes and `sse-node webhooks`."""

import re
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Final

from sse_node.config.parsers import integer, parse_yes_or_no, seconds
from sse_node.config.setting import setting
from sse_node.errors import ConfigError

_HOST: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*(?::\d{1,5})?")
_HOSTS_EXPECTED: Final = (
    "hosts, addresses and networks such as hooks.internal, hooks.internal:8080, 10.0.0.7, "
    "[fd00::7]:8443 or 10.0.0.0/8, separated by commas"
)


def parse_webhook_hosts(setting_name: str, text: str) -> tuple[str, ...]:
    """Return hosts, with a port or without, and networks that are separated by commas."""
    entries = [part.strip().lower() for part in text.split(",") if part.strip()]
    return tuple(_entry(setting_name, entry) for entry in entries)


def _entry(setting_name: str, entry: str) -> str:
    try:
        if "/" in entry:
            return str(ip_network(entry))
        bracketed = re.fullmatch(r"\[(.*)\](:\d{1,5})?", entry)
        if bracketed is not None:
            address = str(ip_address(bracketed[1]))
            return f"[{address}]{bracketed[2]}" if bracketed[2] else address
        if entry.count(":") > 1:
            return str(ip_address(entry))
    except ValueError:
        raise ConfigError(setting_name, entry, _HOSTS_EXPECTED) from None
    if not _HOST.fullmatch(entry):
        raise ConfigError(setting_name, entry, _HOSTS_EXPECTED)
    return entry


def parse_ports(setting_name: str, text: str) -> tuple[int, ...]:
    """Return ports that are separated by commas."""
    parse = integer(1, 65535)
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise ConfigError(setting_name, text, "ports from 1 to 65535, separated by commas")
    return tuple(parse(setting_name, part) for part in parts)


@dataclass(frozen=True, slots=True)
class WebhooksSettings:
    """Where webhooks may go, and how much may wait for them."""

    allow_http: bool = setting(
        "no", parse_yes_or_no, "Accept webhooks without TLS, for receivers on a private network.",
        name="webhook_allow_http",
    )  # fmt: skip
    allow_hosts: tuple[str, ...] = setting(
        "", parse_webhook_hosts,
        "Hosts (any port, or HOST:PORT), addresses and networks, separated by commas, that "
        "webhooks may go to although they are not public.",
        name="webhook_allow_hosts", is_list=True,
    )  # fmt: skip
    ports: tuple[int, ...] = setting(
        "443,8443", parse_ports, "Ports of webhooks, separated by commas.",
        name="webhook_ports", is_list=True,
    )  # fmt: skip
    per_user: int = setting(
        "1000", integer(1, 100_000), "Webhooks of one user.", name="webhooks_per_user"
    )
    retry_time: float = setting(
        "86400", seconds(1, 604_800),
        "Time over which the eight attempts to deliver a message are spread.",
        unit="s", name="webhook_retry_time",
    )  # fmt: skip
    queue: int = setting(
        "10000", integer(1, 1_000_000),
        "Messages that wait for one webhook; further ones become a gap, which is reported.",
        unit="messages", name="webhook_queue",
    )  # fmt: skip
    queue_bytes: int = setting(
        "8388608", integer(65536, 1 << 36),
        "Bytes in Redis that wait for one webhook; also the bytes of its dead letters.",
        unit="bytes", name="webhook_queue_bytes",
    )  # fmt: skip
    queue_total: int = setting(
        "268435456", integer(65536, 1 << 40), "Bytes in Redis that wait for all webhooks together.",
        unit="bytes", name="webhook_queue_total",
    )  # fmt: skip
    port: int = setting(
        "3080", integer(0, 65535),
        "Port of health and metrics of `sse-node webhooks`, on --host; 0 lets the kernel choose.",
        name="webhook_port",
    )  # fmt: skip

    def queue_limits(self, sharers: int = 1) -> str:
        """Return the limits of the queues of a shard, as the scripts of webhooks take them.

        Args:
            sharers: how many shards there are.
        """
        total = max(self.queue_bytes, -(-self.queue_total // sharers))
        return f"{self.queue}:{self.queue_bytes}:{total}"
