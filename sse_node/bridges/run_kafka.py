"""The command `bridge kafka`: run the bridge, or check it."""

from sse_node.bridges import process
from sse_node.bridges.dead_letters import DeadLetters
from sse_node.bridges.kafka import KafkaBridge
from sse_node.bridges.kafka_check import find_record
from sse_node.bridges.kafka_letters import LetterTopic
from sse_node.config.bridges import BridgeSettings, KafkaSettings
from sse_node.config.sections import Settings


def run(settings: Settings, bridge: BridgeSettings, kafka: KafkaSettings, *, check: bool) -> None:
    """Run the bridge until it is asked to stop, or check it once.

    Raises:
        BridgeError: it cannot go on.
        ConfigError: it cannot start as it is set up.
    """
    letters = _letters_of(bridge, kafka)
    if check:
        process.check(settings, bridge, lambda pipeline: find_record(kafka))
        return
    process.run(
        settings,
        bridge,
        "kafka",
        lambda pipeline, figures: KafkaBridge(kafka, pipeline, figures, bridge.batch),
        letters,
    )


def _letters_of(bridge: BridgeSettings, kafka: KafkaSettings) -> DeadLetters:
    if bridge.dead_letter and "/" not in bridge.dead_letter:
        return LetterTopic(bridge.dead_letter, kafka)
    return process.letters_of(bridge)
