"""The client for asyncio: one thin method for each thing that can be asked of durable tasks, queues and the fleet, and
so a long module. A request begins here, with `submit`, and goes on in services/gateway/submit.py; what is answered
while the client waits is in `inferring.py`.

`sync_client.py` has the same methods for everybody else.
"""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self, Unpack

from opentelemetry.trace import TracerProvider

from forebay.client import following, methods, policies, reading, submitting
from forebay.client.cache import AsyncCache
from forebay.client.calls import Calls
from forebay.client.credentials import credentials
from forebay.client.dead_letters import AsyncDeadLetters
from forebay.client.errors import ForebayClientError, SubmitManyError, TaskFailedError, from_status
from forebay.client.explaining import Explanation, explanation
from forebay.client.filtering import task_filter
from forebay.client.fleet import ModelInfo, PauseInfo, QueueInfo, RunnerInfo
from forebay.client.inferring import AsyncInference
from forebay.client.pausing import selector
from forebay.client.policies import PolicyChanges, PolicyInfo
from forebay.client.repository import AsyncRepository
from forebay.client.retry import RetryPolicy
from forebay.client.schedules import AsyncSchedules
from forebay.client.specs import TaskOptions, moment, priority_number, task_spec
from forebay.client.tasks import (
    CancelProgress,
    CancelSummary,
    Chunk,
    Priority,
    TaskHandle,
    TaskInfo,
    TaskRef,
    TaskState,
    task_id,
)
from forebay.client.transport import AsyncTransport, Transport
from forebay.models.v1.model_service_pb2 import ListModelsRequest, ListRunnersRequest
from forebay.queues.v1.queue_service_pb2 import (
    GetPolicyRequest,
    ListQueuesRequest,
    PauseQueueRequest,
    ResumeQueueRequest,
)
from forebay.tasks.v1.task_pb2 import Task, TaskSpec
from forebay.tasks.v1.task_service_pb2 import (
    AllTasks,
    CancelMatchingTasksRequest,
    CancelTasksRequest,
    ExplainTaskRequest,
    GetTaskRequest,
    LabelSelector,
    ListTasksRequest,
    SubmitResult,
    TaskIds,
    UpdateTasksRequest,
    WatchTasksRequest,
)

_PAGE: int = 200


