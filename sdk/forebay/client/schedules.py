"""Schedules: tasks that recur."""

import secrets
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from forebay.client import methods, reading
from forebay.client.calls import Calls
from forebay.client.tasks import TaskHandle
from forebay.client.transport import complete, iterate
from forebay.tasks.v1.schedule_service_pb2 import (
    CreateScheduleRequest,
    DeleteScheduleRequest,
    GetScheduleRequest,
    ListSchedulesRequest,
    MissedPolicy,
    PauseScheduleRequest,
    ResumeScheduleRequest,
    RunScheduleRequest,
    Schedule,
)
from forebay.tasks.v1.task_pb2 import TaskSpec

_PAGE: Final = 200
_MISSED: Final[dict[str, MissedPolicy.ValueType]] = {
    "skip": MissedPolicy.MISSED_POLICY_SKIP,
    "run_once": MissedPolicy.MISSED_POLICY_RUN_ONCE,
}


@dataclass(frozen=True, slots=True)
class ScheduleInfo:
    """A schedule as the server has it."""

    name: str
    spec: TaskSpec
    cron: str
    """Empty when it has an interval."""
    interval: timedelta | None
    time_zone: str
    missed: str
    """`skip` or `run_once`."""
    run_within: timedelta | None
    paused: bool
    next_time: datetime | None
    last_time: datetime | None
    last_task: str
    create_time: datetime
    missed_times: int
    last_fault: str


class AsyncSchedules:
    """The caller's schedules; `AsyncClient.schedules` is one."""

    def __init__(self, calls: Calls, timeout_s: float) -> None:
        self._calls = calls
        self._timeout_s = timeout_s

    async def create(
        self,
        name: str,
        spec: TaskSpec,
        *,
        cron: str = "",
        interval: timedelta | None = None,
        time_zone: str = "",
        missed: str = "skip",
        run_within: timedelta | None = None,
        paused: bool = False,
    ) -> ScheduleInfo:
        """Make a schedule of a task made with `task_spec`, by a cron expression or an interval. The same one again is
        returned as it is. Raises AlreadyExists when the name belongs to another one.
        """
        if missed not in _MISSED:
            raise ValueError(f"missed {missed!r} is none of {', '.join(_MISSED)}")
        if bool(cron) == (interval is not None):
            raise TypeError("a schedule takes either cron or interval")
        wanted = Schedule(name=name, spec=spec, time_zone=time_zone, missed=_MISSED[missed], paused=paused)
        if interval is not None:
            wanted.interval.FromTimedelta(interval)
        else:
            wanted.cron = cron
        if run_within is not None:
            wanted.run_within.FromTimedelta(run_within)
        request = CreateScheduleRequest(schedule=wanted)
        answer = await self._calls.unary(methods.CREATE_SCHEDULE, request, self._timeout_s)
        return _schedule(answer.schedule)

    async def get(self, name: str) -> ScheduleInfo:
        """Return one. Raises NotFound."""
        request = GetScheduleRequest(name=name)
        answer = await self._calls.unary(methods.GET_SCHEDULE, request, self._timeout_s)
        return _schedule(answer.schedule)

    async def list(self) -> AsyncGenerator[ScheduleInfo, None]:
        """Yield all, by name, page after page."""
        token = ""
        while True:
            request = ListSchedulesRequest(page_size=_PAGE, page_token=token)
            page = await self._calls.unary(methods.LIST_SCHEDULES, request, self._timeout_s)
            for schedule in page.schedules:
                yield _schedule(schedule)
            token = page.next_page_token
            if not token:
                return

    async def delete(self, name: str) -> None:
        """Delete one; tasks that it made stay. Raises NotFound."""
        request = DeleteScheduleRequest(name=name)
        await self._calls.unary(methods.DELETE_SCHEDULE, request, self._timeout_s, safe=False)

    async def pause(self, name: str) -> ScheduleInfo:
        """Stop one from making tasks. Raises NotFound."""
        request = PauseScheduleRequest(name=name)
        answer = await self._calls.unary(methods.PAUSE_SCHEDULE, request, self._timeout_s)
        return _schedule(answer.schedule)

    async def resume(self, name: str) -> ScheduleInfo:
        """Let one go on with the next due time after now. Raises NotFound."""
        request = ResumeScheduleRequest(name=name)
        answer = await self._calls.unary(methods.RESUME_SCHEDULE, request, self._timeout_s)
        return _schedule(answer.schedule)

    async def run(self, name: str) -> TaskHandle:
        """Submit its task now, beside its times. Raises NotFound."""
        request = RunScheduleRequest(name=name, request_id=secrets.token_urlsafe(16))
        answer = await self._calls.unary(methods.RUN_SCHEDULE, request, self._timeout_s)
        return reading.handle(answer.task)


class Schedules:
    """The same without asyncio; `Client.schedules` is one."""

    def __init__(self, schedules: AsyncSchedules) -> None:
        self._schedules = schedules

    def create(
        self,
        name: str,
        spec: TaskSpec,
        *,
        cron: str = "",
        interval: timedelta | None = None,
        time_zone: str = "",
        missed: str = "skip",
        run_within: timedelta | None = None,
        paused: bool = False,
    ) -> ScheduleInfo:
        """See AsyncSchedules.create."""
        return complete(
            self._schedules.create(
                name,
                spec,
                cron=cron,
                interval=interval,
                time_zone=time_zone,
                missed=missed,
                run_within=run_within,
                paused=paused,
            )
        )

    def get(self, name: str) -> ScheduleInfo:
        """See AsyncSchedules.get."""
        return complete(self._schedules.get(name))

    def list(self) -> Iterator[ScheduleInfo]:
        """See AsyncSchedules.list."""
        return iterate(self._schedules.list())

    def delete(self, name: str) -> None:
        """See AsyncSchedules.delete."""
        complete(self._schedules.delete(name))

    def pause(self, name: str) -> ScheduleInfo:
        """See AsyncSchedules.pause."""
        return complete(self._schedules.pause(name))

    def resume(self, name: str) -> ScheduleInfo:
        """See AsyncSchedules.resume."""
        return complete(self._schedules.resume(name))

    def run(self, name: str) -> TaskHandle:
        """See AsyncSchedules.run."""
        return complete(self._schedules.run(name))


def _schedule(schedule: Schedule) -> ScheduleInfo:
    words = {number: word for word, number in _MISSED.items()}
    return ScheduleInfo(
        name=schedule.name,
        spec=schedule.spec,
        cron=schedule.cron,
        interval=schedule.interval.ToTimedelta() if schedule.HasField("interval") else None,
        time_zone=schedule.time_zone or "UTC",
        missed=words.get(schedule.missed, "skip"),
        run_within=schedule.run_within.ToTimedelta() if schedule.HasField("run_within") else None,
        paused=schedule.paused,
        next_time=reading.time(schedule.next_time) if schedule.HasField("next_time") else None,
        last_time=reading.time(schedule.last_time) if schedule.HasField("last_time") else None,
        last_task=schedule.last_task,
        create_time=reading.time(schedule.create_time),
        missed_times=schedule.missed_times,
        last_fault=schedule.last_fault,
    )
