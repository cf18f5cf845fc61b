"""What a client says to change, pause, replay and schedule, as a server hears it and answers it."""

from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from google.rpc.status_pb2 import Status

from forebay.client import AsyncClient, Client, FailedPrecondition, Priority, TaskInfo, TaskState, task_spec
from forebay.client.methods import Method
from forebay.client.transport import Metadata
from forebay.queues.v1 import queue_service_pb2 as queues
from forebay.tasks.v1 import schedule_service_pb2 as schedules
from forebay.tasks.v1 import task_service_pb2 as tasks
from forebay.tasks.v1.task_pb2 import PRIORITY_HIGH, TASK_STATE_FAILED, TASK_STATE_QUEUED, Task, TaskSpec

T = TypeVar("T")
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
ID = "07-01kaj5x3c9f0e8q4v2m7t1b6zd"
OTHER = "07-01kaj5x3c9f0e8q4v2m7t1b6ze"


class Script:
    """A transport that answers what it was given, and keeps what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self._answers = deque(answers)
        self.asked: list[Any] = []

    async def unary(
        self, method: Method[Any, Any], request: Any, timeout_s: float, metadata: Metadata
    ) -> Any:
        self.asked.append(request)
        answer = self._answers.popleft()
        assert isinstance(answer, method.response)
        return answer

    async def stream(
        self, method: Method[Any, Any], request: Any, timeout_s: float, metadata: Metadata
    ) -> AsyncGenerator[Any, None]:
        self.asked.append(request)
        while self._answers:
            yield self._answers.popleft()

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing to wait for")

    async def gather(self, work: Sequence[Coroutine[Any, Any, T]], limit: int) -> list[T]:
        return [await one for one in work]

    async def close(self) -> None:
        pass


async def test_an_update_says_of_each_task_what_became_of_it() -> None:
    changed = tasks.SubmitResult(task=Task(id=ID, state=TASK_STATE_QUEUED))
    refused = tasks.SubmitResult(error=Status(code=9, message="it runs"))
    script = Script(tasks.UpdateTasksResponse(results=[changed, refused]))
    answer = await AsyncClient.over(script).update(
        [ID, OTHER], priority="high", deadline=NOON, not_before=NOON
    )
    [asked] = script.asked
    assert (asked.priority, asked.deadline.ToDatetime(tzinfo=UTC)) == (PRIORITY_HIGH, NOON)
    assert isinstance(answer[ID], TaskInfo)
    assert isinstance(answer[OTHER], FailedPrecondition)


async def test_cancelling_by_filter_tells_how_far_it_is() -> None:
    script = Script(
        tasks.CancelMatchingTasksResponse(seen=10, cancelled=3),
        tasks.CancelMatchingTasksResponse(seen=20, cancelled=5, done=True),
    )
    client = AsyncClient.over(script)
    seen = [(p.seen, p.cancelled, p.done) async for p in client.cancel_all_matching(model="m")]
    assert seen == [(10, 3, False), (20, 5, True)]
    assert script.asked[0].filter.model == "m"


async def test_a_pause_is_named_by_its_conditions() -> None:
    pause = queues.Pause(
        selector=queues.PauseSelector(priority=PRIORITY_HIGH, label_key="team", label_value="a"),
        reason="full",
    )
    script = Script(
        queues.PauseQueueResponse(pause=pause),
        queues.ListQueuesResponse(pauses=[pause]),
        queues.ResumeQueueResponse(pause=pause),
    )
    client = AsyncClient.over(script)
    made = await client.pause(priority="high", label=("team", "a"), reason="full")
    assert (made.priority, made.label, made.reason) == (Priority.HIGH, ("team", "a"), "full")
    assert await client.pauses() == [made]
    await client.resume(priority="high", label=("team", "a"))
    assert script.asked[0].selector == script.asked[2].selector == pause.selector


async def test_dead_letters_are_listed_shown_replayed_and_purged() -> None:
    task = Task(id=ID, state=TASK_STATE_FAILED, attempt=3)
    letter = tasks.DeadLetter(task=task, raw_bytes=3, topic="t")
    script = Script(
        tasks.ListDeadLettersResponse(dead_letters=[letter], next_page_token="next"),
        tasks.ListDeadLettersResponse(dead_letters=[letter]),
        tasks.GetDeadLetterResponse(dead_letter=letter, raw=b"\0\1\2"),
        tasks.ReplayTasksResponse(
            results=[
                tasks.ReplayResult(id=ID, task=Task(id=OTHER, state=TASK_STATE_QUEUED)),
                tasks.ReplayResult(id=OTHER, error=Status(code=9, message="unreadable")),
            ]
        ),
        tasks.PurgeDeadLettersResponse(purged=4),
    )
    letters = AsyncClient.over(script).dead_letters
    assert [one.id async for one in letters.list(model="m")] == [ID, ID]
    assert script.asked[1].page_token == "next"
    shown = await letters.get(ID)
    assert (shown.raw, shown.task.state, shown.topic) == (b"\0\1\2", TaskState.FAILED, "t")
    replayed = await letters.replay([ID, OTHER], edits=TaskSpec(model="n"), edit_mask=["model"])
    assert replayed.tasks[ID].id == OTHER
    assert isinstance(replayed.errors[OTHER], FailedPrecondition)
    assert await letters.purge() == 4
    assert script.asked[-1].WhichOneof("target") == "filter"


async def test_a_schedule_is_made_and_read_back() -> None:
    spec = task_spec("m", prompt="Good morning")
    wire = schedules.Schedule(name="daily", spec=spec, cron="0 9 * * *", time_zone="Europe/Berlin")
    wire.missed = schedules.MISSED_POLICY_RUN_ONCE
    wire.next_time.FromDatetime(NOON)
    script = Script(
        schedules.CreateScheduleResponse(schedule=wire),
        schedules.ListSchedulesResponse(schedules=[wire]),
        schedules.RunScheduleResponse(task=Task(id=ID, state=TASK_STATE_QUEUED)),
        schedules.DeleteScheduleResponse(),
    )
    client = AsyncClient.over(script)
    made = await client.schedules.create(
        "daily",
        spec,
        cron="0 9 * * *",
        time_zone="Europe/Berlin",
        missed="run_once",
        run_within=timedelta(hours=1),
    )
    asked = script.asked[0].schedule
    assert (asked.cron, asked.missed, asked.run_within.seconds) == ("0 9 * * *", wire.missed, 3600)
    assert (made.next_time, made.missed, made.interval) == (NOON, "run_once", None)
    assert [one.name async for one in client.schedules.list()] == ["daily"]
    assert (await client.schedules.run("daily")).id == ID
    assert script.asked[2].request_id
    await client.schedules.delete("daily")


async def test_a_schedule_has_one_kind_of_timing() -> None:
    client = AsyncClient.over(Script())
    spec = task_spec("m", prompt="x")
    with pytest.raises(TypeError, match="either cron or interval"):
        await client.schedules.create("a", spec)
    with pytest.raises(TypeError, match="either cron or interval"):
        await client.schedules.create("a", spec, cron="* * * * *", interval=timedelta(hours=1))
    with pytest.raises(ValueError, match="none of skip, run_once"):
        await client.schedules.create("a", spec, cron="* * * * *", missed="twice")


def test_the_client_without_asyncio_has_the_same_parts() -> None:
    with Client("127.0.0.1:1") as client:
        assert client.dead_letters is not None
        assert client.schedules is not None
