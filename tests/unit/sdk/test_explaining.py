"""Why a task waits, and the queues, as the client reads them."""

from datetime import timedelta
from typing import Any

from forebay.client import (
    Ahead,
    AsyncClient,
    Estimate,
    LaneInfo,
    Phase,
    Priority,
    TaskState,
    TenantLoad,
    WaitReason,
)
from forebay.queues.v1 import queue_service_pb2 as queues
from forebay.tasks.v1 import task_pb2
from forebay.tasks.v1 import task_service_pb2 as tasks
from tests.unit.sdk.test_operating import ID, NOON, Script

Wire: Any = tasks


async def test_an_explanation_is_read_with_all_that_it_has() -> None:
    reason = tasks.WaitReason.KIND_NOT_BEFORE
    answer = Wire.ExplainTaskResponse(
        task={"id": ID, "state": task_pb2.TASK_STATE_QUEUED},
        summary="It waits.",
        reasons=[
            {"kind": tasks.WaitReason.KIND_BEHIND, "detail": "2 tasks start before it."},
            {"kind": reason, "detail": "Not now.", "until": NOON},
            {"kind": 999, "detail": "Something new."},
        ],
        ahead=[
            {"priority": 1, "tenant": "a", "tasks": 2, "work": timedelta(seconds=1.5)},
            {"priority": 4, "tasks": 3},
        ],
        start={"time": NOON, "earliest": NOON, "latest": NOON + timedelta(seconds=5)},
        phases=[
            {"state": 3, "reason": "PROMOTED", "start": NOON, "duration": timedelta(seconds=2)},
        ],
    )
    script = Script(answer)
    found = await AsyncClient.over(script).explain(ID)
    assert script.asked == [tasks.ExplainTaskRequest(id=ID)]
    assert (found.task.id, found.task.state, found.summary) == (ID, TaskState.QUEUED, "It waits.")
    assert found.reasons == (
        WaitReason("behind", "2 tasks start before it.", None),
        WaitReason("not_before", "Not now.", NOON),
        WaitReason("unknown", "Something new.", None),
    )
    assert found.ahead == (Ahead(Priority.CRITICAL, "a", 2, 1.5), Ahead(Priority.LOW, "", 3, 0.0))
    assert found.start == Estimate(NOON, NOON, NOON + timedelta(seconds=5))
    assert found.end is None
    assert found.phases == (Phase(TaskState.QUEUED, "PROMOTED", NOON, 2.0),)


async def test_a_queue_is_read_with_its_tenants_and_lanes() -> None:
    shown: Any = queues.Queue
    queue = shown(
        pool="default",
        priority=task_pb2.PRIORITY_HIGH,
        arrived_per_second=1.5,
        started_per_second=2.5,
        share=0.2,
        share_got=0.4,
        queued_work=timedelta(seconds=90),
        tenants=[{"tenant": "a", "queued": 3, "running": 1, "queued_work": timedelta(seconds=9)}],
        lanes=[{"index": 8, "scheduler": "s1", "in_window": 7}],
    )
    [found] = await AsyncClient.over(Script(queues.ListQueuesResponse(queues=[queue]))).queues()
    assert (found.arrived_per_second, found.started_per_second, found.share_got) == (1.5, 2.5, 0.4)
    assert found.queued_work_s == 90.0
    assert found.tenants == (TenantLoad("a", 3, 1, 9.0),)
    assert found.lanes == (LaneInfo(8, "s1", 7),)
