"""ScheduleService on the wire: takes requests apart, calls the use case, puts answers together."""

from typing import Any

import grpc.aio

from forebay.tasks.v1 import schedule_service_pb2, schedule_service_pb2_grpc
from services.gateway import convert
from services.gateway.caller import CallerOf
from services.gateway.running_schedules import RunSchedule
from services.gateway.schedules import Schedules, shown
from services.lifecycle import Service


class ScheduleServicer(schedule_service_pb2_grpc.ScheduleServiceServicer):
    """Called by gRPC; errors that leave a method become statuses in `services/interceptor.py`."""

    def __init__(self, schedules: Schedules, run: RunSchedule, caller_of: CallerOf) -> None:
        self._schedules = schedules
        self._run = run
        self._caller_of = caller_of

    async def CreateSchedule(
        self, request: schedule_service_pb2.CreateScheduleRequest, context: Any
    ) -> schedule_service_pb2.CreateScheduleResponse:
        """See the contract."""
        schedule = await self._schedules.create(self._tenant(context), request.schedule)
        return schedule_service_pb2.CreateScheduleResponse(schedule=schedule)

    async def GetSchedule(
        self, request: schedule_service_pb2.GetScheduleRequest, context: Any
    ) -> schedule_service_pb2.GetScheduleResponse:
        """See the contract."""
        stored = await self._schedules.get(self._tenant(context), request.name)
        return schedule_service_pb2.GetScheduleResponse(schedule=shown(stored))

    async def ListSchedules(
        self, request: schedule_service_pb2.ListSchedulesRequest, context: Any
    ) -> schedule_service_pb2.ListSchedulesResponse:
        """See the contract."""
        return await self._schedules.page(self._tenant(context), request)

    async def DeleteSchedule(
        self, request: schedule_service_pb2.DeleteScheduleRequest, context: Any
    ) -> schedule_service_pb2.DeleteScheduleResponse:
        """See the contract."""
        await self._schedules.delete(self._tenant(context), request.name)
        return schedule_service_pb2.DeleteScheduleResponse()

    async def PauseSchedule(
        self, request: schedule_service_pb2.PauseScheduleRequest, context: Any
    ) -> schedule_service_pb2.PauseScheduleResponse:
        """See the contract."""
        schedule = await self._schedules.pause(self._tenant(context), request.name)
        return schedule_service_pb2.PauseScheduleResponse(schedule=schedule)

    async def ResumeSchedule(
        self, request: schedule_service_pb2.ResumeScheduleRequest, context: Any
    ) -> schedule_service_pb2.ResumeScheduleResponse:
        """See the contract."""
        schedule = await self._schedules.resume(self._tenant(context), request.name)
        return schedule_service_pb2.ResumeScheduleResponse(schedule=schedule)

    async def RunSchedule(
        self, request: schedule_service_pb2.RunScheduleRequest, context: Any
    ) -> schedule_service_pb2.RunScheduleResponse:
        """See the contract."""
        tenant = self._tenant(context)
        accepted = await self._run(tenant, request.name, request.request_id)
        response = schedule_service_pb2.RunScheduleResponse()
        convert.fill_accepted(response.task, accepted, tenant)
        return response

    def _tenant(self, context: Any) -> str:
        return self._caller_of(context).tenant


def schedule_service(servicer: ScheduleServicer) -> Service:
    """Return the service, ready to be served."""

    def register(server: grpc.aio.Server) -> None:
        schedule_service_pb2_grpc.add_ScheduleServiceServicer_to_server(servicer, server)

    name = schedule_service_pb2.DESCRIPTOR.services_by_name["ScheduleService"].full_name
    return Service(name, register)
