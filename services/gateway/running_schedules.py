"""RunSchedule: the task of a schedule, now, beside its times. Called by `schedule_service.py`."""

from forebay.tasks.v1 import schedule_service_pb2, task_pb2
from scheduler.errors import ForebayError, InvalidInput
from scheduler.ports.clock import StoreTime
from scheduler.ports.records import Admission
from services.gateway import convert
from services.gateway.accepting import AcceptOnce, Order
from services.gateway.schedule_validation import MAX_REQUEST_ID
from services.gateway.schedules import Schedules, run_key


class RunSchedule:
    """The use case."""

    def __init__(self, schedules: Schedules, accept: AcceptOnce, time: StoreTime) -> None:
        self._schedules = schedules
        self._accept = accept
        self._time = time

    async def __call__(self, tenant: str, name: str, request_id: str) -> Admission:
        """Submit the task; the same request id makes no second one. Raises InvalidInput, ScheduleNotFound, Overloaded
        and ServerUnavailable.
        """
        if len(request_id) > MAX_REQUEST_ID:
            raise InvalidInput.of("request_id", f"must be at most {MAX_REQUEST_ID} characters long")
        stored = await self._schedules.get(tenant, name)
        definition = schedule_service_pb2.Schedule.FromString(stored.definition)
        spec = task_pb2.TaskSpec()
        spec.CopyFrom(definition.spec)
        if request_id:
            spec.idempotency_key = run_key(name, request_id)
        if definition.HasField("run_within"):
            now_ms = await self._time.now_ms()
            convert.stamp(spec.deadline, now_ms + definition.run_within.ToMilliseconds())
        [outcome] = await self._accept(tenant, [Order(spec, schedule=name)])
        if isinstance(outcome, ForebayError):
            raise outcome
        return outcome
