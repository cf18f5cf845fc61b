"""ExplainTask over ports in memory, with a clock that only the test moves and views as schedulers announce them."""

from collections.abc import Mapping

from google.rpc import status_pb2

from forebay.dispatch.v1.scheduler_view_pb2 import PoolView, SchedulerView
from forebay.tasks.v1 import task_pb2
from forebay.tasks.v1.envelope_pb2 import Envelope
from forebay.tasks.v1.task_service_pb2 import ExplainTaskRequest, ExplainTaskResponse, WaitReason
from scheduler.adapters.clock import FakeClock
from scheduler.adapters.memory import MemoryStore
from scheduler.errors import ModelFailed
from scheduler.ids import new_ids
from scheduler.policies.policy import DEFAULT_POLICY, Policy
from scheduler.ports.membership import VIEW_ROLE
from scheduler.ports.records import Ending, Lease, NewTask, Wanted, Written
from scheduler.states import Level, TaskState
from services.gateway.caller import Caller
from services.gateway.explaining import ExplainTask
from services.status import to_status

MINE = "mine"
TENANT = Caller(MINE)
OPERATOR = Caller(MINE, operator=True)


class Explained:
    """Tasks, and what is said of them."""

    def __init__(self, policy: Policy = DEFAULT_POLICY) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.policy = policy
        self.explain = ExplainTask(
            self.store.records,
            self.store.lines,
            self.store.pauses,
            self.store.membership,
            self.store.time,
            lambda: self.policy,
        )

    async def submit(
        self,
        count: int = 1,
        *,
        tenant: str = MINE,
        level: Level = Level.NORMAL,
        model: str = "m",
        parents: tuple[str, ...] = (),
        not_before_ms: int = 0,
        deadline_ms: int = 0,
        labels: Mapping[str, str] | None = None,
    ) -> list[str]:
        state = TaskState.BLOCKED if parents else TaskState.QUEUED
        if not_before_ms:
            state = TaskState.SCHEDULED
        spec = task_pb2.TaskSpec(model=model, labels=labels, priority=task_pb2.Priority.ValueType(level))
        if deadline_ms:
            spec.deadline.FromMilliseconds(deadline_ms)
        ids = new_ids(7, count, self.clock.now_ms())
        tasks = []
        for id_ in ids:
            envelope = Envelope(
                id=id_,
                tenant=tenant,
                spec=spec.SerializeToString(),
                model=model,
                priority=task_pb2.Priority.ValueType(level),
                pool="default",
                max_attempts=3,
                parents=parents,
                not_before_ms=not_before_ms,
                deadline_ms=deadline_ms,
            )
            tasks.append(
                NewTask(
                    *(id_, tenant, "default", level, envelope.SerializeToString(), 3, deadline_ms),
                    state=state,
                    not_before_ms=not_before_ms,
                    parents=parents,
                    model=model,
                )
            )
        await self.store.records.create(tasks)
        self.clock.advance(0.001)
        return ids

    async def lease(self, *ids: str, publication: int = 1) -> None:
        replies = await self.store.records.lease([Wanted(i, publication) for i in ids], "r1", 60_000)
        assert all(reply.verdict is Lease.GRANTED for reply in replies)

    async def finish(
        self, task_id: str, state: TaskState = TaskState.SUCCEEDED, *, attempt: int = 1, retry_in_ms: int = -1
    ) -> None:
        error = to_status(ModelFailed("it broke")) if state is TaskState.FAILED else status_pb2.Status()
        ending = Ending(task_id, attempt, state, error=error.SerializeToString(), retry_in_ms=retry_in_ms)
        assert await self.store.records.finish([ending]) == [Written.WRITTEN]

    async def announce(self, pool: PoolView | None = None, member: str = "s1") -> None:
        """Show a scheduler that works on the pool `default`, with or without anything in it."""
        shown = pool or PoolView()
        shown.pool = shown.pool or "default"
        view = SchedulerView(member=member, pools=[shown])
        await self.store.membership.announce(VIEW_ROLE, member, view.SerializeToString(), 3_600_000)

    async def of(self, task_id: str, caller: Caller = TENANT) -> ExplainTaskResponse:
        return await self.explain(caller, ExplainTaskRequest(id=task_id))

    async def kinds(self, task_id: str, caller: Caller = TENANT) -> list[str]:
        answer = await self.of(task_id, caller)
        return [WaitReason.Kind.Name(reason.kind).removeprefix("KIND_") for reason in answer.reasons]


def serving(
    *,
    model: str = "m",
    runners: int = 1,
    free: int = 0,
    broken: int = 0,
    work_ms: float = 100.0,
    held: Mapping[tuple[Level, str], int] | None = None,
) -> PoolView:
    """Return a pool with runners of a model, whose tasks cost so much."""
    pool = PoolView(pool="default")
    shown = pool.models.add(model=model, runners=runners, free=free, broken=broken, slots=runners, credit=4)
    for (level, tenant), tasks in (held or {}).items():
        shown.uses.add(priority=task_pb2.Priority.ValueType(level), tenant=tenant, tasks=tasks)
    pool.costs.add(model=model, work_ms=work_ms, execute_ms=work_ms, spread=1.2)
    return pool
