"""The delivery contract through the front doors: delays, retries, dead letters, dependencies, schedules, pauses."""

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forebay.client import (
    AlreadyExists,
    Client,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Priority,
    SubmitManyError,
    TaskInfo,
    TaskState,
    task_spec,
)
from forebay.tasks.v1.task_pb2 import TaskSpec
from tests.system import System, run_cli, run_json

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

ENDLESS = 1 << 60
LIMIT_S = 40.0
QUICK = timedelta(milliseconds=20)


def add(**options: Any) -> TaskSpec:
    return task_spec("add", tensors={"x": np.ones((1, 4), np.float32)}, **options)


def picky(place: int, **options: Any) -> TaskSpec:
    return task_spec("picky", tensors={"place": np.array([place])}, initial_backoff=QUICK, **options)


def endless(**options: Any) -> TaskSpec:
    return task_spec("countdown", tensors={"turns": np.array([ENDLESS])}, **options)


def states(task: TaskInfo) -> list[str]:
    return [event.state.value for event in task.events]


def ended(client: Client, specs: Sequence[TaskSpec]) -> list[TaskInfo]:
    handles = client.submit_many(specs)
    return [client.get(task) for task in client.wait_many(handles, timeout_s=LIMIT_S)]


def until(client: Client, task: Any, state: TaskState) -> None:
    for update in client.watch([task], timeout_s=LIMIT_S):
        if update.state is state:
            return
    pytest.fail(f"it ended without having been {state.value}")


