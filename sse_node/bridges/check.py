"""What `--check` says: what a bridge would publish of the record that comes next."""

from typing import NamedTuple

from sse_node.bridges.mapping import Mapping
from sse_node.bridges.record import Record
from sse_node.errors import BridgeError, PublisherError


class Found(NamedTuple):
    """What a check has found at the broker.

    Attributes:
        source: names it for people.
        record: None when none came.
    """

    source: str
    record: Record | None


def report(found: Found, mapping: Mapping) -> str:
    """Return what would be published, in words.

    Raises:
        BridgeError: no event can be made of the record.
    """
    if found.record is None:
        return f"{found.source}: connected; no record is waiting"
    try:
        channel, payload = mapping.event_of(found.record)
    except PublisherError as exc:
        raise BridgeError(f"{found.record.where}: a dead letter: {exc.reason}: {exc}") from exc
    return f"{found.record.where}: {channel} {payload.decode()}"
