"""What the manifests of the chart say of scaling, for either kind of autoscaler."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Policy:
    """At most this much in a period: pods, or a share of those that there are."""

    period_s: int
    pods: int = 0
    percent: int = 0

    def most(self, pods: int) -> int:
        """Return how many pods may come or go in a period, of the number at its begin."""
        return self.pods or -(-pods * self.percent // 100)


@dataclass(frozen=True, slots=True)
class Direction:
    """The behaviour in one direction; of several policies the one that allows most holds."""

    window_s: int
    policies: tuple[Policy, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one Deployment.

    Attributes:
        target: streams that a pod shall have on average.
        max_streams: that a pod may have.
        drain_delay_s: after the stop, until its listener closes.
        drain_rate: streams closed per second after that.
        max_age_s: streams are closed at this age; 0 for never.
    """

    least: int
    most: int
    target: int
    up: Direction
    down: Direction
    max_streams: int
    drain_delay_s: int
    drain_rate: int
    max_age_s: int


def rules_of(manifests: Iterable[Mapping[str, Any]]) -> Rules:
    """Return the rules of rendered manifests that have an autoscaler.

    Raises:
        KeyError: there is no Deployment, or no autoscaler.
    """
    by_kind = {each["kind"]: each for each in manifests if each}
    containers = by_kind["Deployment"]["spec"]["template"]["spec"]["containers"]
    variables = {each["name"]: each.get("value", "") for each in containers[0]["env"]}
    if "ScaledObject" in by_kind:
        spec = by_kind["ScaledObject"]["spec"]
        least, most = spec["minReplicaCount"], spec["maxReplicaCount"]
        target = spec["triggers"][0]["metadata"]["threshold"]
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    else:
        spec = by_kind["HorizontalPodAutoscaler"]["spec"]
        least, most = spec["minReplicas"], spec["maxReplicas"]
        target = spec["metrics"][0]["pods"]["target"]["averageValue"]
        behavior = spec["behavior"]
    return Rules(
        least=least,
        most=most,
        target=int(target),
        up=_direction(behavior["scaleUp"]),
        down=_direction(behavior["scaleDown"]),
        max_streams=int(variables["SSE_NODE_MAX_STREAMS"]),
        drain_delay_s=int(variables["SSE_NODE_DRAIN_DELAY"]),
        drain_rate=int(variables["SSE_NODE_DRAIN_RATE"]),
        max_age_s=int(variables.get("SSE_NODE_MAX_STREAM_AGE", "0")),
    )


def _direction(behavior: Mapping[str, Any]) -> Direction:
    policies = tuple(
        Policy(each["periodSeconds"], **{each["type"].lower(): each["value"]})
        for each in behavior["policies"]
    )
    return Direction(behavior["stabilizationWindowSeconds"], policies)
