"""Four priorities before one busy runner, and cancelling what waits and what runs.

A task that would run for hours keeps the runner busy until everything else waits; cancelling it opens the gate. So
nothing here depends on how fast the machine is.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import numpy as np
import pytest

from forebay.client import Client, Priority, TaskHandle, TaskInfo, TaskState, task_spec
from forebay.tasks.v1.task_pb2 import TaskSpec
from tests.e2e.conftest import RUNNER_CREDIT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

ENDLESS = 1 << 60
SHORT = 3_000
"""Turns of the countdown that take a few milliseconds."""
STEP = 300_000
"""Turns that take a quarter of a second: much longer than the way of a task to its runner."""
LIMIT_S = 40.0


def countdown(turns: int, priority: Priority = Priority.NORMAL, **labels: str) -> TaskSpec:
    return task_spec(
        "countdown", tensors={"turns": np.array([turns], np.int64)}, priority=priority, labels=labels
    )


def until_running(client: Client, tasks: Sequence[TaskHandle], count: int = 0) -> None:
    """Return when so many tasks (default: all) are leased to the runner."""
    running: set[str] = set()
    for update in client.watch(tasks, timeout_s=LIMIT_S):
        if update.state is TaskState.RUNNING:
            running.add(update.id)
        if len(running) == (count or len(tasks)):
            return
    pytest.fail("tasks ended although their runner was busy")


@contextmanager
def busy_runner(client: Client) -> Iterator[None]:
    """Keep the runner of `countdown` busy during the block; it is free again after it."""
    (gate,) = client.submit_many([countdown(ENDLESS, Priority.CRITICAL)])
    try:
        until_running(client, [gate])
        yield
    finally:
        assert client.cancel(gate).cancelled == 1


def ended(client: Client, tasks: Sequence[TaskHandle]) -> Sequence[TaskInfo]:
    return client.wait_many(tasks, timeout_s=LIMIT_S)


def end_of(task: TaskInfo) -> datetime:
    assert task.end_time is not None
    return task.end_time


def done_at(task: TaskInfo) -> float:
    """Return when the runner was done with a task, in seconds since the Unix epoch: its end may have been written
    together with those of later ones.
    """
    assert task.start_time is not None
    assert task.timing is not None
    return task.start_time.timestamp() + task.timing.execute_s


def test_critical_starts_first_and_low_still_progresses(greedy: Client) -> None:
    # The least urgent are there first.
    counts = {Priority.LOW: 10, Priority.NORMAL: 20, Priority.HIGH: 40, Priority.CRITICAL: 160}
    levels = [priority for priority, count in counts.items() for _ in range(count)]
    with busy_runner(greedy):
        handles = greedy.submit_many([countdown(SHORT, priority) for priority in levels])
        until_running(greedy, handles)
    tasks = ended(greedy, handles)
    assert {task.state for task in tasks} == {TaskState.SUCCEEDED}

    ends = {
        level: sorted(done_at(task) for task, its in zip(tasks, levels, strict=True) if its is level)
        for level in counts
    }
    assert ends[Priority.CRITICAL][0] <= min(ends[level][0] for level in counts)
    last_critical = ends[Priority.CRITICAL][-1]
    meanwhile = {level: sum(end <= last_critical for end in ends[level]) for level in counts}
    # By weights 64 : 16 : 4 : 1 the 160 of CRITICAL leave 40, 10 and 2.5 starts to the others.
    assert 20 <= meanwhile[Priority.HIGH] <= 40
    assert 5 <= meanwhile[Priority.NORMAL] <= 15
    assert 1 <= meanwhile[Priority.LOW] <= 5
    assert ends[Priority.HIGH][-1] <= ends[Priority.NORMAL][-1] <= ends[Priority.LOW][-1]


def test_critical_tasks_start_within_one_step_of_a_flood_of_low_ones(client: Client) -> None:
    # With the settings that are default.
    flood = client.submit_many([countdown(STEP, Priority.LOW, flood="steps")] * 5000, timeout_s=LIMIT_S)
    client.wait(flood[0], LIMIT_S)
    urgent = []
    for _ in range(6):
        # After the first one: something has just ended, and the next LOW task begun.
        (handle,) = client.submit_many([countdown(SHORT, Priority.CRITICAL)])
        urgent.append(client.wait(handle, LIMIT_S))
    client.cancel_matching(labels={"flood": "steps"})
    ends = [end_of(one) for one in ended(client, flood) if one.state is TaskState.SUCCEEDED]
    overtaken = sorted(
        sum(task.create_time < end < end_of(task) for end in ends)
        for task in urgent[1:]
        if task.create_time is not None
    )
    # The one that ran; and now and then one that began while a CRITICAL task was on its way to the runner.
    assert overtaken[2] <= 1 and overtaken[-1] <= 2, overtaken


def test_one_critical_task_overtakes_a_flood_that_fills_the_runner_and_the_queue(greedy: Client) -> None:
    with busy_runner(greedy):
        flood = greedy.submit_many([countdown(SHORT, Priority.LOW, flood="yes")] * 1000)
        flood = [*flood, *greedy.submit_many([countdown(SHORT, Priority.LOW, flood="yes")] * 200)]
        # With the one that keeps it busy the runner is full.
        until_running(greedy, flood, RUNNER_CREDIT - 1)
        (urgent,) = greedy.submit_many([countdown(SHORT, Priority.CRITICAL)])
        # The runner has no room for it: it waits at the scheduler, behind the flood by time and before it by level.
        assert greedy.get(urgent).state is TaskState.QUEUED
    task = greedy.wait(urgent, LIMIT_S)
    assert task.state is TaskState.SUCCEEDED
    overtaken = greedy.cancel_matching(labels={"flood": "yes"})
    before = sum(other.state is TaskState.SUCCEEDED for other in ended(greedy, flood))
    assert overtaken.cancelled + before == len(flood)
    assert before < 200, f"{before} of {len(flood)} LOW tasks ended before the CRITICAL one"


def test_a_running_task_is_cancelled_and_its_runner_is_free_at_once(client: Client) -> None:
    (endless,) = client.submit_many([countdown(ENDLESS)])
    until_running(client, [endless])
    (next_one,) = client.submit_many([countdown(SHORT)])
    assert client.cancel(endless).outcomes == {endless.id: "cancelled"}
    after = client.wait(next_one, LIMIT_S)
    assert after.tensors["done"].tolist() == [SHORT]

    gone = client.get(endless)
    assert gone.state is TaskState.CANCELLED and gone.result is None
    assert gone.error is not None and gone.error.reason == "TASK_CANCELLED"
    assert (end_of(after) - end_of(gone)).total_seconds() < 1
    assert client.cancel(endless).already_terminal == 1


def test_tasks_that_are_cancelled_in_the_moment_of_their_start_leave_the_runner_free(client: Client) -> None:
    for _ in range(30):
        (endless,) = client.submit_many([countdown(ENDLESS)])
        assert client.cancel(endless).cancelled == 1
    begun_s = time.monotonic()
    (next_one,) = client.submit_many([countdown(SHORT)])
    assert client.wait(next_one, LIMIT_S).state is TaskState.SUCCEEDED
    # One of them that was missed would run until its lease is refused a renewal.
    assert time.monotonic() - begun_s < 1


def test_a_queued_task_is_cancelled_and_never_starts(client: Client) -> None:
    # No runner has this model: the task stays in its queue.
    (queued, other) = client.submit_many(
        [task_spec("not-there-yet", tensors={"x": np.zeros(1, np.float32)})] * 2
    )
    assert client.get(queued).state is TaskState.QUEUED
    assert client.cancel([queued, other]).cancelled == 2
    (gone, _) = ended(client, [queued, other])
    assert gone.state is TaskState.CANCELLED
    task = client.get(queued)
    assert (task.attempt, task.start_time) == (0, None)
    assert [event.state for event in task.events] == [TaskState.QUEUED, TaskState.CANCELLED]


def test_tasks_that_wait_in_the_runner_are_cancelled_by_filter_and_the_others_run(greedy: Client) -> None:
    with busy_runner(greedy):
        handles = greedy.submit_many(
            [countdown(SHORT, Priority.HIGH, keep="yes" if n % 2 else "no") for n in range(20)]
        )
        until_running(greedy, handles)
        assert greedy.cancel_matching(labels={"keep": "no"}, priorities=["high"]).cancelled == 10
    states = [task.state for task in ended(greedy, handles)]
    assert states == [TaskState.CANCELLED, TaskState.SUCCEEDED] * 10
