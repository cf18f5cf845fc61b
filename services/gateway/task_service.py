"""TaskService on the wire: takes requests apart, calls the use case, puts answers together. Nothing is decided here."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc.aio
from google.rpc import status_pb2

from forebay.tasks.v1 import task_service_pb2, task_service_pb2_grpc
from scheduler.errors import ForebayError, TaskNotFound
from scheduler.ports.records import QueryStore
from services.gateway import convert
from services.gateway.caller import CallerOf
from services.gateway.cancel import CancelTasks
from services.gateway.dead_letters import DeadLetters
from services.gateway.explaining import ExplainTask
from services.gateway.listing import ListTasks
from services.gateway.replay import ReplayTasks
from services.gateway.request_validation import check_id
from services.gateway.stream_output import StreamOutput
from services.gateway.submit import Submit
from services.gateway.update import UpdateTasks
from services.gateway.watch import Watch
from services.lifecycle import Service
from services.status import to_status


@dataclass(frozen=True, slots=True)
class TaskUseCases:
    """What TaskService can do."""

    submit: Submit
    store: QueryStore
    listing: ListTasks
    watch: Watch
    stream_output: StreamOutput
    cancel: CancelTasks
    update: UpdateTasks
    explain: ExplainTask
    dead_letters: DeadLetters
    replay: ReplayTasks


class TaskServicer(task_service_pb2_grpc.TaskServiceServicer):
    """Called by gRPC; errors that leave a method become statuses in `services/interceptor.py`."""

    def __init__(self, use_cases: TaskUseCases, caller_of: CallerOf) -> None:
        self._use = use_cases
        self._caller_of = caller_of

    async def SubmitTasks(
        self, request: task_service_pb2.SubmitTasksRequest, context: Any
    ) -> task_service_pb2.SubmitTasksResponse:
        """See the contract."""
        tenant = self._caller_of(context).tenant
        outcomes = await self._use.submit(tenant, request.tasks, request.ByteSize())
        response = task_service_pb2.SubmitTasksResponse()
        results = response.results
        # Tasks that were refused for the same reason share the error, often hundreds of them.
        statuses: dict[int, status_pb2.Status] = {}
        for outcome in outcomes:
            if isinstance(outcome, ForebayError):
                status = statuses.get(id(outcome))
                if status is None:
                    status = statuses[id(outcome)] = to_status(outcome)
                results.add().error.CopyFrom(status)
            else:
                convert.fill_accepted(results.add().task, outcome, tenant)
        return response

    async def GetTask(
        self, request: task_service_pb2.GetTaskRequest, context: Any
    ) -> task_service_pb2.GetTaskResponse:
        """See the contract."""
        check_id(request.id)
        tenant = self._caller_of(context).tenant
        record = (await self._use.store.get([request.id], not request.omit_result))[0]
        if record is None or record.tenant != tenant:
            raise TaskNotFound(request.id)
        task = convert.task_of(
            record, include_input=request.include_input, include_result=not request.omit_result
        )
        return task_service_pb2.GetTaskResponse(task=task)

    async def ListTasks(
        self, request: task_service_pb2.ListTasksRequest, context: Any
    ) -> task_service_pb2.ListTasksResponse:
        """See the contract."""
        return await self._use.listing(self._caller_of(context).tenant, request)

    def WatchTasks(
        self, request: task_service_pb2.WatchTasksRequest, context: Any
    ) -> AsyncIterator[task_service_pb2.WatchTasksResponse]:
        """See the contract."""
        return self._use.watch(self._caller_of(context).tenant, request)

    def StreamOutput(
        self, request: task_service_pb2.StreamOutputRequest, context: Any
    ) -> AsyncIterator[task_service_pb2.StreamOutputResponse]:
        """See the contract."""
        return self._use.stream_output(self._caller_of(context).tenant, request)

    async def CancelTasks(
        self, request: task_service_pb2.CancelTasksRequest, context: Any
    ) -> task_service_pb2.CancelTasksResponse:
        """See the contract."""
        return await self._use.cancel(self._caller_of(context).tenant, request)

    def CancelMatchingTasks(
        self, request: task_service_pb2.CancelMatchingTasksRequest, context: Any
    ) -> AsyncIterator[task_service_pb2.CancelMatchingTasksResponse]:
        """See the contract."""
        return self._use.cancel.matching(self._caller_of(context).tenant, request)

    async def UpdateTasks(
        self, request: task_service_pb2.UpdateTasksRequest, context: Any
    ) -> task_service_pb2.UpdateTasksResponse:
        """See the contract."""
        return await self._use.update(self._caller_of(context).tenant, request)

    async def ExplainTask(
        self, request: task_service_pb2.ExplainTaskRequest, context: Any
    ) -> task_service_pb2.ExplainTaskResponse:
        """See the contract."""
        return await self._use.explain(self._caller_of(context), request)

    async def ListDeadLetters(
        self, request: task_service_pb2.ListDeadLettersRequest, context: Any
    ) -> task_service_pb2.ListDeadLettersResponse:
        """See the contract."""
        return await self._use.dead_letters.page(self._caller_of(context), request)

    async def GetDeadLetter(
        self, request: task_service_pb2.GetDeadLetterRequest, context: Any
    ) -> task_service_pb2.GetDeadLetterResponse:
        """See the contract."""
        return await self._use.dead_letters.one(self._caller_of(context), request)

    async def ReplayTasks(
        self, request: task_service_pb2.ReplayTasksRequest, context: Any
    ) -> task_service_pb2.ReplayTasksResponse:
        """See the contract."""
        return await self._use.replay(self._caller_of(context), request)

    async def PurgeDeadLetters(
        self, request: task_service_pb2.PurgeDeadLettersRequest, context: Any
    ) -> task_service_pb2.PurgeDeadLettersResponse:
        """See the contract."""
        return await self._use.dead_letters.purge(self._caller_of(context), request)


def task_service(servicer: TaskServicer) -> Service:
    """Return the service, ready to be served."""

    def register(server: grpc.aio.Server) -> None:
        task_service_pb2_grpc.add_TaskServiceServicer_to_server(servicer, server)

    return Service(task_service_pb2.DESCRIPTOR.services_by_name["TaskService"].full_name, register)
