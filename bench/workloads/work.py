"""A workload that servers are compared at: its settings and its figures."""

from collections.abc import Callable
from typing import Annotated

import msgspec

from bench.harness.servers import Server
from bench.measure.sample import Figure, Sample
from bench.options import Payload, Rate, Seconds, Streams, Warmup
from bench.report.tables import Screen


class Settings(msgspec.Struct, frozen=True):
    """The settings of all workloads; those of one workload begin with its name."""

    payload_bytes: Payload = 200
    warmup_s: Warmup = 1.0
    measured_s: Seconds = 5.0
    fanout_streams: Streams = 1000
    fanout_rate: Rate = 50.0
    saturate_streams: Streams = 1000
    saturate_events: Annotated[
        int,
        msgspec.Meta(ge=1, le=100_000, description="Events of a round; a slow server gets fewer."),
    ] = 3000
    unicast_users: Annotated[
        int, msgspec.Meta(ge=1, le=15_000, description="Users, with a stream each.")
    ] = 10_000
    unicast_rate: Annotated[
        float, msgspec.Meta(ge=1, le=100_000, description="Events a second, of all users.")
    ] = 10_000.0
    latency_rate: Rate = 100.0
    idle_streams: Annotated[
        int, msgspec.Meta(ge=4, le=18_000, description="Open streams, a user each.")
    ] = 10_000
    idle_s: Annotated[
        float, msgspec.Meta(ge=0.1, le=600, description="For CPU; pings come every 15 s.")
    ] = 30.0
    open_streams: Annotated[
        int, msgspec.Meta(ge=1, le=18_000, description="Streams opened, a user each.")
    ] = 5000


QUICK_SETTINGS = Settings(
    measured_s=1.0,
    warmup_s=0.3,
    fanout_streams=100,
    saturate_streams=100,
    saturate_events=300,
    unicast_users=1000,
    unicast_rate=1000.0,
    idle_streams=1000,
    idle_s=3.0,
    open_streams=500,
)
"""A tenth of everything."""


class Work(msgspec.Struct, frozen=True):
    """A workload that servers are compared at."""

    name: str
    about: str
    """What is done, for people; settings stand in braces."""
    measure: Callable[[Server, Settings, Screen], Sample]
    figures: tuple[Figure, ...]
    """The first one is the main result."""
    shared: tuple[str, ...] = ()
    """The settings that it shares with other workloads."""
    with_floor: bool = False
    """Whether the floor can do it: it has no Redis, no pings and no end of a queue."""

    @property
    def settings(self) -> list[str]:
        """Return the names of the settings that it uses."""
        names = msgspec.structs.asdict(Settings())
        return [*(name for name in names if name.startswith(f"{self.name}_")), *self.shared]

    def about_of(self, settings: Settings) -> str:
        """Return what is done with these settings."""
        return self.about.format_map(msgspec.structs.asdict(settings))
