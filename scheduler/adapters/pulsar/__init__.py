"""The message log on Apache Pulsar, or on any broker that speaks its protocol."""

from scheduler.adapters.pulsar.consumer import PulsarConsumer
from scheduler.adapters.pulsar.names import parked_topic, results_topic, unreadable_topic
from scheduler.adapters.pulsar.publisher import PulsarPublisher
from scheduler.adapters.pulsar.reader import PulsarReader
from scheduler.adapters.pulsar.topics import ensure_topics

__all__ = [
    "PulsarConsumer",
    "PulsarPublisher",
    "PulsarReader",
    "ensure_topics",
    "parked_topic",
    "results_topic",
    "unreadable_topic",
]
