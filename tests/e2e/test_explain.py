"""Why a task waits, on the whole system: by client, by gRPC and by command line.

A task that would run for hours keeps the runner busy until everything else waits, as in `test_priorities.py`.
"""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from forebay.client import Client, Explanation, Priority, QueueInfo, TaskHandle, TaskState, task_spec
from forebay.tasks.v1.task_pb2 import TaskSpec
from tests.e2e.conftest import RUNNER_CREDIT
from tests.e2e.test_priorities import SHORT, busy_runner, countdown, ended, until_running
from tests.system import System, run_cli, run_json

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SEEN_S = 15.0
"""Within it a scheduler has announced what happened."""


@pytest.fixture(autouse=True)
def learned(client: Client) -> Iterator[None]:
    """Let the scheduler learn what these tasks cost, and leave nothing behind."""
    ended(client, client.submit_many([countdown(SHORT)] * 64))
    yield
    for pause in client.pauses():
        client.resume(pool=pause.pool, priority=pause.priority, model=pause.model, label=pause.label)
    client.cancel_matching(states=["queued", "scheduled", "blocked", "running"])


def countdown_at(due: datetime) -> TaskSpec:
    return task_spec("countdown", tensors={"turns": np.array([1], np.int64)}, not_before=due)


def kinds(found: Explanation) -> list[str]:
    return [reason.kind for reason in found.reasons]


def until(client: Client, task: TaskHandle, holds: Callable[[Explanation], bool]) -> Explanation:
    """Return the first explanation that is as wanted."""
    deadline_s = time.monotonic() + SEEN_S
    while not holds(found := client.explain(task)):
        assert time.monotonic() < deadline_s, f"{task.id}: {found}"
        time.sleep(0.1)
    return found


def until_queue(client: Client, holds: Callable[[QueueInfo], bool]) -> QueueInfo:
    deadline_s = time.monotonic() + SEEN_S
    while True:
        found = [queue for queue in client.queues("default") if holds(queue)]
        if found:
            return found[0]
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


def test_a_task_behind_others_says_what_is_before_it_and_when_it_starts(
    greedy_system: System, greedy: Client
) -> None:
    # Without these nobody knows what such a task takes.
    ended(greedy, greedy.submit_many([countdown(SHORT)] * 64))
    with busy_runner(greedy):
        full = [countdown(SHORT)] * (RUNNER_CREDIT - 1)
        until_running(greedy, [*greedy.submit_many(full[:1000]), *greedy.submit_many(full[1000:])])
        greedy.submit_many([countdown(SHORT, Priority.HIGH)] * 40)
        before = greedy.submit_many([countdown(SHORT)] * 100)
        [asked] = greedy.submit_many([countdown(SHORT)])
        found = until(greedy, asked, lambda one: kinds(one) == ["behind", "no_credit"])
        assert found.task.state is TaskState.QUEUED
        tasks = {one.priority: one.tasks for one in found.ahead}
        assert tasks[Priority.HIGH] == 40
        # Those that were submitted in the same millisecond are not told apart.
        assert 90 <= tasks[Priority.NORMAL] <= len(before)
        assert found.start is not None and found.end is not None
        assert found.start.earliest <= found.start.time <= found.start.latest
        assert found.end.time >= found.start.time
        assert found.summary.split()[1:5] == ["tasks", "start", "before", "it"]
        assert (
            f"The 1 runner of 'countdown' takes no more: it holds {RUNNER_CREDIT:,} tasks"
            in found.reasons[1].detail
        )
        shown = run_cli(greedy_system.grpc, "explain", asked.id)
        assert shown.returncode == 0, shown.stderr
        assert "starts before" in shown.stdout and "no credit" in shown.stdout
        document: Any = run_json(greedy_system.grpc, "explain", asked.id)
        assert [reason["kind"] for reason in document["reasons"]] == ["behind", "no_credit"]
        queue = until_queue(greedy, lambda one: one.priority is Priority.NORMAL and one.depth > 90)
        assert queue.queued_work_s > 0
        assert [(load.tenant, load.queued > 90, load.running) for load in queue.tenants] == [
            ("default", True, RUNNER_CREDIT - 1)
        ]
        until_queue(greedy, lambda one: any(lane.in_window for lane in one.lanes))
    task = greedy.wait(asked, 60)
    story = greedy.explain(task)
    assert story.summary.startswith("It succeeded ")
    assert [phase.state.value for phase in story.phases] == ["queued", "running", "succeeded"]
    assert task.end_time is not None and task.create_time is not None
    lived_s = (task.end_time - task.create_time).total_seconds()
    assert sum(phase.duration_s for phase in story.phases) == pytest.approx(lived_s, abs=1e-6)


def test_a_task_that_runs_names_its_runner_and_when_it_is_expected_to_end(
    system: System, client: Client
) -> None:
    with busy_runner(client):
        [task] = client.list(states=["running"], limit=1)
        found = client.explain(task)
        assert kinds(found) == ["running"]
        assert found.reasons[0].detail.startswith(f"Runner {task.runner} has had it for ")
        assert found.start is None
        assert "Runner " in run_cli(system.grpc, "explain", task.id).stdout


def test_a_task_without_a_runner_names_the_models_that_there_are(client: Client) -> None:
    [asked] = client.submit_many([task_spec("no-such-model", tensors={"x": np.zeros(1, np.float32)})])
    found = until(client, asked, lambda one: kinds(one) == ["no_runner"])
    assert found.summary.startswith("No runner has model 'no-such-model' in pool 'default'; ")
    assert "countdown" in found.summary
    assert found.start is None


def test_a_paused_task_names_the_pause(system: System, client: Client) -> None:
    client.pause(model="countdown", reason="night")
    # By the time it is due, everybody knows of the pause.
    due = datetime.now(UTC) + timedelta(seconds=3)
    [asked] = client.submit_many([countdown_at(due)])
    found = until(client, asked, lambda one: kinds(one) == ["paused"])
    assert found.summary.startswith("A pause of model countdown holds it back since ")
    assert found.summary.endswith(": night.")
    assert "forebay resume" in run_cli(system.grpc, "explain", asked.id).stdout
    client.resume(model="countdown")
    assert client.wait(asked, 60).state is TaskState.SUCCEEDED


def test_a_task_says_when_its_time_comes(system: System, client: Client) -> None:
    due = datetime.now(UTC) + timedelta(hours=2)
    [asked] = client.submit_many([countdown_at(due)])
    found = client.explain(asked)
    assert kinds(found) == ["not_before"]
    assert found.reasons[0].until is not None
    assert abs((found.reasons[0].until - due).total_seconds()) < 0.01
    assert "(until " in run_cli(system.grpc, "explain", asked.id).stdout


def test_a_task_names_the_tasks_that_it_waits_for(client: Client) -> None:
    with busy_runner(client):
        parents = client.submit_many([countdown(SHORT)] * 3)
        spec = task_spec("countdown", tensors={"turns": np.array([1], np.int64)}, depends_on=parents)
        [asked] = client.submit_many([spec])
        found = client.explain(asked)
        assert kinds(found) == ["parents"]
        assert found.summary.startswith("3 of the 3 tasks that it depends on have not ended: ")
        assert all(parent.id in found.summary for parent in parents)
    assert client.wait(asked, 60).state is TaskState.SUCCEEDED
    assert [phase.state.value for phase in client.explain(asked).phases] == [
        *("blocked", "queued", "running", "succeeded")
    ]
