"""Pauses, as they are on the wire."""

from forebay.client.specs import priority_number
from forebay.client.tasks import Priority
from forebay.queues.v1.queue_service_pb2 import PauseSelector


def selector(
    pool: str, priority: Priority | str | None, model: str, label: tuple[str, str] | None
) -> PauseSelector:
    """Return a selector; what is empty holds back all. Raises ValueError for a priority that is none."""
    key, value = label or ("", "")
    chosen = PauseSelector(pool=pool, model=model, label_key=key, label_value=value)
    if priority is not None:
        chosen.priority = priority_number(priority)
    return chosen
