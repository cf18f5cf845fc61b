"""Makes the tasks of schedules that are due: one for each due time, however many schedulers look.

The task is created under a key made of the schedule's name and the due time, then the schedule goes on if it still has
that due time. Whoever dies in between leaves a schedule that is due, and the next one finds the task by its key.
"""

import logging
from collections.abc import Sequence
from hashlib import sha256

from google.protobuf.message import DecodeError

from forebay.tasks.v1.envelope_pb2 import Envelope
from forebay.tasks.v1.schedule_service_pb2 import Schedule
from scheduler.errors import ForebayError, ServerUnavailable
from scheduler.ids import new_ids, partition_for
from scheduler.policies.recurrence import Missed, Turn, turn
from scheduler.ports.clock import StoreTime
from scheduler.ports.records import AdmissionStore, Admitted, NewTask, Republication
from scheduler.ports.schedules import ScheduleStore, StoredSchedule
from scheduler.service.outgoing import Outgoing
from scheduler.states import Level
from services.due_times import recurrence_of

log = logging.getLogger(__name__)

LIMIT = 64
"""Most due schedules of one partition that one sweep takes on."""


class Firing:
    """Fires schedules. Nothing waits for the log: a task that is recorded is published by its ticket."""

    def __init__(
        self, schedules: ScheduleStore, admissions: AdmissionStore, outgoing: Outgoing, time: StoreTime
    ) -> None:
        self._schedules = schedules
        self._admissions = admissions
        self._outgoing = outgoing
        self._time = time

    async def fire(self, partitions: Sequence[int]) -> int:
        """Give each due schedule one turn; returns how many were due. Raises RecordsUnavailable."""
        due = await self._schedules.due(partitions, LIMIT)
        if due:
            now_ms = await self._time.now_ms()
            for schedule in due:
                await self._turn(schedule, now_ms)
        return len(due)

    async def _turn(self, schedule: StoredSchedule, now_ms: int) -> None:
        try:
            definition = Schedule.FromString(schedule.definition)
            missed = Missed(definition.missed or Missed.SKIP)
            step = turn(recurrence_of(definition, schedule.create_time_ms), missed, schedule.due_ms, now_ms)
        except (ValueError, DecodeError) as error:
            # Such as a time zone that this machine does not know: without times it can only rest.
            log.error("a schedule was paused: %s", error, extra={"schedule": schedule.name})
            fault = f"its next time cannot be worked out, so it was paused: {error}"
            await self._schedules.change(schedule, schedule._replace(due_ms=0, last_fault=fault))
            return
        after = schedule._replace(due_ms=step.next_ms, missed=schedule.missed + step.missed)
        if step.fire_ms:
            after = await self._make(after, definition, step, now_ms)
        if step.missed:
            log.warning(
                "due times were missed", extra={"schedule": schedule.name, "missed_times": step.missed}
            )
        if not await self._schedules.change(schedule, after):
            log.debug("a schedule was moved by another", extra={"schedule": schedule.name})

    async def _make(
        self, schedule: StoredSchedule, definition: Schedule, step: Turn, now_ms: int
    ) -> StoredSchedule:
        """Create the task of one due time; returns the schedule with what became of it."""
        try:
            task = task_of(schedule, definition, step.fire_ms, now_ms)
            [admission], tickets = await self._admissions.create([task])
        except ServerUnavailable:
            raise
        except (ForebayError, ValueError, DecodeError) as error:
            log.error("a schedule made no task: %s", error, extra={"schedule": schedule.name})
            return schedule._replace(last_fault=str(error))
        if admission.verdict is Admitted.CONFLICT:
            fault = f"the key {task.idempotency_key} belongs to task {admission.task_id}, which is another"
            log.error("a schedule made no task: %s", fault, extra={"schedule": schedule.name})
            return schedule._replace(last_fault=fault)
        if admission.verdict is Admitted.CREATED:
            self._outgoing.offer(
                [Republication(admission.task_id, admission.publication, task.envelope)], tickets
            )
        return schedule._replace(last_ms=step.fire_ms, last_task=admission.task_id, last_fault="")


def task_of(schedule: StoredSchedule, definition: Schedule, due_ms: int, now_ms: int) -> NewTask:
    """Return the task of one due time. Raises DecodeError or ValueError for a broken schedule."""
    key = f"schedule/{schedule.name}/{due_ms}"
    envelope = Envelope.FromString(schedule.envelope)
    level = Level(envelope.priority)
    # All tasks with one key must be in one partition.
    envelope.id = new_ids(partition_for(schedule.tenant, key), 1, now_ms)[0]
    envelope.create_time_ms = now_ms
    envelope.schedule = schedule.name
    envelope.fingerprint = envelope.fingerprint or sha256(envelope.spec).hexdigest()
    if definition.HasField("run_within"):
        envelope.deadline_ms = due_ms + definition.run_within.ToMilliseconds()
    return NewTask(
        envelope.id,
        schedule.tenant,
        envelope.pool,
        level,
        envelope.SerializeToString(),
        max(1, envelope.max_attempts),
        envelope.deadline_ms,
        key,
        envelope.fingerprint,
        model=envelope.model,
    )
