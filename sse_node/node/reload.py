"""Other settings for a node that runs: what SIGHUP changes in a node of one process.

Routes change in one synchronous step: a request is answered by the settings before or after it.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from sse_node.access.limits import Limits
from sse_node.config.sections import Settings
from sse_node.http.router import Resource
from sse_node.node.resources import make_resources

if TYPE_CHECKING:
    from sse_node.node.composition import Node

_WITH_FIGURES: Final = ("/health", "/status", "/metrics")


def apply_settings(node: "Node", before: Settings, after: Settings) -> None:
    """Change a node to other settings.

    Args:
        node: whose settings change; streams and requests in hand go on.
        before: its settings.
        after: that differ in settings marked with `reload` only.
    """
    if after.limits != before.limits:
        limits = Limits(after.limits, node.gate.trusted)
        limits.continue_from(node.limits)
        node.limits = limits
        node.streams.limits.configure(after.limits)
        node.streams.admission.configure(after.limits)
    node.gate.origins = after.http.cors_origin
    node.gate.reload()
    channels = after.events.known_channels
    if channels.redis_channels == node.channels.redis_channels:
        node.channels = channels
        _serve(node, after)
        return
    if node.on_channels_complete is None:
        _serve(node, replace(after, events=before.events))
    # Until memory has what was published on the new channels before, streams cannot have them.
    node.channels = channels
    node.change_subscription(lambda: _serve(node, after))


def _serve(node: "Node", settings: Settings) -> None:
    resources, _ = make_resources(node, settings, None)
    node.serve([*map(_with_its_figures, node.resources, resources)], settings)


def _with_its_figures(before: Resource, after: Resource) -> Resource:
    """Keep the resources whose figures go on, as the uptime."""
    return before if before.path.startswith(_WITH_FIGURES) else after
