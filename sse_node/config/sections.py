"""Every setting with its default, unit, bounds and reason, in sections by topic.

A section is passed whole to what it configures. Sections are the tables of a configuration file.
"""

from dataclasses import dataclass
from typing import Final

from sse_node.config.hosts import parse_hosts, parse_origins
from sse_node.config.limits import LimitsSettings
from sse_node.config.parsers import (
    check_networks,
    check_redis_url,
    file_path,
    header_name,
    integer,
    matching,
    one_of,
    one_of_numbers,
    optional_header_name,
    parse_channels,
    parse_user,
    parse_yes_or_no,
    seconds,
    worker_count,
)
from sse_node.config.setting import setting
from sse_node.config.webhooks import WebhooksSettings
from sse_node.logs.format import LEVELS
from sse_node.wire.channels import Channels
from sse_node.wire.envelope import ANALYTICS_EVENTS, SYSTEM_EVENTS
from sse_node.wire.sharding import SHARD_COUNTS

# File descriptors kept for what is no stream: requests, clients between two, Redis, the log.
RESERVED_FILES: Final = 600
JWT_ALGORITHMS: Final = ("HS256", "HS384", "HS512", "RS256", "ES256", "EdDSA")


@dataclass(frozen=True, slots=True)
class ListenSettings:
    """Where clients connect: the listener and its sockets."""

    host: str = setting("127.0.0.1", matching(r"\S{1,255}", "an address to listen on"),
                        "Address to listen on.")  # fmt: skip
    port: int = setting("3000", integer(0, 65535), "TCP port; 0 lets the kernel choose.",
                        also="PORT")  # fmt: skip
    uds: str = setting("", matching(r"[^\0]{0,103}", "a path of at most 103 bytes"),
                       "Unix socket to listen on instead of host and port.")  # fmt: skip
    backlog: int = setting("2048", integer(1, 65535), "Connections that may wait to be accepted.")
    tcp_user_timeout: int = setting(
        "30000", integer(0, 600_000),
        "TCP_USER_TIMEOUT: unacknowledged bytes end a connection after this time; 0 for never.",
        unit="ms",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """The node and its processes."""

    server_id: str = setting(
        "", matching(r"[A-Za-z0-9_.:-]{0,64}", "1 to 64 of A-Z a-z 0-9 _ . : -"),
        "Name of this node; host name and process id by default.", also="SERVER_ID",
    )  # fmt: skip
    workers: int = setting(
        "1", worker_count,
        "Processes that share the port or socket, one core each; auto for as many as cores.",
        also="WEB_CONCURRENCY",
    )  # fmt: skip
    timeout_worker_healthcheck: float = setting(
        "10", seconds(1, 3600),
        "A worker whose event loop is blocked for this time is restarted.", unit="s",
    )  # fmt: skip
    timeout_graceful_shutdown: float = setting(
        "30", seconds(1, 3600), "Time from a stop signal to the exit.", unit="s"
    )
    drain_delay: float = setting(
        "1", seconds(0, 300),
        "After SIGTERM the node is not ready but still listens, so that the balancer notices; at "
        "most --timeout-graceful-shutdown less 2 s.", unit="s",
    )  # fmt: skip
    drain_rate: int = setting(
        "1000", integer(1, 1_000_000), "Streams closed per second of a drain, if the time allows.",
        unit="streams/s",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class LogsSettings:
    """Log output."""

    level: str = setting(
        "info", one_of(*LEVELS), "One of " + ", ".join(LEVELS) + ".", name="log_level", reload=True
    )
    format: str = setting("text", one_of("text", "json"), "text or json.", name="log_format")


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """HTTP requests."""

    timeout_keep_alive: float = setting(
        "75", seconds(1, 3600), "Idle time of an HTTP connection; above nginx's 60.", unit="s"
    )
    timeout_head: float = setting(
        "10", seconds(0.1, 300), "Time for the head of a request to arrive.", unit="s"
    )
    timeout_content: float = setting(
        "30", seconds(0.1, 3600), "Time for the content of a request to arrive.", unit="s"
    )
    http_limit_total: int = setting(
        "67108864", integer(4 * 1024 * 1024, 1 << 40),
        "Bytes of requests and answers that may wait for all HTTP connections together; over it "
        "those that have stalled for longest are closed.", unit="bytes",
    )  # fmt: skip
    cors_origin: tuple[str, ...] = setting(
        "", parse_origins, "Origins whose pages may read answers, separated by commas; * for any.",
        is_list=True, reload=True,
    )  # fmt: skip
    allowed_hosts: tuple[str, ...] = setting(
        "", parse_hosts, "Hosts that requests may name, separated by commas; .example.com with all "
        "below it, * for any. By default loopback only on a loopback address, else any.",
        is_list=True, reload=True,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """Who may listen, publish and observe."""

    auth: str = setting(
        "", one_of("none", "jwt", "proxy", optional=True),
        "none, jwt or proxy. If not set, there is none, on loopback and Unix sockets only.",
    )  # fmt: skip
    api_keys: str = setting(
        "", file_path, "File of the keys of services, made by sse-node key; read when it changes."
    )
    jwt_key: str = setting(
        "", file_path,
        "File with the secret, PEM key or JWK Set of tokens; read when it changes.",
    )  # fmt: skip
    jwt_algorithm: str = setting(
        "", one_of(*JWT_ALGORITHMS, optional=True),
        "Algorithm of tokens; by default that of the key's type, HS256 for a secret.",
    )  # fmt: skip
    jwks_url: str = setting(
        "", matching(r"(https?://[^\s#]{1,2000})?", "an http or https URL"),
        "URL of the JWK Set of the tokens' issuer.",
    )  # fmt: skip
    jwt_audience: str = setting(
        "", matching(r"[^\0\r\n]{0,255}", "at most 255 characters"),
        "The aud that tokens must name; any if unset.",
    )  # fmt: skip
    jwt_issuer: str = setting(
        "", matching(r"[^\0\r\n]{0,255}", "at most 255 characters"),
        "The iss that tokens must have; any if unset.",
    )  # fmt: skip
    auth_cookie: str = setting(
        "", matching(r"[A-Za-z0-9_.-]{0,64}", "a cookie's name"),
        "Cookie that may carry a token.",
    )  # fmt: skip
    auth_query: bool = setting(
        "no", parse_yes_or_no, "Accept tokens in ?access_token=; URLs end up in logs of proxies."
    )
    auth_user_header: str = setting(
        "X-Forwarded-User", header_name, "Header in which a trusted proxy names the user."
    )
    auth_channels_header: str = setting(
        "", optional_header_name, "Header in which a trusted proxy lists channels to listen to."
    )
    auth_publish_header: str = setting(
        "", optional_header_name, "Header in which a trusted proxy lists what may be published to."
    )
    forwarded_allow_ips: str = setting(
        "127.0.0.1,::1", check_networks,
        "Addresses and networks of proxies whose headers count; * for all. Unix sockets count.",
        also="FORWARDED_ALLOW_IPS", is_list=True,
    )  # fmt: skip
    admin_port: int = setting(
        "0", integer(0, 65535),
        "TCP port on loopback for /metrics, /status and revocations without a key; 0 for none.",
    )  # fmt: skip
    admin_uds: str = setting(
        "", matching(r"[^\0]{0,103}", "a path of at most 103 bytes"),
        "Unix socket for the same.",
    )  # fmt: skip

    @property
    def has_admin_listener(self) -> bool:
        """Whether operators have a listener of their own."""
        return bool(self.admin_port or self.admin_uds)


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """The connection to Redis."""

    url: str = setting(
        "",
        check_redis_url,
        "redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://; REDIS_HOST and "
        "REDIS_PORT give the first. If unset, `serve` starts a private Valkey.",
        also="REDIS_URL",
        name="redis_url",
    )
    namespace: str = setting(
        "",
        matching(
            r"(?!db\d+\Z)(?!.*shard\d+\{\d+\}\Z)[A-Za-z0-9_.{}-]{0,64}",
            "at most 64 of A-Z a-z 0-9 _ . { } -, and not db with a number or that of a shard",
        ),
        "Prefix of every key and channel, without its colon; keeps nodes apart that share a Redis.",
    )
    shards: int = setting(
        "1", one_of_numbers(*SHARD_COUNTS),
        "Parts that users are divided among, each with its log; fixed for ever. More than 1 needs "
        "Redis 7.0 or Valkey. The bounds of the history and the log are for all together.",
    )  # fmt: skip
    timeout: float = setting(
        "1.5",
        seconds(0.05, 60),
        "Time for Redis to answer one command.",
        unit="s",
        name="redis_timeout",
    )
    connections: int = setting(
        "16",
        integer(1, 1000),
        "Maximum connections for commands, a quarter of them for reads; further commands wait.",
        name="redis_connections",
    )
    audit_interval: float = setting(
        "5", seconds(0.2, 300), "A dead link to Redis is found within twice this time.", unit="s"
    )


@dataclass(frozen=True, slots=True)
class EventsSettings:
    """Events and the channels they are published on."""

    default_user: str = setting("123", parse_user, "User id when a request names none.")
    channels: tuple[str, ...] = setting(
        f"{SYSTEM_EVENTS},{ANALYTICS_EVENTS}", parse_channels,
        "Channels, separated by commas: names, and patterns as room:*, where * matches one or more "
        f"characters. Every stream has {SYSTEM_EVENTS}.", is_list=True, reload=True,
    )  # fmt: skip
    public_channels: tuple[str, ...] = setting(
        "", parse_channels, "Those of --channels that are heard without a token, as names or "
        "patterns.", is_list=True, reload=True,
    )  # fmt: skip
    event_names: bool = setting(
        "no", parse_yes_or_no, "Put event types into the event field, for addEventListener."
    )
    max_event_bytes: int = setting(
        "262144", integer(256, 1_000_000), "The largest event accepted.", unit="bytes"
    )

    @property
    def known_channels(self) -> Channels:
        """That streams may hear and clients may publish to."""
        return Channels(self.channels)


@dataclass(frozen=True, slots=True)
class StreamsSettings:
    """Event streams and slow clients."""

    max_streams: int = setting(
        "0", integer(0, 10_000_000),
        "Maximum open streams per worker; "
        f"0 for the file descriptor limit minus {RESERVED_FILES}.",
    )  # fmt: skip
    max_stream_age: float = setting(
        "0", seconds(0, 604800), "Streams are closed at this age, ±20 %; 0 for never.", unit="s"
    )
    ping_interval: float = setting(
        "15", seconds(0.1, 300), "Time between two pings of a stream.", unit="s"
    )
    retry: int = setting(
        "3000", integer(1, 600_000), "Reconnection time given to clients, ±25 %.", unit="ms"
    )
    write_limit: int = setting(
        "1048576", integer(4096, 1 << 30),
        "Bytes that may wait for one client; over it the client is disconnected.", unit="bytes",
    )  # fmt: skip
    write_limit_total: int = setting(
        "268435456", integer(65536, 1 << 40),
        "Bytes that may wait for all clients together; over it the largest backlogs are cut.",
        unit="bytes",
    )  # fmt: skip
    send_buffer: int = setting(
        "65536", integer(4096, 64 * 1024 * 1024),
        "SO_SNDBUF of a stream over TCP; without it a client that never reads holds 4 MB.",
        unit="bytes",
    )  # fmt: skip
    write_timeout: float = setting(
        "8",
        seconds(0.5, 300),
        "A client that reads nothing for this time while bytes wait is disconnected.",
        unit="s",
    )


@dataclass(frozen=True, slots=True)
class HistorySettings:
    """What is kept for replays, in memory and in Redis."""

    history: int = setting(
        "16384", integer(1, 10_000_000), "Events kept in memory for replays.", unit="events"
    )
    history_bytes: int = setting(
        "67108864", integer(65536, 1 << 40), "Bytes of payloads kept in memory.", unit="bytes"
    )
    log_length: int = setting(
        "200000",
        integer(100, 1_000_000_000),
        "Entries that sse:log keeps, approximately.",
        unit="events",
    )
    # 1 GiB: 200,000 events of 5 KB. Below 4 MiB, a few of the largest `POST /events` (1 MiB) would
    # drop what clients and nodes have yet to read.
    log_bytes: int = setting(
        "1073741824",
        integer(4 * 1024 * 1024, 1 << 40, or_zero=True),
        "Bytes of payloads that sse:log keeps, approximately; 0 for no bound in bytes.",
        unit="bytes",
    )
    replay_limit: int = setting(
        "67108864", integer(65536, 1 << 40),
        "Maximum bytes read from the log to serve replays; older clients get sse.reset.",
        unit="bytes",
    )  # fmt: skip
    snapshots_kept: int = setting("1000", integer(1, 1_000_000), "Snapshots kept for each user.")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one node, frozen, made once at start."""

    listen: ListenSettings
    node: NodeSettings
    logs: LogsSettings
    http: HttpSettings
    access: AccessSettings
    limits: LimitsSettings
    redis: RedisSettings
    events: EventsSettings
    streams: StreamsSettings
    history: HistorySettings
    webhooks: WebhooksSettings
