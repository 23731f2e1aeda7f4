"""The client for Python: event streams over HTTP that stay open; needs `sse-node[client]`.

Not here: anything of a node. `sse-node tail` reads Redis without a node, or a node by this.
"""

from sse_node.client.event_source import EventSource, events
from sse_node.client.state import Event
from sse_node.errors import ResetError, StreamClosedError

__all__ = ["Event", "EventSource", "ResetError", "StreamClosedError", "events"]
