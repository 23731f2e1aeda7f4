"""The command `bridge amqp`: run the bridge, or check it."""

from sse_node.bridges import process
from sse_node.bridges.amqp import AmqpBridge, source_of
from sse_node.bridges.amqp_session import open_session
from sse_node.bridges.check import Found
from sse_node.bridges.pipeline import Pipeline
from sse_node.config.bridges import AmqpSettings, BridgeSettings
from sse_node.config.sections import Settings
from sse_node.errors import ConfigError

_CHECK_S = 5.0


def run(settings: Settings, bridge: BridgeSettings, amqp: AmqpSettings, *, check: bool) -> None:
    """Run the bridge until it is asked to stop, or check it once.

    Raises:
        BridgeError: it cannot go on.
        ConfigError: it cannot start as it is set up.
    """
    if bridge.dead_letter and "/" not in bridge.dead_letter:
        raise ConfigError("--dead-letter", bridge.dead_letter, "the path of a file, with a slash")
    letters = process.letters_of(bridge)
    if check:
        process.check(settings, bridge, lambda pipeline: find_message(amqp, pipeline))
        return
    process.run(
        settings,
        bridge,
        "amqp",
        lambda pipeline, figures: AmqpBridge(amqp, pipeline, figures, bridge.batch),
        letters,
    )


async def find_message(amqp: AmqpSettings, pipeline: Pipeline) -> Found:
    """Return the next message, which goes back into the queue, marked as redelivered.

    Raises:
        BridgeError: the broker refuses the user.
        BrokerError: the broker is away, or there is no such queue.
    """
    last = await pipeline.position(source_of(amqp), "0")
    async with open_session(amqp, 1) as session:
        await session.consume(amqp.stream_offset if last < 0 else last + 1)
        messages = await session.read(1, _CHECK_S)
        return Found(amqp.queue, session.record_of(messages[0]) if messages else None)
