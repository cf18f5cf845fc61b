"""Keeps schedules: makes, shows, pauses and deletes them. Called by `schedule_service.py`; the scheduler fires them."""

from collections.abc import Callable, Collection
from hashlib import sha256
from typing import Final

from forebay.tasks.v1 import schedule_service_pb2, task_service_pb2
from scheduler.errors import RecordsUnavailable, ScheduleExists, ScheduleNotFound
from scheduler.ports.clock import StoreTime
from scheduler.ports.schedules import ScheduleStore, StoredSchedule
from services.due_times import recurrence_of
from services.gateway import convert
from services.gateway.fingerprint import Fingerprints
from services.gateway.input_validation import Faults
from services.gateway.page_token import PageTokens
from services.gateway.request_validation import DEFAULT_PAGE, check_page, refuse
from services.gateway.schedule_validation import check_name, check_schedule

_TRIES: Final = 10
"""How often a schedule that moves is read again. It moves when it is due, which is once a second at most."""
_OUTPUTS: Final = (
    "paused",
    "next_time",
    "last_time",
    "last_task",
    "create_time",
    "missed_times",
    "last_fault",
)
_ALL: Final = task_service_pb2.TaskFilter()


class Schedules:
    """The use cases."""

    def __init__(
        self,
        store: ScheduleStore,
        tokens: PageTokens,
        fingerprints: Fingerprints,
        time: StoreTime,
        pools: Collection[str],
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._fingerprints = fingerprints
        self._time = time
        self._pools = frozenset(pools)

    async def create(
        self, tenant: str, asked: schedule_service_pb2.Schedule
    ) -> schedule_service_pb2.Schedule:
        """Keep a schedule; the same one again is returned as it is. Raises InvalidInput, ScheduleExists and
        RecordsUnavailable.
        """
        now_ms = await self._time.now_ms()
        check_schedule(asked, self._pools, now_ms)
        definition = schedule_service_pb2.Schedule()
        definition.CopyFrom(asked)
        for name in _OUTPUTS:
            definition.ClearField(name)
        stored = StoredSchedule(
            tenant,
            asked.name,
            definition.SerializeToString(deterministic=True),
            self._envelope(tenant, asked),
            now_ms,
            0 if asked.paused else recurrence_of(asked, now_ms).after(now_ms),
        )
        known = await self._store.create(stored)
        if known is not None and known.definition != stored.definition:
            raise ScheduleExists(asked.name)
        return shown(known or stored)

    async def get(self, tenant: str, name: str) -> StoredSchedule:
        """Return a schedule. Raises InvalidInput, ScheduleNotFound and RecordsUnavailable."""
        check_name(name)
        stored = await self._store.get(tenant, name)
        if stored is None:
            raise ScheduleNotFound(name)
        return stored

    async def page(
        self, tenant: str, request: schedule_service_pb2.ListSchedulesRequest
    ) -> schedule_service_pb2.ListSchedulesResponse:
        """Return one page, by name. Raises InvalidInput and RecordsUnavailable."""
        faults: Faults = []
        check_page(request, faults)
        refuse(faults)
        after = self._tokens.read(tenant, _ALL, request.page_token)
        size = request.page_size or DEFAULT_PAGE
        found = await self._store.list(tenant, after, size)
        response = schedule_service_pb2.ListSchedulesResponse(schedules=map(shown, found))
        if len(found) == size:
            response.next_page_token = self._tokens.make(tenant, _ALL, found[-1].name)
        return response

    async def delete(self, tenant: str, name: str) -> None:
        """Forget a schedule. Raises InvalidInput, ScheduleNotFound and RecordsUnavailable."""
        check_name(name)
        if not await self._store.delete(tenant, name):
            raise ScheduleNotFound(name)

    async def pause(self, tenant: str, name: str) -> schedule_service_pb2.Schedule:
        """Let a schedule make no tasks. Raises InvalidInput, ScheduleNotFound and RecordsUnavailable."""
        return await self._change(tenant, name, lambda stored: stored._replace(due_ms=0))

    async def resume(self, tenant: str, name: str) -> schedule_service_pb2.Schedule:
        """Let a schedule go on after now; one that is not paused stays as it is. Raises as `pause` does."""
        now_ms = await self._time.now_ms()

        def resumed(stored: StoredSchedule) -> StoredSchedule:
            if not stored.paused:
                return stored
            definition = schedule_service_pb2.Schedule.FromString(stored.definition)
            due_ms = recurrence_of(definition, stored.create_time_ms).after(now_ms)
            return stored._replace(due_ms=due_ms)

        return await self._change(tenant, name, resumed)

    async def _change(
        self, tenant: str, name: str, change: Callable[[StoredSchedule], StoredSchedule]
    ) -> schedule_service_pb2.Schedule:
        for _ in range(_TRIES):
            before = await self.get(tenant, name)
            after = change(before)
            if after == before or await self._store.change(before, after):
                return shown(after)
        raise RecordsUnavailable(f"schedule {name} moves all the time; try again")

    def _envelope(self, tenant: str, asked: schedule_service_pb2.Schedule) -> bytes:
        spec = asked.spec
        return convert.seal(
            "",
            tenant,
            spec,
            spec.SerializeToString(),
            pool=spec.pool or convert.DEFAULT_POOL,
            level=convert.LEVELS[spec.priority],
            create_time_ms=0,
            deadline_ms=0,
            max_attempts=spec.retry.max_attempts or convert.DEFAULT_ATTEMPTS,
            traceparent="",
            schedule=asked.name,
            fingerprint=self._fingerprints.of(tenant, spec),
        )


def run_key(name: str, request_id: str) -> str:
    """Return the idempotency key of a run at once; an id that would make it too long is digested."""
    if len(request_id) > 64:
        request_id = sha256(request_id.encode()).hexdigest()
    return f"schedule-run/{name}/{request_id}"


def shown(stored: StoredSchedule) -> schedule_service_pb2.Schedule:
    """Return a schedule as it travels."""
    schedule = schedule_service_pb2.Schedule.FromString(stored.definition)
    schedule.paused = stored.paused
    schedule.missed_times, schedule.last_fault = stored.missed, stored.last_fault
    schedule.last_task = stored.last_task
    convert.stamp(schedule.create_time, stored.create_time_ms)
    if stored.due_ms:
        convert.stamp(schedule.next_time, stored.due_ms)
    if stored.last_ms:
        convert.stamp(schedule.last_time, stored.last_ms)
    return schedule
