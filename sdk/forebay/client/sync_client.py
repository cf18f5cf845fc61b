"""The client without asyncio: each method blocks its thread until it is done. See AsyncClient for what each does."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self, Unpack

from opentelemetry.trace import TracerProvider

from forebay.client.async_client import AsyncClient
from forebay.client.cache import Cache
from forebay.client.dead_letters import DeadLetters
from forebay.client.errors import ForebayClientError
from forebay.client.explaining import Explanation
from forebay.client.fleet import ModelInfo, PauseInfo, QueueInfo, RunnerInfo
from forebay.client.inferring import Inference
from forebay.client.policies import PolicyChanges, PolicyInfo
from forebay.client.repository import Repository
from forebay.client.retry import RetryPolicy
from forebay.client.schedules import Schedules
from forebay.client.specs import TaskOptions
from forebay.client.tasks import (
    CancelProgress,
    CancelSummary,
    Chunk,
    Priority,
    TaskHandle,
    TaskInfo,
    TaskRef,
    TaskState,
)
from forebay.client.transport import BlockingTransport, complete, iterate
from forebay.tasks.v1.task_pb2 import Task, TaskSpec
from forebay.tasks.v1.task_service_pb2 import SubmitResult


class Client(Inference):
    """Talks to a Forebay gateway. May be shared by threads. Ctrl-C ends whatever it waits for at once.

        with Client("127.0.0.1:7070") as client:
            task = client.submit("smollm2", prompt="The capital of France is", priority="high")
            print(client.wait(task).text)

    `address` is host:port. `api_key` says who calls, where the gateway asks; by default it is that of FOREBAY_API_KEY.
    `timeout_s` bounds each call, retries included; waits and streams take their own.
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
        self._client: AsyncClient = AsyncClient.over(
            BlockingTransport(address),
            api_key=api_key,
            timeout_s=timeout_s,
            retry=retry,
            tracer_provider=tracer_provider,
        )
        self.dead_letters = DeadLetters(self._client.dead_letters)
        """Tasks that used up their attempts, and messages that nobody could read."""
        self.repository = Repository(self._client.repository)
        """The models that can be served, and loading and unloading them."""
        self.schedules = Schedules(self._client.schedules)
        """Tasks that recur."""
        self.cache = Cache(self._client.cache)
        """The result cache, as the gateway at this address has it."""

    def submit(self, model: str, **options: Unpack[TaskOptions]) -> TaskHandle:
        """Submit one task. When this returns, the task is safe. Options: see TaskOptions."""
        return complete(self._client.submit(model, **options))

    def submit_many(
        self, specs: Iterable[TaskSpec], *, timeout_s: float | None = None
    ) -> Sequence[TaskHandle]:
        """Submit tasks made with `task_spec`; SubmitManyError when some were not accepted."""
        return complete(self._client.submit_many(specs, timeout_s=timeout_s))

    def submit_specs(
        self, specs: Sequence[TaskSpec], *, timeout_s: float | None = None, idempotent: bool = True
    ) -> Sequence[SubmitResult]:
        """Submit tasks and return the server's answers as they are on the wire: the fast way for very many."""
        return complete(self._client.submit_specs(specs, timeout_s=timeout_s, idempotent=idempotent))

    def wait(self, task: TaskRef, timeout_s: float | None = None, *, include_result: bool = True) -> TaskInfo:
        """Wait until a task has ended, however it did. Raises DeadlineExceeded after `timeout_s` (default: never)."""
        return complete(self._client.wait(task, timeout_s, include_result=include_result))

    def wait_many(
        self, tasks: Iterable[TaskRef], timeout_s: float | None = None, *, include_result: bool = True
    ) -> Sequence[TaskInfo]:
        """Wait until every task has ended, over one stream; results in the same order."""
        return complete(self._client.wait_many(tasks, timeout_s, include_result=include_result))

    def wait_tasks(
        self, ids: Sequence[str], timeout_s: float | None = None, *, include_result: bool = True
    ) -> Sequence[Task]:
        """Wait until every task has ended and return them as they are on the wire: the fast way for very many."""
        return complete(self._client.wait_tasks(ids, timeout_s, include_result=include_result))

    def stream(self, task: TaskRef, *, after: int = 0, timeout_s: float | None = None) -> Iterator[Chunk]:
        """Yield the output of a generation while it is written; see AsyncClient.stream."""
        return iterate(self._client.stream(task, after=after, timeout_s=timeout_s))

    def watch(
        self,
        tasks: Iterable[TaskRef] | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        include_result: bool = False,
        timeout_s: float | None = None,
    ) -> Iterator[TaskInfo]:
        """Yield changes of the named tasks, of those with all labels, or of all; see AsyncClient.watch."""
        return iterate(
            self._client.watch(tasks, labels=labels, include_result=include_result, timeout_s=timeout_s)
        )

    def get(self, task: TaskRef, *, include_input: bool = False, include_result: bool = True) -> TaskInfo:
        """Return a task as it is now."""
        return complete(self._client.get(task, include_input=include_input, include_result=include_result))

    def explain(self, task: TaskRef) -> Explanation:
        """Return where a task is and why it is still there, or how it spent its life."""
        return complete(self._client.explain(task))

    def cancel(self, tasks: TaskRef | Iterable[TaskRef]) -> CancelSummary:
        """Cancel tasks in whatever state. After it, no result of them appears."""
        return complete(self._client.cancel(tasks))

    def cancel_matching(
        self,
        *,
        states: Iterable[TaskState | str] = (),
        model: str = "",
        labels: Mapping[str, str] | None = None,
        priorities: Iterable[Priority | str] = (),
        pool: str = "",
    ) -> CancelSummary:
        """Cancel every task that meets all conditions and has not ended; no condition means every task."""
        return complete(
            self._client.cancel_matching(
                states=states, model=model, labels=labels, priorities=priorities, pool=pool
            )
        )

    def cancel_all_matching(
        self,
        *,
        states: Iterable[TaskState | str] = (),
        model: str = "",
        labels: Mapping[str, str] | None = None,
        priorities: Iterable[Priority | str] = (),
        pool: str = "",
        timeout_s: float | None = None,
    ) -> Iterator[CancelProgress]:
        """Do what `cancel_matching` does for any number of tasks, and yield how far it is."""
        return iterate(
            self._client.cancel_all_matching(
                states=states,
                model=model,
                labels=labels,
                priorities=priorities,
                pool=pool,
                timeout_s=timeout_s,
            )
        )

    def update(
        self,
        tasks: TaskRef | Iterable[TaskRef],
        *,
        priority: Priority | str | None = None,
        deadline: datetime | timedelta | None = None,
        not_before: datetime | timedelta | None = None,
        clear_deadline: bool = False,
    ) -> Mapping[str, TaskInfo | ForebayClientError]:
        """Change tasks that wait; each in its new state, or why it was not changed, by id."""
        return complete(
            self._client.update(
                tasks,
                priority=priority,
                deadline=deadline,
                not_before=not_before,
                clear_deadline=clear_deadline,
            )
        )

    def pause(
        self,
        *,
        pool: str = "",
        priority: Priority | str | None = None,
        model: str = "",
        label: tuple[str, str] | None = None,
        reason: str = "",
    ) -> PauseInfo:
        """Stop the start of tasks that meet every condition that is given; new ones are accepted and kept."""
        return complete(
            self._client.pause(pool=pool, priority=priority, model=model, label=label, reason=reason)
        )

    def resume(
        self,
        *,
        pool: str = "",
        priority: Priority | str | None = None,
        model: str = "",
        label: tuple[str, str] | None = None,
    ) -> PauseInfo:
        """Take back the pause with exactly these conditions. Raises NotFound when there is none."""
        return complete(self._client.resume(pool=pool, priority=priority, model=model, label=label))

    def pauses(self) -> Sequence[PauseInfo]:
        """Return the pauses that stand, oldest first."""
        return complete(self._client.pauses())

    def queues(self, pool: str = "") -> Sequence[QueueInfo]:
        """Return the queues, highest level first; of one pool or of all."""
        return complete(self._client.queues(pool))

    def policy(self) -> PolicyInfo:
        """Return the policy that stands: how tasks are ordered, limited and routed."""
        return complete(self._client.policy())

    def update_policy(self, *, version: int | None = None, **changes: Unpack[PolicyChanges]) -> PolicyInfo:
        """Change the policy while everything runs; see AsyncClient.update_policy."""
        return complete(self._client.update_policy(version=version, **changes))

    def models(self) -> Sequence[ModelInfo]:
        """Return the models that the fleet serves, by name."""
        return complete(self._client.models())

    def runners(self, model: str = "") -> Sequence[RunnerInfo]:
        """Return the runners, by model; of one model or of all."""
        return complete(self._client.runners(model))

    def list(
        self,
        *,
        states: Iterable[TaskState | str] = (),
        model: str = "",
        labels: Mapping[str, str] | None = None,
        priorities: Iterable[Priority | str] = (),
        pool: str = "",
        limit: int | None = None,
    ) -> Iterator[TaskInfo]:
        """Yield the tasks that meet all conditions, newest first, `limit` at most."""
        return iterate(
            self._client.list(
                states=states, model=model, labels=labels, priorities=priorities, pool=pool, limit=limit
            )
        )

    def close(self) -> None:
        """Let go of the connection. Idempotent."""
        complete(self._client.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
