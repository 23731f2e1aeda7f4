"""What every broker delivers: a key, headers and a value, with a place of its own."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Record:
    """One record or message; lives until it has been published.

    Attributes:
        where: names it for people, such as `orders [3] @ 1234`.
        position: in its part; 0 where records have none.
        value: None for a record without one, such as a tombstone.
        key: of a Kafka record, or the routing key of an AMQP message; None for none.
        headers: by name in lower case; the last one counts.
        name: the name of its idempotency key; empty for none.
    """

    where: str
    position: int
    value: bytes | None
    key: bytes | None
    headers: Mapping[str, bytes]
    name: str = ""
