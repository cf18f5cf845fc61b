from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from forebay.client import Client, NotFound, PauseInfo, Priority, TaskEvent, TaskInfo, TaskState, task_spec
from services.cli.stalls import PARENTS_ASKED, holds_back, reasons

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def waiting(state: TaskState, **options: Any) -> TaskInfo:
    spec = task_spec("m", prompt="x", **options)
    return TaskInfo("07-a", state, model="m", pool="default", labels={"team": "a"}, spec=spec)


def server(
    states: dict[str, TaskState] | None = None,
    pauses: tuple[PauseInfo, ...] = (),
    runners: tuple[Any, ...] = (),
) -> Client:
    known = states or {}

    def get(task_id: str, *, include_result: bool) -> TaskInfo:
        if task_id not in known:
            raise NotFound(f"task {task_id} does not exist")
        return TaskInfo(task_id, known[task_id])

    return cast(Client, SimpleNamespace(get=get, pauses=lambda: pauses, runners=lambda model: runners))


def test_a_scheduled_task_waits_for_its_time_and_says_when_nobody_saw_to_it() -> None:
    task = waiting(TaskState.SCHEDULED, not_before=NOON)
    [soon] = reasons(server(), task, NOON - timedelta(seconds=30))
    assert soon.startswith("its time, ") and soon.endswith("(in 30 s)")
    [late] = reasons(server(), task, NOON + timedelta(minutes=1))
    assert "overdue" in late and "forebay doctor" in late


def test_a_blocked_task_names_the_parents_that_have_not_ended() -> None:
    task = waiting(TaskState.BLOCKED, depends_on=["07-b", "07-c", "07-d"])
    states = {"07-b": TaskState.SUCCEEDED, "07-c": TaskState.RUNNING}
    found = reasons(server(states), task)
    assert found == ["07-c  running", "07-d  no record of it: forebay recover, or cancel this task"]
    ended = dict.fromkeys(("07-b", "07-c", "07-d"), TaskState.FAILED)
    assert reasons(server(ended), task) == ["its parents, which have all ended: it goes on in a moment"]


def test_of_very_many_parents_only_the_first_are_asked_for() -> None:
    ids = [f"07-{number}" for number in range(PARENTS_ASKED + 5)]
    task = waiting(TaskState.BLOCKED, depends_on=ids)
    *named, rest = reasons(server(dict.fromkeys(ids, TaskState.QUEUED)), task)
    assert len(named) == PARENTS_ASKED
    assert rest == "and perhaps some of 5 more parents (--json has all)"


def test_a_retrying_task_says_which_attempt_is_next_and_when_at_the_latest() -> None:
    failed = TaskEvent(NOON, TaskState.RETRYING, "MODEL_FAILED")
    moved = TaskEvent(NOON + timedelta(seconds=3), TaskState.RETRYING, "UPDATED")
    task = replace(
        waiting(TaskState.RETRYING, max_attempts=5, initial_backoff=timedelta(seconds=10)),
        attempt=3,
        uncharged_attempts=1,
        events=(failed, moved),
    )
    [said] = reasons(server(), task)
    assert said.startswith("attempt 3 of 5 after MODEL_FAILED, as a rule before ")
    latest = (NOON + timedelta(seconds=40)).astimezone().isoformat(sep=" ", timespec="milliseconds")
    assert said.endswith(latest)
    assert reasons(server(), replace(task, events=())) == ["attempt 3 of 5"]


def test_a_queued_task_names_pauses_and_missing_runners_and_else_its_turn() -> None:
    task = waiting(TaskState.QUEUED)
    full = PauseInfo("", None, "", ("team", "a"), "full", NOON)
    other = PauseInfo("", Priority.LOW, "", None, "", NOON)
    ready = SimpleNamespace(model="m", pool="default", state="ready", reason="")
    elsewhere = SimpleNamespace(model="m", pool="big", state="ready", reason="")
    assert reasons(server(pauses=(full, other), runners=(ready,)), task) == ["a pause: label team=a (full)"]
    [nobody] = reasons(server(runners=(elsewhere,)), task)
    assert "no runner serves m" in nobody
    assert reasons(server(runners=(ready,)), task) == ["its turn"]


@pytest.mark.parametrize("state", [TaskState.RUNNING, TaskState.SUCCEEDED, TaskState.EXPIRED])
def test_what_runs_or_has_ended_waits_for_nothing(state: TaskState) -> None:
    assert reasons(server(), waiting(state)) == []


def test_a_pause_holds_back_what_meets_each_of_its_conditions() -> None:
    task = waiting(TaskState.QUEUED)
    assert holds_back(PauseInfo("default", Priority.NORMAL, "m", ("team", "a"), "", NOON), task)
    for pause in (
        PauseInfo("big", None, "", None, "", NOON),
        PauseInfo("", Priority.LOW, "", None, "", NOON),
        PauseInfo("", None, "n", None, "", NOON),
        PauseInfo("", None, "m", ("team", "b"), "", NOON),
    ):
        assert not holds_back(pause, task)
