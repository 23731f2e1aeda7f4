"""The settings of limits, a section of `sections.Settings`; each worker counts for itself."""

from dataclasses import dataclass

from sse_node.config.parsers import integer, seconds
from sse_node.config.setting import setting

_MAX_RATE = 1_000_000
_MAX_STREAMS = 10_000_000


@dataclass(frozen=True, slots=True)
class LimitsSettings:
    """How much one client may take."""

    requests_per_address: int = setting(
        "0", integer(0, _MAX_RATE),
        "Requests per second of a client address, health excepted; 0 for no limit.",
        unit="requests/s", reload=True,
    )  # fmt: skip
    requests_per_caller: int = setting(
        "0", integer(0, _MAX_RATE),
        "Requests per second of a user or API key, without one of an address; 0 for no limit.",
        unit="requests/s", reload=True,
    )  # fmt: skip
    events_per_caller: int = setting(
        "0", integer(0, _MAX_RATE),
        "Events per second that a user or API key publishes by POST /events; 0 for no limit.",
        unit="events/s", reload=True,
    )  # fmt: skip
    streams_per_user: int = setting(
        "0", integer(0, _MAX_STREAMS),
        "Streams of one user; a further one closes the oldest with sse.closed; 0 for no limit.",
        reload=True,
    )  # fmt: skip
    streams_per_address: int = setting(
        "0", integer(0, _MAX_STREAMS),
        "Streams of a client address; further ones are told to retry; 0 for no limit.",
        reload=True,
    )  # fmt: skip
    new_streams_per_address: int = setting(
        "0", integer(0, _MAX_RATE),
        "Streams per second that a client address opens; further ones are told to retry; 0 for "
        "no limit.",
        unit="streams/s", reload=True,
    )  # fmt: skip
    memory_limit: int = setting(
        "0", integer(0, 1 << 50),
        "Resident memory of a worker over which new streams are told to retry; 0 for nine tenths "
        "of the machine's or control group's, divided by the number of workers.",
        unit="bytes", reload=True,
    )  # fmt: skip
    lag_limit: float = setting(
        "1", seconds(0, 60),
        "When the event loop is later than this for five seconds, new streams are told to retry; "
        "0 for never.",
        unit="s", reload=True,
    )  # fmt: skip
    rate_window: int = setting(
        "10", integer(1, 3600),
        "Window of limits per second: a burst has at most the limit times this.",
        unit="s", reload=True,
    )  # fmt: skip
