"""The resources of a node: each path, its methods, and the handlers behind them."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from sse_node.api.accounts import Accounts
from sse_node.api.event_stream import EventStreamResource
from sse_node.api.events import Events
from sse_node.api.health import Health
from sse_node.api.page import Page
from sse_node.api.past_events import PastEvents
from sse_node.api.revocations import RevocationsResource
from sse_node.api.snapshots import Snapshots
from sse_node.api.webhooks import Webhooks
from sse_node.config.sections import Settings
from sse_node.documents.resources import Documents
from sse_node.documents.security import security_of
from sse_node.http.router import Resource
from sse_node.node.control import WorkerConfig
from sse_node.node.status import NodeStatus
from sse_node.webhooks.registry import WebhookRegistry
from sse_node.webhooks.targets import Targets
from sse_node.wire.prometheus import expose

if TYPE_CHECKING:
    from sse_node.node.composition import Node

MAX_EVENTS_CONTENT_BYTES: Final = 1024 * 1024


def now_as_text() -> str:
    """Return the present time, as in `2025-08-26T03:44:57.419Z`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def make_resources(
    node: "Node", settings: Settings, config: WorkerConfig | None
) -> tuple[list[Resource], NodeStatus | None]:
    """Return the resources of a process, and what answers for all workers.

    Args:
        node: all its other parts; the metrics and the sites come later.
        settings: of the node.
        config: of a worker; None for a node of one process.
    """
    default_user = settings.events.default_user
    accounts = Accounts(node.logs, default_user, now_as_text, node.on_account_created)
    snapshots = Snapshots(node.logs, default_user)
    events = Events(node.logs, node.channels, settings.events.max_event_bytes, node.limits)
    past_events = PastEvents(node.logs, default_user)
    event_stream = EventStreamResource(node.opening, node.shards.of, settings.events)
    health = Health(
        settings.node.server_id,
        node.shards,
        node.streams,
        node.server_checks,
        redis_usable=node.redis_usable,
        draining=lambda: node.site.draining,
        leaving=lambda: node.is_leaving,
        exposition=lambda: expose(node.metrics.families()),
    )
    health.shard_figures = node.shards.figures
    health.shows_figures = node.gate.lets_anyone_observe
    revocations = RevocationsResource(node.revocations)
    webhooks = Webhooks(
        node.logs,
        WebhookRegistry(
            node.logs,
            settings.webhooks.queue_limits(len(node.logs)),
            settings.webhooks.per_user,
        ),
        Targets(settings.webhooks),
        default_user,
        now_as_text,
    )
    documents = Documents(node.channels, security_of(settings))
    status = None
    figures: Health | NodeStatus = health
    if config is not None:
        figures = status = NodeStatus(
            config,
            figures=health.figures,
            users=node.shards.users,
            families=lambda: node.metrics.families(),
        )
    resources = [
        Resource("/events/sse", {"GET": event_stream.get}),
        Resource("/events/sse/{userId}", {"GET": event_stream.get}),
        Resource(
            "/events",
            {"GET": past_events.list, "POST": events.publish},
            MAX_EVENTS_CONTENT_BYTES,
        ),
        Resource("/accounts", {"GET": accounts.list, "POST": accounts.create}),
        Resource(
            "/accounts/{id}",
            {"GET": accounts.get, "PATCH": accounts.update, "DELETE": accounts.delete},
        ),
        Resource("/accounts/{id}/events", {"GET": accounts.history}),
        Resource("/snapshots", {"GET": snapshots.list}),
        *webhook_resources(webhooks),
        Resource("/revocations", {"POST": revocations.create}),
        Resource("/health", {"GET": health.health}, has_reserve=True),
        Resource("/health/live", {"GET": health.live}, has_reserve=True),
        Resource("/health/ready", {"GET": health.ready}, has_reserve=True),
        Resource("/status", {"GET": figures.status}),
        Resource("/metrics", {"GET": figures.metrics}),
        Resource("/openapi.json", {"GET": documents.openapi}),
        Resource("/asyncapi.json", {"GET": documents.asyncapi}),
        Resource("/docs/api", {"GET": documents.reference}),
        Resource("/", {"GET": Page().get}),
    ]
    return resources, status


def webhook_resources(webhooks: Webhooks) -> list[Resource]:
    """Return the resources of webhooks."""
    path = "/webhooks/{id}"
    return [
        Resource("/webhooks", {"GET": webhooks.list, "POST": webhooks.create}),
        Resource("/webhooks/register", {"POST": webhooks.create}),
        Resource(path, {"GET": webhooks.get, "PATCH": webhooks.update, "DELETE": webhooks.delete}),
        Resource(f"{path}/test", {"POST": webhooks.test}),
        Resource(f"{path}/deliveries", {"GET": webhooks.deliveries}),
        Resource(f"{path}/dead-letters", {"GET": webhooks.dead_letters}),
        Resource(f"{path}/dead-letters/replay", {"POST": webhooks.replay}),
    ]
