"""When a schedule is due, by its contract: the gateway makes schedules by it, and the scheduler fires them."""

from forebay.tasks.v1 import schedule_service_pb2
from scheduler.policies.recurrence import Recurrence


def recurrence_of(definition: schedule_service_pb2.Schedule, create_time_ms: int) -> Recurrence:
    """Return the due times of a schedule that was made at that time. Raises ValueError as Recurrence does."""
    if definition.WhichOneof("timing") == "cron":
        return Recurrence(cron=definition.cron, zone=definition.time_zone or "UTC", start_ms=create_time_ms)
    return Recurrence(interval_ms=definition.interval.ToMilliseconds(), start_ms=create_time_ms)