class AsyncClient(AsyncInference):
    """Talks to a Forebay gateway. Make it inside a running event loop, share it freely there, close it at the end.

    `address` is host:port. `api_key` says who calls, where the gateway asks; by default it is that of FOREBAY_API_KEY.
    `timeout_s` bounds each call, retries included; waits and streams take their own.
    Every method raises errors of `forebay.client.errors`; cancelling a method cancels its call, and a submit that
    was cancelled may have happened.
    """

    def __init__(
        self,
        address: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        retry: RetryPolicy | None = None,
        tracer_provider: TracerProvider | None = None,
    ) -> None:
        self._begin(AsyncTransport(address), api_key, timeout_s, retry, tracer_provider)

    @classmethod
    def over(
        cls,
        transport: Transport,
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        retry: RetryPolicy | None = None,
        tracer_provider: TracerProvider | None = None,
    ) -> Self:
        """Make a client over another transport, which it then owns."""
        client = cls.__new__(cls)
        client._begin(transport, api_key, timeout_s, retry, tracer_provider)
        return client

    def _begin(
        self,
        transport: Transport,
        api_key: str | None,
        timeout_s: float,
        retry: RetryPolicy | None,
        tracer_provider: TracerProvider | None,
    ) -> None:
        self._calls = Calls(transport, retry or RetryPolicy(), tracer_provider, credentials(api_key))
        self._timeout_s = timeout_s
        self.dead_letters = AsyncDeadLetters(self._calls, timeout_s)
        """Tasks that used up their attempts, and messages that nobody could read."""
        self.repository = AsyncRepository(self._calls, timeout_s)
        """The models that can be served, and loading and unloading them."""
        self.schedules = AsyncSchedules(self._calls, timeout_s)
        """Tasks that recur."""
        self.cache = AsyncCache(self._calls, timeout_s)
        """The result cache, as the gateway at this address has it."""

    async def submit(self, model: str, **options: Unpack[TaskOptions]) -> TaskHandle:
        """Submit one task. When this returns, the task is safe. Options: see TaskOptions."""
        (result,) = await self.submit_specs([task_spec(model, **options)])
        accepted = _accepted(result)
        if isinstance(accepted, ForebayClientError):
            raise accepted
        return accepted

    async def submit_many(
        self, specs: Iterable[TaskSpec], *, timeout_s: float | None = None
    ) -> Sequence[TaskHandle]:
        """Submit tasks made with `task_spec`, up to 1000 in a call; handles in the same order.

        Raises SubmitManyError, which has the handles of the others, when some were not accepted.
        """
        results = [_accepted(result) for result in await self.submit_specs(list(specs), timeout_s=timeout_s)]
        handles = [result for result in results if isinstance(result, TaskHandle)]
        if len(handles) < len(results):
            raise SubmitManyError(results)
        return handles

    async def submit_specs(
        self, specs: Sequence[TaskSpec], *, timeout_s: float | None = None, idempotent: bool = True
    ) -> Sequence[SubmitResult]:
        """Submit tasks and return the server's answers as they are on the wire: the fast way for very many.

        `idempotent=False` leaves tasks without a key and then never tries again.
        """
        if not specs:
            return []
        return await submitting.submit(self._calls, specs, self._limit(timeout_s), idempotent=idempotent)

    async def wait(
        self, task: TaskRef, timeout_s: float | None = None, *, include_result: bool = True
    ) -> TaskInfo:
        """Wait until a task has ended, however it did. Raises DeadlineExceeded after `timeout_s` (default: never)."""
        (ended,) = await self.wait_many([task], timeout_s, include_result=include_result)
        return ended

    async def wait_many(
        self, tasks: Iterable[TaskRef], timeout_s: float | None = None, *, include_result: bool = True
    ) -> Sequence[TaskInfo]:
        """Wait until every task has ended, over one stream; results in the same order."""
        ids = [task_id(task) for task in tasks]
        ended = await self.wait_tasks(ids, timeout_s, include_result=include_result)
        return [reading.info(task) for task in ended]

    async def wait_tasks(
        self, ids: Sequence[str], timeout_s: float | None = None, *, include_result: bool = True
    ) -> Sequence[Task]:
        """Wait until every task has ended and return them as they are on the wire: the fast way for very many."""
        if not ids:
            return []
        ended = await following.outcomes(self._calls, ids, timeout_s, include_result=include_result)
        return [ended[id_] for id_ in ids]

    async def stream(
        self, task: TaskRef, *, after: int = 0, timeout_s: float | None = None
    ) -> AsyncGenerator[Chunk, None]:
        """Yield the output of a generation while it is written, after a sequence number, to its end.

        Connections may come and go: no chunk is missed and none comes twice. A chunk with `restarted` voids all
        before it. Raises TaskFailedError after the last chunk when the task ended without a result.
        """
        id_ = task_id(task)
        async with aclosing(following.output(self._calls, id_, after, timeout_s)) as answers:
            async for answer in answers:
                chunk = reading.chunk(answer)
                yield chunk
                if chunk.state not in (None, TaskState.SUCCEEDED):
                    cause = from_status(answer.error) if answer.HasField("error") else None
                    raise TaskFailedError(id_, chunk.state, cause)

    async def watch(
        self,
        tasks: Iterable[TaskRef] | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        include_result: bool = False,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[TaskInfo, None]:
        """Yield changes of tasks: of the named ones until all have ended, or from now on of those with all labels,
        or of all when neither is given.

        Watching named tasks survives lost connections. The other two end with Unavailable then, because updates
        may be lost, and with DeadlineExceeded after `timeout_s` (default: a day).
        """
        if tasks is None:
            request = WatchTasksRequest(include_result=include_result)
            if labels:
                request.selector.CopyFrom(LabelSelector(labels=labels))
            else:
                request.all.CopyFrom(AllTasks())
            async with aclosing(following.watch(self._calls, request, timeout_s)) as updates:
                async for update in updates:
                    yield reading.info(update)
            return
        ids = [task_id(task) for task in tasks]
        seen: dict[str, tuple[int, int, int]] = {}
        named = following.follow(self._calls, ids, timeout_s, include_result=include_result)
        async with aclosing(named) as batches:
            async for batch in batches:
                for update in batch:
                    present = (update.state, update.attempt, update.publication)
                    if seen.get(update.id) != present:
                        seen[update.id] = present
                        yield reading.info(update)

    async def get(
        self, task: TaskRef, *, include_input: bool = False, include_result: bool = True
    ) -> TaskInfo:
        """Return a task as it is now."""
        request = GetTaskRequest(
            id=task_id(task), include_input=include_input, omit_result=not include_result
        )
        answer = await self._calls.unary(methods.GET, request, self._timeout_s)
        return reading.info(answer.task)

    async def explain(self, task: TaskRef) -> Explanation:
        """Return where a task is and why it is still there: what it waits for, what is before it, when it is expected
        to start and end; of one that has ended, how long each phase took.
        """
        request = ExplainTaskRequest(id=task_id(task))
        return explanation(await self._calls.unary(methods.EXPLAIN, request, self._timeout_s))

    async def cancel(self, tasks: TaskRef | Iterable[TaskRef]) -> CancelSummary:
        """Cancel tasks in whatever state. After it, no result of them appears."""
        ids = [task_id(task) for task in ([tasks] if isinstance(tasks, TaskRef) else tasks)]
        parts = [ids[at : at + following.MOST_IDS] for at in range(0, len(ids), following.MOST_IDS)]
        answers = [
            await self._calls.unary(
                methods.CANCEL, CancelTasksRequest(tasks=TaskIds(ids=part)), self._timeout_s
            )
            for part in parts
        ]
        return reading.cancel_summary(answers)

    async def cancel_matching(
        self,
        *,
        states: Iterable[TaskState | str] = (),
        model: str = "",
        labels: Mapping[str, str] | None = None,
        priorities: Iterable[Priority | str] = (),
        pool: str = "",
    ) -> CancelSummary:
        """Cancel every task that meets all conditions and has not ended; no condition means every task."""
        filter_ = task_filter(states, model, labels, priorities, pool)
        request = CancelTasksRequest(filter=filter_)
        return reading.cancel_summary([await self._calls.unary(methods.CANCEL, request, self._timeout_s)])

    async def cancel_all_matching(
        self,
        *,
        states: Iterable[TaskState | str] = (),
        model: str = "",
        labels: Mapping[str, str] | None = None,
        priorities: Iterable[Priority | str] = (),
        pool: str = "",
        timeout_s: float | None = None,
    ) -> AsyncGenerator[CancelProgress, None]:
        """Do what `cancel_matching` does for any number of tasks, and yield how far it is, about every second and at
        the end. Leaving off leaves cancelled what is cancelled. `timeout_s` bounds the whole (default: a day).
        """
        filter_ = task_filter(states, model, labels, priorities, pool)
        request = CancelMatchingTasksRequest(filter=filter_)
        limit_s = following.WATCH_S if timeout_s is None else timeout_s
        async with aclosing(self._calls.stream(methods.CANCEL_MATCHING, request, limit_s)) as answers:
            async for answer in answers:
                yield CancelProgress(answer.seen, answer.cancelled, answer.done)

    async def update(
        self,
        tasks: TaskRef | Iterable[TaskRef],
        *,
        priority: Priority | str | None = None,
        deadline: datetime | timedelta | None = None,
        not_before: datetime | timedelta | None = None,
        clear_deadline: bool = False,
    ) -> Mapping[str, TaskInfo | ForebayClientError]:
        """Change tasks that wait: their level, deadline or earliest start. Returns each task in its new state, or why
        it was not changed, by id.
        """
        ids = [task_id(task) for task in ([tasks] if isinstance(tasks, TaskRef) else tasks)]
        request = UpdateTasksRequest(tasks=TaskIds(ids=ids), clear_deadline=clear_deadline)
        if priority is not None:
            request.priority = priority_number(priority)
        if deadline is not None:
            request.deadline.CopyFrom(moment(deadline, "deadline"))
        if not_before is not None:
            request.not_before.CopyFrom(moment(not_before, "not_before"))
        answer = await self._calls.unary(methods.UPDATE, request, self._timeout_s)
        return {
            id_: reading.info(result.task) if result.HasField("task") else from_status(result.error)
            for id_, result in zip(ids, answer.results, strict=True)
        }

    async def pause(
        self,
        *,
        pool: str = "",
        priority: Priority | str | None = None,
        model: str = "",
        label: tuple[str, str] | None = None,
        reason: str = "",
    ) -> PauseInfo:
        """Stop the start of tasks that meet every condition that is given; new ones are accepted and kept."""
        request = PauseQueueRequest(selector=selector(pool, priority, model, label), reason=reason)
        answer = await self._calls.unary(methods.PAUSE, request, self._timeout_s)
        return reading.pause(answer.pause)

    async def resume(
        self,
        *,
        pool: str = "",
        priority: Priority | str | None = None,
        model: str = "",
        label: tuple[str, str] | None = None,
    ) -> PauseInfo:
        """Take back the pause with exactly these conditions. Raises NotFound when there is none."""
        request = ResumeQueueRequest(selector=selector(pool, priority, model, label))
        answer = await self._calls.unary(methods.RESUME, request, self._timeout_s, safe=False)
        return reading.pause(answer.pause)

    async def pauses(self) -> Sequence[PauseInfo]:
        """Return the pauses that stand, oldest first."""
        answer = await self._calls.unary(methods.QUEUES, ListQueuesRequest(), self._timeout_s)
        return [reading.pause(pause) for pause in answer.pauses]

    async def queues(self, pool: str = "") -> Sequence[QueueInfo]:
        """Return the queues, highest level first; of one pool or of all."""
        answer = await self._calls.unary(methods.QUEUES, ListQueuesRequest(pool=pool), self._timeout_s)
        return [reading.queue(queue) for queue in answer.queues]

    async def policy(self) -> PolicyInfo:
        """Return the policy that stands: how tasks are ordered, limited and routed."""
        answer = await self._calls.unary(methods.GET_POLICY, GetPolicyRequest(), self._timeout_s)
        return policies.info(answer)

    async def update_policy(
        self, *, version: int | None = None, **changes: Unpack[PolicyChanges]
    ) -> PolicyInfo:
        """Change the policy while everything runs, and return the one that stands then. Changes: see PolicyChanges.

        `version` is the one that the changes are meant for; None for whichever stands. Raises InvalidArgument, whose
        `faults` name each field that breaks a rule, PermissionDenied, and Conflict when another version stands.
        """
        request = policies.request(changes, version)
        # The same change twice is one change, unless it is meant for a version that it ends itself.
        answer = await self._calls.unary(
            methods.UPDATE_POLICY, request, self._timeout_s, safe=version is None
        )
        return policies.info(answer)

    async def models(self) -> Sequence[ModelInfo]:
        """Return the models that the fleet serves, by name."""
        answer = await self._calls.unary(methods.MODELS, ListModelsRequest(), self._timeout_s)
        return [reading.model(model) for model in answer.models]

    async def runners(self, model: str = "") -> Sequence[RunnerInfo]:
        """Return the runners, by model; of one model or of all."""
        request = ListRunnersRequest(model=model)
        answer = await self._calls.unary(methods.RUNNERS, request, self._timeout_s)
        return [reading.runner(runner) for runner in answer.runners]

    async def list(
        self,
        *,
        states: Iterable[TaskState | str] = (),
        model: str = "",
        labels: Mapping[str, str] | None = None,
        priorities: Iterable[Priority | str] = (),
        pool: str = "",
        limit: int | None = None,
    ) -> AsyncGenerator[TaskInfo, None]:
        """Yield the tasks that meet all conditions, newest first, page after page, `limit` at most."""
        filter_ = task_filter(states, model, labels, priorities, pool)
        token, left = "", limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            request = ListTasksRequest(filter=filter_, page_size=size, page_token=token)
            page = await self._calls.unary(methods.LIST, request, self._timeout_s)
            for task in page.tasks[:left]:
                yield reading.info(task)
            left = None if left is None else left - len(page.tasks)
            token = page.next_page_token
            if not token:
                return

    async def close(self) -> None:
        """Let go of the connection. Idempotent."""
        await self._calls.transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _accepted(result: SubmitResult) -> TaskHandle | ForebayClientError:
    if result.WhichOneof("result") == "task":
        return reading.handle(result.task)
    return from_status(result.error)
