"""The message log on Apache Pulsar, or on any broker that speaks its protocol."""

from scheduler.adapters.pulsar.consumer import PulsarConsumer
from scheduler.adapters.pulsar.publisher import PulsarPublisher, unreadable_topic
from scheduler.adapters.pulsar.topics import ensure_topics

__all__ = ["PulsarConsumer", "PulsarPublisher", "ensure_topics", "unreadable_topic"]
