"""The settings of bridges, in sections of their own: a node has none of them."""

import re
from dataclasses import dataclass
from typing import Final

from sse_node.config.parsers import file_path, integer, matching, one_of
from sse_node.config.setting import setting
from sse_node.errors import SecretConfigError

_PLACE: Final = "key, header:NAME, a JSON path such as $.customer.id, or text:VALUE"
_NAMES: Final = r"[A-Za-z0-9._-]{1,249}"


def _amqp_url(setting: str, text: str) -> str:
    if re.fullmatch(r"amqps?://\S{1,2000}", text, re.ASCII) is None:
        raise SecretConfigError(setting, "the URL", "amqp:// or amqps:// with a host")
    return text


_text = matching(r"[^\0\r\n]{0,255}", "at most 255 characters")


@dataclass(frozen=True, slots=True)
class BridgeSettings:
    """What all bridges have."""

    user_from: str = setting(
        "", _text, f"Where a record has its user's id: {_PLACE}. If not set, records are messages "
        "of sse-node or CloudEvents.",
    )  # fmt: skip
    channel_from: str = setting(
        "", _text, "Where a record has its channel, instead of a user; as --user-from."
    )
    type_from: str = setting("", _text, "Where a record has its event type; as --user-from.")
    on_bad: str = setting(
        "skip", one_of("skip", "stop"), "What a record does of which no event can be made: it is "
        "skipped, or stops the bridge.",
    )  # fmt: skip
    dead_letter: str = setting(
        "", matching(r"[^\0\r\n]{0,4096}", "a topic, or the path of a file"),
        "Where bad records are kept: a file, as a path with a slash, or for Kafka a topic.",
    )  # fmt: skip
    batch: int = setting(
        "500", integer(1, 5000), "Records published in one step at most.", unit="records"
    )
    health_host: str = setting(
        "127.0.0.1", matching(r"\S{1,255}", "an address to listen on"),
        "Address of --health-port.",
    )  # fmt: skip
    health_port: int = setting(
        "0", integer(0, 65535), "TCP port for /health and /metrics; 0 for none."
    )


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Where records come from: the topics of a Kafka cluster."""

    brokers: str = setting(
        "", matching(r"[^\s,]{1,261}(,[^\s,]{1,261})*", "host:port, separated by commas"),
        "Brokers to begin with: host:port, separated by commas.",
    )  # fmt: skip
    topic: str = setting(
        "", matching(rf"{_NAMES}(,{_NAMES})*", "names of topics, separated by commas"),
        "Topics, separated by commas.",
    )  # fmt: skip
    group: str = setting(
        "", matching(r"[!-~]{1,255}", "1 to 255 printable ASCII characters without space"),
        "Consumer group. All bridges of one group share the partitions.",
    )  # fmt: skip
    offset_reset: str = setting(
        "earliest", one_of("earliest", "latest"),
        "Where a group begins that has no offset: earliest or latest.",
    )  # fmt: skip
    security_protocol: str = setting(
        "plaintext", one_of("plaintext", "ssl", "sasl_plaintext", "sasl_ssl"),
        "plaintext, ssl, sasl_plaintext or sasl_ssl.",
    )  # fmt: skip
    sasl_mechanism: str = setting(
        "", one_of("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "OAUTHBEARER",
                   optional=True),
        "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, GSSAPI or OAUTHBEARER.",
    )  # fmt: skip
    sasl_username: str = setting("", _text, "User at the brokers.")
    sasl_password: str = setting(
        "", _text, "Password at the brokers; the variable keeps it out of the list of processes."
    )
    ssl_ca_location: str = setting("", file_path, "File of the brokers' certificate authorities.")
    kafka_config: str = setting(
        "", file_path, "File of further properties of librdkafka, one NAME=VALUE a line."
    )


@dataclass(frozen=True, slots=True)
class AmqpSettings:
    """Where messages come from: a queue or a stream of RabbitMQ."""

    url: str = setting(
        "", _amqp_url, "amqp://user:password@host:port/vhost, or amqps://.", also="AMQP_URL",
    )  # fmt: skip
    queue: str = setting(
        "", matching(r"[^\0\r\n]{1,255}", "the name of a queue"), "Queue or stream; it must exist."
    )
    stream_offset: str = setting(
        "first", one_of("first", "last", "next"),
        "Where a bridge begins to read a stream that it has not read before: first, last or next.",
    )  # fmt: skip


BRIDGE_SECTIONS: Final = (BridgeSettings, KafkaSettings, AmqpSettings)
