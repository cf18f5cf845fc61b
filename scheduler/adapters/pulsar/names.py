"""Names of the topics beside the lanes. Called by the publisher, the reader and whoever makes topics.

They are plain topics: nobody consumes them in the ordinary way, recovery reads them from the beginning.
"""


def unreadable_topic(namespace: str, pool: str) -> str:
    """Name the topic that keeps what a pool's schedulers could not read."""
    return f"persistent://{namespace}/unreadable.{pool}"


def parked_topic(namespace: str, pool: str) -> str:
    """Name the topic that keeps a pool's tasks that waited for a time or for other tasks when they came."""
    return f"persistent://{namespace}/parked.{pool}"


def results_topic(namespace: str) -> str:
    """Name the topic that keeps the journal of endings."""
    return f"persistent://{namespace}/results"
