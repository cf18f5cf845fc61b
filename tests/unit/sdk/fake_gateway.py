"""A gateway that keeps tasks in a dictionary and fails as it is told: the client's tests talk to it over real gRPC."""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from forebay.models.v1 import model_service_pb2 as models
from forebay.models.v1 import model_service_pb2_grpc as models_grpc
from forebay.queues.v1 import queue_service_pb2 as queues
from forebay.queues.v1 import queue_service_pb2_grpc as queues_grpc
from forebay.tasks.v1 import task_service_pb2 as pb
from forebay.tasks.v1 import task_service_pb2_grpc
from forebay.tasks.v1.inputs_pb2 import GenerateOutput, TensorOutput
from forebay.tasks.v1.task_pb2 import Priority, Result, Task, TaskSpec, TaskState

Context = grpc.aio.ServicerContext[Any, Any]


def failure(
    code: grpc.StatusCode,
    message: str = "as told",
    reason: str = "",
    retry_after_s: float | None = None,
    faults: dict[str, str] | None = None,
) -> Status:
    """Make a status with the details that a gateway sends."""
    details: list[Any] = [error_details_pb2.ErrorInfo(domain="forebay", reason=reason, metadata={"a": "b"})]
    if retry_after_s is not None:
        delay = Duration()
        delay.FromNanoseconds(int(retry_after_s * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if faults:
        violation = error_details_pb2.BadRequest.FieldViolation
        violations = [violation(field=field, description=fault) for field, fault in faults.items()]
        details.append(error_details_pb2.BadRequest(field_violations=violations))
    status = Status(code=code.value[0], message=message)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


UNAVAILABLE = failure(grpc.StatusCode.UNAVAILABLE, reason="LOG_UNAVAILABLE", retry_after_s=0.001)


class FakeGateway(
    task_service_pb2_grpc.TaskServiceServicer,
    queues_grpc.QueueServiceServicer,
    models_grpc.ModelServiceServicer,
):
    """Tasks succeed at once, unless `hold` is set; then they wait for `finish`."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self.specs: dict[str, TaskSpec] = {}
        self.keys: dict[str, str] = {}
        self.hold = False
        self.seen: dict[str, list[Any]] = defaultdict(list)
        """Requests by the name of their method."""
        self.metadata: dict[str, list[dict[str, str]]] = defaultdict(list)
        self.deadlines: dict[str, list[float]] = defaultdict(list)
        self.failures: dict[str, deque[Status]] = defaultdict(deque)
        """What the next calls of a method fail with, before they do anything."""
        self.lost_answers = 0
        """How many submits are done and then answered with UNAVAILABLE."""
        self.refuse: dict[str, deque[Status]] = defaultdict(deque)
        """What the next tasks of a model are refused with, one by one."""
        self.cuts: dict[str, deque[int | Status]] = defaultdict(deque)
        """After how many messages the next streams of a method break, with UNAVAILABLE; negative: without."""
        self.output: dict[str, list[pb.StreamOutputResponse]] = {}
        self.changed = asyncio.Condition()

    async def called(self, method: str) -> None:
        """Return once a method has been called."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.seen[method])

    async def _begin(self, method: str, request: Any, context: Context) -> None:
        self.seen[method].append(request)
        async with self.changed:
            self.changed.notify_all()
        self.metadata[method].append(dict(context.invocation_metadata() or ()))  # type: ignore[arg-type]
        self.deadlines[method].append(context.time_remaining() or 0.0)
        if self.failures[method]:
            await self._fail(context, self.failures[method].popleft())

    async def _fail(self, context: Context, status: Status) -> None:
        code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
        await context.abort(code, status.message, (("grpc-status-details-bin", status.SerializeToString()),))

    def accept(self, spec: TaskSpec) -> Task:
        key = spec.idempotency_key
        if not key or key not in self.keys:
            id_ = f"07-{len(self.tasks):026d}"
            state = TaskState.TASK_STATE_QUEUED if self.hold else TaskState.TASK_STATE_SUCCEEDED
            task = Task(id=id_, state=state, publication=1, attempt=0 if self.hold else 1, tenant="t")
            task.spec.CopyFrom(spec)
            task.create_time.GetCurrentTime()
            if not self.hold:
                task.result.CopyFrom(answer(spec))
            self.tasks[id_], self.specs[id_] = task, spec
            if key:
                self.keys[key] = id_
        else:
            id_ = self.keys[key]
        return self.tasks[id_]

    async def finish(self, id_: str, state: TaskState.ValueType, error: Status | None = None) -> None:
        task = self.tasks[id_]
        task.state = state
        if error is not None:
            task.error.CopyFrom(error)
        elif state == TaskState.TASK_STATE_SUCCEEDED:
            task.result.CopyFrom(answer(self.specs[id_]))
        async with self.changed:
            self.changed.notify_all()

    async def SubmitTasks(self, request: pb.SubmitTasksRequest, context: Context) -> pb.SubmitTasksResponse:
        await self._begin("SubmitTasks", request, context)
        results = []
        for spec in request.tasks:
            if self.refuse[spec.model]:
                results.append(pb.SubmitResult(error=self.refuse[spec.model].popleft()))
            else:
                task = self.accept(spec)
                results.append(
                    pb.SubmitResult(
                        task=Task(id=task.id, state=task.state, create_time=task.create_time, publication=1)
                    )
                )
        if self.lost_answers:
            self.lost_answers -= 1
            await self._fail(context, UNAVAILABLE)
        return pb.SubmitTasksResponse(results=results)

    async def GetTask(self, request: pb.GetTaskRequest, context: Context) -> pb.GetTaskResponse:
        await self._begin("GetTask", request, context)
        if request.id not in self.tasks:
            await self._fail(context, failure(grpc.StatusCode.NOT_FOUND, "no such task", "TASK_NOT_FOUND"))
        return pb.GetTaskResponse(task=self.tasks[request.id])

    async def ListTasks(self, request: pb.ListTasksRequest, context: Context) -> pb.ListTasksResponse:
        await self._begin("ListTasks", request, context)
        ids = sorted(self.tasks, reverse=True)
        start = int(request.page_token or 0)
        end = start + request.page_size
        token = str(end) if end < len(ids) else ""
        return pb.ListTasksResponse(tasks=[self.tasks[id_] for id_ in ids[start:end]], next_page_token=token)

    async def WatchTasks(
        self, request: pb.WatchTasksRequest, context: Context
    ) -> AsyncIterator[pb.WatchTasksResponse]:
        await self._begin("WatchTasks", request, context)
        ids = list(request.tasks.ids) or list(self.tasks)
        cut = self.cuts["WatchTasks"].popleft() if self.cuts["WatchTasks"] else None
        sent: dict[str, int] = {}
        count = 0
        while True:
            fresh = [self.tasks[id_] for id_ in ids if sent.get(id_) != self.tasks[id_].state]
            for at in range(0, len(fresh), 500):
                if cut is not None and await self._cut(cut, count, context):
                    return
                batch = [Task() for _ in fresh[at : at + 500]]
                for copy, task in zip(batch, fresh[at : at + 500], strict=True):
                    copy.CopyFrom(task)
                    if not request.include_result:
                        copy.ClearField("result")
                    sent[task.id] = task.state
                yield pb.WatchTasksResponse(tasks=batch)
                count += 1
            if cut is not None and await self._cut(cut, count, context):
                return
            if request.WhichOneof("target") == "tasks" and all(
                self.tasks[id_].state >= TaskState.TASK_STATE_SUCCEEDED for id_ in ids
            ):
                return
            async with self.changed:
                await self.changed.wait()

    async def StreamOutput(
        self, request: pb.StreamOutputRequest, context: Context
    ) -> AsyncIterator[pb.StreamOutputResponse]:
        await self._begin("StreamOutput", request, context)
        cut = self.cuts["StreamOutput"].popleft() if self.cuts["StreamOutput"] else None
        count = 0
        for chunk in self.output[request.id]:
            if chunk.sequence > request.after_sequence:
                if cut is not None and await self._cut(cut, count, context):
                    return
                yield chunk
                count += 1

    async def _cut(self, cut: int | Status, count: int, context: Context) -> bool:
        if isinstance(cut, Status):
            await self._fail(context, cut)
        elif count >= abs(cut):
            if cut >= 0:
                await self._fail(context, UNAVAILABLE)
            return True
        return False

    async def CancelTasks(self, request: pb.CancelTasksRequest, context: Context) -> pb.CancelTasksResponse:
        await self._begin("CancelTasks", request, context)
        outcome = pb.CancelResult.Outcome
        answer = pb.CancelTasksResponse()
        for id_ in request.tasks.ids or list(self.tasks):
            if id_ not in self.tasks:
                answer.not_found += 1
                fate = outcome.OUTCOME_NOT_FOUND
            elif self.tasks[id_].state >= TaskState.TASK_STATE_SUCCEEDED:
                answer.already_terminal += 1
                fate = outcome.OUTCOME_ALREADY_TERMINAL
            else:
                answer.cancelled += 1
                fate = outcome.OUTCOME_CANCELLED
                cancelled = failure(grpc.StatusCode.CANCELLED, "cancelled", "TASK_CANCELLED")
                await self.finish(id_, TaskState.TASK_STATE_CANCELLED, cancelled)
            answer.results.append(pb.CancelResult(id=id_, outcome=fate))
        return answer

    async def ListQueues(
        self, request: queues.ListQueuesRequest, context: Context
    ) -> queues.ListQueuesResponse:
        await self._begin("ListQueues", request, context)
        waiting = queues.Queue(
            pool="default",
            priority=Priority.PRIORITY_HIGH,
            depth=3,
            running=1,
            share=0.2,
            finished_per_second=9.5,
        )
        waiting.oldest_age.FromMilliseconds(1500)
        idle = queues.Queue(pool="default", priority=Priority.PRIORITY_LOW)
        return queues.ListQueuesResponse(queues=[waiting, idle])

    async def ListModels(
        self, request: models.ListModelsRequest, context: Context
    ) -> models.ListModelsResponse:
        await self._begin("ListModels", request, context)
        signature = models.TensorSignature(name="x", datatype="FP32", shape=[-1, 4])
        kind = models.EngineKind.ENGINE_KIND_TENSOR
        return models.ListModelsResponse(
            models=[
                models.Model(name="add", engine=kind, inputs=[signature], ready_runners=1, providers=["CPU"])
            ]
        )

    async def ListRunners(
        self, request: models.ListRunnersRequest, context: Context
    ) -> models.ListRunnersResponse:
        await self._begin("ListRunners", request, context)
        runner = models.Runner(id="r1", model="add", state=models.RunnerState.RUNNER_STATE_READY, pid=7)
        runner.load_duration.FromMilliseconds(250)
        return models.ListRunnersResponse(runners=[runner])


def answer(spec: TaskSpec) -> Result:
    """Echo the input."""
    if spec.WhichOneof("input") == "tensors":
        return Result(tensors=TensorOutput(tensors=spec.tensors.tensors))
    return Result(generate=GenerateOutput(text=spec.generate.prompt + "!", token_ids=[1, 2]))


def register(gateway: FakeGateway, server: grpc.aio.Server) -> None:
    """Put it on a server."""
    task_service_pb2_grpc.add_TaskServiceServicer_to_server(gateway, server)
    queues_grpc.add_QueueServiceServicer_to_server(gateway, server)
    models_grpc.add_ModelServiceServicer_to_server(gateway, server)