def test_a_delayed_task_waits_for_its_time_and_starts_within_a_second(client: Client) -> None:
    due = datetime.now(UTC) + timedelta(milliseconds=700)
    [task] = ended(client, [add(not_before=due)])
    assert states(task) == ["scheduled", "queued", "running", "succeeded"]
    assert task.start_time is not None
    # The server keeps milliseconds; the time is rounded up to the next one.
    assert timedelta(0) <= task.start_time - due.replace(microsecond=due.microsecond // 1000 * 1000)
    assert task.start_time - due < timedelta(seconds=1)


def test_a_failing_task_is_retried_and_then_is_a_dead_letter_once(client: Client) -> None:
    run = uuid.uuid4().hex
    [task] = ended(client, [picky(9, max_attempts=3, labels={"run": run})])
    assert task.state is TaskState.FAILED
    assert states(task) == ["queued", "running", "retrying"] * 2 + ["queued", "running", "failed"]
    assert task.error is not None and task.error.reason == "MODEL_FAILED"
    [letter] = client.dead_letters.list(labels={"run": run})
    assert (letter.id, letter.task.attempt) == (task.id, 3)
    assert client.dead_letters.get(task.id).task.spec is not None
    assert client.dead_letters.purge([task.id]) == 1
    with pytest.raises(NotFound):
        client.dead_letters.get(task.id)


def test_what_can_never_succeed_is_not_retried_and_no_dead_letter(client: Client) -> None:
    run = uuid.uuid4().hex
    wrong = task_spec("add", tensors={"x": np.ones((1, 4), np.int32)}, labels={"run": run})
    [task] = ended(client, [wrong])
    assert states(task) == ["queued", "running", "failed"]
    assert list(client.dead_letters.list(labels={"run": run})) == []


def test_a_dead_letter_is_replayed_with_an_edit_and_names_the_original(
    client: Client, system: System
) -> None:
    run = uuid.uuid4().hex
    [task] = ended(client, [picky(9, max_attempts=1, labels={"run": run})])
    good = json.dumps(
        {"tensors": [{"name": "place", "datatype": "INT64", "shape": ["1"], "raw": "AgAAAAAAAAA="}]}
    )
    done = run_cli(system.grpc, "dlq", "replay", task.id, "--set", f"tensors={good}")
    assert done.returncode == 0, done.stderr
    new_id = done.stdout.split()[-1]
    replayed = client.wait(new_id, LIMIT_S)
    assert replayed.tensors["found"].tolist() == [20.0]
    assert client.get(new_id).replay_of == task.id
    assert list(client.dead_letters.list(labels={"run": run})) == []


def test_children_start_after_their_parents_and_take_their_outputs(client: Client) -> None:
    first = add()
    second = task_spec("add", tensors={}, depends_on=[0], inputs_from={"x": (0, "y")})
    third = task_spec("add", tensors={}, depends_on=[1], inputs_from={"x": (0, "y")})
    *_, last = ended(client, [first, second, third])
    assert last.tensors["y"].tolist() == [[8.0] * 4]
    assert states(last) == ["blocked", "queued", "running", "succeeded"]
    assert len(last.parents) == 1 and client.get(last.parents[0]).parents != ()


@pytest.mark.parametrize(
    ("choice", "state", "reason"),
    [
        ("fail", "failed", "PARENT_FAILED"),
        ("cancel", "cancelled", "TASK_CANCELLED"),
        ("run", "succeeded", ""),
    ],
)
def test_a_failed_parent_means_what_the_child_says(
    client: Client, choice: str, state: str, reason: str
) -> None:
    _, child = ended(client, [picky(9, max_attempts=1), add(depends_on=[0], on_parent_failure=choice)])
    assert child.state.value == state
    assert (child.error.reason if child.error else "") == reason


def test_cancelling_a_parent_cascades(client: Client) -> None:
    parent, child, grandchild = client.submit_many([endless(), add(depends_on=[0]), add(depends_on=[1])])
    until(client, parent, TaskState.RUNNING)
    assert client.cancel(parent).cancelled == 1
    outcomes = client.wait_many([child, grandchild], LIMIT_S)
    assert [task.state for task in outcomes] == [TaskState.CANCELLED] * 2


@pytest.mark.timeout(180)
def test_a_thousand_children_and_a_chain_of_a_thousand_run(client: Client) -> None:
    fan = [add(), *(add(depends_on=[0]) for _ in range(999))]
    chain = [add(depends_on=[n - 1] if n else []) for n in range(1000)]
    for specs in (fan, chain):
        handles = client.submit_many(specs)
        outcomes = client.wait_many(handles, 120.0, include_result=False)
        assert {task.state for task in outcomes} == {TaskState.SUCCEEDED}


@pytest.mark.parametrize(
    ("specs", "field"),
    [
        ([add(depends_on=["07-01kaj5x3c9f0e8q4v2m7t1b6zd"])], "depends_on[0]"),
        ([add(depends_on=[0])], "depends_on[0]"),
        ([add(depends_on=[1]), add(depends_on=[0])], "depends_on"),
        ([add(depends_on=[7])], "depends_on[0]"),
    ],
    ids=["unknown", "itself", "cycle", "nowhere"],
)
def test_parents_that_cannot_be_are_refused(client: Client, specs: list[TaskSpec], field: str) -> None:
    with pytest.raises(SubmitManyError) as caught:
        client.submit_many(specs)
    for error in caught.value.results:
        assert isinstance(error, InvalidArgument)
        assert any(field in fault.field for fault in error.faults)


def test_a_task_past_its_deadline_is_stopped_while_it_runs(client: Client) -> None:
    task = client.submit("countdown", tensors={"turns": np.array([ENDLESS])}, deadline=timedelta(seconds=1))
    over = client.get(client.wait(task, LIMIT_S))
    assert over.state is TaskState.EXPIRED
    assert over.events[-1].reason == "WHILE_RUNNING"
    assert over.error is not None and "RUNNING" in str(over.error)
    # The runner is free for the next one.
    [after] = ended(client, [task_spec("countdown", tensors={"turns": np.array([10])})])
    assert after.state is TaskState.SUCCEEDED


def test_a_task_for_a_model_that_nobody_serves_expires_in_its_queue(client: Client) -> None:
    task = client.submit(
        "nobody", tensors={"x": np.ones(1, np.float32)}, deadline=timedelta(milliseconds=500)
    )
    over = client.get(client.wait(task, LIMIT_S))
    assert (over.state, over.events[-1].reason) == (TaskState.EXPIRED, "WHILE_QUEUED")


def test_a_paused_label_accepts_and_keeps_and_lets_others_pass(client: Client, system: System) -> None:
    team = uuid.uuid4().hex
    client.pause(label=("team", team), reason="full")
    try:
        # A pause is promised to hold after a second.
        later = timedelta(seconds=1.2)
        held = client.submit_many([add(labels={"team": team}, not_before=later) for _ in range(400)])
        for task in held[:5]:
            until(client, task, TaskState.QUEUED)
        [other] = ended(client, [add()])
        assert other.state is TaskState.SUCCEEDED
        assert {client.get(task).state for task in held[:5]} == {TaskState.QUEUED}
        assert f"label team={team} (full)" in run_cli(system.grpc, "queues").stdout
    finally:
        client.resume(label=("team", team))
    assert {task.state for task in client.wait_many(held, LIMIT_S)} == {TaskState.SUCCEEDED}
    with pytest.raises(NotFound):
        client.resume(label=("team", team))


def test_a_waiting_task_moves_to_another_level_and_a_running_one_does_not(client: Client) -> None:
    waiting = client.submit("add", tensors={"x": np.ones((1, 4), np.float32)}, not_before=timedelta(hours=1))
    changed = client.update(waiting, priority="critical", not_before=timedelta(0))[waiting.id]
    assert isinstance(changed, TaskInfo)
    done = client.get(client.wait(waiting, LIMIT_S))
    assert (done.state, done.priority) == (TaskState.SUCCEEDED, Priority.CRITICAL)
    running = client.submit("countdown", tensors={"turns": np.array([ENDLESS])})
    until(client, running, TaskState.RUNNING)
    refused = client.update(running, priority="low")[running.id]
    assert isinstance(refused, FailedPrecondition)
    client.cancel(running)


def test_the_same_key_with_another_body_names_what_differs(client: Client) -> None:
    key = uuid.uuid4().hex
    first = client.submit("add", tensors={"x": np.ones((1, 4), np.float32)}, idempotency_key=key)
    again = client.submit("add", tensors={"x": np.ones((1, 4), np.float32)}, idempotency_key=key)
    assert again.id == first.id
    with pytest.raises(AlreadyExists, match="priority"):
        client.submit("add", tensors={"x": np.ones((1, 4), np.float32)}, idempotency_key=key, priority="high")


def test_a_schedule_runs_pauses_and_goes(client: Client, system: System, tmp_path: Path) -> None:
    name = f"tick-{uuid.uuid4().hex[:8]}"
    (tmp_path / "task.json").write_text(
        json.dumps(
            {
                "model": "picky",
                "tensors": {
                    "tensors": [{"name": "place", "datatype": "INT64", "shape": ["1"], "raw": "AgAAAAAAAAA="}]
                },
                "labels": {"from": name},
            }
        )
    )
    made = run_cli(
        system.grpc, "schedules", "create", name, "--task", str(tmp_path / "task.json"), "--every", "1s"
    )
    assert made.returncode == 0, made.stderr
    try:
        for update in client.watch(labels={"from": name}, timeout_s=LIMIT_S):
            if update.state is TaskState.SUCCEEDED:
                break
        assert client.get(update.id).schedule == name
        assert client.schedules.pause(name).paused
        assert client.wait(client.schedules.run(name), LIMIT_S).state is TaskState.SUCCEEDED
        [listed] = [one for one in run_json(system.grpc, "schedules", "ls") if one["name"] == name]  # type: ignore[attr-defined]
        assert listed["paused"]
    finally:
        client.schedules.delete(name)
    with pytest.raises(NotFound):
        client.schedules.get(name)


def test_cancelling_by_filter_tells_how_far_it_is(client: Client) -> None:
    run = uuid.uuid4().hex
    client.submit_many([add(not_before=timedelta(hours=1), labels={"run": run}) for _ in range(300)])
    *_, last = client.cancel_all_matching(labels={"run": run})
    assert (last.cancelled, last.done) == (300, True)
    assert {task.state for task in client.list(labels={"run": run})} == {TaskState.CANCELLED}
